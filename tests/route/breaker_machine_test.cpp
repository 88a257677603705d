// SPDX-License-Identifier: MIT

// The decisions of the circuit breaker, without threads, locks and clocks: golden vectors, windows, and how long it is
// open.

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "route/breaker_bench.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using penstock::BreakerReason;
using penstock::BreakerState;
using penstock::BreakerTransition;
using penstock::CallOutcome;
using penstock::CircuitBreakerOptions;
using penstock::Duration;
using penstock::TimePoint;
using penstock::detail::BreakerMachine;
using penstock::testing::MachineBench;
using penstock::testing::small_breaker;

namespace {

constexpr auto kSuccess = CallOutcome::kSuccess;
constexpr auto kFailure = CallOutcome::kFailure;
constexpr auto kIgnored = CallOutcome::kIgnored;

}  // namespace

// --- golden vectors, made with the classes of resilience4j ---

TEST_CASE("BreakerMachine: slow calls of 10, 101, 101, 100, 101 ms open a window of 4 at the fifth",
          "[route][circuit_breaker]") {
  CircuitBreakerOptions options = small_breaker();
  options.slow_call = 100ms;
  options.slow_rate_pct = 75;
  MachineBench bench(options);
  for (const Duration took : {10ms, 101ms, 101ms, 100ms}) {
    bench.report(bench.acquire(), kSuccess, took > options.slow_call);
    CHECK(bench.state() == BreakerState::kClosed);
  }
  CHECK(bench.stats().slow_rate_pct == 50);  // 100 ms is not slow
  bench.report(bench.acquire(), kSuccess, 101ms > options.slow_call);
  CHECK(bench.state() == BreakerState::kOpen);
  CHECK(bench.stats().slow_rate_pct == 75);
  CHECK(bench.changes.back().reason == BreakerReason::kSlowRate);
  CHECK(bench.acquire() == BreakerMachine::kRefused);
  CHECK(bench.stats().not_permitted == 1);
}

TEST_CASE("BreakerMachine: of two probes a success alone decides nothing, with a failure it opens",
          "[route][circuit_breaker]") {
  MachineBench bench(small_breaker());
  bench.let_half_open();
  const std::uint64_t first = bench.acquire();
  const std::uint64_t second = bench.acquire();
  bench.report(first, kSuccess);
  CHECK(bench.state() == BreakerState::kHalfOpen);
  bench.report(second, kFailure);  // 50 % >= 50 %
  CHECK(bench.state() == BreakerState::kOpen);
}

// --- where it must not do what resilience4j does ---

TEST_CASE("BreakerMachine: late successes of closed times do not close it", "[route][circuit_breaker]") {
  MachineBench bench(small_breaker());
  const std::uint64_t old = bench.acquire();
  bench.let_half_open();
  const std::uint64_t probe = bench.acquire();
  bench.report(old, kSuccess);
  bench.report(old, kSuccess);
  CHECK(bench.state() == BreakerState::kHalfOpen);
  CHECK(bench.stats().late_results == 2);
  CHECK(bench.stats().window.calls == 0);
  bench.report(probe, kSuccess);
  CHECK(bench.state() == BreakerState::kHalfOpen);
}

TEST_CASE("BreakerMachine: ten late ignored results leave two permits", "[route][circuit_breaker]") {
  MachineBench bench(small_breaker());
  const std::uint64_t old = bench.acquire();
  bench.let_half_open();
  const std::uint64_t probe = bench.acquire();
  for (int result = 0; result < 10; ++result) bench.report(old, kIgnored);
  CHECK(bench.acquire() != BreakerMachine::kRefused);
  CHECK(bench.acquire() == BreakerMachine::kRefused);
  bench.report(probe, kIgnored);  // one that is not late gives its permit back, once
  bench.report(probe, kIgnored);
  bench.report(probe, kIgnored);
  CHECK(bench.acquire() != BreakerMachine::kRefused);
  CHECK(bench.acquire() != BreakerMachine::kRefused);
  CHECK(bench.acquire() == BreakerMachine::kRefused);
  CHECK(bench.stats().doubled_reports == 1);
}

