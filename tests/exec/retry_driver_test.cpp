// SPDX-License-Identifier: MIT

// async_retry and retry: the attempts of one call, and what comes of them.

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "exec/retry_support.hpp"
#include "penstock/exec/retry.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::attempts_of;
using testing::ContainsSubstring;
using testing::Equals;
using testing::Flaky;
using testing::kRefused;
using testing::RetryScenery;
using testing::text_of;
using testing::without_jitter;

TEST_CASE("async_retry: a success needs no wait", "[exec][retry]") {
  RetryScenery scene;
  Retrier retrier(without_jitter());
  Flaky flaky{.failures = 0};
  auto handle = scene.start(retrier, attempts_of(flaky));
  CHECK(handle.get().value() == 1);
  CHECK(retrier.stats().succeeded_first == 1);
  CHECK(scene.clock.armed() == 0);
}

TEST_CASE("async_retry: fails twice, waits twice, and succeeds", "[exec][retry]") {
  RetryScenery scene;
  Retrier retrier(without_jitter());
  Flaky flaky{.failures = 2};
  auto handle = scene.start(retrier, attempts_of(flaky));
  CHECK(flaky.made == 1);
  CHECK(scene.clock.armed() == 1);
  scene.pass(500ms - 1ns);
  CHECK(flaky.made == 1);
  scene.pass(1ns);
  CHECK(flaky.made == 2);
  scene.pass(1s - 1ns);
  CHECK(flaky.made == 2);
  scene.pass(1ns);
  CHECK(handle.get().value() == 3);
  const RetryStats stats = retrier.stats();
  CHECK(stats.succeeded_after_retry == 1);
  CHECK(stats.attempts == 3);
  CHECK(stats.backoff_total == 1500ms);
  CHECK(scene.clock.armed() == 0);
}

TEST_CASE("async_retry: says how many attempts were made, and keeps what the last one said", "[exec][retry]") {
  RetryScenery scene;
  Retrier retrier(without_jitter());
  Flaky flaky{.failures = 99, .failure = with_retry_after(kRefused, 1s)};
  auto handle = scene.start(retrier, attempts_of(flaky));
  scene.pass(1s);
  scene.pass(1s);
  const absl::Status status = handle.get().status();
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK_THAT(text_of(status), Equals("refused (after 3 attempts)"));
  CHECK(retry_after(status) == 1s);
  CHECK(retrier.stats().exhausted() == 1);
}

TEST_CASE("async_retry: what is not to be tried again comes back as it is", "[exec][retry]") {
  RetryScenery scene;
  Retrier retrier(without_jitter());
  Flaky flaky{.failures = 99, .failure = absl::InvalidArgumentError("no such model")};
  CHECK(scene.start(retrier, attempts_of(flaky)).get().status() == flaky.failure);
  CHECK(retrier.stats().stopped(RetryStop::kVerdict) == 1);
}

TEST_CASE("async_retry: an attempt knows its number, and what the one before said", "[exec][retry]") {
  RetryScenery scene;
  RetryOptions options = without_jitter();
  options.rotates_resources = true;
  Retrier retrier(options);
  std::vector<std::uint32_t> numbers;
  std::vector<RetryVerdict> verdicts;
  std::vector<absl::Status> previous;
  std::vector<bool> last;
  auto handle = scene.start(retrier, [&](const RetryAttempt& attempt) -> Task<absl::Status> {
    numbers.push_back(attempt.number);
    verdicts.push_back(attempt.verdict);
    previous.push_back(attempt.previous);
    last.push_back(attempt.is_last());
    CHECK(attempt.max_attempts == 3);
    CHECK(&attempt.context.clock() == &scene.clock);
    co_return attempt.number == 1 ? absl::ResourceExhaustedError("limit") : absl::UnauthenticatedError("revoked");
  });
  scene.pass(500ms);
  scene.pass(1s);
  CHECK_THAT(text_of(handle.get()), Equals("revoked (after 3 attempts)"));
  CHECK(numbers == std::vector<std::uint32_t>{1, 2, 3});
  CHECK(verdicts ==
        std::vector{RetryVerdict::kRetry, RetryVerdict::kRetryOtherResource, RetryVerdict::kRetryResourceDead});
  CHECK(previous ==
        std::vector{absl::OkStatus(), absl::ResourceExhaustedError("limit"), absl::UnauthenticatedError("revoked")});
  CHECK(last == std::vector{false, false, true});
}

