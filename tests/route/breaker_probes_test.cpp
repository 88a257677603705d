// SPDX-License-Identifier: MIT

// The decisions of the circuit breaker about probes, and what operators tell it.

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

// --- half open ---

TEST_CASE("BreakerMachine: probes that pass close it with an empty window", "[route][circuit_breaker]") {
  MachineBench bench(small_breaker());
  bench.let_half_open();
  const std::uint64_t first = bench.acquire();
  const std::uint64_t second = bench.acquire();
  bench.report(first, kSuccess);
  bench.report(second, kSuccess);
  CHECK(bench.state() == BreakerState::kClosed);
  CHECK(bench.changes.back().reason == BreakerReason::kProbesPassed);
  CHECK(bench.stats().window.calls == 0);
  CHECK(bench.stats().attempts == 0);
  bench.calls(3, kFailure);
  CHECK(bench.state() == BreakerState::kClosed);
}

TEST_CASE("BreakerMachine: the verdict comes when the probes to come cannot change it", "[route][circuit_breaker]") {
  CircuitBreakerOptions options = small_breaker();
  options.minimum_calls = options.window_size = options.half_open_permits = 10;
  SECTION("five failures of ten are half of them in any case") {
    MachineBench bench(options);
    bench.let_half_open();
    for (int probe = 0; probe < 4; ++probe) bench.report(bench.acquire(), kFailure);
    CHECK(bench.state() == BreakerState::kHalfOpen);
    bench.report(bench.acquire(), kFailure);
    CHECK(bench.state() == BreakerState::kOpen);
  }
  SECTION("after six successes four failures would not be half") {
    MachineBench bench(options);
    bench.let_half_open();
    for (int probe = 0; probe < 5; ++probe) bench.report(bench.acquire(), kSuccess);
    CHECK(bench.state() == BreakerState::kHalfOpen);
    bench.report(bench.acquire(), kSuccess);
    CHECK(bench.state() == BreakerState::kClosed);
  }
  SECTION("slow successes count as slow") {
    options.slow_rate_pct = 30;
    MachineBench bench(options);
    bench.let_half_open();
    for (int probe = 0; probe < 2; ++probe) bench.report(bench.acquire(), kSuccess, true);
    CHECK(bench.state() == BreakerState::kHalfOpen);
    bench.report(bench.acquire(), kSuccess, true);
    CHECK(bench.state() == BreakerState::kOpen);
    CHECK(bench.changes.back().reason == BreakerReason::kSlowRate);
  }
}

TEST_CASE("BreakerMachine: fewer outcomes than permits decide if the minimum is lower", "[route][circuit_breaker]") {
  CircuitBreakerOptions options = small_breaker();
  options.minimum_calls = 2;
  options.half_open_permits = 10;
  MachineBench bench(options);
  bench.let_half_open();
  bench.report(bench.acquire(), kSuccess);
  CHECK(bench.state() == BreakerState::kHalfOpen);
  bench.report(bench.acquire(), kSuccess);
  CHECK(bench.state() == BreakerState::kClosed);
}

TEST_CASE("BreakerMachine: ignored and abandoned probes give their permit to others", "[route][circuit_breaker]") {
  MachineBench bench(small_breaker());
  bench.let_half_open();
  for (int probe = 0; probe < 100; ++probe) {
    const std::uint64_t first = bench.acquire();
    CHECK(bench.acquire() == first);
    CHECK(bench.acquire() == BreakerMachine::kRefused);
    bench.report(first, kIgnored);
    bench.abandon(first);
  }
  CHECK(bench.state() == BreakerState::kHalfOpen);
  CHECK(bench.stats().probes == 0);
}

