// SPDX-License-Identifier: MIT
#include "penstock/exec/worker_pool.hpp"

#include <pthread.h>

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "exec/pool_support.hpp"
#include "support/allocations.hpp"
#include "support/blocks.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::ContainsSubstring;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::held_pool;
using testing::make_pool;
using testing::text_of;

TEST_CASE("OverflowPolicy: names can be parsed", "[exec][worker_pool]") {
  for (const OverflowPolicy policy : {OverflowPolicy::kBlock, OverflowPolicy::kReject, OverflowPolicy::kDropNewest,
                                      OverflowPolicy::kDropOldest, OverflowPolicy::kCallerRuns}) {
    CHECK(parse_overflow_policy(to_string(policy)) == policy);
  }
  CHECK(to_string(OverflowPolicy::kDropOldest) == "drop_oldest");
  CHECK_FALSE(parse_overflow_policy("drop").has_value());
  CHECK_FALSE(parse_overflow_policy(to_string(static_cast<OverflowPolicy>(9))).has_value());
}

TEST_CASE("WorkerPool: bad options are refused, all at once", "[exec][worker_pool]") {
  const WorkerPoolOptions bad{.name = "openai",
                              .workers = 0,
                              .queue_capacity = static_cast<std::size_t>(-1),
                              .overflow = static_cast<OverflowPolicy>(9),
                              .enqueue_timeout = -1ms,
                              .queue_wait_limit = 0s,
                              .processing_timeout = -30s,
                              .shutdown_timeout = -1500us,
                              .clock = nullptr};
  const auto pool = WorkerPool::create(bad);
  CHECK(absl::IsInvalidArgument(pool.status()));
  CHECK(text_of(pool.status()) ==
        "worker pool 'openai': options.workers must be in [1, 4096], got 0; options.queue_capacity must be in "
        "[0, 1000000], got 18446744073709551615; options.overflow must be one of the named policies, got 9; "
        "options.enqueue_timeout must be at least 0 s, got -1 ms; options.queue_wait_limit must be positive, got 0 s; "
        "options.processing_timeout must be positive, got -30 s; options.shutdown_timeout must be at least 0 s, got "
        "-1.5 ms; options.clock must be a clock, got null");
  CHECK(absl::IsInvalidArgument(WorkerPool::create({}).status()));
  CHECK(absl::IsInvalidArgument(WorkerPool::create({.name = std::string(257, 'x')}).status()));
  CHECK(absl::IsInvalidArgument(WorkerPool::create({.name = "p", .workers = 1'000'000}).status()));
  CHECK(WorkerPool::create({.name = std::string("a\0\xff", 3), .workers = 1}).ok());
}

TEST_CASE("WorkerPool: all workers run when it is there", "[exec][worker_pool]") {
  testing::Recorder<std::size_t> started;
  const auto pool = make_pool({.workers = 3, .on_worker_start = [&](std::size_t id) {
                                 started.record(id);
                                 return absl::OkStatus();
                               }});
  const auto ids = started.events();
  CHECK(std::set<std::size_t>(ids.begin(), ids.end()) == std::set<std::size_t>{0, 1, 2});
  CHECK(pool->stats().live == 3);
  CHECK(pool->stats().idle == 3);
}

TEST_CASE("WorkerPool: a worker that does not start undoes all", "[exec][worker_pool]") {
  std::atomic<int> started{0};
  const auto refused = WorkerPool::create({.name = "openai", .workers = 8, .on_worker_start = [&](std::size_t id) {
                                             ++started;
                                             return id == 5 ? absl::NotFoundError("no key") : absl::OkStatus();
                                           }});
  CHECK(started == 8);
  CHECK(absl::IsNotFound(refused.status()));
  CHECK(text_of(refused.status()) == "worker pool 'openai': worker 5 did not start: no key");

  const auto threw = WorkerPool::create(
      {.name = "openai", .workers = 2, .on_worker_start = [](std::size_t) -> absl::Status { throw 5; }});
  CHECK(absl::IsInternal(threw.status()));
  CHECK_THAT(text_of(threw.status()), ContainsSubstring("on_worker_start(") && ContainsSubstring(") threw int"));
}

