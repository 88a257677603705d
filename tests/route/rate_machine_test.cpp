// SPDX-License-Identifier: MIT

// The decision of the rate limiter: its laws, and random programs beside a bucket of whole numbers.

#include "penstock/route/detail/rate_machine.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "route/rate_support.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using penstock::RateAlgorithm;
using penstock::TimePoint;
using penstock::detail::kTicksPerSecond;
using penstock::detail::RateMachine;
using penstock::detail::RateRule;
using penstock::detail::Ticks;
using penstock::testing::Approx;
using penstock::testing::kBothAlgorithms;
using penstock::testing::NaiveBucket;

namespace {

constexpr Ticks kSecond = kTicksPerSecond;

std::uint64_t take_all(RateMachine& machine, Ticks now) {
  std::uint64_t taken = 0;
  while (machine.take(now, 1)) ++taken;
  return taken;
}

}  // namespace

TEST_CASE("RateMachine: a bucket is full at first, and fills at its rate up to its size", "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    RateMachine machine(algorithm, RateRule(10, 5), 0);
    CHECK(machine.tokens(0) == 5);
    CHECK(take_all(machine, 0) == 5);
    CHECK(machine.tokens(0) == 0);
    CHECK_FALSE(machine.take(kSecond / 10 - 1, 1));
    CHECK(machine.take(kSecond / 10, 1));
    CHECK_FALSE(machine.take(kSecond / 10, 1));
    CHECK(take_all(machine, kSecond / 10 * 4) == 3);
    CHECK(take_all(machine, 100 * kSecond) == 5);
    // What would have come in while it was full is not kept, not even a part of a token.
    CHECK_FALSE(machine.take(100 * kSecond + kSecond / 10 - 1, 1));
    CHECK(machine.take(100 * kSecond + kSecond / 10, 1));
  }
}

TEST_CASE("RateMachine: several tokens are taken at once or not at all", "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    RateMachine machine(algorithm, RateRule(1, 10), 0);
    CHECK_FALSE(machine.take(0, 11));
    CHECK(machine.take(0, 7));
    CHECK_FALSE(machine.take(0, 4));
    CHECK(machine.tokens(0) == 3);
    CHECK(machine.due(4) == kSecond);
    CHECK(machine.due(3) == 0);
    CHECK(machine.due(13) == 10 * kSecond);
    CHECK_FALSE(machine.take(kSecond - 1, 4));
    CHECK(machine.take(kSecond, 4));
    CHECK_FALSE(machine.take(1000 * kSecond, 11));
  }
}

TEST_CASE("RateMachine: a burst that is no whole number keeps its part", "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    RateMachine machine(algorithm, RateRule(1, 1.5), 0);
    CHECK(take_all(machine, 0) == 1);
    CHECK(machine.tokens(0) == 0.5);
    CHECK(machine.due(1) == kSecond / 2);
    CHECK(take_all(machine, kSecond / 2) == 1);
    CHECK(machine.tokens(10 * kSecond) == 1.5);
  }
}

TEST_CASE("RateMachine: a change keeps the tokens that find room", "[route][rate_limiter]") {
  for (const RateAlgorithm from : kBothAlgorithms) {
    for (const RateAlgorithm to : kBothAlgorithms) {
      RateMachine machine(from, RateRule(10, 10), 0);
      CHECK(machine.take(0, 4));
      machine.change(kSecond / 10, to, RateRule(100, 20));  // 7 are there
      CHECK(machine.tokens(kSecond / 10) == Approx(7));
      CHECK(machine.due(8) == Approx(static_cast<double>(kSecond / 10 + kSecond / 100)));
      machine.change(kSecond / 10, from, RateRule(1, 2));
      CHECK(machine.tokens(kSecond / 10) == Approx(2));
      CHECK(take_all(machine, kSecond / 10) == 2);
      machine.change(kSecond / 10, to, RateRule(1000, 500));
      CHECK(take_all(machine, kSecond / 10) == 0);  // a larger bucket is not fuller
      CHECK(take_all(machine, kSecond / 10 + kSecond / 100) == 10);
    }
  }
}

