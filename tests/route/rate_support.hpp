// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Rate limiters for tests: small options, a clock that jumps, and a bucket of whole numbers to compare with.

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "penstock/core/manual_clock.hpp"
#include "penstock/route/rate_limiter.hpp"

namespace penstock::testing {

/// A clock that is where it was put, also in the past. It has no timers.
class JumpingClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override { return now_; }
  void start_timers() override {}
  bool arm(Timer& /*timer*/, TimePoint when) noexcept override { return when > now_; }
  void disarm(Timer& /*timer*/) noexcept override {}

  void jump(Duration by) noexcept { now_ = saturated_add(now_, by); }
  void jump_to(TimePoint time) noexcept { now_ = time; }

 private:
  TimePoint now_{std::chrono::hours(1)};
};

/// The bucket as one would write it down: how much is in it, after each step of time. In whole parts of a token, of
/// which `per_tick` come in each tick, so that nothing is rounded.
struct NaiveBucket {
  std::uint64_t size;      // parts that it holds
  std::uint64_t per_tick;  // parts that come in with each tick
  std::uint64_t level = size;

  void pass(std::uint64_t ticks) {
    const unsigned long long room = size - level;
    level = ticks >= room / per_tick + 1 ? size : std::min<std::uint64_t>(size, level + ticks * per_tick);
  }
  bool take(std::uint64_t parts) {
    if (parts > level) return false;
    level -= parts;
    return true;
  }
};

/// `rate` per second on `clock`, named openai.
inline RateLimiterOptions limited(Clock& clock, double rate, double burst,
                                  RateAlgorithm algorithm = RateAlgorithm::kGcra) {
  return {.name = "openai",
          .algorithm = algorithm,
          .rate_per_second = rate,
          .burst = burst,
          .max_waiting = 1000,
          .clock = &clock};
}

inline constexpr RateAlgorithm kBothAlgorithms[] = {RateAlgorithm::kGcra, RateAlgorithm::kTokenBucket};

}  // namespace penstock::testing
