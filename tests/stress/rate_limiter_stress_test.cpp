// SPDX-License-Identifier: MIT

// Rate limiters under threads that all want the same at once: what is given out never exceeds what has come in, and
// every wait ends.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "route/rate_support.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/rounds.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::eventually;
using testing::kBothAlgorithms;
using testing::limited;
using testing::Meeting;
using testing::Rounds;

constexpr int kThreads = 4;

/// Runs `body(thread)` on kThreads threads that start together.
template <class Body>
void together(const Body& body) {
  Meeting meeting(kThreads);
  std::vector<std::thread> threads;
  for (int thread = 0; thread != kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      meeting.arrive();
      body(thread);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("RateLimiter: of many threads exactly as many take as there are tokens", "[route][rate_limiter][stress]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    ManualClock clock;
    RateLimiter limiter(limited(clock, 1000, 100, algorithm));
    std::uint64_t expected = 100;
    std::atomic<std::uint64_t> taken{0};
    for (Rounds rounds(200, 3s); rounds.next();) {
      together([&](int /*thread*/) {
        for (int attempt = 0; attempt != 50; ++attempt) {
          if (limiter.try_acquire()) ++taken;
        }
      });
      REQUIRE(taken == expected);
      clock.advance(70ms);
      expected += 70;
    }
    CHECK(limiter.stats().tokens_acquired == taken);
  }
}

TEST_CASE("RateLimiter: on the machine's clock no more is given than comes in, whoever takes how",
          "[route][rate_limiter][stress]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    constexpr double kRate = 200'000;
    constexpr double kBurst = 50;
    RateLimiterOptions options = limited(Clock::steady(), kRate, kBurst, algorithm);
    options.max_waiting = 3;
    const TimePoint begin = Clock::steady().now();
    RateLimiter limiter(options);
    std::atomic<std::uint64_t> taken{0};
    std::atomic<int> too_many{0};
    together([&](int thread) {
      std::mt19937 random(static_cast<std::uint32_t>(thread));
      for (int step = 0; step != 2000; ++step) {
        const std::uint64_t n = 1 + random() % 10;
        const Context ctx = Context::background().with_timeout(std::chrono::microseconds(random() % 300));
        const bool got = random() % 2 == 0 ? limiter.try_acquire(n) : limiter.acquire(ctx, n) == OpStatus::kOk;
        if (!got) continue;
        const std::uint64_t so_far = taken += n;
        const std::chrono::duration<double> time = Clock::steady().now() - begin;
        if (static_cast<double>(so_far) > kBurst + kRate * time.count() * (1 + 1e-9)) ++too_many;
      }
    });
    CHECK(too_many == 0);
    const RateLimiterStats stats = limiter.stats();
    CHECK(stats.tokens_acquired == taken);
    CHECK(stats.waiting == 0);
    CHECK(stats.acquired + stats.used_up + stats.line_full + stats.too_late + stats.timed_out == 4 * 2000);
  }
}

Task<> take_in(RateLimiter& limiter, Context ctx, std::uint64_t n, std::atomic<std::uint64_t>& got,
               std::atomic<int>& ended) {
  const OpStatus status = co_await limiter.async_acquire(ctx, n);
  if (status == OpStatus::kOk) got += n;
  ++ended;
}

TEST_CASE("RateLimiter: every wait ends, whatever is cancelled and changed, and the clock moves",
          "[route][rate_limiter][stress]") {
  for (Rounds rounds(60, 3s); rounds.next();) {
    ManualClock clock;
    RateLimiter limiter(limited(clock, 1000, 5));
    std::atomic<std::uint64_t> got{0};
    std::atomic<int> ended{0};
    std::atomic<int> begun{0};
    std::atomic<int> workers{kThreads - 2};
    together([&](int thread) {
      std::mt19937 random(static_cast<std::uint32_t>(thread) + 7 * static_cast<std::uint32_t>(rounds.begun()));
      if (thread == 0) {
        while (workers.load() != 0) clock.advance(std::chrono::microseconds(random() % 2000));
        return;
      }
      if (thread == 1) {
        while (workers.load() != 0) {
          RateLimiterOptions options = limited(clock, 500 + static_cast<double>(random() % 1000),
                                               1 + static_cast<double>(random() % 6), kBothAlgorithms[random() % 2]);
          if (!limiter.set_options(options).ok()) ++ended;
        }
        return;
      }
      for (int step = 0; step != 40; ++step) {
        const std::uint64_t n = 1 + random() % 2;
        const Context::Cancellable ending = Context::background().with_cancel();
        ++begun;
        if (random() % 2 == 0) {
          static_cast<void>(spawn(Executor::inline_executor(), take_in(limiter, ending.context, n, got, ended)));
        } else {
          std::thread canceller([&] {
            if (n == 1) ending.source.cancel();
          });
          if (limiter.acquire(ending.context, n) == OpStatus::kOk) got += n;
          ++ended;
          canceller.join();
        }
        if (random() % 3 == 0) ending.source.cancel();
      }
      --workers;
    });
    CHECK(limiter.set_options(limited(clock, 1000, 5)).ok());
    REQUIRE(eventually([&] {
      clock.advance(1ms);
      return ended == begun;
    }));
    const RateLimiterStats stats = limiter.stats();
    CHECK(stats.waiting == 0);
    CHECK(stats.tokens_acquired == got);
    CHECK(stats.acquired + stats.cancelled + stats.too_many == static_cast<std::uint64_t>(begun));
  }
}

}  // namespace
}  // namespace penstock
