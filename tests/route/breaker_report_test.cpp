// SPDX-License-Identifier: MIT

// What a circuit breaker says: refusals, complaints about options, metrics.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/route/circuit_breaker.hpp"
#include "route/breaker_bench.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using penstock::BreakerRefusal;
using penstock::CircuitBreaker;
using penstock::CircuitBreakerOptions;
using penstock::Duration;
using penstock::ManualClock;
using penstock::testing::ContainsSubstring;
using penstock::testing::Equals;
using penstock::testing::small_breaker;
using penstock::testing::trip;

TEST_CASE("CircuitBreaker: a refusal says why, and for how long", "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreakerOptions options = small_breaker(clock);
  options.window_size = options.minimum_calls = 20;
  CircuitBreaker breaker(options);
  for (int call = 0; call < 8; ++call) breaker.try_acquire()->success();
  for (int call = 0; call < 12; ++call) breaker.try_acquire()->failure();
  clock.advance(5800ms);

  BreakerRefusal why;
  CHECK_FALSE(breaker.try_acquire(why).has_value());
  const absl::Status status = penstock::to_status(why, breaker.name());
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK_THAT(std::string(status.message()),
             Equals("circuit breaker 'bedrock': open for another 4.2 s (12 of 20 calls failed)"));
  CHECK(penstock::retry_after(status) == 4200ms);
  CHECK(breaker.retry_after() == 4200ms);
  CHECK_FALSE(penstock::retry_after(absl::UnavailableError("somebody else's")).has_value());

  clock.advance(4200ms + 1ns);
  CHECK(breaker.retry_after() == 0s);
  auto first = breaker.try_acquire();
  auto second = breaker.try_acquire();
  CHECK_FALSE(breaker.try_acquire(why).has_value());
  CHECK_THAT(std::string(penstock::to_status(why, "bedrock").message()),
             Equals("circuit breaker 'bedrock': half open, waits for 2 probes (0 came back, 0 of them failed)"));

  clock.advance(60s + 1ns);
  CHECK_FALSE(breaker.try_acquire(why).has_value());
  CHECK_THAT(std::string(penstock::to_status(why, "bedrock").message()),
             Equals("circuit breaker 'bedrock': open for another 10 s (its probes did not come back)"));

  breaker.force_open();
  CHECK_FALSE(breaker.try_acquire(why).has_value());
  CHECK_THAT(std::string(penstock::to_status(why, "bedrock").message()),
             Equals("circuit breaker 'bedrock': forced open"));
  CHECK(breaker.retry_after() == Duration::max());
}

TEST_CASE("CircuitBreaker: options are refused with every violation", "[route][circuit_breaker]") {
  CircuitBreakerOptions options;
  CHECK(options.validate().ok());
  options.name = "bedrock";
  options.window = static_cast<CircuitBreakerOptions::Window>(7);
  options.window_size = 0;
  options.bucket = 0s;
  options.minimum_calls = 0;
  options.failure_rate_pct = std::numeric_limits<double>::quiet_NaN();
  options.slow_rate_pct = 100.1;
  options.slow_call = -1s;
  options.open_for = 2h;
  options.open_backoff = std::numeric_limits<double>::infinity();
  options.open_for_max = 1h;
  options.open_jitter = 1;
  options.half_open_permits = 1'000'001;
  options.half_open_max_wait = 0s;
  options.clock = nullptr;
  const absl::Status status = options.validate();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK_THAT(
      std::string(status.message()),
      Equals("circuit breaker 'bedrock': options.window must be kCount or kTime, got 7; "
             "options.window_size must be in [1, 1000000], got 0; options.bucket must be positive, got 0 ns; "
             "options.minimum_calls must be at least 1, got 0; "
             "options.failure_rate_pct must be in (0, 100], got nan; "
             "options.slow_rate_pct must be in (0, 100], got 100.1; options.slow_call must be positive, got -1 s; "
             "options.open_backoff must be a number of at least 1, got inf; "
             "options.open_for_max must be at least open_for (7200 s), got 3600 s; "
             "options.open_jitter must be in [0, 1), got 1; "
             "options.half_open_permits must be in [1, 1000000], got 1000001; "
             "options.half_open_max_wait must be positive, got 0 ns; options.clock must be a clock, got null"));
  CHECK_THROWS_WITH(CircuitBreaker(options), ContainsSubstring("options.window_size must be in [1, 1000000], got 0"));
}

