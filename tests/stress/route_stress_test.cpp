// SPDX-License-Identifier: MIT

// The room route under threads that all want the same at once.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/route/circuit_breaker.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/recorder.hpp"

using namespace std::chrono_literals;
using penstock::BreakerState;
using penstock::BreakerTransition;
using penstock::CallOutcome;
using penstock::CircuitBreaker;
using penstock::CircuitBreakerOptions;
using penstock::ManualClock;
using penstock::testing::Recorder;

namespace {

constexpr int kThreads = 4;

/// Runs `body(thread)` on kThreads threads that start together.
template <class Body>
void together(const Body& body) {
  std::atomic<int> waiting{kThreads};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      waiting.fetch_sub(1);
      while (waiting.load() != 0) std::this_thread::yield();
      body(thread);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

CircuitBreakerOptions few_probes(ManualClock& clock) {
  CircuitBreakerOptions options;
  options.window_size = options.minimum_calls = 4;
  options.open_for = 10s;
  options.half_open_permits = 3;
  options.clock = &clock;
  return options;
}

}  // namespace

TEST_CASE("CircuitBreaker: of many threads exactly as many are probes as there are permits",
          "[route][circuit_breaker][stress]") {
  ManualClock clock;
  for (int round = 0; round < 300; ++round) {
    CircuitBreaker breaker(few_probes(clock));
    while (auto permit = breaker.try_acquire()) permit->failure();
    clock.advance(10s + 1ns);
    std::atomic<int> granted{0};
    std::vector<std::vector<CircuitBreaker::Permit>> held(kThreads);
    together([&](int thread) {
      for (int attempt = 0; attempt < 5; ++attempt) {
        if (auto permit = breaker.try_acquire()) {
          granted.fetch_add(1);
          held[static_cast<std::size_t>(thread)].push_back(std::move(*permit));
        }
      }
    });
    REQUIRE(granted == 3);
    REQUIRE(breaker.stats().probes == 3);
    REQUIRE(breaker.state() == BreakerState::kHalfOpen);
  }
}

TEST_CASE("CircuitBreaker: permits that come back never become more", "[route][circuit_breaker][stress]") {
  ManualClock clock;
  CircuitBreaker breaker(few_probes(clock));
  while (auto permit = breaker.try_acquire()) permit->failure();
  clock.advance(10s + 1ns);
  std::atomic<int> out{0};
  std::atomic<int> most{0};
  std::atomic<int> granted{0};
  together([&](int thread) {
    for (int attempt = 0; attempt < 5000; ++attempt) {
      auto permit = breaker.try_acquire();
      if (!permit) continue;
      granted.fetch_add(1);
      const int now = out.fetch_add(1) + 1;
      int seen = most.load();
      while (seen < now && !most.compare_exchange_weak(seen, now)) {
      }
      if (attempt % 7 == 0) std::this_thread::yield();
      out.fetch_sub(1);
      if ((attempt + thread) % 2 == 0) permit->ignore();  // else abandoned
    }
  });
  const auto stats = breaker.stats();
  CHECK(most <= 3);
  CHECK(stats.state == BreakerState::kHalfOpen);
  CHECK(stats.probes == 0);
  CHECK(stats.ignored + stats.abandoned == static_cast<std::uint64_t>(granted));
  CHECK(stats.not_permitted + static_cast<std::uint64_t>(granted) == 4U * 5000U + 1U);
}

TEST_CASE("CircuitBreaker: every permit is accounted for once, and every change told once",
          "[route][circuit_breaker][stress]") {
  ManualClock clock;
  CircuitBreakerOptions options = few_probes(clock);
  options.half_open_max_wait = 5s;
  SECTION("when calls notice the time") { options.auto_half_open = false; }
  SECTION("when the clock does") { options.auto_half_open = true; }
  std::atomic<std::uint64_t> granted{0};
  std::atomic<std::uint64_t> refused{0};
  Recorder<BreakerTransition> told;
  {
    CircuitBreaker breaker(options);
    breaker.on_transition([&](const BreakerTransition& change) { told.record(change); });
    together([&](int thread) {
      std::minstd_rand random(static_cast<unsigned>(thread + 1));
      std::vector<CircuitBreaker::Permit> late;
      for (int call = 0; call < 5000; ++call) {
        if (auto permit = breaker.try_acquire()) {
          granted.fetch_add(1);
          switch (random() % 8) {
            case 0:
            case 1:
            case 2:
              permit->success();
              break;
            case 3:
            case 4:
              permit->failure();
              break;
            case 5:
              permit->ignore();
              break;
            case 6:
              late.push_back(std::move(*permit));
              break;
            default:
              break;  // abandoned
          }
        } else {
          refused.fetch_add(1);
          clock.advance(1s);
        }
        if (late.size() == 10) late.clear();
        if (random() % 500 == 0) breaker.reset();
        if (random() % 500 == 0) breaker.force_open();
        if (random() % 100 == 0) breaker.reset();
        if (random() % 50 == 0) (void)breaker.stats();
      }
    });
    const auto stats = breaker.stats();
    CHECK(stats.succeeded + stats.failed + stats.ignored + stats.abandoned + stats.late_results == granted);
    CHECK(stats.not_permitted == refused);
    CHECK(stats.doubled_reports == 0);
    CHECK(stats.caught_exceptions == 0);
    std::uint64_t changes = 0;
    for (const auto& row : stats.transitions) {
      for (const std::uint64_t count : row) changes += count;
    }
    CHECK(told.size() + stats.missed_transitions == changes);
    CHECK(changes > 100);
  }
  const auto events = told.events();
  bool in_order = true;
  for (std::size_t event = 1; event < events.size(); ++event) {
    in_order = in_order && events[event - 1].generation < events[event].generation;
  }
  CHECK(in_order);
  CHECK(clock.armed() == 0);
}
