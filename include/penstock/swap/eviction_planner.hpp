// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Which models have to go so that another one can run: a decision, without a clock, a lock or a thread.
///
/// | Planner              | Models run together if                                             | Looked up by |
/// |----------------------|--------------------------------------------------------------------|--------------|
/// | `exclusive_planner()`| never: one at a time                                               | class        |
/// | `group_planner()`    | their groups say so: swap, exclusive, persistent                   | class        |
/// | `matrix_planner()`   | a set contains all of them; the cheapest eviction wins             | asked        |
/// | `budget_planner()`   | they fit into so much memory; the longest unused, or cheapest, go  | asked        |
/// | `function_planner()` | a function of the user's says so                                   | asked        |
///
/// A planner whose answer depends on two models at a time only, by the class that each is in, is *pairwise*. A
/// scheduler then need not ask it for each request: it keeps an index, and decides in time that does not grow with the
/// queue.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "penstock/core/clock.hpp"
#include "penstock/swap/swap_model.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// What a scheduler tells a planner. Its models are of the table that the planner was made for.
struct PlanInput {
  ModelId target = kNoModel;
  /// The models that run, or that a swap brings up, in ascending order, each once. Of the target, only if its own
  /// process runs.
  std::span<const ModelId> running;
  /// For each model of the table: when, in a count of all grants, it was last granted to a request, or last became
  /// ready; 0: never. Empty where a planner is asked outside of a scheduler.
  std::span<const std::uint64_t> last_used;
  /// For each model of the table: how long its start takes, as far as is known. May be empty, like `last_used`.
  std::span<const Duration> start_times;
};

/// The answers of a pairwise planner: a model of class `c` evicts all that run of each class `d` for which
/// `evicts(c, d)`, but not itself.
class PairwiseEviction {
 public:
  virtual ~PairwiseEviction() = default;
  /// From 0 on, without gaps.
  [[nodiscard]] virtual std::size_t classes() const noexcept = 0;
  [[nodiscard]] virtual std::size_t class_of(ModelId model) const noexcept = 0;
  [[nodiscard]] virtual bool evicts(std::size_t target_class, std::size_t other_class) const noexcept = 0;
  /// Of two classes that belong to the same kind, `evicts` says the same about any third class, and a third says the
  /// same about both of them; and about each other what it says of any two of their kinds. (What a class says about
  /// itself is its own affair.) So an index is made of kinds, which are few, however many the classes.
  [[nodiscard]] virtual std::size_t kinds() const noexcept = 0;
  [[nodiscard]] virtual std::size_t kind_of(std::size_t model_class) const noexcept = 0;
};

/// Decides about evictions for the models of one table.
///
/// Pure: the same input gives the same answer, at any time, so that decisions can be replayed; a scheduler asks far
/// more often than it swaps.
///
/// Threads: any member, from any thread.
class EvictionPlanner {
 public:
  virtual ~EvictionPlanner() = default;

  /// Such as "group".
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;

  /// Appends to `evict` the models of `input.running` that have to go, in their order; if it throws, none. What is not
  /// running, is there twice, or is the target, is ignored by the scheduler and counted. What it throws is caught and
  /// counted; the request that it was asked for is refused with `SwapReason::kPlannerFailed`.
  virtual void plan(const PlanInput& input, std::vector<ModelId>& evict) const = 0;

  /// The classes, if it is pairwise; else null.
  [[nodiscard]] virtual const PairwiseEviction* pairwise() const noexcept { return nullptr; }

  /// Whether more running models never make fewer evictions: then who is blocked stays so while swaps only start.
  [[nodiscard]] virtual bool is_monotone() const noexcept { return pairwise() != nullptr; }

  /// Whether the answer depends on `last_used` or `start_times`.
  [[nodiscard]] virtual bool uses_history() const noexcept { return false; }
};

/// How a planner comes to the models: made once the table is known.
///
/// Throws: std::invalid_argument with all that is wrong, such as a model that is in two groups.
using PlannerFactory = std::function<std::shared_ptr<const EvictionPlanner>(const ModelTable& models)>;

/// One model at a time.
[[nodiscard]] PlannerFactory exclusive_planner();

/// A function of the user's. Called on the thread of the scheduler; pure, as `EvictionPlanner` says.
using PlanFunction = std::function<void(const PlanInput& input, std::vector<ModelId>& evict)>;

struct FunctionPlannerOptions {
  PlanFunction plan = {};
  bool is_monotone = false;   ///< as `EvictionPlanner::is_monotone`
  bool uses_history = false;  ///< as `EvictionPlanner::uses_history`
};

[[nodiscard]] PlannerFactory function_planner(FunctionPlannerOptions options);

}  // namespace penstock::inline PENSTOCK_ABI