TEST_CASE("BreakerMachine: lost probes end the half-open state", "[route][circuit_breaker]") {
  MachineBench bench(small_breaker());
  bench.let_half_open();
  const std::uint64_t lost = bench.acquire();
  CHECK(bench.acquire() == lost);
  bench.now += 60s;
  CHECK(bench.acquire() == BreakerMachine::kRefused);
  CHECK(bench.state() == BreakerState::kHalfOpen);
  bench.now += 1ns;
  CHECK(bench.acquire() == BreakerMachine::kRefused);
  CHECK(bench.state() == BreakerState::kOpen);
  CHECK(bench.changes.back().reason == BreakerReason::kProbesLost);
  bench.report(lost, kSuccess);
  CHECK(bench.stats().late_results == 1);
  CHECK(bench.stats().attempts == 2);
}

TEST_CASE("BreakerMachine: a clock that steps back adds no time and loses no call", "[route][circuit_breaker]") {
  CircuitBreakerOptions options = small_breaker();
  options.window = CircuitBreakerOptions::Window::kTime;
  options.window_size = 10;
  options.minimum_calls = 3;
  MachineBench bench(options);
  bench.calls(1, kFailure);
  bench.now -= 30min;
  bench.calls(1, kFailure);
  CHECK(bench.stats().window.calls == 2);
  bench.now += 30min + 11s;
  bench.calls(2, kFailure);
  CHECK(bench.state() == BreakerState::kClosed);  // those of before the step are over, whatever the clock said then
  bench.calls(1, kFailure);
  CHECK(bench.state() == BreakerState::kOpen);
  bench.now -= 30min;
  CHECK(bench.acquire() == BreakerMachine::kRefused);
}

TEST_CASE("BreakerMachine: a clock that steps back and stays there keeps no call for longer than the window",
          "[route][circuit_breaker]") {
  CircuitBreakerOptions options = small_breaker();
  options.window = CircuitBreakerOptions::Window::kTime;
  options.window_size = 7;
  options.minimum_calls = 100;
  MachineBench bench(options);
  for (int second = 0; second < 7; ++second) {
    if (second != 0) bench.now += 1s;
    bench.calls(second + 1, kFailure);
  }
  bench.now -= 30min;
  bench.calls(1, kFailure);
  CHECK(bench.stats().window.calls == 29);
  CHECK(bench.machine.successes_may_wait_until(bench.now) == TimePoint::min());
  for (int second = 1; second < 7; ++second) {
    bench.now += 1s;
    CHECK(bench.stats().window.calls == 29U - static_cast<unsigned>(second * (second + 1) / 2));
  }
  bench.now += 1s;
  CHECK(bench.stats().window.calls == 0);
  bench.now += 31min;  // and forward again
  bench.calls(1, kFailure);
  CHECK(bench.stats().window.calls == 1);
}

TEST_CASE("BreakerMachine: a clock that steps back makes no wait longer than twice its length",
          "[route][circuit_breaker]") {
  MachineBench bench(small_breaker());  // open for 10 s, 60 s for probes
  bench.trip();
  bench.now -= 9s;
  CHECK(bench.machine.refusal(bench.now).retry_after == 19s);
  bench.now -= 10h;
  CHECK(bench.machine.refusal(bench.now).retry_after == 10s);
  CHECK(bench.acquire() == BreakerMachine::kRefused);
  bench.now += 10s;
  CHECK(bench.acquire() == BreakerMachine::kRefused);
  bench.now += 1ns;
  CHECK(bench.acquire() != BreakerMachine::kRefused);
  bench.now -= 10h;
  CHECK(bench.acquire() != BreakerMachine::kRefused);
  bench.advance(60s);
  CHECK(bench.state() == BreakerState::kHalfOpen);
  bench.advance(1ns);
  CHECK(bench.state() == BreakerState::kOpen);
  CHECK(bench.changes.back().reason == BreakerReason::kProbesLost);
}

