// SPDX-License-Identifier: MIT
#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "exec/pool_support.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::held_pool;
using testing::make_pool;
using testing::Recorder;

TEST_CASE("WorkerPool: execute runs a function once", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 2, .queue_capacity = 1000});
  std::atomic<int> calls{0};
  for (int i = 0; i < 1000; ++i) REQUIRE(pool->execute([&calls] { ++calls; }) == OpStatus::kOk);
  REQUIRE(eventually([&] { return pool->stats().succeeded == 1000; }));
  CHECK(calls == 1000);
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.submitted == 1000);
  CHECK(stats.accepted == 1000);
  CHECK(discrepancies(stats, true).empty());
}

// A function that can only be moved, and shows whether it has been.
struct Owner {
  std::unique_ptr<int> value;
  std::atomic<int>* sum;
  void operator()() const { *sum += *value; }
};

TEST_CASE("WorkerPool: execute leaves a refused function as it was", "[exec][worker_pool]") {
  Gate gate;
  std::atomic<int> sum{0};
  auto pool = held_pool(gate, {.queue_capacity = 1, .overflow = OverflowPolicy::kReject});
  REQUIRE(pool->execute(Owner{std::make_unique<int>(1), &sum}) == OpStatus::kOk);
  Owner refused{std::make_unique<int>(2), &sum};
  CHECK(pool->execute(std::move(refused)) == OpStatus::kFull);
  REQUIRE(refused.value != nullptr);
  CHECK(*refused.value == 2);
  CHECK(pool->execute(std::move(refused), {.tag = "t"}) == OpStatus::kFull);
  REQUIRE(refused.value != nullptr);
  gate.open();
  REQUIRE(eventually([&] { return pool->stats().succeeded == 2; }));
  CHECK(pool->execute(std::move(refused)) == OpStatus::kOk);
  pool->shutdown(Context::background());
  CHECK(sum == 3);
  Owner late{std::make_unique<int>(4), &sum};
  CHECK(pool->execute(std::move(late)) == OpStatus::kClosed);
  REQUIRE(late.value != nullptr);
  CHECK(*late.value == 4);
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.rejected == 2);
  CHECK(stats.refused_closed == 1);
  CHECK(discrepancies(stats, true).empty());
}

TEST_CASE("WorkerPool: execute copies what it is lent", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1});
  std::atomic<int> sum{0};
  const auto shared = std::make_shared<int>(3);
  const auto add = [&sum, shared] { sum += *shared; };
  CHECK(pool->execute(add) == OpStatus::kOk);
  CHECK(pool->execute(add) == OpStatus::kOk);
  REQUIRE(eventually([&] { return pool->stats().succeeded == 2; }));
  CHECK(sum == 6);
  CHECK(shared.use_count() == 2);  // the copies are gone
}

TEST_CASE("WorkerPool: execute waits for a place, for as long as it may", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 0, .enqueue_timeout = 1s, .clock = &clock});
  std::atomic<bool> waited{false};
  std::thread submitter([&] { waited = pool->execute([] {}) == OpStatus::kTimedOut; });
  REQUIRE(eventually([&] { return pool->stats().submitting == 1; }));
  REQUIRE(eventually([&] { return clock.armed() == 2; }));  // the watch, and the submitter
  clock.advance(1s);
  submitter.join();
  CHECK(waited);
  CHECK(pool->stats().enqueue_timeouts == 1);
  CHECK(pool->execute([] {}, {.enqueue_timeout = 0s}) == OpStatus::kFull);
}

TEST_CASE("WorkerPool: what an executed function throws is counted and reported", "[exec][worker_pool]") {
  struct Caught {
    std::uint64_t job_id;
    std::string tag;
    std::string text;
  };
  Recorder<Caught> caught;
  const auto pool =
      make_pool({.workers = 1, .on_exception = [&caught](const CaughtException& exception) {
                   caught.record({exception.job_id, std::string(exception.tag), std::string(exception.text)});
                 }});
  CHECK(pool->execute([] { throw std::runtime_error("boom"); }) == OpStatus::kOk);
  CHECK(pool->execute([] { throw 7; }, {.tag = "chat"}) == OpStatus::kOk);
  REQUIRE(eventually([&] { return pool->stats().panicked == 2; }));
  REQUIRE(caught.size() == 2);
  CHECK(caught.events()[0].job_id == 1);
  CHECK(caught.events()[0].tag.empty());
  CHECK(caught.events()[0].text == "std::runtime_error: boom");
  CHECK(caught.events()[1].job_id == 2);
  CHECK(caught.events()[1].tag == "chat");
  CHECK(pool->stats().exceptions == 2);
  CHECK(discrepancies(pool->stats(), true).empty());
}

