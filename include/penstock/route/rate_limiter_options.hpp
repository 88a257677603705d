// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a `RateLimiter` is set up, what its refusals say, and what it tells about itself.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/metrics/histogram.hpp"
#include "penstock/route/detail/rate_machine.hpp"

namespace penstock::inline PENSTOCK_ABI {

struct RateLimiterOptions {
  std::string name = "unnamed";  ///< For messages and metrics; at most 256 bytes.
  RateAlgorithm algorithm = RateAlgorithm::kGcra;
  /// Tokens that come in per second; [1e-6, 1e9]. What has no limit needs no limiter, so infinity is refused.
  double rate_per_second = 100;
  /// Tokens that the bucket holds: so many may go at once after a rest; [1, 1e9], and what comes in within 1e8 s.
  double burst = 1;
  /// So many may stand in line at a time, [0, 1000000]; 0: nobody waits.
  std::size_t max_waiting = 1000;
  Clock* clock = &Clock::steady();  ///< Must outlive the limiter.

  /// OK, or InvalidArgument with every violation.
  [[nodiscard]] absl::Status validate() const;
};

/// Why somebody got no tokens.
enum class RateReason : std::uint8_t {
  kUsedUp,    ///< There are too few, or others wait for them.
  kLineFull,  ///< `max_waiting` wait for them.
  kTooLate,   ///< They would come after the deadline: refused at once, without waiting for nothing.
  kTooMany,   ///< More were asked for than the bucket holds: never.
  kTimedOut,  ///< The context's deadline came, or had come.
  kCancelled,
  kClosed,
};

/// The name of `reason` in lower case with underscores, such as "used_up".
std::string_view to_string(RateReason reason) noexcept;

struct RateRefusal {
  RateReason reason = RateReason::kUsedUp;
  /// When they could have been had: after all who wait, if nobody else comes. Zero: never, or not known.
  Duration retry_after{};
  std::uint64_t asked = 0;     ///< Tokens asked for.
  double rate_per_second = 0;  ///< As it was then, like `burst`.
  double burst = 0;
  std::size_t waiting = 0;  ///< How many others stood in line.
  Duration patience{};      ///< kTooLate: what was left until the deadline.
  Duration waited{};
};

/// ResourceExhausted (kUsedUp, kLineFull, kTooLate), InvalidArgument (kTooMany), DeadlineExceeded, Cancelled or
/// Unavailable (kClosed), with the `failure_stage` "rate_limit", a text such as
/// "rate limiter 'openai': 10 per second used up, next in 83 ms", and a payload that `retry_after(status)` reads.
absl::Status to_status(const RateRefusal& refusal, std::string_view name);

/// One limiter at one moment.
struct RateLimiterStats {
  double rate_per_second = 0;
  double burst = 0;
  double tokens = 0;        ///< there now
  std::size_t waiting = 0;  ///< in line now

  std::uint64_t acquired = 0;  ///< acquires that got their tokens
  std::uint64_t tokens_acquired = 0;
  std::uint64_t waited = 0;  ///< of `acquired`, those that stood in line

  // Who got none, and why.
  std::uint64_t used_up = 0;
  std::uint64_t line_full = 0;
  std::uint64_t too_late = 0;
  std::uint64_t too_many = 0;
  std::uint64_t timed_out = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t closed = 0;

  LatencyHistogram::Snapshot wait;  ///< how long those of `waited` stood in line
};

}  // namespace penstock::inline PENSTOCK_ABI