TEST_CASE("BreakerMachine: a clock that jumps to the end of time, and back to its beginning, breaks nothing",
          "[route][circuit_breaker]") {
  for (const auto window : {CircuitBreakerOptions::Window::kCount, CircuitBreakerOptions::Window::kTime}) {
    CircuitBreakerOptions options = small_breaker();
    options.window = window;
    MachineBench bench(options);
    for (const TimePoint now : {TimePoint::max(), TimePoint::min(), TimePoint{}, TimePoint::min(), TimePoint::max()}) {
      bench.now = now;
      bench.calls(3, kFailure);
      bench.calls(1, kFailure);
      CHECK(bench.acquire() == BreakerMachine::kRefused);
      bench.now = penstock::saturated_add(now, 10s + 1ns);
      (void)bench.acquire();
      bench.advance(Duration::zero());
      CHECK(bench.stats().window.calls <= 4);
      bench.set(BreakerState::kClosed);
    }
    CHECK(bench.stats().failed >= 15);
  }
}

// --- windows and rates ---

TEST_CASE("BreakerMachine: fewer than the minimum of calls decide nothing", "[route][circuit_breaker]") {
  CircuitBreakerOptions options = small_breaker();
  options.window_size = 10;
  options.minimum_calls = 5;
  MachineBench bench(options);
  bench.calls(4, kFailure);
  CHECK(bench.state() == BreakerState::kClosed);
  CHECK(bench.stats().failure_rate_pct == -1);
  bench.calls(1, kSuccess);  // a success can be what makes them enough
  CHECK(bench.state() == BreakerState::kOpen);
  CHECK(bench.stats().failure_rate_pct == 80);
}

TEST_CASE("BreakerMachine: a full count window is enough, whatever the minimum", "[route][circuit_breaker]") {
  CircuitBreakerOptions options = small_breaker();
  options.minimum_calls = 100;
  MachineBench bench(options);
  bench.calls(4, kFailure);
  CHECK(bench.state() == BreakerState::kOpen);
}

TEST_CASE("BreakerMachine: a threshold is reached by equality", "[route][circuit_breaker]") {
  MachineBench below(small_breaker());
  below.calls(3, kSuccess);
  below.calls(1, kFailure);
  CHECK(below.state() == BreakerState::kClosed);  // 25 %
  below.calls(1, kFailure);
  CHECK(below.state() == BreakerState::kOpen);  // 50 % of the last four
  CHECK(below.changes.back().tally == penstock::CallTally{4, 2, 0});
}

TEST_CASE("BreakerMachine: a slow failure counts in both rates", "[route][circuit_breaker]") {
  CircuitBreakerOptions options = small_breaker();
  options.failure_rate_pct = 80;
  options.slow_rate_pct = 80;
  MachineBench bench(options);
  bench.calls(1, kFailure, true);
  bench.calls(1, kSuccess, true);
  bench.calls(2, kSuccess);
  const auto stats = bench.stats();
  CHECK(stats.failure_rate_pct == 25);
  CHECK(stats.slow_rate_pct == 50);
}

TEST_CASE("BreakerMachine: ignored and abandoned calls are not in the window", "[route][circuit_breaker]") {
  MachineBench bench(small_breaker());
  bench.calls(10, kIgnored);
  for (int call = 0; call < 10; ++call) bench.abandon(bench.acquire());
  CHECK(bench.stats().window.calls == 0);
  CHECK(bench.stats().ignored == 10);
  CHECK(bench.stats().abandoned == 10);
}

TEST_CASE("BreakerMachine: a time window forgets whole buckets", "[route][circuit_breaker]") {
  CircuitBreakerOptions options = small_breaker();
  options.window = CircuitBreakerOptions::Window::kTime;
  options.window_size = 3;
  options.bucket = 1s;
  options.minimum_calls = 100;
  MachineBench bench(options);  // begins at a full second
  bench.calls(1, kFailure);
  bench.now += 999'999'999ns;
  bench.calls(1, kSuccess);
  bench.now += 1ns;
  bench.calls(1, kSuccess);
  bench.now += 1'999'999'999ns;
  CHECK(bench.stats().window.calls == 3);  // the oldest is almost 3 s old
  bench.now += 1ns;
  CHECK(bench.stats().window.calls == 1);
  bench.now += 1s;
  CHECK(bench.stats().window.calls == 0);
  bench.calls(2, kFailure);
  CHECK(bench.stats().window == penstock::CallTally{2, 2, 0});
}

