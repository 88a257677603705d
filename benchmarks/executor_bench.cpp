// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>

#include <condition_variable>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>

#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/executor.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/core/work_stealing_executor.hpp"

namespace {

using penstock::Executor;
using penstock::RunLoop;
using penstock::Task;
using penstock::Work;
using penstock::WorkStealingExecutor;

/// Suspends the coroutine behind everything that is posted already.
class Again : Work {
 public:
  Again() noexcept : Work([](Work& work) noexcept { static_cast<Again&>(work).coroutine_.resume(); }) {}
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> coroutine) noexcept {
    coroutine_ = coroutine;
    penstock::detail::executor_of(coroutine).post(*this);
  }
  void await_resume() const noexcept {}

 private:
  std::coroutine_handle<> coroutine_;
};

Task<> take_turns(std::int64_t turns) {
  for (; turns > 0; --turns) co_await Again();
}

/// What one would write by hand: a queue of handles under a mutex.
class MutexLoop {
 public:
  void post(std::coroutine_handle<> coroutine) {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(coroutine);
    }
    changed_.notify_one();
  }
  void run_ready() {
    for (;;) {
      std::coroutine_handle<> next;
      {
        const std::lock_guard lock(mutex_);
        if (queue_.empty()) return;
        next = queue_.front();
        queue_.pop_front();
      }
      next.resume();
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::coroutine_handle<>> queue_;
};

struct Plain {
  struct promise_type {
    Plain get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept {}
  };
};

struct AgainOn {
  MutexLoop& loop;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> coroutine) const { loop.post(coroutine); }
  void await_resume() const noexcept {}
};

Plain take_turns_on(MutexLoop& loop, std::int64_t turns) {
  for (; turns > 0; --turns) co_await AgainOn{loop};
}

constexpr std::int64_t kTurns = 100'000;

// What: two coroutines take turns on one thread: post, take and resume. Ideal: a coroutine's resume, 2.4 ns.
void run_loop_turn(benchmark::State& state) {
  for (auto _ : state) {
    RunLoop loop;
    const auto first = spawn(loop, take_turns(kTurns));
    const auto second = spawn(loop, take_turns(kTurns));
    loop.run_ready();
  }
  state.SetItemsProcessed(state.iterations() * 2 * kTurns);
}
BENCHMARK(run_loop_turn)->Name("executor/turn:run_loop");

void mutex_loop_turn(benchmark::State& state) {
  for (auto _ : state) {
    MutexLoop loop;
    take_turns_on(loop, kTurns);
    take_turns_on(loop, kTurns);
    loop.run_ready();
  }
  state.SetItemsProcessed(state.iterations() * 2 * kTurns);
}
BENCHMARK(mutex_loop_turn)->Name("executor/turn@mutex_and_deque");

// What: the same on an executor with threads. Ideal: as above, since one thread does it all.
void work_stealing_turn(benchmark::State& state) {
  WorkStealingExecutor executor(static_cast<std::size_t>(state.range(0)), "bench");
  for (auto _ : state) {
    auto first = spawn(executor, take_turns(kTurns));
    auto second = spawn(executor, take_turns(kTurns));
    first.get();
    second.get();
  }
  state.SetItemsProcessed(state.iterations() * 2 * kTurns);
}
BENCHMARK(work_stealing_turn)->Name("executor/turn:work_stealing")->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime();

// What: work from outside, until it has run; the thread sleeps meanwhile or has just begun to. Ideal: two wake-ups.
void work_stealing_visit(benchmark::State& state) {
  WorkStealingExecutor executor(static_cast<std::size_t>(state.range(0)), "bench");
  for (auto _ : state) spawn(executor, take_turns(0)).get();
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(work_stealing_visit)->Name("executor/visit:work_stealing")->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime();

// What: work is posted inline, and runs at once. Ideal: a call.
void inline_turn(benchmark::State& state) {
  for (auto _ : state) {
    const auto only = spawn(Executor::inline_executor(), take_turns(kTurns));
  }
  state.SetItemsProcessed(state.iterations() * kTurns);
}
BENCHMARK(inline_turn)->Name("executor/turn:inline");

}  // namespace
