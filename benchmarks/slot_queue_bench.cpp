// SPDX-License-Identifier: MIT
// What a slot queue costs: a slot's way through it with nobody in the way, and the two things that grow with the crowd
// elsewhere: to hand a slot to one of many who wait, and to take one out of many that are idle. The rival is what one
// writes by hand: a vector, a mutex and a condition variable, whose eject searches, as does the one that this follows.
#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/slot_queue.hpp"
#include "penstock/exec/slot_queue_map.hpp"

namespace {

using penstock::LaunchTicket;
using penstock::SlotLease;
using penstock::SlotQueue;
using penstock::SlotToken;

// A process that has never had a second thread gets its mutexes for nothing; servers are not like that.
[[maybe_unused]] const bool has_threads = [] {
  std::thread([] {}).join();
  return true;
}();

class MutexStack {
 public:
  std::uint64_t offer(int slot) {
    std::uint64_t id = 0;
    {
      const std::lock_guard lock(mutex_);
      id = next_++;
      slots_.push_back({id, slot});
    }
    came_.notify_one();
    return id;
  }
  int acquire() {
    std::unique_lock lock(mutex_);
    came_.wait(lock, [this] { return !slots_.empty(); });
    const int slot = slots_.back().slot;
    slots_.pop_back();
    return slot;
  }
  bool eject(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    const auto at = std::find_if(slots_.begin(), slots_.end(), [&](const Slot& each) { return each.id == id; });
    if (at == slots_.end()) return false;
    slots_.erase(at);
    return true;
  }

