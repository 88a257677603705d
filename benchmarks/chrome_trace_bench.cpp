// SPDX-License-Identifier: MIT
// What a trace adds to a job. Beside it: the same jobs without an observer, and with one that does nothing, which is
// what the pool's own share costs. Writing the text out is measured apart. Ideal: two copies of some 100 bytes.
#include <atomic>
#include <chrono>
#include <memory>
#include <ostream>
#include <streambuf>

#include <benchmark/benchmark.h>

#include "penstock/exec/chrome_trace.hpp"
#include "penstock/exec/worker_pool.hpp"

namespace {

using penstock::ChromeTrace;
using penstock::PoolObserver;
using penstock::WorkerPool;

constexpr int kBatch = 10'000;

class Nowhere : public std::streambuf {
 protected:
  std::streamsize xsputn(const char* /*text*/, std::streamsize bytes) override { return bytes; }
  int_type overflow(int_type c) override { return c; }
};

void run_batch(WorkerPool& pool) {
  std::atomic<int> left{kBatch};
  for (int i = 0; i < kBatch; ++i) {
    static_cast<void>(pool.execute([&left] {
      if (left.fetch_sub(1) == 1) left.notify_one();
    }));
  }
  for (int now = left.load(); now != 0; now = left.load()) left.wait(now);
}

std::unique_ptr<WorkerPool> make_pool(PoolObserver* observer) {
  return *WorkerPool::create({.name = "bench",
                              .workers = 2,
                              .queue_capacity = 1000,
                              .enqueue_timeout = std::chrono::hours(1),
                              .observer = observer});
}

void untraced(benchmark::State& state) {
  const auto pool = make_pool(nullptr);
  for (auto _ : state) run_batch(*pool);
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK(untraced)->Name("chrome_trace/job@no_observer")->UseRealTime();

void observed(benchmark::State& state) {
  PoolObserver nothing;
  const auto pool = make_pool(&nothing);
  for (auto _ : state) run_batch(*pool);
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK(observed)->Name("chrome_trace/job@observer_that_does_nothing")->UseRealTime();

void traced(benchmark::State& state) {
  Nowhere nowhere;
  std::ostream stream(&nowhere);
  ChromeTrace trace(stream);
  {
    const auto pool = make_pool(&trace);
    for (auto _ : state) {
      run_batch(*pool);
      state.PauseTiming();
      static_cast<void>(trace.flush());
      state.ResumeTiming();
    }
  }
  if (trace.lost() != 0) state.SkipWithError("events were lost");
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK(traced)->Name("chrome_trace/job")->UseRealTime();

// The text of a job: a wait and a slice.
void written(benchmark::State& state) {
  Nowhere nowhere;
  std::ostream stream(&nowhere);
  ChromeTrace trace(stream);
  const penstock::TimePoint at{};
  for (auto _ : state) {
    for (std::uint64_t i = 0; i < kBatch; ++i) {
      trace.on_start({"bench", i, "", at, 0, at});
      trace.on_finish({"bench", i, "", at, 0, at});
    }
    static_cast<void>(trace.flush());
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK(written)->Name("chrome_trace/record_and_write");

}  // namespace

BENCHMARK_MAIN();
