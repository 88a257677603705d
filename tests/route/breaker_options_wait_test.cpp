// SPDX-License-Identifier: MIT

// Options that change while the breaker is not closed: what happens to the waits and to the probes.

#include <chrono>

#include "penstock/route/circuit_breaker.hpp"
#include "route/breaker_bench.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using penstock::BreakerReason;
using penstock::BreakerState;
using penstock::CallTally;
using penstock::CircuitBreakerOptions;
using penstock::Duration;
using penstock::testing::LiveBench;
using penstock::testing::trip;
using penstock::testing::wide_breaker;

// --- the wait ---

TEST_CASE("CircuitBreaker: an open breaker waits as if it had opened with the options of now",
          "[route][circuit_breaker]") {
  LiveBench bench;
  trip(*bench.breaker);
  bench.clock.advance(4s);
  bench.options.open_for = 30s;
  REQUIRE(bench.change());
  CHECK(bench.breaker->retry_after() == 26s);
  bench.options.open_for = 6s;
  REQUIRE(bench.change());
  CHECK(bench.breaker->retry_after() == 2s);
  bench.options.open_for = 1s;  // over since 3 s: it ends now, and not before
  REQUIRE(bench.change());
  CHECK(bench.breaker->retry_after() == 0s);
  CHECK_FALSE(bench.breaker->try_acquire().has_value());
  bench.clock.advance(1ns);
  CHECK(bench.breaker->try_acquire().has_value());
  CHECK(bench.changes.back().to == BreakerState::kHalfOpen);
  CHECK(bench.breaker->stats().attempts == 1);
}

TEST_CASE("CircuitBreaker: a wait that is over stays over, unless it is to be longer", "[route][circuit_breaker]") {
  LiveBench bench;
  trip(*bench.breaker);
  bench.clock.advance(10s + 1ns);
  REQUIRE(bench.change());
  CHECK(bench.breaker->retry_after() == 0s);
  bench.options.open_for = 20s;
  REQUIRE(bench.change());
  CHECK(bench.breaker->retry_after() == 10s - 1ns);
  bench.options.open_for = 10s;
  REQUIRE(bench.change());
  bench.clock.advance(1ns);
  CHECK(bench.breaker->try_acquire().has_value());
}

TEST_CASE("CircuitBreaker: the clock may bring about the half-open state from now on, or no longer",
          "[route][circuit_breaker]") {
  LiveBench bench;
  trip(*bench.breaker);
  bench.clock.advance(4s);
  bench.options.auto_half_open = true;
  REQUIRE(bench.change());
  bench.clock.advance(6s);
  CHECK(bench.changes.size() == 1);
  bench.clock.advance(1ns);
  REQUIRE(bench.changes.size() == 2);
  CHECK(bench.changes.back().to == BreakerState::kHalfOpen);

  bench.breaker->reset();
  trip(*bench.breaker);
  bench.options.open_for = 3s;  // earlier than the timer was set for
  REQUIRE(bench.change());
  bench.clock.advance(3s + 1ns);
  CHECK(bench.changes.back().to == BreakerState::kHalfOpen);

  bench.breaker->reset();
  trip(*bench.breaker);
  bench.options.auto_half_open = false;
  REQUIRE(bench.change());
  bench.clock.advance(60s);
  CHECK(bench.changes.back().to == BreakerState::kOpen);
  bench.options.auto_half_open = true;  // due long ago
  REQUIRE(bench.change());
  CHECK(bench.changes.back().to == BreakerState::kHalfOpen);
  bench.breaker.reset();
  CHECK(bench.clock.armed() == 0);
}

// --- probes ---

TEST_CASE("CircuitBreaker: with more permits more probes go, with fewer none until enough are back",
          "[route][circuit_breaker]") {
  LiveBench bench(wide_breaker());
  trip(*bench.breaker);
  bench.clock.advance(10s + 1ns);
  auto first = bench.breaker->try_acquire();
  auto second = bench.breaker->try_acquire();
  CHECK_FALSE(bench.breaker->try_acquire().has_value());
  bench.options.half_open_permits = 3;
  REQUIRE(bench.change());
  auto third = bench.breaker->try_acquire();
  CHECK(third.has_value());
  CHECK_FALSE(bench.breaker->try_acquire().has_value());

  bench.options.half_open_permits = 1;
  REQUIRE(bench.change());
  CHECK(bench.breaker->stats().probes == 3);
  third->ignore();
  CHECK_FALSE(bench.breaker->try_acquire().has_value());
  second->ignore();
  CHECK_FALSE(bench.breaker->try_acquire().has_value());
  CHECK(bench.breaker->stats().probes == 1);
  first->success();  // a probe of before: it is valid, and enough
  CHECK(bench.breaker->state() == BreakerState::kClosed);
  CHECK(bench.breaker->stats().late_results == 0);
}

