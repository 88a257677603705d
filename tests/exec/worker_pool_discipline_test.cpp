// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <chrono>
#include <set>
#include <string>
#include <vector>

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
using testing::text_of;

// The order in which the only worker starts jobs that were all there before the
// first.
std::vector<int> order_of(const WorkerPoolOptions& options, const std::vector<int>& priorities) {
  Gate gate;
  Recorder<int> started;
  const auto pool = held_pool(gate, options);
  for (std::size_t i = 0; i < priorities.size(); ++i) {
    const int number = static_cast<int>(i) + 1;
    REQUIRE(pool->try_submit([&started, number] { started.record(number); }, nullptr, {.priority = priorities[i]}) ==
            OpStatus::kOk);
  }
  gate.open();
  REQUIRE(eventually([&] { return pool->stats().succeeded == priorities.size() + 1; }));
  CHECK(discrepancies(pool->stats(), true).empty());
  return started.events();
}

TEST_CASE("WorkerPool: kFifo starts the oldest job, whatever its priority", "[exec][worker_pool]") {
  CHECK(order_of({.queue_capacity = 4}, {0, 7, -8, 1}) == std::vector<int>{1, 2, 3, 4});
}

TEST_CASE("WorkerPool: kLifo starts the newest job", "[exec][worker_pool]") {
  CHECK(order_of({.queue_capacity = 4, .discipline = QueueDiscipline::kLifo}, {0, 7, -8, 1}) ==
        std::vector<int>{4, 3, 2, 1});
}

TEST_CASE(
    "WorkerPool: kAdaptiveLifo starts the newest while more than half of "
    "the places are taken",
    "[exec][worker_pool]") {
  const WorkerPoolOptions options{.queue_capacity = 8, .discipline = QueueDiscipline::kAdaptiveLifo};
  // The job that the free worker is about to take is on no place any more.
  CHECK(order_of(options, std::vector<int>(8)) == std::vector<int>{8, 7, 6, 1, 2, 3, 4, 5});
  CHECK(order_of(options, std::vector<int>(5)) == std::vector<int>{1, 2, 3, 4, 5});
}

TEST_CASE("WorkerPool: kPriority starts the most urgent job, and of those the oldest", "[exec][worker_pool]") {
  CHECK(order_of({.queue_capacity = 8, .discipline = QueueDiscipline::kPriority},
                 {0, 5, kLowestPriority, 5, kHighestPriority, 0, kLowestPriority, -1}) ==
        std::vector<int>{5, 2, 4, 1, 6, 8, 3, 7});
}

TEST_CASE("WorkerPool: under kPriority kDropOldest gives up the least urgent job", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(
      gate, {.queue_capacity = 2, .overflow = OverflowPolicy::kDropOldest, .discipline = QueueDiscipline::kPriority});
  Job<void> urgent = pool->submit([] {}, {.priority = 3}).value();
  Job<void> idle = pool->submit([] {}, {.priority = -3}).value();
  Job<void> newer = pool->submit([] {}).value();
  CHECK(idle.get().code() == absl::StatusCode::kAborted);
  gate.open();
  CHECK(urgent.get().ok());
  CHECK(newer.get().ok());
  CHECK(pool->stats().dropped_oldest == 1);
}

TEST_CASE("WorkerPool: a priority out of range is refused, with the numbers", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1});
  CHECK(text_of(pool->submit([] {}, {.priority = 8}).status()) ==
        "worker pool 'p': options.priority must be in [-8, 7], got 8");
  CHECK(text_of(pool->submit([] {}, {.priority = -9}).status()) ==
        "worker pool 'p': options.priority must be in [-8, 7], got -9");
}

// One worker, jobs of 10 ms on the clock that the test owns, all of them there
// at the beginning.
class Backlog {
 public:
  explicit Backlog(CodelOptions codel)
      : pool_(held_pool(gate_, {.queue_capacity = 100, .queue_wait_limit = 1h, .clock = &clock_, .codel = codel})) {}

  Job<void> submit() {
    return pool_->submit([this] { clock_.advance(10ms); }).value();
  }
  std::vector<Job<void>> submit(int count) {
    std::vector<Job<void>> jobs;
    for (int i = 0; i < count; ++i) jobs.push_back(submit());
    return jobs;
  }
  void open() { gate_.open(); }
  WorkerPool& pool() { return *pool_; }

 private:
  ManualClock clock_;
  Gate gate_;
  testing::TestPool pool_;
};

