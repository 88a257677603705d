// SPDX-License-Identifier: MIT
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
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

TEST_CASE("WorkerPool: a job that waits too long is answered though all workers are stuck", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  std::atomic<int> ran{0};
  const auto pool =
      held_pool(gate, {.name = "openai", .queue_wait_limit = 10s, .processing_timeout = 1h, .clock = &clock});
  const auto witness = std::make_shared<int>(0);
  Job<void> job = pool->submit([&ran, witness] { ++ran; }).value();
  clock.advance(10s - 1ns);
  CHECK_FALSE(job.is_done());
  clock.advance(1ns);
  const absl::Status status = job.get();
  CHECK(absl::IsDeadlineExceeded(status));
  CHECK(text_of(status) == "worker pool 'openai': job 2 expired in the queue after 10 s (limit 10 s)");
  CHECK(status.GetPayload("type.penstock/stage") == absl::Cord("queue"));
  CHECK(witness.use_count() == 1);
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.queue_expired == 1);
  CHECK(stats.queue_depth == 0);
  CHECK(discrepancies(stats).empty());
  gate.open();
  CHECK(eventually([&] { return pool->stats().idle == 1; }));
  CHECK(ran == 0);
}

TEST_CASE("WorkerPool: the caller's deadline holds in the queue", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = held_pool(gate, {.name = "openai", .processing_timeout = 1h, .clock = &clock});
  Job<void> patient = pool->submit([] {}).value();
  Job<void> hasty = pool->submit([] {}, {.context = Context(clock).with_timeout(1s)}).value();
  clock.advance(1s);
  const absl::Status status = hasty.get();
  CHECK(absl::IsDeadlineExceeded(status));
  CHECK(text_of(status) == "worker pool 'openai': job 3 expired in the queue after 1 s (the caller's deadline)");
  CHECK_FALSE(patient.is_done());
}

TEST_CASE("WorkerPool: a limit of the end of time never expires", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool =
      held_pool(gate, {.queue_wait_limit = Duration::max(), .processing_timeout = Duration::max(), .clock = &clock});
  Job<int> job = pool->submit([] { return 1; }).value();
  clock.advance(1000000h);
  CHECK_FALSE(job.is_done());
  gate.open();
  CHECK(job.get().value() == 1);
}

TEST_CASE("WorkerPool: who waits for a place gets that of an expired job", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = held_pool(
      gate,
      {.queue_capacity = 1, .enqueue_timeout = 1h, .queue_wait_limit = 10s, .processing_timeout = 1h, .clock = &clock});
  Job<void> expiring = pool->submit([] {}).value();
  std::atomic<bool> accepted{false};
  std::thread submitter([&] { accepted = pool->submit([] {}).ok(); });
  REQUIRE(eventually([&] { return pool->stats().submitting == 1; }));
  clock.advance(10s);
  submitter.join();
  CHECK(accepted);
  CHECK(absl::IsDeadlineExceeded(expiring.get()));
}

TEST_CASE("WorkerPool: a job that runs too long is answered at once and its result is discarded",
          "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  std::atomic<int> seen{-1};
  const auto witness = std::make_shared<int>(0);
  const auto pool = make_pool(gate, {.name = "openai", .workers = 1, .processing_timeout = 30s, .clock = &clock});
  auto submitted = pool->submit([&, witness](const JobContext& job) {
    gate.pass();
    seen = static_cast<int>(job.context.status());
    return witness;
  });
  REQUIRE(gate.await(1));
  clock.advance(30s);
  const absl::Status status = submitted->get().status();
  CHECK(absl::IsDeadlineExceeded(status));
  CHECK(text_of(status) == "worker pool 'openai': job 1 not finished after running for 30 s (limit 30 s)");
  CHECK(status.GetPayload("type.penstock/stage") == absl::Cord("run"));
  CHECK_FALSE(submitted->cancel());
  WorkerPoolStats stats = pool->stats();
  CHECK(stats.processing_timeouts == 1);
  CHECK(stats.overdue == 1);
  CHECK(stats.running == 0);
  CHECK(stats.busy == 1);
  CHECK(discrepancies(stats).empty());

  gate.open();
  CHECK(eventually([&] { return pool->stats().idle == 1; }));
  CHECK(seen == static_cast<int>(OpStatus::kTimedOut));
  CHECK(witness.use_count() == 1);  // function and result are gone, though the handle is there
  CHECK(absl::IsDeadlineExceeded(submitted->get().status()));
  stats = pool->stats();
  CHECK(stats.late_results == 1);
  CHECK(stats.succeeded == 0);
  CHECK(stats.overdue == 0);
  CHECK(discrepancies(stats).empty());
}