TEST_CASE("RateMachine: who was promised more than the bucket holds now gets it at the rate", "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    RateMachine machine(algorithm, RateRule(10, 10), 0);
    CHECK(machine.take(0, 10));
    machine.change(0, algorithm, RateRule(10, 2));
    CHECK(machine.due(5) == kSecond / 2);
    machine.take_due(kSecond / 2, 5);
    CHECK(machine.tokens(kSecond / 2) == 0);
    CHECK(machine.due(1) == kSecond / 2 + kSecond / 10);
  }
}

TEST_CASE("RateMachine: rates and bursts at the ends of their ranges", "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    RateMachine slow(algorithm, RateRule(1e-6, 100), 0);
    CHECK(take_all(slow, 0) == 100);
    CHECK_FALSE(slow.take(1'000'000 * kSecond - 1, 1));
    CHECK(slow.take(1'000'000 * kSecond, 1));
    RateMachine fast(algorithm, RateRule(1e9, 1e9), 0);
    CHECK(fast.take(0, 1'000'000'000));
    CHECK_FALSE(fast.take(7, 1));
    CHECK(fast.take(8, 1));
    CHECK(fast.due(1e18) > penstock::detail::kLastTick - 2 * kSecond);  // never, and it did not overflow
    RateMachine last(algorithm, RateRule(1, 3), penstock::detail::kLastTick);
    CHECK(take_all(last, penstock::detail::kLastTick) == 3);
    CHECK_FALSE(last.take(penstock::detail::kLastTick, 1));
  }
}

TEST_CASE("RateMachine: a token bucket that is never full gives exactly its rate for a year", "[route][rate_limiter]") {
  // 0.7 tokens come in with each nanosecond, which no number of whole nanoseconds for a token could give.
  constexpr std::uint64_t kRate = 700'000'000;
  constexpr std::uint64_t kBurst = 1'000'000'000;
  RateMachine machine(RateAlgorithm::kTokenBucket, RateRule(kRate, kBurst), 0);
  std::uint64_t taken = 0;
  constexpr std::uint64_t kYear = 31'536'000;
  for (std::uint64_t second = 0; second <= kYear; second += 1) {
    if (machine.take(second * kSecond, kRate)) taken += kRate;
  }
  const std::uint64_t come = kRate * kYear + kBurst;
  CHECK(taken <= come);
  CHECK(come - taken <= kRate);
}

TEST_CASE("RateMachine: GCRA gives no more than its rate, and at most an eighth of a nanosecond less for each take",
          "[route][rate_limiter]") {
  for (const double rate : {3.0, 7e5, 3e7, 7e8}) {
    RateMachine machine(RateAlgorithm::kGcra, RateRule(rate, 1), 0);
    Ticks now = 0;
    constexpr std::uint64_t kTakes = 1'000'000;
    for (std::uint64_t take = 0; take != kTakes; ++take) {
      now = std::max(now, machine.due(1));
      REQUIRE(machine.take(now, 1));
    }
    const double exact = static_cast<double>(kTakes - 1) / rate * static_cast<double>(kSecond);
    CHECK(static_cast<double>(now) >= exact * (1 - 1e-12));
    CHECK(static_cast<double>(now) <= exact + static_cast<double>(kTakes));
  }
}

namespace {

/// Random programs of steps of time and takes: the machine and the naive bucket agree on every one. `parts` is what one
/// token is made of.
void compare(RateAlgorithm algorithm, std::uint32_t seed) {
  std::mt19937 random(seed);
  const auto up_to = [&](std::uint64_t most) { return std::uniform_int_distribution<std::uint64_t>(0, most)(random); };
  // Rates whose ticks for a token, or tokens for a tick, are whole numbers or not.
  const std::uint64_t rate = up_to(1) == 0 ? 1 + up_to(500) : std::uint64_t{1} << up_to(20);
  const std::uint64_t burst = 1 + up_to(up_to(1) == 0 ? 3 : 1000);
  RateMachine machine(algorithm, RateRule(static_cast<double>(rate), static_cast<double>(burst)), 0);

  // GCRA rounds: for it a take costs whole ticks. The other one counts parts of which a token has as many as a second
  // has ticks.
  const bool is_gcra = algorithm == RateAlgorithm::kGcra;
  const auto ticks_for = [&](std::uint64_t n) { return (n * kTicksPerSecond + rate - 1) / rate; };
  const auto parts_of = [&](std::uint64_t n) { return is_gcra ? ticks_for(n) : n * kTicksPerSecond; };
  NaiveBucket naive{parts_of(burst), is_gcra ? 1 : rate};

  Ticks now = 0;
  const Ticks one = ticks_for(1);
  for (int step = 0; step != 400; ++step) {
    std::uint64_t pass = 0;
    switch (up_to(4)) {
      case 0:
        pass = up_to(one);
        break;
      case 1:
        pass = up_to(3);
        break;
      case 2: {  // to where the next ones are due, or a tick before or after it
        const Ticks due = machine.due(static_cast<double>(1 + up_to(burst)));
        const Ticks wanted = due + up_to(2);
        pass = wanted > now + 1 ? wanted - 1 - now : 0;
        break;
      }
      case 3:
        pass = up_to(one * burst * 2);
        break;
      default:
        break;
    }
    now += pass;
    naive.pass(pass);
    const std::uint64_t n = 1 + up_to(up_to(2) == 0 ? burst : 2);
    const bool is_due = now >= machine.due(static_cast<double>(n));
    const bool has_taken = machine.take(now, n);
    const bool agrees = has_taken == (n <= burst && naive.take(parts_of(n)));
    const double expected =
        static_cast<double>(naive.level) / static_cast<double>(parts_of(burst)) * static_cast<double>(burst);
    const double rounded = 2 * static_cast<double>(rate) / double{kTicksPerSecond};
    const bool is_near = std::fabs(machine.tokens(now) - expected) < 1e-9 * static_cast<double>(burst) + rounded;
    if (agrees && is_near && (n > burst || has_taken == is_due)) continue;
    CAPTURE(seed, step, rate, burst, now, n, naive.level, has_taken, is_due, agrees, is_near);
    FAIL("the machine and the naive bucket differ");
  }
}

}  // namespace

TEST_CASE("RateMachine: random programs give what a bucket of whole numbers gives", "[route][rate_limiter]") {
  for (std::uint32_t seed = 0; seed != 4000; ++seed) {
    for (const RateAlgorithm algorithm : kBothAlgorithms) compare(algorithm, seed);
  }
}

TEST_CASE("RateMachine: in no time more than the burst and what comes in are given, whatever is changed meanwhile",
          "[route][rate_limiter]") {
  for (std::uint32_t seed = 0; seed != 300; ++seed) {
    std::mt19937 random(seed);
    const auto up_to = [&](std::uint32_t most) { return static_cast<std::uint32_t>(random() % (most + 1)); };
    const auto any_algorithm = [&] { return kBothAlgorithms[up_to(1)]; };
    RateMachine machine(any_algorithm(), RateRule(100, 10), 0);
    long double allowed = 10;  // never less than what could have been given by now
    long double given = 0;
    Ticks now = 0;
    for (int step = 0; step != 500; ++step) {
      const Ticks pass = up_to(1'000'000'000);
      now += pass;
      allowed += static_cast<long double>(pass) * static_cast<long double>(machine.rule().per_second()) /
                 static_cast<long double>(kTicksPerSecond);
      if (up_to(9) == 0) {
        const double rate = std::pow(10.0, up_to(6)) / 3;
        machine.change(now, any_algorithm(), RateRule(rate, 1 + up_to(99)));
      }
      const std::uint64_t n = 1 + up_to(20);
      if (machine.take(now, n)) given += static_cast<long double>(n);
      if (given > allowed * (1 + 1e-12L)) FAIL("seed " << seed << ", step " << step << ": given too much");
    }
  }
}

TEST_CASE("RateMachine: points of time become ticks, and ticks points that are not earlier", "[route][rate_limiter]") {
  using penstock::detail::kLastTick;
  using penstock::detail::ticks_between;
  using penstock::detail::time_of;
  const TimePoint epoch(1h);
  CHECK(ticks_between(epoch, epoch) == 0);
  CHECK(ticks_between(epoch, epoch + 1s) == kSecond);
  CHECK(ticks_between(epoch, epoch - 1s) == 0);
  CHECK(ticks_between(epoch, TimePoint::min()) == 0);
  CHECK(ticks_between(epoch, TimePoint::max()) == kLastTick);
  CHECK(ticks_between(TimePoint::min(), TimePoint::max()) == kLastTick);
  CHECK(time_of(epoch, 0) == epoch);
  CHECK(time_of(epoch, 8) == epoch + 1ns);
  CHECK(time_of(epoch, 9) == epoch + 2ns);
  CHECK(time_of(TimePoint::max(), kSecond) == TimePoint::max());
}
