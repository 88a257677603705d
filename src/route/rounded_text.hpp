// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Durations as the refusals of this room tell them.

#include <cmath>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/clock.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// "4.2 s", "250 ms": two digits are enough for a reader.
inline std::string rounded_text(Duration duration) {
  const auto ns = static_cast<double>(duration.count());
  const auto [value, unit] = std::abs(ns) >= 1e9   ? std::pair(ns / 1e9, "s")
                             : std::abs(ns) >= 1e6 ? std::pair(ns / 1e6, "ms")
                             : std::abs(ns) >= 1e3 ? std::pair(ns / 1e3, "us")
                                                   : std::pair(ns, "ns");
  const double rounded = std::abs(value) < 10 ? std::round(value * 10) / 10 : std::round(value);
  return fmt::format("{} {}", rounded, unit);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