TEST_CASE("WorkerPool: an exception that comes late is reported and changes no answer", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .processing_timeout = 30s, .clock = &clock});
  Job<void> job = pool->submit([&] {
                        gate.pass();
                        throw std::runtime_error("late");
                      })
                      .value();
  REQUIRE(gate.await(1));
  clock.advance(30s);
  CHECK(absl::IsDeadlineExceeded(job.get()));
  gate.open();
  CHECK(eventually([&] { return pool->stats().late_results == 1; }));
  CHECK(absl::IsDeadlineExceeded(job.get()));
  CHECK(pool->stats().exceptions == 1);
  CHECK(pool->stats().panicked == 0);
}

TEST_CASE("WorkerPool: the time to run counts from the start, and is the shorter of two", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_wait_limit = 1h, .processing_timeout = 1h, .clock = &clock});
  const auto deadline = [](const JobContext& job) { return job.context.deadline(); };
  Job<TimePoint> pools = pool->submit(deadline).value();
  Job<TimePoint> own = pool->submit(deadline, {.processing_timeout = 2min}).value();
  Job<TimePoint> callers =
      pool->submit(deadline, {.context = Context(clock).with_timeout(11min), .processing_timeout = 2min}).value();
  clock.advance(10min);
  const TimePoint start = clock.now();
  gate.open();
  CHECK(pools.get().value() == start + 1h);
  CHECK(own.get().value() == start + 2min);
  CHECK(callers.get().value() == start + 1min);
}

TEST_CASE("WorkerPool: a job of a shorter time than those before it is answered in time", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 3, .processing_timeout = 1h, .clock = &clock});
  std::vector<Job<void>> jobs;
  for (const Duration limit : {Duration(30min), Duration(20min), Duration(10min)}) {
    jobs.push_back(pool->submit([&] { gate.pass(); }, {.processing_timeout = limit}).value());
  }
  REQUIRE(gate.await(3));
  for (std::size_t i = 3; i-- > 0;) {
    CHECK_FALSE(jobs[i].is_done());
    clock.advance(10min);
    CHECK(absl::IsDeadlineExceeded(jobs[i].get()));
  }
}

TEST_CASE("WorkerPool: a processing time-out reaches a context of another clock", "[exec][worker_pool]") {
  ManualClock pools;
  ManualClock callers;
  Gate gate;
  std::atomic<int> seen{-1};
  const auto pool = make_pool(gate, {.workers = 1, .processing_timeout = 30s, .clock = &pools});
  Job<void> job = pool->submit(
                          [&](const JobContext& ctx) {
                            gate.pass();
                            seen = static_cast<int>(ctx.context.status());
                          },
                          {.context = Context(callers).with_timeout(1s)})
                      .value();
  REQUIRE(gate.await(1));
  pools.advance(30s);
  CHECK(absl::IsDeadlineExceeded(job.get()));
  gate.open();
  CHECK(eventually([&] { return pool->stats().late_results == 1; }));
  CHECK(seen == static_cast<int>(OpStatus::kTimedOut));
}

TEST_CASE("WorkerPool: a worker does not start what has expired", "[exec][worker_pool]") {
  // The watching thread is kept busy by the destructor of an expired job, so the worker has to see it.
  ManualClock clock;
  Gate gate;
  Gate watcher;
  std::atomic<int> ran{0};
  struct SlowToGo {
    explicit SlowToGo(Gate* at) : gate(at) {}
    SlowToGo(SlowToGo&& other) noexcept : gate(std::exchange(other.gate, nullptr)) {}
    ~SlowToGo() {
      if (gate != nullptr) gate->pass();
    }
    void operator()() const {}
    Gate* gate;
  };
  const auto pool = held_pool(gate, {.queue_wait_limit = 10s, .processing_timeout = 1h, .clock = &clock});
  Job<void> slow = pool->submit(SlowToGo(&watcher)).value();
  clock.advance(5s);
  Job<void> expired = pool->submit([&] { ++ran; }).value();
  clock.advance(5s);
  REQUIRE(watcher.await(1));
  clock.advance(5s);
  gate.open();
  CHECK(absl::IsDeadlineExceeded(expired.get()));
  CHECK(ran == 0);
  CHECK(pool->submit([] { return 1; })->get().ok());
  watcher.open();
  CHECK(absl::IsDeadlineExceeded(slow.get()));
}

TEST_CASE("WorkerPool: a job whose caller has left does not start, told or not yet", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {});
  const auto scope = Context::background().with_cancel();
  absl::StatusOr<Job<void>> job = absl::UnknownError("");
  bool ran = false;
  // Of those who are told that the context ends this one is the first. It lets the worker go on.
  const auto first = scope.context.on_done([&]() noexcept {
    gate.open();
    static_cast<void>(eventually([&] { return job->is_done(); }));
  });
  SECTION("that takes a context") {
    job = pool->submit([&](const JobContext&) { ran = true; }, {.context = scope.context});
  }
  SECTION("that takes none") {
    job = pool->submit([&] { ran = true; }, {.context = scope.context});
  }
  scope.source.cancel();
  CHECK(absl::IsCancelled(job->get()));
  CHECK_FALSE(ran);
  CHECK(pool->stats().cancelled == 1);
}

}  // namespace
}  // namespace penstock