TEST_CASE("async_retry: cancelling ends the wait at once, and says what it waited for", "[exec][retry]") {
  RetryScenery scene;
  Retrier retrier(without_jitter());
  Flaky flaky{.failures = 99};
  auto handle = scene.start(retrier, attempts_of(flaky));
  absl::Status cause = absl::CancelledError("client went away");
  cause.SetPayload("example/why", absl::Cord("closed"));
  scene.call.source.cancel(cause);
  scene.loop.run_ready();
  const absl::Status status = handle.get().status();
  CHECK(status.code() == absl::StatusCode::kCancelled);
  CHECK_THAT(text_of(status), Equals("client went away, waiting for attempt 2 after: UNAVAILABLE: refused"));
  CHECK(status.GetPayload("example/why") == absl::Cord("closed"));
  CHECK(flaky.made == 1);
  CHECK(scene.clock.armed() == 0);
  CHECK(retrier.stats().stopped(RetryStop::kCancelled) == 1);
  CHECK(retrier.stats().running == 0);
}

TEST_CASE("async_retry: a call that was cancelled while it ran is not tried again", "[exec][retry]") {
  RetryScenery scene;
  Retrier retrier(without_jitter());
  auto handle = scene.start(retrier, [&](const RetryAttempt&) -> Task<absl::Status> {
    scene.call.source.cancel();
    co_return kRefused;
  });
  CHECK(handle.get() == kRefused);
  CHECK(retrier.stats().stopped(RetryStop::kCancelled) == 1);
}

TEST_CASE("async_retry: does not wait for what comes after the deadline", "[exec][retry]") {
  RetryScenery scene;
  Retrier retrier(without_jitter());
  Flaky flaky{.failures = 99};
  scene.call.context = scene.call.context.with_timeout(1400ms);  // 500 ms, but not another second
  auto handle = scene.start(retrier, attempts_of(flaky));
  scene.pass(500ms);
  CHECK(handle.get().status() == kRefused);
  CHECK(flaky.made == 2);
  CHECK(scene.clock.armed() == 0);
  CHECK(retrier.stats().stopped(RetryStop::kDeadline) == 1);
}

TEST_CASE("async_retry: one that is resumed after its deadline makes no attempt", "[exec][retry]") {
  RetryScenery scene;
  Retrier retrier(without_jitter());
  Flaky flaky{.failures = 99};
  scene.call.context = scene.call.context.with_timeout(600ms);
  auto handle = scene.start(retrier, attempts_of(flaky));
  scene.pass(700ms);
  const absl::Status status = handle.get().status();
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK_THAT(text_of(status), ContainsSubstring("waiting for attempt 2 after: UNAVAILABLE: refused"));
  CHECK(flaky.made == 1);
  CHECK(retrier.stats().stopped(RetryStop::kDeadline) == 1);
}

TEST_CASE("async_retry: makes no attempt for a call that has ended", "[exec][retry]") {
  RetryScenery scene;
  Retrier retrier(without_jitter());
  Flaky flaky{.failures = 0};
  scene.call.source.cancel(absl::CancelledError("too late"));
  CHECK(scene.start(retrier, attempts_of(flaky)).get().status() == absl::CancelledError("too late"));
  CHECK(flaky.made == 0);
  CHECK(retrier.stats().calls == 0);
}

