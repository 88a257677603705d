// SPDX-License-Identifier: MIT

// The circuit breaker as its users see it. What it decides: breaker_machine_test.cpp and breaker_probes_test.cpp.

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/route/circuit_breaker.hpp"
#include "route/breaker_bench.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace std::chrono_literals;
using penstock::BreakerState;
using penstock::CallOutcome;
using penstock::CircuitBreaker;
using penstock::CircuitBreakerOptions;
using penstock::Duration;
using penstock::ManualClock;
using penstock::testing::eventually;
using penstock::testing::small_breaker;
using penstock::testing::trip;

TEST_CASE("Permit: it is settled once, and what comes after is counted", "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreaker breaker(small_breaker(clock));
  auto permit = breaker.try_acquire();
  REQUIRE(permit.has_value());
  CHECK(permit->is_pending());
  permit->success();
  CHECK_FALSE(permit->is_pending());
  permit->failure();
  permit->ignore();
  permit->settle(absl::InternalError("late"));
  CHECK(breaker.stats().succeeded == 1);
  CHECK(breaker.stats().failed == 0);
  CHECK(breaker.stats().doubled_reports == 3);
}

TEST_CASE("Permit: without a report it is given back, and counted as abandoned", "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreaker breaker(small_breaker(clock));
  trip(breaker);
  clock.advance(10s + 1ns);
  for (int probe = 0; probe < 10; ++probe) CHECK(breaker.try_acquire().has_value());  // destroyed at once
  CHECK(breaker.stats().abandoned == 10);
  CHECK(breaker.state() == BreakerState::kHalfOpen);
}

TEST_CASE("Permit: a moved-from permit neither reports nor is abandoned", "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreaker breaker(small_breaker(clock));
  auto first = breaker.try_acquire();
  std::optional<CircuitBreaker::Permit> second = std::move(*first);
  first->failure();  // NOLINT(bugprone-use-after-move): what it is about
  first.reset();
  CHECK(breaker.stats().abandoned == 0);
  second->success();
  auto third = breaker.try_acquire();
  auto fourth = breaker.try_acquire();
  *third = std::move(*fourth);  // the third is abandoned
  CHECK(breaker.stats().abandoned == 1);
  third->success();
  CHECK(breaker.stats().succeeded == 2);
  CHECK(breaker.stats().failed == 0);
  CHECK(breaker.stats().doubled_reports == 0);
}

TEST_CASE("Permit: it may be settled by another thread than the one that acquired it", "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreaker breaker(small_breaker(clock));
  for (int call = 0; call < 10; ++call) {
    auto permit = breaker.try_acquire();
    std::thread([&] { call % 2 == 0 ? permit->success() : permit->ignore(); }).join();
    permit->failure();  // again, from here
  }
  CHECK(breaker.stats().succeeded == 5);
  CHECK(breaker.stats().ignored == 5);
  CHECK(breaker.stats().doubled_reports == 10);
  CHECK(breaker.stats().window == penstock::CallTally{4, 0, 0});
}

TEST_CASE("Permit: a probe whose status is never judged is a lost probe", "[route][circuit_breaker]") {
  ManualClock clock;
  std::atomic<bool> go{false};
  std::atomic<bool> stuck{false};
  CircuitBreakerOptions options = small_breaker(clock);
  options.classify = [&](const absl::Status& status) {
    if (!absl::IsAborted(status)) return penstock::classify_call(status);
    stuck = true;
    while (!go) std::this_thread::yield();
    return CallOutcome::kSuccess;
  };
  CircuitBreaker breaker(options);
  trip(breaker);
  clock.advance(10s + 1ns);
  std::thread thread(
      [&, probe = std::move(*breaker.try_acquire())]() mutable { probe.settle(absl::AbortedError("")); });
  const bool came = eventually([&] { return stuck.load(); });
  breaker.try_acquire()->settle(absl::OkStatus());  // others are judged
  clock.advance(60s + 1ns);
  const bool refused = !breaker.try_acquire().has_value();
  const BreakerState state = breaker.state();
  go = true;
  thread.join();
  CHECK(came);
  CHECK(refused);
  CHECK(state == BreakerState::kOpen);
  CHECK(breaker.stats().late_results == 1);
}

