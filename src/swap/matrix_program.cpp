// SPDX-License-Identifier: MIT
#include "matrix_program.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "matrix_expression.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::size_t kMaxNameBytes = 256;
constexpr std::size_t kMaxVariableBytes = 32;
constexpr std::int64_t kMaxCost = 1'000'000'000;  // the sum of 2^32 of them fits
constexpr std::size_t kMaxNamedSets = 16;         // of a circle
constexpr std::size_t kMinStates = 16;
constexpr std::size_t kMaxStates = 4096;

std::string quoted(std::string_view name) { return fmt::format("'{}'", shortened(name, kMaxNameBytes)); }

bool is_variable_byte(char byte) noexcept { return byte != '_' && is_matrix_name_byte(byte); }

struct SetReference {
  std::size_t set;
  std::size_t position;  // in the expression that refers to it
};

/// From a set to itself. Of a long one, the sets in its middle are only counted: all circles of a matrix may take
/// memory that grows with its references, but not with their square.
struct SetCycle {
  std::vector<std::size_t> sets;
  std::size_t left_out;  // behind the first half of `kMaxNamedSets`
  std::size_t position;  // of the reference that closes it, in the last but one of `sets`
};

/// Sets in the order in which they are tried: as defined, but each behind those that it refers to.
class SetOrder {
 public:
  explicit SetOrder(const std::vector<std::vector<SetReference>>& references)
      : references_(references), marks_(references.size(), Mark::kNew), place_of_(references.size()) {}

  /// With its own stack: a chain of references may be as long as there are sets.
  const std::vector<std::size_t>& sort() {
    for (std::size_t set = 0; set < references_.size(); ++set) {
      if (marks_[set] == Mark::kNew) visit(set);
    }
    return order_;
  }

  /// One for each reference that closes one.
  [[nodiscard]] const std::vector<SetCycle>& cycles() const noexcept { return cycles_; }

 private:
  enum class Mark : std::uint8_t { kNew, kOpen, kDone };
  struct Visit {
    std::size_t set;
    std::size_t next = 0;  // of its references
  };

  void open(std::size_t set) {
    marks_[set] = Mark::kOpen;
    place_of_[set] = path_.size();
    path_.push_back({set});
  }

  void visit(std::size_t set) {
    open(set);
    while (!path_.empty()) {
      Visit& last = path_.back();
      if (last.next == references_[last.set].size()) {
        marks_[last.set] = Mark::kDone;
        order_.push_back(last.set);
        path_.pop_back();
        continue;
      }
      const SetReference& reference = references_[last.set][last.next++];
      if (marks_[reference.set] == Mark::kNew) {
        open(reference.set);
      } else if (marks_[reference.set] == Mark::kOpen) {
        note_cycle(reference);
      }
    }
  }

  void note_cycle(const SetReference& reference) {
    const auto cycle = std::span(path_).subspan(place_of_[reference.set]);
    const std::size_t left_out = cycle.size() - std::min(cycle.size(), kMaxNamedSets);
    const std::size_t first = left_out == 0 ? cycle.size() : kMaxNamedSets / 2;
    SetCycle& noted = cycles_.emplace_back(SetCycle{{}, left_out, reference.position});
    for (const Visit& visit : cycle.first(first)) noted.sets.push_back(visit.set);
    for (const Visit& visit : cycle.subspan(first + left_out)) noted.sets.push_back(visit.set);
    noted.sets.push_back(reference.set);
  }

  const std::vector<std::vector<SetReference>>& references_;
  std::vector<Mark> marks_;
  std::vector<std::size_t> place_of_;  // of an open set, in `path_`
  std::vector<Visit> path_{};
  std::vector<std::size_t> order_{};
  std::vector<SetCycle> cycles_{};
};

class MatrixLinker {
 public:
  MatrixLinker(const MatrixPlannerOptions& options, const ModelTable& models, OptionViolations& violations)
      : options_(options), models_(models), violations_(violations) {}

