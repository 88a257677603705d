// SPDX-License-Identifier: MIT
// What a circuit breaker costs each call: asking for a permit, and reporting a success.
// Ideal: one load of a line that nobody writes for the permit; for the report, one addition in a line of the thread's
// own. The rival is the same machine behind one lock, which is what most breakers are, at its best: it reads no clock
// where it needs no time.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "penstock/route/circuit_breaker.hpp"
#include "penstock/route/detail/breaker_machine.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::BreakerState;
using penstock::CallOutcome;
using penstock::CircuitBreaker;
using penstock::CircuitBreakerOptions;
using penstock::Clock;
using penstock::Duration;
using penstock::TimePoint;

CircuitBreakerOptions by_count() { return {}; }

CircuitBreakerOptions by_time() {
  CircuitBreakerOptions options;
  options.window = CircuitBreakerOptions::Window::kTime;
  options.window_size = 10;
  return options;
}

class LockedBreaker {
 public:
  explicit LockedBreaker(CircuitBreakerOptions options)
      : by_time_(options.window == CircuitBreakerOptions::Window::kTime),
        slow_call_(options.slow_call),
        machine_(std::make_shared<const CircuitBreakerOptions>(std::move(options)), Clock::steady().now()) {}

  std::uint64_t try_acquire() {
    const std::lock_guard lock(mutex_);
    const bool closed = machine_.state() == BreakerState::kClosed;
    return machine_.acquire(closed ? TimePoint{} : Clock::steady().now());
  }
  void report(std::uint64_t generation, CallOutcome outcome, Duration took) {
    const TimePoint now = by_time_ || outcome != CallOutcome::kSuccess ? Clock::steady().now() : TimePoint{};
    const std::lock_guard lock(mutex_);
    machine_.report(now, generation, outcome, took > slow_call_);
  }

 private:
  const bool by_time_;
  const Duration slow_call_;
  std::mutex mutex_;
  penstock::detail::BreakerMachine machine_;
};

/// The call that the breaker guards.
void call() { benchmark::ClobberMemory(); }

/// Calls of which every `failing`-th fails; none if it is 0.
void run(benchmark::State& state, CircuitBreaker& breaker, std::uint32_t failing) {
  std::uint32_t calls = 0;
  for (auto _ : state) {
    if (auto permit = breaker.try_acquire()) {
      call();
      if (failing != 0 && ++calls == failing) {
        calls = 0;
        permit->failure(1ms);
      } else {
        permit->success(1ms);
      }
    }
  }
  state.SetItemsProcessed(state.iterations());
}

void run(benchmark::State& state, LockedBreaker& breaker, std::uint32_t failing) {
  std::uint32_t calls = 0;
  for (auto _ : state) {
    if (const std::uint64_t permit = breaker.try_acquire(); permit != 0) {
      call();
      const bool fails = failing != 0 && ++calls == failing;
      if (fails) calls = 0;
      breaker.report(permit, fails ? CallOutcome::kFailure : CallOutcome::kSuccess, 1ms);
    }
  }
  state.SetItemsProcessed(state.iterations());
}

// A closed breaker, from permit to report.
void closed_call(benchmark::State& state) {
  static CircuitBreaker breaker{by_count()};
  run(state, breaker, 0);
}
BENCHMARK(closed_call)->Name("circuit_breaker/closed_call")->ThreadRange(1, 4)->UseRealTime();

void closed_call_locked(benchmark::State& state) {
  static LockedBreaker breaker{by_count()};
  run(state, breaker, 0);
}
BENCHMARK(closed_call_locked)->Name("circuit_breaker/closed_call@mutex")->ThreadRange(1, 4)->UseRealTime();

void closed_call_nothing(benchmark::State& state) {
  for (auto _ : state) call();
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(closed_call_nothing)->Name("circuit_breaker/closed_call@nothing")->ThreadRange(1, 4)->UseRealTime();

// The same with a time window, which needs to know the time of each success.
void closed_call_by_time(benchmark::State& state) {
  static CircuitBreaker breaker{by_time()};
  run(state, breaker, 0);
}
BENCHMARK(closed_call_by_time)->Name("circuit_breaker/closed_call_by_time")->ThreadRange(1, 4)->UseRealTime();

void closed_call_by_time_locked(benchmark::State& state) {
  static LockedBreaker breaker{by_time()};
  run(state, breaker, 0);
}
BENCHMARK(closed_call_by_time_locked)
    ->Name("circuit_breaker/closed_call_by_time@mutex")
    ->ThreadRange(1, 4)
    ->UseRealTime();

// One call of a hundred fails: each failure looks at the successes of all threads.
void failing_call(benchmark::State& state) {
  static CircuitBreaker breaker{by_count()};
  run(state, breaker, 100);
}
BENCHMARK(failing_call)->Name("circuit_breaker/one_in_100_fails")->ThreadRange(1, 4)->UseRealTime();

void failing_call_locked(benchmark::State& state) {
  static LockedBreaker breaker{by_count()};
  run(state, breaker, 100);
}
BENCHMARK(failing_call_locked)->Name("circuit_breaker/one_in_100_fails@mutex")->ThreadRange(1, 4)->UseRealTime();

// One of five: as bad as it gets for the rows, without opening the breaker.
void often_failing_call(benchmark::State& state) {
  static CircuitBreaker breaker{by_count()};
  run(state, breaker, 5);
}
BENCHMARK(often_failing_call)->Name("circuit_breaker/one_in_5_fails")->ThreadRange(1, 4)->UseRealTime();

void often_failing_call_locked(benchmark::State& state) {
  static LockedBreaker breaker{by_count()};
  run(state, breaker, 5);
}
BENCHMARK(often_failing_call_locked)->Name("circuit_breaker/one_in_5_fails@mutex")->ThreadRange(1, 4)->UseRealTime();

// A status that a function of the user judges.
void classified_call(benchmark::State& state) {
  static CircuitBreaker breaker{[] {
    CircuitBreakerOptions options;
    options.classify = penstock::classify_call;
    return options;
  }()};
  for (auto _ : state) {
    if (auto permit = breaker.try_acquire()) {
      call();
      permit->settle(absl::OkStatus(), 1ms);
    }
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(classified_call)->Name("circuit_breaker/classified_call")->ThreadRange(1, 4)->UseRealTime();

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
  static LockedBreaker breaker{by_count()};
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
