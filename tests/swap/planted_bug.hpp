// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Faults that can be put into the reference scheduler, to see that the tests which compare with it find them.

#include <array>
#include <string_view>

namespace penstock::testing {

enum class PlantedBug {
  kNone,
  kUnstablePriority,       ///< among equal priorities, the last comes first
  kPriorityIgnored,        ///< of the request
  kPositionOffByOne,       ///< from 0 on
  kEvictComparedByPrefix,  ///< two evict sets are compared up to the shorter one's length
  kStaleSwapAccepted,      ///< a late report ends another swap
  kStaleServeDone,         ///< a second report of the same end counts
  kRefusedGrantCounts,     ///< the model stays busy
  kDoubleShutdown,         ///< refuses again those whom it has refused
  kDrainSeesOldState,      ///< what an earlier one of the walk has begun is not seen by the later ones
  kDrainStopsEarly,        ///< at the first one that has to stay
  kOrphanForgotten,        ///< an unload lets go of the claims of a swap that goes on
  kStopForgotten,          ///< what is being stopped is started
  kUnloadSkipsQueue,       ///< and refuses only those who wait for a swap
  kUnloadDoesNotDrain,
  kCancelKeepsPlace,  ///< whoever has gone still counts against the limit
  kLimitOffByOne,
  kWaitersReversed,     ///< the last who joined is granted first
  kReadinessUnchecked,  ///< whoever waited for a model that has ended is granted
  kCrashDoesNotDrain,
  kExpiresLate,      ///< one nanosecond after the deadline
  kClaimEndsUnseen,  ///< whom it has kept waits for the next walk
  kNoTurns,          ///< a claim does not keep others of its model
};

struct NamedBug {
  PlantedBug bug;
  std::string_view name;
};

inline constexpr std::array kPlantedBugs = {
    NamedBug{PlantedBug::kUnstablePriority, "priority insertion unstable"},
    NamedBug{PlantedBug::kPriorityIgnored, "priority of the request ignored"},
    NamedBug{PlantedBug::kPositionOffByOne, "position off by one"},
    NamedBug{PlantedBug::kEvictComparedByPrefix, "evict set compared by prefix"},
    NamedBug{PlantedBug::kStaleSwapAccepted, "swap without generation"},
    NamedBug{PlantedBug::kStaleServeDone, "stale serve done"},
    NamedBug{PlantedBug::kRefusedGrantCounts, "refused grant counts"},
    NamedBug{PlantedBug::kDoubleShutdown, "double shutdown"},
    NamedBug{PlantedBug::kDrainSeesOldState, "re-entrant drain"},
    NamedBug{PlantedBug::kDrainStopsEarly, "drain stops at the first blocked"},
    NamedBug{PlantedBug::kOrphanForgotten, "orphan swap forgotten"},
    NamedBug{PlantedBug::kStopForgotten, "stop forgotten"},
    NamedBug{PlantedBug::kUnloadSkipsQueue, "unload skips the queue"},
    NamedBug{PlantedBug::kUnloadDoesNotDrain, "unload does not drain"},
    NamedBug{PlantedBug::kCancelKeepsPlace, "cancel keeps the place"},
    NamedBug{PlantedBug::kLimitOffByOne, "limit off by one"},
    NamedBug{PlantedBug::kWaitersReversed, "waiters reversed"},
    NamedBug{PlantedBug::kReadinessUnchecked, "readiness unchecked"},
    NamedBug{PlantedBug::kCrashDoesNotDrain, "crash does not drain"},
    NamedBug{PlantedBug::kExpiresLate, "expires late"},
    NamedBug{PlantedBug::kClaimEndsUnseen, "claim ends unseen"},
    NamedBug{PlantedBug::kNoTurns, "no turns within a model"},
};

}  // namespace penstock::testing
