// SPDX-License-Identifier: MIT
#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "exec/hand_over_support.hpp"
#include "exec/pool_support.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/job_group.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/allocations.hpp"
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

TEST_CASE("WorkerPool: hand_over from jobs, and of a paused pool", "[exec][worker_pool][hand_over]") {
  const auto old = make_pool({.name = "old", .workers = 1});
  const auto next = make_pool({.name = "new", .workers = 1});
  std::atomic<int> ran{0};
  SECTION("from a job of the old pool") {
    Job<std::uint64_t> hands = old->submit([&] {
                                    for (int i = 0; i < 5; ++i) static_cast<void>(old->try_submit([&] { ++ran; }));
                                    return old->hand_over(*next)->moved;
                                  })
                                   .value();
    CHECK(hands.get().value() == 5);
  }
  SECTION("from a job of the successor") {
    old->pause();
    for (int i = 0; i < 5; ++i) REQUIRE(old->try_submit([&] { ++ran; }) == OpStatus::kOk);
    Job<std::uint64_t> hands = next->submit([&] { return old->hand_over(*next)->moved; }).value();
    CHECK(hands.get().value() == 5);
  }
  SECTION("of a paused pool") {
    old->pause();
    for (int i = 0; i < 5; ++i) REQUIRE(old->try_submit([&] { ++ran; }) == OpStatus::kOk);
    CHECK(hand_over(*old, *next).moved == 5);
    CHECK_FALSE(old->stats().paused);
  }
  SECTION("to a paused pool") {
    next->pause();
    old->pause();
    for (int i = 0; i < 5; ++i) REQUIRE(old->try_submit([&] { ++ran; }) == OpStatus::kOk);
    CHECK(hand_over(*old, *next).moved == 5);
    CHECK(next->stats().paused);
    CHECK(next->stats().started == 0);
    next->resume();
  }
  CHECK(next->shutdown(Context::background()).is_drained());
  CHECK(ran == 5);
  CHECK(next->stats().succeeded >= 5);
  std::atomic<bool> posted{false};
  old->post([&] { posted = true; });  // which stays
  CHECK(old->shutdown(Context::background()).is_drained());
  CHECK(eventually([&] { return posted.load(); }));
}

TEST_CASE("WorkerPool: the successor is too full until it has caught up", "[exec][worker_pool][hand_over]") {
  Gate old_gate;
  Gate gate;
  const auto old = held_pool(old_gate, {.name = "old"});
  const auto next = held_pool(gate, {.name = "new", .queue_capacity = 2, .overflow = OverflowPolicy::kReject});
  for (int i = 0; i < 10; ++i) REQUIRE(old->try_submit([] {}) == OpStatus::kOk);
  const std::size_t bytes = old->stats().queue_bytes;
  CHECK(hand_over(*old, *next).moved == 10);
  CHECK(next->stats().queue_depth == 10);
  CHECK(next->stats().queue_high_water == 10);
  CHECK(next->stats().queue_bytes == bytes);
  CHECK(old->stats().queue_bytes == 0);
  CHECK(next->try_submit([] {}) == OpStatus::kFull);
  testing::Samples samples;
  next->collect(samples);
  old->collect(samples);
  CHECK(samples.at("penstock_pool_taken_over_total new") == 10);
  CHECK(samples.at("penstock_pool_handed_over_total old") == 10);
  gate.open();
  REQUIRE(eventually([&] { return next->stats().succeeded == 11; }));
  CHECK(next->try_submit([] {}) == OpStatus::kOk);
  CHECK(next->shutdown(Context::background()).is_drained());
  CHECK(discrepancies(next->stats(), true) == "");
}

TEST_CASE("WorkerPool: hand_over allocates nothing", "[exec][worker_pool][hand_over]") {
  Gate gate;
  const auto old = held_pool(gate, {.name = "old", .queue_capacity = 300});
  const auto next = make_pool({.name = "new", .workers = 1});
  std::vector<Job<int>> jobs;
  for (int i = 0; i < 300; ++i) jobs.push_back(old->submit([i] { return i; }, {.queue_wait_limit = 30min}).value());
  {
    const testing::FailAllocation failure(0);
    CHECK_NOTHROW(hand_over(*old, *next).moved == 300);
    CHECK_FALSE(failure.has_failed());
  }
  for (int i = 0; i < 300; ++i) CHECK(jobs[static_cast<std::size_t>(i)].get().value() == i);
}

TEST_CASE("WorkerPool: groups, continuations and coroutines get the answers of jobs that have moved",
          "[exec][worker_pool][hand_over]") {
  Gate gate;
  const auto old = held_pool(gate, {.name = "old"});
  const auto next = make_pool({.name = "new", .workers = 2});
  JobGroup<int> group;
  for (int i = 0; i < 4; ++i) CHECK(group.submit(*old, [i] { return i; }));
  JoinHandle<int> continued = old->submit([] { return 20; }).value().then(*next, [](absl::StatusOr<int> answer) {
    return answer.value_or(0) + 1;
  });
  Job<int> awaited = old->submit([] { return 30; }).value();
  JoinHandle<int> coroutine =
      spawn(*next, [](Job<int>& job) -> Task<int> { co_return (co_await job).value(); }(awaited));
  Job<int> throws = old->submit([]() -> int { throw std::runtime_error("boom"); }).value();
  CHECK(hand_over(*old, *next).moved == 7);
  const auto answers = group.wait_all();
  REQUIRE(answers.ok());
  for (int i = 0; i < 4; ++i) CHECK((*answers)[static_cast<std::size_t>(i)].value() == i);
  CHECK(continued.get() == 21);
  CHECK(coroutine.get() == 30);
  CHECK(text_of(throws.get().status()) == "worker pool 'new': job 8 threw std::runtime_error: boom");
  CHECK(next->stats().panicked == 1);
}

