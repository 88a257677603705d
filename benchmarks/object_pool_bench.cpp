// SPDX-License-Identifier: MIT
// What it costs to acquire an object of 1 KiB and to let it go, with all figures counted: in one thread, and when it
// travels to another. The ideal is a list of the thread's own, bare of everything; the rival is new and delete.
#include <atomic>
#include <cstddef>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "penstock/state/object_pool.hpp"

namespace {

using penstock::Duration;
using penstock::ObjectPool;
using penstock::ObjectPoolOptions;
using penstock::Pooled;

struct Message {
  char bytes[1024];
};

ObjectPoolOptions<Message> options(bool timestamps = false) {
  ObjectPoolOptions<Message> options;
  options.name = "bench";
  options.purge_every = Duration::max();
  options.timestamps = timestamps;
  return options;
}

template <bool kTimestamps>
void acquire_return(benchmark::State& state) {
  static ObjectPool<Message> pool(options(kTimestamps));
  for (auto _ : state) {
    auto message = pool.acquire();
    (*message)->bytes[0] = 1;
    benchmark::DoNotOptimize(message->get());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(acquire_return<false>)->Name("object_pool/acquire_return")->ThreadRange(1, 4);
BENCHMARK(acquire_return<true>)->Name("object_pool/acquire_return_timed")->ThreadRange(1, 4);

/// What any pool comes down to.
struct Bare {
  static std::vector<Message*>& list() {
    static thread_local std::vector<Message*> own;
    return own;
  }
  static Message* get() {
    std::vector<Message*>& own = list();
    if (own.empty()) return new Message;
    Message* const message = own.back();
    own.pop_back();
    return message;
  }
  static void put(Message* message) { list().push_back(message); }
};

void acquire_return_bare(benchmark::State& state) {
  for (auto _ : state) {
    Message* const message = Bare::get();
    message->bytes[0] = 1;
    benchmark::DoNotOptimize(message);
    benchmark::ClobberMemory();  // or taking and giving back would cancel out
    Bare::put(message);
  }
  delete Bare::get();
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(acquire_return_bare)->Name("object_pool/acquire_return@thread_local_list")->ThreadRange(1, 4);

void acquire_return_new(benchmark::State& state) {
  for (auto _ : state) {
    auto message = std::make_unique<Message>();
    message->bytes[0] = 1;
    benchmark::DoNotOptimize(message.get());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(acquire_return_new)->Name("object_pool/acquire_return@new_delete")->ThreadRange(1, 4);

// One thread acquires, the other lets go, in batches of 16 by a ring of pointers, so that the road between them costs
// next to nothing.
template <class Item>
class Road {
 public:
  static constexpr std::size_t kBatch = 16;
  static constexpr std::size_t kSlots = 64;
  struct alignas(128) Slot {
    std::atomic<bool> is_full{false};
    Item items[kBatch];
  };

  Item* to_fill() { return wait(sent_, false); }
  void sent() { slots_[sent_++ % kSlots].is_full.store(true, std::memory_order_release); }
  Item* to_empty() { return wait(received_, true); }
  void received() { slots_[received_++ % kSlots].is_full.store(false, std::memory_order_release); }

 private:
  Item* wait(std::size_t at, bool is_full) {
    Slot& slot = slots_[at % kSlots];
    while (slot.is_full.load(std::memory_order_acquire) != is_full) {
      if (ends.load(std::memory_order_relaxed)) return nullptr;
      std::this_thread::yield();
    }
    return slot.items;
  }

  alignas(128) std::size_t sent_ = 0;
  alignas(128) std::size_t received_ = 0;
  std::vector<Slot> slots_ = std::vector<Slot>(kSlots);

 public:
  std::atomic<bool> ends{false};
};

template <class Item, class Get, class Put>
void travel(benchmark::State& state, Get get, Put put) {
  Road<Item> road;
  std::thread other([&] {
    while (Item* const items = road.to_empty()) {
      for (std::size_t i = 0; i != Road<Item>::kBatch; ++i) put(items[i]);
      road.received();
    }
  });
  for (auto _ : state) {
    Item* const items = road.to_fill();
    for (std::size_t i = 0; i != Road<Item>::kBatch; ++i) get(items[i]);
    road.sent();
  }
  road.ends = true;
  other.join();
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(Road<Item>::kBatch));
}

void travel_pool(benchmark::State& state) {
  static ObjectPool<Message> pool([] {
    ObjectPoolOptions<Message> large = options();
    large.max_idle = 4096;
    return large;
  }());
  travel<Pooled<Message>>(
      state,
      [](Pooled<Message>& message) {
        message = *pool.acquire();
        message->bytes[0] = 1;
      },
      [](Pooled<Message>& message) { message.reset(); });
}
BENCHMARK(travel_pool)->Name("object_pool/other_thread_returns")->UseRealTime();

void travel_new(benchmark::State& state) {
  travel<Message*>(
      state,
      [](Message*& message) {
        message = new Message;
        message->bytes[0] = 1;
      },
      [](Message*& message) { delete std::exchange(message, nullptr); });
}
BENCHMARK(travel_new)->Name("object_pool/other_thread_returns@new_delete")->UseRealTime();

// What it costs to look: all threads are kept from their objects for a moment.
void stats(benchmark::State& state) {
  ObjectPool<Message> pool(options());
  static_cast<void>(pool.acquire());
  for (auto _ : state) benchmark::DoNotOptimize(pool.stats().idle);
}
BENCHMARK(stats)->Name("object_pool/stats");

}  // namespace