TEST_CASE("WorkerPool: a status other than OK of an executed function is a failure", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1});
  CHECK(pool->execute([] { return absl::OkStatus(); }) == OpStatus::kOk);
  CHECK(pool->execute([] { return absl::UnavailableError("gone"); }) == OpStatus::kOk);
  CHECK(pool->execute([]() -> absl::StatusOr<int> { return absl::NotFoundError("none"); }) == OpStatus::kOk);
  CHECK(pool->execute([]() -> absl::StatusOr<int> { return 7; }) == OpStatus::kOk);
  CHECK(pool->execute([] { return 7; }) == OpStatus::kOk);
  CHECK(pool->execute([] { return absl::AbortedError("no"); }, {.tag = "t"}) == OpStatus::kOk);
  REQUIRE(eventually([&] { return pool->stats().succeeded + pool->stats().failed == 6; }));
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.succeeded == 3);
  CHECK(stats.failed == 3);
  CHECK(stats.failed_with[static_cast<std::size_t>(absl::StatusCode::kUnavailable)] == 1);
  CHECK(stats.failed_with[static_cast<std::size_t>(absl::StatusCode::kNotFound)] == 1);
  CHECK(stats.failed_with[static_cast<std::size_t>(absl::StatusCode::kAborted)] == 1);
  CHECK(discrepancies(stats).empty());
}

TEST_CASE("WorkerPool: an executed function that outruns its time is counted, then as late", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .processing_timeout = 30s, .clock = &clock});
  CHECK(pool->execute([&gate] { gate.pass(); }) == OpStatus::kOk);
  REQUIRE(gate.await(1));
  clock.advance(30s);
  REQUIRE(eventually([&] { return pool->stats().processing_timeouts == 1; }));
  CHECK(pool->stats().overdue == 1);
  CHECK(pool->stats().running == 0);
  CHECK(discrepancies(pool->stats()).empty());
  gate.open();
  REQUIRE(eventually([&] { return pool->stats().late_results == 1; }));
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.overdue == 0);
  CHECK(stats.succeeded == 0);
  CHECK(discrepancies(stats).empty());
}

TEST_CASE("WorkerPool: an executed function that waits too long never runs", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  std::atomic<bool> ran{false};
  const auto pool = held_pool(gate, {.queue_wait_limit = 10s, .clock = &clock});
  const auto owned = std::make_shared<int>(0);
  CHECK(pool->execute([&ran, owned] { ran = true; }) == OpStatus::kOk);
  clock.advance(10s);
  REQUIRE(eventually([&] { return pool->stats().queue_expired == 1; }));
  CHECK(eventually([&] { return owned.use_count() == 1; }));
  gate.open();
  pool->shutdown(Context::background());
  CHECK_FALSE(ran);
}

// Its moves throw when they are told to.
struct Unmovable {
  explicit Unmovable(bool* when) : throws(when) {}
  Unmovable(const Unmovable&) = default;
  Unmovable(Unmovable&& other) noexcept(false) : throws(other.throws) {
    if (*throws) throw std::runtime_error("stays");
  }
  Unmovable& operator=(const Unmovable&) = delete;
  void operator()() const {}
  bool* throws;
};

TEST_CASE("WorkerPool: execute gives the place back if the function cannot be moved", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 1, .overflow = OverflowPolicy::kReject});
  bool throws = true;
  Unmovable function(&throws);
  CHECK_THROWS_AS(pool->execute(std::move(function)), std::runtime_error);
  CHECK(pool->stats().enqueue_failures == 1);
  CHECK(pool->stats().queue_depth == 0);
  CHECK(discrepancies(pool->stats()).empty());
  throws = false;
  CHECK(pool->execute(std::move(function)) == OpStatus::kOk);
  CHECK(pool->execute(std::move(function)) == OpStatus::kFull);
  gate.open();
  CHECK(eventually([&] { return pool->stats().succeeded == 2; }));
}

TEST_CASE("WorkerPool: without measurement limits are kept, soon after", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.processing_timeout = 1h, .measure = false});
  constexpr Duration kLimit = 20ms;
  // The coarse clock is some milliseconds late, and who else runs on this machine may make any one of them later.
  constexpr Duration kSoon = kLimit + 50ms;
  Duration soonest = Duration::max();
  for (int i = 0; i < 100 && soonest > kSoon; ++i) {
    const auto begun = std::chrono::steady_clock::now();
    Job<void> job = pool->submit([] {}, {.queue_wait_limit = kLimit}).value();
    REQUIRE(job.get().code() == absl::StatusCode::kDeadlineExceeded);
    soonest = std::min<Duration>(soonest, std::chrono::steady_clock::now() - begun);
  }
  CHECK(soonest <= kSoon);
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.queue_wait.count() + stats.run.count() == 0);
  CHECK(discrepancies(stats).empty());
}

}  // namespace
}  // namespace penstock
