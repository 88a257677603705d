// SPDX-License-Identifier: MIT
// What a job says of itself, and its worker is shown with.
#include <array>
#include <chrono>
#include <cstddef>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/exec/detail/job_activity.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using detail::JobActivity;
using detail::JobStage;
using testing::eventually;
using testing::Gate;
using testing::make_pool;
using testing::worker_of;

TEST_CASE("JobActivity: what is entered is read, at any time", "[exec][worker_info]") {
  JobActivity activity;
  CHECK(activity.read().stage == JobStage::kProcessing);
  CHECK(activity.read().since == TimePoint::min());
  for (const JobStage stage : {JobStage::kProcessing, JobStage::kCalling, JobStage::kResponding}) {
    for (const Duration at : {0ns, 1ns, -1ns, 123'456'789ns, Duration(24h * 365 * 70), Duration(-24h * 365 * 70)}) {
      activity.enter(stage, TimePoint(at));
      CHECK(activity.read().stage == stage);
      CHECK(activity.read().since == TimePoint(at));
    }
    activity.enter(stage, TimePoint::max());
    CHECK(activity.read().stage == stage);
    CHECK(activity.read().since > TimePoint(24h * 365 * 73));
    activity.enter(stage, TimePoint::min());
    CHECK(activity.read().stage == stage);
    CHECK(activity.read().since < TimePoint(-24h * 365 * 73));
  }
  activity.reset();
  CHECK(activity.read().stage == JobStage::kProcessing);
  CHECK(activity.read().since == TimePoint::min());
}

TEST_CASE("WorkerPool: a worker is shown with its job, through all that this does", "[exec][worker_info]") {
  ManualClock clock;
  const auto pool = make_pool({.workers = 1, .clock = &clock});
  std::array<Gate, 5> gates;
  clock.advance(1s);
  const TimePoint start = clock.now();
  Job<int> job = pool->submit(
                         [&](const JobContext& context) {
                           gates[0].pass();
                           {
                             const auto calling = context.calling();
                             gates[1].pass();
                             {
                               const auto inner = context.calling();
                               gates[2].pass();
                             }
                             gates[3].pass();
                           }
                           gates[4].pass();
                           return 7;
                         },
                         {.tag = "chat"})
                     .value();
  // In which state it is at each gate, and how many seconds after the start it has come there; each takes one.
  const std::array<std::pair<WorkerState, int>, 5> expected = {{{WorkerState::kProcessing, 0},
                                                                {WorkerState::kCalling, 1},
                                                                {WorkerState::kCalling, 1},
                                                                {WorkerState::kCalling, 1},
                                                                {WorkerState::kProcessing, 4}}};
  for (std::size_t i = 0; i < gates.size(); ++i) {
    const bool has_come = gates[i].await(1);
    clock.advance(1s);
    const WorkerInfo worker = worker_of(*pool);
    gates[i].open();
    REQUIRE(has_come);
    CHECK(worker.state == expected[i].first);
    CHECK(worker.since == start + std::chrono::seconds(expected[i].second));
    CHECK(worker.in_state == std::chrono::seconds(static_cast<int>(i) + 1 - expected[i].second));
    CHECK(worker.job_id == job.id());
    CHECK(worker.tag == "chat");
    CHECK(worker.job_age == std::chrono::seconds(i + 1));
    CHECK_FALSE(worker.stuck);
    CHECK(worker.jobs == 0);
  }
  CHECK(job.get().value() == 7);
  CHECK(worker_of(*pool).jobs == 1);
  REQUIRE(eventually([&] { return worker_of(*pool).state == WorkerState::kListening; }));
  const WorkerInfo worker = worker_of(*pool);
  CHECK(worker.since == start + 5s);
  CHECK(worker.job_id == 0);
  CHECK(worker.tag.empty());
  CHECK(worker.job_age == Duration::zero());
}

TEST_CASE("WorkerPool: what one job has said of itself is not said of the next", "[exec][worker_info]") {
  ManualClock clock;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .clock = &clock});
  Gate first;
  REQUIRE(pool->submit([&first] { first.pass(); }).ok());
  REQUIRE(pool->submit([](const JobContext& context) { const auto calling = context.calling(); }).ok());
  REQUIRE(pool->execute([&gate] { gate.pass(); }) == OpStatus::kOk);
  clock.advance(1s);
  first.open();
  REQUIRE(gate.await(1));
  const WorkerInfo worker = worker_of(*pool);
  CHECK(worker.state == WorkerState::kProcessing);
  CHECK(worker.since == clock.now());
  CHECK(worker.job_id == 3);
  CHECK(worker.jobs == 2);
}

TEST_CASE("WorkerPool: a worker whose job outran its time in a call is stuck there, and comes back",
          "[exec][worker_info]") {
  ManualClock clock;
  Gate gate;
  Gate last;
  const auto pool = make_pool(gate, {.workers = 1, .processing_timeout = 5s, .clock = &clock});
  Job<void> job = pool->submit([&](const JobContext& context) {
                        {
                          const auto calling = context.calling();
                          gate.pass();
                        }
                        const auto again = context.calling();
                        last.pass();
                      })
                      .value();
  REQUIRE(gate.await(1));
  clock.advance(5s);
  CHECK(absl::IsDeadlineExceeded(job.get()));
  job = Job<void>();  // nobody but the worker has it any more
  WorkerInfo worker = worker_of(*pool);
  CHECK(worker.state == WorkerState::kCalling);
  CHECK(worker.stuck);
  CHECK(worker.in_state == 5s);
  CHECK(worker.job_id == 1);
  gate.open();
  const bool has_come = last.await(1);
  worker = worker_of(*pool);
  last.open();
  REQUIRE(has_come);
  CHECK(worker.state == WorkerState::kCalling);
  CHECK(worker.stuck);
  CHECK(worker.in_state == Duration::zero());
  CHECK(pool->submit([] {}).value().get().ok());
  worker = worker_of(*pool);
  CHECK_FALSE(worker.stuck);
  CHECK(worker.jobs == 2);
  CHECK(worker.panicked == 0);
}

TEST_CASE("JobContext: to call in a job that no worker runs is not seen", "[exec][worker_info]") {
  SECTION("its submitter runs it") {
    Gate gate;
    const auto pool = testing::held_pool(gate, {.queue_capacity = 0, .overflow = OverflowPolicy::kCallerRuns});
    std::vector<WorkerInfo> seen;
    Job<void> mine = pool->submit([&](const JobContext& context) {
                           const auto calling = context.calling();
                           seen = pool->workers();
                         })
                         .value();
    REQUIRE(mine.is_done());
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].state == WorkerState::kProcessing);
    CHECK(seen[0].job_id == 1);
  }
  SECTION("a worker runs it while it waits for it") {
    const auto pool = make_pool({.workers = 1, .inside_wait = InsideWait::kHelp});
    std::vector<WorkerInfo> seen;
    Job<void> outer = pool->submit([&] {
                            Job<void> inner = pool->submit([&](const JobContext& context) {
                                                    const auto calling = context.calling();
                                                    seen = pool->workers();
                                                  })
                                                  .value();
                            static_cast<void>(inner.wait());
                          })
                          .value();
    CHECK(outer.get().ok());
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].state == WorkerState::kProcessing);
    CHECK(seen[0].job_id == outer.id());
  }
  SECTION("a test of the function makes it") {
    const JobContext context{Context::background(), 1, 0, 0s};
    const auto calling = context.calling();
    CHECK(context.activity == nullptr);
  }
}

}  // namespace
}  // namespace penstock
