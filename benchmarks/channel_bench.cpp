// SPDX-License-Identifier: MIT
// What a value costs on its way through a channel: without anybody else, from thread to thread, from coroutine to
// coroutine; and what a select costs. The rival is the queue that everybody writes: std::mutex,
// std::condition_variable, std::deque, bounded, with close. Ideal: uncontended, one lock for each operation (8 ns
// here); between threads, never waking anybody who would have come by himself, since a wake costs microseconds; between
// coroutines, a resume, some 3 ns.
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include <benchmark/benchmark.h>

#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "penstock/core/task.hpp"

namespace {

using penstock::Channel;
using penstock::OpStatus;
using penstock::RunLoop;
using penstock::Task;

using Value = std::uint64_t;

class CondVarQueue {
 public:
  explicit CondVarQueue(std::size_t capacity) : capacity_(capacity) {}

  bool send(Value value) {
    std::unique_lock lock(mutex_);
    has_room_.wait(lock, [&] { return closed_ || values_.size() < capacity_; });
    if (closed_) return false;
    values_.push_back(value);
    lock.unlock();
    has_value_.notify_one();
    return true;
  }

  std::optional<Value> receive() {
    std::unique_lock lock(mutex_);
    has_value_.wait(lock, [&] { return closed_ || !values_.empty(); });
    if (values_.empty()) return std::nullopt;
    const Value value = values_.front();
    values_.pop_front();
    lock.unlock();
    has_room_.notify_one();
    return value;
  }

  void close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    has_value_.notify_all();
    has_room_.notify_all();
  }

 private:
  const std::size_t capacity_;
  std::mutex mutex_;
  std::condition_variable has_value_;
  std::condition_variable has_room_;
  std::deque<Value> values_;
  bool closed_ = false;
};

bool put(Channel<Value>& channel, Value value) { return channel.send(std::move(value)) == OpStatus::kOk; }
bool put(CondVarQueue& queue, Value value) { return queue.send(value); }
std::optional<Value> get(Channel<Value>& channel) { return channel.receive().value; }
std::optional<Value> get(CondVarQueue& queue) { return queue.receive(); }

// One thread sends and receives what it has sent.
template <class Queue>
void uncontended(benchmark::State& state) {
  Queue queue(1000);
  Value sum = 0;
  for (auto _ : state) {
    put(queue, 1);
    sum += *get(queue);
  }
  if (sum != static_cast<Value>(state.iterations())) state.SkipWithError("the sum is wrong");
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(uncontended<Channel<Value>>)->Name("channel/uncontended");
BENCHMARK(uncontended<CondVarQueue>)->Name("channel/uncontended@condvar");

// The measured thread sends, another one receives.
template <class Queue>
void one_to_one(benchmark::State& state) {
  Queue queue(static_cast<std::size_t>(state.range(0)));
  Value sum = 0;
  std::thread receiver([&] {
    while (const std::optional<Value> value = get(queue)) sum += *value;
  });
  for (auto _ : state) put(queue, 1);
  queue.close();
  receiver.join();
  if (sum != static_cast<Value>(state.iterations())) state.SkipWithError("the sum is wrong");
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(one_to_one<Channel<Value>>)
    ->Name("channel/1p1c")
    ->ArgName("capacity")
    ->Arg(0)
    ->Arg(1)
    ->Arg(100)
    ->Arg(1000)
    ->UseRealTime();
BENCHMARK(one_to_one<CondVarQueue>)
    ->Name("channel/1p1c@condvar")
    ->ArgName("capacity")
    ->Arg(1)
    ->Arg(100)
    ->Arg(1000)
    ->UseRealTime();

// A value goes to another thread and back; one iteration is a round trip.
template <class Queue>
void ping_pong(benchmark::State& state) {
  Queue there(static_cast<std::size_t>(state.range(0)));
  Queue back(static_cast<std::size_t>(state.range(0)));
  std::thread other([&] {
    while (const std::optional<Value> value = get(there)) put(back, *value + 1);
  });
  Value value = 0;
  for (auto _ : state) {
    put(there, value);
    value = *get(back);
  }
  there.close();
  other.join();
  if (value != static_cast<Value>(state.iterations())) state.SkipWithError("the count is wrong");
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(ping_pong<Channel<Value>>)
    ->Name("channel/ping_pong")
    ->ArgName("capacity")
    ->Arg(0)
    ->Arg(1)
    ->Arg(100)
    ->UseRealTime();
BENCHMARK(ping_pong<CondVarQueue>)
    ->Name("channel/ping_pong@condvar")
    ->ArgName("capacity")
    ->Arg(1)
    ->Arg(100)
    ->UseRealTime();

Task<> send_all(Channel<Value>& channel, Value count) {
  for (Value i = 0; i != count; ++i) static_cast<void>(co_await channel.async_send(1));
  channel.close();
}

Task<> receive_all(Channel<Value>& channel, Value& sum) {
  Value value = 0;
  while (co_await channel.async_receive(value) == OpStatus::kOk) sum += value;
}

// A coroutine sends and another one receives, both on one thread.
void coroutines(benchmark::State& state) {
  constexpr Value kBatch = 1000;
  RunLoop loop;
  for (auto _ : state) {
    Channel<Value> channel(static_cast<std::size_t>(state.range(0)));
    Value sum = 0;
    static_cast<void>(spawn(loop, receive_all(channel, sum)));
    static_cast<void>(spawn(loop, send_all(channel, kBatch)));
    loop.run_ready();
    if (sum != kBatch) state.SkipWithError("the sum is wrong");
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBatch));
}
BENCHMARK(coroutines)->Name("channel/coroutines_x1000")->ArgName("capacity")->Arg(0)->Arg(1)->Arg(100);

// Of two channels, one has a value.
void select_one_ready(benchmark::State& state) {
  Channel<Value> full(1);
  Channel<Value> empty(1);
  Value sum = 0;
  const auto add = [&](Value value) { sum += value; };
  for (auto _ : state) {
    put(full, 1);
    select(on_receive(empty, add), on_receive(full, add));
  }
  if (sum != static_cast<Value>(state.iterations())) state.SkipWithError("the sum is wrong");
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(select_one_ready)->Name("select/one_ready_of_2");

// Of two channels, none has a value.
void select_otherwise(benchmark::State& state) {
  Channel<Value> first(1);
  Channel<Value> second(1);
  Value misses = 0;
  const auto ignore = [](Value) {};
  for (auto _ : state)
    select(on_receive(first, ignore), on_receive(second, ignore), penstock::otherwise([&] { ++misses; }));
  if (misses != static_cast<Value>(state.iterations())) state.SkipWithError("the count is wrong");
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(select_otherwise)->Name("select/none_ready_of_2");

}  // namespace
