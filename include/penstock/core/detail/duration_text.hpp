// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Durations as numbers and in words.

#include <chrono>
#include <string>

#include "penstock/core/clock.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

constexpr double seconds(Duration duration) noexcept { return std::chrono::duration<double>(duration).count(); }

/// In the largest unit that fits, with up to four digits: "250 ms", "1.5 s", "30 s".
std::string duration_text(Duration duration);

}  // namespace penstock::inline PENSTOCK_ABI::detail
