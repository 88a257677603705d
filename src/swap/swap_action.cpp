// SPDX-License-Identifier: MIT
#include "penstock/swap/swap_action.hpp"

namespace penstock::inline PENSTOCK_ABI {

std::string_view to_string(SwapReason reason) noexcept {
  switch (reason) {
    case SwapReason::kNone:
      return "none";
    case SwapReason::kReady:
      return "ready";
    case SwapReason::kSwapped:
      return "swapped";
    case SwapReason::kUnknownModel:
      return "unknown_model";
    case SwapReason::kConcurrencyLimit:
      return "concurrency_limit";
    case SwapReason::kQueueFull:
      return "queue_full";
    case SwapReason::kModelQueueFull:
      return "model_queue_full";
    case SwapReason::kTenantQueueFull:
      return "tenant_queue_full";
    case SwapReason::kExpired:
      return "expired";
    case SwapReason::kTooLate:
      return "too_late";
    case SwapReason::kSwapFailed:
      return "swap_failed";
    case SwapReason::kNotReady:
      return "not_ready";
    case SwapReason::kBackingOff:
      return "backing_off";
    case SwapReason::kUnloaded:
      return "unloaded";
    case SwapReason::kPlannerFailed:
      return "planner_failed";
    case SwapReason::kShutdown:
      return "shutdown";
    case SwapReason::kRequested:
      return "requested";
    case SwapReason::kDrained:
      return "drained";
    case SwapReason::kUnwanted:
      return "unwanted";
    case SwapReason::kIdle:
      return "idle";
  }
  return "(invalid)";
}

}  // namespace penstock::inline PENSTOCK_ABI
