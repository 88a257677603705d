// SPDX-License-Identifier: MIT
// What a count costs the thread that counts, alone and beside others; and what it costs to read one.
// Ideal: a thread-local increment, 0.4 ns, with any number of threads.
#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

#include <benchmark/benchmark.h>

#include "penstock/metrics/counter.hpp"

namespace {

void counter_add(benchmark::State& state) {
  static penstock::Counter counter;
  for (auto _ : state) counter.add();
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(counter_add)->Name("counter/add")->ThreadRange(1, 4)->UseRealTime();

// More threads than one row, so most additions go to the shared cell: the worst that a crowd of threads can meet.
void counter_add_one_row(benchmark::State& state) {
  static penstock::Counters<1, 1> counters;
  for (auto _ : state) counters.add(0);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(counter_add_one_row)->Name("counter/add_one_row")->ThreadRange(1, 4)->UseRealTime();

void counter_add_shared_atomic(benchmark::State& state) {
  static std::atomic<std::uint64_t> counter;
  for (auto _ : state) counter.fetch_add(1, std::memory_order_relaxed);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(counter_add_shared_atomic)->Name("counter/add@shared_fetch_add")->ThreadRange(1, 4)->UseRealTime();

// Rows of their own as ours have, but an atomic addition each time: what ownership saves.
void counter_add_sharded_atomic(benchmark::State& state) {
  struct alignas(128) Row {
    std::atomic<std::uint64_t> value;
  };
  static std::array<Row, 16> rows;
  penstock::detail::assign_thread_index();
  for (auto _ : state) {
    rows[penstock::detail::thread_index() % rows.size()].value.fetch_add(1, std::memory_order_relaxed);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(counter_add_sharded_atomic)->Name("counter/add@sharded_fetch_add")->ThreadRange(1, 4)->UseRealTime();

void counter_add_mutex(benchmark::State& state) {
  static std::mutex mutex;
  static std::uint64_t counter = 0;
  for (auto _ : state) {
    const std::lock_guard lock(mutex);
    benchmark::DoNotOptimize(++counter);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(counter_add_mutex)->Name("counter/add@mutex")->ThreadRange(1, 4)->UseRealTime();

// Six counts for one job, as a worker pool makes them. Ideal: one cache line more than a single count, no more misses.
void counters_six(benchmark::State& state) {
  static penstock::Counters<20> counters;
  for (auto _ : state) {
    for (unsigned which = 0; which < 18; which += 3) counters.add(which);
  }
  state.SetItemsProcessed(state.iterations() * 6);
}
BENCHMARK(counters_six)->Name("counters/add_six_of_twenty")->ThreadRange(1, 4)->UseRealTime();

void counters_six_shared_atomic(benchmark::State& state) {
  static std::array<std::atomic<std::uint64_t>, 20> counters;
  for (auto _ : state) {
    for (unsigned which = 0; which < 18; which += 3) counters[which].fetch_add(1, std::memory_order_relaxed);
  }
  state.SetItemsProcessed(state.iterations() * 6);
}
BENCHMARK(counters_six_shared_atomic)
    ->Name("counters/add_six_of_twenty@shared_fetch_add")
    ->ThreadRange(1, 4)
    ->UseRealTime();

// The price that the readers pay for it.
void counter_value(benchmark::State& state) {
  static penstock::Counter counter;
  for (auto _ : state) benchmark::DoNotOptimize(counter.value());
}
BENCHMARK(counter_value)->Name("counter/value");

void counter_value_atomic(benchmark::State& state) {
  static std::atomic<std::uint64_t> counter;
  for (auto _ : state) benchmark::DoNotOptimize(counter.load(std::memory_order_acquire));
}
BENCHMARK(counter_value_atomic)->Name("counter/value@shared_fetch_add");

}  // namespace