TEST_CASE("async_retry: no wait while the circuit breaker is open", "[exec][retry]") {
  RetryScenery scene;
  RetryOptions options = without_jitter();
  options.breaker_open = [] { return true; };
  Retrier retrier(options);
  Flaky flaky{.failures = 99};
  CHECK(scene.start(retrier, attempts_of(flaky)).get().status() == kRefused);
  CHECK(retrier.stats().stopped(RetryStop::kBreaker) == 1);
}

TEST_CASE("async_retry: no attempt once the circuit breaker has opened during the wait for it", "[exec][retry]") {
  RetryScenery scene;
  RetryOptions options = without_jitter();
  bool open = false;
  options.breaker_open = [&open] { return open; };
  Retrier retrier(options);
  Flaky flaky{.failures = 99};
  auto handle = scene.start(retrier, attempts_of(flaky));
  CHECK(scene.clock.armed() == 1);
  open = true;
  scene.pass(500ms);
  CHECK(handle.get().status() == kRefused);
  CHECK(flaky.made == 1);
  const RetryStats stats = retrier.stats();
  CHECK(stats.stopped(RetryStop::kBreaker) == 1);
  CHECK(stats.running == 0);
}

TEST_CASE("async_retry: an exception of the function or of its task is the caller's", "[exec][retry]") {
  RetryScenery scene;
  Retrier retrier(without_jitter());
  auto from_function = scene.start(retrier, [](const RetryAttempt&) -> Task<absl::Status> {
    throw std::runtime_error("in the task");
    co_return absl::OkStatus();
  });
  CHECK_THROWS_WITH(from_function.get(), "in the task");
  const auto throwing = [](const RetryAttempt&) -> absl::StatusOr<int> { throw std::runtime_error("in the function"); };
  auto from_task = scene.start(retrier, [&](const RetryAttempt& attempt) -> Task<absl::StatusOr<int>> {
    return [](absl::StatusOr<int> value) -> Task<absl::StatusOr<int>> { co_return value; }(throwing(attempt));
  });
  CHECK_THROWS_WITH(from_task.get(), "in the function");
  CHECK_THROWS_WITH(retry(retrier, throwing, scene.call.context), "in the function");
  const RetryStats stats = retrier.stats();
  CHECK(stats.stopped(RetryStop::kAbandoned) == 3);
  CHECK(stats.running == 0);
}

TEST_CASE("async_retry: takes what can only be moved", "[exec][retry]") {
  RetryScenery scene;
  Retrier retrier(without_jitter());
  auto handle = scene.start(retrier,
                            [owned = std::make_unique<int>(7)](
                                const RetryAttempt& attempt) mutable -> Task<absl::StatusOr<std::unique_ptr<int>>> {
                              if (!attempt.is_last()) co_return kRefused;
                              co_return std::move(owned);
                            });
  scene.pass(500ms);
  scene.pass(1s);
  CHECK(*handle.get().value() == 7);
}

TEST_CASE("retry: without a wait, and with the last failure", "[exec][retry]") {
  Retrier retrier({.initial = 0ns});
  const absl::Status result = retry(retrier, [](const RetryAttempt&) { return kRefused; });
  CHECK_THAT(text_of(result), Equals("refused (after 3 attempts)"));
  CHECK(retry(retrier, [](const RetryAttempt&) { return absl::OkStatus(); }).ok());
  Retrier never({.max_attempts = 1});
  CHECK(retry(never, [](const RetryAttempt&) { return kRefused; }) == kRefused);
}

TEST_CASE("retry: takes what can only be moved", "[exec][retry]") {
  Retrier retrier({.initial = 0ns});
  absl::StatusOr<std::unique_ptr<int>> result = retry(
      retrier,
      [owned = std::make_unique<int>(7)](const RetryAttempt& attempt) mutable -> absl::StatusOr<std::unique_ptr<int>> {
        if (attempt.number == 1) return kRefused;
        return std::move(owned);
      });
  CHECK(*result.value() == 7);
}

}  // namespace
}  // namespace penstock
