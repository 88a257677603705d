// SPDX-License-Identifier: MIT
// What a rate limiter costs a call that goes at once, one that is refused, and one that waits in line.
// Ideal: a reading of the clock and one compare-exchange; for a refusal the clock alone; for a wait, one timer and one
// resumption.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <mutex>

#include <benchmark/benchmark.h>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/route/rate_limiter.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::Clock;
using penstock::ManualClock;
using penstock::RateAlgorithm;
using penstock::RateLimiter;
using penstock::RateRefusal;
using penstock::RunLoop;
using penstock::Task;
using penstock::TimePoint;

/// The token bucket as it is usually written.
class LockedBucket {
 public:
  LockedBucket(double rate, double burst) : rate_(rate), burst_(burst), tokens_(burst) {}
  bool try_acquire() {
    const TimePoint now = Clock::steady().now();
    const std::lock_guard lock(mutex_);
    tokens_ = std::min(burst_, tokens_ + std::chrono::duration<double>(now - last_).count() * rate_);
    last_ = now;
    if (tokens_ < 1) return false;
    tokens_ -= 1;
    return true;
  }

 private:
  std::mutex mutex_;
  const double rate_;
  const double burst_;
  double tokens_;
  TimePoint last_ = Clock::steady().now();
};

constexpr double kPlenty = 1e9;
constexpr double kFew = 1e-3;

RateLimiter& plenty(RateAlgorithm algorithm) {
  static RateLimiter gcra({.algorithm = RateAlgorithm::kGcra, .rate_per_second = kPlenty, .burst = kPlenty});
  static RateLimiter bucket({.algorithm = RateAlgorithm::kTokenBucket, .rate_per_second = kPlenty, .burst = kPlenty});
  return algorithm == RateAlgorithm::kGcra ? gcra : bucket;
}

RateLimiter& few(RateAlgorithm algorithm) {
  static RateLimiter gcra({.algorithm = RateAlgorithm::kGcra, .rate_per_second = kFew});
  static RateLimiter bucket({.algorithm = RateAlgorithm::kTokenBucket, .rate_per_second = kFew});
  return algorithm == RateAlgorithm::kGcra ? gcra : bucket;
}

void tries(benchmark::State& state, RateLimiter& limiter) {
  for (auto _ : state) benchmark::DoNotOptimize(limiter.try_acquire());
  state.SetItemsProcessed(state.iterations());
}

// A token that is there. Ideal: the clock and a compare-exchange.
void granted(benchmark::State& state) { tries(state, plenty(RateAlgorithm::kGcra)); }
BENCHMARK(granted)->Name("rate_limiter/granted")->ThreadRange(1, 2)->UseRealTime();
void granted_bucket(benchmark::State& state) { tries(state, plenty(RateAlgorithm::kTokenBucket)); }
BENCHMARK(granted_bucket)->Name("rate_limiter/granted@token_bucket")->ThreadRange(1, 2)->UseRealTime();
void granted_locked(benchmark::State& state) {
  static LockedBucket bucket(kPlenty, kPlenty);
  for (auto _ : state) benchmark::DoNotOptimize(bucket.try_acquire());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(granted_locked)->Name("rate_limiter/granted@mutex")->ThreadRange(1, 2)->UseRealTime();
void granted_clock(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Clock::steady().now());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(granted_clock)->Name("rate_limiter/granted@nothing")->ThreadRange(1, 2)->UseRealTime();

// What an overloaded system does most. Ideal: the clock and a load.
void refused(benchmark::State& state) { tries(state, few(RateAlgorithm::kGcra)); }
BENCHMARK(refused)->Name("rate_limiter/refused")->ThreadRange(1, 2)->UseRealTime();
void refused_bucket(benchmark::State& state) { tries(state, few(RateAlgorithm::kTokenBucket)); }
BENCHMARK(refused_bucket)->Name("rate_limiter/refused@token_bucket")->ThreadRange(1, 2)->UseRealTime();
void refused_locked(benchmark::State& state) {
  static LockedBucket bucket(kFew, 1);
  for (auto _ : state) benchmark::DoNotOptimize(bucket.try_acquire());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(refused_locked)->Name("rate_limiter/refused@mutex")->ThreadRange(1, 2)->UseRealTime();

// A refusal with its text. Ideal: the text.
void refused_text(benchmark::State& state) {
  RateLimiter& limiter = few(RateAlgorithm::kGcra);
  for (auto _ : state) {
    RateRefusal why;
    if (!limiter.try_acquire(1, why)) benchmark::DoNotOptimize(to_status(why, limiter.name()));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(refused_text)->Name("rate_limiter/refused_text");

Task<> take_one(RateLimiter& limiter) { static_cast<void>(co_await limiter.async_acquire()); }

// A coroutine that stands in line, behind none or 1000 others, until the clock has moved. Ideal: the same, however
// long the line is.
void waits(benchmark::State& state) {
  ManualClock clock;
  RateLimiter limiter({.rate_per_second = 1000, .burst = 1, .max_waiting = 10'000, .clock = &clock});
  RunLoop loop;
  static_cast<void>(limiter.try_acquire());
  for (std::int64_t others = state.range(0); others != 0; --others) static_cast<void>(spawn(loop, take_one(limiter)));
  loop.run_ready();
  for (auto _ : state) {
    static_cast<void>(spawn(loop, take_one(limiter)));
    loop.run_ready();
    clock.advance(1ms);
    loop.run_ready();
  }
  limiter.close();
  loop.run_ready();
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(waits)->Name("rate_limiter/wait")->ArgName("line")->Arg(0)->Arg(1000);

}  // namespace

BENCHMARK_MAIN();
