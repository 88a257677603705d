// SPDX-License-Identifier: MIT
#include "swap/swap_world.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "penstock/swap/budget_planner.hpp"
#include "penstock/swap/group_planner.hpp"
#include "penstock/swap/matrix_planner.hpp"
#include "swap/swap_invariants.hpp"

namespace penstock::testing {
namespace {

bool uses_time(WorldKind kind) { return kind == WorldKind::kIdle || kind == WorldKind::kClaim; }

/// Any pairwise relation that keeps the law of kinds: classes of one kind are alike to all others.
class RandomPairwise final : public EvictionPlanner, public PairwiseEviction {
 public:
  RandomPairwise(std::size_t models, std::uint64_t seed, bool is_pairwise) : is_pairwise_(is_pairwise) {
    Random random(seed);
    const std::size_t classes = random.between(1, models);
    const std::size_t kinds = random.between(1, std::min<std::size_t>(classes, 6));
    const int density = static_cast<int>(random.between(10, 90));
    for (std::size_t i = 0; i != models; ++i) class_of_.push_back(i < classes ? i : random.below(classes));
    for (std::size_t i = 0; i != classes; ++i) kind_of_.push_back(i < kinds ? i : random.below(kinds));
    for (std::size_t i = 0; i != classes; ++i) own_.push_back(random.chance(50));
    for (std::size_t i = 0; i != kinds * kinds; ++i) evicts_.push_back(random.chance(density));
    kinds_ = kinds;
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "random pairwise"; }
  void plan(const PlanInput& input, std::vector<ModelId>& evict) const override {
    for (const ModelId each : input.running) {
      if (each != input.target && evicts(class_of(input.target), class_of(each))) evict.push_back(each);
    }
  }
  [[nodiscard]] const PairwiseEviction* pairwise() const noexcept override { return is_pairwise_ ? this : nullptr; }
  [[nodiscard]] bool is_monotone() const noexcept override { return true; }

  [[nodiscard]] std::size_t classes() const noexcept override { return kind_of_.size(); }
  [[nodiscard]] std::size_t class_of(ModelId model) const noexcept override {
    return class_of_[static_cast<std::size_t>(model)];
  }
  [[nodiscard]] bool evicts(std::size_t target, std::size_t other) const noexcept override {
    return target == other ? own_[target] : evicts_[kind_of_[target] * kinds_ + kind_of_[other]];
  }
  [[nodiscard]] std::size_t kinds() const noexcept override { return kinds_; }
  [[nodiscard]] std::size_t kind_of(std::size_t model_class) const noexcept override { return kind_of_[model_class]; }

