// SPDX-License-Identifier: MIT
// What the retry policy costs a call while all is well, which is nearly always, and what a failure and a wait cost.
// Ideal: two counts and one load for a call; for a wait, arming and firing one timer and resuming one coroutine.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <mutex>

#include <benchmark/benchmark.h>

#include "penstock/channel/ticker.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/exec/retry.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::Context;
using penstock::ManualClock;
using penstock::Retrier;
using penstock::RetryAttempt;
using penstock::RetryBudget;
using penstock::RetryOptions;
using penstock::RunLoop;
using penstock::Task;
using penstock::TimePoint;

constexpr TimePoint kNow{1h};

/// The token bucket as it is usually written.
class LockedBudget {
 public:
  LockedBudget(double ratio, double capacity) : ratio_(ratio), capacity_(capacity), tokens_(capacity) {}
  void deposit() {
    const std::lock_guard lock(mutex_);
    tokens_ = std::min(capacity_, tokens_ + ratio_);
  }
  bool try_withdraw(TimePoint /*now*/) {
    const std::lock_guard lock(mutex_);
    if (tokens_ < 1) return false;
    tokens_ -= 1;
    return true;
  }

 private:
  std::mutex mutex_;
  const double ratio_;
  const double capacity_;
  double tokens_;
};

// The deposit of a call whose budget is full, as in a healthy system. Ideal: one load of a line nobody writes.
template <class Budget>
void deposit_full(benchmark::State& state, Budget& budget) {
  for (auto _ : state) budget.deposit();
  state.SetItemsProcessed(state.iterations());
}
void deposit_ours(benchmark::State& state) {
  static RetryBudget budget({.ratio = 0.1, .capacity = 100, .per_second = 1});
  deposit_full(state, budget);
}
void deposit_locked(benchmark::State& state) {
  static LockedBudget budget(0.1, 100);
  deposit_full(state, budget);
}
BENCHMARK(deposit_ours)->Name("retry/deposit_full")->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(deposit_locked)->Name("retry/deposit_full@mutex")->ThreadRange(1, 2)->UseRealTime();

// A call that deposits one token and a retry that takes it: every operation writes. Ideal: two atomic additions.
template <class Budget>
void deposit_withdraw(benchmark::State& state, Budget& budget) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(budget.try_withdraw(kNow));
    budget.deposit();
  }
  state.SetItemsProcessed(state.iterations());
}
void storm_ours(benchmark::State& state) {
  static RetryBudget budget({.ratio = 1, .capacity = 100, .per_second = 0});
  deposit_withdraw(state, budget);
}
void storm_locked(benchmark::State& state) {
  static LockedBudget budget(1, 100);
  deposit_withdraw(state, budget);
}
BENCHMARK(storm_ours)->Name("retry/withdraw_deposit")->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(storm_locked)->Name("retry/withdraw_deposit@mutex")->ThreadRange(1, 2)->UseRealTime();

// All that a successful first attempt pays.
void success(benchmark::State& state) {
  static Retrier retrier;
  for (auto _ : state) {
    benchmark::DoNotOptimize(retrier.begin(1));
    retrier.succeeded(1);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(success)->Name("retry/begin_succeeded")->ThreadRange(1, 2)->UseRealTime();

// A failure that is decided on: verdict, wait, deadline, budget, figures.
void failure(benchmark::State& state) {
  static Retrier retrier({.budget = {.ratio = 1, .capacity = 1'000'000}});
  const absl::Status status = absl::UnavailableError("refused");
  for (auto _ : state) {
    benchmark::DoNotOptimize(retrier.begin(1));
    benchmark::DoNotOptimize(retrier.after_failure(1, status, kNow));
    benchmark::DoNotOptimize(retrier.begin(2));
    retrier.succeeded(2);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(failure)->Name("retry/failure_success")->ThreadRange(1, 2)->UseRealTime();

Task<absl::Status> attempt(absl::Status status) { co_return status; }

Task<> calls(benchmark::State& state, Retrier* retrier, Context ctx) {
  for (auto _ : state) {
    if (retrier == nullptr) {
      benchmark::DoNotOptimize(co_await attempt(absl::OkStatus()));
    } else {
      benchmark::DoNotOptimize(co_await async_retry(
          *retrier, [](const RetryAttempt&) { return attempt(absl::OkStatus()); }, ctx));
    }
  }
}

// A call that succeeds at once, through async_retry and without. Ideal: one frame more.
void async_success(benchmark::State& state) {
  Retrier retrier;
  sync_wait(calls(state, &retrier, Context::background()));
  state.SetItemsProcessed(state.iterations());
}
void async_plain(benchmark::State& state) {
  sync_wait(calls(state, nullptr, Context::background()));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(async_success)->Name("retry/async_success");
BENCHMARK(async_plain)->Name("retry/async_success@plain");

Task<> waits(std::int64_t count, ManualClock& clock, bool by_channel) {
  const Context ctx(clock);
  for (std::int64_t wait = 0; wait < count; ++wait) {
    if (by_channel) {
      penstock::After after(1s, clock);
      TimePoint now;
      benchmark::DoNotOptimize(co_await after.channel().async_receive(now, ctx));
    } else {
      co_await penstock::detail::RetryWait(ctx.with_timeout(1s));
    }
  }
}

// One wait of a coroutine, from suspending to being resumed. Ideal: a timer and a resumption. Beside it, the same wait
// with a channel on which the time arrives.
void wait_with(benchmark::State& state, bool by_channel) {
  ManualClock clock;
  RunLoop loop;
  const auto handle = spawn(loop, waits(static_cast<std::int64_t>(state.max_iterations), clock, by_channel));
  loop.run_ready();
  for (auto _ : state) {
    clock.advance(1s);
    loop.run_ready();
  }
  state.SetItemsProcessed(state.iterations());
}
void wait_ours(benchmark::State& state) { wait_with(state, false); }
void wait_channel(benchmark::State& state) { wait_with(state, true); }
BENCHMARK(wait_ours)->Name("retry/async_wait");
BENCHMARK(wait_channel)->Name("retry/async_wait@after");

}  // namespace
