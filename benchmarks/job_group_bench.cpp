// SPDX-License-Identifier: MIT
// What a group and a continuation add to a job. Beside them: the same jobs, awaited one after the other by a thread.
// Ideal: an allocation and two short locks for a group; two posts and two allocations for a continuation.
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "penstock/exec/job_group.hpp"

namespace {

using penstock::Job;
using penstock::JobGroup;
using penstock::JoinHandle;
using penstock::WorkerPool;

constexpr int kBatch = 1000;

std::unique_ptr<WorkerPool> make_pool() {
  return *WorkerPool::create({.name = "bench", .workers = 2, .queue_capacity = kBatch});
}

void one_by_one(benchmark::State& state) {
  const auto pool = make_pool();
  std::vector<Job<int>> jobs(kBatch);
  for (auto _ : state) {
    for (int i = 0; i < kBatch; ++i) jobs[static_cast<std::size_t>(i)] = *pool->submit([i] { return i; });
    for (Job<int>& job : jobs) benchmark::DoNotOptimize(job.get());
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK(one_by_one)->Name("job_group/wait_all@one_by_one")->UseRealTime();

void group_of_jobs(benchmark::State& state) {
  const auto pool = make_pool();
  JobGroup<int> group;
  for (auto _ : state) {
    for (int i = 0; i < kBatch; ++i) group.submit(*pool, [i] { return i; });
    benchmark::DoNotOptimize(group.wait_all());
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK(group_of_jobs)->Name("job_group/wait_all")->UseRealTime();

void continued(benchmark::State& state) {
  const auto pool = make_pool();
  std::vector<JoinHandle<int>> ends;
  for (auto _ : state) {
    for (int i = 0; i < kBatch; ++i) {
      Job<int> job = *pool->submit([i] { return i; });
      ends.push_back(std::move(job).then(*pool, [](absl::StatusOr<int> answer) { return *answer + 1; }));
    }
    for (JoinHandle<int>& end : ends) benchmark::DoNotOptimize(end.get());
    ends.clear();
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK(continued)->Name("job_group/then")->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