TEST_CASE("CircuitBreaker: options at the edge of what is refused", "[route][circuit_breaker]") {
  const auto refused = [](auto change) {
    CircuitBreakerOptions options;
    change(options);
    return !options.validate().ok();
  };
  using Options = CircuitBreakerOptions;
  for (const double bad : {0.0, -0.0, -1.0, 100.0000001, std::numeric_limits<double>::infinity(),
                           -std::numeric_limits<double>::infinity(), std::nan("")}) {
    CHECK(refused([&](Options& options) { options.failure_rate_pct = bad; }));
    CHECK(refused([&](Options& options) { options.slow_rate_pct = bad; }));
  }
  for (const Duration bad : {Duration(0), Duration(-1), Duration::min()}) {
    CHECK(refused([&](Options& options) { options.bucket = bad; }));
    CHECK(refused([&](Options& options) { options.slow_call = bad; }));
    CHECK(refused([&](Options& options) { options.open_for = bad; }));
    CHECK(refused([&](Options& options) { options.open_for_max = bad; }));
    CHECK(refused([&](Options& options) { options.half_open_max_wait = bad; }));
  }
  CHECK(refused([](Options& options) { options.open_backoff = std::nan(""); }));
  CHECK(refused([](Options& options) { options.open_jitter = -0.1; }));
  CHECK(refused([](Options& options) { options.minimum_calls = 0; }));
  CHECK(refused([](Options& options) { options.open_backoff = 0.99; }));
  CHECK(refused([](Options& options) { options.open_jitter = std::nan(""); }));
  CHECK(refused([](Options& options) { options.window_size = static_cast<std::size_t>(-1); }));
  CHECK(refused([](Options& options) { options.half_open_permits = 0; }));
  CHECK(refused([](Options& options) { options.name = std::string(257, 'x'); }));
  CHECK(refused([](Options& options) {
    options.window = Options::Window::kTime;
    options.window_size = 10'001;
  }));
  CHECK_FALSE(refused([](Options& options) {
    options.failure_rate_pct = 100;
    options.slow_rate_pct = 1e-9;
    options.slow_call = options.open_for = options.open_for_max = options.half_open_max_wait = Duration::max();
    options.minimum_calls = static_cast<std::size_t>(-1);
    options.window_size = options.half_open_permits = 1;
    options.name.clear();
  }));
}

TEST_CASE("CircuitBreaker: metrics name it, its state, its calls and its changes", "[route][circuit_breaker]") {
  struct Sink : penstock::MetricSink {
    void add(std::string_view name, penstock::Labels labels, double value) {
      std::string line(name);
      for (const penstock::Label& label : labels) line += " " + std::string(label.value);
      lines.push_back(line + " = " + std::to_string(std::lround(value * 100)));
    }
    void counter(std::string_view name, std::string_view, penstock::Labels labels, std::uint64_t value) override {
      add(name, labels, static_cast<double>(value));
    }
    void gauge(std::string_view name, std::string_view, penstock::Labels labels, double value) override {
      add(name, labels, value);
    }
    void histogram(std::string_view, std::string_view, penstock::Labels,
                   const penstock::LatencyHistogram::Snapshot&) override {}
    bool has(const std::string& line) const { return std::find(lines.begin(), lines.end(), line) != lines.end(); }
    std::vector<std::string> lines;
  };
  ManualClock clock;
  CircuitBreaker breaker(small_breaker(clock));
  breaker.try_acquire()->success();
  { const auto forgotten = breaker.try_acquire(); }
  auto late = breaker.try_acquire();
  breaker.try_acquire()->settle(absl::ResourceExhaustedError("quota"));
  breaker.try_acquire()->settle(absl::ResourceExhaustedError("quota"));
  breaker.try_acquire()->failure();  // opens it
  late->success();
  CHECK_FALSE(breaker.try_acquire().has_value());
  clock.advance(2s);
  Sink sink;
  breaker.collect(sink);
  CHECK(sink.has("penstock_breaker_state bedrock open = 100"));
  CHECK(sink.has("penstock_breaker_state bedrock closed = 0"));
  CHECK(sink.has("penstock_breaker_calls_total bedrock failure = 300"));
  CHECK(sink.has("penstock_breaker_calls_total bedrock success = 100"));
  CHECK(sink.has("penstock_breaker_failed_total bedrock RESOURCE_EXHAUSTED = 200"));
  CHECK(sink.has("penstock_breaker_failed_total bedrock UNKNOWN = 100"));
  CHECK(sink.has("penstock_breaker_not_permitted_total bedrock = 100"));
  CHECK(sink.has("penstock_breaker_late_results_total bedrock = 100"));
  CHECK(sink.has("penstock_breaker_abandoned_permits_total bedrock = 100"));
  CHECK(sink.has("penstock_breaker_transitions_total bedrock closed open = 100"));
  CHECK(sink.has("penstock_breaker_transitions_total bedrock half_open closed = 0"));
  CHECK(sink.has("penstock_breaker_failure_rate bedrock = 75"));
  CHECK(sink.has("penstock_breaker_slow_rate bedrock = 0"));
  CHECK(sink.has("penstock_breaker_buffered bedrock = 400"));
  CHECK(sink.has("penstock_breaker_time_in_state_seconds bedrock = 200"));
}
