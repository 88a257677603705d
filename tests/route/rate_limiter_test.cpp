// SPDX-License-Identifier: MIT

// Rate limiters for who does not wait: takes, refusals and what they say, clocks that jump, options and figures.

#include "penstock/route/rate_limiter.hpp"

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "penstock/metrics/prometheus_writer.hpp"
#include "route/rate_support.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"

using namespace std::chrono_literals;
using penstock::Clock;
using penstock::Context;
using penstock::Duration;
using penstock::ManualClock;
using penstock::OpStatus;
using penstock::RateAlgorithm;
using penstock::RateLimiter;
using penstock::RateLimiterOptions;
using penstock::RateLimiterStats;
using penstock::RateReason;
using penstock::RateRefusal;
using penstock::TimePoint;
using penstock::testing::allocations_of;
using penstock::testing::Approx;
using penstock::testing::ContainsSubstring;
using penstock::testing::JumpingClock;
using penstock::testing::kBothAlgorithms;
using penstock::testing::limited;
using penstock::testing::text_of;

namespace {

std::uint64_t take_all(RateLimiter& limiter) {
  std::uint64_t taken = 0;
  while (limiter.try_acquire()) ++taken;
  return taken;
}

}  // namespace

TEST_CASE("RateLimiter: gives its burst, and then what comes in", "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    ManualClock clock;
    RateLimiter limiter(limited(clock, 10, 3, algorithm));
    CHECK(take_all(limiter) == 3);
    clock.advance(100ms - 1ns);
    CHECK_FALSE(limiter.try_acquire());
    clock.advance(1ns);
    CHECK(take_all(limiter) == 1);
    clock.advance(1h);
    CHECK_FALSE(limiter.try_acquire(4));
    CHECK(limiter.try_acquire(2));
    CHECK_FALSE(limiter.try_acquire(2));
    CHECK(limiter.try_acquire(1));
    CHECK(limiter.try_acquire(0));
  }
}

TEST_CASE("RateLimiter: a clock that jumps forward gives the burst, one that steps back nothing",
          "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    JumpingClock clock;
    RateLimiter limiter(limited(clock, 10, 4, algorithm));
    CHECK(take_all(limiter) == 4);
    clock.jump(1000h);
    CHECK(take_all(limiter) == 4);
    clock.jump(200ms);
    CHECK(limiter.try_acquire());  // of two
    clock.jump(-500h);
    CHECK(limiter.stats().tokens == Approx(1));
    CHECK(take_all(limiter) == 1);  // the other one was not lost
    clock.jump(500h - 1ns);
    CHECK(take_all(limiter) == 0);
    clock.jump(100ms + 1ns);
    CHECK(take_all(limiter) == 1);
    clock.jump_to(TimePoint::min());
    CHECK(take_all(limiter) == 0);
    clock.jump_to(TimePoint::max());
    CHECK(take_all(limiter) == 4);
    CHECK(take_all(limiter) == 0);
  }
}

TEST_CASE("RateLimiter: a refusal says why, and when to come again", "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    ManualClock clock;
    RateLimiter limiter(limited(clock, 10, 3, algorithm));
    RateRefusal why;
    CHECK(limiter.try_acquire(3, why));
    clock.advance(17ms);
    CHECK_FALSE(limiter.try_acquire(1, why));
    CHECK(why.reason == RateReason::kUsedUp);
    CHECK(why.retry_after == 83ms);
    const absl::Status status = to_status(why, limiter.name());
    CHECK(status.code() == absl::StatusCode::kResourceExhausted);
    CHECK(text_of(status) == "rate limiter 'openai': 10 per second used up, next in 83 ms");
    CHECK(penstock::retry_after(status) == 83ms);

    CHECK_FALSE(limiter.try_acquire(3, why));
    CHECK(text_of(to_status(why, "openai")) == "rate limiter 'openai': 10 per second used up, next 3 in 283 ms");
    clock.advance(why.retry_after - 1ns);
    CHECK_FALSE(limiter.try_acquire(3));
    clock.advance(1ns);
    CHECK(limiter.try_acquire(3));

    CHECK_FALSE(limiter.try_acquire(4, why));
    CHECK(why.reason == RateReason::kTooMany);
    const absl::Status never = to_status(why, "openai");
    CHECK(never.code() == absl::StatusCode::kInvalidArgument);
    CHECK(text_of(never) == "rate limiter 'openai': 4 asked for at once, the burst is 3");
    CHECK_FALSE(penstock::retry_after(never).has_value());
    CHECK_FALSE(limiter.try_acquire(std::numeric_limits<std::uint64_t>::max(), why));
    CHECK(why.reason == RateReason::kTooMany);
  }
}

