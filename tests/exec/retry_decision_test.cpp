// SPDX-License-Identifier: MIT

// Whether and when to try again, as a function: no clock, no thread, no lock.

#include <chrono>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "penstock/core/failure_stage.hpp"
#include "penstock/exec/detail/pool_text.hpp"
#include "penstock/exec/retry.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::ContainsSubstring;
using testing::Equals;
using testing::text_of;

constexpr TimePoint kNow{1h};

RetryFailure failed(std::uint32_t attempt) {
  RetryFailure failure;
  failure.attempt = attempt;
  failure.verdict = RetryVerdict::kRetry;
  failure.now = kNow;
  return failure;
}

TEST_CASE("backoff_for: golden vectors", "[exec][retry]") {
  struct Row {
    std::uint32_t retry;
    Duration waits[5];  // for 0, 1/4, 1/2, 3/4 and 1
  };
  // min(500 ms * 2^retry, 5 s) * (0.8 to 1.2), then at most 5 s. From the 35th retry on, 500 ms * 2^retry does not fit
  // into 64 bits of nanoseconds.
  const Row rows[] = {
      {0, {400ms, 450ms, 500ms, 550ms, 600ms}},
      {1, {800ms, 900ms, 1000ms, 1100ms, 1200ms}},
      {2, {1600ms, 1800ms, 2000ms, 2200ms, 2400ms}},
      {3, {3200ms, 3600ms, 4000ms, 4400ms, 4800ms}},
      {4, {4000ms, 4500ms, 5000ms, 5000ms, 5000ms}},
      {34, {4000ms, 4500ms, 5000ms, 5000ms, 5000ms}},
      {35, {4000ms, 4500ms, 5000ms, 5000ms, 5000ms}},
      {64, {4000ms, 4500ms, 5000ms, 5000ms, 5000ms}},
      {1'000'000, {4000ms, 4500ms, 5000ms, 5000ms, 5000ms}},
      {std::numeric_limits<std::uint32_t>::max(), {4000ms, 4500ms, 5000ms, 5000ms, 5000ms}},
  };
  for (const Row& row : rows) {
    for (int quarter = 0; quarter <= 4; ++quarter) {
      CAPTURE(row.retry, quarter);
      CHECK(backoff_for({}, row.retry, quarter / 4.0) == row.waits[quarter]);
    }
  }
}

TEST_CASE("backoff_for: a random number that is none is held in its range", "[exec][retry]") {
  CHECK(backoff_for({}, 0, -3) == 400ms);
  CHECK(backoff_for({}, 0, 7) == 600ms);
  CHECK(backoff_for({}, 0, std::numeric_limits<double>::quiet_NaN()) == 400ms);
  CHECK(backoff_for({}, 0, std::numeric_limits<double>::infinity()) == 600ms);
}

TEST_CASE("backoff_for: never negative and never past the longest, at the ends of every range", "[exec][retry]") {
  for (const Duration initial : {0ns, 1ns, 500'000'000ns, Duration::max()}) {
    for (const Duration longest : {initial, Duration::max() - 1ns, Duration::max()}) {
      for (const double multiplier : {1.0, 1.5, 1e308}) {
        for (const double jitter : {0.0, 0.2, 1.0}) {
          for (const std::uint32_t retry : {0U, 1U, 35U, 63U, 1'000'000U}) {
            const RetryOptions options{.initial = initial, .max = longest, .multiplier = multiplier, .jitter = jitter};
            for (const double unit : {0.0, 0.5, 1.0}) {
              const Duration wait = backoff_for(options, retry, unit);
              if (wait < Duration::zero() || wait > longest) FAIL_CHECK("a wait of " << wait.count() << " ns");
              if (initial == 0ns && wait != 0ns) FAIL_CHECK("nothing grew to " << wait.count() << " ns");
            }
          }
        }
      }
    }
  }
}

TEST_CASE("classify_retry: the table", "[exec][retry]") {
  const auto verdict = [](absl::StatusCode code) { return classify_retry(absl::Status(code, "text")); };
  const auto stage = [](const char* name) {
    return classify_retry(with_failure_stage(absl::DeadlineExceededError("slow"), name));
  };
  using enum RetryVerdict;
  CHECK(verdict(absl::StatusCode::kUnavailable) == kRetry);
  CHECK(verdict(absl::StatusCode::kAborted) == kRetry);
  CHECK(verdict(absl::StatusCode::kResourceExhausted) == kRetryOtherResource);
  CHECK(verdict(absl::StatusCode::kUnauthenticated) == kRetryResourceDead);
  CHECK(verdict(absl::StatusCode::kPermissionDenied) == kRetryResourceDead);
  for (const auto code :
       {absl::StatusCode::kOk, absl::StatusCode::kCancelled, absl::StatusCode::kUnknown,
        absl::StatusCode::kInvalidArgument, absl::StatusCode::kDeadlineExceeded, absl::StatusCode::kNotFound,
        absl::StatusCode::kAlreadyExists, absl::StatusCode::kFailedPrecondition, absl::StatusCode::kOutOfRange,
        absl::StatusCode::kUnimplemented, absl::StatusCode::kInternal, absl::StatusCode::kDataLoss}) {
    CAPTURE(static_cast<int>(code));
    CHECK(verdict(code) == kStop);
  }
  // Our own overload is not the provider's.
  CHECK(classify_retry(with_failure_stage(absl::ResourceExhaustedError("full"), "enqueue")) == kStop);
  CHECK(classify_retry(with_failure_stage(absl::AbortedError("evicted"), "queue")) == kStop);
  CHECK(stage("run") == kRetry);
  CHECK(stage("queue") == kStop);
  CHECK(stage("enqueue") == kStop);
  CHECK(stage("shutdown") == kStop);
  CHECK(stage("") == kStop);
}

