// SPDX-License-Identifier: MIT
#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include "exec/pool_support.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::make_pool;
using testing::text_of;

TEST_CASE("WorkerPool: a worker does not wait for a job of its own pool", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1});
  struct Seen {
    OpStatus wait;
    absl::Status get;
    std::uint64_t id;
  };
  const auto seen = pool->submit([&pool] {
                          Job<int> inner = pool->submit([] { return 7; }).value();
                          const OpStatus waited = inner.wait();
                          return Seen{waited, inner.get().status(), inner.id()};
                        })
                        .value()
                        .get();
  REQUIRE(seen.ok());
  CHECK(seen->wait == OpStatus::kFull);
  CHECK(seen->get.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(text_of(seen->get) ==
        "worker pool 'p': a worker of the pool must not wait for job " + std::to_string(seen->id) + " of it");
  CHECK(eventually([&] { return pool->stats().succeeded == 2; }));
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("WorkerPool: a worker may take an answer of its own pool that is there", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 2});
  const int value = pool->submit([&pool] {
                          Job<int> inner = pool->submit([] { return 7; }).value();
                          static_cast<void>(eventually([&inner] { return inner.is_done(); }));
                          return inner.get().value_or(0);
                        })
                        .value()
                        .get()
                        .value();
  CHECK(value == 7);
}

TEST_CASE("WorkerPool: a job may wait for a job of another pool", "[exec][worker_pool]") {
  const auto pool = make_pool({.name = "outer", .workers = 1});
  const auto other = make_pool({.name = "other", .workers = 1});
  Job<int> job = pool->submit([&other] { return other->submit([] { return 7; }).value().get().value(); }).value();
  CHECK(job.get().value() == 7);
}

TEST_CASE("WorkerPool: under kHelp a waiting worker runs the job itself", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1, .inside_wait = InsideWait::kHelp});
  std::atomic<bool> in_same_thread{false};
  Job<int> outer = pool->submit([&] {
                         const std::thread::id me = std::this_thread::get_id();
                         Job<int> inner = pool->submit([&in_same_thread, me](const JobContext& job) {
                                                in_same_thread = std::this_thread::get_id() == me && job.worker_id == 0;
                                                return 7;
                                              })
                                              .value();
                         return inner.get().value_or(0);
                       })
                       .value();
  CHECK(outer.get().value() == 7);
  CHECK(in_same_thread);
  REQUIRE(eventually([&] { return pool->stats().busy == 0; }));
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.succeeded == 2);
  CHECK(stats.caller_runs == 1);
  CHECK(discrepancies(stats, true).empty());
}

TEST_CASE("WorkerPool: under kHelp jobs wait for jobs, a hundred deep, with one worker", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1, .inside_wait = InsideWait::kHelp});
  std::function<absl::StatusOr<int>(int)> sum = [&](int depth) -> absl::StatusOr<int> {
    if (depth == 0) return 0;
    auto inner = pool->submit([&sum, depth] { return sum(depth - 1); });
    if (!inner.ok()) return inner.status();
    const absl::StatusOr<int> rest = inner->get();
    if (!rest.ok()) return rest.status();
    return depth + *rest;
  };
  const absl::StatusOr<int> total = pool->submit([&sum] { return sum(100); }).value().get();
  REQUIRE(total.ok());
  CHECK(*total == 5050);
  REQUIRE(eventually([&] { return pool->stats().busy == 0; }));
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.succeeded == 101);
  CHECK(stats.caller_runs == 100);
  CHECK(discrepancies(stats, true).empty());
}

TEST_CASE("WorkerPool: under kHelp a job that runs elsewhere is waited for", "[exec][worker_pool]") {
  Gate gate;
  Gate waits;
  const auto pool = make_pool(gate, {.workers = 2, .inside_wait = InsideWait::kHelp});
  Job<int> elsewhere = pool->submit([&gate] {
                             gate.pass();
                             return 7;
                           })
                           .value();
  REQUIRE(gate.await(1));
  waits.open();
  Job<int> outer = pool->submit([&] {
                         waits.pass();
                         return elsewhere.get().value_or(0);
                       })
                       .value();
  REQUIRE(waits.await(1));
  CHECK_FALSE(outer.is_done());
  gate.open();
  CHECK(outer.get().value() == 7);
  CHECK(pool->stats().caller_runs == 0);
}