TEST_CASE("RateLimiter: neither a take nor a refusal allocates", "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    ManualClock clock;
    RateLimiter limiter(limited(clock, 10, 3, algorithm));
    CHECK(allocations_of([&] {
            RateRefusal why;
            static_cast<void>(take_all(limiter));
            static_cast<void>(limiter.try_acquire(2, why));
          }) == 0);
  }
}

TEST_CASE("RateLimiter: the options are checked, all at once", "[route][rate_limiter]") {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  CHECK(RateLimiterOptions{}.validate().ok());
  for (const double rate : {0.0, -0.0, -1.0, 1e-7, 1.1e9, kNan, kInfinity, -kInfinity}) {
    RateLimiterOptions options;
    options.rate_per_second = rate;
    CHECK_THAT(text_of(options.validate()), ContainsSubstring("options.rate_per_second must be in [1e-06, 1e+09]"));
    CHECK_THROWS_AS(RateLimiter(options), std::invalid_argument);
  }
  for (const double burst : {0.0, 0.5, -1.0, 1.1e9, kNan, kInfinity, -kInfinity}) {
    RateLimiterOptions options;
    options.burst = burst;
    CHECK_THAT(text_of(options.validate()), ContainsSubstring("options.burst must be in [1, 1e+09]"));
  }
  RateLimiterOptions bad;
  bad.name = "openai";
  bad.algorithm = static_cast<RateAlgorithm>(7);
  bad.rate_per_second = 0;
  bad.burst = kNan;
  bad.max_waiting = 1'000'001;
  bad.clock = nullptr;
  const absl::Status status = bad.validate();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(text_of(status) ==
        "rate limiter 'openai': options.algorithm must be kTokenBucket or kGcra, got 7; options.rate_per_second must "
        "be in [1e-06, 1e+09] (without a limit there is no limiter), got 0; options.burst must be in [1, 1e+09], got "
        "nan; options.max_waiting must be in [0, 1000000], got 1000001; options.clock must be a clock, got null");
  RateLimiterOptions slow;
  slow.rate_per_second = 1e-6;
  slow.burst = 101;
  CHECK_THAT(text_of(slow.validate()), ContainsSubstring("options.burst must be at most what comes in within 1e+08 s "
                                                         "(100), got 101"));
  slow.burst = 100;
  CHECK(slow.validate().ok());
}

TEST_CASE("RateLimiter: options change live, but for name and clock", "[route][rate_limiter]") {
  for (const RateAlgorithm from : kBothAlgorithms) {
    for (const RateAlgorithm to : kBothAlgorithms) {
      ManualClock clock;
      RateLimiter limiter(limited(clock, 10, 10, from));
      CHECK(limiter.try_acquire(6));
      RateLimiterOptions next = limited(Clock::steady(), 1000, 20, to);
      next.name = "other";
      next.max_waiting = 7;
      CHECK(limiter.set_options(next).ok());
      const RateLimiterOptions now = limiter.options();
      CHECK(now.name == "openai");
      CHECK(now.clock == &clock);
      CHECK(now.algorithm == to);
      CHECK(now.rate_per_second == 1000);
      CHECK(now.burst == 20);
      CHECK(now.max_waiting == 7);
      CHECK(take_all(limiter) == 4);
      clock.advance(5ms);
      CHECK(take_all(limiter) == 5);
      CHECK(limiter.stats().acquired == 10);

      next.rate_per_second = std::numeric_limits<double>::quiet_NaN();
      CHECK_FALSE(limiter.set_options(next).ok());
      CHECK(limiter.options().rate_per_second == 1000);
      clock.advance(1s);
      CHECK(limiter.set_options(limited(clock, 1000, 2, to)).ok());
      CHECK(take_all(limiter) == 2);
    }
  }
}

