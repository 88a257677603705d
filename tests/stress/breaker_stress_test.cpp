// SPDX-License-Identifier: MIT

// A circuit breaker under threads that report, while others change what their reports are worth.

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/route/circuit_breaker.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using penstock::BreakerState;
using penstock::CallOutcome;
using penstock::CallTally;
using penstock::CircuitBreaker;
using penstock::CircuitBreakerOptions;
using penstock::CircuitBreakerStats;
using penstock::ManualClock;

namespace {

constexpr int kThreads = 4;

CircuitBreakerOptions options_on(ManualClock& clock) {
  CircuitBreakerOptions options;
  options.window_size = options.minimum_calls = 20;
  options.open_for = 1s;
  options.half_open_permits = 3;
  options.clock = &clock;
  return options;
}

std::uint64_t reported(const CircuitBreakerStats& stats) {
  return stats.succeeded + stats.failed + stats.ignored + stats.abandoned + stats.late_results;
}

/// What a thread did, counted by itself.
struct alignas(128) Done {
  std::uint64_t granted = 0;
  std::uint64_t refused = 0;
};

}  // namespace

TEST_CASE("CircuitBreaker: successes of many threads are all counted, whoever looks",
          "[route][circuit_breaker][stress]") {
  ManualClock clock;
  for (const auto window : {CircuitBreakerOptions::Window::kCount, CircuitBreakerOptions::Window::kTime}) {
    CircuitBreakerOptions options = options_on(clock);
    options.window = window;
    CircuitBreaker breaker(options);
    constexpr std::uint64_t kCalls = 50'000;
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&] {
        for (std::uint64_t call = 0; call < kCalls; ++call) {
          if (auto permit = breaker.try_acquire()) permit->success();
        }
      });
    }
    std::uint64_t before = 0;
    bool grows = true;
    for (int look = 0; look < 500; ++look) {
      const CircuitBreakerStats stats = breaker.stats();
      grows = grows && stats.succeeded >= before && stats.window.failed == 0;
      before = stats.succeeded;
      if (look % 50 == 0) clock.advance(100ms);
      std::this_thread::yield();
    }
    for (std::thread& thread : threads) thread.join();
    const CircuitBreakerStats stats = breaker.stats();
    CHECK(grows);
    CHECK(stats.succeeded == kThreads * kCalls);
    CHECK(stats.late_results == 0);
    CHECK(stats.state == BreakerState::kClosed);
    const bool by_count = window == CircuitBreakerOptions::Window::kCount;
    CHECK(stats.window == CallTally{by_count ? 20 : kThreads * kCalls, 0, 0});
  }
}

TEST_CASE("CircuitBreaker: while options change, every permit is accounted for once",
          "[route][circuit_breaker][stress]") {
  ManualClock clock;
  CircuitBreaker breaker(options_on(clock));
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> classified{0};
  std::array<Done, kThreads> counts;
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      std::minstd_rand random(thread + 1);
      Done& mine = counts[thread];
      std::vector<CircuitBreaker::Permit> late;
      for (std::uint64_t calls = 0; !done; ++calls) {
        if (calls % 64 == 63) std::this_thread::yield();
        auto permit = breaker.try_acquire();
        if (!permit) {
          ++mine.refused;
          clock.advance(100ms);
          continue;
        }
        ++mine.granted;
        switch (random() % 16) {
          case 0:
          case 1:
            permit->failure();
            break;
          case 2:
            permit->success(2s);  // slow, with some options
            break;
          case 3:
            permit->ignore();
            break;
          case 4:
            late.push_back(std::move(*permit));
            if (late.size() == 10) late.clear();
            break;
          case 5:
            permit->settle(absl::UnavailableError(""));
            break;
          case 6:
            permit->settle(absl::OkStatus());
            break;
          default:
            permit->success(1ms);
        }
      }
    });
  }
  std::thread keeper([&] {
    std::minstd_rand random(99);
    for (int round = 0; round < 500; ++round) {
      CircuitBreakerOptions options = options_on(clock);
      options.window = random() % 4 == 0 ? CircuitBreakerOptions::Window::kTime : CircuitBreakerOptions::Window::kCount;
      options.window_size = 1 + random() % 50;
      options.minimum_calls = 1 + random() % 50;
      options.failure_rate_pct = 20 + static_cast<double>(random() % 80);
      options.slow_call = random() % 2 == 0 ? 1s : 60s;
      options.half_open_permits = 1 + random() % 5;
      options.auto_half_open = random() % 2 == 0;
      if (random() % 2 == 0) {
        options.classify = [&](const absl::Status& status) {
          classified.fetch_add(1, std::memory_order_relaxed);
          return penstock::classify_call(status);
        };
      }
      if (!breaker.set_options(options).ok()) std::abort();
      (void)breaker.options();
      if (random() % 20 == 0) breaker.reset();
      if (random() % 20 == 0) breaker.metrics_only();
      if (random() % 4 == 0) (void)breaker.stats();
      std::this_thread::yield();
    }
    done = true;
  });
  for (std::thread& thread : threads) thread.join();
  keeper.join();
  Done all;
  for (const Done& mine : counts) {
    all.granted += mine.granted;
    all.refused += mine.refused;
  }
  const CircuitBreakerStats stats = breaker.stats();
  CHECK(reported(stats) == all.granted);
  CHECK(stats.not_permitted == all.refused);
  CHECK(stats.doubled_reports == 0);
  std::uint64_t by_code = 0;
  for (const std::uint64_t count : stats.failed_with) by_code += count;
  CHECK(by_code == stats.failed);
  CHECK(classified > 0);
  CHECK(stats.succeeded > 0);
  CHECK(stats.count(BreakerState::kClosed, BreakerState::kOpen) > 0);
}