TEST_CASE("BreakerMachine: what time does is done when it is due, whether or not anybody looks",
          "[route][circuit_breaker]") {
  CircuitBreakerOptions options = small_breaker();
  options.open_backoff = 2;
  const auto run = [&](bool look) {
    MachineBench bench(options);
    bench.let_half_open();
    (void)bench.acquire();  // lost
    for (int second = 0; second < 85; ++second) {
      bench.now += 1s;
      if (look) bench.advance(0s);
    }
    (void)bench.acquire();
    return bench.changes;
  };
  const auto seen = run(true);
  const auto unseen = run(false);
  REQUIRE(seen.size() == 4);  // open, half open, open 60 s later, half open after 20 s
  REQUIRE(unseen.size() == 4);
  for (std::size_t change = 0; change < 4; ++change) {
    CHECK(seen[change].to == unseen[change].to);
    CHECK(seen[change].at == unseen[change].at);
  }
}

TEST_CASE("BreakerMachine: with auto_half_open it waits for a first probe as long as it takes",
          "[route][circuit_breaker]") {
  CircuitBreakerOptions options = small_breaker();
  options.auto_half_open = true;
  MachineBench bench(options);
  bench.trip();
  CHECK(bench.machine.due() == bench.now + 10s + 1ns);
  bench.advance(10s);
  CHECK(bench.state() == BreakerState::kOpen);
  bench.advance(1ns);
  CHECK(bench.state() == BreakerState::kHalfOpen);
  CHECK(bench.machine.due() == TimePoint::max());
  bench.advance(24h);
  CHECK(bench.state() == BreakerState::kHalfOpen);
  CHECK(bench.acquire() == bench.machine.generation());
  CHECK(bench.machine.due() == bench.now + 60s + 1ns);
  bench.advance(60s + 1ns);
  CHECK(bench.state() == BreakerState::kOpen);
}

// --- what operators do ---

TEST_CASE("BreakerMachine: forced open refuses until it is told otherwise", "[route][circuit_breaker]") {
  MachineBench bench(small_breaker());
  const std::uint64_t before = bench.acquire();
  bench.set(BreakerState::kForcedOpen);
  bench.now += 1000h;
  CHECK(bench.acquire() == BreakerMachine::kRefused);
  bench.report(before, kFailure);
  CHECK(bench.stats().late_results == 1);
  bench.set(BreakerState::kClosed);
  CHECK(bench.acquire() != BreakerMachine::kRefused);
}

TEST_CASE("BreakerMachine: disabled lets all through and records nothing", "[route][circuit_breaker]") {
  MachineBench bench(small_breaker());
  bench.set(BreakerState::kDisabled);
  bench.calls(100, kFailure, true);
  CHECK(bench.state() == BreakerState::kDisabled);
  CHECK(bench.stats().window.calls == 0);
  CHECK(bench.stats().failed == 0);
}

TEST_CASE("BreakerMachine: metrics only lets all through, records, and never opens", "[route][circuit_breaker]") {
  MachineBench bench(small_breaker());
  bench.set(BreakerState::kMetricsOnly);
  bench.calls(100, kFailure);
  CHECK(bench.state() == BreakerState::kMetricsOnly);
  CHECK(bench.stats().failure_rate_pct == 100);
  CHECK(bench.stats().failed == 100);
}

TEST_CASE("BreakerMachine: a reset empties the window and makes permits late, also when closed",
          "[route][circuit_breaker]") {
  MachineBench bench(small_breaker());
  bench.calls(3, kFailure);
  const std::uint64_t before = bench.acquire();
  bench.set(BreakerState::kClosed);
  CHECK(bench.changes.empty());  // it was closed and is closed
  CHECK(bench.machine.generation() == before + 1);
  bench.report(before, kFailure);
  CHECK(bench.stats().window.calls == 0);
  CHECK(bench.stats().late_results == 1);
}

TEST_CASE("BreakerMachine: every change begins a new generation", "[route][circuit_breaker]") {
  MachineBench bench(small_breaker());
  std::uint64_t last = bench.machine.generation();
  for (int round = 0; round < 3; ++round) {
    bench.let_half_open();
    bench.report(bench.acquire(), kFailure);
    bench.set(BreakerState::kClosed);
  }
  for (const BreakerTransition& change : bench.changes) CHECK(change.generation == ++last);
}
