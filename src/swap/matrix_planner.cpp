// SPDX-License-Identifier: MIT
#include "penstock/swap/matrix_planner.hpp"

#include <algorithm>
#include <set>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include "matrix_program.hpp"
#include "matrix_solver.hpp"
#include "penstock/core/detail/option_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using detail::MatrixProgram;
using detail::MatrixSolver;
using Combination = std::vector<ModelId>;

bool runs(std::span<const ModelId> running, ModelId model) {
  return std::binary_search(running.begin(), running.end(), model);
}

/// The best combination of all for a target that does not run.
class MatrixQuestion {
 public:
  MatrixQuestion(const MatrixProgram& program, ModelId target, std::span<const ModelId> running)
      : models_(weigh(program, target, running)), solver_(program, models_) {
    const auto place = std::find_if(models_.begin(), models_.end(),
                                    [target](const MatrixSolver::Model& model) { return model.id == target; });
    const auto bit = static_cast<std::size_t>(place - models_.begin());
    for (std::size_t set = 0; set < program.sets.size(); ++set) {
      if (solver_.reaches(set, bit)) candidates_.push_back(set);
    }
    solver_.solve(candidates_);
    const auto best = std::max_element(candidates_.begin(), candidates_.end(), [this](std::size_t a, std::size_t b) {
      return solver_.weight(a) < solver_.weight(b);
    });
    has_set_ = best != candidates_.end();
    if (has_set_) set_ = *best;
  }

  MatrixQuestion(const MatrixQuestion&) = delete;
  MatrixQuestion& operator=(const MatrixQuestion&) = delete;

  /// False: no set contains the target.
  [[nodiscard]] bool has_set() const noexcept { return has_set_; }
  [[nodiscard]] std::size_t set() const noexcept { return set_; }
  [[nodiscard]] const MatrixSolver& solver() const noexcept { return solver_; }

  void plan(ModelId target, std::vector<ModelId>& evict) const {
    evict.reserve(evict.size() + models_.size());
    for (std::size_t bit = 0; bit < models_.size(); ++bit) {
      if (models_[bit].id != target && !(has_set_ && solver_.contains(set_, bit))) evict.push_back(models_[bit].id);
    }
  }

 private:
  /// The target weighs more than all others, so what is best contains it if anything does.
  static std::vector<MatrixSolver::Model> weigh(const MatrixProgram& program, ModelId target,
                                                std::span<const ModelId> running) {
    std::vector<MatrixSolver::Model> models;
    models.reserve(running.size() + 1);
    std::int64_t sum = 0;
    for (const ModelId model : running) {
      models.push_back({model, program.costs[static_cast<std::size_t>(model)]});
      sum += models.back().weight;
    }
    const auto place = std::lower_bound(running.begin(), running.end(), target) - running.begin();
    models.insert(models.begin() + place, {target, sum + 1});
    return models;
  }

  std::vector<MatrixSolver::Model> models_;
  MatrixSolver solver_;
  std::vector<std::size_t> candidates_{};
  std::size_t set_ = 0;
  bool has_set_ = false;
};

/// Of a target that runs: the first set with all that runs in a combination.
MatrixPlan explain_running(const MatrixProgram& program, std::span<const ModelId> running) {
  MatrixPlan plan;
  plan.target_set.assign(running.begin(), running.end());
  std::vector<MatrixSolver::Model> models;
  for (const ModelId model : running) models.push_back({model, 1});
  MatrixSolver solver(program, models);
  std::vector<std::size_t> candidates;
  for (std::size_t set = 0; set < program.sets.size(); ++set) {
    if (solver.reaches_all(set)) candidates.push_back(set);
  }
  solver.solve(candidates);
  const auto all = static_cast<std::int64_t>(models.size());
  for (const std::size_t set : candidates) {
    if (solver.weight(set) != all) continue;
    plan.set_name = program.sets[set].name;
    break;
  }
  plan.is_exact = solver.is_exact();
  return plan;
}

class TooMany {};

/// All combinations of the parts of a set, each once; throws TooMany.
class Expansion {
 public:
  Expansion(const MatrixProgram& program, std::size_t limit) : program_(program), limit_(limit) {}

  std::vector<Combination> expand(std::uint32_t root) {
    std::vector<bool> is_needed(root + 1);
    is_needed[root] = true;
    for (std::uint32_t node = root + 1; node-- > 0;) {
      if (!is_needed[node]) continue;
      for (const std::uint32_t part : program_.parts_of(program_.nodes[node])) is_needed[part] = true;
    }
    of_.resize(root + 1);
    for (std::uint32_t node = 0; node <= root; ++node) {
      if (is_needed[node]) of_[node] = expand(program_.nodes[node]);
    }
    return std::move(of_[root]);
  }

