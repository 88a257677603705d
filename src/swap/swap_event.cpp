// SPDX-License-Identifier: MIT
#include "penstock/swap/swap_event.hpp"

#include <iterator>

namespace penstock::inline PENSTOCK_ABI {

std::string_view name_of(const SwapEvent& event) noexcept {
  static constexpr std::string_view kNames[] = {"request",     "cancel", "grant_refused", "serve_done", "swap_done",
                                                "model_state", "unload", "stopped",       "timer",      "shutdown"};
  static_assert(std::size(kNames) == std::variant_size_v<SwapEvent>);
  return kNames[event.index()];
}

}  // namespace penstock::inline PENSTOCK_ABI
