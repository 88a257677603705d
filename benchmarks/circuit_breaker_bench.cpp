// SPDX-License-Identifier: MIT
// What a circuit breaker costs each call while all is well: asking for a permit, and reporting a success.
// Ideal: one load of a line that nobody writes for the permit; for the report, one short lock.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include <benchmark/benchmark.h>

#include "penstock/route/circuit_breaker.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::CircuitBreaker;
using penstock::CircuitBreakerOptions;
using penstock::Clock;
using penstock::Duration;
using penstock::TimePoint;

/// A breaker with its window and all of its state under one mutex, as most are: what the atomic word saves.
class LockedBreaker {
 public:
  bool try_acquire() {
    const TimePoint now = Clock::steady().now();
    const std::lock_guard lock(mutex_);
    return now > open_until_;
  }
  void success(Duration took) {
    const TimePoint now = Clock::steady().now();
    const std::lock_guard lock(mutex_);
    const bool slow = took > 60s;
    slow_ += static_cast<std::size_t>(slow) - window_[next_];
    window_[next_] = static_cast<unsigned char>(slow);
    next_ = next_ + 1 == window_.size() ? 0 : next_ + 1;
    if (slow_ == window_.size()) open_until_ = now + 60s;
  }

 private:
  std::mutex mutex_;
  std::vector<unsigned char> window_ = std::vector<unsigned char>(100);
  std::size_t next_ = 0;
  std::size_t slow_ = 0;
  TimePoint open_until_{};
};

/// The call that the breaker guards.
void call() { benchmark::ClobberMemory(); }

// A closed breaker, from permit to report. Ideal: the lock and the reading of the clock that the report needs.
void breaker_closed_call(benchmark::State& state) {
  static CircuitBreaker breaker{CircuitBreakerOptions{}};
  for (auto _ : state) {
    if (auto permit = breaker.try_acquire()) {
      call();
      permit->success(1ms);
    }
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(breaker_closed_call)->Name("circuit_breaker/closed_call")->ThreadRange(1, 2)->UseRealTime();

void breaker_closed_call_locked(benchmark::State& state) {
  static LockedBreaker breaker;
  for (auto _ : state) {
    if (breaker.try_acquire()) {
      call();
      breaker.success(1ms);
    }
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(breaker_closed_call_locked)->Name("circuit_breaker/closed_call@mutex")->ThreadRange(1, 2)->UseRealTime();

void breaker_closed_call_nothing(benchmark::State& state) {
  for (auto _ : state) call();
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(breaker_closed_call_nothing)->Name("circuit_breaker/closed_call@nothing")->ThreadRange(1, 2)->UseRealTime();

// The permit alone, as a caller meets it before the call. (The permits are settled in batches, outside the
// measurement.)
void breaker_try_acquire(benchmark::State& state) {
  static CircuitBreaker breaker{CircuitBreakerOptions{}};
  constexpr std::size_t kBatch = 4096;
  std::vector<CircuitBreaker::Permit> permits;
  permits.reserve(kBatch);
  while (state.KeepRunningBatch(kBatch)) {
    for (std::size_t permit = 0; permit < kBatch; ++permit) permits.push_back(*breaker.try_acquire());
    state.PauseTiming();
    for (CircuitBreaker::Permit& permit : permits) permit.ignore();
    permits.clear();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(breaker_try_acquire)->Name("circuit_breaker/try_acquire");

void breaker_try_acquire_locked(benchmark::State& state) {
  static LockedBreaker breaker;
  for (auto _ : state) benchmark::DoNotOptimize(breaker.try_acquire());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(breaker_try_acquire_locked)->Name("circuit_breaker/try_acquire@mutex");

// What an overloaded system does most: a refusal. As an enum, and as a text that says why.
void breaker_refusal(benchmark::State& state) {
  static CircuitBreaker breaker{CircuitBreakerOptions{}};
  breaker.force_open();
  for (auto _ : state) benchmark::DoNotOptimize(breaker.try_acquire());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(breaker_refusal)->Name("circuit_breaker/refusal")->ThreadRange(1, 2)->UseRealTime();

void breaker_refusal_text(benchmark::State& state) {
  static CircuitBreaker breaker{CircuitBreakerOptions{}};
  breaker.force_open();
  for (auto _ : state) {
    penstock::BreakerRefusal why;
    if (!breaker.try_acquire(why)) benchmark::DoNotOptimize(penstock::to_status(why, breaker.name()));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(breaker_refusal_text)->Name("circuit_breaker/refusal_text")->ThreadRange(1, 2)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