 private:
  std::vector<Combination> expand(const MatrixProgram::Node& node) const {
    switch (node.kind) {
      case MatrixProgram::Kind::kModel:
        if (limit_ == 0) throw TooMany();
        return {{program_.models[node.first]}};
      case MatrixProgram::Kind::kAny:
        return expand_any(node);
      case MatrixProgram::Kind::kAll:
        break;
    }
    return expand_all(node);
  }

  std::vector<Combination> expand_any(const MatrixProgram::Node& node) const {
    std::vector<Combination> all;
    std::set<Combination> known;
    for (const std::uint32_t part : program_.parts_of(node)) {
      for (const Combination& one : of_[part]) add(all, known, one);
    }
    return all;
  }

  std::vector<Combination> expand_all(const MatrixProgram::Node& node) const {
    std::vector<Combination> all{{}};
    for (const std::uint32_t part : program_.parts_of(node)) {
      std::vector<Combination> longer;
      std::set<Combination> known;
      for (const Combination& left : all) {
        for (const Combination& right : of_[part]) {
          Combination both;
          std::set_union(left.begin(), left.end(), right.begin(), right.end(), std::back_inserter(both));
          add(longer, known, both);
        }
      }
      all = std::move(longer);
    }
    return all;
  }

  void add(std::vector<Combination>& all, std::set<Combination>& known, const Combination& one) const {
    if (!known.insert(one).second) return;
    if (all.size() == limit_) throw TooMany();
    all.push_back(one);
  }

  const MatrixProgram& program_;
  std::size_t limit_;
  std::vector<std::vector<Combination>> of_{};  // by node
};

}  // namespace

absl::Status MatrixPlannerOptions::validate(const ModelTable& models) const {
  detail::OptionViolations violations;
  static_cast<void>(detail::link_matrix(*this, models, violations));
  return violations.status("matrix planner");
}

MatrixPlanner::MatrixPlanner(const MatrixPlannerOptions& options, const ModelTable& models) {
  detail::OptionViolations violations;
  program_ = std::make_unique<const MatrixProgram>(detail::link_matrix(options, models, violations));
  if (const absl::Status bad = violations.status("matrix planner"); !bad.ok()) {
    throw std::invalid_argument(std::string(detail::text_of(bad)));
  }
}

MatrixPlanner::~MatrixPlanner() = default;

void MatrixPlanner::plan(const PlanInput& input, std::vector<ModelId>& evict) const {
  if (input.running.empty() || runs(input.running, input.target)) return;
  MatrixQuestion(*program_, input.target, input.running).plan(input.target, evict);
}

MatrixPlan MatrixPlanner::explain(ModelId target, std::span<const ModelId> running) const {
  if (runs(running, target)) return explain_running(*program_, running);
  MatrixPlan plan;
  const MatrixQuestion question(*program_, target, running);
  question.plan(target, plan.evict);
  for (const ModelId model : plan.evict) plan.cost += cost(model);
  plan.is_exact = question.solver().is_exact();
  if (question.has_set()) {
    plan.target_set = question.solver().combination(question.set());
    plan.set_name = program_->sets[question.set()].name;
  } else {
    plan.target_set = {target};
  }
  return plan;
}

absl::StatusOr<std::vector<std::vector<ModelId>>> MatrixPlanner::combinations(std::string_view set,
                                                                              std::size_t limit) const {
  const auto found = std::find_if(program_->sets.begin(), program_->sets.end(),
                                  [set](const MatrixProgram::Set& one) { return one.name == set; });
  if (found == program_->sets.end()) {
    return absl::NotFoundError(fmt::format("matrix planner: there is no set '{}'", detail::shortened(set, 256)));
  }
  try {
    return Expansion(*program_, limit).expand(found->root);
  } catch (const TooMany&) {
    return absl::ResourceExhaustedError(
        fmt::format("matrix planner: set '{}' has more than {} combinations", found->name, limit));
  }
}

std::vector<std::string> MatrixPlanner::sets() const {
  std::vector<std::string> names;
  for (const MatrixProgram::Set& set : program_->sets) names.push_back(set.name);
  return names;
}

std::int64_t MatrixPlanner::cost(ModelId model) const { return program_->costs[static_cast<std::size_t>(model)]; }

PlannerFactory matrix_planner(MatrixPlannerOptions options) {
  return [options = std::move(options)](const ModelTable& models) {
    return std::make_shared<const MatrixPlanner>(options, models);
  };
}

}  // namespace penstock::inline PENSTOCK_ABI
