// SPDX-License-Identifier: MIT
#include "penstock/exec/job.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "exec/pool_support.hpp"
#include "penstock/core/task.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::Gate;
using testing::held_pool;
using testing::make_pool;
using testing::text_of;

TEST_CASE("Job: a value comes back as it was returned", "[exec][job]") {
  const auto pool = make_pool({.workers = 1});
  absl::StatusOr<Job<int>> job = pool->submit([] { return 17; });
  REQUIRE(job.ok());
  CHECK(job->id() == 1);
  CHECK(job->get().value() == 17);
}

TEST_CASE("Job: a function may return nothing, a status, or a value or status", "[exec][job]") {
  const auto pool = make_pool({.workers = 1});
  Job<void> nothing = pool->submit([] {}).value();
  Job<absl::Status> ok = pool->submit([] { return absl::OkStatus(); }).value();
  Job<absl::Status> missing = pool->submit([] { return absl::NotFoundError("no model"); }).value();
  Job<absl::StatusOr<int>> value = pool->submit([]() -> absl::StatusOr<int> { return 4; }).value();
  Job<absl::StatusOr<int>> refused =
      pool->submit([]() -> absl::StatusOr<int> { return absl::DataLossError("x"); }).value();
  CHECK(nothing.get() == absl::OkStatus());
  CHECK(ok.get() == absl::OkStatus());
  CHECK(missing.get() == absl::NotFoundError("no model"));
  CHECK(value.get().value() == 4);
  CHECK(refused.get().status() == absl::DataLossError("x"));
}

TEST_CASE("Job: values and functions may be movable only", "[exec][job]") {
  const auto pool = make_pool({.workers = 1});
  Job<std::unique_ptr<int>> job =
      pool->submit([owned = std::make_unique<int>(5)]() mutable { return std::move(owned); }).value();
  CHECK(*job.get().value() == 5);
}

TEST_CASE("Job: a value is taken once, an error as often as asked for", "[exec][job]") {
  const auto pool = make_pool({.workers = 1});
  Job<int> value = pool->submit([] { return 1; }).value();
  CHECK(value.get().ok());
  CHECK(absl::IsFailedPrecondition(value.get().status()));
  Job<void> error = pool->submit([](const JobContext&) { throw 1; }).value();
  CHECK(absl::IsInternal(error.get()));
  CHECK(absl::IsInternal(error.get()));
}

TEST_CASE("Job: a handle without a job is done, and says so", "[exec][job]") {
  Job<int> empty;
  CHECK(empty.is_done());
  CHECK(empty.id() == 0);
  CHECK_FALSE(empty.cancel());
  CHECK(empty.wait() == OpStatus::kOk);
  CHECK(absl::IsInvalidArgument(empty.get().status()));

  const auto pool = make_pool({.workers = 1});
  Job<int> job = pool->submit([] { return 1; }).value();
  Job<int> taken = std::move(job);
  CHECK(absl::IsInvalidArgument(job.get().status()));  // NOLINT(bugprone-use-after-move): what is tested
  CHECK(taken.get().value() == 1);
}

TEST_CASE("Job: a wait that ends early leaves the job alone", "[exec][job]") {
  ManualClock clock;
  Gate gate;
  const auto pool = make_pool(gate, {.name = "openai", .workers = 1, .clock = &clock});
  Job<int> job = pool->submit([&] { return gate.pass(), 3; }).value();

  const Context late = Context(clock).with_timeout(0s);
  CHECK(job.wait(late) == OpStatus::kTimedOut);
  const absl::Status status = job.get(late).status();
  CHECK(absl::IsDeadlineExceeded(status));
  CHECK(text_of(status) == "worker pool 'openai': waiting for job 1: timed out");

  auto [ctx, source] = Context::background().with_cancel();
  source.cancel();
  CHECK(job.wait(ctx) == OpStatus::kCancelled);
  CHECK(absl::IsCancelled(job.get(ctx).status()));

  CHECK_FALSE(job.is_done());
  gate.open();
  CHECK(job.get().value() == 3);
}

