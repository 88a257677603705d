// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Which models run together, said by the memory that each takes, and that there is.
///
/// What has to go is chosen from the running models that are not pinned and take some of a budget that is short, that
/// is, that does not hold all that runs and the target. Afterwards no model can be taken off the list: without any one
/// of them the rest would not fit.
///
/// | `BudgetVictims`      | Chosen                                                                               |
/// |----------------------|--------------------------------------------------------------------------------------|
/// | `kLeastRecentlyUsed` | the one that was unused for longest, then the next one, until all fits. Then, from   |
/// |                      | the last chosen to the first, each that turned out unneeded stays                    |
/// | `kCheapest`          | by the time that bringing them back would take, against how much they free, as below |
///
/// For `kCheapest`, each model frees a part of what is short: of each such budget as much as it takes, but at most all
/// that is short, as a fraction of that; summed. Models are gone through from the least start time for what they free
/// to the greatest. One that is not enough with those chosen before is chosen, too, if it helps. One that is, makes a
/// list with them, from which, from the greatest start time to the least, each that is unneeded is left out again. Of
/// these lists the one of the least sum of start times wins, of equal ones the first. With one budget the sum is at
/// most twice the least possible one (Gens and Levner 1979), mostly it is that; to find that is an NP-hard question.
///
/// Of equals, the one that was unused for longer goes first, and of those the one whose name is first. Where a planner
/// is asked without `last_used`, all are equal in that; without `start_times`, those of the models' options count.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "penstock/swap/eviction_planner.hpp"
#include "penstock/swap/swap_model.hpp"

namespace penstock::inline PENSTOCK_ABI {

enum class BudgetVictims : std::uint8_t {
  kLeastRecentlyUsed,
  kCheapest,
};

/// The name of `victims`: "least_recently_used" or "cheapest".
std::string_view to_string(BudgetVictims victims) noexcept;

/// Such as the memory of one GPU.
struct MemoryBudget {
  std::string name = "memory";  ///< 1 to 256 bytes; no two budgets have the same
  std::uint64_t bytes = 0;      ///< [1, 2^44]
};

/// What a model takes of one budget while it runs, from its start until it has stopped.
struct MemoryUse {
  std::string budget = "memory";  ///< the name of a budget, once for a model
  std::uint64_t bytes = 0;        ///< at most 2^44
};

struct ModelMemory {
  std::string model = {};
  /// Of the budgets that are not there, it takes nothing.
  std::vector<MemoryUse> uses = {};
  /// It is never evicted for another one.
  bool is_pinned = false;
};

struct BudgetPlannerOptions {
  /// At least one.
  std::vector<MemoryBudget> budgets = {};
  /// Each model of the table, once. Each must fit by itself, and beside all pinned ones: else it might never run.
  std::vector<ModelMemory> models = {};
  BudgetVictims victims = BudgetVictims::kLeastRecentlyUsed;

  /// OK, or InvalidArgument with all that is wrong, also with respect to `table`.
  [[nodiscard]] absl::Status validate(const ModelTable& table) const;
};

/// A budget in a plan.
struct BudgetUse {
  std::string name = {};
  std::uint64_t bytes = 0;   ///< that it has
  std::uint64_t needed = 0;  ///< by all that runs, and the target
  std::uint64_t used = 0;    ///< by all that is left, and the target

  friend bool operator==(const BudgetUse&, const BudgetUse&) = default;
};

struct BudgetPlan {
  std::vector<ModelId> evict = {};  ///< ascending
  std::vector<BudgetUse> budgets = {};

  friend bool operator==(const BudgetPlan&, const BudgetPlan&) = default;
};

/// Neither pairwise nor monotone: with more models, another one may be enough for all that is short.
///
/// Threads: immutable; any member, from any thread.
class BudgetPlanner final : public EvictionPlanner {
 public:
  /// Throws: std::invalid_argument with all that is wrong.
  BudgetPlanner(const BudgetPlannerOptions& options, const ModelTable& models);

  [[nodiscard]] std::string_view name() const noexcept override { return "budget"; }
  [[nodiscard]] bool uses_history() const noexcept override { return true; }

  /// Cost: for n running models and b budgets, O(b n) if all fits; else O(n (b + log n)), and for `kCheapest` that for
  /// each model that makes a list.
  void plan(const PlanInput& input, std::vector<ModelId>& evict) const override;

  /// The same, with what it leads to.
  [[nodiscard]] BudgetPlan explain(const PlanInput& input) const;

  /// What `model` takes of each budget, in their order.
  [[nodiscard]] std::span<const std::uint64_t> uses(ModelId model) const noexcept {
    return std::span(uses_).subspan(static_cast<std::size_t>(model) * budgets_.size(), budgets_.size());
  }

 private:
  struct Victim;
  struct Shortage;

  [[nodiscard]] std::vector<std::uint64_t> needed(const PlanInput& input) const;
  [[nodiscard]] Shortage shortage(const PlanInput& input) const;
  [[nodiscard]] std::vector<Victim> candidates(const PlanInput& input, const Shortage& shortage) const;
  [[nodiscard]] std::vector<Victim> take_longest_unused(std::vector<Victim> all, Shortage shortage) const;
  [[nodiscard]] std::vector<Victim> take_cheapest(std::vector<Victim> all, Shortage shortage) const;
  void leave_unneeded(std::vector<Victim>& victims, const Shortage& shortage) const;
  [[nodiscard]] static Duration sum_of_start_times(std::span<const Victim> victims) noexcept;

  std::vector<MemoryBudget> budgets_;
  std::vector<std::uint64_t> uses_;    // by model, then by budget
  std::vector<Duration> start_times_;  // of the models' options
  std::vector<bool> is_pinned_;        // by model
  BudgetVictims victims_;
};

/// Throws what the constructor of `BudgetPlanner` throws once the models are known.
[[nodiscard]] PlannerFactory budget_planner(BudgetPlannerOptions options);

}  // namespace penstock::inline PENSTOCK_ABI
