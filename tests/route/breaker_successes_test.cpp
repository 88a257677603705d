// SPDX-License-Identifier: MIT

// Successes that are counted without the lock are counted as if they had come in one by one.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/route/circuit_breaker.hpp"
#include "penstock/route/detail/success_count.hpp"
#include "route/breaker_bench.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using penstock::BreakerState;
using penstock::CallOutcome;
using penstock::CallTally;
using penstock::CircuitBreaker;
using penstock::CircuitBreakerOptions;
using penstock::ManualClock;
using penstock::TimePoint;
using penstock::detail::BreakerMachine;
using penstock::detail::OutcomeWindow;
using penstock::detail::SuccessCount;
using penstock::testing::LiveBench;
using penstock::testing::MachineBench;
using penstock::testing::small_breaker;
using penstock::testing::wide_breaker;

namespace {

constexpr auto kCount = CircuitBreakerOptions::Window::kCount;
constexpr auto kTime = CircuitBreakerOptions::Window::kTime;

CircuitBreakerOptions by_time(std::size_t minimum_calls) {
  CircuitBreakerOptions options = small_breaker();
  options.window = kTime;
  options.window_size = 3;
  options.minimum_calls = minimum_calls;
  return options;
}

/// A clock that goes wherever it is told to.
class JumpingClock final : public penstock::Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override { return at; }
  void start_timers() override {}
  bool arm(penstock::Timer&, TimePoint) noexcept override { return true; }
  void disarm(penstock::Timer&) noexcept override {}

  TimePoint at{24h};
};

/// Makes the calling thread use other rows than all before: a thread that is new.
template <class Body>
void on_another_thread(const Body& body) {
  std::thread(body).join();
}

}  // namespace

// --- the count of one row ---

TEST_CASE("SuccessCount: it counts for one generation, while it is open", "[route][circuit_breaker]") {
  SuccessCount successes;
  CHECK(successes.is_shut());
  CHECK_FALSE(successes.count(0));
  CHECK_FALSE(successes.count(1));
  CHECK(successes.shut() == 0);
  successes.open(7);
  CHECK_FALSE(successes.is_shut());
  CHECK(successes.count(7));
  CHECK_FALSE(successes.count(6));
  CHECK_FALSE(successes.count(8));
  CHECK(successes.count(7));
  CHECK(successes.take() == 2);
  CHECK(successes.take() == 0);
  CHECK(successes.count(7));
  CHECK(successes.shut() == 1);
  CHECK_FALSE(successes.count(7));
  CHECK(successes.take() == 0);
}

TEST_CASE("SuccessCount: it is full before it reaches the generation", "[route][circuit_breaker]") {
  for (const std::uint64_t generation : {std::uint64_t{1}, std::uint64_t{1} << 48U, (std::uint64_t{1} << 48U) - 1}) {
    SuccessCount successes;
    successes.open(generation);
    std::uint64_t counted = 0;
    while (successes.count(generation)) ++counted;
    CHECK(counted > 60'000);
    CHECK_FALSE(successes.is_shut());
    CHECK_FALSE(successes.count(generation + 1));
    CHECK(successes.take() == counted);
    CHECK(successes.count(generation));
    CHECK(successes.shut() == 1);
  }
}

// --- when they may wait ---

TEST_CASE("BreakerMachine: successes may wait while they cannot change the verdict", "[route][circuit_breaker]") {
  CircuitBreakerOptions options = wide_breaker(10);
  options.minimum_calls = 4;
  MachineBench bench(options);
  const auto may_wait = [&] { return bench.machine.successes_may_wait_until(bench.now) == TimePoint::max(); };
  CHECK_FALSE(may_wait());  // nothing has been reported
  bench.calls(1, CallOutcome::kSuccess);
  CHECK(may_wait());
  bench.calls(1, CallOutcome::kFailure);
  CHECK_FALSE(may_wait());  // two more would be enough calls, of which not few failed
  bench.calls(1, CallOutcome::kSuccess);
  CHECK_FALSE(may_wait());
  bench.calls(1, CallOutcome::kSuccess);
  CHECK(may_wait());
  bench.calls(1, CallOutcome::kSuccess, true);
  CHECK(may_wait());
  bench.trip();
  CHECK_FALSE(may_wait());
  bench.set(BreakerState::kMetricsOnly);
  CHECK_FALSE(may_wait());
  bench.calls(1, CallOutcome::kFailure);
  CHECK(may_wait());  // whatever they are
  bench.set(BreakerState::kDisabled);
  CHECK_FALSE(may_wait());
}

TEST_CASE("BreakerMachine: with a time window successes wait until the bucket is over", "[route][circuit_breaker]") {
  MachineBench bench(by_time(2));  // begins at a full second
  const TimePoint start = bench.now;
  bench.now += 300ms;
  bench.calls(1, CallOutcome::kSuccess);
  CHECK(bench.machine.successes_may_wait_until(bench.now) == start + 1s);
  bench.calls(1, CallOutcome::kSuccess);
  bench.now += 1s;
  bench.calls(1, CallOutcome::kFailure);
  CHECK(bench.machine.successes_may_wait_until(bench.now) == start + 2s);
  bench.now -= 1s;  // the newest bucket is what counts
  CHECK(bench.machine.successes_may_wait_until(bench.now) == start + 2s);
  bench.now += 3s;  // the two successes are over
  CHECK(bench.machine.successes_may_wait_until(bench.now) == TimePoint::min());
}

TEST_CASE("OutcomeWindow: the last bucket of all time ends with it", "[route][circuit_breaker]") {
  for (const penstock::Duration bucket : {penstock::Duration(1), penstock::Duration(1s), penstock::Duration::max()}) {
    OutcomeWindow window(kTime, 3, bucket);
    window.record(TimePoint::max(), true, false);
    CHECK(window.end_of_bucket() == TimePoint::max());
    CHECK(window.tally(TimePoint::max()) == CallTally{1, 1, 0});
    window.record(TimePoint::min(), true, false);  // a step back: time goes on from there
    CHECK(window.tally(TimePoint::min()) == CallTally{2, 2, 0});
    OutcomeWindow early(kTime, 3, bucket);
    early.record(TimePoint::min(), true, false);
    CHECK(early.tally(TimePoint::min()).calls == 1);
    early.record(TimePoint::max(), false, false);
    CHECK(early.tally(TimePoint::max()) == CallTally{1, 0, 0});
  }
}

TEST_CASE("OutcomeWindow: many successes at once are as many one by one", "[route][circuit_breaker]") {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    const auto kind = round % 2 == 0 ? kCount : kTime;
    const std::size_t size = 1 + random() % 20;
    OutcomeWindow at_once(kind, size, 1s);
    OutcomeWindow one_by_one(kind, size, 1s);
    TimePoint now{1h};
    for (int event = 0; event < 10; ++event) {
      now += std::chrono::milliseconds(random() % 1500);
      const bool failed = random() % 2 == 0;
      const std::uint64_t successes = random() % 40;
      at_once.record(now, failed, !failed);
      at_once.add_successes(successes);
      one_by_one.record(now, failed, !failed);
      for (std::uint64_t call = 0; call < successes; ++call) one_by_one.record(now, false, false);
      REQUIRE(at_once.tally(now) == one_by_one.tally(now));
    }
  }
}