  MatrixProgram link() {
    require(options_.max_states >= kMinStates && options_.max_states <= kMaxStates, "max_states", "in [16, 4096]",
            std::to_string(options_.max_states));
    program_.max_states = options_.max_states;
    read_variables();
    read_costs();
    read_sets();
    if (!violations_.empty()) return {};
    SetOrder order(references_);
    const std::vector<std::size_t>& sets = order.sort();
    for (const SetCycle& cycle : order.cycles()) refuse_cycle(cycle);
    if (!violations_.empty()) return {};
    std::sort(program_.models.begin(), program_.models.end());
    program_.models.erase(std::unique(program_.models.begin(), program_.models.end()), program_.models.end());
    for (const std::size_t set : sets) add(set);
    return std::move(program_);
  }

 private:
  void require(bool holds, std::string_view option, std::string_view rule, std::string_view got) {
    violations_.require(holds, option, rule, got);
  }

  std::optional<ModelId> resolve(std::string_view name) const {
    const auto variable = variables_.find(name);
    return variable != variables_.end() ? variable->second : models_.find(name);
  }

  void read_variables() {
    for (std::size_t i = 0; i < options_.variables.size(); ++i) {
      const MatrixVariable& variable = options_.variables[i];
      const std::string option = fmt::format("variables[{}].", i);
      require(!variable.name.empty() && variable.name.size() <= kMaxVariableBytes, option + "name",
              "1 to 32 bytes long", fmt::format("{} ({})", variable.name.size(), quoted(variable.name)));
      require(std::all_of(variable.name.begin(), variable.name.end(), is_variable_byte), option + "name",
              "of letters, digits, '-' and '.' only", quoted(variable.name));
      const std::optional<ModelId> model = models_.find(variable.model);
      require(model.has_value(), option + "model", "a model", "unknown " + quoted(variable.model));
      // An unknown one counts as known too, so that its uses are not reported once more.
      const bool is_new = variables_.emplace(variable.name, model.value_or(kNoModel)).second;
      require(is_new, option + "name", "different from those of other variables", quoted(variable.name) + " again");
    }
  }

  void read_costs() {
    program_.costs.assign(models_.size(), 1);
    std::vector<bool> known(models_.size(), false);
    for (std::size_t i = 0; i < options_.evict_costs.size(); ++i) {
      const MatrixCost& cost = options_.evict_costs[i];
      const std::string option = fmt::format("evict_costs[{}].", i);
      require(cost.cost >= 1 && cost.cost <= kMaxCost, option + "cost", "in [1, 1000000000]",
              fmt::format("{} for {}", cost.cost, quoted(cost.name)));
      const std::optional<ModelId> model = resolve(cost.name);
      require(model.has_value(), option + "name", "a variable or a model", "unknown " + quoted(cost.name));
      if (!model || !models_.contains(*model)) continue;
      const auto place = static_cast<std::size_t>(*model);
      require(!known[place], option + "name", "of a model that has no cost yet",
              fmt::format("{}, which is '{}'", quoted(cost.name), models_.name(*model)));
      known[place] = true;
      program_.costs[place] = cost.cost;
    }
  }

  void read_sets() {
    require(!options_.sets.empty(), "sets", "at least one", "none");
    for (std::size_t i = 0; i < options_.sets.size(); ++i) {
      const MatrixSet& set = options_.sets[i];
      const std::string option = fmt::format("sets[{}].name", i);
      require(!set.name.empty() && set.name.size() <= kMaxNameBytes, option, "1 to 256 bytes long",
              std::to_string(set.name.size()));
      require(set_of_.emplace(set.name, i).second, option, "different from those of other sets",
              quoted(set.name) + " again");
    }
    expressions_.resize(options_.sets.size());
    references_.resize(options_.sets.size());
    referenced_by_.assign(options_.sets.size(), options_.sets.size());
    roots_.assign(options_.sets.size(), kNoMatrixNode);
    for (std::size_t i = 0; i < options_.sets.size(); ++i) read_expression(i);
  }

