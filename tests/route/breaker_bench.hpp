// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The circuit breaker for tests: small options, and its machine with a time of its own and a memory of all changes.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/route/detail/breaker_machine.hpp"

namespace penstock::testing {

/// A machine, the time, and all changes so far.
struct MachineBench {
  explicit MachineBench(const CircuitBreakerOptions& given)
      : options(given), machine(std::make_shared<const CircuitBreakerOptions>(given), now) {}

  std::uint64_t acquire() {
    const std::uint64_t generation = machine.acquire(now);
    keep();
    return generation;
  }
  void report(std::uint64_t generation, CallOutcome outcome, bool slow = false) {
    machine.report(now, generation, outcome, slow);
    keep();
  }
  void abandon(std::uint64_t generation) {
    machine.abandon(now, generation);
    keep();
  }
  void set(BreakerState state) {
    machine.set(now, state);
    keep();
  }
  void advance(Duration duration) {
    now += duration;
    machine.advance(now);
    keep();
  }
  /// `count` calls, one after the other, that end with `outcome`.
  void calls(int count, CallOutcome outcome, bool slow = false) {
    for (int call = 0; call < count; ++call) report(acquire(), outcome, slow);
  }
  void trip() {
    while (machine.state() == BreakerState::kClosed) calls(1, CallOutcome::kFailure);
  }
  void let_half_open() {
    trip();
    now += options.open_for + Duration(1);
  }

  void keep() {
    for (const BreakerTransition& change : machine.changes()) changes.push_back(change);
  }

  BreakerState state() const { return machine.state(); }
  auto stats() const { return machine.stats(now); }

  const CircuitBreakerOptions options;
  TimePoint now{std::chrono::hours(1)};
  detail::BreakerMachine machine;
  std::vector<BreakerTransition> changes;
};

/// Count window of 4, opens at 50 % failures for 10 s, 2 probes.
inline CircuitBreakerOptions small_breaker() {
  CircuitBreakerOptions options;
  options.window_size = 4;
  options.minimum_calls = 4;
  options.open_for = std::chrono::seconds(10);
  options.half_open_permits = 2;
  options.half_open_max_wait = std::chrono::seconds(60);
  return options;
}

/// `small_breaker`, on `clock`, named bedrock.
inline CircuitBreakerOptions small_breaker(ManualClock& clock) {
  CircuitBreakerOptions options = small_breaker();
  options.name = "bedrock";
  options.clock = &clock;
  return options;
}

/// `small_breaker` with a window of `size`, all of which is needed.
inline CircuitBreakerOptions wide_breaker(std::size_t size = 10) {
  CircuitBreakerOptions options = small_breaker();
  options.window_size = options.minimum_calls = size;
  return options;
}

/// Lets calls fail until none is let through.
inline void trip(CircuitBreaker& breaker) {
  while (auto permit = breaker.try_acquire()) permit->failure();
}

/// A breaker with its clock and options, and what it tells.
struct LiveBench {
  explicit LiveBench(CircuitBreakerOptions given = small_breaker()) : options(std::move(given)) {
    options.name = "bedrock";
    options.clock = &clock;
    breaker = std::make_unique<CircuitBreaker>(options);
    breaker->on_transition([this](const BreakerTransition& change) { changes.push_back(change); });
  }

  void calls(int successes, int failures) {
    for (int call = 0; call < successes; ++call) breaker->try_acquire()->success();
    for (int call = 0; call < failures; ++call) breaker->try_acquire()->failure();
  }
  /// Has `options` count from now on. Returns whether they do.
  bool change() { return breaker->set_options(options).ok(); }
  CallTally window() const { return breaker->stats().window; }

  ManualClock clock;
  CircuitBreakerOptions options;
  std::unique_ptr<CircuitBreaker> breaker;
  std::vector<BreakerTransition> changes;
};

}  // namespace penstock::testing
