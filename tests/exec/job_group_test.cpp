// SPDX-License-Identifier: MIT
#include "penstock/exec/job_group.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/core/task.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/detached.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::Detached;
using testing::Gate;
using testing::held_pool;
using testing::make_pool;

const Context kEnded = Context::background().with_timeout(0s);

TEST_CASE("JobGroup: all answers come, in the order of the submissions", "[exec][job_group]") {
  const auto one = make_pool({.name = "a", .workers = 2});
  const auto two = make_pool({.name = "b", .workers = 1});
  JobGroup<int> group;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 50; ++i) CHECK(group.submit(i % 2 == 0 ? *one : *two, [i] { return i; }));
    CHECK(group.size() == 50);
    const auto answers = group.wait_all();
    REQUIRE(answers.ok());
    REQUIRE(answers->size() == 50);
    for (int i = 0; i < 50; ++i) CHECK((*answers)[static_cast<std::size_t>(i)].value() == i);
    CHECK(group.size() == 0);
  }
}

TEST_CASE("JobGroup: an empty group has all its answers", "[exec][job_group]") {
  JobGroup<void> group;
  CHECK(group.wait_all().value().empty());
  CHECK(group.first_error().ok());
}

TEST_CASE("JobGroup: values may be movable only, and nothing", "[exec][job_group]") {
  const auto pool = make_pool({.workers = 1});
  JobGroup<std::unique_ptr<int>> values;
  values.submit(*pool, [] { return std::make_unique<int>(5); });
  CHECK(**values.wait_all().value()[0] == 5);
  JobGroup<void> nothing;
  nothing.submit(*pool, [] {});
  CHECK(nothing.wait_all().value()[0].ok());
}

TEST_CASE("JobGroup: a refusal is an answer, and a failure", "[exec][job_group]") {
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 1, .overflow = OverflowPolicy::kReject});
  JobGroup<int> group({.cancel_on_error = false});
  CHECK(group.submit(*pool, [] { return 1; }));
  CHECK_FALSE(group.submit(*pool, [] { return 2; }));
  CHECK_FALSE(group.add(Job<int>()));
  CHECK(absl::IsResourceExhausted(group.first_error()));
  CHECK(group.pending() == 1);
  gate.open();
  const auto answers = group.wait_all().value();
  REQUIRE(answers.size() == 3);
  CHECK(answers[0].value() == 1);
  CHECK(absl::IsResourceExhausted(answers[1].status()));
  CHECK(absl::IsInvalidArgument(answers[2].status()));
}

TEST_CASE("JobGroup: the first error in time is told, and the rest is cancelled", "[exec][job_group]") {
  Gate gate;
  const auto slow = held_pool(gate, {.name = "slow"});
  const auto quick = make_pool({.name = "quick", .workers = 1});
  JobGroup<absl::Status> group;
  std::atomic<int> ran{0};
  group.submit(*slow, [&] {
    ++ran;
    return absl::InternalError("late");
  });
  group.submit(*quick, [] { return absl::OkStatus(); });
  group.submit(*quick, [] { return absl::NotFoundError("no model"); });
  CHECK(group.first_error() == absl::NotFoundError("no model"));
  gate.open();
  const auto answers = group.wait_all().value();
  REQUIRE(answers.size() == 3);
  CHECK(absl::IsCancelled(answers[0]));
  CHECK(answers[1].ok());
  CHECK(ran == 0);
  CHECK(group.first_error().ok());
}

TEST_CASE("JobGroup: who waits is woken by the first error", "[exec][job_group]") {
  Gate gate;
  Gate second;
  const auto slow = held_pool(gate, {.name = "slow"});
  const auto quick = held_pool(second, {.name = "quick"});
  JobGroup<absl::Status> group;
  group.submit(*slow, [] { return absl::OkStatus(); });
  group.submit(*quick, [] { return absl::DataLossError("x"); });
  absl::Status error;
  std::thread waiter([&] { error = group.first_error(); });
  second.open();
  waiter.join();
  CHECK(absl::IsDataLoss(error));
}

TEST_CASE("JobGroup: a wait that ends early takes nothing", "[exec][job_group]") {
  Gate gate;
  const auto pool = held_pool(gate, {});
  JobGroup<int> group;
  group.submit(*pool, [] { return 6; });
  const auto late = group.wait_all(kEnded);
  CHECK(absl::IsDeadlineExceeded(late.status()));
  CHECK(testing::text_of(late.status()).find("1 of 1 jobs") != std::string::npos);
  CHECK(absl::IsDeadlineExceeded(group.first_error(kEnded)));
  const Context::Cancellable caller = Context::background().with_cancel();
  caller.source.cancel();
  CHECK(absl::IsCancelled(group.first_error(caller.context)));
  gate.open();
  CHECK(group.wait_all().value()[0].value() == 6);
}

