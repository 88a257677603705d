// SPDX-License-Identifier: MIT
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "exec/hand_over_support.hpp"
#include "exec/pool_support.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::check_books;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::hand_over;
using testing::held_pool;
using testing::make_pool;
using testing::Recorder;
using testing::text_of;

TEST_CASE("WorkerPool: hand_over moves the jobs that wait, in order", "[exec][worker_pool][hand_over]") {
  Gate gate;
  const auto old = held_pool(gate, {.name = "old", .queue_capacity = 200});
  const auto next = make_pool({.name = "new", .workers = 1, .queue_capacity = 5});
  Recorder<int> log;
  std::vector<Job<int>> jobs;
  for (int i = 0; i < 150; ++i) {
    if (i % 2 == 0) {
      REQUIRE(old->execute([&log, i] { log.record(i); }) == OpStatus::kOk);
    } else {
      jobs.push_back(old->submit([&log, i] { return log.record(i), i; }).value());
    }
  }
  const HandOverReport report = hand_over(*old, *next);
  CHECK(report.moved == 150);
  CHECK(report.refused == 0);
  CHECK(report.left == 0);
  REQUIRE(eventually([&] { return log.size() == 150; }));
  for (int i = 0; i < 150; ++i) CHECK(log.events()[static_cast<std::size_t>(i)] == i);
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    CHECK(jobs[i].get().value() == static_cast<int>(2 * i + 1));
    CHECK(jobs[i].id() == 2 * i + 3);  // the held job is the first
  }
  const WorkerPoolStats before = old->stats();
  CHECK(before.accepted == 151);
  CHECK(before.handed_over == 150);
  CHECK(before.queue_depth + before.starting == 0);
  CHECK(before.queue_bytes == 0);
  CHECK(before.running == 1);
  next->shutdown(Context::background());
  const WorkerPoolStats after = next->stats();
  CHECK(after.accepted == 0);
  CHECK(after.submitted == 0);
  CHECK(after.taken_over == 150);
  CHECK(after.succeeded == 150);
  CHECK(after.started == 150);
  check_books(*old);
  CHECK(discrepancies(after, true) == "");
  CHECK(old->try_submit([] {}) == OpStatus::kClosed);
}

TEST_CASE("WorkerPool: a job that has moved is cancelled where it is", "[exec][worker_pool][hand_over]") {
  Gate old_gate;
  Gate gate;
  const auto old = held_pool(old_gate, {.name = "old"});
  const auto next = held_pool(gate, {.name = "new"});
  const Context::Cancellable caller = Context::background().with_cancel();
  int ran = 0;
  Job<int> by_handle = old->submit([&] { return ++ran; }, {.tag = "tag"}).value();
  Job<int> by_caller = old->submit([&] { return ++ran; }, {.context = caller.context}).value();
  Job<int> kept = old->submit([&] { return ++ran; }).value();
  CHECK(hand_over(*old, *next).moved == 3);
  CHECK(text_of(kept.get(Context::background().with_timeout(0s)).status()) ==
        "worker pool 'new': waiting for job 4: timed out");
  old_gate.open();
  old->shutdown(Context::background());  // without the jobs that have moved
  CHECK_FALSE(kept.is_done());
  CHECK(by_handle.cancel());
  CHECK(by_handle.is_done());
  CHECK_FALSE(by_handle.cancel());
  CHECK(text_of(by_handle.get().status()).find("worker pool 'new': job 2 cancelled in the queue") == 0);
  caller.source.cancel();
  CHECK(by_caller.is_done());
  gate.open();
  CHECK(kept.get().value() == 1);
  CHECK(next->stats().cancelled == 2);
  check_books(*old);
  check_books(*next);
}

TEST_CASE("WorkerPool: jobs that have moved expire in time", "[exec][worker_pool][hand_over]") {
  ManualClock clock;
  Gate old_gate;
  Gate gate;
  const auto old = held_pool(old_gate, {.name = "old", .queue_wait_limit = 20s, .clock = &clock});
  const auto next = held_pool(gate, {.name = "new", .queue_wait_limit = 5s, .processing_timeout = 1h, .clock = &clock});
  std::atomic<int> ran{0};
  const auto job = [&](SubmitOptions options) {
    return old->submit([&] { return ++ran; }, std::move(options)).value();
  };
  Job<int> by_deadline = job({.context = Context(clock).with_timeout(3s)});
  Job<int> by_own_limit = job({.queue_wait_limit = 4s});
  Job<int> tagged = job({.tag = "t"});
  Job<int> by_pool = job({});
  clock.advance(1s);
  Job<int> younger = next->submit([&] { return ++ran; }).value();
  CHECK(hand_over(*old, *next).moved == 4);
  const auto ends = [&](Job<int>& which, const std::string& why) {
    clock.advance(2s - 1ns);
    CHECK_FALSE(which.is_done());
    clock.advance(1ns);
    REQUIRE(eventually([&] { return which.is_done(); }));
    CHECK(text_of(which.get().status()).find(why) != std::string::npos);
    clock.advance(0s);
  };
  ends(by_deadline, "expired in the queue after 3 s (the caller's deadline)");
  clock.advance(1s);
  REQUIRE(eventually([&] { return by_own_limit.is_done(); }));
  CHECK(text_of(by_own_limit.get().status()).find("after 4 s (limit 4 s)") != std::string::npos);
  CHECK_FALSE(by_pool.is_done());
  clock.advance(1s);
  REQUIRE(eventually([&] { return by_pool.is_done() && tagged.is_done(); }));
  CHECK(text_of(by_pool.get().status()) == "worker pool 'new': job 5 expired in the queue after 5 s (limit 5 s)");
  CHECK(text_of(tagged.get().status()) == "worker pool 'new': job 4 expired in the queue after 5 s (limit 5 s)");
  CHECK_FALSE(younger.is_done());
  gate.open();
  CHECK(younger.get().ok());
  CHECK(ran == 1);
  CHECK(next->stats().queue_expired == 4);
  check_books(*next);
}