  void refuse(std::size_t set, const std::string& rule, const std::string& what, std::size_t position) {
    require(false, fmt::format("sets[{}].expression", set), rule,
            fmt::format("{} at {} (set {})", what, matrix_place(options_.sets[set].expression, position),
                        quoted(options_.sets[set].name)));
  }

  void read_expression(std::size_t set) {
    auto parsed = parse_matrix_expression(options_.sets[set].expression);
    if (const auto* error = std::get_if<MatrixSyntaxError>(&parsed)) {
      return refuse(set, "an expression", error->text, error->position);
    }
    expressions_[set] = std::move(std::get<MatrixExpression>(parsed));
    for (const MatrixTerm& term : expressions_[set].terms) {
      if (term.kind == MatrixKind::kName) {
        const std::optional<ModelId> model = resolve(term.name);
        if (model) {
          program_.models.push_back(*model);
        } else {
          refuse(set, "of variables and models", "unknown " + quoted(term.name), term.position);
        }
      } else if (term.kind == MatrixKind::kReference) {
        const auto other = set_of_.find(term.name);
        if (other == set_of_.end()) {
          refuse(set, "of sets that exist", "undefined " + quoted(term.name), term.position);
        } else if (std::exchange(referenced_by_[other->second], set) != set) {
          references_[set].push_back({other->second, term.position});
        }
      }
    }
  }

  /// At the place of the reference that closes it.
  void refuse_cycle(const SetCycle& cycle) {
    std::string path;
    for (std::size_t i = 0; i < cycle.sets.size(); ++i) {
      if (i == kMaxNamedSets / 2 && cycle.left_out > 0) path += fmt::format(" -> ({} more)", cycle.left_out);
      path += (i == 0 ? "" : " -> ") + options_.sets[cycle.sets[i]].name;
    }
    refuse(cycle.sets[cycle.sets.size() - 2], "without a circle", path, cycle.position);
  }

  void add(std::size_t set) {
    std::vector<std::uint32_t> node_of;  // by term
    for (const MatrixTerm& term : expressions_[set].terms) node_of.push_back(add(term, node_of));
    roots_[set] = node_of.back();
    program_.sets.push_back({options_.sets[set].name, node_of.back()});
  }

  std::uint32_t add(const MatrixTerm& term, const std::vector<std::uint32_t>& node_of) {
    if (term.kind == MatrixKind::kReference) return roots_[set_of_.find(term.name)->second];
    MatrixProgram::Node node{MatrixProgram::Kind::kModel, 0, 0};
    if (term.kind == MatrixKind::kName) {
      const auto model = std::lower_bound(program_.models.begin(), program_.models.end(), *resolve(term.name));
      node.first = static_cast<std::uint32_t>(model - program_.models.begin());
    } else {
      node.kind = term.kind == MatrixKind::kAll ? MatrixProgram::Kind::kAll : MatrixProgram::Kind::kAny;
      node.first = static_cast<std::uint32_t>(program_.parts.size());
      node.count = static_cast<std::uint32_t>(term.parts.size());
      for (const std::size_t part : term.parts) program_.parts.push_back(node_of[part]);
    }
    program_.nodes.push_back(node);
    return static_cast<std::uint32_t>(program_.nodes.size() - 1);
  }

  const MatrixPlannerOptions& options_;
  const ModelTable& models_;
  OptionViolations& violations_;
  std::map<std::string, ModelId, std::less<>> variables_{};
  std::map<std::string, std::size_t, std::less<>> set_of_{};
  std::vector<MatrixExpression> expressions_{};          // by set, like the next two
  std::vector<std::vector<SetReference>> references_{};  // each set once
  std::vector<std::size_t> referenced_by_{};             // the last set that was seen to do so
  std::vector<std::uint32_t> roots_{};
  MatrixProgram program_{};
};

}  // namespace

MatrixProgram link_matrix(const MatrixPlannerOptions& options, const ModelTable& models, OptionViolations& violations) {
  return MatrixLinker(options, models, violations).link();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
