// SPDX-License-Identifier: MIT

// Who is told about the changes of a circuit breaker, by whom, and when.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/route/circuit_breaker.hpp"
#include "route/breaker_bench.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/recorder.hpp"

using namespace std::chrono_literals;
using penstock::BreakerState;
using penstock::BreakerTransition;
using penstock::CircuitBreaker;
using penstock::CircuitBreakerOptions;
using penstock::ManualClock;
using penstock::testing::eventually;
using penstock::testing::Recorder;
using penstock::testing::small_breaker;
using penstock::testing::trip;

namespace {

using Edge = std::pair<BreakerState, BreakerState>;

Edge edge(const BreakerTransition& change) { return {change.from, change.to}; }

}  // namespace

TEST_CASE("CircuitBreaker: an observer tells what is due, but changes nothing", "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreaker breaker(small_breaker(clock));
  Recorder<Edge> told;
  breaker.on_transition([&](const BreakerTransition& change) { told.record(edge(change)); });
  trip(breaker);
  clock.advance(10s + 1ns);
  auto probe = breaker.try_acquire();
  clock.advance(60s + 1ns);
  CHECK(breaker.state() == BreakerState::kOpen);
  CHECK(breaker.stats().state == BreakerState::kOpen);
  CHECK(breaker.stats().time_in_state == 1ns);
  CHECK(told.size() == 2);
  probe->success();
  CHECK(told.events().back() == Edge{BreakerState::kHalfOpen, BreakerState::kOpen});
  CHECK(breaker.stats().late_results == 1);
}

TEST_CASE("CircuitBreaker: listeners are told every change, in order", "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreaker breaker(small_breaker(clock));
  Recorder<Edge> first;
  breaker.on_transition([&](const BreakerTransition& change) { first.record(edge(change)); });
  trip(breaker);
  Recorder<Edge> second;
  breaker.on_transition([&](const BreakerTransition& change) { second.record(edge(change)); });
  clock.advance(10s + 1ns);
  for (int probe = 0; probe < 2; ++probe) breaker.try_acquire()->success();
  const std::vector<Edge> all = {{BreakerState::kClosed, BreakerState::kOpen},
                                 {BreakerState::kOpen, BreakerState::kHalfOpen},
                                 {BreakerState::kHalfOpen, BreakerState::kClosed}};
  CHECK(first.events() == all);
  CHECK(second.events() == std::vector<Edge>(all.begin() + 1, all.end()));  // from when it came
  CHECK(breaker.stats().count(BreakerState::kClosed, BreakerState::kOpen) == 1);
}

TEST_CASE("CircuitBreaker: a listener may call anything on the breaker", "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreaker breaker(small_breaker(clock));
  std::vector<Edge> told;
  int depth = 0;
  breaker.on_transition([&](const BreakerTransition& change) {
    CHECK(++depth == 1);  // never called from within itself
    told.push_back(edge(change));
    (void)breaker.stats();
    (void)breaker.state();
    if (change.to == BreakerState::kOpen) breaker.disable();
    if (change.to == BreakerState::kDisabled) {
      breaker.on_transition([](const BreakerTransition&) {});
      breaker.try_acquire()->failure();
      breaker.force_open();
      breaker.reset();
    }
    --depth;
  });
  for (int call = 0; call < 4; ++call) breaker.try_acquire()->failure();
  CHECK(told == std::vector<Edge>{{BreakerState::kClosed, BreakerState::kOpen},
                                  {BreakerState::kOpen, BreakerState::kDisabled},
                                  {BreakerState::kDisabled, BreakerState::kForcedOpen},
                                  {BreakerState::kForcedOpen, BreakerState::kClosed}});
}

TEST_CASE("CircuitBreaker: a listener is not told what happened before it came, told yet or not",
          "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreaker breaker(small_breaker(clock));
  std::vector<Edge> told;
  breaker.on_transition([&](const BreakerTransition& change) {
    if (change.to != BreakerState::kForcedOpen) return;
    breaker.disable();  // waits to be told
    breaker.on_transition([&](const BreakerTransition& later) { told.push_back(edge(later)); });
    breaker.reset();
  });
  breaker.force_open();
  CHECK(told == std::vector<Edge>{{BreakerState::kDisabled, BreakerState::kClosed}});
}

TEST_CASE("CircuitBreaker: a listener that throws is counted, and the next one is called", "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreaker breaker(small_breaker(clock));
  int called = 0;
  breaker.on_transition([](const BreakerTransition&) { throw std::runtime_error("listener"); });
  breaker.on_transition([&](const BreakerTransition&) { ++called; });
  breaker.on_transition([](const BreakerTransition&) { throw 42; });
  trip(breaker);
  breaker.reset();
  CHECK(called == 2);
  CHECK(breaker.stats().caught_exceptions == 4);
  CHECK_THROWS_AS(breaker.on_transition(nullptr), std::invalid_argument);
}