TEST_CASE("WorkerPool: under kHelp a waiter elsewhere gets the answer of who helped", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .inside_wait = InsideWait::kHelp});
  absl::Status inner_answer;
  Job<void> outer = pool->submit([&] {
                          Job<void> inner = pool->submit([]() -> void { throw std::runtime_error("boom"); }).value();
                          inner_answer = inner.get();
                        })
                        .value();
  CHECK(outer.get().ok());
  CHECK(inner_answer.code() == absl::StatusCode::kInternal);
  CHECK(pool->stats().panicked == 1);
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("WorkerPool: under kHelp a wait whose context has ended gives the job up", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 2, .clock = &clock, .inside_wait = InsideWait::kHelp});
  Job<void> elsewhere = pool->submit([&gate] { gate.pass(); }).value();
  REQUIRE(gate.await(1));
  Job<OpStatus> outer = pool->submit([&] { return elsewhere.wait(Context(clock).with_timeout(1s)); }).value();
  REQUIRE(eventually([&] { return clock.armed() >= 2; }));  // the watch, and the wait
  clock.advance(1s);
  CHECK(outer.get().value() == OpStatus::kTimedOut);
}

TEST_CASE("WorkerPool: a helped job that outruns its time is answered", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .clock = &clock, .inside_wait = InsideWait::kHelp});
  absl::Status inner_answer;
  Job<void> outer = pool->submit([&] {
                          Job<void> inner = pool->submit([&gate] { gate.pass(); }, {.processing_timeout = 5s}).value();
                          inner_answer = inner.get();
                        })
                        .value();
  REQUIRE(gate.await(1));
  clock.advance(5s);
  REQUIRE(eventually([&] { return pool->stats().processing_timeouts == 1; }));
  CHECK(discrepancies(pool->stats()).empty());
  gate.open();
  CHECK(outer.get().ok());
  CHECK(inner_answer.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(pool->stats().late_results == 1);
}

TEST_CASE("WorkerPool: a job does not wait for its own answer, not even under kHelp", "[exec][worker_pool]") {
  Gate gate;
  std::optional<Job<OpStatus>> itself;
  const auto pool = make_pool(gate, {.workers = 1, .inside_wait = InsideWait::kHelp});
  SECTION("that a worker runs") {
    itself = pool->submit([&] {
                   gate.pass();
                   return itself->wait();
                 })
                 .value();
    REQUIRE(gate.await(1));
    gate.open();
  }
  SECTION("that a waiting worker runs") {
    Job<void> outer = pool->submit([&] {
                            itself = pool->submit([&] { return itself->wait(); }).value();
                            static_cast<void>(itself->wait());
                          })
                          .value();
    REQUIRE(outer.get().ok());
  }
  CHECK(itself->get().value() == OpStatus::kFull);
}

TEST_CASE("WorkerPool: a job that a waiting worker takes out of the queue makes room", "[exec][worker_pool]") {
  Gate gate;
  Gate blocked;
  const auto pool =
      make_pool(gate, {.workers = 1, .queue_capacity = 1, .enqueue_timeout = 1h, .inside_wait = InsideWait::kHelp});
  Job<bool> outer = pool->submit([&] {
                          Job<void> inner = pool->submit([&gate] { gate.pass(); }).value();
                          blocked.pass();
                          return inner.get().ok();
                        })
                        .value();
  REQUIRE(blocked.await(1));
  std::thread submitter([&] { static_cast<void>(pool->execute([] {})); });
  REQUIRE(eventually([&] { return pool->stats().submitting == 1; }));
  blocked.open();
  REQUIRE(gate.await(1));  // the inner job runs, so its place is free
  CHECK(eventually([&] { return pool->stats().submitting == 0; }));
  gate.open();
  submitter.join();
  CHECK(outer.get().value());
}

}  // namespace
}  // namespace penstock
