// SPDX-License-Identifier: MIT
// What a lease costs: to take one of a few resources and to give it back, with nobody in the way; and to hand one over
// to somebody who waits. The rival is what one writes by hand: a vector of free resources, a mutex and a condition
// variable. It hands out what was given back last, knows no limits, no line, no deadline and no figures.
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "penstock/exec/resource_pool.hpp"

namespace {

using penstock::ResourcePool;
using penstock::ResourceStrategy;

constexpr std::size_t kResources = 8;

// A process that has never had a second thread gets its mutexes for nothing; servers are not like that.
[[maybe_unused]] const bool has_threads = [] {
  std::thread([] {}).join();
  return true;
}();

class MutexPool {
 public:
  MutexPool(std::size_t resources, std::size_t limit) {
    for (std::size_t copy = 0; copy != limit; ++copy) {
      for (std::size_t i = 0; i != resources; ++i) free_.push_back(static_cast<int>(i));
    }
  }
  int acquire() {
    std::unique_lock lock(mutex_);
    returned_.wait(lock, [this] { return !free_.empty(); });
    const int resource = free_.back();
    free_.pop_back();
    return resource;
  }
  void give_back(int resource) {
    {
      const std::lock_guard lock(mutex_);
      free_.push_back(resource);
    }
    returned_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<int> free_;
};

void fill(ResourcePool<int>& pool, std::size_t resources, std::size_t limit) {
  for (std::size_t i = 0; i != resources; ++i) {
    const std::string id = "r" + std::to_string(i);
    (void)pool.add(id, static_cast<int>(i), {.weight = static_cast<double>(i + 1), .max_concurrent = limit});
  }
}

// Take one of eight and give it back. Ideal: two uncontended locks. With two threads nobody ever waits for a resource,
// only for the lock.
template <ResourceStrategy strategy>
void take(benchmark::State& state) {
  static ResourcePool<int>* pool = nullptr;
  if (state.thread_index() == 0) {
    pool = new ResourcePool<int>({.name = "bench", .strategy = strategy});
    fill(*pool, kResources, 2);
  }
  for (auto _ : state) {
    auto lease = pool->acquire();
    benchmark::DoNotOptimize(**lease);
  }
  state.SetItemsProcessed(state.iterations());
  if (state.thread_index() == 0) delete pool;
}
BENCHMARK(take<ResourceStrategy::kRoundRobin>)
    ->Name("resource_pool/take_round_robin")
    ->ThreadRange(1, 2)
    ->UseRealTime();
BENCHMARK(take<ResourceStrategy::kLeastLoaded>)
    ->Name("resource_pool/take_least_loaded")
    ->ThreadRange(1, 2)
    ->UseRealTime();
BENCHMARK(take<ResourceStrategy::kWeightedRandom>)
    ->Name("resource_pool/take_weighted_random")
    ->ThreadRange(1, 2)
    ->UseRealTime();

void take_mutex(benchmark::State& state) {
  static MutexPool* pool = nullptr;
  if (state.thread_index() == 0) pool = new MutexPool(kResources, 2);
  for (auto _ : state) {
    const int resource = pool->acquire();
    benchmark::DoNotOptimize(resource);
    pool->give_back(resource);
  }
  state.SetItemsProcessed(state.iterations());
  if (state.thread_index() == 0) delete pool;
}
BENCHMARK(take_mutex)->Name("resource_pool/take@mutex_condvar_vector")->ThreadRange(1, 2)->UseRealTime();

// With a filter that half of the resources pass, and with a sticky key. What these cost more is theirs.
void take_filtered(benchmark::State& state) {
  ResourcePool<int> pool({.name = "bench", .strategy = ResourceStrategy::kRoundRobin});
  fill(pool, kResources, 1);
  for (auto _ : state) {
    auto lease = pool.acquire({.filter = [](std::string_view, const int& number) { return number % 2 == 0; }});
    benchmark::DoNotOptimize(**lease);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(take_filtered)->Name("resource_pool/take_filtered");

void take_sticky(benchmark::State& state) {
  ResourcePool<int> pool({.name = "bench", .strategy = ResourceStrategy::kRoundRobin});
  fill(pool, kResources, 1);
  for (auto _ : state) {
    auto lease = pool.acquire({.sticky_key = "session 17"});
    benchmark::DoNotOptimize(**lease);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(take_sticky)->Name("resource_pool/take_sticky");

// Two threads and one resource: mostly somebody waits. Ours passes it on in turn, and so wakes a thread each time; the
// rival lets whoever runs take it again.
void share(benchmark::State& state) {
  static ResourcePool<int>* pool = nullptr;
  if (state.thread_index() == 0) {
    pool = new ResourcePool<int>({.name = "bench", .strategy = ResourceStrategy::kRoundRobin});
    fill(*pool, 1, 1);
  }
  for (auto _ : state) {
    auto lease = pool->acquire();
    benchmark::DoNotOptimize(**lease);
  }
  state.SetItemsProcessed(state.iterations());
  if (state.thread_index() == 0) delete pool;
}
BENCHMARK(share)->Name("resource_pool/share_one")->Threads(2)->UseRealTime();

void share_mutex(benchmark::State& state) {
  static MutexPool* pool = nullptr;
  if (state.thread_index() == 0) pool = new MutexPool(1, 1);
  for (auto _ : state) {
    const int resource = pool->acquire();
    benchmark::DoNotOptimize(resource);
    pool->give_back(resource);
  }
  state.SetItemsProcessed(state.iterations());
  if (state.thread_index() == 0) delete pool;
}
BENCHMARK(share_mutex)->Name("resource_pool/share_one@mutex_condvar_vector")->Threads(2)->UseRealTime();

}  // namespace
