// SPDX-License-Identifier: MIT

// async_retry and retry: the attempts of one call, and the waits between them.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/exec/retry.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/detached.hpp"
#include "support/eventually.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::ContainsSubstring;
using testing::Equals;
using testing::eventually;

const absl::Status kRefused = absl::UnavailableError("refused");

std::string message_of(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

RetryOptions without_jitter(std::uint32_t max_attempts = 3) { return {.max_attempts = max_attempts, .jitter = 0}; }

/// Fails as often as it is told, and then answers with the number of its attempts.
struct Flaky {
  int failures;
  absl::Status failure = kRefused;
  int made = 0;

  absl::StatusOr<int> call() {
    if (++made <= failures) return failure;
    return made;
  }
  Task<absl::StatusOr<int>> async() { co_return call(); }
};

/// A call of async_retry on a loop of the test's thread, with a clock of its own.
struct Scene {
  ManualClock clock;
  RunLoop loop;
  Context::Cancellable call = Context(clock).with_cancel();

  template <class F>
  auto start(Retrier& retrier, F function) {
    auto handle = spawn(loop, async_retry(retrier, std::move(function), call.context));
    loop.run_ready();
    return handle;
  }
  void pass(Duration time) {
    clock.advance(time);
    loop.run_ready();
  }
};

auto attempts_of(Flaky& flaky) {
  return [&flaky](const RetryAttempt& /*attempt*/) { return flaky.async(); };
}

TEST_CASE("async_retry: a success needs no wait", "[exec][retry]") {
  Scene scene;
  Retrier retrier(without_jitter());
  Flaky flaky{.failures = 0};
  auto handle = scene.start(retrier, attempts_of(flaky));
  CHECK(handle.get().value() == 1);
  CHECK(retrier.stats().succeeded_first == 1);
  CHECK(scene.clock.armed() == 0);
}

TEST_CASE("async_retry: fails twice, waits twice, and succeeds", "[exec][retry]") {
  Scene scene;
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
  Scene scene;
  Retrier retrier(without_jitter());
  Flaky flaky{.failures = 99, .failure = with_retry_after(kRefused, 1s)};
  auto handle = scene.start(retrier, attempts_of(flaky));
  scene.pass(1s);
  scene.pass(1s);
  const absl::Status status = handle.get().status();
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK_THAT(message_of(status), Equals("refused (after 3 attempts)"));
  CHECK(retry_after(status) == 1s);
  CHECK(retrier.stats().exhausted() == 1);
}

TEST_CASE("async_retry: what is not to be tried again comes back as it is", "[exec][retry]") {
  Scene scene;
  Retrier retrier(without_jitter());
  Flaky flaky{.failures = 99, .failure = absl::InvalidArgumentError("no such model")};
  CHECK(scene.start(retrier, attempts_of(flaky)).get().status() == flaky.failure);
  CHECK(retrier.stats().stopped(RetryStop::kVerdict) == 1);
}

TEST_CASE("async_retry: an attempt knows its number, and what the one before said", "[exec][retry]") {
  Scene scene;
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
  CHECK_THAT(message_of(handle.get()), Equals("revoked (after 3 attempts)"));
  CHECK(numbers == std::vector<std::uint32_t>{1, 2, 3});
  CHECK(verdicts ==
        std::vector{RetryVerdict::kRetry, RetryVerdict::kRetryOtherResource, RetryVerdict::kRetryResourceDead});
  CHECK(previous ==
        std::vector{absl::OkStatus(), absl::ResourceExhaustedError("limit"), absl::UnauthenticatedError("revoked")});
  CHECK(last == std::vector{false, false, true});
}

TEST_CASE("async_retry: cancelling ends the wait at once, and says what it waited for", "[exec][retry]") {
  Scene scene;
  Retrier retrier(without_jitter());
  Flaky flaky{.failures = 99};
  auto handle = scene.start(retrier, attempts_of(flaky));
  absl::Status cause = absl::CancelledError("client went away");
  cause.SetPayload("example/why", absl::Cord("closed"));
  scene.call.source.cancel(cause);
  scene.loop.run_ready();
  const absl::Status status = handle.get().status();
  CHECK(status.code() == absl::StatusCode::kCancelled);
  CHECK_THAT(message_of(status), Equals("client went away, waiting for attempt 2 after: UNAVAILABLE: refused"));
  CHECK(status.GetPayload("example/why") == absl::Cord("closed"));
  CHECK(flaky.made == 1);
  CHECK(scene.clock.armed() == 0);
  CHECK(retrier.stats().stopped(RetryStop::kCancelled) == 1);
  CHECK(retrier.stats().running == 0);
}

TEST_CASE("async_retry: a call that was cancelled while it ran is not tried again", "[exec][retry]") {
  Scene scene;
  Retrier retrier(without_jitter());
  auto handle = scene.start(retrier, [&](const RetryAttempt&) -> Task<absl::Status> {
    scene.call.source.cancel();
    co_return kRefused;
  });
  CHECK(handle.get() == kRefused);
  CHECK(retrier.stats().stopped(RetryStop::kCancelled) == 1);
}

TEST_CASE("async_retry: does not wait for what comes after the deadline", "[exec][retry]") {
  Scene scene;
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
  Scene scene;
  Retrier retrier(without_jitter());
  Flaky flaky{.failures = 99};
  scene.call.context = scene.call.context.with_timeout(600ms);
  auto handle = scene.start(retrier, attempts_of(flaky));
  scene.pass(700ms);
  const absl::Status status = handle.get().status();
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK_THAT(message_of(status), ContainsSubstring("waiting for attempt 2 after: UNAVAILABLE: refused"));
  CHECK(flaky.made == 1);
  CHECK(retrier.stats().stopped(RetryStop::kDeadline) == 1);
}

TEST_CASE("async_retry: makes no attempt for a call that has ended", "[exec][retry]") {
  Scene scene;
  Retrier retrier(without_jitter());
  Flaky flaky{.failures = 0};
  scene.call.source.cancel(absl::CancelledError("too late"));
  CHECK(scene.start(retrier, attempts_of(flaky)).get().status() == absl::CancelledError("too late"));
  CHECK(flaky.made == 0);
  CHECK(retrier.stats().calls == 0);
}

TEST_CASE("async_retry: no wait while the circuit breaker is open", "[exec][retry]") {
  Scene scene;
  RetryOptions options = without_jitter();
  options.breaker_open = [] { return true; };
  Retrier retrier(options);
  Flaky flaky{.failures = 99};
  CHECK(scene.start(retrier, attempts_of(flaky)).get().status() == kRefused);
  CHECK(retrier.stats().stopped(RetryStop::kBreaker) == 1);
}

TEST_CASE("async_retry: an exception of the function or of its task is the caller's", "[exec][retry]") {
  Scene scene;
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

testing::Detached waiting(RunLoop& /*loop*/, Retrier& retrier, Flaky& flaky, ManualClock& clock) {
  static_cast<void>(co_await async_retry(retrier, attempts_of(flaky), Context(clock)));
}

TEST_CASE("async_retry: may be destroyed where it waits", "[exec][retry]") {
  ManualClock clock;
  RunLoop loop;
  Retrier retrier(without_jitter());
  Flaky flaky{.failures = 99};
  const testing::Detached coroutine = waiting(loop, retrier, flaky, clock);
  loop.run_ready();
  CHECK(clock.armed() == 1);
  SECTION("before the wait has ended") {
    coroutine.handle.destroy();
    CHECK(clock.armed() == 0);
  }
  SECTION("when it is about to be resumed") {
    clock.advance(500ms);
    coroutine.handle.destroy();
    CHECK(loop.run_ready() == 0);
  }
  CHECK(flaky.made == 1);
  CHECK(retrier.stats().stopped(RetryStop::kAbandoned) == 1);
}

TEST_CASE("async_retry: a wait costs no allocation", "[exec][retry]") {
  Scene scene;
  Retrier retrier({.max_attempts = 100, .jitter = 0, .budget = {.capacity = 1000}});
  Flaky warm_up{.failures = 1};
  auto first = scene.start(retrier, attempts_of(warm_up));  // the first wait of a thread may allocate for the figures
  scene.pass(500ms);
  Flaky flaky{.failures = 9};
  auto handle = scene.start(retrier, attempts_of(flaky));
  const testing::Allocations before = testing::Allocations::now();
  for (int wait = 0; wait < 8; ++wait) scene.pass(5s);
  const std::uint64_t allocations = testing::Allocations::now().count - before.count;
  CHECK(flaky.made == 9);
  CHECK(allocations == 8);  // the frames of the attempts
  scene.pass(5s);
  CHECK(handle.get().value() == 10);
}

TEST_CASE("async_retry: ten thousand calls wait at once without a thread", "[exec][retry]") {
  constexpr std::size_t kCalls = 10'000;
  Scene scene;
  Retrier retrier({.jitter = 0.5, .budget = {.capacity = 1'000'000}});
  std::vector<Flaky> flaky(kCalls, Flaky{.failures = 1});
  std::vector<JoinHandle<absl::StatusOr<int>>> handles;
  for (Flaky& each : flaky) {
    handles.push_back(spawn(scene.loop, async_retry(retrier, attempts_of(each), scene.call.context)));
  }
  scene.loop.run_ready();
  CHECK(scene.clock.armed() == kCalls);
  scene.pass(750ms);
  std::size_t good = 0;
  for (auto& handle : handles) good += handle.get().value_or(0) == 2 ? 1 : 0;
  CHECK(good == kCalls);
  CHECK(retrier.stats().succeeded_after_retry == kCalls);
}

TEST_CASE("async_retry: attempts without a wait do not grow the stack", "[exec][retry]") {
  Scene scene;
  Retrier retrier({.max_attempts = 200'000, .initial = 0ns, .budget = {.capacity = 1'000'000}});
  Flaky flaky{.failures = 199'999};
  CHECK(scene.start(retrier, attempts_of(flaky)).get().value() == 200'000);
}

TEST_CASE("async_retry: takes what can only be moved", "[exec][retry]") {
  Scene scene;
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

TEST_CASE("retry: waits on the calling thread", "[exec][retry]") {
  ManualClock clock;
  Retrier retrier(without_jitter());
  Flaky flaky{.failures = 2};
  absl::StatusOr<int> result;
  std::thread caller([&] {
    result = retry(
        retrier, [&](const RetryAttempt&) { return flaky.call(); }, Context(clock));
  });
  CHECK(eventually([&] { return clock.armed() == 1; }));
  clock.advance(500ms);
  CHECK(eventually([&] { return retrier.stats().backoff_total == 1500ms && clock.armed() == 1; }));
  clock.advance(1s);
  caller.join();
  CHECK(result.value() == 3);
  CHECK(retrier.stats().succeeded_after_retry == 1);
}

TEST_CASE("retry: the end of the context ends the wait", "[exec][retry]") {
  ManualClock clock;
  const auto [ctx, source] = Context(clock).with_cancel();
  Retrier retrier(without_jitter());
  absl::Status result;
  std::thread caller([&, &until = ctx] {
    result = retry(
        retrier, [](const RetryAttempt&) { return kRefused; }, until);
  });
  CHECK(eventually([&] { return clock.armed() == 1; }));
  source.cancel();
  caller.join();
  CHECK(result.code() == absl::StatusCode::kCancelled);
  CHECK_THAT(message_of(result), Equals("waiting for attempt 2 after: UNAVAILABLE: refused"));
  CHECK(clock.armed() == 0);
}

TEST_CASE("retry: without a wait, and with the last failure", "[exec][retry]") {
  Retrier retrier({.initial = 0ns});
  const absl::Status result = retry(retrier, [](const RetryAttempt&) { return kRefused; });
  CHECK_THAT(message_of(result), Equals("refused (after 3 attempts)"));
  CHECK(retry(retrier, [](const RetryAttempt&) { return absl::OkStatus(); }).ok());
  Retrier never({.max_attempts = 1});
  CHECK(retry(never, [](const RetryAttempt&) { return kRefused; }) == kRefused);
}

TEST_CASE("async_retry: time, cancellation and resumption race", "[exec][retry][stress]") {
  constexpr int kRounds = 300;
  constexpr int kCalls = 4;
  Retrier retrier({.max_attempts = 2, .jitter = 0, .budget = {.capacity = 1'000'000}});
  std::uint64_t wrong = 0;
  for (int round = 0; round < kRounds; ++round) {
    ManualClock clock;
    RunLoop loop;
    const auto [ctx, source] = Context(clock).with_cancel();
    std::vector<Flaky> flaky(kCalls, Flaky{.failures = 1});
    std::vector<JoinHandle<absl::StatusOr<int>>> handles;
    for (Flaky& each : flaky) handles.push_back(spawn(loop, async_retry(retrier, attempts_of(each), ctx)));
    loop.run_ready();
    std::atomic<int> ready{0};
    const auto together = [&ready] {
      ++ready;
      while (ready != 3) {
      }
    };
    std::thread timer([&] {
      together();
      clock.advance(500ms);
    });
    std::thread canceller([&, &cancel = source] {
      together();
      cancel.cancel();
    });
    together();
    loop.run_ready();
    timer.join();
    canceller.join();
    loop.run_ready();
    for (auto& handle : handles) {
      const absl::StatusOr<int> result = handle.get();
      wrong += result.ok() || result.status().code() == absl::StatusCode::kCancelled ? 0 : 1;
    }
    wrong += clock.armed();
  }
  CHECK(wrong == 0);
  const RetryStats stats = retrier.stats();
  CHECK(stats.running == 0);
  CHECK(stats.calls == kRounds * kCalls);
  CHECK(stats.succeeded_after_retry + stats.stopped(RetryStop::kCancelled) == stats.calls);
}

}  // namespace
}  // namespace penstock