 private:
  struct Slot {
    std::uint64_t id;
    int slot;
  };
  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<Slot> slots_;
  std::uint64_t next_ = 0;
};

// Offer a slot, acquire it, put it back, take it out: all there is to a slot's life. Ideal: five short locks.
void round(benchmark::State& state) {
  SlotQueue<int> queue({.name = "bench"});
  for (auto _ : state) {
    const absl::StatusOr<SlotToken> token = queue.offer(1);
    { const absl::StatusOr<SlotLease<int>> lease = queue.acquire(); }
    benchmark::DoNotOptimize(queue.eject(*token));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(round)->Name("slot_queue/offer_acquire_release_eject");

// The same without the way back: the lease ends the slot.
void round_short(benchmark::State& state) {
  SlotQueue<int> queue({.name = "bench"});
  for (auto _ : state) {
    const absl::StatusOr<SlotToken> token = queue.offer(1);
    absl::StatusOr<SlotLease<int>> lease = queue.acquire();
    benchmark::DoNotOptimize(lease->retire());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(round_short)->Name("slot_queue/offer_acquire_retire");

void round_mutex(benchmark::State& state) {
  MutexStack queue;
  for (auto _ : state) {
    benchmark::DoNotOptimize(queue.offer(1));
    benchmark::DoNotOptimize(queue.acquire());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(round_mutex)->Name("slot_queue/offer_acquire_retire@mutex_condvar_vector");

// One warm slot, used again and again; with two threads one for each. Ideal: two short locks.
void reuse(benchmark::State& state) {
  static SlotQueue<int>* queue = nullptr;
  if (state.thread_index() == 0) {
    queue = new SlotQueue<int>({.name = "bench"});
    for (int i = 0; i != state.threads(); ++i) (void)queue->offer(i);
  }
  for (auto _ : state) benchmark::DoNotOptimize(queue->acquire());
  state.SetItemsProcessed(state.iterations());
  if (state.thread_index() == 0) delete queue;
}
BENCHMARK(reuse)->Name("slot_queue/acquire_release")->ThreadRange(1, 2)->UseRealTime();

// With a launch policy, leases and waits are timed. Ideal: two looks at the coarse clock more.
void reuse_timed(benchmark::State& state) {
  SlotQueue<int> queue({.name = "bench", .launch = [](LaunchTicket<int>) {}});
  (void)queue.offer(1);
  for (auto _ : state) benchmark::DoNotOptimize(queue.acquire());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(reuse_timed)->Name("slot_queue/acquire_release_timed");

// The same by key. Ideal: a look-up and two locks of the map more.
void reuse_mapped(benchmark::State& state) {
  penstock::SlotQueueMap<int, int> map({.name = "bench"});
  for (int key = 0; key != 1000; ++key) (void)map.offer(key, 1);
  int key = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(map.acquire(key));
    key = (key + 1) % 1000;
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(reuse_mapped)->Name("slot_queue/acquire_release_by_key");

penstock::Task<> take(SlotQueue<int>& queue) {
  for (;;) {
    absl::StatusOr<SlotLease<int>> lease = co_await queue.async_acquire();
    if (!lease.ok()) co_return;
    benchmark::DoNotOptimize(lease->retire());
  }
}

// A slot is offered while so many coroutines wait: one of them gets it, ends it and waits again. Ideal: the same for
// any number of them.
void offer_to_crowd(benchmark::State& state) {
  SlotQueue<int> queue({.name = "bench"});
  penstock::RunLoop loop;
  std::vector<penstock::JoinHandle<void>> waiters;
  for (std::int64_t i = 0; i != state.range(0); ++i) waiters.push_back(spawn(loop, take(queue)));
  loop.run_ready();
  for (auto _ : state) {
    benchmark::DoNotOptimize(queue.offer(1));
    loop.run_ready();
  }
  state.SetItemsProcessed(state.iterations());
  queue.close();
  loop.run_ready();
}
BENCHMARK(offer_to_crowd)->Name("slot_queue/offer_to_one_of")->ArgName("waiting")->Arg(1)->Arg(100)->Arg(10'000);

// The slot in the middle of so many is taken out, and a new one offered. Ideal: the same for any number of them.
void eject_from_crowd(benchmark::State& state) {
  SlotQueue<int> queue({.name = "bench"});
  std::vector<std::optional<SlotToken>> tokens;
  for (std::int64_t i = 0; i != state.range(0); ++i) tokens.emplace_back(*queue.offer(1));
  std::size_t at = tokens.size() / 2;
  for (auto _ : state) {
    benchmark::DoNotOptimize(queue.eject(*tokens[at]));
    tokens[at].emplace(*queue.offer(1));
    at = (at * 5 + 7) % tokens.size();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(eject_from_crowd)->Name("slot_queue/eject_one_of")->ArgName("idle")->Arg(10)->Arg(1'000)->Arg(100'000);

// The same slot each time, so that memory is as near as with a few: what the structure costs, not the cache.
void eject_newest_from_crowd(benchmark::State& state) {
  SlotQueue<int> queue({.name = "bench"});
  std::vector<SlotToken> tokens;
  for (std::int64_t i = 0; i != state.range(0); ++i) tokens.push_back(*queue.offer(1));
  SlotToken next = *queue.offer(1);
  for (auto _ : state) {
    benchmark::DoNotOptimize(queue.eject(next));
    next = *queue.offer(1);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(eject_newest_from_crowd)
    ->Name("slot_queue/eject_newest_of")
    ->ArgName("idle")
    ->Arg(10)
    ->Arg(1'000)
    ->Arg(100'000);

void eject_mutex(benchmark::State& state) {
  MutexStack queue;
  std::vector<std::uint64_t> ids;
  for (std::int64_t i = 0; i != state.range(0); ++i) ids.push_back(queue.offer(1));
  std::size_t at = ids.size() / 2;
  for (auto _ : state) {
    benchmark::DoNotOptimize(queue.eject(ids[at]));
    ids[at] = queue.offer(1);
    at = (at * 5 + 7) % ids.size();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(eject_mutex)
    ->Name("slot_queue/eject_one_of@mutex_condvar_vector")
    ->ArgName("idle")
    ->Arg(10)
    ->Arg(1'000)
    ->Arg(100'000);

}  // namespace
