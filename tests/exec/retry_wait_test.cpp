// SPDX-License-Identifier: MIT

// async_retry and retry: the wait between two attempts, of coroutines and of threads.

#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "exec/retry_support.hpp"
#include "penstock/core/work_stealing_executor.hpp"
#include "penstock/exec/retry.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/detached.hpp"
#include "support/eventually.hpp"
#include "support/rounds.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::attempts_of;
using testing::Equals;
using testing::eventually;
using testing::Flaky;
using testing::kRefused;
using testing::RetryScenery;
using testing::text_of;
using testing::without_jitter;

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
  RetryScenery scene;
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
  CHECK(allocations <= 8);  // the frames of the attempts, where the compiler does not elide them
  scene.pass(5s);
  CHECK(handle.get().value() == 10);
}

TEST_CASE("async_retry: ten thousand calls wait at once without a thread", "[exec][retry]") {
  constexpr std::size_t kCalls = 10'000;
  RetryScenery scene;
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
  RetryScenery scene;
  Retrier retrier({.max_attempts = 200'000, .initial = 0ns, .budget = {.capacity = 1'000'000}});
  Flaky flaky{.failures = 199'999};
  CHECK(scene.start(retrier, attempts_of(flaky)).get().value() == 200'000);
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
  CHECK_THAT(text_of(result), Equals("waiting for attempt 2 after: UNAVAILABLE: refused"));
  CHECK(clock.armed() == 0);
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
    testing::Meeting meeting(3);
    std::thread timer([&] {
      meeting.arrive();
      clock.advance(500ms);
    });
    std::thread canceller([&, &cancel = source] {
      meeting.arrive();
      cancel.cancel();
    });
    meeting.arrive();
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

TEST_CASE("async_retry: calls of one retrier on several threads", "[exec][retry][stress]") {
  constexpr std::size_t kCalls = 400;
  ManualClock clock;
  Retrier retrier({.jitter = 0.5, .budget = {.ratio = 1, .capacity = 1'000'000}});
  std::vector<Flaky> flaky;
  for (std::size_t call = 0; call < kCalls; ++call) flaky.push_back(Flaky{.failures = static_cast<int>(call % 4)});
  const auto [ctx, source] = Context(clock).with_cancel();
  std::size_t answered = 0;
  std::size_t used_up = 0;
  {
    WorkStealingExecutor threads(3, "retry");
    std::vector<JoinHandle<absl::StatusOr<int>>> handles;
    for (Flaky& each : flaky) handles.push_back(spawn(threads, async_retry(retrier, attempts_of(each), ctx)));
    CHECK(eventually([&] {
      clock.advance(10ms);
      const RetryStats stats = retrier.stats();
      return stats.calls == kCalls && stats.running == 0;
    }));
    for (auto& handle : handles) {
      const absl::StatusOr<int> result = handle.get();
      answered += result.ok() ? 1 : 0;
      used_up += text_of(result.status()) == "refused (after 3 attempts)" ? 1 : 0;
    }
  }
  CHECK(answered == kCalls / 4 * 3);
  CHECK(used_up == kCalls / 4);
  const RetryStats stats = retrier.stats();
  CHECK(stats.succeeded_first == kCalls / 4);
  CHECK(stats.succeeded_after_retry == kCalls / 2);
  CHECK(stats.exhausted() == kCalls / 4);
  CHECK(stats.retries == kCalls / 4 * (1 + 2 + 2));
  CHECK(clock.armed() == 0);
}

}  // namespace
}  // namespace penstock
