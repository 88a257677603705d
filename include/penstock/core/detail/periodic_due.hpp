// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The arithmetic of what happens at intervals.

#include <cstdint>

#include "penstock/core/clock.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// What has fallen due by `now`, of a task whose next call was due at `due`.
struct PeriodicDue {
  std::uint64_t times = 0;  ///< at `due`, and at each whole interval after it that `now` has reached; at least 1
  TimePoint last{};         ///< the last of these
  TimePoint next{};         ///< an interval after that, or as many as it takes to be after `now`
};

/// `random` is in [-1, 1], and moves the next time by that part of the jitter. Requires: due <= now, interval > 0.
PeriodicDue periodic_due(TimePoint due, TimePoint now, Duration interval, double jitter, double random) noexcept;

/// `interval`, longer or shorter by `random` of the jitter.
Duration jittered(Duration interval, double jitter, double random) noexcept;

}  // namespace penstock::inline PENSTOCK_ABI::detail
