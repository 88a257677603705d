// SPDX-License-Identifier: MIT

// WorkerPool::async_submit: what it returns, and how a coroutine waits for a place.

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/allocations.hpp"
#include "support/blocks.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::held_pool;
using testing::make_pool;
using testing::text_of;

template <class F>
Task<absl::Status> submit(WorkerPool& pool, F function, SubmitOptions options = {}) {
  const auto job = co_await pool.async_submit(std::move(function), options);
  co_return job.status();
}

template <class F>
Task<absl::StatusOr<int>> ask(WorkerPool& pool, F function) {
  auto job = co_await pool.async_submit(std::move(function));
  if (!job.ok()) co_return job.status();
  co_return co_await *job;
}

TEST_CASE("async_submit: gives the job, whatever its function returns", "[exec][async_submit]") {
  const auto pool = make_pool({.workers = 1});
  CHECK(sync_wait(ask(*pool, [] { return 42; })).value() == 42);
  CHECK(sync_wait(ask(*pool, [](const JobContext& job) { return static_cast<int>(job.job_id); })).value() == 2);
  CHECK(sync_wait(ask(*pool, [owned = std::make_unique<int>(7)] { return *owned; })).value() == 7);
  CHECK(absl::IsAborted(
      sync_wait(ask(*pool, []() -> absl::StatusOr<int> { return absl::AbortedError("no"); })).status()));
  CHECK(absl::IsInternal(sync_wait(ask(*pool, []() -> int { throw 1; })).status()));
  CHECK(sync_wait(submit(*pool, [] {}, {.tag = "a tag of more than a few characters", .priority = 3})).ok());
}

TEST_CASE("async_submit: refuses as submit does", "[exec][async_submit]") {
  RunLoop loop;
  Gate gate;
  const auto pool = held_pool(gate, {.name = "p", .queue_capacity = 1, .enqueue_timeout = 1h});
  const auto refusal = [&](SubmitOptions options) {
    return sync_wait(submit(
        *pool, [] {}, std::move(options)));
  };
  CHECK(text_of(sync_wait(submit(*pool, std::function<void()>()))) == "worker pool 'p': there is no function to call");
  CHECK(absl::IsInvalidArgument(refusal({.enqueue_timeout = -1s})));
  CHECK(pool->stats().submitted == 1);
  Job<void> first = pool->submit([] {}).value();
  CHECK(absl::IsResourceExhausted(refusal({.overflow = OverflowPolicy::kReject})));
  CHECK(absl::IsResourceExhausted(refusal({.overflow = OverflowPolicy::kDropNewest})));
  CHECK(absl::IsResourceExhausted(refusal({.enqueue_timeout = 0s})));
  CHECK(absl::IsDeadlineExceeded(refusal({.context = Context::background().with_timeout(0s)})));
  CHECK(refusal({.overflow = OverflowPolicy::kCallerRuns}).ok());
  CHECK(pool->stats().caller_runs == 1);
  CHECK(refusal({.overflow = OverflowPolicy::kDropOldest}).ok());
  CHECK(absl::IsAborted(first.get()));
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.rejected == 2);
  CHECK(stats.dropped_newest == 1);
  CHECK(stats.enqueue_timeouts == 1);
  CHECK(stats.blocked == 0);
  CHECK(discrepancies(stats).empty());
  gate.open();
  pool->shutdown(Context::background());
  CHECK(absl::IsUnavailable(refusal({})));
}

