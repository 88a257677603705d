// SPDX-License-Identifier: MIT
// What a pool adds to a job: submitting it, running it on a worker, bringing its result back, refusing it. The rival is
// the pool that everybody writes: std::mutex, std::condition_variable, std::deque<std::function>, bounded, without
// deadlines, cancellation, results or counts. Ideal: an uncontended lock and a few cache misses for each side (about 25
// ns here), since a worker that finds the next job is never woken.
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>

#include "penstock/exec/detail/pool_figures.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/condvar_pool.hpp"
#include "support/count_down.hpp"

namespace {

using penstock::Job;
using penstock::OpStatus;
using penstock::OverflowPolicy;
using penstock::WorkerPool;

constexpr std::size_t kCapacity = 1000;
constexpr int kBatch = 10'000;

std::unique_ptr<WorkerPool> make_pool(std::int64_t workers, bool measure = true) {
  return *WorkerPool::create({.name = "bench",
                              .workers = static_cast<std::size_t>(workers),
                              .queue_capacity = kCapacity,
                              .overflow = OverflowPolicy::kBlock,
                              .enqueue_timeout = std::chrono::hours(1),
                              .measure = measure});
}

// Empty jobs whose result nobody waits for; one submitter, who waits when the queue is full.
void empty_jobs(benchmark::State& state, bool measure) {
  const auto pool = make_pool(state.range(0), measure);
  CountDown count;
  for (auto _ : state) {
    count.start(kBatch);
    for (int i = 0; i < kBatch; ++i) {
      if (pool->execute([&count] { count.hit(); }) != OpStatus::kOk) state.SkipWithError("refused");
    }
    count.wait();
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK_CAPTURE(empty_jobs, measured, true)
    ->Name("worker_pool/empty_jobs")
    ->ArgName("workers")
    ->Arg(2)
    ->Arg(16)
    ->UseRealTime();
// What measuring costs is the difference.
BENCHMARK_CAPTURE(empty_jobs, unmeasured, false)
    ->Name("worker_pool/empty_jobs_unmeasured")
    ->ArgName("workers")
    ->Arg(2)
    ->Arg(16)
    ->UseRealTime();

// What a worker records of one job: how long it waited, how long it ran, and both together; and the last part alone.
// Ideal: some stores into lines that nobody else writes.
void record_times(benchmark::State& state) {
  penstock::detail::PoolTimes times;
  auto& row = times.row(0);
  std::int64_t i = 0;
  for (auto _ : state) {
    i = (i * 25'214'903'917 + 11) & 0xffffffff;
    times.record_wait(std::chrono::nanoseconds(i >> 4));
    times.record_end(&row, std::chrono::nanoseconds(i >> 4), std::chrono::nanoseconds(i >> 12));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(record_times)->Name("worker_pool/record_times");

void record_wait_and_run(benchmark::State& state) {
  penstock::detail::WaitRunTally tally;
  std::int64_t i = 0;
  for (auto _ : state) {
    i = (i * 25'214'903'917 + 11) & 0xffffffff;
    tally.record(std::chrono::nanoseconds(i >> 4), std::chrono::nanoseconds(i >> 12));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(record_wait_and_run)->Name("worker_pool/record_wait_and_run");

// What it costs to look. Ideal: what the lines that the workers have written cost to fetch.
void stats(benchmark::State& state) {
  const auto pool = make_pool(state.range(0));
  for (int i = 0; i < kBatch; ++i) static_cast<void>(pool->execute([] {}));
  for (auto _ : state) benchmark::DoNotOptimize(pool->stats().succeeded);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(stats)->Name("worker_pool/stats")->ArgName("workers")->Arg(2)->Arg(16)->Arg(64);

// What it costs to ask what each worker does, while all of them listen. Ideal: as `stats`, and the list.
void workers(benchmark::State& state) {
  const auto pool = make_pool(state.range(0));
  for (int i = 0; i < kBatch; ++i) static_cast<void>(pool->execute([] {}));
  for (auto _ : state) benchmark::DoNotOptimize(pool->workers());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(workers)->Name("worker_pool/workers")->ArgName("workers")->Arg(2)->Arg(16)->Arg(64);

// What it costs a job to say that it waits for its back end, and that this is over. Ideal: two readings of a coarse
// clock.
void calling(benchmark::State& state) {
  const auto pool = make_pool(1);
  static_cast<void>(pool->submit([&state](const penstock::JobContext& job) {
                          for (auto _ : state) {
                            const auto call = job.calling();
                            benchmark::ClobberMemory();
                          }
                        })
                        ->get());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(calling)->Name("worker_pool/calling");

void empty_jobs_cond_var(benchmark::State& state) {
  CondVarPool pool(static_cast<std::size_t>(state.range(0)), kCapacity);
  CountDown count;
  for (auto _ : state) {
    count.start(kBatch);
    for (int i = 0; i < kBatch; ++i) pool.run([&count] { count.hit(); });
    count.wait();
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK(empty_jobs_cond_var)
    ->Name("worker_pool/empty_jobs@std_mutex_cv_deque")
    ->ArgName("workers")
    ->Arg(2)
    ->Arg(16)
    ->UseRealTime();

// The same with a result each, collected 100 at a time.
void jobs_with_results(benchmark::State& state) {
  const auto pool = make_pool(state.range(0));
  std::vector<Job<int>> jobs(100);
  for (auto _ : state) {
    for (int i = 0; i < 100; ++i) jobs[static_cast<std::size_t>(i)] = *pool->submit([i] { return i; });
    for (Job<int>& job : jobs) benchmark::DoNotOptimize(job.get());
  }
  state.SetItemsProcessed(state.iterations() * 100);
}
BENCHMARK(jobs_with_results)->Name("worker_pool/jobs_with_results")->ArgName("workers")->Arg(2)->Arg(16)->UseRealTime();

void jobs_with_results_future(benchmark::State& state) {
  CondVarPool pool(static_cast<std::size_t>(state.range(0)), kCapacity);
  std::vector<std::future<int>> futures(100);
  for (auto _ : state) {
    for (int i = 0; i < 100; ++i) {
      auto task = std::make_shared<std::packaged_task<int()>>([i] { return i; });
      futures[static_cast<std::size_t>(i)] = task->get_future();
      pool.run(std::function<void()>([task] { (*task)(); }));  // made before the lock is taken
    }
    for (std::future<int>& future : futures) benchmark::DoNotOptimize(future.get());
  }
  state.SetItemsProcessed(state.iterations() * 100);
}
BENCHMARK(jobs_with_results_future)
    ->Name("worker_pool/jobs_with_results@std_mutex_cv_deque_future")
    ->ArgName("workers")
    ->Arg(2)
    ->Arg(16)
    ->UseRealTime();

// A full queue: refusals come when we are overloaded, so they must be cheap.
void refusal(benchmark::State& state) {
  std::promise<void> gate;
  const std::shared_future<void> opened = gate.get_future().share();
  {
    const auto pool = make_pool(1);
    while (pool->try_submit([opened] { opened.wait(); }) == OpStatus::kOk) {
    }
    for (auto _ : state) benchmark::DoNotOptimize(pool->try_submit([] {}));
    gate.set_value();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(refusal)->Name("worker_pool/try_submit_refused");

void refusal_cond_var(benchmark::State& state) {
  std::promise<void> gate;
  const std::shared_future<void> opened = gate.get_future().share();
  {
    CondVarPool pool(1, kCapacity);
    while (pool.try_run([opened] { opened.wait(); })) {
    }
    for (auto _ : state) benchmark::DoNotOptimize(pool.try_run([] {}));
    gate.set_value();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(refusal_cond_var)->Name("worker_pool/try_submit_refused@std_mutex_cv_deque");

// What it takes to move a job that waits to another pool. Ideal: two lines of each job fetched, and two written.
void hand_over(benchmark::State& state, bool plain) {
  const auto jobs = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    state.PauseTiming();
    const auto make = [&] {
      auto pool = *WorkerPool::create({.name = "bench", .workers = 1, .queue_capacity = jobs, .measure = false});
      pool->pause();
      return pool;
    };
    auto from = make();
    const auto to = make();
    std::vector<Job<void>> handles;
    for (std::size_t i = 0; i < jobs; ++i) {
      if (plain) {
        if (from->execute([] {}) != OpStatus::kOk) state.SkipWithError("refused");
      } else {
        handles.push_back(*from->submit([] {}));
      }
    }
    state.ResumeTiming();
    if (from->hand_over(*to)->moved != jobs) state.SkipWithError("not all moved");
    state.PauseTiming();
    to->resume();
    to->shutdown(penstock::Context::background());
    from.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK_CAPTURE(hand_over, plain, true)
    ->Name("worker_pool/hand_over_plain")
    ->ArgName("jobs")
    ->Arg(1000)
    ->Arg(100'000);
BENCHMARK_CAPTURE(hand_over, typed, false)->Name("worker_pool/hand_over")->ArgName("jobs")->Arg(1000)->Arg(100'000);

}  // namespace

BENCHMARK_MAIN();