 private:
  std::vector<std::size_t> class_of_;
  std::vector<std::size_t> kind_of_;
  std::vector<bool> own_;
  std::vector<bool> evicts_;
  std::size_t kinds_ = 0;
  bool is_pairwise_;
};

PlannerFactory random_pairwise(std::uint64_t seed, bool is_pairwise) {
  return [=](const ModelTable& models) { return std::make_shared<RandomPairwise>(models.size(), seed, is_pairwise); };
}

/// A number that depends on the whole question.
std::uint64_t hash_of(const PlanInput& input, std::uint64_t seed) {
  std::uint64_t hash = seed + static_cast<std::uint64_t>(input.target);
  for (const ModelId each : input.running) hash = Random(hash ^ (static_cast<std::uint64_t>(each) + 77))();
  return hash;
}

/// Anything at all: one more that runs may change everything.
PlannerFactory erratic(std::uint64_t seed) {
  return function_planner({.plan = [seed](const PlanInput& input, std::vector<ModelId>& evict) {
    Random random(hash_of(input, seed));
    const int density = static_cast<int>(seed % 50);
    for (const ModelId each : input.running) {
      if (each != input.target && random.chance(density)) evict.push_back(each);
    }
  }});
}

/// Names what does not run, twice, itself, and what there is not; sometimes it throws.
PlannerFactory senseless(std::uint64_t seed, std::size_t models) {
  return function_planner({.plan = [seed, models](const PlanInput& input, std::vector<ModelId>& evict) {
    Random random(hash_of(input, seed));
    if (seed % 2 == 0 && random.chance(15)) throw std::runtime_error("no idea");
    for (std::size_t i = random.below(4); i != 0; --i) {
      const std::size_t place = evict.empty() ? 0 : random.below(evict.size());
      const auto any = ModelId{static_cast<std::uint32_t>(random.below(models + 2))};
      const ModelId named =
          random.chance(20) || input.running.empty() ? any : input.running[random.below(input.running.size())];
      evict.insert(evict.begin() + static_cast<std::ptrdiff_t>(place), named);
    }
  }});
}

/// So many fit; the longest unused go.
PlannerFactory least_recent(std::size_t room) {
  return function_planner({.plan =
                               [room](const PlanInput& input, std::vector<ModelId>& evict) {
                                 std::vector<ModelId> others;
                                 for (const ModelId each : input.running) {
                                   if (each != input.target) others.push_back(each);
                                 }
                                 if (others.size() < room) return;
                                 std::stable_sort(others.begin(), others.end(), [&](ModelId a, ModelId b) {
                                   return input.last_used[static_cast<std::size_t>(a)] <
                                          input.last_used[static_cast<std::size_t>(b)];
                                 });
                                 others.resize(others.size() - room + 1);
                                 std::sort(others.begin(), others.end());
                                 evict.insert(evict.end(), others.begin(), others.end());
                               },
                           .is_monotone = false,
                           .uses_history = true});
}

PlannerFactory random_groups(Random& random, const std::vector<SwapModel>& models) {
  GroupPlannerOptions options;
  const std::size_t groups = random.between(1, std::max<std::size_t>(models.size() / 2, 1));
  for (std::size_t i = 0; i != groups; ++i) {
    options.groups.push_back({.name = std::string("g") + std::to_string(i),
                              .swap = random.chance(70),
                              .exclusive = random.chance(50),
                              .persistent = random.chance(25)});
  }
  for (const SwapModel& each : models) {
    if (random.chance(85)) options.groups[random.below(groups)].members.push_back(each.name);
  }
  std::erase_if(options.groups, [](const ModelGroup& each) { return each.members.empty(); });
  return group_planner(std::move(options));
}

/// An expression over the names of models and sets before it.
std::string random_expression(Random& random, const std::vector<SwapModel>& models, std::size_t sets, int depth) {
  if (depth == 0 || random.chance(30)) {
    if (sets != 0 && random.chance(15)) return "+s" + std::to_string(random.below(sets));
    return models[random.below(models.size())].name;
  }
  std::string text = random_expression(random, models, sets, depth - 1);
  for (std::size_t i = random.between(1, 2); i != 0; --i) {
    text += random.chance(55) ? " & " : " | ";
    text += random_expression(random, models, sets, depth - 1);
  }
  return '(' + text + ')';
}

PlannerFactory random_matrix(Random& random, const std::vector<SwapModel>& models) {
  MatrixPlannerOptions options;
  const std::size_t sets = random.between(1, 4);
  for (std::size_t i = 0; i != sets; ++i) {
    options.sets.push_back({.name = "s" + std::to_string(i), .expression = random_expression(random, models, i, 3)});
  }
  for (const SwapModel& each : models) {
    if (random.chance(40)) {
      options.evict_costs.push_back({.name = each.name, .cost = static_cast<std::int64_t>(random.between(1, 5))});
    }
  }
  return matrix_planner(std::move(options));
}

PlannerFactory random_budget(Random& random, const std::vector<SwapModel>& models, bool may_be_cheapest) {
  BudgetPlannerOptions options{.budgets = {{.name = "gpu", .bytes = 100}, {.name = "ram", .bytes = 100}}};
  for (const SwapModel& each : models) {
    ModelMemory memory{.model = each.name};
    for (const MemoryBudget& budget : options.budgets) {
      if (random.chance(70)) memory.uses.push_back({.budget = budget.name, .bytes = random.below(70)});
    }
    options.models.push_back(std::move(memory));
  }
  options.models[0].is_pinned = random.chance(30) && models.size() > 1;
  if (options.models[0].is_pinned) options.models[0].uses.clear();
  if (may_be_cheapest && random.chance(60)) options.victims = BudgetVictims::kCheapest;
  return budget_planner(std::move(options));
}

void choose_pairwise(World& world, Random& random) {
  switch (random.below(3)) {
    case 0:
      world.planner = "exclusive";
      world.options.planner = exclusive_planner();
      break;
    case 1:
      world.planner = "group";
      world.options.planner = random_groups(random, world.options.models);
      break;
    default:
      world.planner = "random pairwise";
      world.options.planner = random_pairwise(random(), true);
  }
}

void choose_general(World& world, Random& random) {
  const std::size_t models = world.options.models.size();
  switch (random.below(8)) {
    case 7:
      world.planner = "budget";
      world.options.planner = random_budget(random, world.options.models, uses_time(world.kind));
      break;
    case 5:
    case 6:
      world.planner = "matrix";
      world.options.planner = random_matrix(random, world.options.models);
      break;
    case 0:
      world.planner = "monotone, asked";
      world.options.planner = random_pairwise(random(), false);
      break;
    case 1:
      world.planner = "senseless";
      world.options.planner = senseless(random(), models);
      break;
    case 2:
      world.planner = "least recently used";
      world.options.planner = least_recent(random.between(1, 3));
      break;
    default:
      world.planner = "erratic";
      world.options.planner = erratic(random());
  }
}

void choose_policies(World& world, Random& random) {
  SwapSchedulerOptions& options = world.options;
  world.has_deadlines = random.chance(70);
  if (random.chance(30)) options.order = QueueOrder::kDeadline;
  if (random.chance(20)) options.order = QueueOrder::kFairShare;
  if (random.chance(30)) options.aging_step = std::chrono::microseconds(random.between(1, 2000));
  for (std::size_t i = random.below(4); i != 0; --i) {
    options.tenants.push_back(
        {.name = std::string("t") + std::to_string(i), .weight = static_cast<std::uint32_t>(random.between(1, 5))});
  }
  if (random.chance(25)) options.max_queued = random.between(1, 12);
  if (random.chance(25)) options.max_queued_per_model = random.between(1, 5);
  if (random.chance(25)) options.max_queued_per_tenant = random.between(1, 6);
  if (random.chance(30)) {
    options.back_off.first = std::chrono::microseconds(random.between(1, 500));
    options.back_off.longest = options.back_off.first * random.between(1, 20);
  }
  options.cancel_unwanted = random.chance(30);
}

}  // namespace

World make_world(WorldKind kind, std::uint64_t seed) {
  Random random(seed * 2 + 1);
  World world{.seed = seed, .kind = kind, .options = {}, .planner = {}};
  std::size_t models = random.between(1, kind == WorldKind::kPolicy || uses_time(kind) ? 8 : 10);
  world.steps = random.between(20, 220);
  world.most_queued = random.between(3, 50);
  if (kind == WorldKind::kDeep) {
    models = random.between(2, 24);
    world.steps = 6000;
    world.most_queued = random.between(500, 4000);
  }
  if (kind == WorldKind::kWide) {
    models = random.between(65, 500);
    world.steps = 1200;
    world.most_queued = random.between(50, 600);
  }
  SwapSchedulerOptions& options = world.options;
  const bool has_priorities = random.chance(60);
  const bool has_limits = random.chance(kind == WorldKind::kDeep ? 30 : 60);
  for (std::size_t i = 0; i != models; ++i) {
    const std::string number = std::to_string(i);
    SwapModel model{.name = 'm' + std::string(3 - number.size(), '0') + number};
    if (has_priorities) model.priority = static_cast<std::int32_t>(random.below(5)) - 2;
    if (has_limits) model.concurrency_limit = static_cast<std::int32_t>(random.below(4));
    if (kind == WorldKind::kDeep && random.chance(60)) model.concurrency_limit = 100'000;
    if (uses_time(kind) && random.chance(20)) {
      model.idle_unload = std::chrono::microseconds(random.between(50, 3000));
    }
    options.models.push_back(model);
  }
  options.limit_at = std::array{LimitAt::kArrival, LimitAt::kGrant, LimitAt::kService}[random.below(3)];
  options.conduct = random.chance(50) ? SwapConduct::kCured : SwapConduct::kPublished;
  world.has_rough_ends = random.chance(60);
  const int general = kind == WorldKind::kGeneral ? 100 : kind == WorldKind::kPairwise ? 0 : 30;
  const bool is_general = random.chance(uses_time(kind) ? 60 : general);
  is_general ? choose_general(world, random) : choose_pairwise(world, random);
  options.planner = watched(std::move(options.planner), world.bad_questions);
  if (kind == WorldKind::kPolicy || (uses_time(kind) && random.chance(50))) choose_policies(world, random);
  if (kind == WorldKind::kClaim) {
    if (random.chance(70)) options.max_wait = std::chrono::microseconds(random.between(1, 3000));
    if (random.chance(40)) options.claim_priority = static_cast<std::int32_t>(random.below(5));
  }
  if (kind == WorldKind::kPolicy || uses_time(kind)) {
    options.batching.by_cost = random.chance(25);
    options.reject_late = world.has_deadlines && random.chance(40);
    if (random.chance(25)) options.batching.min_residency = std::chrono::microseconds(random.between(1, 2000));
    for (SwapModel& each : options.models) each.start_time = std::chrono::microseconds(random.below(400));
  }
  return world;
}

std::string to_text(const World& world) {
  const SwapSchedulerOptions& options = world.options;
  std::string text =
      "seed " + std::to_string(world.seed) + ": " + std::to_string(options.models.size()) + " models (priority/limit:";
  for (std::size_t i = 0; i != std::min<std::size_t>(options.models.size(), 12); ++i) {
    text +=
        ' ' + std::to_string(options.models[i].priority) + '/' + std::to_string(options.models[i].concurrency_limit);
  }
  text += "), " + world.planner + " planner, limit at ";
  text += std::array{"arrival", "grant", "service"}[static_cast<std::size_t>(options.limit_at)];
  text += options.conduct == SwapConduct::kCured ? ", cured" : ", published";
  text += ", order " + std::to_string(static_cast<int>(options.order));
  text += ", aging step " + std::to_string(options.aging_step.count()) + " ns";
  for (const SwapTenant& each : options.tenants) text += ", " + each.name + " of weight " + std::to_string(each.weight);
  const auto bound = [&](const char* name, std::size_t most) {
    if (most < 1000) text += std::string(", ") + name + ' ' + std::to_string(most);
  };
  bound("max_queued", options.max_queued);
  bound("max_queued_per_model", options.max_queued_per_model);
  bound("max_queued_per_tenant", options.max_queued_per_tenant);
  if (options.back_off.first != Duration::zero()) {
    text += ", back-off " + std::to_string(options.back_off.first.count()) + " to " +
            std::to_string(options.back_off.longest.count()) + " ns";
  }
  if (options.max_wait != Duration::max()) text += ", max_wait " + std::to_string(options.max_wait.count()) + " ns";
  if (options.claim_priority < 100) text += ", claims from priority " + std::to_string(options.claim_priority);
  if (options.batching.by_cost) text += ", by cost";
  if (options.reject_late) text += ", rejects the late";
  if (options.batching.min_residency != Duration::zero()) {
    text += ", residency " + std::to_string(options.batching.min_residency.count()) + " ns";
  }
  if (options.cancel_unwanted) text += ", cancels the unwanted";
  return text;
}

std::string to_text(const Step& step) {
  const std::string which = std::to_string(step.which);
  std::string text = step.after_us != 0 ? '+' + std::to_string(step.after_us) + " us " : "";
  switch (step.what) {
    case Step::What::kRequest:
      text += "request m" + which + " as #" + std::to_string(step.name);
      if (step.value != 0) text += " priority " + std::to_string(step.value);
      if (step.tenant != 0) text += " tenant " + std::to_string(step.tenant);
      if (step.deadline_us >= 0) text += " deadline in " + std::to_string(step.deadline_us) + " us";
      return text;
    case Step::What::kCancel:
      return text + "cancel #" + which;
    case Step::What::kRefuse:
      return text + "refuse #" + which;
    case Step::What::kServed:
      return text + "served #" + which;
    case Step::What::kSwapDone:
      text += "swap to m" + which;
      if (step.name != 0) text += ", " + std::to_string(step.name) + " before the newest,";
      return text + (step.value != 0 ? " done" : " failed");
    case Step::What::kState:
      return text + 'm' + which + ' ' + std::string(to_string(static_cast<ModelState>(step.value)));
    case Step::What::kUnload:
      text += "unload";
      for (const ModelId each : step.models) text += " m" + std::to_string(static_cast<std::uint32_t>(each));
      return text;
    case Step::What::kStopped:
      text += "stop";
      if (step.name != 0) text += ", " + std::to_string(step.name) + " before the newest,";
      return text + " done";
    case Step::What::kTimer:
      return text + "timer";
    case Step::What::kShutdown:
      break;
  }
  return text + "shutdown";
}

}  // namespace penstock::testing