TEST_CASE("async_submit: a coroutine waits for a place and its job does not wait for the coroutine",
          "[exec][async_submit]") {
  RunLoop loop;
  Gate gate;
  std::atomic<int> ran{0};
  const auto pool = held_pool(gate, {.queue_capacity = 1, .enqueue_timeout = 1h});
  Job<void> first = pool->submit([] {}).value();
  auto second = spawn(loop, submit(*pool, [&] { ++ran; }));
  loop.run_ready();
  CHECK(pool->stats().submitting == 1);
  CHECK(pool->stats().blocked == 1);
  CHECK(discrepancies(pool->stats()).empty());
  CHECK(pool->try_submit([] {}) == OpStatus::kFull);
  CHECK(first.cancel());
  CHECK(pool->stats().submitting == 0);
  CHECK(pool->stats().queue_depth == 1);
  CHECK(pool->try_submit([] {}) == OpStatus::kFull);
  gate.open();
  CHECK(eventually([&] { return ran == 1; }));  // nobody has run the loop
  CHECK(loop.run_ready() == 1);
  CHECK(second.get().ok());
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("async_submit: without a queue a coroutine waits for a free worker", "[exec][async_submit]") {
  Gate gate;
  RunLoop loop;
  const auto pool = held_pool(gate, {.queue_capacity = 0, .enqueue_timeout = 1h});
  auto waiting = spawn(loop, ask(*pool, [] { return 1; }));
  loop.run_ready();
  REQUIRE(pool->stats().submitting == 1);
  gate.open();
  CHECK(eventually([&] {
    loop.run_ready();
    return pool->stats().succeeded == 2;
  }));
  std::thread runner([&] { loop.run(); });
  CHECK(waiting.get().value() == 1);
  loop.stop();
  runner.join();
  CHECK(pool->stats().queue_high_water == 0);
}

TEST_CASE("async_submit: a wait that takes too long ends, and says so", "[exec][async_submit]") {
  ManualClock clock;
  RunLoop loop;
  Gate gate;
  const auto pool = held_pool(gate, {.name = "openai", .queue_capacity = 0, .enqueue_timeout = 250ms, .clock = &clock});
  auto waiting = spawn(loop, submit(*pool, [] {}));
  loop.run_ready();
  clock.advance(249ms);
  CHECK(loop.run_ready() == 0);
  clock.advance(1ms);
  CHECK(loop.run_ready() == 1);
  const absl::Status status = waiting.get();
  CHECK(absl::IsDeadlineExceeded(status));
  CHECK(text_of(status) == "worker pool 'openai': queue full (capacity 0, waited 250 ms)");
  CHECK(status.GetPayload("type.penstock/stage") == absl::Cord("enqueue"));
  CHECK(pool->stats().enqueue_timeouts == 1);
  CHECK(pool->stats().submitting == 0);
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("async_submit: the caller's deadline and cancellation end the wait", "[exec][async_submit]") {
  ManualClock clock;
  ManualClock other;
  RunLoop loop;
  Gate gate;
  const auto pool = held_pool(gate, {.name = "p", .queue_capacity = 0, .enqueue_timeout = 1h, .clock = &clock});
  auto [cancelled, source] = Context(clock).with_cancel();
  const auto start = [&](Context ctx) {
    auto handle = spawn(loop, submit(*pool, [](const JobContext& /*job*/) {}, {.context = std::move(ctx)}));
    loop.run_ready();
    return handle;
  };
  auto late = start(Context(clock).with_timeout(10ms));
  auto elsewhere = start(Context(other).with_timeout(10ms));
  auto called_off = start(cancelled);
  REQUIRE(pool->stats().submitting == 3);
  clock.advance(10ms);
  other.advance(10ms);
  source.cancel(absl::AbortedError("client went away"));
  CHECK(pool->stats().submitting == 3);  // until they run
  CHECK(loop.run_ready() == 3);
  CHECK(absl::IsDeadlineExceeded(late.get()));
  CHECK(absl::IsDeadlineExceeded(elsewhere.get()));
  const absl::Status status = called_off.get();
  CHECK(absl::IsCancelled(status));
  CHECK(text_of(status) == "worker pool 'p': cancelled before the job was queued (waited 10 ms): client went away");
  CHECK(pool->stats().enqueue_timeouts == 2);
  CHECK(pool->stats().enqueue_cancelled == 1);
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("async_submit: a place does not go to a coroutine that has been cancelled", "[exec][async_submit]") {
  RunLoop loop;
  Gate gate;
  std::atomic<int> ran{0};
  const auto pool = held_pool(gate, {.queue_capacity = 0, .enqueue_timeout = 1h});
  auto [ctx, source] = Context::background().with_cancel();
  auto cancelled = spawn(loop, submit(*pool, [&] { ran += 10; }, {.context = ctx}));
  auto next = spawn(loop, submit(*pool, [&] { ++ran; }));
  loop.run_ready();
  source.cancel();
  gate.open();  // before the first one has run on
  CHECK(eventually([&] { return ran == 1; }));
  loop.run_ready();
  CHECK(absl::IsCancelled(cancelled.get()));
  CHECK(next.get().ok());
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("async_submit: a job is cancelled as one that was submitted", "[exec][async_submit]") {
  RunLoop loop;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 1, .enqueue_timeout = 1h});
  Job<void> first = pool->submit([] {}).value();
  auto [ctx, source] = Context::background().with_cancel();
  auto second = spawn(loop, submit(*pool, [] {}, {.context = ctx}));
  loop.run_ready();
  CHECK(first.cancel());
  REQUIRE(pool->stats().queue_depth == 1);
  source.cancel();
  CHECK(pool->stats().queue_depth == 0);
  CHECK(pool->stats().cancelled == 2);
  loop.run_ready();
  CHECK(second.get().ok());  // it was accepted
}

TEST_CASE("async_submit: shutdown refuses who waits", "[exec][async_submit]") {
  RunLoop loop;
  Gate gate;
  auto pool = held_pool(gate, {.name = "openai", .queue_capacity = 0, .enqueue_timeout = 1h});
  auto owned = std::make_shared<int>(1);
  std::vector<JoinHandle<absl::Status>> waiting;
  for (int i = 0; i < 100; ++i) waiting.push_back(spawn(loop, submit(*pool, [owned] {})));
  loop.run_ready();
  REQUIRE(pool->stats().submitting == 100);
  pool->shutdown(Context::background().with_timeout(0s));
  CHECK(owned.use_count() == 1);
  CHECK(pool->stats().refused_closed == 100);
  CHECK(pool->stats().submitting == 0);
  CHECK(discrepancies(pool->stats()).empty());
  gate.open();
  pool.destroy();  // needs none of them
  CHECK(loop.run_ready() == 100);
  for (auto& each : waiting) {
    const absl::Status status = each.get();
    CHECK(absl::IsUnavailable(status));
    CHECK(text_of(status) == "worker pool 'openai': shut down");
  }
}

TEST_CASE("async_submit: threads and coroutines get places in the order in which they came", "[exec][async_submit]") {
  testing::Recorder<int> order;
  RunLoop loop;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 0, .enqueue_timeout = 1h});
  std::vector<JoinHandle<absl::Status>> coroutines;
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    const auto function = [&order, i] { order.record(i); };
    if (i % 2 == 0) {
      coroutines.push_back(spawn(loop, submit(*pool, function)));
      loop.run_ready();
    } else {
      threads.emplace_back([&pool, function] { static_cast<void>(pool->submit(function)); });
    }
    REQUIRE(eventually([&] { return pool->stats().blocked == static_cast<std::uint64_t>(i) + 1; }));
  }
  gate.open();
  for (std::thread& thread : threads) thread.join();
  CHECK(eventually([&] { return order.size() == 6; }));
  CHECK(order.events() == std::vector<int>{0, 1, 2, 3, 4, 5});
  loop.run_ready();
  for (auto& each : coroutines) CHECK(each.get().ok());
}

