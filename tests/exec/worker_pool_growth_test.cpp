// SPDX-License-Identifier: MIT
#include <array>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"
#include "support/threads.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::hold;
using testing::make_pool;
using testing::Recorder;
using testing::threads_of;

TEST_CASE("WorkerPool: a stuck worker is replaced until its job ends", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  Recorder<std::size_t> stopped;
  auto pool = make_pool(gate, {.workers = 1,
                               .processing_timeout = 30s,
                               .clock = &clock,
                               .on_worker_stop = [&stopped](std::size_t id) { stopped.record(id); },
                               .max_replacements = 1});
  Job<void> stuck = pool->submit([&gate] { gate.pass(); }).value();
  REQUIRE(gate.await(1));
  clock.advance(30s);
  CHECK(stuck.get().code() == absl::StatusCode::kDeadlineExceeded);
  REQUIRE(eventually([&] { return pool->stats().live == 2; }));
  WorkerPoolStats stats = pool->stats();
  CHECK(stats.configured == 1);
  CHECK(stats.stuck == 1);
  CHECK(stats.replacements == 1);
  CHECK(stats.workers_replaced == 1);
  CHECK(stats.overdue == 1);
  CHECK(discrepancies(stats).empty());
  CHECK(pool->submit([] { return 7; }).value().get().value() == 7);

  gate.open();
  CHECK(eventually([&] { return pool->stats().live == 1 && pool->stats().retiring == 0; }));
  CHECK(eventually([&] { return stopped.size() == 1; }));
  CHECK(eventually([&] { return threads_of("p") == 2; }));
  stats = pool->stats();
  CHECK(stats.stuck == 0);
  CHECK(stats.replacements == 0);
  CHECK(stats.late_results == 1);
  CHECK(discrepancies(stats).empty());
  CHECK(pool->submit([] { return 7; }).value().get().value() == 7);
}

TEST_CASE("WorkerPool: a worker whose job has thrown is replaced, where that is wanted", "[exec][worker_pool]") {
  const bool retires = GENERATE(false, true);
  Recorder<std::size_t> started;
  Recorder<std::size_t> stopped;
  auto pool = make_pool({.workers = 1,
                         .on_worker_start =
                             [&started](std::size_t id) {
                               started.record(id);
                               return absl::OkStatus();
                             },
                         .on_worker_stop = [&stopped](std::size_t id) { stopped.record(id); },
                         .retire_worker_after_panic = retires});
  thread_local int of_thread = 0;
  const auto next = [] { return ++of_thread; };
  CHECK(pool->submit(next).value().get().value() == 1);
  CHECK(pool->submit(next).value().get().value() == 2);
  CHECK_FALSE(pool->submit([]() -> absl::Status { return absl::InternalError("not thrown"); }).value().get().ok());
  CHECK(pool->submit(next).value().get().value() == 3);
  SECTION("the job is answered") {
    CHECK_FALSE(pool->submit([]() -> int { throw std::runtime_error("boom"); }).value().get().ok());
  }
  SECTION("the job is not") {
    CHECK(pool->execute([] { throw std::runtime_error("boom"); }) == OpStatus::kOk);
  }
  CHECK(pool->submit(next).value().get().value() == (retires ? 1 : 4));
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.panicked == 1);
  CHECK(stats.workers_retired == (retires ? 1 : 0));
  CHECK(stats.live == 1);
  CHECK(stats.configured == 1);
  CHECK(discrepancies(stats).empty());
  CHECK(started.size() == (retires ? 2 : 1));
  CHECK(stopped.size() == (retires ? 1 : 0));
  pool.destroy();
  CHECK(stopped.size() == started.size());
}

TEST_CASE("WorkerPool: no more stuck workers are replaced than the options say", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 3, .processing_timeout = 30s, .clock = &clock, .max_replacements = 2});
  hold(*pool, gate, 3);
  REQUIRE(gate.await(3));
  clock.advance(30s);
  REQUIRE(eventually([&] { return pool->stats().live == 5; }));
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.stuck == 3);
  CHECK(stats.replacements == 2);
  CHECK(stats.busy == 3);
  CHECK(discrepancies(stats).empty());
  gate.open();
  CHECK(eventually([&] { return pool->stats().live == 3 && pool->stats().stuck == 0; }));
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("WorkerPool: growth and stuck workers together keep to max_workers and max_replacements",
          "[exec][worker_pool]") {
  constexpr std::size_t kLargest = 3 + 2;
  ManualClock clock;
  std::array<Gate, 2> gates;
  auto pool = make_pool({.workers = 1,
                         .queue_capacity = 100,
                         .queue_wait_limit = Duration::max(),
                         .processing_timeout = 30s,
                         .clock = &clock,
                         .max_workers = 3,
                         .max_replacements = 2});
  const testing::OpenAtEnd at_end(gates);
  const auto look = [&] {
    const WorkerPoolStats stats = pool->stats();
    CHECK(stats.live + stats.joining <= kLargest);
    CHECK(stats.configured <= 3);
    CHECK(stats.replacements <= 2);
    CHECK(discrepancies(stats).empty());
    return stats;
  };
  // One job after the other gets stuck, and the queue behind it makes the pool grow meanwhile.
  hold(*pool, gates[0], 20);
  for (int at_work = 1; at_work <= static_cast<int>(kLargest); ++at_work) {
    REQUIRE(gates[0].await(at_work));
    look();
    clock.advance(10s);
  }
  // From here on nothing can come that a worker more would not have to do.
  hold(*pool, gates[0], 20);
  for (int i = 0; i < 10; ++i) {
    clock.advance(10s);
    for (int looks = 0; looks < 100; ++looks) look();
  }
  REQUIRE(eventually([&] { return look().stuck == kLargest; }));
  const WorkerPoolStats stats = look();
  CHECK(stats.live == kLargest);
  CHECK(stats.busy == kLargest);
  CHECK(threads_of("p") <= kLargest + 1);  // and the watch
  CHECK(gates[0].arrived() == static_cast<int>(kLargest));

  // Who ends makes room for one, not for two.
  gates[0].open();
  hold(*pool, gates[1], 10);
  REQUIRE(gates[1].await(3));
  look();
  clock.advance(30s);
  REQUIRE(gates[1].await(static_cast<int>(kLargest)));
  for (int looks = 0; looks < 100; ++looks) look();
  gates[1].open();
  CHECK(eventually([&] { return look().stuck == 0 && pool->stats().queue_depth == 0; }));
}