TEST_CASE("RateLimiter: once closed it gives nothing", "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    ManualClock clock;
    RateLimiter limiter(limited(clock, 10, 3, algorithm));
    CHECK_FALSE(limiter.is_closed());
    CHECK(limiter.close());
    CHECK_FALSE(limiter.close());
    CHECK(limiter.is_closed());
    RateRefusal why;
    CHECK_FALSE(limiter.try_acquire(1, why));
    CHECK(text_of(to_status(why, "openai")) == "rate limiter 'openai': closed");
    CHECK(to_status(why, "openai").code() == absl::StatusCode::kUnavailable);
    CHECK(limiter.acquire() == OpStatus::kClosed);
    CHECK(limiter.set_options(limited(clock, 1000, 3)).ok());
    clock.advance(1s);
    CHECK_FALSE(limiter.try_acquire());
    CHECK(limiter.stats().closed == 3);
  }
}

TEST_CASE("RateLimiter: its figures add up, and leave as metrics", "[route][rate_limiter]") {
  ManualClock clock;
  RateLimiter limiter(limited(clock, 10, 5));
  CHECK(limiter.try_acquire(3));
  CHECK(limiter.try_acquire());
  CHECK_FALSE(limiter.try_acquire(2));
  CHECK_FALSE(limiter.try_acquire(6));
  const Context ended = Context(clock).with_timeout(0s);
  CHECK(limiter.acquire(ended, 5) == OpStatus::kTimedOut);
  CHECK(limiter.acquire(Context(clock).with_timeout(399ms), 5) == OpStatus::kFull);
  CHECK(limiter.acquire(ended) == OpStatus::kOk);  // it looks once
  const RateLimiterStats stats = limiter.stats();
  CHECK(stats.rate_per_second == 10);
  CHECK(stats.burst == 5);
  CHECK(stats.tokens == 0);
  CHECK(stats.waiting == 0);
  CHECK(stats.acquired == 3);
  CHECK(stats.tokens_acquired == 5);
  CHECK(stats.waited == 0);
  CHECK(stats.used_up == 1);
  CHECK(stats.too_many == 1);
  CHECK(stats.timed_out == 1);
  CHECK(stats.too_late == 1);
  CHECK(stats.line_full + stats.cancelled + stats.closed == 0);

  penstock::PrometheusWriter writer;
  limiter.collect(writer);
  const std::string text = writer.text();
  for (const char* const line : {R"(penstock_rate_limiter_rate{rate_limiter="openai"} 10)",
                                 R"(penstock_rate_limiter_burst{rate_limiter="openai"} 5)",
                                 R"(penstock_rate_limiter_tokens{rate_limiter="openai"} 0)",
                                 R"(penstock_rate_limiter_waiting{rate_limiter="openai"} 0)",
                                 R"(penstock_rate_limiter_acquired_total{rate_limiter="openai"} 3)",
                                 R"(penstock_rate_limiter_tokens_total{rate_limiter="openai"} 5)",
                                 R"(penstock_rate_limiter_refused_total{rate_limiter="openai",reason="used_up"} 1)",
                                 R"(penstock_rate_limiter_refused_total{rate_limiter="openai",reason="line_full"} 0)",
                                 R"(penstock_rate_limiter_refused_total{rate_limiter="openai",reason="too_late"} 1)",
                                 R"(penstock_rate_limiter_wait_seconds_count{rate_limiter="openai"} 0)"}) {
    CHECK_THAT(text, ContainsSubstring(line));
  }
}
