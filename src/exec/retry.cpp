// SPDX-License-Identifier: MIT

// The decision whether and when to try again.

#include "penstock/exec/retry.hpp"

#include <algorithm>
#include <cmath>

#include "penstock/core/failure_stage.hpp"

namespace penstock::inline PENSTOCK_ABI {

RetryVerdict classify_retry(const absl::Status& status) {
  if (const auto stage = failure_stage(status)) {
    const bool ran_too_long = absl::IsDeadlineExceeded(status) && *stage == "run";
    return ran_too_long || retry_after(status) ? RetryVerdict::kRetry : RetryVerdict::kStop;
  }
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kAborted:
      return RetryVerdict::kRetry;
    case absl::StatusCode::kResourceExhausted:
      return RetryVerdict::kRetryOtherResource;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return RetryVerdict::kRetryResourceDead;
    default:
      return RetryVerdict::kStop;
  }
}

Duration backoff_for(const RetryOptions& options, std::uint32_t retry, double unit_random) noexcept {
  if (options.initial <= Duration::zero() || options.max <= Duration::zero()) return Duration::zero();
  // A double counts nanoseconds exactly up to 104 days, and becomes infinite where an integer would overflow.
  const auto longest = static_cast<double>(options.max.count());
  const double grown = static_cast<double>(options.initial.count()) * std::pow(options.multiplier, retry);
  const double base = grown < longest ? grown : longest;
  const double unit = unit_random > 0 ? std::min(unit_random, 1.0) : 0.0;  // a NaN is 0
  const double jittered = base * (1 - options.jitter + 2 * options.jitter * unit);
  return std::min(saturated(std::chrono::duration<double, std::nano>(std::round(jittered))), options.max);
}

RetryDecision decide_retry(const RetryOptions& options, const RetryFailure& failure, RetryBudget* budget) noexcept {
  RetryDecision decision;
  decision.verdict = failure.verdict;
  decision.at = failure.now;
  decision.retry_after = failure.retry_after;
  const auto stop = [&decision](RetryStop why) {
    decision.stop = why;
    return decision;
  };
  if (failure.cancelled) return stop(RetryStop::kCancelled);
  if (failure.verdict == RetryVerdict::kStop) return stop(RetryStop::kVerdict);
  if (failure.attempt >= options.max_attempts) return stop(RetryStop::kAttempts);
  const bool needs_other = failure.verdict == RetryVerdict::kRetryResourceDead;
  if (needs_other && !options.rotates_resources) return stop(RetryStop::kNoResource);
  if (failure.breaker_open) return stop(RetryStop::kBreaker);

  const bool same_resource = failure.verdict == RetryVerdict::kRetry || !options.rotates_resources;
  if (failure.retry_after.has_value() && same_resource) {
    decision.wait = std::max(*failure.retry_after, Duration::zero());
  } else {
    decision.wait = backoff_for(options, std::max(failure.attempt, 1U) - 1, failure.unit_random);
  }
  decision.at = saturated_add(failure.now, decision.wait);
  if (failure.retry_after.has_value() && same_resource && decision.wait > options.max_retry_after) {
    return stop(RetryStop::kRetryAfter);
  }
  // An attempt at the deadline itself would find its time over. The end of time as the deadline is for ever, and an
  // attempt at that time would never come.
  if (decision.at >= failure.deadline) return stop(RetryStop::kDeadline);
  if (budget != nullptr && !budget->try_withdraw(failure.now)) return stop(RetryStop::kBudget);
  return decision;
}

}  // namespace penstock::inline PENSTOCK_ABI
