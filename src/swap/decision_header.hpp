// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <vector>

#include "penstock/swap/swap_options.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// The header of a decision log.
[[nodiscard]] std::vector<std::byte> decision_header(const SwapSchedulerOptions& options);

}  // namespace penstock::inline PENSTOCK_ABI::detail