TEST_CASE("WorkerPool: a worker that comes when it is not needed any more is nobody's place", "[exec][worker_pool]") {
  ManualClock clock;
  std::array<Gate, 3> gates;  // of the first job, of the second one, and of the worker
  auto pool = make_pool({.workers = 1,
                         .queue_capacity = 0,
                         .clock = &clock,
                         .on_worker_start =
                             [&gates](std::size_t id) {
                               if (id == 1) gates[2].pass();
                               return absl::OkStatus();
                             },
                         .max_replacements = 1});
  const testing::OpenAtEnd at_end(gates);
  hold(*pool, gates[0]);
  REQUIRE(gates[0].await(1));
  clock.advance(30s);
  REQUIRE(gates[2].await(1));
  gates[0].open();  // it takes so long to come that the stuck worker is back before
  REQUIRE(eventually([&] { return pool->stats().stuck == 0; }));
  hold(*pool, gates[1]);
  REQUIRE(gates[1].await(1));
  // A coroutine's job is in the queue in the same step in which it is given a place.
  JoinHandle<int> blocked = spawn(Executor::inline_executor(), [](WorkerPool& of) -> Task<int> {
    absl::StatusOr<Job<int>> job = co_await of.async_submit([] { return 7; });
    co_return job.ok() ? (co_await *job).value_or(0) : 0;
  }(*pool));
  REQUIRE(pool->stats().blocked == 1);
  gates[2].open();
  CHECK(eventually([&] { return pool->stats().live == 1 && pool->stats().joining == 0; }));
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.accepted == 2);
  CHECK(stats.submitting == 1);
  CHECK(discrepancies(stats).empty());
  gates[1].open();
  CHECK(blocked.get() == 7);
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("WorkerPool: without replacements a stuck worker is only counted", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .processing_timeout = 30s, .clock = &clock});
  hold(*pool, gate);
  REQUIRE(gate.await(1));
  clock.advance(30s - 1ns);
  CHECK(pool->stats().stuck == 0);
  clock.advance(1ns);
  CHECK(eventually([&] { return pool->stats().stuck == 1; }));
  CHECK(pool->stats().live == 1);
  CHECK(pool->stats().replacements == 0);
}

// Lets the first `workers` start, and others only when it is told to.
struct Luck {
  explicit Luck(int workers) : left(workers) {}
  absl::Status start() {
    ++asked;
    return left-- > 0 ? absl::OkStatus() : absl::UnavailableError("no luck");
  }
  std::atomic<int> left;
  std::atomic<int> asked{0};
};

TEST_CASE(
    "WorkerPool: a replacement that does not start is tried again after "
    "a second",
    "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  Luck luck(1);
  const auto pool = make_pool(gate, {.workers = 1,
                                     .processing_timeout = 30s,
                                     .clock = &clock,
                                     .on_worker_start = [&luck](std::size_t) { return luck.start(); },
                                     .max_replacements = 1});
  hold(*pool, gate);
  REQUIRE(gate.await(1));
  clock.advance(30s);
  REQUIRE(eventually([&] { return pool->stats().worker_failures == 1; }));
  CHECK(discrepancies(pool->stats()).empty());
  REQUIRE(eventually([&] { return clock.armed() == 1; }));  // the watch sleeps until it may try again
  clock.advance(1s - 1ns);
  CHECK(luck.asked == 2);
  luck.left = 1;
  clock.advance(1ns);
  CHECK(eventually([&] { return pool->stats().live == 2; }));
  CHECK(luck.asked == 3);
  CHECK(pool->stats().worker_failures == 1);
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("WorkerPool: growth that fails is counted, and tried again after a second", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  Luck luck(1);
  const auto pool = make_pool(gate, {.workers = 1,
                                     .queue_capacity = 10,
                                     .clock = &clock,
                                     .on_worker_start = [&luck](std::size_t) { return luck.start(); },
                                     .max_workers = 2});
  hold(*pool, gate);
  REQUIRE(gate.await(1));
  hold(*pool, gate);
  REQUIRE(eventually([&] { return pool->stats().worker_failures == 1; }));
  CHECK(pool->stats().configured == 2);  // since a job waits
  CHECK(pool->stats().joining == 1);
  CHECK(discrepancies(pool->stats()).empty());
  clock.advance(1s - 1ns);
  hold(*pool, gate);  // too early for another attempt
  CHECK(luck.asked == 2);
  luck.left = 1;
  clock.advance(1ns);
  CHECK(gate.await(2));
  CHECK(pool->stats().live == 2);
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("WorkerPool: it grows for each job of a burst that has to wait", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .queue_capacity = 10, .max_workers = 4});
  hold(*pool, gate, 4);
  CHECK(gate.await(4));
  CHECK(pool->stats().configured == 4);
}