// --- as a whole ---

TEST_CASE("CircuitBreaker: calls of many threads give the window that one would", "[route][circuit_breaker]") {
  LiveBench bench(wide_breaker(100));
  for (int thread = 0; thread < 20; ++thread) {  // more than there are rows
    on_another_thread([&] { bench.calls(7, 0); });
  }
  CHECK(bench.breaker->stats().succeeded == 140);
  CHECK(bench.window() == CallTally{100, 0, 0});
  for (int round = 0; round < 3; ++round) {
    on_another_thread([&] { bench.calls(5, 10); });
    on_another_thread([&] { bench.calls(3, 0); });
  }
  CHECK(bench.window() == CallTally{100, 30, 0});
  bench.calls(71, 0);  // the last hundred begin after two failures of the second round
  CHECK(bench.window() == CallTally{100, 18, 0});
  CHECK(bench.breaker->stats().succeeded == 140 + 24 + 71);
}

TEST_CASE("CircuitBreaker: successes of other threads are there before a failure is judged",
          "[route][circuit_breaker]") {
  CircuitBreakerOptions options = wide_breaker(100);
  options.minimum_calls = 10;
  LiveBench bench(options);
  on_another_thread([&] { bench.calls(5, 0); });
  on_another_thread([&] { bench.calls(5, 0); });
  bench.calls(0, 9);  // 9 of 19
  CHECK(bench.breaker->state() == BreakerState::kClosed);
  bench.calls(0, 1);
  CHECK(bench.breaker->state() == BreakerState::kOpen);
  CHECK(bench.changes.back().tally == CallTally{20, 10, 0});
}

TEST_CASE("CircuitBreaker: a success that makes the calls enough opens it, whoever reports it",
          "[route][circuit_breaker]") {
  LiveBench bench;  // 2 of 4
  on_another_thread([&] { bench.calls(1, 0); });
  bench.calls(0, 2);
  CHECK(bench.breaker->state() == BreakerState::kClosed);
  on_another_thread([&] { bench.calls(1, 0); });
  CHECK(bench.breaker->state() == BreakerState::kOpen);
}

TEST_CASE("CircuitBreaker: a success that took too long is slow, however many did not", "[route][circuit_breaker]") {
  CircuitBreakerOptions options = wide_breaker(10);
  options.slow_call = 100ms;
  options.slow_rate_pct = 20;
  LiveBench bench(options);
  bench.calls(30, 0);
  bench.breaker->try_acquire()->success(100ms + 1ns);
  CHECK(bench.window() == CallTally{10, 0, 1});
  bench.breaker->try_acquire()->settle(absl::OkStatus(), 1h);
  CHECK(bench.breaker->state() == BreakerState::kOpen);
}

