// SPDX-License-Identifier: MIT
// What a concurrency limiter costs each call: to take a slot and to give it back, with room for all. The rival is what
// one writes by hand, a count under a mutex and a condition variable: it knows no line, no deadline, no figures, and
// its limit is what it was told. Ideal: one atomic change each way.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <utility>

#include <benchmark/benchmark.h>

#include "penstock/route/concurrency_limiter.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::AimdLimit;
using penstock::ConcurrencyLimiter;
using penstock::ConcurrencyLimiterOptions;
using penstock::FixedLimit;
using penstock::Gradient2Limit;
using penstock::LimitOptions;
using penstock::LimitSample;
using penstock::VegasLimit;
using Timing = ConcurrencyLimiterOptions::Timing;

// A process that has never had a second thread gets its mutexes for nothing; servers are not like that.
[[maybe_unused]] const bool has_threads = [] {
  std::thread([] {}).join();
  return true;
}();

class MutexSemaphore {
 public:
  explicit MutexSemaphore(std::size_t limit) : free_(limit) {}
  void acquire() {
    std::unique_lock lock(mutex_);
    freed_.wait(lock, [this] { return free_ != 0; });
    --free_;
  }
  void release() {
    {
      const std::lock_guard lock(mutex_);
      ++free_;
    }
    freed_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable freed_;
  std::size_t free_;
};

ConcurrencyLimiterOptions options(LimitOptions algorithm, Timing timing = Timing::kByCaller) {
  ConcurrencyLimiterOptions made;
  made.algorithm = std::move(algorithm);
  made.timing = timing;
  return made;
}

// A limit that does not learn: the two atomic changes and a count.
void limiter_fixed(benchmark::State& state) {
  static ConcurrencyLimiter limiter(options(FixedLimit{.limit = 100}));
  for (auto _ : state) {
    if (auto slot = limiter.try_acquire()) slot->success();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(limiter_fixed)->Name("concurrency_limiter/fixed")->ThreadRange(1, 2)->UseRealTime();

void limiter_fixed_waiting(benchmark::State& state) {
  static ConcurrencyLimiter limiter(options(FixedLimit{.limit = 100}));
  for (auto _ : state) {
    auto slot = limiter.acquire();
    slot->success();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(limiter_fixed_waiting)->Name("concurrency_limiter/fixed_acquire")->ThreadRange(1, 2)->UseRealTime();

void limiter_fixed_semaphore(benchmark::State& state) {
  static MutexSemaphore semaphore(100);
  for (auto _ : state) {
    semaphore.acquire();
    semaphore.release();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(limiter_fixed_semaphore)->Name("concurrency_limiter/fixed_acquire@mutex")->ThreadRange(1, 2)->UseRealTime();

// One that learns from every call. The caller knows how long the call took; or the limiter looks at a coarse clock; or
// at the exact one, twice a call. (By the coarse clock most of these calls take no time, and teach nothing.)
void learn(benchmark::State& state, ConcurrencyLimiter& limiter, bool by_caller) {
  for (auto _ : state) {
    if (auto slot = limiter.try_acquire()) by_caller ? slot->success(10ms) : slot->success();
  }
  state.SetItemsProcessed(state.iterations());
}

void limiter_aimd(benchmark::State& state) {
  static ConcurrencyLimiter limiter(options(AimdLimit{}));
  learn(state, limiter, true);
}
BENCHMARK(limiter_aimd)->Name("concurrency_limiter/aimd_by_caller")->ThreadRange(1, 2)->UseRealTime();

void limiter_aimd_coarse(benchmark::State& state) {
  static ConcurrencyLimiter limiter(options(AimdLimit{}, Timing::kCoarse));
  learn(state, limiter, false);
}
BENCHMARK(limiter_aimd_coarse)->Name("concurrency_limiter/aimd_coarse")->ThreadRange(1, 2)->UseRealTime();

void limiter_aimd_exact(benchmark::State& state) {
  static ConcurrencyLimiter limiter(options(AimdLimit{}, Timing::kExact));
  learn(state, limiter, false);
}
BENCHMARK(limiter_aimd_exact)->Name("concurrency_limiter/aimd_exact")->ThreadRange(1, 2)->UseRealTime();

void limiter_vegas(benchmark::State& state) {
  static ConcurrencyLimiter limiter(options(VegasLimit{}));
  learn(state, limiter, true);
}
BENCHMARK(limiter_vegas)->Name("concurrency_limiter/vegas_by_caller")->ThreadRange(1, 2)->UseRealTime();

void limiter_gradient2(benchmark::State& state) {
  static ConcurrencyLimiter limiter(options(Gradient2Limit{}));
  learn(state, limiter, true);
}
BENCHMARK(limiter_gradient2)->Name("concurrency_limiter/gradient2_by_caller")->ThreadRange(1, 2)->UseRealTime();

// With partitions every slot costs a lock each way.
void limiter_partitions(benchmark::State& state) {
  static ConcurrencyLimiter limiter([] {
    ConcurrencyLimiterOptions made = options(FixedLimit{.limit = 100});
    made.partitions = {{"live", 0.7}, {"batch", 0.2}};
    return made;
  }());
  for (auto _ : state) {
    if (auto slot = limiter.try_acquire("batch")) slot->success();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(limiter_partitions)->Name("concurrency_limiter/partitions")->ThreadRange(1, 2)->UseRealTime();

// What an overloaded system does most.
void limiter_refusal(benchmark::State& state) {
  ConcurrencyLimiter limiter(options(FixedLimit{.limit = 1}));
  const auto slot = limiter.try_acquire();
  for (auto _ : state) benchmark::DoNotOptimize(limiter.try_acquire().has_value());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(limiter_refusal)->Name("concurrency_limiter/refusal");

// Two threads, one slot: each hand-over wakes a thread.
void limiter_hand_over(benchmark::State& state) {
  static ConcurrencyLimiter limiter(options(FixedLimit{.limit = 1}));
  for (auto _ : state) {
    auto slot = limiter.acquire();
    slot->success();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(limiter_hand_over)->Name("concurrency_limiter/one_slot")->Threads(2)->UseRealTime();

void limiter_hand_over_semaphore(benchmark::State& state) {
  static MutexSemaphore semaphore(1);
  for (auto _ : state) {
    semaphore.acquire();
    semaphore.release();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(limiter_hand_over_semaphore)->Name("concurrency_limiter/one_slot@mutex")->Threads(2)->UseRealTime();

}  // namespace
