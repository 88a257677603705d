// SPDX-License-Identifier: MIT
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>

#include "exec/pool_support.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/job.hpp"
#include "support/allocations.hpp"
#include "support/blocks.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::Gate;
using testing::held_pool;
using testing::make_pool;

TEST_CASE("Job::then: the function gets the answer, on the executor that it was given", "[exec][job_then]") {
  const auto pool = make_pool({.name = "a", .workers = 1});
  const auto other = make_pool({.name = "b", .workers = 1});
  Job<int> job = pool->submit([] { return 20; }).value();
  JoinHandle<int> end = std::move(job).then(
      *other, [&other](absl::StatusOr<int> answer) { return other->on_worker_thread() ? *answer + 1 : 0; });
  CHECK(end.get() == 21);
}

TEST_CASE("Job::then: an answer that is there already is passed on", "[exec][job_then]") {
  const auto pool = make_pool({.workers = 1});
  Job<int> job = pool->submit([] { return 1; }).value();
  REQUIRE(job.wait() == OpStatus::kOk);
  CHECK(std::move(job).then(*pool, [](absl::StatusOr<int> answer) { return answer.value(); }).get() == 1);
}

TEST_CASE("Job::then: a failure is an answer, and so is no job", "[exec][job_then]") {
  const auto pool = make_pool({.workers = 1});
  Job<absl::Status> job = pool->submit([] { return absl::NotFoundError("no model"); }).value();
  const auto pass = [](absl::Status answer) { return answer; };
  CHECK(std::move(job).then(*pool, pass).get() == absl::NotFoundError("no model"));
  CHECK(absl::IsInvalidArgument(Job<void>().then(*pool, pass).get()));
}

TEST_CASE("Job::then: values and functions may be movable only", "[exec][job_then]") {
  const auto pool = make_pool({.workers = 1});
  Job<std::unique_ptr<int>> job = pool->submit([] { return std::make_unique<int>(4); }).value();
  JoinHandle<std::unique_ptr<int>> end =
      std::move(job).then(*pool, [more = std::make_unique<int>(3)](absl::StatusOr<std::unique_ptr<int>> answer) {
        return std::make_unique<int>(**answer + *more);
      });
  CHECK(*end.get() == 7);
}

TEST_CASE("Job::then: an exception of the function is thrown to who waits", "[exec][job_then]") {
  const auto pool = make_pool({.workers = 1});
  Job<void> job = pool->submit([] {}).value();
  JoinHandle<void> end =
      std::move(job).then(*pool, [](const absl::Status& /*answer*/) { throw std::runtime_error("no"); });
  CHECK_THROWS_AS(end.get(), std::runtime_error);
}

TEST_CASE("Job::then: an exception that nobody can see goes to the executor", "[exec][job_then]") {
  std::atomic<int> reported{0};
  {
    const auto pool = make_pool({.workers = 1, .on_exception = [&](const CaughtException&) { ++reported; }});
    Job<void> job = pool->submit([] {}).value();
    static_cast<void>(std::move(job).then(*pool, [](const absl::Status&) { throw std::runtime_error("no"); }));
    CHECK(testing::eventually([&] { return reported == 1; }));
  }
}

TEST_CASE("Job::then: a job that a shutdown calls off is continued with that answer", "[exec][job_then]") {
  Gate gate;
  const auto other = make_pool({.name = "b", .workers = 1});
  const auto pool = held_pool(gate, {.name = "a"});
  Job<int> job = pool->submit([] { return 1; }).value();
  JoinHandle<absl::Status> end =
      std::move(job).then(*other, [](const absl::StatusOr<int>& answer) { return answer.status(); });
  const Context ended = Context::background().with_timeout(0s);
  static_cast<void>(pool->shutdown(ended));
  CHECK(absl::IsCancelled(end.get()));
}

TEST_CASE("Job::then: one waits while the job runs, without a thread", "[exec][job_then]") {
  Gate gate;
  const auto pool = held_pool(gate, {});
  Job<int> job = pool->submit([] { return 3; }).value();
  RunLoop loop;
  int seen = 0;
  JoinHandle<void> end = std::move(job).then(loop, [&](absl::StatusOr<int> answer) {
    seen = *answer;
    loop.stop();
  });
  gate.open();
  loop.run();
  end.get();
  CHECK(seen == 3);
}

TEST_CASE("Job::then: without memory it throws, and the job runs on", "[exec][job_then]") {
  const auto pool = make_pool({.workers = 1});
  std::atomic<int> ran{0};
  int failures = 0;
  for (std::uint64_t nth = 0; failures == static_cast<int>(nth); ++nth) {
    Job<void> job = pool->submit([&] { ++ran; }).value();
    try {
      const testing::FailAllocation fail(nth);
      static_cast<void>(std::move(job).then(*pool, [large = testing::TooLargeToKeep()](const absl::Status&) {}));
    } catch (const std::bad_alloc&) {
      ++failures;
    }
  }
  CHECK(failures >= 1);  // that of the large frame; where a sanitizer looks on, of small ones, too
  CHECK(testing::eventually([&] { return ran == failures + 1; }));
}

}  // namespace
}  // namespace penstock