TEST_CASE("CircuitBreaker: outcomes of probes that are enough now decide at once", "[route][circuit_breaker]") {
  CircuitBreakerOptions options = wide_breaker();
  options.half_open_permits = 10;
  LiveBench bench(options);
  trip(*bench.breaker);
  bench.clock.advance(10s + 1ns);
  bench.calls(3, 0);
  CHECK(bench.breaker->state() == BreakerState::kHalfOpen);
  SECTION("for it") {
    bench.options.half_open_permits = 2;  // less than are there
    REQUIRE(bench.change());
    CHECK(bench.breaker->state() == BreakerState::kClosed);
    CHECK(bench.changes.back().reason == BreakerReason::kProbesPassed);
  }
  SECTION("against it") {
    bench.calls(0, 3);
    bench.options.minimum_calls = 6;
    REQUIRE(bench.change());
    CHECK(bench.breaker->state() == BreakerState::kOpen);
    CHECK(bench.changes.back().reason == BreakerReason::kFailureRate);
    CHECK(bench.breaker->stats().attempts == 2);
  }
  SECTION("or not, if they are not enough") {
    bench.options.half_open_permits = 8;
    REQUIRE(bench.change());
    CHECK(bench.breaker->state() == BreakerState::kHalfOpen);
  }
}

TEST_CASE("CircuitBreaker: it waits for probes as if they had gone with the options of now",
          "[route][circuit_breaker]") {
  LiveBench bench;
  trip(*bench.breaker);
  bench.clock.advance(10s + 1ns);
  auto lost = bench.breaker->try_acquire();
  bench.options.half_open_max_wait = Duration::max();
  REQUIRE(bench.change());
  bench.clock.advance(100s);
  CHECK(bench.breaker->state() == BreakerState::kHalfOpen);
  bench.options.half_open_max_wait = 101s;
  REQUIRE(bench.change());
  bench.clock.advance(1s);
  CHECK(bench.breaker->state() == BreakerState::kHalfOpen);
  bench.clock.advance(1ns);
  CHECK(bench.breaker->state() == BreakerState::kOpen);
  lost->success();
  CHECK(bench.breaker->stats().late_results == 1);
}

TEST_CASE("CircuitBreaker: a wait for probes that is made too short ends now", "[route][circuit_breaker]") {
  LiveBench bench;
  trip(*bench.breaker);
  bench.clock.advance(10s + 1ns);
  auto probe = bench.breaker->try_acquire();
  bench.clock.advance(30s);
  bench.options.half_open_max_wait = 5s;
  const auto now = bench.clock.now();
  REQUIRE(bench.change());
  CHECK(bench.breaker->state() == BreakerState::kHalfOpen);
  bench.clock.advance(1ns);
  CHECK_FALSE(bench.breaker->try_acquire().has_value());
  CHECK(bench.changes.back().reason == BreakerReason::kProbesLost);
  CHECK(bench.changes.back().at == now);  // not when nobody thought of it
  probe->ignore();
}

TEST_CASE("CircuitBreaker: what an operator has set stays set", "[route][circuit_breaker]") {
  LiveBench bench(wide_breaker());
  for (const BreakerState state : {BreakerState::kForcedOpen, BreakerState::kDisabled, BreakerState::kMetricsOnly}) {
    if (state == BreakerState::kForcedOpen) bench.breaker->force_open();
    if (state == BreakerState::kDisabled) bench.breaker->disable();
    if (state == BreakerState::kMetricsOnly) bench.breaker->metrics_only();
    bench.options.failure_rate_pct = bench.options.failure_rate_pct == 50 ? 10 : 50;
    if (state == BreakerState::kMetricsOnly) bench.calls(0, 20);
    REQUIRE(bench.change());
    CHECK(bench.breaker->state() == state);
  }
  CHECK(bench.window() == CallTally{10, 10, 0});
}