TEST_CASE("decide_retry: the first reason to stop counts, and only a retry costs a token", "[exec][retry]") {
  RetryOptions options{.max_attempts = 3};
  RetryBudget budget({.ratio = 0, .capacity = 1, .per_second = 0});
  // Everything speaks against a retry; one reason after the other is taken away.
  RetryFailure failure = failed(3);
  failure.cancelled = true;
  failure.breaker_open = true;
  failure.verdict = RetryVerdict::kStop;
  failure.retry_after = 2min;
  failure.deadline = kNow;
  const auto stop = [&] { return decide_retry(options, failure, &budget).stop; };
  CHECK(stop() == RetryStop::kCancelled);
  failure.cancelled = false;
  CHECK(stop() == RetryStop::kVerdict);
  failure.verdict = RetryVerdict::kRetryResourceDead;
  CHECK(stop() == RetryStop::kAttempts);
  failure.attempt = 2;
  CHECK(stop() == RetryStop::kNoResource);
  failure.verdict = RetryVerdict::kRetry;
  CHECK(stop() == RetryStop::kBreaker);
  failure.breaker_open = false;
  CHECK(stop() == RetryStop::kRetryAfter);
  failure.retry_after = 1min;
  CHECK(stop() == RetryStop::kDeadline);
  failure.deadline = TimePoint::max();
  CHECK(budget.balance(kNow) == 1);
  CHECK(stop() == RetryStop::kNone);
  CHECK(budget.balance(kNow) == 0);
  CHECK(stop() == RetryStop::kBudget);
  CHECK(decide_retry(options, failure, nullptr).retries());
}

TEST_CASE("decide_retry: the deadline must leave time after the wait", "[exec][retry]") {
  RetryFailure failure = failed(1);  // waits 500 ms
  failure.deadline = kNow + 500ms + 1ns;
  CHECK(decide_retry({}, failure, nullptr).retries());
  failure.deadline = kNow + 500ms;
  const RetryDecision at_the_end = decide_retry({}, failure, nullptr);
  CHECK(at_the_end.stop == RetryStop::kDeadline);
  CHECK(at_the_end.wait == 500ms);
  failure.deadline = kNow - 1s;  // long over
  CHECK(decide_retry({}, failure, nullptr).stop == RetryStop::kDeadline);

  failure = failed(1);  // without a deadline, the end of time is one
  failure.retry_after = Duration::max();
  CHECK(decide_retry({.max_retry_after = Duration::max()}, failure, nullptr).stop == RetryStop::kDeadline);
}

TEST_CASE("decide_retry: what the failure asks for wins over the formula", "[exec][retry]") {
  RetryFailure failure = failed(1);
  CHECK(decide_retry({}, failure, nullptr).wait == 500ms);
  for (const Duration asked : {0ns, Duration(1ms), Duration(1min)}) {  // shorter than the formula, and longer than max
    failure.retry_after = asked;
    const RetryDecision decision = decide_retry({}, failure, nullptr);
    CHECK(decision.retries());
    CHECK(decision.wait == asked);
    CHECK(decision.at == kNow + asked);
    CHECK(decision.retry_after == asked);
  }
  failure.retry_after = -1s;
  CHECK(decide_retry({}, failure, nullptr).wait == 0s);
  failure.retry_after = 1min + 1ns;
  CHECK(decide_retry({}, failure, nullptr).stop == RetryStop::kRetryAfter);
}

TEST_CASE("decide_retry: with another resource, the wait that was asked for is not ours", "[exec][retry]") {
  const RetryOptions rotating{.rotates_resources = true};
  RetryFailure failure = failed(2);
  failure.retry_after = 1h;
  for (const auto verdict : {RetryVerdict::kRetryOtherResource, RetryVerdict::kRetryResourceDead}) {
    failure.verdict = verdict;
    const RetryDecision decision = decide_retry(rotating, failure, nullptr);
    CHECK(decision.retries());
    CHECK(decision.verdict == verdict);
    CHECK(decision.wait == 1s);
    CHECK(decision.retry_after == 1h);  // for whoever lets the resource rest
  }
  failure.verdict = RetryVerdict::kRetry;  // the same resource
  CHECK(decide_retry(rotating, failure, nullptr).stop == RetryStop::kRetryAfter);

  failure.retry_after = 3s;  // and there is no other
  failure.verdict = RetryVerdict::kRetryOtherResource;
  CHECK(decide_retry({}, failure, nullptr).wait == 3s);
  failure.verdict = RetryVerdict::kRetryResourceDead;
  CHECK(decide_retry({}, failure, nullptr).stop == RetryStop::kNoResource);
}

