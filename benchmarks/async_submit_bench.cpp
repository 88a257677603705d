// SPDX-License-Identifier: MIT
// What waiting for a place costs a coroutine, beside a thread that does the same with `submit`; both drop the handles
// of empty jobs. With places enough it is the price of a suspension that does not happen. With few, the coroutine is
// suspended for most jobs, and the thread is put to sleep. And what `async_retry_on` adds to a call that succeeds.
#include <chrono>
#include <cstdint>
#include <memory>

#include <benchmark/benchmark.h>

#include "penstock/core/task.hpp"
#include "penstock/exec/pool_retry.hpp"
#include "penstock/exec/worker_pool.hpp"

namespace {

using penstock::Retrier;
using penstock::RetryAttempt;
using penstock::sync_wait;
using penstock::Task;
using penstock::WorkerPool;

constexpr int kBatch = 10'000;

std::unique_ptr<WorkerPool> make_pool(std::int64_t capacity) {
  return *WorkerPool::create({.name = "bench",
                              .workers = 2,
                              .queue_capacity = static_cast<std::size_t>(capacity),
                              .enqueue_timeout = std::chrono::hours(1)});
}

Task<int> submit_batch(WorkerPool& pool) {
  int accepted = 0;
  for (int i = 0; i < kBatch; ++i) {
    const auto job = co_await pool.async_submit([] {});
    accepted += job.ok() ? 1 : 0;
  }
  co_return accepted;
}

// Ideal: that of submit.
void async_submit(benchmark::State& state) {
  const auto pool = make_pool(state.range(0));
  for (auto _ : state) {
    if (sync_wait(submit_batch(*pool)) != kBatch) state.SkipWithError("refused");
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}

// The coroutine runs on the pool whose places it waits for.
void async_submit_on_pool(benchmark::State& state) {
  const auto pool = make_pool(state.range(0));
  for (auto _ : state) {
    if (spawn(*pool, submit_batch(*pool)).get() != kBatch) state.SkipWithError("refused");
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}

void submit(benchmark::State& state) {
  const auto pool = make_pool(state.range(0));
  for (auto _ : state) {
    int accepted = 0;
    for (int i = 0; i < kBatch; ++i) accepted += pool->submit([] {}).ok() ? 1 : 0;
    if (accepted != kBatch) state.SkipWithError("refused");
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK(async_submit)->Name("async_submit/jobs")->ArgName("capacity")->Arg(100'000)->Arg(10)->UseRealTime();
BENCHMARK(async_submit_on_pool)
    ->Name("async_submit/jobs_on_pool")
    ->ArgName("capacity")
    ->Arg(100'000)
    ->Arg(10)
    ->UseRealTime();
BENCHMARK(submit)->Name("async_submit/jobs@submit")->ArgName("capacity")->Arg(100'000)->Arg(10)->UseRealTime();

Task<int> call_batch(WorkerPool& pool, Retrier& retrier) {
  int succeeded = 0;
  for (int i = 0; i < kBatch; ++i) {
    const auto answer = co_await async_retry_on(pool, retrier, [](const RetryAttempt&) { return absl::OkStatus(); });
    succeeded += answer.ok() ? 1 : 0;
  }
  co_return succeeded;
}

Task<int> ask_batch(WorkerPool& pool) {
  int succeeded = 0;
  for (int i = 0; i < kBatch; ++i) {
    auto job = co_await pool.async_submit([](const penstock::JobContext&) { return absl::OkStatus(); });
    const absl::Status answer = co_await *job;
    succeeded += answer.ok() ? 1 : 0;
  }
  co_return succeeded;
}

// Calls one after the other, on the pool. Ideal: those of the rival, which submits and awaits each job, and a frame.
void retry_on(benchmark::State& state) {
  const auto pool = make_pool(100);
  Retrier retrier;
  for (auto _ : state) {
    if (spawn(*pool, call_batch(*pool, retrier)).get() != kBatch) state.SkipWithError("failed");
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}
void without_retry(benchmark::State& state) {
  const auto pool = make_pool(100);
  for (auto _ : state) {
    if (spawn(*pool, ask_batch(*pool)).get() != kBatch) state.SkipWithError("failed");
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK(retry_on)->Name("async_submit/retry_on")->UseRealTime();
BENCHMARK(without_retry)->Name("async_submit/retry_on@submit_and_await")->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
