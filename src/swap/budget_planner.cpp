// SPDX-License-Identifier: MIT
#include "penstock/swap/budget_planner.hpp"

#include <algorithm>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "penstock/core/detail/option_text.hpp"

namespace penstock::inline PENSTOCK_ABI {

struct BudgetPlanner::Victim {
  ModelId id;
  std::uint64_t last_used;
  Duration start_time;
  double worth = 0;  // start time for each part of what is short that it frees

  /// Whether it goes before `other` where nothing else tells them apart.
  [[nodiscard]] bool is_before(const Victim& other) const noexcept {
    return std::tie(last_used, id) < std::tie(other.last_used, other.id);
  }
};

/// How much is missing, by budget.
struct BudgetPlanner::Shortage {
  std::vector<std::uint64_t> bytes;

  [[nodiscard]] bool is_over() const noexcept {
    return std::all_of(bytes.begin(), bytes.end(), [](std::uint64_t missing) { return missing == 0; });
  }
  [[nodiscard]] bool is_eased_by(std::span<const std::uint64_t> uses) const noexcept {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (bytes[i] > 0 && uses[i] > 0) return true;
    }
    return false;
  }
  [[nodiscard]] bool is_ended_by(std::span<const std::uint64_t> uses) const noexcept {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (bytes[i] > uses[i]) return false;
    }
    return true;
  }
  /// The sum of the parts that `uses` are of what is missing.
  [[nodiscard]] double part_of(std::span<const std::uint64_t> uses) const noexcept {
    double parts = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (bytes[i] == 0) continue;
      parts += static_cast<double>(std::min(uses[i], bytes[i])) / static_cast<double>(bytes[i]);
    }
    return parts;
  }
  void ease(std::span<const std::uint64_t> uses) noexcept {
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] -= std::min(uses[i], bytes[i]);
  }
};

/// At most the longest of all times.
Duration BudgetPlanner::sum_of_start_times(std::span<const Victim> victims) noexcept {
  Duration sum{};
  for (const Victim& victim : victims) {
    sum = victim.start_time > Duration::max() - sum ? Duration::max() : sum + victim.start_time;
  }
  return sum;
}

std::string_view to_string(BudgetVictims victims) noexcept {
  return victims == BudgetVictims::kLeastRecentlyUsed ? "least_recently_used" : "cheapest";
}

BudgetPlanner::BudgetPlanner(const BudgetPlannerOptions& options, const ModelTable& models)
    : budgets_(options.budgets), is_pinned_(models.size(), false), victims_(options.victims) {
  if (const absl::Status bad = options.validate(models); !bad.ok()) {
    throw std::invalid_argument(std::string(detail::text_of(bad)));
  }
  uses_.assign(models.size() * budgets_.size(), 0);
  for (const ModelMemory& memory : options.models) {
    const auto model = static_cast<std::size_t>(*models.find(memory.model));
    is_pinned_[model] = memory.is_pinned;
    for (const MemoryUse& use : memory.uses) {
      const auto budget = std::find_if(budgets_.begin(), budgets_.end(),
                                       [&use](const MemoryBudget& one) { return one.name == use.budget; });
      uses_[model * budgets_.size() + static_cast<std::size_t>(budget - budgets_.begin())] = use.bytes;
    }
  }
  for (const SwapModel& model : models.all()) start_times_.push_back(model.start_time);
}

std::vector<std::uint64_t> BudgetPlanner::needed(const PlanInput& input) const {
  const auto target = uses(input.target);
  std::vector<std::uint64_t> sums(target.begin(), target.end());
  for (const ModelId model : input.running) {
    if (model == input.target) continue;
    const auto taken = uses(model);
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += taken[i];
  }
  return sums;
}

BudgetPlanner::Shortage BudgetPlanner::shortage(const PlanInput& input) const {
  Shortage result{needed(input)};
  for (std::size_t i = 0; i < budgets_.size(); ++i) {
    result.bytes[i] -= std::min(result.bytes[i], budgets_[i].bytes);
  }
  return result;
}

std::vector<BudgetPlanner::Victim> BudgetPlanner::candidates(const PlanInput& input, const Shortage& shortage) const {
  std::vector<Victim> all;
  for (const ModelId model : input.running) {
    const auto place = static_cast<std::size_t>(model);
    if (model == input.target || is_pinned_[place] || !shortage.is_eased_by(uses(model))) continue;
    all.push_back({model, input.last_used.empty() ? 0 : input.last_used[place],
                   input.start_times.empty() ? start_times_[place] : input.start_times[place]});
  }
  return all;
}