TEST_CASE("WorkerPool: a resize returns when those are there with which the pool had begun to grow",
          "[exec][worker_pool]") {
  Gate gate;
  Gate door;  // of the worker that comes by growth
  std::atomic<bool> done{false};
  const auto pool = make_pool(gate, {.workers = 1,
                                     .queue_capacity = 10,
                                     .on_worker_start =
                                         [&door](std::size_t id) {
                                           if (id == 1) door.pass();
                                           return absl::OkStatus();
                                         },
                                     .max_workers = 4});
  for (int i = 0; i < 2; ++i) REQUIRE(pool->try_submit([&gate] { gate.pass(); }) == OpStatus::kOk);
  REQUIRE(door.await(1));
  std::size_t live = 0;
  absl::Status status;
  std::thread resizing([&] {
    status = pool->resize(3);
    live = pool->stats().live;
    done = true;
  });
  // It has nothing to hire before it knows how many come by themselves.
  for (int i = 0; i < 1000; ++i) {
    std::this_thread::yield();
    if (pool->stats().configured != 2) break;
  }
  CHECK_FALSE(done);
  CHECK(pool->stats().configured == 2);
  door.open();
  resizing.join();
  CHECK(status.ok());
  CHECK(live == 3);
  CHECK(pool->resize(3).ok());
  CHECK(pool->remove_workers(2).code() == absl::StatusCode::kOk);
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("WorkerPool: a resize tries again what growth has failed to start", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  Luck luck(1);
  const auto pool = make_pool(gate, {.workers = 1,
                                     .queue_capacity = 10,
                                     .clock = &clock,
                                     .on_worker_start = [&luck](std::size_t) { return luck.start(); },
                                     .max_workers = 3});
  for (int i = 0; i < 2; ++i) REQUIRE(pool->try_submit([&gate] { gate.pass(); }) == OpStatus::kOk);
  REQUIRE(eventually([&] { return pool->stats().worker_failures == 1; }));
  luck.left = 1;
  // The next attempt is a second away, which a resize does not wait for: it starts all that are missing, or none.
  CHECK(pool->resize(3).code() == absl::StatusCode::kUnavailable);
  CHECK(pool->stats().live == 1);
  CHECK(pool->stats().joining == 1);  // the job still waits for one
  luck.left = 1;
  clock.advance(1s);
  CHECK(eventually([&] { return pool->stats().live == 2; }));
  luck.left = 1;
  CHECK(pool->resize(3).ok());
  CHECK(pool->stats().live == 3);
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("WorkerPool: what runs in the watching thread may resize a pool that is about to grow",
          "[exec][worker_pool]") {
  // The watch destroys the function of a job that has expired: it is then that thread which asks for more.
  struct Resizes {
    explicit Resizes(std::atomic<WorkerPool*>& asks, std::atomic<int>& counts) : pool(&asks), resized(&counts) {}
    Resizes(Resizes&& other) noexcept : pool(std::exchange(other.pool, nullptr)), resized(other.resized) {}
    ~Resizes() {
      if (pool != nullptr && pool->load()->resize(3).ok()) ++*resized;
    }
    void operator()() const {}
    std::atomic<WorkerPool*>* pool;
    std::atomic<int>* resized;
  };
  ManualClock clock;
  Gate gate;
  std::atomic<WorkerPool*> asked{nullptr};
  std::atomic<int> resized{0};
  const auto pool = make_pool(gate, {.workers = 1,
                                     .queue_capacity = 10,
                                     .queue_wait_limit = 5s,
                                     .processing_timeout = Duration::max(),
                                     .clock = &clock,
                                     .max_workers = 3});
  asked = &*pool;
  REQUIRE(pool->try_submit([&gate] { gate.pass(); }) == OpStatus::kOk);
  REQUIRE(gate.await(1));
  pool->pause();
  REQUIRE(pool->execute(Resizes(asked, resized)) == OpStatus::kOk);
  clock.advance(5s);
  CHECK(eventually([&] { return resized == 1; }));
  CHECK(pool->stats().live == 3);
  pool->resume();
}

}  // namespace
}  // namespace penstock