TEST_CASE("Permit: a failure is counted under the code of its status", "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreakerOptions options = small_breaker(clock);
  options.window_size = options.minimum_calls = 100;
  CircuitBreaker breaker(options);
  const auto settle = [&](const absl::Status& status) { breaker.try_acquire()->settle(status); };
  settle(absl::OkStatus());
  settle(absl::CancelledError(""));
  for (int call = 0; call < 3; ++call) settle(absl::UnavailableError(""));
  settle(absl::UnauthenticatedError(""));
  settle(absl::Status(static_cast<absl::StatusCode>(1234), "of no kind"));
  breaker.try_acquire()->failure();
  const auto stats = breaker.stats();
  std::array<std::uint64_t, 17> wanted{};
  wanted[static_cast<std::size_t>(absl::StatusCode::kUnavailable)] = 3;
  wanted[static_cast<std::size_t>(absl::StatusCode::kUnauthenticated)] = 1;
  wanted[static_cast<std::size_t>(absl::StatusCode::kUnknown)] = 2;
  CHECK(stats.failed_with == wanted);
  CHECK(stats.failed == 6);
}

TEST_CASE("Permit: a status counts as it is classified", "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreakerOptions options = small_breaker(clock);
  options.window_size = options.minimum_calls = 100;
  SECTION("OK is a success, Cancelled and InvalidArgument are ignored, the rest fails") {
    CircuitBreaker breaker(options);
    const std::vector<absl::Status> statuses = {absl::OkStatus(), absl::CancelledError(),
                                                absl::InvalidArgumentError(""), absl::UnavailableError(""),
                                                absl::DeadlineExceededError("")};
    for (const absl::Status& status : statuses) breaker.try_acquire()->settle(status);
    CHECK(breaker.stats().succeeded == 1);
    CHECK(breaker.stats().ignored == 2);
    CHECK(breaker.stats().failed == 2);
  }
  SECTION("unless the options say otherwise") {
    options.classify = [](const absl::Status& status) {
      return status.code() == absl::StatusCode::kNotFound ? CallOutcome::kSuccess : CallOutcome::kFailure;
    };
    CircuitBreaker breaker(options);
    breaker.try_acquire()->settle(absl::NotFoundError(""));
    breaker.try_acquire()->settle(absl::OkStatus());
    CHECK(breaker.stats().succeeded == 1);
    CHECK(breaker.stats().failed == 1);
  }
  SECTION("and as by default if that throws") {
    options.classify = [](const absl::Status&) -> CallOutcome { throw std::runtime_error("classify"); };
    CircuitBreaker breaker(options);
    breaker.try_acquire()->settle(absl::OkStatus());
    CHECK(breaker.stats().succeeded == 1);
    CHECK(breaker.stats().caught_exceptions == 1);
  }
}

TEST_CASE("Permit: a call is slow if it takes longer than the limit, not as long", "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreakerOptions options = small_breaker(clock);
  options.slow_call = 100ms;
  CircuitBreaker breaker(options);
  breaker.try_acquire()->success(100ms);
  breaker.try_acquire()->failure(100ms);
  CHECK(breaker.stats().slow == 0);
  breaker.try_acquire()->success(100ms + 1ns);
  breaker.try_acquire()->settle(absl::OkStatus(), Duration::max());
  breaker.try_acquire()->failure(-5s);
  CHECK(breaker.stats().slow == 2);
}

TEST_CASE("CircuitBreaker: its operator states do what they say", "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreaker breaker(small_breaker(clock));
  breaker.force_open();
  CHECK(breaker.state() == BreakerState::kForcedOpen);
  CHECK_FALSE(breaker.try_acquire().has_value());
  breaker.disable();
  CHECK(breaker.state() == BreakerState::kDisabled);
  for (int call = 0; call < 10; ++call) breaker.try_acquire()->failure();
  CHECK(breaker.stats().failed == 0);
  breaker.metrics_only();
  CHECK(breaker.state() == BreakerState::kMetricsOnly);
  for (int call = 0; call < 10; ++call) breaker.try_acquire()->failure();
  CHECK(breaker.stats().failure_rate_pct == 100);
  breaker.reset();
  CHECK(breaker.state() == BreakerState::kClosed);
  CHECK(breaker.stats().window.calls == 0);
  CHECK(breaker.stats().failed == 10);
}