TEST_CASE("CircuitBreaker: a success from before a change of state is late, not counted", "[route][circuit_breaker]") {
  LiveBench bench;
  bench.calls(10, 0);
  std::vector<CircuitBreaker::Permit> late;
  for (int permit = 0; permit < 3; ++permit) late.push_back(*bench.breaker->try_acquire());
  bench.breaker->reset();
  bench.calls(10, 0);
  late[0].success();
  bench.breaker->metrics_only();
  bench.calls(10, 0);
  late[1].success();
  bench.breaker->disable();
  bench.calls(10, 0);
  late[2].success();
  CHECK(bench.breaker->stats().late_results == 3);
  CHECK(bench.breaker->stats().succeeded == 30);
}

TEST_CASE("CircuitBreaker: a success that comes right after an operator's word is late", "[route][circuit_breaker]") {
  for (int what = 0; what < 4; ++what) {
    LiveBench bench;
    bench.calls(10, 0);
    auto permit = bench.breaker->try_acquire();
    if (what == 0) bench.breaker->reset();
    if (what == 1) bench.breaker->force_open();
    if (what == 2) bench.breaker->disable();
    if (what == 3) bench.breaker->metrics_only();
    permit->success();
    CHECK(bench.breaker->stats().late_results == 1);
    CHECK(bench.breaker->stats().succeeded == 10);
    const bool empty = what == 0 || what == 3;
    CHECK(bench.window() == CallTally{empty ? 0U : 4U, 0, 0});
  }
}

TEST_CASE("CircuitBreaker: successes from before a change of options are in the window of before",
          "[route][circuit_breaker]") {
  LiveBench bench(by_time(1000));
  bench.calls(10, 0);
  bench.options.window = kCount;
  bench.options.window_size = 100;
  REQUIRE(bench.change());
  CHECK(bench.window() == CallTally{});
  bench.calls(10, 0);
  bench.options.window = kTime;
  REQUIRE(bench.change());
  CHECK(bench.window() == CallTally{});
  bench.calls(10, 0);
  bench.options.bucket = 2s;
  REQUIRE(bench.change());
  bench.calls(0, 1);
  CHECK(bench.window() == CallTally{1, 1, 0});
  bench.options.window = kCount;
  bench.options.minimum_calls = 3;
  REQUIRE(bench.change());
  bench.calls(2, 0);
  bench.options.window_size = 2;  // all of which are successes that came before it
  REQUIRE(bench.change());
  bench.calls(0, 1);
  CHECK(bench.breaker->state() == BreakerState::kOpen);
  CHECK(bench.changes.back().tally == CallTally{2, 1, 0});
  CHECK(bench.breaker->stats().succeeded == 32);
}

TEST_CASE("CircuitBreaker: more successes than a row holds are all counted", "[route][circuit_breaker]") {
  LiveBench bench;
  bench.calls(200'000, 0);
  CHECK(bench.breaker->stats().succeeded == 200'000);
  CHECK(bench.window() == CallTally{4, 0, 0});
}

TEST_CASE("CircuitBreaker: with a time window each success is in its bucket", "[route][circuit_breaker]") {
  LiveBench bench(by_time(1000));
  bench.calls(1, 0);
  for (int bucket = 1; bucket < 3; ++bucket) {
    bench.clock.advance(1s);
    bench.calls(10 * bucket, 0);
    on_another_thread([&] { bench.calls(10 * bucket, 0); });
  }
  CHECK(bench.window() == CallTally{61, 0, 0});
  bench.clock.advance(1s);
  CHECK(bench.window() == CallTally{60, 0, 0});
  bench.clock.advance(1s);
  bench.calls(5, 0);
  CHECK(bench.window() == CallTally{45, 0, 0});
  bench.clock.advance(1s);
  CHECK(bench.window() == CallTally{5, 0, 0});
  CHECK(bench.breaker->stats().succeeded == 66);
}

TEST_CASE("CircuitBreaker: with a time window a success may be what opens it, when others are over",
          "[route][circuit_breaker]") {
  LiveBench bench(by_time(4));
  bench.calls(10, 0);
  bench.clock.advance(1s);
  bench.calls(2, 3);  // 3 of 15
  CHECK(bench.breaker->state() == BreakerState::kClosed);
  bench.clock.advance(2s);
  bench.calls(1, 0);  // 3 of 6: the first ten are over
  CHECK(bench.breaker->state() == BreakerState::kOpen);
}

TEST_CASE("CircuitBreaker: a clock that steps back for good keeps no success for longer than the window",
          "[route][circuit_breaker]") {
  JumpingClock clock;
  CircuitBreakerOptions options = by_time(4);
  options.clock = &clock;
  CircuitBreaker breaker(options);
  const auto successes = [&](int count) {
    for (int call = 0; call < count; ++call) breaker.try_acquire()->success();
  };
  successes(10);
  clock.at -= 1h;
  successes(5);  // the same bucket goes on here
  CHECK(breaker.stats().window.calls == 15);
  clock.at += 1s;
  successes(2);
  clock.at += 2s;
  CHECK(breaker.stats().window.calls == 2);
  clock.at += 2h;  // and forward
  successes(3);
  CHECK(breaker.stats().window == CallTally{3, 0, 0});
  CHECK(breaker.stats().succeeded == 20);
}
