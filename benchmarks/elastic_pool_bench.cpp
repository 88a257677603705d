// SPDX-License-Identifier: MIT
// What it takes until a task runs: given to a worker that has just become idle, or has slept for a while; in a burst of
// tasks that all block; and one of many short ones. The rivals: a std::thread for each task, which is what an elastic
// pool stands for, and the pool that everybody writes, with a mutex and a condition variable (of a fixed size, so it is
// no rival where tasks block). Ideal: to a worker that looks for work, one line of the cache from processor to
// processor, some 100 ns; to one that sleeps, one wake-up by the system; for a burst, the time to make the threads.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include "penstock/exec/elastic_pool.hpp"
#include "support/condvar_pool.hpp"
#include "support/count_down.hpp"

namespace {

using penstock::ElasticPool;
using penstock::OpStatus;
using Time = std::chrono::steady_clock;

/// Each hands a task over; the task may outlive the call.
struct Elastic {
  template <class F>
  void run(F task) {
    if (pool.execute(std::move(task)) != OpStatus::kOk) std::abort();
  }
  ElasticPool pool{{.name = "bench", .min_workers = 2}};
};
struct CondVar {
  template <class F>
  void run(F task) {
    pool.run(std::move(task));
  }
  CondVarPool pool{2, 1000};
};
struct Threads {
  template <class F>
  void run(F task) {
    if (last.joinable()) last.join();
    last = std::thread(std::move(task));
  }
  ~Threads() {
    if (last.joinable()) last.join();
  }
  std::thread last;
};

// From the call until the task runs. The submitter waits for it without sleeping, and then for `pause`.
template <class Pool>
void until_start(benchmark::State& state, std::chrono::microseconds pause) {
  Pool pool;
  std::vector<double> nanoseconds;
  std::atomic<std::int64_t> started{0};
  for (auto _ : state) {
    const auto resume = Time::now() + pause;
    if (pause.count() != 0) std::this_thread::sleep_until(resume);
    started.store(0, std::memory_order_relaxed);
    const auto begin = Time::now();
    pool.run([&started] { started.store(Time::now().time_since_epoch().count(), std::memory_order_release); });
    std::int64_t at = 0;
    while ((at = started.load(std::memory_order_acquire)) == 0) {
    }
    const auto took = Time::time_point(Time::duration(at)) - begin;
    nanoseconds.push_back(static_cast<double>(took.count()));
    state.SetIterationTime(std::chrono::duration<double>(took).count());
  }
  std::sort(nanoseconds.begin(), nanoseconds.end());
  state.counters["p50_ns"] = nanoseconds[nanoseconds.size() / 2];
  state.counters["p99_ns"] = nanoseconds[nanoseconds.size() * 99 / 100];
}
using namespace std::chrono_literals;
constexpr auto until_start_elastic = until_start<Elastic>;
constexpr auto until_start_condvar = until_start<CondVar>;
constexpr auto until_start_threads = until_start<Threads>;
BENCHMARK_CAPTURE(until_start_elastic, warm, 0us)->Name("elastic_pool/until_start_warm")->UseManualTime();
BENCHMARK_CAPTURE(until_start_condvar, warm, 0us)->Name("elastic_pool/until_start_warm@condvar")->UseManualTime();
BENCHMARK_CAPTURE(until_start_threads, warm, 0us)->Name("elastic_pool/until_start_warm@thread")->UseManualTime();
BENCHMARK_CAPTURE(until_start_elastic, asleep, 300us)
    ->Name("elastic_pool/until_start_asleep")
    ->UseManualTime()
    ->Iterations(3000);
BENCHMARK_CAPTURE(until_start_condvar, asleep, 300us)
    ->Name("elastic_pool/until_start_asleep@condvar")
    ->UseManualTime()
    ->Iterations(3000);
BENCHMARK_CAPTURE(until_start_threads, asleep, 300us)
    ->Name("elastic_pool/until_start_asleep@thread")
    ->UseManualTime()
    ->Iterations(3000);

/// Where the tasks of a burst block.
class Door {
 public:
  void pass() {
    inside.fetch_add(1, std::memory_order_release);
    std::unique_lock lock(mutex_);
    opened_.wait(lock, [this] { return open_; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    opened_.notify_all();
  }
  std::atomic<std::int64_t> inside{0};

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool open_ = false;
};

// From the first task of a burst until the last one runs, where none of them ends before.
void burst(benchmark::State& state) {
  for (auto _ : state) {
    Door door;
    ElasticPool pool({.name = "bench"});
    const auto begin = Time::now();
    for (std::int64_t i = 0; i < state.range(0); ++i) {
      if (pool.execute([&door] { door.pass(); }) != OpStatus::kOk) state.SkipWithError("refused");
    }
    while (door.inside.load(std::memory_order_acquire) != state.range(0)) std::this_thread::yield();
    state.SetIterationTime(std::chrono::duration<double>(Time::now() - begin).count());
    door.open();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(burst)->Name("elastic_pool/burst")->ArgName("tasks")->Arg(100)->Arg(1000)->Arg(10'000)->UseManualTime();

void burst_of_threads(benchmark::State& state) {
  for (auto _ : state) {
    Door door;
    std::vector<std::thread> threads;
    const auto begin = Time::now();
    for (std::int64_t i = 0; i < state.range(0); ++i) threads.emplace_back([&door] { door.pass(); });
    while (door.inside.load(std::memory_order_acquire) != state.range(0)) std::this_thread::yield();
    state.SetIterationTime(std::chrono::duration<double>(Time::now() - begin).count());
    door.open();
    for (std::thread& thread : threads) thread.join();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(burst_of_threads)
    ->Name("elastic_pool/burst@thread")
    ->ArgName("tasks")
    ->Arg(100)
    ->Arg(1000)
    ->Arg(10'000)
    ->UseManualTime();

// The same burst again, with the workers of the first one idle.
void burst_again(benchmark::State& state) {
  ElasticPool pool({.name = "bench"});
  for (auto _ : state) {
    Door door;
    const auto begin = Time::now();
    for (std::int64_t i = 0; i < state.range(0); ++i) {
      if (pool.execute([&door] { door.pass(); }) != OpStatus::kOk) state.SkipWithError("refused");
    }
    while (door.inside.load(std::memory_order_acquire) != state.range(0)) std::this_thread::yield();
    state.SetIterationTime(std::chrono::duration<double>(Time::now() - begin).count());
    door.open();
    while (pool.stats().busy != 0) std::this_thread::yield();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(burst_again)->Name("elastic_pool/burst_again")->ArgName("tasks")->Arg(100)->Arg(1000)->UseManualTime();

// One submitter of short tasks: how long each takes, and how many workers they take.
void short_tasks(benchmark::State& state) {
  constexpr int kBatch = 100'000;
  double most = 0;
  for (auto _ : state) {
    ElasticPool pool({.name = "bench"});
    CountDown count;
    count.start(kBatch);
    const auto begin = Time::now();
    for (int i = 0; i < kBatch; ++i) {
      if (pool.execute([&count] { count.hit(); }) != OpStatus::kOk) state.SkipWithError("refused");
    }
    count.wait();
    state.SetIterationTime(std::chrono::duration<double>(Time::now() - begin).count());
    most = std::max(most, static_cast<double>(pool.stats().peak));
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
  state.counters["workers"] = most;
}
BENCHMARK(short_tasks)->Name("elastic_pool/short_tasks")->UseManualTime();

}  // namespace