TEST_CASE("WorkerPool: a job that has moved runs by the successor's terms, unless it has its own",
          "[exec][worker_pool][hand_over]") {
  ManualClock clock;
  Gate old_gate;
  const auto old = held_pool(old_gate, {.name = "old", .processing_timeout = 1s, .clock = &clock});
  const auto next = make_pool({.name = "new", .workers = 2, .processing_timeout = 5s, .clock = &clock});
  const auto job = [&](SubmitOptions options) {
    return old
        ->submit([&](const JobContext& ctx) { return ctx.context.deadline() - ctx.context.clock().now(); },
                 std::move(options))
        .value();
  };
  Job<Duration> plain = job({});
  Job<Duration> own = job({.processing_timeout = 3s});
  CHECK(hand_over(*old, *next).moved == 2);
  CHECK(plain.get().value() == 5s);
  CHECK(own.get().value() == 3s);
}

TEST_CASE("WorkerPool: what hand_over refuses changes nothing", "[exec][worker_pool][hand_over]") {
  Gate gate;
  ManualClock clock;
  const auto old = held_pool(gate, {.name = "old"});
  const auto other = make_pool({.name = "other", .workers = 1, .clock = &clock});
  const auto closed = make_pool({.name = "closed", .workers = 1});
  closed->shutdown(Context::background());
  Job<void> job = old->submit([] {}).value();
  CHECK(absl::IsInvalidArgument(old->hand_over(*old).status()));
  CHECK(text_of(old->hand_over(*other).status()) ==
        "worker pool 'old': cannot hand over to worker pool 'other', which is on another clock");
  CHECK(absl::IsInvalidArgument(old->hand_over(*other).status()));
  CHECK(text_of(old->hand_over(*closed).status()) ==
        "worker pool 'old': cannot hand over to worker pool 'closed', which is shut down");
  CHECK(absl::IsUnavailable(old->hand_over(*closed).status()));
  CHECK(old->try_submit([] {}) == OpStatus::kOk);  // still open
  CHECK(old->stats().handed_over == 0);
  CHECK_FALSE(job.is_done());
  gate.open();
  CHECK(job.get().ok());
}

TEST_CASE("WorkerPool: hand_over refuses threads in line, with their functions untouched",
          "[exec][worker_pool][hand_over]") {
  Gate gate;
  const auto old = held_pool(gate, {.name = "old", .queue_capacity = 1, .overflow = OverflowPolicy::kBlock});
  const auto next = make_pool({.name = "new", .workers = 1});
  Job<int> queued = old->submit([] { return 7; }).value();
  auto function = [value = std::make_unique<int>(1)] { return *value; };
  auto plain = [value = std::make_shared<int>(2)] { static_cast<void>(value); };
  absl::Status refusal;
  OpStatus refused_plain = OpStatus::kOk;
  std::thread one([&] { refusal = old->submit(std::move(function)).status(); });
  std::thread two([&] { refused_plain = old->execute(std::move(plain)); });
  REQUIRE(eventually([&] { return old->stats().blocked == 2; }));
  const HandOverReport report = hand_over(*old, *next);
  one.join();
  two.join();
  CHECK(report.moved == 1);
  CHECK(report.refused == 2);
  CHECK(absl::IsUnavailable(refusal));
  CHECK(refused_plain == OpStatus::kClosed);
  CHECK(next->execute(std::move(plain)) == OpStatus::kOk);
  CHECK(next->submit(std::move(function))->get().value() == 1);
  CHECK(queued.get().value() == 7);
  CHECK(old->stats().refused_closed == 2);
  check_books(*old);
}

TEST_CASE("WorkerPool: hand_over takes coroutines in line along", "[exec][worker_pool][hand_over]") {
  Gate gate;
  RunLoop loop;
  const auto old = held_pool(gate, {.name = "old", .queue_capacity = 1, .overflow = OverflowPolicy::kBlock});
  const auto next = make_pool({.name = "new", .workers = 1, .queue_capacity = 1});
  Job<int> queued = old->submit([] { return 7; }).value();
  std::vector<JoinHandle<int>> ends;
  for (int i = 0; i < 3; ++i) {
    ends.push_back(spawn(loop, [](WorkerPool& pool, int value) -> Task<int> {
      absl::StatusOr<Job<int>> job = co_await pool.async_submit([value] { return value; });
      if (!job.ok()) co_return -1;
      co_return (co_await *job).value_or(-2);
    }(*old, i)));
  }
  loop.run_ready();
  REQUIRE(old->stats().submitting == 3);
  const HandOverReport report = hand_over(*old, *next);
  CHECK(report.moved == 4);
  CHECK(report.refused == 0);
  std::thread runner([&] { loop.run(); });
  for (int i = 0; i < 3; ++i) CHECK(ends[static_cast<std::size_t>(i)].get() == i);
  loop.stop();
  runner.join();
  CHECK(queued.get().value() == 7);
  CHECK(old->stats().handed_over == 4);
  CHECK(old->stats().submitting == 0);
  check_books(*old);
  check_books(*next);
}

}  // namespace
}  // namespace penstock
