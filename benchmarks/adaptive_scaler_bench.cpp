// SPDX-License-Identifier: MIT
// What scaling costs, each time that it looks: once a second for each pool, and nothing for each job.
// Ideal: decisions of some ten ns, so that thousands can be simulated; a look that costs what the pool's stats do.
#include <cstddef>

#include <benchmark/benchmark.h>

#include "penstock/exec/adaptive_scaler.hpp"
#include "penstock/exec/worker_pool.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::ScalingOptions;
using penstock::ScalingPolicy;
using penstock::ScalingSample;

void decide_with(benchmark::State& state, const ScalingOptions& options) {
  ScalingSample sample;
  sample.workers = 10;
  sample.queue_utilization = 0.1;
  sample.worker_utilization = 0.8;
  sample.average_response = 500ms;
  sample.samples = 100;
  sample.arrival_rate = sample.peak_rate = 16;
  sample.mean_run = 500ms;
  for (auto _ : state) {
    benchmark::DoNotOptimize(sample);
    benchmark::DoNotOptimize(decide(options, sample));
  }
  state.SetItemsProcessed(state.iterations());
}

// What: one decision, by demand, by thresholds, and by the document's arithmetic, the simplest there is.
void decide_by_demand(benchmark::State& state) { decide_with(state, {}); }
void decide_by_thresholds(benchmark::State& state) { decide_with(state, {.policy = ScalingPolicy::kThresholds}); }
void decide_by_document(benchmark::State& state) { decide_with(state, ScalingOptions::document()); }
BENCHMARK(decide_by_demand)->Name("scaling/decide");
BENCHMARK(decide_by_thresholds)->Name("scaling/decide@thresholds");
BENCHMARK(decide_by_document)->Name("scaling/decide@document");

// What: a sample from what a pool counts.
void meter_sample(benchmark::State& state) {
  const ScalingOptions options;
  penstock::PoolFigures figures{.workers = 10, .busy = 8, .queue_capacity = 100};
  penstock::TimePoint now{1h};
  penstock::ScalingMeter meter(now);
  for (auto _ : state) {
    now += 1s;
    figures.arrivals += 16;
    figures.started += 16;
    figures.finished += 16;
    figures.wait_total += 1s;
    figures.run_total += 8s;
    benchmark::DoNotOptimize(meter.sample(options, figures, now));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(meter_sample)->Name("scaling/sample");

// What: a look at an idle pool of ten workers, beside what its stats alone cost.
void scaler_evaluate(benchmark::State& state) {
  const auto pool = penstock::WorkerPool::create({.name = "bench"});
  penstock::ScalableWorkerPool scalable(**pool);
  penstock::AdaptiveScaler scaler(scalable, {.min_workers = 10});
  for (auto _ : state) benchmark::DoNotOptimize(scaler.evaluate());
  state.SetItemsProcessed(state.iterations());
}
void pool_stats(benchmark::State& state) {
  const auto pool = penstock::WorkerPool::create({.name = "bench"});
  for (auto _ : state) benchmark::DoNotOptimize((*pool)->stats());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(scaler_evaluate)->Name("scaling/evaluate");
BENCHMARK(pool_stats)->Name("scaling/evaluate@stats");

}  // namespace