TEST_CASE("JobGroup: a coroutine waits for all", "[exec][job_group]") {
  Gate gate;
  const auto pool = held_pool(gate, {});
  JobGroup<int> group;
  for (int i = 0; i < 10; ++i) group.submit(*pool, [i] { return i; });
  JoinHandle<int> sum = spawn(*pool, [](JobGroup<int>& jobs) -> Task<int> {
    const auto late = co_await jobs.async_wait_all(kEnded);
    int total = absl::IsDeadlineExceeded(late.status()) ? 0 : 1000;
    const auto answers = co_await jobs.async_wait_all();
    for (const auto& answer : *answers) total += *answer;
    co_return total;
  }(group));
  gate.open();
  CHECK(sum.get() == 45);
}

Task<absl::Status> first_error_of(JobGroup<absl::Status>& group) { co_return co_await group.async_first_error(); }

TEST_CASE("JobGroup: a coroutine is told the first error in time, and the rest is cancelled", "[exec][job_group]") {
  for (const bool cancels : {false, true}) {
    Gate gate;
    Gate second;
    const auto slow = held_pool(gate, {.name = "slow"});
    const auto quick = held_pool(second, {.name = "quick"});
    JobGroup<absl::Status> group({.cancel_on_error = cancels});
    group.submit(*slow, [] { return absl::OkStatus(); });
    group.submit(*quick, [] { return absl::OkStatus(); });
    group.submit(*quick, [] { return absl::NotFoundError("no model"); });
    JoinHandle<absl::Status> error =
        spawn(Executor::inline_executor(), first_error_of(group));  // waits when this is done
    second.open();
    CHECK(error.get() == absl::NotFoundError("no model"));
    CHECK(slow->stats().cancelled == (cancels ? 1 : 0));
    CHECK(sync_wait(group.async_first_error()) == absl::NotFoundError("no model"));
    CHECK(group.size() == 3);
    gate.open();
    const auto answers = group.wait_all().value();
    CHECK(absl::IsCancelled(answers[0]) == cancels);
    CHECK(answers[1].ok());
    CHECK(sync_wait(group.async_first_error()).ok());  // as new
  }
}

TEST_CASE("JobGroup: without an error a coroutine that waits for the first is told so after the last answer",
          "[exec][job_group]") {
  Gate gate;
  const auto pool = held_pool(gate, {});
  JobGroup<absl::Status> group;
  for (int i = 0; i < 3; ++i) group.submit(*pool, [] { return absl::OkStatus(); });
  JoinHandle<absl::Status> error = spawn(*pool, first_error_of(group));  // in a worker of their own pool
  const absl::Status late = sync_wait(group.async_first_error(kEnded));
  CHECK(absl::IsDeadlineExceeded(late));
  CHECK(testing::text_of(late).find("job group: waiting for 3 of 3 jobs") == 0);
  const Context::Cancellable caller = Context::background().with_cancel();
  auto cancelled = spawn(Executor::inline_executor(), group.async_first_error(caller.context));
  caller.source.cancel();
  CHECK(absl::IsCancelled(cancelled.get()));
  CHECK(group.pending() == 3);
  gate.open();
  CHECK(error.get().ok());
  CHECK(group.pending() == 0);
  CHECK(group.wait_all().value().size() == 3);
}

Detached wait_detached(RunLoop& /*loop*/, JobGroup<int>& group, Context ctx, bool& resumed) {
  static_cast<void>(co_await group.async_wait_all(ctx));
  resumed = true;
}

Detached wait_detached_for_error(RunLoop& /*loop*/, JobGroup<int>& group, Context ctx, bool& resumed) {
  static_cast<void>(co_await group.async_first_error(ctx));
  resumed = true;
}

