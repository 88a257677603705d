// SPDX-License-Identifier: MIT

// Options that change while the breaker is in use: what happens to the window, the wait, the probes and the permits.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "penstock/core/manual_clock.hpp"
#include "penstock/route/circuit_breaker.hpp"
#include "route/breaker_bench.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace std::chrono_literals;
using penstock::BreakerReason;
using penstock::BreakerState;
using penstock::CallOutcome;
using penstock::CallTally;
using penstock::CircuitBreakerOptions;
using penstock::ManualClock;
using penstock::testing::ContainsSubstring;
using penstock::testing::eventually;
using penstock::testing::LiveBench;
using penstock::testing::wide_breaker;

// --- what they are ---

TEST_CASE("CircuitBreaker: options that change are the options, but for name and clock", "[route][circuit_breaker]") {
  LiveBench bench;
  ManualClock other;
  CircuitBreakerOptions next = wide_breaker(7);
  next.name = "somebody else";
  next.clock = &other;
  next.failure_rate_pct = 12.5;
  REQUIRE(bench.breaker->set_options(next).ok());
  CHECK(bench.breaker->options().window_size == 7);
  CHECK(bench.breaker->options().failure_rate_pct == 12.5);
  CHECK(bench.breaker->options().name == "bedrock");
  CHECK(bench.breaker->options().clock == &bench.clock);
  CHECK(bench.breaker->name() == "bedrock");
  next.clock = nullptr;  // not looked at
  CHECK(bench.breaker->set_options(next).ok());
}

TEST_CASE("CircuitBreaker: options that are no good change nothing", "[route][circuit_breaker]") {
  LiveBench bench(wide_breaker());
  bench.calls(3, 2);
  CircuitBreakerOptions bad = bench.options;
  bad.window_size = 0;
  bad.failure_rate_pct = std::numeric_limits<double>::quiet_NaN();
  bad.slow_rate_pct = std::numeric_limits<double>::infinity();
  bad.open_for = -1s;
  bad.minimum_calls = 0;
  const absl::Status status = bench.breaker->set_options(bad);
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  const std::string text(status.message());
  CHECK_THAT(text, ContainsSubstring("circuit breaker 'bedrock': options.window_size must be in [1, 1000000], got 0"));
  CHECK_THAT(text, ContainsSubstring("options.minimum_calls must be at least 1, got 0"));
  CHECK_THAT(text, ContainsSubstring("options.failure_rate_pct must be in (0, 100], got nan"));
  CHECK_THAT(text, ContainsSubstring("options.slow_rate_pct must be in (0, 100], got inf"));
  CHECK_THAT(text, ContainsSubstring("options.open_for must be positive, got -1 s"));
  CHECK(bench.breaker->options().window_size == 10);
  CHECK(bench.window() == CallTally{5, 2, 0});
}

TEST_CASE("CircuitBreaker: without memory for other options it goes on with those it has", "[route][circuit_breaker]") {
  LiveBench bench(wide_breaker());
  bench.calls(3, 2);
  CircuitBreakerOptions next = wide_breaker(1000);
  next.name = std::string(100, 'x');
  next.classify = [](const absl::Status&) { return CallOutcome::kFailure; };
  const int failures = penstock::testing::failures_of([&] { (void)bench.breaker->set_options(next); },
                                                      [&] {
                                                        CHECK(bench.breaker->options().window_size == 10);
                                                        CHECK(bench.window() == CallTally{5, 2, 0});
                                                      });
  CHECK(failures > 3);
  CHECK(bench.breaker->options().window_size == 1000);
  bench.breaker->try_acquire()->settle(absl::OkStatus());
  CHECK(bench.window() == CallTally{6, 3, 0});
}

// --- the window ---

TEST_CASE("CircuitBreaker: a count window that changes its size keeps the newest calls", "[route][circuit_breaker]") {
  LiveBench bench(wide_breaker());
  bench.options.failure_rate_pct = 100;
  REQUIRE(bench.change());
  bench.calls(0, 3);
  bench.calls(4, 1);
  bench.calls(4, 0);  // F F F S S S S F S S S S: the last ten
  CHECK(bench.window() == CallTally{10, 2, 0});
  bench.options.window_size = 6;
  REQUIRE(bench.change());
  CHECK(bench.window() == CallTally{6, 1, 0});
  bench.options.window_size = 8;
  REQUIRE(bench.change());
  CHECK(bench.window() == CallTally{6, 1, 0});
  bench.calls(3, 0);  // F S S S S S S S: the failure is the next to go
  CHECK(bench.window() == CallTally{8, 1, 0});
  bench.calls(1, 0);
  CHECK(bench.window() == CallTally{8, 0, 0});
}

TEST_CASE("CircuitBreaker: a time window that changes its size keeps the newest buckets", "[route][circuit_breaker]") {
  CircuitBreakerOptions options = wide_breaker(5);
  options.window = CircuitBreakerOptions::Window::kTime;
  options.minimum_calls = 100;
  LiveBench bench(options);
  for (int second = 0; second < 5; ++second) {
    if (second != 0) bench.clock.advance(1s);
    bench.calls(second, 1);
  }
  CHECK(bench.window() == CallTally{15, 5, 0});
  bench.options.window_size = 2;
  REQUIRE(bench.change());
  CHECK(bench.window() == CallTally{9, 2, 0});
  bench.options.window_size = 9;
  REQUIRE(bench.change());
  CHECK(bench.window() == CallTally{9, 2, 0});
  bench.clock.advance(7s);
  CHECK(bench.window() == CallTally{9, 2, 0});
  bench.clock.advance(1s);
  CHECK(bench.window() == CallTally{5, 1, 0});
}