TEST_CASE("Job: a dropped handle lets the job run on", "[exec][job]") {
  std::atomic<int> ran{0};
  Gate gate;
  {
    const auto pool = make_pool(gate, {.workers = 1});
    {
      Job<void> dropped = pool->submit([&] { gate.pass(), ++ran; }).value();
    }
    CHECK(pool->try_submit([&] { ++ran; }) == OpStatus::kOk);
    gate.open();
  }
  CHECK(ran == 2);
}

TEST_CASE("Job: the handle outlives its pool", "[exec][job]") {
  Job<std::string> job;
  {
    const auto pool = make_pool({.workers = 1});
    job = pool->submit([] { return std::string("kept"); }).value();
  }
  CHECK(job.is_done());
  CHECK_FALSE(job.cancel());
  CHECK(job.get().value() == "kept");
}

TEST_CASE("Job: a queued job that is cancelled never runs", "[exec][job]") {
  Gate gate;
  std::atomic<int> ran{0};
  const auto pool = make_pool(gate, {.name = "openai", .workers = 1});
  Job<void> running = pool->submit([&] { gate.pass(); }).value();
  REQUIRE(gate.await(1));
  const auto witness = std::make_shared<int>(0);
  Job<int> queued = pool->submit([&ran, witness] { return ++ran; }).value();

  CHECK(queued.cancel());
  CHECK(queued.is_done());
  CHECK(witness.use_count() == 1);  // its function is gone with it
  CHECK_FALSE(queued.cancel());
  const absl::Status status = queued.get().status();
  CHECK(absl::IsCancelled(status));
  CHECK_THAT(text_of(status), testing::StartsWith("worker pool 'openai': job 2 cancelled in the queue after "));
  CHECK(pool->stats().cancelled == 1);
  CHECK(pool->stats().queue_depth == 0);
  gate.open();
  CHECK(running.get().ok());
  CHECK(ran == 0);
}

TEST_CASE("Job: a running job sees that it is cancelled", "[exec][job]") {
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1});
  Job<absl::Status> job = pool->submit([&](const JobContext& ctx) {
                                gate.pass();
                                return ctx.context.cause();
                              })
                              .value();
  REQUIRE(gate.await(1));
  CHECK(job.cancel());
  CHECK_FALSE(job.cancel());
  CHECK_FALSE(job.is_done());
  gate.open();
  CHECK(absl::IsCancelled(job.get()));
  CHECK(pool->stats().cancelled == 1);
  CHECK(pool->stats().failed == 0);
}

TEST_CASE("Job: a job that finishes although it was cancelled has succeeded", "[exec][job]") {
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1});
  Job<int> job = pool->submit([&] { return gate.pass(), 1; }).value();
  REQUIRE(gate.await(1));
  CHECK(job.cancel());
  gate.open();
  CHECK(job.get().value() == 1);
  CHECK(pool->stats().succeeded == 1);
}

TEST_CASE("Job: the caller's cancellation ends a queued job and reaches a running one", "[exec][job]") {
  Gate gate;
  std::atomic<int> ran{0};
  const auto pool = make_pool(gate, {.workers = 1});
  auto [ctx, source] = Context::background().with_cancel();
  Job<absl::Status> running =
      pool->submit([&](const JobContext& job) { return gate.pass(), job.context.cause(); }, {.context = ctx}).value();
  REQUIRE(gate.await(1));
  Job<void> plain = pool->submit([&] { ++ran; }, {.context = ctx}).value();
  Job<void> with_context = pool->submit([&](const JobContext&) { ++ran; }, {.context = ctx}).value();

  source.cancel(absl::AbortedError("client went away"));
  CHECK(plain.is_done());
  CHECK(with_context.is_done());
  CHECK_FALSE(running.is_done());
  CHECK(absl::IsCancelled(plain.get()));
  CHECK_THAT(text_of(with_context.get()), testing::EndsWith(": client went away"));
  gate.open();
  CHECK(running.get() == absl::AbortedError("client went away"));
  CHECK(ran == 0);
  CHECK(pool->stats().cancelled == 2);
}