TEST_CASE("CircuitBreaker: a stuck listener keeps nobody, and misses only the oldest changes",
          "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreaker breaker(small_breaker(clock));
  std::atomic<bool> go{false};
  std::atomic<bool> stuck{false};
  Recorder<std::uint64_t> told;
  breaker.on_transition([&](const BreakerTransition& change) {
    told.record(change.generation);
    stuck = true;
    while (!go) std::this_thread::yield();
  });
  std::thread thread([&] { breaker.force_open(); });
  REQUIRE(eventually([&] { return stuck.load(); }));
  for (int round = 0; round < 50; ++round) {
    breaker.reset();
    breaker.force_open();
  }
  go = true;
  thread.join();
  const auto events = told.events();
  REQUIRE(events.size() == 65);
  CHECK(events.front() == 2);
  for (std::size_t event = 1; event < events.size(); ++event) CHECK(events[event] == 102 - 64 + event);
  CHECK(breaker.stats().missed_transitions == 36);
}

TEST_CASE("CircuitBreaker: a listener that does not return keeps the call that came upon the change, and no other",
          "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreaker breaker(small_breaker(clock));
  std::atomic<bool> go{false};
  std::atomic<bool> stuck{false};
  breaker.on_transition([&](const BreakerTransition&) {
    stuck = true;
    while (!go) std::this_thread::yield();
  });
  std::thread thread([&] { trip(breaker); });
  const bool came = eventually([&] { return stuck.load(); });
  // Whoever comes now finds all as it should be, and leaves what there is to tell to that thread.
  const bool refused = !breaker.try_acquire().has_value();
  clock.advance(10s + 1ns);
  int let_through = 0;
  for (int probe = 0; probe < 2; ++probe) {
    if (auto permit = breaker.try_acquire()) {
      ++let_through;
      permit->success();
    }
  }
  const BreakerState closed = breaker.state();
  const bool changed = breaker.set_options(small_breaker(clock)).ok();
  std::atomic<int> told{0};
  breaker.on_transition([&](const BreakerTransition&) { ++told; });
  breaker.force_open();
  const auto stats = breaker.stats();
  const int told_meanwhile = told;
  go = true;
  thread.join();
  CHECK(came);
  CHECK(refused);
  CHECK(let_through == 2);
  CHECK(closed == BreakerState::kClosed);
  CHECK(changed);
  CHECK(stats.state == BreakerState::kForcedOpen);
  CHECK(told_meanwhile == 0);
  CHECK(told == 1);
}

TEST_CASE("CircuitBreaker: with auto_half_open the clock brings about the change", "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreakerOptions options = small_breaker(clock);
  options.auto_half_open = true;
  {
    CircuitBreaker breaker(options);
    Recorder<Edge> told;
    breaker.on_transition([&](const BreakerTransition& change) { told.record(edge(change)); });
    trip(breaker);
    CHECK(clock.armed() == 1);
    clock.advance(10s);
    CHECK(told.size() == 1);
    clock.advance(1ns);
    CHECK(told.events().back() == Edge{BreakerState::kOpen, BreakerState::kHalfOpen});
    CHECK(clock.armed() == 0);

    // An earlier opening takes the place of a later one.
    breaker.try_acquire()->failure();  // opens until 10 s from now
    clock.advance(4s);
    breaker.reset();
    trip(breaker);
    clock.advance(6s + 1ns);  // the timer of the opening before fires, and finds nothing due
    CHECK(breaker.state() == BreakerState::kOpen);
    clock.advance(4s);
    CHECK(breaker.state() == BreakerState::kHalfOpen);
    CHECK(told.events().back() == Edge{BreakerState::kOpen, BreakerState::kHalfOpen});
    breaker.reset();
    trip(breaker);
    CHECK(clock.armed() == 1);
  }
  CHECK(clock.armed() == 0);
}

TEST_CASE("CircuitBreaker: a listener of the timer may set the timer", "[route][circuit_breaker]") {
  ManualClock clock;
  CircuitBreakerOptions options = small_breaker(clock);
  options.auto_half_open = true;
  CircuitBreaker breaker(options);
  int half_open = 0;
  breaker.on_transition([&](const BreakerTransition& change) {
    if (change.to != BreakerState::kHalfOpen) return;
    ++half_open;
    breaker.try_acquire()->failure();
  });
  trip(breaker);
  clock.advance(100s + 10ns);
  CHECK(half_open == 10);
}