TEST_CASE("CircuitBreaker: a window of another kind begins anew", "[route][circuit_breaker]") {
  LiveBench bench(wide_breaker());
  bench.calls(3, 2);
  bench.options.window = CircuitBreakerOptions::Window::kTime;
  REQUIRE(bench.change());
  CHECK(bench.window() == CallTally{});
  bench.calls(3, 2);
  REQUIRE(bench.change());  // as it is: it stays
  CHECK(bench.window() == CallTally{5, 2, 0});
  bench.options.bucket = 2s;
  REQUIRE(bench.change());
  CHECK(bench.window() == CallTally{});
  CHECK(bench.breaker->stats().failed == 4);  // totals stay
  CHECK(bench.breaker->stats().succeeded == 6);
}

TEST_CASE("CircuitBreaker: the window is judged by other options at once", "[route][circuit_breaker]") {
  LiveBench bench(wide_breaker());
  bench.calls(6, 4);
  CHECK(bench.breaker->state() == BreakerState::kClosed);
  auto permit = bench.breaker->try_acquire();
  bench.options.failure_rate_pct = 40;
  REQUIRE(bench.change());
  CHECK(bench.breaker->state() == BreakerState::kOpen);
  REQUIRE(bench.changes.size() == 1);
  CHECK(bench.changes[0].reason == BreakerReason::kFailureRate);
  CHECK(bench.changes[0].tally == CallTally{10, 4, 0});
  permit->success();
  CHECK(bench.breaker->stats().late_results == 1);
}

TEST_CASE("CircuitBreaker: fewer calls may be enough from now on", "[route][circuit_breaker]") {
  LiveBench bench(wide_breaker());
  bench.calls(2, 3);
  bench.options.minimum_calls = 5;
  REQUIRE(bench.change());
  CHECK(bench.breaker->state() == BreakerState::kOpen);
}

TEST_CASE("CircuitBreaker: a permit from before the change of options counts", "[route][circuit_breaker]") {
  LiveBench bench(wide_breaker());
  const std::uint64_t generation = bench.breaker->stats().generation;
  auto success = bench.breaker->try_acquire();
  auto failure = bench.breaker->try_acquire();
  bench.options.window = CircuitBreakerOptions::Window::kTime;
  REQUIRE(bench.change());
  success->success();
  failure->failure();
  CHECK(bench.window() == CallTally{2, 1, 0});
  CHECK(bench.breaker->stats().generation == generation);
  CHECK(bench.breaker->stats().late_results == 0);
}

TEST_CASE("CircuitBreaker: what is slow is what the options say now", "[route][circuit_breaker]") {
  LiveBench bench(wide_breaker(100));
  for (int call = 0; call < 10; ++call) bench.breaker->try_acquire()->success(1s);
  bench.options.slow_call = 999ms;
  REQUIRE(bench.change());
  bench.calls(1, 0);
  for (int call = 0; call < 3; ++call) bench.breaker->try_acquire()->success(1s);
  bench.options.slow_call = 2s;
  REQUIRE(bench.change());
  bench.breaker->try_acquire()->success(1s);
  CHECK(bench.breaker->stats().slow == 3);
  CHECK(bench.window() == CallTally{15, 0, 3});
}

// --- the classifier ---

TEST_CASE("CircuitBreaker: the classifier changes, and the old one goes when its last call has returned",
          "[route][circuit_breaker]") {
  LiveBench bench(wide_breaker(100));
  std::atomic<bool> entered{false};
  std::atomic<bool> go{false};
  auto token = std::make_shared<int>(0);
  const std::weak_ptr<int> watch = token;
  bench.options.classify = [&entered, &go, token = std::move(token)](const absl::Status&) {
    entered = true;
    while (!go) std::this_thread::yield();
    return CallOutcome::kFailure;
  };
  REQUIRE(bench.change());
  bench.options.classify = nullptr;
  std::thread stuck([&] { bench.breaker->try_acquire()->settle(absl::OkStatus()); });
  const bool came = eventually([&] { return entered.load(); });
  // It does not return, and keeps nobody else.
  bench.options.classify = [](const absl::Status&) { return CallOutcome::kIgnored; };
  REQUIRE(bench.change());
  bench.breaker->try_acquire()->settle(absl::InternalError(""));
  const auto meanwhile = bench.breaker->stats();
  bench.options.classify = nullptr;
  REQUIRE(bench.change());
  bench.breaker->try_acquire()->settle(absl::OkStatus());
  const bool alive = !watch.expired();
  go = true;
  stuck.join();
  CHECK(came);
  CHECK(alive);
  CHECK(watch.expired());
  CHECK(meanwhile.ignored == 1);
  CHECK(bench.window() == CallTally{2, 1, 0});
}
