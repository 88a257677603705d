// SPDX-License-Identifier: MIT

// The decision against a naive reference: one that grows the wait step by step, keeps the times of all free retries,
// and goes through the reasons to stop one by one.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "penstock/exec/retry.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;

constexpr long double kNanoseconds = 1e9L;

/// In seconds, as a school book has it.
long double reference_wait(const RetryOptions& options, std::uint32_t retry, long double unit) {
  const long double longest = static_cast<long double>(options.max.count()) / kNanoseconds;
  long double wait = static_cast<long double>(options.initial.count()) / kNanoseconds;
  for (std::uint32_t step = 0; step < retry && wait < longest; ++step) {
    if (options.multiplier == 1 || wait == 0) break;
    wait *= options.multiplier;
  }
  wait = std::min(wait, longest);
  wait *= (1 - options.jitter) + unit * 2 * options.jitter;
  return std::min(wait, longest);
}

/// Counts thousandths of retries, and time in milliseconds: a bucket that calls fill, and one that time fills.
class ReferenceBudget {
 public:
  ReferenceBudget(std::int64_t ratio, std::int64_t capacity, std::int64_t per_second)
      : ratio_(ratio), capacity_(capacity * 1000), per_second_(per_second), earned_(capacity_), free_(full()) {}

  void deposit() { earned_ = std::min(capacity_, earned_ + ratio_); }
  bool withdraw(std::int64_t now_ms) {
    if (per_second_ > 0) {
      free_ = std::min(full(), free_ + (now_ms - last_ms_) * per_second_);
      last_ms_ = now_ms;
      if (free_ >= 1000) {
        free_ -= 1000;
        return true;
      }
    }
    if (earned_ < 1000) return false;
    earned_ -= 1000;
    return true;
  }

 private:
  [[nodiscard]] std::int64_t full() const { return 1000 * std::max<std::int64_t>(per_second_, 1); }

  const std::int64_t ratio_;
  const std::int64_t capacity_;
  const std::int64_t per_second_;
  std::int64_t earned_;
  std::int64_t free_;
  std::int64_t last_ms_ = 0;
};

RetryStop reference_stop(const RetryOptions& options, const RetryFailure& failure, long double wait, long double now,
                         ReferenceBudget& budget, std::int64_t now_ms) {
  if (failure.cancelled) return RetryStop::kCancelled;
  switch (failure.verdict) {
    case RetryVerdict::kStop:
      return RetryStop::kVerdict;
    case RetryVerdict::kRetryResourceDead:
      if (failure.attempt < options.max_attempts && !options.rotates_resources) return RetryStop::kNoResource;
      break;
    default:
      break;
  }
  if (failure.attempt >= options.max_attempts) return RetryStop::kAttempts;
  if (failure.breaker_open) return RetryStop::kBreaker;
  const bool another = failure.verdict != RetryVerdict::kRetry && options.rotates_resources;
  if (failure.retry_after && !another && *failure.retry_after > options.max_retry_after) return RetryStop::kRetryAfter;
  if (failure.deadline != TimePoint::max() &&
      now + wait >= static_cast<long double>(failure.deadline.time_since_epoch().count()) / kNanoseconds) {
    return RetryStop::kDeadline;
  }
  return budget.withdraw(now_ms) ? RetryStop::kNone : RetryStop::kBudget;
}