TEST_CASE("JobGroup: a coroutine may be destroyed while it waits, or be called off", "[exec][job_group]") {
  Gate gate;
  const auto pool = held_pool(gate, {});
  JobGroup<int> group;
  group.submit(*pool, [] { return 1; });
  RunLoop loop;
  bool resumed = false;
  for (const Context& ctx : {Context::background(), Context::background().with_timeout(1h)}) {
    wait_detached(loop, group, ctx, resumed).handle.destroy();
    wait_detached_for_error(loop, group, ctx, resumed).handle.destroy();
  }
  const Context::Cancellable caller = Context::background().with_cancel();
  auto cancelled = spawn(Executor::inline_executor(), group.async_wait_all(caller.context));
  caller.source.cancel();
  CHECK(absl::IsCancelled(cancelled.get().status()));
  gate.open();
  CHECK(sync_wait(group.async_wait_all()).value()[0].value() == 1);
  CHECK_FALSE(resumed);
}

TEST_CASE("JobGroup: a worker does not wait for its own pool, unless it helps", "[exec][job_group]") {
  for (const InsideWait inside : {InsideWait::kRefuse, InsideWait::kHelp}) {
    const auto pool = make_pool({.workers = 1, .inside_wait = inside});
    Job<absl::Status> outer = pool->submit([&pool] {
                                    JobGroup<int> group;
                                    for (int i = 0; i < 3; ++i) group.submit(*pool, [i] { return i; });
                                    return group.wait_all().status();
                                  })
                                  .value();
    const absl::Status status = outer.get();
    CHECK((inside == InsideWait::kHelp ? status.ok() : absl::IsFailedPrecondition(status)));
  }
}

TEST_CASE("JobGroup: its end cancels what waits, and does not wait for what runs", "[exec][job_group]") {
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1});
  std::atomic<int> ran{0};
  {
    JobGroup<void> group;
    group.submit(*pool, [&] { gate.pass(); });
    REQUIRE(gate.await(1));
    for (int i = 0; i < 5; ++i) group.submit(*pool, [&] { ++ran; });
  }
  CHECK(pool->stats().cancelled == 5);
  gate.open();
  pool->shutdown(Context::background());
  CHECK(ran == 0);
}

TEST_CASE("JobGroup: its end may wait for what it cancels", "[exec][job_group]") {
  const auto pool = make_pool({.workers = 2});
  std::atomic<int> ended{0};
  std::atomic<int> started{0};
  {
    JobGroup<void> group({.wait_at_end = true});
    for (int i = 0; i < 2; ++i) {
      group.submit(*pool, [&](const JobContext& job) {
        ++started;
        static_cast<void>(testing::eventually([&] { return job.context.status() != OpStatus::kOk; }));
        ++ended;
      });
    }
    REQUIRE(testing::eventually([&] { return started == 2; }));
  }
  CHECK(ended == 2);
}

TEST_CASE("JobGroup: cancels the newest job first", "[exec][job_group]") {
  testing::Gate gate;
  testing::Recorder<int> order;
  const auto pool = make_pool(gate, {.workers = 3});
  JobGroup<void> group;
  for (int which = 0; which < 3; ++which) {
    group.submit(*pool, [&gate, &order, which](const JobContext& job) {
      const DoneCallback cancelled = job.context.on_done([&order, which]() noexcept { order.record(which); });
      gate.pass();
    });
  }
  REQUIRE(gate.await(3));
  CHECK(group.cancel() == 3);
  gate.open();
  CHECK(group.wait_all().ok());
  CHECK(order.events() == std::vector<int>{2, 1, 0});
}

TEST_CASE("JobGroup: without memory nothing is submitted, and the group is as before", "[exec][job_group]") {
  const auto pool = make_pool({.workers = 1});
  std::atomic<int> ran{0};
  JobGroup<void> group;
  std::size_t failures = 0;
  for (std::uint64_t nth = 0; failures == nth && nth < 100; ++nth) {
    try {
      const testing::FailAllocation fail(nth);
      group.submit(*pool, [&ran] { ++ran; });
    } catch (const std::bad_alloc&) {
      ++failures;
    }
  }
  CHECK(failures > 0);
  CHECK(group.size() == 1);
  CHECK(group.wait_all().value().size() == 1);
  CHECK(ran == 1);
}

TEST_CASE("JobGroup: groups that go while their jobs are answered", "[exec][job_group][stress]") {
  const auto pool = make_pool({.workers = 2, .queue_capacity = 1000});
  for (int round = 0; round < 2000; ++round) {
    JobGroup<int> group;
    for (int i = 0; i < 4; ++i) group.submit(*pool, [i] { return i; });
    if (round % 3 == 0) static_cast<void>(group.wait_all());
    if (round % 3 == 1) CHECK(group.first_error().ok());
  }
  CHECK(testing::discrepancies(pool->stats()).empty());
}

}  // namespace
}  // namespace penstock
