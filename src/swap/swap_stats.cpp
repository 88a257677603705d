// SPDX-License-Identifier: MIT
#include "penstock/swap/swap_stats.hpp"

#include <fmt/format.h>

namespace penstock::inline PENSTOCK_ABI {

std::string_view to_string(SwapObstacle obstacle) noexcept {
  switch (obstacle) {
    case SwapObstacle::kNothing:
      return "nothing";
    case SwapObstacle::kOwnSwap:
      return "own_swap";
    case SwapObstacle::kBusyModel:
      return "busy_model";
    case SwapObstacle::kSwapTarget:
      return "swap_target";
    case SwapObstacle::kEvicted:
      return "evicted";
    case SwapObstacle::kSharedVictim:
      return "shared_victim";
    case SwapObstacle::kStopping:
      return "stopping";
    case SwapObstacle::kLimit:
      return "limit";
    case SwapObstacle::kClaim:
      return "claim";
    case SwapObstacle::kResidency:
      return "residency";
  }
  return "(invalid)";
}

std::string to_text(const SwapExplanation& explanation, const ModelTable& models) {
  const std::string_view name = models.name(explanation.model);
  const auto requests = [](std::size_t count) {
    return count == 1 ? std::string("1 request") : fmt::format("{} requests", count);
  };
  switch (explanation.obstacle) {
    case SwapObstacle::kNothing:
      break;
    case SwapObstacle::kOwnSwap:
      return fmt::format("waits until '{}' is up", name);
    case SwapObstacle::kBusyModel:
      return fmt::format("waits for '{}', which serves {}", name, requests(explanation.in_flight));
    case SwapObstacle::kSwapTarget:
      return fmt::format("waits for '{}', which is being brought up", name);
    case SwapObstacle::kEvicted:
      return fmt::format("waits until its model has stopped, for '{}'", name);
    case SwapObstacle::kSharedVictim:
      return fmt::format("waits until '{}' has stopped, for another one", name);
    case SwapObstacle::kStopping:
      return fmt::format("waits until '{}' has stopped", name);
    case SwapObstacle::kLimit:
      return fmt::format("waits for its turn: '{}' serves {}", name, requests(explanation.in_flight));
    case SwapObstacle::kClaim:
      return fmt::format("waits for a request for '{}', which goes first", name);
    case SwapObstacle::kResidency:
      return fmt::format("waits for '{}', which may stay for now", name);
  }
  return "waits for nothing";
}

}  // namespace penstock::inline PENSTOCK_ABI
