// SPDX-License-Identifier: MIT
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::held_pool;
using testing::make_pool;
using testing::text_of;

// Whether what was posted has run: then an idle worker has looked for work, and
// left the jobs alone.
bool runs_posted(WorkerPool& pool) {
  std::atomic<bool> ran{false};
  pool.post([&ran] { ran = true; });
  return eventually([&] { return ran.load(); });
}

TEST_CASE("WorkerPool: a paused pool accepts jobs and starts none", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 2});
  pool->pause();
  CHECK(pool->stats().paused);
  Job<int> first = pool->submit([] { return 1; }).value();
  Job<int> second = pool->submit([] { return 2; }).value();
  CHECK(pool->execute([] {}) == OpStatus::kOk);
  CHECK(runs_posted(*pool));
  CHECK_FALSE(first.is_done());
  WorkerPoolStats stats = pool->stats();
  CHECK(stats.started == 0);
  CHECK(stats.accepted == 3);
  CHECK(discrepancies(stats).empty());
  pool->pause();  // it is paused
  pool->resume();
  CHECK(first.get().value() == 1);
  CHECK(second.get().value() == 2);
  CHECK(eventually([&] { return pool->stats().succeeded == 3; }));
  pool->resume();  // it runs
  stats = pool->stats();
  CHECK_FALSE(stats.paused);
  CHECK(discrepancies(stats).empty());
}

TEST_CASE("WorkerPool: a job that runs goes on in a pause", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1});
  Job<int> running = pool->submit([&gate] {
                           gate.pass();
                           return 7;
                         })
                         .value();
  REQUIRE(gate.await(1));
  pool->pause();
  Job<void> queued = pool->submit([] {}).value();
  gate.open();
  CHECK(running.get().value() == 7);
  CHECK(runs_posted(*pool));
  CHECK_FALSE(queued.is_done());
  pool->resume();
  CHECK(queued.get().ok());
}

TEST_CASE("WorkerPool: jobs expire in a pause", "[exec][worker_pool]") {
  ManualClock clock;
  const auto pool = make_pool({.workers = 1, .queue_wait_limit = 10s, .clock = &clock});
  pool->pause();
  std::atomic<bool> ran{false};
  Job<void> job = pool->submit([&ran] { ran = true; }).value();
  Job<void> own = pool->submit([&ran] { ran = true; }, {.queue_wait_limit = 4s}).value();
  clock.advance(4s - 1ns);
  CHECK_FALSE(own.is_done());
  clock.advance(1ns);
  CHECK(text_of(own.get()) == "worker pool 'p': job 2 expired in the queue after 4 s (limit 4 s)");
  CHECK_FALSE(job.is_done());
  clock.advance(6s);
  CHECK(job.get().code() == absl::StatusCode::kDeadlineExceeded);
  pool->resume();
  CHECK_FALSE(ran);
  CHECK(pool->stats().queue_expired == 2);
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("WorkerPool: jobs are cancelled in a pause", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1});
  pool->pause();
  std::atomic<bool> ran{false};
  Job<void> job = pool->submit([&ran] { ran = true; }).value();
  auto [context, source] = Context::background().with_cancel();
  Job<void> other = pool->submit([&ran] { ran = true; }, {.context = context}).value();
  CHECK(job.cancel());
  CHECK(job.get().code() == absl::StatusCode::kCancelled);
  source.cancel();
  CHECK(other.get().code() == absl::StatusCode::kCancelled);
  pool->resume();
  CHECK(runs_posted(*pool));
  CHECK_FALSE(ran);
  CHECK(pool->stats().cancelled == 2);
}

TEST_CASE("WorkerPool: a shutdown ends a pause and runs what was accepted", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1});
  pool->pause();
  Job<int> job = pool->submit([] { return 7; }).value();
  const ShutdownReport report = pool->shutdown(Context::background());
  CHECK(report.is_drained());
  CHECK(report.completed == 1);
  CHECK(job.get().value() == 7);
  pool->pause();  // has come too late
  CHECK_FALSE(pool->stats().paused);
}

TEST_CASE(
    "WorkerPool: a paused pool is full when its places and its free "
    "workers are promised",
    "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 2, .queue_capacity = 1, .overflow = OverflowPolicy::kReject});
  pool->pause();
  for (int i = 0; i < 3; ++i) CHECK(pool->execute([] {}) == OpStatus::kOk);
  CHECK(pool->execute([] {}) == OpStatus::kFull);
  CHECK(discrepancies(pool->stats()).empty());
  pool->resume();
  CHECK(eventually([&] { return pool->stats().succeeded == 3; }));
}

// Submitters on threads of their own, which wait for a place. They end with the intake of the pool at the latest.
class Submitters {
 public:
  explicit Submitters(WorkerPool& pool) : pool_(pool) {}
  Submitters(const Submitters&) = delete;
  Submitters& operator=(const Submitters&) = delete;
  ~Submitters() {
    pool_.shutdown(Context::background());
    for (std::thread& thread : threads_) thread.join();
  }

  /// One more; returns when it stands in line behind the others.
  void add() {
    const std::uint64_t before = pool_.stats().blocked;
    threads_.emplace_back([this] {
      if (pool_.execute([] {}) == OpStatus::kOk) ++accepted_;
    });
    REQUIRE(eventually([&] { return pool_.stats().blocked == before + 1; }));
  }
  [[nodiscard]] bool await_accepted(int count) const {
    return eventually([&] { return accepted_ == count; });
  }
  [[nodiscard]] int accepted() const { return accepted_; }

 private:
  WorkerPool& pool_;
  std::atomic<int> accepted_{0};
  std::vector<std::thread> threads_;
};