TEST_CASE("decide_retry: as the reference decides, for random policies and failures", "[exec][retry]") {
  std::mt19937_64 random(20240607);
  const auto below = [&random](std::uint64_t bound) { return random() % bound; };
  const auto one_of = [&](const auto&... values) {
    const auto list = {values...};
    return *(list.begin() + below(list.size()));
  };
  std::uint64_t seen[kRetryStops] = {};
  for (int policy = 0; policy < 400; ++policy) {
    RetryOptions options;
    options.max_attempts = one_of(1U, 2U, 3U, 10U, 1'000'000U);
    options.initial = one_of(0ns, Duration(1ms), Duration(500ms), Duration(std::chrono::milliseconds(below(3000))));
    options.max = options.initial + std::chrono::milliseconds(below(100'000));
    options.multiplier = one_of(1.0, 2.0, 1.5, 1.0 + static_cast<double>(below(10'000)) / 100);
    options.jitter = one_of(0.0, 0.2, 1.0, static_cast<double>(below(1000)) / 1000);
    options.rotates_resources = below(2) == 0;
    options.max_retry_after = one_of(Duration(1s), Duration(1min), Duration::max());
    // Thousandths, and whole divisors of a second, so that the reference can count in integers.
    const auto ratio = static_cast<std::int64_t>(below(2000));
    const std::int64_t capacity = one_of(1, 2, 10);
    const std::int64_t per_second = one_of(0, 1, 2, 5, 10);
    options.budget = {static_cast<double>(ratio) / 1000, static_cast<double>(capacity),
                      static_cast<double>(per_second)};
    REQUIRE(options.validate().ok());
    RetryBudget budget(options.budget);
    ReferenceBudget reference_budget(ratio, capacity, per_second);

    std::int64_t now_ms = 0;
    for (int step = 0; step < 300; ++step) {
      now_ms += static_cast<std::int64_t>(one_of(std::uint64_t{0}, below(300), below(3000)));
      for (std::uint64_t call = below(3); call > 0; --call) {
        budget.deposit();
        reference_budget.deposit();
      }
      RetryFailure failure;
      failure.now = TimePoint(1h + std::chrono::milliseconds(now_ms));
      failure.attempt = static_cast<std::uint32_t>(1 + below(one_of(2U, 5U, 1'200'000U)));
      failure.verdict = one_of(RetryVerdict::kRetry, RetryVerdict::kRetry, RetryVerdict::kRetryOtherResource,
                               RetryVerdict::kRetryResourceDead, RetryVerdict::kStop);
      if (below(3) == 0)
        failure.retry_after = one_of(0ns, Duration(2s), Duration(std::chrono::milliseconds(below(99))));
      if (below(3) == 0) failure.deadline = failure.now + std::chrono::milliseconds(below(10'000)) - 1s;
      failure.cancelled = below(20) == 0;
      failure.breaker_open = below(20) == 0;
      failure.unit_random = static_cast<double>(below(1025)) / 1024;

      const bool another = failure.verdict != RetryVerdict::kRetry && options.rotates_resources;
      const long double wait = failure.retry_after && !another
                                   ? static_cast<long double>(failure.retry_after->count()) / kNanoseconds
                                   : reference_wait(options, failure.attempt - 1, failure.unit_random);
      const long double now = static_cast<long double>(failure.now.time_since_epoch().count()) / kNanoseconds;
      // Rounding may decide where the next attempt and the deadline are less than a few nanoseconds apart.
      const auto gap =
          static_cast<long double>(failure.deadline.time_since_epoch().count()) / kNanoseconds - now - wait;
      if (std::abs(gap) < 1e-6L) continue;

      const RetryStop expected = reference_stop(options, failure, wait, now, reference_budget, now_ms);
      const RetryDecision decision = decide_retry(options, failure, &budget);
      ++seen[static_cast<std::size_t>(decision.stop)];
      const long double got = static_cast<long double>(decision.wait.count()) / kNanoseconds;
      const bool waits_right = !decision.retries() || std::abs(got - wait) <= 1e-8L;
      // A hundred thousand times the words for what is right take most of the time.
      if (decision.stop == expected && decision.verdict == failure.verdict && decision.wait >= Duration::zero() &&
          decision.at == failure.now + decision.wait && waits_right) {
        continue;
      }
      CAPTURE(policy, step, failure.attempt, static_cast<int>(failure.verdict), now_ms);
      REQUIRE(static_cast<int>(decision.stop) == static_cast<int>(expected));
      REQUIRE(decision.verdict == failure.verdict);
      REQUIRE(decision.wait >= Duration::zero());
      REQUIRE(decision.at == failure.now + decision.wait);
      REQUIRE(waits_right);
    }
  }
  for (const auto why :
       {RetryStop::kNone, RetryStop::kVerdict, RetryStop::kAttempts, RetryStop::kNoResource, RetryStop::kBreaker,
        RetryStop::kRetryAfter, RetryStop::kDeadline, RetryStop::kBudget, RetryStop::kCancelled}) {
    CAPTURE(std::string(to_string(why)));
    CHECK(seen[static_cast<std::size_t>(why)] > 100);
  }
}

}  // namespace
}  // namespace penstock
