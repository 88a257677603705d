// SPDX-License-Identifier: MIT
// What it costs to ask whether an elastic pool should shrink, and how large it should be: once per tick or window,
// never for a task; but for `created`, once for each new worker. Ideal: some ns, so that it can be asked under the
// pool's lock, and a day can be simulated in a second.
#include <cstddef>

#include <benchmark/benchmark.h>

#include "penstock/exec/desired_size.hpp"
#include "penstock/exec/trim_policy.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::TimePoint;
using penstock::TrimMachine;
using penstock::TrimPolicy;
using penstock::TrimSample;

// What: one step, a period after the last one, of a pool of 500 of which 100 are idle; one worker more for each that
// goes.
void step_with(benchmark::State& state, const TrimPolicy& policy) {
  TrimMachine machine(policy, TimePoint{});
  TrimSample sample{.now = TimePoint{}, .live = 500, .idle = 100, .idle_low_water = 100, .longest_idle = 1min};
  for (auto _ : state) {
    sample.now += 10s;
    benchmark::DoNotOptimize(sample);
    benchmark::DoNotOptimize(machine.step(sample));
  }
  state.SetItemsProcessed(state.iterations());
}
void step_poison_pill(benchmark::State& state) { step_with(state, penstock::PoisonPill{}); }
void step_idle_timeout(benchmark::State& state) { step_with(state, penstock::IdleTimeout{}); }
void step_low_water(benchmark::State& state) { step_with(state, penstock::LowWater{}); }
BENCHMARK(step_poison_pill)->Name("trim/step@poison_pill");
BENCHMARK(step_idle_timeout)->Name("trim/step@idle_timeout");
BENCHMARK(step_low_water)->Name("trim/step@low_water");

// What: to tell of a new worker.
void created(benchmark::State& state) {
  TrimMachine machine(penstock::PoisonPill{}, TimePoint{});
  TimePoint now{};
  for (auto _ : state) {
    now += 1us;
    machine.created(now);
    benchmark::DoNotOptimize(machine);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(created)->Name("trim/created");

// What: the desired size under half a load.
void size_with(benchmark::State& state, const penstock::SizePolicy& policy) {
  penstock::SizeSample sample{.live = 20, .busy = 20, .queued = 30, .min = 4, .max = 64, .buffer_length = 100};
  for (auto _ : state) {
    benchmark::DoNotOptimize(sample);
    benchmark::DoNotOptimize(desired_size(policy, sample));
  }
  state.SetItemsProcessed(state.iterations());
}
void size_agile(benchmark::State& state) { size_with(state, penstock::AgileSize{}); }
void size_rigid(benchmark::State& state) { size_with(state, penstock::RigidSize{}); }
BENCHMARK(size_agile)->Name("desired_size/agile");
BENCHMARK(size_rigid)->Name("desired_size/rigid");

}  // namespace