Task<int> submit_many(WorkerPool& pool, int count) {
  int done = 0;
  for (int i = 0; i < count; ++i) {
    const auto job = co_await pool.async_submit([] {});
    if (job.ok()) ++done;
  }
  co_return done;
}

TEST_CASE("async_submit: coroutines of the pool wait for places in it", "[exec][async_submit]") {
  // With one worker and no queue each of them needs the worker for itself and for its jobs.
  for (const std::size_t capacity : {0U, 1U, 7U}) {
    const auto pool = make_pool({.workers = 1, .queue_capacity = capacity, .enqueue_timeout = 1h});
    std::vector<JoinHandle<int>> coroutines;
    for (int i = 0; i < 10; ++i) coroutines.push_back(spawn(*pool, submit_many(*pool, 100)));
    for (auto& each : coroutines) CHECK(each.get() == 100);
    pool->shutdown(Context::background());
    CHECK(pool->stats().succeeded == 1000);
    CHECK(pool->stats().blocked > 0);
    CHECK(discrepancies(pool->stats(), true).empty());
  }
}

TEST_CASE("async_submit: a wait takes no memory beside the job's", "[exec][async_submit]") {
  RunLoop loop;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 1000, .enqueue_timeout = Duration::max()});
  testing::stock_blocks();  // so that neither the frames nor the jobs are of new memory
  const auto cost = [&] {
    auto task = submit(*pool, [] {});
    const testing::Allocations before = testing::Allocations::now();
    auto handle = spawn(loop, std::move(task));
    loop.run_ready();
    return testing::Allocations::now().count - before.count;
  };
  const std::uint64_t without_wait = cost();
  REQUIRE(pool->set_queue_capacity(1).ok());
  CHECK(cost() == without_wait);
  CHECK(pool->stats().submitting == 1);
  gate.open();
  CHECK(eventually([&] { return loop.run_ready() != 0; }));
}

struct Watch : PoolObserver {
  void on_submit(const JobEvent& event) override { submitted.record(event.job_id); }
  void on_start(const JobEvent& event) override { started.record(event.job_id); }
  void on_drop(const JobEvent& event) override { dropped.record(submitted.contains(event.job_id) ? event.job_id : 0); }
  testing::Recorder<std::uint64_t> submitted;
  testing::Recorder<std::uint64_t> started;
  testing::Recorder<std::uint64_t> dropped;
};

TEST_CASE("async_submit: an observer is told of those that were accepted, once", "[exec][async_submit]") {
  using Ids = std::vector<std::uint64_t>;
  Watch watch;
  RunLoop loop;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 1, .enqueue_timeout = 1h, .observer = &watch});
  Job<void> first = pool->submit([] {}).value();
  auto second = spawn(loop, submit(*pool, [] {}));
  loop.run_ready();
  CHECK(first.cancel());  // 2
  Job<void> third;
  auto refused = spawn(loop, submit(*pool, [] {}));
  loop.run_ready();
  REQUIRE(second.get().ok());
  pool->shutdown(Context::background().with_timeout(0s));
  CHECK(loop.run_ready() == 1);
  CHECK(absl::IsUnavailable(refused.get()));
  gate.open();
  pool->shutdown(Context::background());
  CHECK(watch.submitted.events() == Ids{1, 2, 3});
  CHECK(watch.started.events() == Ids{1});
  CHECK(watch.dropped.events() == Ids{2, 3});
}

}  // namespace
}  // namespace penstock
