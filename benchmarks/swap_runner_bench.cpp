// SPDX-License-Identifier: MIT
// What a swap runner costs: the way of a request for a model that is ready, there and back. The client decides it
// itself, so the ideal is what the decisions take. The rivals: the same scheduler behind a mutex, and a thread that
// answers each question, for which two threads have to be woken.
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>
#include <variant>

#include <benchmark/benchmark.h>

#include "penstock/swap/decision_log.hpp"
#include "penstock/swap/swap_runner.hpp"
#include "penstock/swap/swap_scheduler.hpp"

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

penstock::SwapSchedulerOptions one_model() {
  penstock::SwapSchedulerOptions options;
  options.models = {{.name = "a", .concurrency_limit = 1'000'000}};
  return options;
}

SwapRunner& runner() {
  static SwapRunner* const one =
      new SwapRunner(SwapRunnerOptions{.scheduler = one_model(), .backend = std::make_shared<Backend>()});
  return *one;
}

SwapRunner& recorded_runner() {
  static auto* const log = new penstock::DecisionLog(one_model());
  static SwapRunner* const one = new SwapRunner(
      SwapRunnerOptions{.scheduler = one_model(), .backend = std::make_shared<Backend>(), .observer = log});
  return *one;
}

/// What one writes by hand around a scheduler whose models take turns: each request has its condition variable.
class Locked {
 public:
  Locked() : scheduler_(one_model()) {
    scheduler_.on_model_state(penstock::ModelId{0}, penstock::ModelState::kReady, now(), actions_);
    actions_.clear();
  }

  struct Request {
    penstock::TicketId ticket{};
    bool is_granted = false;
    std::condition_variable changed;
  };
  std::shared_ptr<Request> acquire() {
    auto request = std::make_shared<Request>();
    std::unique_lock lock(mutex_);
    request->ticket = scheduler_.on_request({.model = penstock::ModelId{0}}, now(), actions_);
    waiting_.emplace(static_cast<std::uint64_t>(request->ticket), request);
    carry_out();
    request->changed.wait(lock, [&] { return request->is_granted; });
    return request;
  }
  void release(const Request& request) {
    const std::lock_guard lock(mutex_);
    scheduler_.on_serve_done(request.ticket, now(), actions_);
    carry_out();
  }

 private:
  static penstock::TimePoint now() { return penstock::Clock::steady().now(); }
  void carry_out() {
    for (const penstock::SwapAction& action : actions_) {
      const auto* const grant = std::get_if<penstock::GrantTicket>(&action);
      if (grant == nullptr) continue;
      const auto found = waiting_.find(static_cast<std::uint64_t>(grant->ticket));
      found->second->is_granted = true;
      found->second->changed.notify_one();
      waiting_.erase(found);
    }
    actions_.clear();
  }

  std::mutex mutex_;
  penstock::SwapScheduler scheduler_;
  penstock::SwapActions actions_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Request>> waiting_;
};

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

// What: ask for a model that is ready, get the lease, end it. Ideal: two decisions of the scheduler.
void swap_runner_acquire(benchmark::State& state) {
  SwapRunner& asked = runner();
  for (auto _ : state) benchmark::DoNotOptimize(asked.acquire(penstock::ModelId{0}));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(swap_runner_acquire)->Name("swap_runner/acquire")->Threads(1)->Threads(2)->Threads(4)->UseRealTime();

// What: the same with a decision log. Ideal: recording both events.
void swap_runner_acquire_recorded(benchmark::State& state) {
  SwapRunner& asked = recorded_runner();
  for (auto _ : state) benchmark::DoNotOptimize(asked.acquire(penstock::ModelId{0}));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(swap_runner_acquire_recorded)->Name("swap_runner/acquire_recorded")->Threads(1)->Threads(4)->UseRealTime();

// What: the same of a scheduler behind a mutex.
void swap_runner_acquire_locked(benchmark::State& state) {
  static Locked* const locked = new Locked;
  for (auto _ : state) locked->release(*locked->acquire());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(swap_runner_acquire_locked)
    ->Name("swap_runner/acquire@locked")
    ->Threads(1)
    ->Threads(2)
    ->Threads(4)
    ->UseRealTime();

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
