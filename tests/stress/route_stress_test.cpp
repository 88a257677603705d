// SPDX-License-Identifier: MIT

// The room route under threads that all want the same at once.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/route/circuit_breaker.hpp"
#include "penstock/route/provider_router.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/recorder.hpp"

using namespace std::chrono_literals;
using penstock::BreakerState;
using penstock::BreakerTransition;
using penstock::CallOutcome;
using penstock::CircuitBreaker;
using penstock::CircuitBreakerOptions;
using penstock::Context;
using penstock::Job;
using penstock::ManualClock;
using penstock::OverflowPolicy;
using penstock::ProviderOptions;
using penstock::ProviderRouter;
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

TEST_CASE("ProviderRouter: while a provider is removed and added, each job is run once or refused",
          "[route][provider_router][stress]") {
  ProviderOptions options;
  options.pool.workers = 2;
  options.pool.queue_capacity = 8;
  options.breaker.emplace();
  SECTION("and submitters wait") { options.pool.overflow = OverflowPolicy::kBlock; }
  SECTION("and submitters do not wait") { options.pool.overflow = OverflowPolicy::kReject; }
  SECTION("and old jobs make room") { options.pool.overflow = OverflowPolicy::kDropOldest; }
  SECTION("and submitters help") { options.pool.overflow = OverflowPolicy::kCallerRuns; }

  struct Counts {
    std::atomic<int> ran{0};
    std::atomic<int> served{0};
    std::atomic<int> called_off{0};
    std::atomic<int> refused{0};
    std::atomic<int> odd{0};
  } counts;
  std::uint64_t ignored = 0;
  std::uint64_t succeeded = 0;
  {
    ProviderRouter router;
    std::atomic<bool> done{false};
    std::vector<std::shared_ptr<CircuitBreaker>> breakers;
    std::thread keeper([&] {
      for (int round = 0; round < 20; ++round) {
        if (!router.add("openai", options).ok()) counts.odd.fetch_add(1);
        breakers.push_back(router.breaker("openai"));
        while (router.stats().at("openai").pool.accepted < 20) std::this_thread::yield();
        const Context ctx = Context::background().with_timeout(round % 2 == 0 ? 0s : 60s);
        if (!router.remove("openai", ctx).ok()) counts.odd.fetch_add(1);
      }
      done = true;
    });
    together([&](int) {
      const auto settle = [&](std::vector<Job<int>>& jobs) {
        for (Job<int>& job : jobs) {
          const auto answer = job.get();
          (answer.ok() ? counts.served : counts.called_off).fetch_add(1);
          const bool expected = answer.ok() || absl::IsCancelled(answer.status()) || absl::IsAborted(answer.status());
          if (!expected) counts.odd.fetch_add(1);
        }
        jobs.clear();
      };
      std::vector<Job<int>> jobs;
      while (!done) {
        auto submitted = router.submit("openai", [&counts] { return counts.ran.fetch_add(1); });
        if (submitted.ok()) {
          jobs.push_back(*std::move(submitted));
          if (jobs.size() == 16) settle(jobs);
        } else {
          counts.refused.fetch_add(1);
          const absl::Status& refusal = submitted.status();
          const bool expected =
              absl::IsNotFound(refusal) || absl::IsUnavailable(refusal) || absl::IsResourceExhausted(refusal);
          if (!expected) counts.odd.fetch_add(1);
          std::this_thread::yield();
        }
      }
      settle(jobs);
    });
    keeper.join();
    for (const auto& breaker : breakers) {
      const auto stats = breaker->stats();
      succeeded += stats.succeeded;
      ignored += stats.ignored;
      if (stats.abandoned != 0 || stats.doubled_reports != 0) counts.odd.fetch_add(1);
    }
  }
  CHECK(counts.odd == 0);
  CHECK(counts.ran == counts.served);
  CHECK(counts.served == static_cast<int>(succeeded));
  CHECK(ignored >= static_cast<std::uint64_t>(counts.called_off));
  CHECK(counts.served > 0);
}

TEST_CASE("ProviderRouter: look-ups find what was there all the time", "[route][provider_router][stress]") {
  ProviderRouter router;
  ProviderOptions options;
  options.pool.workers = 1;
  REQUIRE(router.add("always", options).ok());
  std::atomic<int> lost{0};
  together([&](int thread) {
    if (thread == 0) {
      for (int round = 0; round < 20; ++round) {
        const std::string name = "sometimes" + std::to_string(round % 3);
        if (!router.add(name, options).ok() || !router.remove(name, Context::background()).ok()) lost.fetch_add(1);
      }
    } else {
      for (int round = 0; round < 500; ++round) {
        if (!router.state("always").ok()) lost.fetch_add(1);
        if (round % 50 == 0) (void)router.state_json();
      }
    }
  });
  CHECK(lost == 0);
  CHECK(router.providers() == std::vector<std::string>{"always"});
}