TEST_CASE("WorkerPool: a thread that cannot be made is reported", "[exec][worker_pool]") {
  // More stack than there are addresses: no thread can be made with this.
  pthread_attr_t before;
  pthread_attr_t huge;
  REQUIRE(pthread_getattr_default_np(&before) == 0);
  REQUIRE(pthread_attr_init(&huge) == 0);
  REQUIRE(pthread_attr_setstacksize(&huge, std::size_t{1} << 47U) == 0);
  REQUIRE(pthread_setattr_default_np(&huge) == 0);
  const auto pool = WorkerPool::create({.name = "openai", .workers = 4});
  REQUIRE(pthread_setattr_default_np(&before) == 0);
  CHECK(absl::IsResourceExhausted(pool.status()));
  CHECK_THAT(text_of(pool.status()), testing::StartsWith("worker pool 'openai': cannot start thread 1 of 5: "));
}

TEST_CASE("WorkerPool: threads carry the pool's name and their number", "[exec][worker_pool]") {
  const auto name_in = [](const std::string& pool_name) {
    const auto pool = make_pool({.name = pool_name, .workers = 1});
    return pool
        ->submit([] {
          char name[16] = {};
          pthread_getname_np(pthread_self(), name, sizeof(name));
          return std::string(name);
        })
        ->get()
        .value();
  };
  CHECK(name_in("openai") == "openai/0");
  CHECK(name_in("a-rather-long-provider") == "a-rather-long/0");
}

TEST_CASE("WorkerPool: one worker starts jobs in the order in which they came", "[exec][worker_pool]") {
  testing::Recorder<int> order;
  {
    const auto pool = make_pool({.workers = 1});
    for (int i = 0; i < 50; ++i) CHECK(pool->try_submit([&order, i] { order.record(i); }) == OpStatus::kOk);
  }
  const auto events = order.events();
  REQUIRE(events.size() == 50);
  for (int i = 0; i < 50; ++i) CHECK(events[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("WorkerPool: workers run jobs at the same time, as many as there are", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 3});
  for (int i = 0; i < 5; ++i) CHECK(pool->try_submit([&] { gate.pass(); }) == OpStatus::kOk);
  CHECK(gate.await(3));
  CHECK(gate.arrived() == 3);
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.running == 3);
  CHECK(stats.busy == 3);
  CHECK(stats.queue_depth == 2);
  CHECK(discrepancies(stats).empty());
  gate.open();
}

TEST_CASE("WorkerPool: the capacity is exact", "[exec][worker_pool]") {
  const std::size_t capacity = GENERATE(0U, 1U, 7U);
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 2, .queue_capacity = capacity, .overflow = OverflowPolicy::kReject});
  std::size_t accepted = 0;
  while (pool->try_submit([&] { gate.pass(); }) == OpStatus::kOk) ++accepted;
  CHECK(accepted == capacity + 2);
  REQUIRE(gate.await(2));
  CHECK(pool->try_submit([] {}) == OpStatus::kFull);
  CHECK(pool->stats().queue_depth == capacity);
  CHECK(pool->stats().queue_high_water == capacity);
  CHECK(discrepancies(pool->stats()).empty());
  gate.open();
  CHECK(eventually([&] { return pool->stats().idle == 2; }));
  CHECK(pool->try_submit([] {}) == OpStatus::kOk);
}

TEST_CASE("WorkerPool: kReject refuses with the numbers", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.name = "openai", .queue_capacity = 1, .overflow = OverflowPolicy::kReject});
  CHECK(pool->submit([] {}).ok());
  const absl::Status refused = pool->submit([] {}).status();
  CHECK(absl::IsResourceExhausted(refused));
  CHECK(text_of(refused) == "worker pool 'openai': queue full (capacity 1)");
  CHECK(pool->stats().rejected == 1);
}

TEST_CASE("WorkerPool: kDropNewest sheds the new job", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.name = "openai", .queue_capacity = 1, .overflow = OverflowPolicy::kDropNewest});
  Job<int> kept = pool->submit([] { return 1; }).value();
  const absl::Status refused = pool->submit([] { return 2; }).status();
  CHECK(absl::IsResourceExhausted(refused));
  CHECK(text_of(refused) == "worker pool 'openai': job dropped, queue full (capacity 1)");
  CHECK(pool->stats().dropped_newest == 1);
  CHECK(pool->stats().rejected == 0);
  gate.open();
  CHECK(kept.get().value() == 1);
}

