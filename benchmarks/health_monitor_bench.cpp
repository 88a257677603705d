// SPDX-License-Identifier: MIT

// What a health check costs: those who ask whether something works, and what the machinery takes around a check or any
// other periodic call.

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/periodic_runner.hpp"
#include "penstock/route/detail/health_machine.hpp"
#include "penstock/route/health_monitor.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::ManualClock;

void wait_for(const std::atomic<int>& count, int wanted) {
  while (count.load(std::memory_order_acquire) < wanted) std::this_thread::yield();
}

// What: asks a watch whether it is healthy. Ideal: one load.
void health_is_healthy(benchmark::State& state) {
  static ManualClock clock;
  static penstock::PeriodicRunner runner({.clock = &clock});
  static penstock::HealthMonitor monitor(runner);
  static const penstock::HealthWatch watch =
      *monitor.watch("w", {.check = [](const penstock::Context&) { return absl::OkStatus(); }});
  for (auto _ : state) benchmark::DoNotOptimize(watch.is_healthy());
}
BENCHMARK(health_is_healthy)->Name("health_monitor/is_healthy")->ThreadRange(1, 2);

// What: a check begins and ends, in the machine alone. Ideal: some arithmetic.
void health_machine(benchmark::State& state) {
  penstock::TimePoint now(1h);
  penstock::detail::HealthMachine machine({}, penstock::Health::kUnknown, false, now);
  for (auto _ : state) {
    now += 1s;
    benchmark::DoNotOptimize(machine.end(machine.begin(now, now + 5s), now, true));
  }
}
BENCHMARK(health_machine)->Name("health_monitor/machine");

// What: from run_now to the call, and back: two hand-overs between threads. Rival: a new thread for each call.
void periodic_run_now(benchmark::State& state) {
  ManualClock clock;
  std::atomic<int> calls{0};
  penstock::PeriodicRunner runner({.clock = &clock});
  penstock::PeriodicTask task =
      *runner.every({.interval = 1h, .initial_delay = 1h}, [&] { calls.fetch_add(1, std::memory_order_release); });
  int wanted = 0;
  for (auto _ : state) {
    task.run_now();
    wait_for(calls, ++wanted);
  }
}
BENCHMARK(periodic_run_now)->Name("periodic_runner/run_now")->UseRealTime();

void periodic_run_now_thread(benchmark::State& state) {
  std::atomic<int> calls{0};
  int wanted = 0;
  for (auto _ : state) {
    std::thread thread([&] { calls.fetch_add(1, std::memory_order_release); });
    wait_for(calls, ++wanted);
    thread.join();
  }
}
BENCHMARK(periodic_run_now_thread)->Name("periodic_runner/run_now@std_thread")->UseRealTime();

// What: all of a hundred tasks fall due at once. Processor time for each call says what a hundred tasks at an interval
// of a second cost: ten times that many microseconds are a thousandth of a processor.
void periodic_round(benchmark::State& state) {
  const auto count = static_cast<int>(state.range(0));
  ManualClock clock;
  std::atomic<int> calls{0};
  penstock::PeriodicRunner runner({.clock = &clock});
  std::vector<penstock::PeriodicTask> tasks;
  for (int i = 0; i < count; ++i) {
    tasks.push_back(
        *runner.every({.interval = 1s, .initial_delay = 1s}, [&] { calls.fetch_add(1, std::memory_order_release); }));
  }
  int wanted = 0;
  for (auto _ : state) {
    clock.advance(1s);
    wait_for(calls, wanted += count);
    while (runner.stats().running != 0) std::this_thread::yield();
  }
  state.SetItemsProcessed(state.iterations() * count);
}
BENCHMARK(periodic_round)
    ->Name("periodic_runner/round")
    ->ArgName("tasks")
    ->Arg(100)
    ->UseRealTime()
    ->MeasureProcessCPUTime();

}  // namespace
