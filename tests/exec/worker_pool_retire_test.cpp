// SPDX-License-Identifier: MIT

// Workers that go since their job has thrown: what waits for the pool meanwhile goes on.

#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <thread>

#include "exec/pool_support.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::is_closed;
using testing::make_pool;

void boom() { throw std::runtime_error("boom"); }

Task<absl::StatusCode> submits(WorkerPool& pool, std::atomic<int>& arrived) {
  const SubmitOptions options{.enqueue_timeout = 5s};
  ++arrived;
  co_return (co_await pool.async_submit([] {}, options)).status().code();
}

TEST_CASE("WorkerPool: a pool whose last worker has retired, and has no successor, can be destroyed",
          "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  std::atomic<int> starts{0};
  std::atomic<int> arrived{0};
  auto pool = make_pool(gate, {.workers = 1,
                               .queue_capacity = 2,
                               .shutdown_timeout = 0s,
                               .clock = &clock,
                               .on_worker_start =
                                   [&starts](std::size_t) {
                                     return ++starts == 1 ? absl::OkStatus() : absl::UnavailableError("no database");
                                   },
                               .retire_worker_after_panic = true});
  pool->post([&gate] { gate.pass(); });
  REQUIRE(gate.await(1));
  REQUIRE(pool->execute(boom) == OpStatus::kOk);
  Job<void> queued = pool->submit([] {}).value();
  // Both get in line, for the queue is full; the job that throws leaves a place to the first one.
  auto first = spawn(*pool, submits(*pool, arrived));
  auto second = spawn(*pool, submits(*pool, arrived));
  gate.open();
  REQUIRE(eventually([&] { return pool->stats().worker_failures == 1; }));
  CHECK(arrived == 2);
  CHECK(pool->stats().live == 0);
  CHECK(pool->stats().submitting == 1);
  clock.advance(5s);  // now the second one is to be told so, which the pool itself would have to do
  pool.destroy();
  CHECK(absl::IsCancelled(queued.get()));
  CHECK(first.get() == absl::StatusCode::kOk);
  CHECK(second.get() == absl::StatusCode::kDeadlineExceeded);
}

TEST_CASE("WorkerPool: a shutdown in one worker waits for the jobs that the successor of another one will run",
          "[exec][worker_pool]") {
  Gate shuts_down;
  Gate throws;
  Gate start;
  std::atomic<int> starts{0};
  std::atomic<int> ran{0};
  std::optional<ShutdownReport> report;
  auto pool = make_pool(start, {.workers = 2,
                                .queue_capacity = 10,
                                .on_worker_start =
                                    [&](std::size_t) {
                                      if (++starts == 3) start.pass();
                                      return absl::OkStatus();
                                    },
                                .retire_worker_after_panic = true});
  Job<void> closer = pool->submit([&] {
                           shuts_down.pass();
                           report = pool->shutdown(Context::background());
                         })
                         .value();
  REQUIRE(pool->execute([&] {
    throws.pass();
    boom();
  }) == OpStatus::kOk);
  const bool both_run = shuts_down.await(1) && throws.await(1);
  for (int i = 0; i < 3; ++i) CHECK(pool->execute([&ran] { ++ran; }) == OpStatus::kOk);
  shuts_down.open();
  CHECK(eventually([&] { return is_closed(*pool); }));
  throws.open();
  REQUIRE(both_run);
  CHECK(start.await(1));
  CHECK(pool->stats().live == 1);
  start.open();
  CHECK(closer.get().ok());
  CHECK(ran == 3);
  CHECK(report->is_drained());
  CHECK(discrepancies(pool->stats()).empty());
}

Gate* end_of_thread = nullptr;

struct SlowToGo {
  ~SlowToGo() { end_of_thread->pass(); }
  int touched = 0;
};

TEST_CASE("WorkerPool: a thread that is slow to end holds up its successor alone", "[exec][worker_pool]") {
  ManualClock clock;
  Gate end;
  Gate runs;
  end_of_thread = &end;
  auto pool = make_pool(end, {.workers = 2, .clock = &clock, .retire_worker_after_panic = true});
  REQUIRE(pool->execute([] {
    thread_local SlowToGo slow;
    ++slow.touched;
    boom();
  }) == OpStatus::kOk);
  REQUIRE(end.await(1));
  Job<void> slow = pool->submit([&runs] { runs.pass(); }, {.processing_timeout = 5s}).value();
  CHECK(runs.await(1));
  clock.advance(5s);
  CHECK(eventually([&] { return slow.is_done(); }));
  CHECK(pool->stats().live == 1);
  runs.open();
  end.open();
  CHECK(absl::IsDeadlineExceeded(slow.get()));
  CHECK(eventually([&] { return pool->stats().live == 2; }));
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("WorkerPool: a worker goes, too, if a job that it ran for another one has thrown", "[exec][worker_pool]") {
  auto pool = make_pool({.workers = 1, .retire_worker_after_panic = true, .inside_wait = InsideWait::kHelp});
  Job<bool> outer = pool->submit([&pool] { return pool->submit(boom).value().get().ok(); }).value();
  CHECK_FALSE(outer.get().value());
  CHECK(pool->submit([] { return 7; }).value().get().value() == 7);
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.caller_runs == 1);
  CHECK(stats.panicked == 1);
  CHECK(stats.workers_retired == 1);
  CHECK(discrepancies(stats).empty());
}

}  // namespace
}  // namespace penstock