TEST_CASE("WorkerPool: kDropOldest answers the oldest job with Aborted", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.name = "openai", .queue_capacity = 2, .overflow = OverflowPolicy::kDropOldest});
  Job<int> oldest = pool->submit([] { return 1; }).value();
  Job<int> older = pool->submit([] { return 2; }).value();
  Job<int> newest = pool->submit([] { return 3; }).value();
  REQUIRE(oldest.is_done());
  const absl::Status status = oldest.get().status();
  CHECK(absl::IsAborted(status));
  CHECK_THAT(text_of(status), testing::StartsWith("worker pool 'openai': job 2 dropped for a newer one after "));
  CHECK(pool->stats().dropped_oldest == 1);
  CHECK(pool->stats().accepted == 4);
  CHECK(discrepancies(pool->stats()).empty());
  gate.open();
  CHECK(older.get().value() == 2);
  CHECK(newest.get().value() == 3);
}

TEST_CASE("WorkerPool: kDropOldest without a queue has nothing to drop", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 0, .overflow = OverflowPolicy::kDropOldest});
  CHECK(absl::IsResourceExhausted(pool->submit([] {}).status()));
  CHECK(pool->stats().rejected == 1);
}

TEST_CASE("WorkerPool: kCallerRuns runs the job on the calling thread when the queue is full", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 0, .overflow = OverflowPolicy::kCallerRuns});
  Job<std::size_t> job =
      pool->submit([&](const JobContext& ctx) { return pool->on_worker_thread() ? std::size_t{0} : ctx.worker_id; })
          .value();
  CHECK(job.is_done());
  CHECK(job.get().value() == kCallerThread);
  CHECK(pool->try_submit([] {}) == OpStatus::kFull);
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.caller_runs == 1);
  CHECK(stats.accepted == 2);
  CHECK(discrepancies(stats).empty());
}

TEST_CASE("WorkerPool: a job never runs another job of its pool", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 0, .overflow = OverflowPolicy::kCallerRuns});
  // The outer one runs on this thread, which is no worker, but runs a job of the pool.
  Job<absl::Status> outer = pool->submit([&] { return pool->submit([] {}).status(); }).value();
  CHECK(absl::IsResourceExhausted(outer.get()));
}

TEST_CASE("WorkerPool: a job must not wait for a place in its own pool", "[exec][worker_pool]") {
  const auto pool = make_pool({.name = "openai", .workers = 1, .queue_capacity = 0});
  const absl::Status status = pool->submit([&] { return pool->submit([] {}).status(); })->get();
  CHECK(absl::IsFailedPrecondition(status));
  CHECK(text_of(status) == "worker pool 'openai': queue full (capacity 0), and a job of the pool must not wait for it");
}

TEST_CASE("WorkerPool: the policy can be changed live and for one job", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 0, .overflow = OverflowPolicy::kReject});
  CHECK(pool->submit([] {}, {.overflow = OverflowPolicy::kCallerRuns}).ok());
  CHECK(pool->stats().caller_runs == 1);
  CHECK(pool->set_overflow(OverflowPolicy::kDropNewest).ok());
  CHECK_FALSE(pool->submit([] {}).ok());
  CHECK(pool->stats().dropped_newest == 1);
  CHECK(absl::IsInvalidArgument(pool->set_overflow(static_cast<OverflowPolicy>(9))));
  CHECK(absl::IsInvalidArgument(pool->submit([] {}, {.overflow = static_cast<OverflowPolicy>(9)}).status()));
}

TEST_CASE("WorkerPool: what cannot be a job is refused", "[exec][worker_pool]") {
  const auto pool = make_pool({.name = "openai", .workers = 1});
  CHECK(absl::IsInvalidArgument(pool->submit(std::function<void()>()).status()));
  CHECK(absl::IsInvalidArgument(pool->submit(absl::AnyInvocable<int(const JobContext&)>()).status()));
  CHECK(absl::IsInvalidArgument(pool->submit(static_cast<void (*)()>(nullptr)).status()));
  CHECK(absl::IsInvalidArgument(pool->submit([] {}, {.processing_timeout = 0s}).status()));
  CHECK(pool->try_submit([] {}, nullptr, {.processing_timeout = -1s}) == OpStatus::kTimedOut);
  Job<void> empty;
  CHECK(pool->try_submit(std::function<void()>(), &empty) == OpStatus::kOk);
  CHECK(absl::IsInvalidArgument(empty.get()));
}

