// SPDX-License-Identifier: MIT
// What a swap runner costs: the way of a request for a model that is ready, there and back. Two threads have to be
// woken for it, the runner's and the client's, so the ideal is two wake-ups; the rival is just that: a thread that
// answers each question through a mutex and a condition variable.
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include <benchmark/benchmark.h>

#include "penstock/swap/swap_runner.hpp"

namespace {

using penstock::SwapRunner;
using penstock::SwapRunnerOptions;
using penstock::SwapTask;

struct Backend : penstock::SwapBackend {
  void attach(const penstock::ModelTable&, penstock::ModelStateReport given) override { report = std::move(given); }
  void begin(SwapTask task) override {
    for (const penstock::ModelId model : task.to_stop()) report(model, penstock::ModelState::kStopped);
    if (task.target() != penstock::kNoModel) report(task.target(), penstock::ModelState::kReady);
    std::move(task).done(absl::OkStatus());
  }
  penstock::ModelStateReport report;
};

SwapRunner& runner() {
  static SwapRunner* const one = [] {
    SwapRunnerOptions options{.backend = std::make_shared<Backend>()};
    options.scheduler.models = {{.name = "a", .concurrency_limit = 1'000'000}};
    return new SwapRunner(std::move(options));
  }();
  return *one;
}

/// A thread that says yes.
class Answerer {
 public:
  Answerer() : thread_([this] { run(); }) {}
  ~Answerer() {
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    came_.notify_one();
    thread_.join();
  }

  void ask() {
    Question question;
    {
      const std::lock_guard lock(mutex_);
      questions_.push_back(&question);
    }
    came_.notify_one();
    std::unique_lock lock(question.mutex);
    question.answered.wait(lock, [&] { return question.is_answered; });
  }

 private:
  struct Question {
    std::mutex mutex;
    std::condition_variable answered;
    bool is_answered = false;
  };

  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      came_.wait(lock, [this] { return ends_ || !questions_.empty(); });
      if (questions_.empty()) return;
      Question& question = *questions_.front();
      questions_.pop_front();
      const std::lock_guard answering(question.mutex);
      question.is_answered = true;
      question.answered.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<Question*> questions_;
  bool ends_ = false;
  std::thread thread_;
};

// What: ask for a model that is ready, get the lease, end it. Ideal: two wake-ups.
void swap_runner_acquire(benchmark::State& state) {
  SwapRunner& asked = runner();
  for (auto _ : state) benchmark::DoNotOptimize(asked.acquire(penstock::ModelId{0}));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(swap_runner_acquire)->Name("swap_runner/acquire")->Threads(1)->Threads(4)->UseRealTime();

// What: the same of a thread that decides nothing.
void swap_runner_acquire_rival(benchmark::State& state) {
  static Answerer answerer;
  for (auto _ : state) answerer.ask();
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(swap_runner_acquire_rival)
    ->Name("swap_runner/acquire@condition_variable")
    ->Threads(1)
    ->Threads(4)
    ->UseRealTime();

// What: ask without waiting, and take it back. Ideal: one allocation and two short locks.
void swap_runner_submit_cancel(benchmark::State& state) {
  SwapRunner& asked = runner();
  for (auto _ : state) benchmark::DoNotOptimize(asked.submit(penstock::ModelId{0}));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(swap_runner_submit_cancel)->Name("swap_runner/submit_cancel")->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