TEST_CASE("WorkerPool: in a pause a larger queue has room at once, for who is blocked first", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1, .queue_capacity = 0, .enqueue_timeout = 1h});
  pool->pause();
  CHECK(pool->execute([] {}) == OpStatus::kOk);  // for the free worker
  Submitters submitters(*pool);
  submitters.add();
  submitters.add();
  CHECK(pool->try_submit([] {}) == OpStatus::kFull);

  CHECK(pool->set_queue_capacity(1).ok());
  CHECK(pool->try_submit([] {}) == OpStatus::kFull);  // the place is promised to the first in line, if not yet taken
  CHECK(submitters.await_accepted(1));
  WorkerPoolStats stats = pool->stats();
  CHECK(stats.submitting == 1);
  CHECK(stats.queue_depth == 1);
  CHECK(discrepancies(stats).empty());

  CHECK(pool->set_queue_capacity(3).ok());
  CHECK(pool->try_submit([] {}) == OpStatus::kOk);  // nobody is left in line: one place for the second, one for this
  CHECK(pool->try_submit([] {}) == OpStatus::kFull);
  CHECK(submitters.await_accepted(2));
  stats = pool->stats();
  CHECK(stats.submitting == 0);
  CHECK(stats.queue_depth == 3);
  CHECK(stats.started == 0);
  CHECK(stats.paused);
  CHECK(discrepancies(stats).empty());

  pool->resume();
  CHECK(eventually([&] { return pool->stats().succeeded == 4; }));
}

TEST_CASE("WorkerPool: in a pause a smaller queue refuses at once, and lets nobody in before enough has left",
          "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1, .queue_capacity = 3, .enqueue_timeout = 1h});
  pool->pause();
  Job<void> jobs[3];
  for (Job<void>& job : jobs) job = pool->submit([] {}).value();  // one for the free worker, two places of three
  CHECK(pool->set_queue_capacity(1).ok());
  CHECK(pool->try_submit([] {}) == OpStatus::kFull);
  CHECK(pool->stats().queue_depth == 2);  // they stay
  Submitters submitters(*pool);
  submitters.add();

  CHECK(jobs[2].cancel());  // the queue is as long as it may be
  CHECK(pool->try_submit([] {}) == OpStatus::kFull);
  CHECK(pool->stats().submitting == 1);
  CHECK(pool->set_queue_capacity(0).ok());
  CHECK(jobs[1].cancel());
  CHECK(pool->try_submit([] {}) == OpStatus::kFull);  // the one that is left has the free worker
  CHECK(pool->stats().submitting == 1);
  CHECK(submitters.accepted() == 0);

  CHECK(jobs[0].cancel());
  CHECK(pool->try_submit([] {}) == OpStatus::kFull);  // the worker is promised to who was blocked
  CHECK(submitters.await_accepted(1));
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.submitting == 0);
  CHECK(stats.queue_depth == 0);
  CHECK(stats.queue_capacity == 0);
  CHECK(stats.started == 0);

  pool->resume();
  CHECK(eventually([&] { return pool->stats().succeeded == 1; }));
}

TEST_CASE("WorkerPool: a larger queue has room for who was blocked", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 0, .enqueue_timeout = 1h});
  std::atomic<int> accepted{0};
  std::thread submitters[3];
  for (std::thread& submitter : submitters) {
    submitter = std::thread([&] {
      if (pool->execute([] {}) == OpStatus::kOk) ++accepted;
    });
  }
  CHECK(eventually([&] { return pool->stats().submitting == 3; }));
  CHECK(pool->set_queue_capacity(2).ok());
  CHECK(eventually([&] { return accepted == 2; }));
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.queue_depth == 2);
  CHECK(stats.submitting == 1);
  CHECK(stats.queue_capacity == 2);
  CHECK(discrepancies(stats).empty());
  CHECK(pool->set_queue_capacity(3).ok());
  for (std::thread& submitter : submitters) submitter.join();
  CHECK(accepted == 3);
}

TEST_CASE(
    "WorkerPool: a smaller queue keeps what waits, and has room only "
    "when enough has left",
    "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 4, .overflow = OverflowPolicy::kReject});
  Job<void> jobs[4];
  for (Job<void>& job : jobs) job = pool->submit([] {}).value();
  CHECK(pool->set_queue_capacity(2).ok());
  CHECK(pool->stats().queue_depth == 4);
  for (std::size_t left = 3; left >= 2; --left) {
    CHECK(jobs[left].cancel());
    CHECK(pool->execute([] {}) == OpStatus::kFull);
  }
  CHECK(jobs[1].cancel());
  CHECK(pool->execute([] {}) == OpStatus::kOk);
  CHECK(pool->execute([] {}) == OpStatus::kFull);
  CHECK(pool->stats().queue_depth == 2);
  CHECK(pool->stats().queue_high_water == 4);
  gate.open();
  CHECK(jobs[0].get().ok());
}

TEST_CASE("WorkerPool: a queue that cannot be is refused", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1});
  CHECK(text_of(pool->set_queue_capacity(1'000'001)) ==
        "worker pool 'p': queue_capacity must be in [0, 1000000], got 1000001");
  CHECK(pool->stats().queue_capacity == 100);
}

TEST_CASE("WorkerPool: how deep its queue was is not forgotten", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1, .queue_capacity = 10});
  pool->pause();
  for (int i = 0; i < 5; ++i) REQUIRE(pool->execute([] {}) == OpStatus::kOk);
  const std::size_t deepest = pool->stats().queue_high_water;
  CHECK(deepest == pool->stats().queue_depth);
  pool->resume();
  CHECK(pool->shutdown(Context::background()).is_drained());
  CHECK(pool->stats().queue_high_water == deepest);
}

}  // namespace
}  // namespace penstock