TEST_CASE("BreakerMachine: a time window has no upper limit of calls", "[route][circuit_breaker]") {
  CircuitBreakerOptions options = small_breaker();
  options.window = CircuitBreakerOptions::Window::kTime;
  options.minimum_calls = 1000;
  MachineBench bench(options);
  bench.calls(999, kFailure);
  CHECK(bench.state() == BreakerState::kClosed);
  bench.calls(1, kFailure);
  CHECK(bench.state() == BreakerState::kOpen);
}

// --- open ---

TEST_CASE("BreakerMachine: it refuses at exactly the end of the wait, and lets through after it",
          "[route][circuit_breaker]") {
  MachineBench bench(small_breaker());
  bench.trip();
  bench.now += 10s - 1ns;
  CHECK(bench.acquire() == BreakerMachine::kRefused);
  CHECK(bench.machine.refusal(bench.now).retry_after == 1ns);
  bench.now += 1ns;
  CHECK(bench.acquire() == BreakerMachine::kRefused);
  bench.now += 1ns;
  const std::uint64_t probe = bench.acquire();
  CHECK(probe == bench.machine.generation());
  CHECK(bench.state() == BreakerState::kHalfOpen);
  CHECK(bench.stats().probes == 1);  // whoever comes first is a probe
}

TEST_CASE("BreakerMachine: each failure in a row makes it wait longer, up to a limit", "[route][circuit_breaker]") {
  CircuitBreakerOptions options = small_breaker();
  options.open_backoff = 3;
  options.open_for_max = 60s;
  options.half_open_permits = 1;
  MachineBench bench(options);
  bench.trip();
  for (const Duration wait : {10s, 30s, 60s, 60s}) {
    CHECK(bench.changes.back().wait == wait);
    bench.now += wait;
    CHECK(bench.acquire() == BreakerMachine::kRefused);
    bench.now += 1ns;
    bench.report(bench.acquire(), kFailure);
    CHECK(bench.state() == BreakerState::kOpen);
  }
  bench.now += 61s;
  bench.report(bench.acquire(), kSuccess);
  CHECK(bench.state() == BreakerState::kClosed);
  bench.trip();
  CHECK(bench.changes.back().wait == 10s);  // closed once, it begins anew
}

TEST_CASE("BreakerMachine: a wait that grows for ever saturates", "[route][circuit_breaker]") {
  CircuitBreakerOptions options;
  options.open_for = Duration(1);
  options.open_backoff = 1e300;
  options.open_for_max = Duration::max();
  CHECK(BreakerMachine::wait(options, 1) == Duration(1));
  CHECK(BreakerMachine::wait(options, 2) == Duration::max());
  CHECK(BreakerMachine::wait(options, 4'000'000'000) == Duration::max());
  options.open_for = Duration::max();
  options.open_backoff = 1;
  CHECK(BreakerMachine::wait(options, 7) == Duration::max());
  MachineBench bench(options);
  bench.trip();
  bench.now = TimePoint::max();
  CHECK(bench.acquire() == BreakerMachine::kRefused);
  CHECK(bench.machine.refusal(bench.now).retry_after == Duration::max());
}

TEST_CASE("BreakerMachine: jitter shortens the wait by up to its part", "[route][circuit_breaker]") {
  CircuitBreakerOptions options = small_breaker();
  options.open_jitter = 0.5;
  Duration least = Duration::max();
  Duration most = Duration::zero();
  MachineBench bench(options);
  for (int round = 0; round < 1000; ++round) {
    bench.trip();
    least = std::min(least, bench.changes.back().wait);
    most = std::max(most, bench.changes.back().wait);
    bench.set(BreakerState::kClosed);
  }
  CHECK(least > 5s);
  CHECK(least < 5100ms);
  CHECK(most <= 10s);
  CHECK(most > 9900ms);
}
