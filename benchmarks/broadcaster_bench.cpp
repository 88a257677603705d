// SPDX-License-Identifier: MIT
// What it costs to give a value to many. The rival is what everybody writes: a bounded queue with a mutex for each
// subscriber, and a copy of the value in each. Ideal: publishing costs the same however many listen, one lock and one
// allocation; receiving costs one lock and a reference count, whatever the size of the value.
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "penstock/channel/broadcaster.hpp"
#include "penstock/core/task.hpp"

namespace {

using penstock::Broadcaster;
using penstock::Delivery;
using penstock::RunLoop;
using penstock::Subscription;
using penstock::Task;

constexpr std::size_t kCapacity = 64;

template <std::size_t Size>
struct Value {
  std::array<std::byte, Size> bytes{};
};

template <class T>
class QueueForEach {
 public:
  explicit QueueForEach(std::size_t subscribers) : queues_(subscribers) {}

  void publish(const T& value) {
    for (Queue& each : queues_) {
      const std::lock_guard lock(each.mutex);
      if (each.values.size() == kCapacity) each.values.pop_front();
      each.values.push_back(value);
    }
  }
  std::optional<T> try_receive(std::size_t subscriber) {
    Queue& from = queues_[subscriber];
    const std::lock_guard lock(from.mutex);
    if (from.values.empty()) return std::nullopt;
    std::optional<T> value(std::move(from.values.front()));
    from.values.pop_front();
    return value;
  }

 private:
  struct Queue {
    std::mutex mutex;
    std::deque<T> values;
  };
  std::deque<Queue> queues_;
};

// What: publish one value to so many that are slow, and lose it. Ideal: one lock, one allocation.
template <class T>
void publish(benchmark::State& state) {
  Broadcaster<T> broadcaster(kCapacity);
  std::vector<Subscription<T>> subscriptions;
  for (std::int64_t i = 0; i != state.range(0); ++i) subscriptions.push_back(broadcaster.subscribe());
  for (auto _ : state) benchmark::DoNotOptimize(broadcaster.publish(T{}));
  state.SetItemsProcessed(state.iterations());
}
template <class T>
void publish_to_queues(benchmark::State& state) {
  QueueForEach<T> queues(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) queues.publish(T{});
  state.SetItemsProcessed(state.iterations());
}

// What: publish one value and receive it so many times. Ideal: the publish, and a lock for each that receives.
template <class T>
void publish_and_receive(benchmark::State& state) {
  Broadcaster<T> broadcaster(kCapacity);
  std::vector<Subscription<T>> subscriptions;
  for (std::int64_t i = 0; i != state.range(0); ++i) subscriptions.push_back(broadcaster.subscribe());
  for (auto _ : state) {
    benchmark::DoNotOptimize(broadcaster.publish(T{}));
    for (Subscription<T>& each : subscriptions) benchmark::DoNotOptimize(each.try_receive());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
template <class T>
void publish_to_and_receive_from_queues(benchmark::State& state) {
  const auto subscribers = static_cast<std::size_t>(state.range(0));
  QueueForEach<T> queues(subscribers);
  for (auto _ : state) {
    queues.publish(T{});
    for (std::size_t i = 0; i != subscribers; ++i) benchmark::DoNotOptimize(queues.try_receive(i));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

Task<> listen(Subscription<Value<64>>& subscription, std::uint64_t& count) {
  while (const Delivery<Value<64>> got = co_await subscription.async_receive()) ++count;
}

// What: wake so many waiting coroutines with each value. Ideal: the receive, and a resume of some 3 ns.
void wake_coroutines(benchmark::State& state) {
  std::uint64_t count = 0;
  RunLoop loop;
  Broadcaster<Value<64>> broadcaster(kCapacity);
  std::deque<Subscription<Value<64>>> subscriptions;
  for (std::int64_t i = 0; i != state.range(0); ++i) {
    static_cast<void>(spawn(loop, listen(subscriptions.emplace_back(broadcaster.subscribe()), count)));
  }
  loop.run_ready();
  for (auto _ : state) {
    benchmark::DoNotOptimize(broadcaster.publish(Value<64>{}));
    loop.run_ready();
  }
  broadcaster.close();
  loop.run_ready();
  state.SetItemsProcessed(static_cast<std::int64_t>(count));
}

void counts(benchmark::internal::Benchmark* benchmark) { benchmark->ArgName("subscribers")->Arg(1)->Arg(8)->Arg(64); }

BENCHMARK(publish<Value<64>>)->Name("broadcaster/publish")->Apply(counts);
BENCHMARK(publish_to_queues<Value<64>>)->Name("broadcaster/publish@queues")->Apply(counts);
BENCHMARK(publish_and_receive<Value<64>>)->Name("broadcaster/deliver_64")->Apply(counts);
BENCHMARK(publish_to_and_receive_from_queues<Value<64>>)->Name("broadcaster/deliver_64@queues")->Apply(counts);
BENCHMARK(publish_and_receive<Value<4096>>)->Name("broadcaster/deliver_4096")->Apply(counts);
BENCHMARK(publish_to_and_receive_from_queues<Value<4096>>)->Name("broadcaster/deliver_4096@queues")->Apply(counts);
BENCHMARK(wake_coroutines)->Name("broadcaster/wake_coroutines")->Apply(counts);

}  // namespace
