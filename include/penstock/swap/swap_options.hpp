// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a `SwapScheduler` is set up. As it comes, it decides as the published scheduler does, without the faults of that
/// one; everything that no other scheduler does is off.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/swap/eviction_planner.hpp"
#include "penstock/swap/swap_model.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// Where `SwapModel::concurrency_limit` is enforced.
enum class LimitAt : std::uint8_t {
  kArrival,  ///< so many are let in at a time, whether they wait or are served: the next one is refused at once
  kGrant,    ///< so many are served at a time: more may wait, and who is one too many when its model is up is refused
  kService,  ///< so many are served at a time, and who is one too many waits for its turn
};

/// Whether the scheduler repeats what is a fault of the published one.
enum class SwapConduct : std::uint8_t {
  kCured,      ///< none of the faults below. One that both have: who needs a model to go that is still being stopped
               ///< for somebody else waits for that, even if another one could go in its place
  kPublished,  ///< decision for decision as published. A request may overtake older ones of its own model that are
               ///< queued; whoever waited for a swap is granted even if the model has ended since; a process that
               ///< ends by itself lets nobody in until the next event; a target that is still stopping counts as
               ///< running. What would answer a request twice or never, as late reports, unloads during a swap and a
               ///< second end did, is cured all the same
};

/// Who goes first among requests of equal priority.
enum class QueueOrder : std::uint8_t {
  kArrival,    ///< first come, first served
  kDeadline,   ///< earliest deadline first
  kFairShare,  ///< by the share of its tenant: start-time fair queuing (Goyal, Vin and Cheng 1996)
};

struct SwapTenant {
  std::string name = {};
  /// Of two tenants that both wait, one with twice the weight gets twice as many requests through; [1, 1000000].
  std::uint32_t weight = 1;

  friend bool operator==(const SwapTenant&, const SwapTenant&) = default;
};

/// A model that could not be brought up is not tried again for a while: who asks for it is refused at once, and nothing
/// that works is evicted for it.
struct SwapBackOff {
  Duration first = Duration::zero();  ///< after the first failure; 0: never
  double factor = 2;                  ///< each further failure in a row makes it so many times longer; [1, 10]
  Duration longest = std::chrono::minutes(5);
};

/// Which model comes next, and how long it stays: against swapping to and fro.
struct SwapBatching {
  /// Of all models that could be brought up now, the one comes first for whose requests waiting has cost most, against
  /// what its swap costs: the sum of the times that they have waited so far, by their tenants' weights, for each second
  /// that the swap is expected to take. Otherwise, the one whose first request is first in the queue.
  bool by_cost = false;
  /// Once ready, a model is not evicted for so long, but for a request that has waited for `max_wait`. At least 0.
  Duration min_residency = Duration::zero();
};

struct SwapSchedulerOptions {
  /// Names the scheduler in texts and metrics; 1 to 256 bytes.
  std::string name = "swap";
  std::vector<SwapModel> models = {};
  PlannerFactory planner = exclusive_planner();

  LimitAt limit_at = LimitAt::kArrival;
  SwapConduct conduct = SwapConduct::kCured;

  QueueOrder order = QueueOrder::kArrival;
  /// Who has waited for so long goes as if its priority were higher by one; 0: never. At least 1 us otherwise.
  Duration aging_step = Duration::zero();
  /// At most 65535, with different names.
  std::vector<SwapTenant> tenants = {};

  /// Once a request has waited for so long, nobody who came after it is let through to the models that are in its way,
  /// nor brings up one that would be, or its own; with `kService`, nor is served by its own before it: so it
  /// waits at most for that time, then for the swaps under way and the longest service in its way, then for its own
  /// swap, and for all that of those that did so before it, whatever their priorities. While somebody does, an event
  /// that may let somebody through costs O(length of the queue), once more for each that goes for whose sake others
  /// were passed by. Positive, max(): never.
  Duration max_wait = Duration::max();
  /// A request of at least this priority does so from its arrival on: smaller swaps do not take, one by one, what it
  /// needs at once. It ends no residency (`min_residency`) before `max_wait`: until then the models that may stay serve
  /// on. max(): none.
  std::int32_t claim_priority = std::numeric_limits<std::int32_t>::max();

  /// A request whose deadline comes before it can be served, as far as that can be told, is refused at once, and no
  /// swap is begun for it. (A deadline that has come always ends a request that waits.)
  bool reject_late = false;

  SwapBackOff back_off = {};
  SwapBatching batching = {};
  /// A swap that nobody waits for any more is called off, if others wait.
  bool cancel_unwanted = false;

  // Of those who wait, in the queue or for a swap to their model that is under way, who is one too many is refused, and
  // told when to try again. At least 1.
  std::size_t max_queued = std::numeric_limits<std::size_t>::max();
  std::size_t max_queued_per_model = std::numeric_limits<std::size_t>::max();
  std::size_t max_queued_per_tenant = std::numeric_limits<std::size_t>::max();

  /// OK, or InvalidArgument with all that is wrong. What the planner finds wrong is not known before it is made.
  [[nodiscard]] absl::Status validate() const;
};

}  // namespace penstock::inline PENSTOCK_ABI