std::vector<BudgetPlanner::Victim> BudgetPlanner::take_longest_unused(std::vector<Victim> all,
                                                                      Shortage shortage) const {
  std::sort(all.begin(), all.end(), [](const Victim& a, const Victim& b) { return a.is_before(b); });
  const Shortage all_missing = shortage;
  std::vector<Victim> taken;
  for (const Victim& victim : all) {
    if (!shortage.is_eased_by(uses(victim.id))) continue;
    shortage.ease(uses(victim.id));
    taken.push_back(victim);
  }
  leave_unneeded(taken, all_missing);
  return taken;
}

std::vector<BudgetPlanner::Victim> BudgetPlanner::take_cheapest(std::vector<Victim> all, Shortage shortage) const {
  for (Victim& victim : all) {
    victim.worth = static_cast<double>(victim.start_time.count()) / shortage.part_of(uses(victim.id));
  }
  std::sort(all.begin(), all.end(),
            [](const Victim& a, const Victim& b) { return a.worth != b.worth ? a.worth < b.worth : a.is_before(b); });
  const Shortage all_missing = shortage;
  std::vector<Victim> chosen;
  std::vector<Victim> best;
  Duration best_time = Duration::max();
  for (const Victim& victim : all) {
    if (!shortage.is_eased_by(uses(victim.id))) continue;
    if (!shortage.is_ended_by(uses(victim.id))) {
      shortage.ease(uses(victim.id));
      chosen.push_back(victim);
      continue;
    }
    std::vector<Victim> enough = chosen;
    enough.push_back(victim);
    std::sort(enough.begin(), enough.end(), [](const Victim& a, const Victim& b) {
      return a.start_time != b.start_time ? a.start_time < b.start_time : a.is_before(b);
    });
    leave_unneeded(enough, all_missing);
    if (const Duration time = sum_of_start_times(enough); best.empty() || time < best_time) {
      best = std::move(enough);
      best_time = time;
    }
  }
  return best;
}

/// From the last to the first.
void BudgetPlanner::leave_unneeded(std::vector<Victim>& victims, const Shortage& shortage) const {
  std::vector<std::uint64_t> freed(budgets_.size(), 0);
  for (const Victim& victim : victims) {
    for (std::size_t i = 0; i < freed.size(); ++i) freed[i] += uses(victim.id)[i];
  }
  auto kept = victims.end();  // from here on
  for (auto next = victims.end(); next != victims.begin();) {
    const auto mine = uses((--next)->id);
    bool is_needed = false;
    for (std::size_t i = 0; i < freed.size(); ++i) is_needed |= freed[i] - mine[i] < shortage.bytes[i];
    if (is_needed) {
      *--kept = *next;
      continue;
    }
    for (std::size_t i = 0; i < freed.size(); ++i) freed[i] -= mine[i];
  }
  victims.erase(victims.begin(), kept);
}

void BudgetPlanner::plan(const PlanInput& input, std::vector<ModelId>& evict) const {
  const Shortage missing = shortage(input);
  if (missing.is_over()) return;
  std::vector<Victim> all = candidates(input, missing);
  const std::vector<Victim> victims = victims_ == BudgetVictims::kLeastRecentlyUsed
                                          ? take_longest_unused(std::move(all), missing)
                                          : take_cheapest(std::move(all), missing);
  const std::size_t before = evict.size();
  evict.reserve(before + victims.size());
  for (const Victim& victim : victims) evict.push_back(victim.id);
  std::sort(evict.begin() + static_cast<std::ptrdiff_t>(before), evict.end());
}

BudgetPlan BudgetPlanner::explain(const PlanInput& input) const {
  BudgetPlan result;
  plan(input, result.evict);
  const std::vector<std::uint64_t> sums = needed(input);
  for (std::size_t i = 0; i < budgets_.size(); ++i) {
    std::uint64_t used = sums[i];
    for (const ModelId model : result.evict) used -= uses(model)[i];
    result.budgets.push_back({budgets_[i].name, budgets_[i].bytes, sums[i], used});
  }
  return result;
}

PlannerFactory budget_planner(BudgetPlannerOptions options) {
  return [options = std::move(options)](const ModelTable& models) {
    return std::make_shared<const BudgetPlanner>(options, models);
  };
}

}  // namespace penstock::inline PENSTOCK_ABI