TEST_CASE("retry_after: goes into a status and comes out of it", "[exec][retry]") {
  const absl::Status plain = absl::UnavailableError("busy");
  CHECK_FALSE(retry_after(plain).has_value());
  for (const Duration wait : {0ns, 1ns, Duration(1500ms), Duration::max()}) {
    const absl::Status status = with_retry_after(plain, wait);
    CHECK(retry_after(status) == wait);
    CHECK(status.code() == plain.code());
    CHECK(status.message() == plain.message());
  }
  CHECK(retry_after(with_retry_after(plain, -1s)) == 0s);
  CHECK(retry_after(with_retry_after(with_retry_after(plain, 1s), 2s)) == 2s);
  CHECK(with_retry_after(absl::OkStatus(), 1s) == absl::OkStatus());
  for (const char* const nonsense : {"", "soon", "-1", "1.5", "12 ", "99999999999999999999"}) {
    absl::Status status = plain;
    status.SetPayload("type.penstock/retry-after", absl::Cord(nonsense));
    CAPTURE(nonsense);
    CHECK_FALSE(retry_after(status).has_value());
  }
}

TEST_CASE("with_attempts: the message says how many, and the rest stays", "[exec][retry]") {
  const absl::Status last = with_retry_after(with_failure_stage(absl::UnavailableError("refused"), "run"), 3s);
  const absl::Status status = with_attempts(last, 3);
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK_THAT(text_of(status), Equals("refused (after 3 attempts)"));
  CHECK(retry_after(status) == 3s);
  CHECK(status.GetPayload("type.penstock/stage") == last.GetPayload("type.penstock/stage"));
  CHECK_THAT(text_of(with_attempts(absl::AbortedError(""), 2)), Equals("after 2 attempts"));
  CHECK(with_attempts(last, 1) == last);
  CHECK(with_attempts(absl::OkStatus(), 3).ok());
}

TEST_CASE("RetryOptions: every violation is named", "[exec][retry]") {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  CHECK(RetryOptions{}.validate().ok());
  const RetryOptions bad{.name = "openai",
                         .max_attempts = 0,
                         .initial = -1ms,
                         .max = -2s,
                         .multiplier = kNaN,
                         .jitter = 1.5,
                         .max_retry_after = -1s,
                         .budget = {.ratio = -0.5, .capacity = 0, .per_second = kNaN}};
  const absl::Status status = bad.validate();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK_THAT(
      text_of(status),
      Equals("retry 'openai': options.max_attempts must be in [1, 1000000], got 0; "
             "options.initial must be at least 0 s, got -1 ms; "
             "options.max must be at least initial (-1 ms), got -2 s; options.max must be at least 0 s, got -2 s; "
             "options.multiplier must be a number of at least 1, got nan; "
             "options.jitter must be in [0, 1], got 1.5; "
             "options.max_retry_after must be at least 0 s, got -1 s; "
             "options.budget.ratio must be a number from 0 to infinity, got -0.5; "
             "options.budget.capacity must be in [1, 1000000], got 0; "
             "options.budget.per_second must be in [0, 1000000], got nan"));
  CHECK_THROWS_WITH(Retrier(bad), ContainsSubstring("got -0.5"));
}

TEST_CASE("RetryOptions: the ends of the ranges", "[exec][retry]") {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const auto ok = [](RetryOptions options) { return options.validate().ok(); };
  CHECK(ok({.max_attempts = 1}));
  CHECK(ok({.max_attempts = 1'000'000}));
  CHECK_FALSE(ok({.max_attempts = 1'000'001}));
  CHECK(ok({.initial = 0ns, .max = 0ns}));
  CHECK_FALSE(ok({.initial = 2s, .max = 1s}));
  CHECK(ok({.multiplier = 1}));
  CHECK_FALSE(ok({.multiplier = 0.99}));
  CHECK_FALSE(ok({.multiplier = kInfinity}));
  CHECK(ok({.jitter = 0}));
  CHECK(ok({.jitter = 1}));
  CHECK_FALSE(ok({.jitter = -0.1}));
  CHECK_FALSE(ok({.jitter = kNaN}));
  CHECK(ok({.budget = {.ratio = kInfinity}}));
  CHECK(ok({.budget = {.ratio = 0, .capacity = 1, .per_second = 0}}));
  CHECK_FALSE(ok({.budget = {.ratio = kNaN}}));
  CHECK_FALSE(ok({.budget = {.capacity = 1'000'001}}));
  CHECK_FALSE(ok({.budget = {.per_second = -1}}));
  CHECK(ok({.name = std::string(256, 'x')}));
  const absl::Status long_name = RetryOptions{.name = std::string(1000, 'x')}.validate();
  CHECK(text_of(long_name).size() < 400);
}

}  // namespace
}  // namespace penstock