TEST_CASE("Job: a job that is called off while it is being made never runs", "[exec][job]") {
  struct CancelsOnCopy {
    CancelsOnCopy(const CancelSource& cancels, std::atomic<int>* counts) : source(cancels), ran(counts) {}
    CancelsOnCopy(const CancelsOnCopy& other) : source(other.source), ran(other.ran) { source.cancel(); }
    void operator()() const { ++*ran; }
    CancelSource source;
    std::atomic<int>* ran;
  };
  std::atomic<int> ran{0};
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 1, .overflow = OverflowPolicy::kCallerRuns});
  for (int i = 0; i < 2; ++i) {
    auto [ctx, source] = Context::background().with_cancel();
    const CancelsOnCopy function(source, &ran);
    Job<void> job = pool->submit(function, {.context = ctx}).value();
    CHECK(job.is_done());
    CHECK(absl::IsCancelled(job.get()));
    CHECK(pool->stats().queue_depth == static_cast<std::size_t>(i));
    if (i == 0) CHECK(pool->try_submit([] {}) == OpStatus::kOk);  // the next one is run by its caller, or would be
  }
  CHECK(pool->stats().cancelled == 2);
  CHECK(pool->stats().caller_runs == 0);
  CHECK(ran == 0);
}

TEST_CASE("Job: a context of another clock reaches the job", "[exec][job]") {
  ManualClock pools;
  ManualClock callers;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .clock = &pools});
  const Context ctx = Context(callers).with_timeout(1s);
  Job<absl::Status> running =
      pool->submit([&](const JobContext& job) { return gate.pass(), job.context.cause(); }, {.context = ctx}).value();
  REQUIRE(gate.await(1));
  Job<void> queued = pool->submit([] {}, {.context = ctx}).value();
  callers.advance(1s);
  CHECK(absl::IsDeadlineExceeded(queued.get()));
  gate.open();
  CHECK(absl::IsDeadlineExceeded(running.get()));
}

Task<int> sum_of(WorkerPool& pool) {
  absl::StatusOr<Job<int>> first = pool.submit([] { return 1; });
  absl::StatusOr<Job<int>> second = pool.submit([] { return 2; });
  const absl::StatusOr<int> one = co_await *first;
  const absl::StatusOr<int> two = co_await second->async_get();
  co_return *one + *two;
}

TEST_CASE("Job: a coroutine awaits the answer", "[exec][job]") {
  const auto pool = make_pool({.workers = 2});
  CHECK(sync_wait(sum_of(*pool)) == 3);
  CHECK(sync_wait(spawn(*pool, sum_of(*pool))) == 3);
}

Task<absl::Status> get_within(Job<int>& job, Context ctx) { co_return (co_await job.async_get(ctx)).status(); }

TEST_CASE("Job: a coroutine's wait ends with its context", "[exec][job]") {
  ManualClock clock;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .clock = &clock});
  Job<int> job = pool->submit([&] { return gate.pass(), 1; }).value();
  RunLoop loop;
  JoinHandle<absl::Status> waiting = spawn(loop, get_within(job, Context(clock).with_timeout(1s)));
  loop.run_ready();
  clock.advance(1s);
  loop.run_ready();
  CHECK(absl::IsDeadlineExceeded(waiting.get()));
  gate.open();
  CHECK(sync_wait(get_within(job, Context::background())).ok());
}

// A coroutine that starts at once and is destroyed by its owner, wherever it is.
struct Scope {
  struct promise_type {
    Scope get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
  std::coroutine_handle<promise_type> coroutine;
};

Scope await_once(Job<int>& job) { static_cast<void>(co_await job); }

TEST_CASE("Job: a coroutine may be destroyed while it waits", "[exec][job]") {
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1});
  Job<int> job = pool->submit([&] { return gate.pass(), 1; }).value();
  await_once(job).coroutine.destroy();
  gate.open();
  CHECK(job.get().value() == 1);
}

TEST_CASE("Job: several threads wait for the same job", "[exec][job]") {
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1});
  Job<int> job = pool->submit([&] { return gate.pass(), 1; }).value();
  std::atomic<int> served{0};
  std::thread first([&] { served += job.wait() == OpStatus::kOk; });
  std::thread second([&] { served += job.wait() == OpStatus::kOk; });
  gate.open();
  first.join();
  second.join();
  CHECK(served == 2);
  CHECK(job.get().value() == 1);
}

}  // namespace
}  // namespace penstock