// Counts what is done to a function.
struct Counted {
  explicit Counted(int* made_moves, int* made_copies) : moves(made_moves), copies(made_copies) {}
  Counted(Counted&& other) noexcept : moves(other.moves), copies(other.copies) { ++*moves; }
  Counted(const Counted& other) : moves(other.moves), copies(other.copies) { ++*copies; }
  void operator()() const {}

  int* moves;
  int* copies;
};

TEST_CASE("WorkerPool: a function is moved or copied once, and not at all by a refusal", "[exec][worker_pool]") {
  int moves = 0;
  int copies = 0;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 2, .overflow = OverflowPolicy::kReject});
  Counted function(&moves, &copies);
  CHECK(pool->submit(function).ok());
  CHECK(copies == 1);
  CHECK(moves == 0);
  CHECK(pool->submit(std::move(function)).ok());
  CHECK(copies == 1);
  CHECK(moves == 1);
  CHECK_FALSE(pool->submit(std::move(function)).ok());  // NOLINT(bugprone-use-after-move): it must be untouched
  CHECK(pool->try_submit(std::move(function)) == OpStatus::kFull);  // NOLINT(bugprone-use-after-move)
  CHECK(copies == 1);
  CHECK(moves == 1);
}

TEST_CASE("WorkerPool: a job costs one allocation, three with a context, a refusal none", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 3, .overflow = OverflowPolicy::kReject});
  const auto allocations = [&](auto function) {
    const std::uint64_t before = testing::Allocations::now().count;
    static_cast<void>(pool->try_submit(function));
    return testing::Allocations::now().count - before;
  };
  CHECK(allocations([large = testing::TooLargeToKeep()] {}) == 1);
  CHECK(allocations([large = testing::TooLargeToKeep()](const JobContext&) {}) <=
        3);  // one is small, and may be at hand
  CHECK(allocations([] {}) <= 1);
  CHECK(allocations([large = testing::TooLargeToKeep()] {}) == 0);
}

TEST_CASE("WorkerPool: a submission that fails for want of memory leaves nothing behind", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1, .queue_capacity = 0});
  for (std::uint64_t nth = 0; nth < 2; ++nth) {
    bool failed = false;
    try {
      const testing::FailAllocation fail(nth);
      static_cast<void>(pool->try_submit([large = testing::TooLargeToKeep()](const JobContext&) {}));
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    CHECK(failed);
    CHECK(pool->stats().enqueue_failures == nth + 1);
    CHECK(discrepancies(pool->stats()).empty());
    CHECK(pool->submit([] {})->get().ok());  // the place is free again
    CHECK(eventually([&] { return pool->stats().idle == 1; }));
  }
}

TEST_CASE("WorkerPool: a function whose move throws is not accepted", "[exec][worker_pool]") {
  struct Throws {
    Throws() = default;
    Throws(const Throws&) { throw 1; }
    void operator()() const {}
  };
  const auto pool = make_pool({.workers = 1, .queue_capacity = 0});
  const Throws function;
  CHECK_THROWS_AS(pool->submit(function), int);
  CHECK(pool->stats().enqueue_failures == 1);
  CHECK(discrepancies(pool->stats()).empty());
  CHECK(pool->submit([] {})->get().ok());
}

TEST_CASE("WorkerPool: a job learns who it is", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = held_pool(gate, {.clock = &clock});
  struct Seen {
    std::uint64_t id;
    std::size_t worker;
    Duration wait;
  };
  Job<Seen> job = pool->submit([](const JobContext& ctx) {
                        return Seen{ctx.job_id, ctx.worker_id, ctx.queue_wait};
                      })
                      .value();
  clock.advance(250ms);
  gate.open();
  const Seen seen = job.get().value();
  CHECK(seen.id == 2);
  CHECK(seen.id == job.id());
  CHECK(seen.worker == 0);
  CHECK(seen.wait == 250ms);
  CHECK(pool->stats().queue_wait.max() == 250ms);
}

}  // namespace
}  // namespace penstock
