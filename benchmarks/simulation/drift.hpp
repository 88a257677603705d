// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A load that never ends: as many calls as the limit allows are on their way at all times. What a limit then becomes
/// can be told from what it should be, the slots of the provider.

#include <cstdint>
#include <string>
#include <vector>

#include "penstock/route/limit_algorithm.hpp"

#include "provider.hpp"

namespace simulation {

/// A provider that turns no call away: its line has no end.
[[nodiscard]] ProviderOptions endless_line(std::size_t slots, double service_s, Spread spread);

struct DriftPoint {
  std::uint64_t calls = 0;
  double time_s = 0;
  std::size_t limit = 0;
};

struct DriftResult {
  std::vector<DriftPoint> points{};  ///< About 64 for each doubling of the calls.
  std::size_t highest = 0;           ///< In the second half of the calls.
  std::size_t last = 0;
  double use = 0;         ///< The mean part of the slots that were in use.
  double mean_rtt_s = 0;  ///< Of all calls.
};

/// Lets `calls` calls end.
[[nodiscard]] DriftResult drift(penstock::LimitAlgorithm& algorithm, const ProviderOptions& provider,
                                std::uint64_t calls, std::uint64_t seed);

/// The same by a formula, with each call an update: L calls take L / slots as long as one alone, and no shorter. There
/// is no chance in it, and no delay between a limit and its effect.
[[nodiscard]] DriftResult drift_by_formula(penstock::LimitAlgorithm& algorithm, std::size_t slots, double service_s,
                                           std::uint64_t calls);

}  // namespace simulation
