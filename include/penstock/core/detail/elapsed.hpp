// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How long it is from one time to another.

#include <algorithm>
#include <cstdint>

#include "penstock/core/clock.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// How long after `from` is `to`: zero if it is not after it, and held at the longest duration.
constexpr Duration elapsed(TimePoint from, TimePoint to) noexcept {
  if (to <= from) return Duration::zero();
  // The difference of two points may be more than a duration can hold, but never more than 2^64.
  const std::uint64_t ticks = static_cast<std::uint64_t>(to.time_since_epoch().count()) -
                              static_cast<std::uint64_t>(from.time_since_epoch().count());
  return Duration(static_cast<Duration::rep>(std::min(ticks, static_cast<std::uint64_t>(Duration::max().count()))));
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
