// SPDX-License-Identifier: MIT
// What a manager adds to a thread, and what it saves. The rival is what everybody writes who needs a thread for a task:
// std::thread, and join. Ideal for spawn: no new thread, so the wake-up of one that sleeps; for a scope: two readings
// of the clock.
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include "penstock/exec/thread_manager.hpp"
#include "support/count_down.hpp"

namespace {

using penstock::Duration;
using penstock::ThreadManager;

std::unique_ptr<ThreadManager> make_manager(std::size_t threads, Duration idle_timeout = std::chrono::hours(1)) {
  return *ThreadManager::create({.name = "bench", .max_threads = threads, .idle_timeout = idle_timeout});
}

// Functions in threads of their own, `tasks` at once, and the wait for the last one's end.
void spawn(benchmark::State& state) {
  const auto tasks = static_cast<int>(state.range(0));
  // Room for those that are on their way to being idle when the next round begins.
  const auto manager = make_manager(256);
  CountDown count;
  for (auto _ : state) {
    count.start(tasks);
    for (int i = 0; i < tasks; ++i) {
      if (!manager->spawn("task", [&count] { count.hit(); }).ok()) {
        state.SkipWithError("refused");
        count.hit();
      }
    }
    count.wait();
  }
  state.SetItemsProcessed(state.iterations() * tasks);
}
BENCHMARK(spawn)->Name("thread_manager/spawn")->ArgName("tasks")->Arg(1)->Arg(16)->UseRealTime();

void spawn_std_thread(benchmark::State& state) {
  const auto tasks = static_cast<int>(state.range(0));
  std::vector<std::thread> threads(static_cast<std::size_t>(tasks));
  CountDown count;
  for (auto _ : state) {
    count.start(tasks);
    for (std::thread& thread : threads) thread = std::thread([&count] { count.hit(); });
    count.wait();
    for (std::thread& thread : threads) thread.join();
  }
  state.SetItemsProcessed(state.iterations() * tasks);
}
BENCHMARK(spawn_std_thread)->Name("thread_manager/spawn@std_thread")->ArgName("tasks")->Arg(1)->Arg(16)->UseRealTime();

// The same where no thread is ever idle: what the books cost on top of a new thread.
void spawn_new(benchmark::State& state) {
  const auto manager = make_manager(256, Duration::zero());
  CountDown count;
  for (auto _ : state) {
    count.start(1);
    if (!manager->spawn("task", [&count] { count.hit(); }).ok()) {
      state.SkipWithError("refused");
      count.hit();
    }
    count.wait();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(spawn_new)->Name("thread_manager/spawn_new_thread")->UseRealTime();

// In and out of a state, on a managed thread.
void scope(benchmark::State& state) {
  const auto manager = make_manager(1);
  CountDown count;
  count.start(1);
  static_cast<void>(manager->spawn("scopes", [&] {
    for (auto _ : state) ThreadManager::Waiting waiting;
    count.hit();
  }));
  count.wait();
}
BENCHMARK(scope)->Name("thread_manager/scope");

void scope_clock(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(std::chrono::steady_clock::now());
    benchmark::DoNotOptimize(std::chrono::steady_clock::now());
  }
}
BENCHMARK(scope_clock)->Name("thread_manager/scope@two_readings_of_the_clock");

// The same on a thread that is not managed.
void scope_elsewhere(benchmark::State& state) {
  for (auto _ : state) ThreadManager::Waiting waiting;
}
BENCHMARK(scope_elsewhere)->Name("thread_manager/scope_elsewhere");

}  // namespace

BENCHMARK_MAIN();
