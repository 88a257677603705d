// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The circuit breaker for tests: small options, and its machine with a time of its own and a memory of all changes.

#include <chrono>
#include <cstdint>
#include <memory>
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

/// Lets calls fail until none is let through.
inline void trip(CircuitBreaker& breaker) {
  while (auto permit = breaker.try_acquire()) permit->failure();
}

}  // namespace penstock::testing