TEST_CASE("WorkerPool: CoDel sheds what has waited while a queue stands", "[exec][worker_pool]") {
  Backlog backlog({.target = 5ms, .interval = 100ms});
  std::vector<Job<void>> jobs = backlog.submit(40);
  backlog.open();
  // In the first 100 ms one job has waited for nothing. In the second none has
  // waited for less than 100 ms: so from 200 ms on whatever has waited for more
  // than 10 ms is shed.
  for (std::size_t i = 0; i < 20; ++i) CHECK(jobs[i].get().ok());
  for (std::size_t i = 20; i < 40; ++i) {
    const absl::Status shed = jobs[i].get();
    CHECK(shed.code() == absl::StatusCode::kResourceExhausted);
    CHECK(shed.GetPayload("type.penstock/stage") == absl::Cord("queue"));
    CHECK(text_of(shed) ==
          "worker pool 'p': job " + std::to_string(i + 2) + " shed after 200 ms in the queue (target 5 ms)");
  }
  WorkerPoolStats stats = backlog.pool().stats();
  CHECK(stats.shed == 20);
  CHECK(stats.codel_dropping);
  CHECK(discrepancies(stats).empty());

  // One that does not wait is run, and ends it.
  CHECK(backlog.submit().get().ok());
  std::vector<Job<void>> more = backlog.submit(1);
  CHECK(more[0].get().ok());
  CHECK(backlog.pool().stats().shed == 20);
}

TEST_CASE("WorkerPool: CoDel leaves a burst alone that is gone after an interval", "[exec][worker_pool]") {
  Backlog backlog({.target = 5ms, .interval = 100ms});
  std::vector<Job<void>> jobs = backlog.submit(20);
  backlog.open();
  for (Job<void>& job : jobs) CHECK(job.get().ok());
  CHECK(backlog.pool().stats().shed == 0);
  CHECK_FALSE(backlog.pool().stats().codel_dropping);
}

// Three workers without deadlines. Each that sleeps arms its idle time-out, and nothing else is armed.
WorkerPoolOptions sleepers(ManualClock& clock) {
  return {.workers = 3,
          .queue_wait_limit = Duration::max(),
          .processing_timeout = Duration::max(),
          .clock = &clock,
          .min_workers = 3,
          .idle_timeout = 1h};
}

TEST_CASE("WorkerPool: kSharedQueue gives each job to the worker that fell idle last", "[exec][worker_pool]") {
  ManualClock clock;
  std::array<Gate, 4> gates;
  Recorder<std::size_t> slept;
  Recorder<std::size_t> woken;
  const auto pool = make_pool(sleepers(clock));
  const testing::OpenAtEnd at_end(gates);
  const auto await_asleep = [&clock](std::size_t workers) {
    return eventually([&] { return clock.armed() == workers; });
  };
  const auto run = [&pool] {
    return pool->submit([](const JobContext& job) { return job.worker_id; }).value().get().value();
  };

  // A chain of single jobs stays with one worker, also when that one has slept in between.
  REQUIRE(await_asleep(3));
  const std::size_t first = run();
  for (int i = 0; i < 100; ++i) {
    REQUIRE(await_asleep(3));
    REQUIRE(run() == first);
  }

  // They are let go one by one, and asked the other way round.
  for (std::size_t i = 0; i < 3; ++i) {
    REQUIRE(pool->try_submit([&, i](const JobContext& job) {
      gates.at(i).pass();
      slept.record(job.worker_id);
    }) == OpStatus::kOk);
    REQUIRE(gates.at(i).await(1));
  }
  for (std::size_t i = 0; i < 3; ++i) {
    gates.at(i).open();
    REQUIRE(await_asleep(i + 1));
  }
  for (int i = 0; i < 3; ++i) {
    REQUIRE(pool->try_submit([&](const JobContext& job) {
      woken.record(job.worker_id);
      gates[3].pass();
    }) == OpStatus::kOk);
    REQUIRE(gates[3].await(i + 1));
  }
  std::vector<std::size_t> backwards = woken.events();
  std::reverse(backwards.begin(), backwards.end());
  CHECK(backwards == slept.events());
}

TEST_CASE("WorkerPool: kRoundRobin gives each job to the worker that has been idle longest", "[exec][worker_pool]") {
  constexpr std::uint64_t kRounds = 100;
  ManualClock clock;
  WorkerPoolOptions options = sleepers(clock);
  options.dispatch = DispatchMode::kRoundRobin;
  const auto pool = make_pool(options);
  std::vector<std::size_t> order;
  for (std::uint64_t job = 0; job < 3 * kRounds; ++job) {
    REQUIRE(eventually([&] { return clock.armed() == 3; }));  // all are idle, who ran last for the shortest time
    order.push_back(pool->submit([](const JobContext& context) { return context.worker_id; }).value().get().value());
    if (job >= 3) REQUIRE(order[job] == order[job - 3]);
  }
  CHECK(std::set(order.begin(), order.end()).size() == 3);
  REQUIRE(eventually([&] { return pool->stats().busy == 0; }));
  CHECK(pool->stats().jobs_per_worker_min == kRounds);
  CHECK(pool->stats().jobs_per_worker_max == kRounds);
}

}  // namespace
}  // namespace penstock