TEST_CASE("WorkerPool: a successor may number its own jobs from above", "[exec][worker_pool][hand_over]") {
  Gate gate;
  const auto old = held_pool(gate, {.name = "old"});
  const auto next = make_pool({.name = "new", .workers = 1, .first_job_id = 1000});
  Job<void> moved = old->submit([] {}).value();
  Job<void> own = next->submit([] {}).value();
  CHECK(hand_over(*old, *next).moved == 1);
  Job<void> later = next->submit([] {}).value();
  CHECK(moved.id() == 2);
  CHECK(own.id() == 1000);
  CHECK(later.id() > 1000);
  CHECK(next->shutdown(Context::background()).is_drained());
  CHECK(next->stats().accepted == 2);
  CHECK(discrepancies(next->stats(), true) == "");
  CHECK(absl::IsInvalidArgument(WorkerPool::create({.name = "p", .first_job_id = 0}).status()));
}

/// Writes down what it is told, and does something when the first job moves.
struct Observer : PoolObserver {
  void on_submit(const JobEvent& event) override { note("submit", event); }
  void on_start(const JobEvent& event) override { note("start", event); }
  void on_finish(const JobEvent& event) override { note("finish", event); }
  void on_drop(const JobEvent& event) override { note("drop", event); }
  void on_hand_over(const JobEvent& event, std::string_view successor) override {
    note("hand over to " + std::string(successor), event);
    if (at_first) std::exchange(at_first, nullptr)();
  }
  void on_state(std::string_view pool, PoolState state, TimePoint /*at*/) override {
    told.record(std::string(pool) + " " + std::string(to_string(state)));
  }
  void note(const std::string& what, const JobEvent& event) {
    told.record(std::string(event.pool) + " " + std::to_string(event.job_id) + " " + what);
  }
  Recorder<std::string> told;
  std::function<void()> at_first;
};

TEST_CASE("WorkerPool: observers are told where a job has gone", "[exec][worker_pool][hand_over]") {
  Gate gate;
  Observer one;
  Observer other;
  const bool same = GENERATE(true, false);
  const auto old = held_pool(gate, {.name = "old", .observer = &one});
  const auto next = make_pool({.name = "new", .workers = 1, .observer = same ? &one : &other});
  REQUIRE(old->execute([] {}) == OpStatus::kOk);
  one.told.clear();
  other.told.clear();
  CHECK(hand_over(*old, *next).moved == 1);
  CHECK(next->shutdown(Context::background()).is_drained());
  const std::vector<std::string> all = one.told.events();
  REQUIRE(all.size() >= 2);
  CHECK(all[0] == "old draining");
  CHECK(one.told.count("old 2 hand over to new") == 1);
  Observer& second = same ? one : other;
  CHECK(second.told.count("new 2 submit") == (same ? 0 : 1));
  CHECK(second.told.count("new 2 start") == 1);
  CHECK(second.told.count("new 2 finish") == 1);
}

TEST_CASE("WorkerPool: if the successor is shut down meanwhile, the rest is run by the old pool",
          "[exec][worker_pool][hand_over]") {
  Gate gate;
  Gate next_gate;
  Observer observer;
  const auto old = held_pool(gate, {.name = "old", .queue_capacity = 200, .observer = &observer});
  const auto next = held_pool(next_gate, {.name = "new"});
  std::vector<Job<int>> jobs;
  for (int i = 0; i < 200; ++i) jobs.push_back(old->submit([i] { return i; }).value());
  observer.at_first = [&] { next->shutdown(Context::background().with_timeout(0s)); };
  const HandOverReport report = hand_over(*old, *next);
  CHECK(report.moved == 64);
  CHECK(report.left == 136);
  gate.open();
  int abandoned = 0;
  for (int i = 0; i < 200; ++i) {
    const absl::StatusOr<int> answer = jobs[static_cast<std::size_t>(i)].get();
    CHECK(answer.ok() == (i < 136));
    if (absl::IsCancelled(answer.status())) ++abandoned;
  }
  CHECK(abandoned == 64);
  CHECK(next->stats().abandoned == 64);
  check_books(*old);
  check_books(*next);
}

TEST_CASE("WorkerPool: the successor starts no job before all have come", "[exec][worker_pool][hand_over]") {
  Gate gate;
  Observer observer;
  const auto old = held_pool(gate, {.name = "old", .queue_capacity = 200, .observer = &observer});
  const auto next = make_pool({.name = "new", .workers = 1});
  Recorder<int> log;
  for (int i = 0; i < 200; ++i) REQUIRE(old->execute([&log, i] { log.record(i); }) == OpStatus::kOk);
  std::size_t started = 0;
  observer.at_first = [&] {
    // So much that jobs have their turn in between.
    std::atomic<int> done{0};
    for (int i = 0; i < 50; ++i) next->post([&done] { ++done; });
    static_cast<void>(eventually([&] { return done == 50; }));
    started = next->stats().started;
  };
  CHECK(hand_over(*old, *next).moved == 200);
  CHECK(started == 0);
  REQUIRE(eventually([&] { return log.size() == 200; }));
  const std::vector<int> order = log.events();
  CHECK(std::is_sorted(order.begin(), order.end()));
}

}  // namespace
}  // namespace penstock
