// SPDX-License-Identifier: MIT
#include <algorithm>
#include <chrono>
#include <random>
#include <vector>

#include "exec/hand_over_support.hpp"
#include "exec/pool_support.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::check_books;
using testing::eventually;
using testing::Gate;
using testing::hand_over;
using testing::held_pool;
using testing::Recorder;

TEST_CASE("WorkerPool: hand_over puts the jobs in front of younger ones", "[exec][worker_pool][hand_over]") {
  ManualClock clock;
  Gate old_gate;
  Gate gate;
  const auto old = held_pool(old_gate, {.name = "old", .clock = &clock});
  const auto next = held_pool(gate, {.name = "new", .clock = &clock});
  Recorder<int> log;
  const auto submit = [&](WorkerPool& pool, int job) {
    REQUIRE(pool.try_submit([&log, job] { log.record(job); }) == OpStatus::kOk);
    clock.advance(1ms);
  };
  submit(*next, 0);
  submit(*old, 1);
  submit(*next, 2);
  submit(*old, 3);
  submit(*old, 4);
  submit(*next, 5);
  submit(*next, 6);
  CHECK(hand_over(*old, *next).moved == 3);
  gate.open();
  REQUIRE(eventually([&] { return log.size() == 7; }));
  CHECK(log.events() == std::vector{0, 1, 2, 3, 4, 5, 6});
}

TEST_CASE("WorkerPool: the successor's discipline decides", "[exec][worker_pool][hand_over]") {
  ManualClock clock;
  Gate old_gate;
  Gate gate;
  const QueueDiscipline before = GENERATE(QueueDiscipline::kFifo, QueueDiscipline::kPriority, QueueDiscipline::kLifo);
  const auto old = held_pool(old_gate, {.name = "old", .clock = &clock, .discipline = before});
  Recorder<int> log;
  const auto submit = [&](WorkerPool& pool, int job, int priority, bool front = false) {
    REQUIRE(pool.try_submit([&log, job] { log.record(job); }, nullptr, {.priority = priority, .front = front}) ==
            OpStatus::kOk);
    clock.advance(1ms);
  };
  const auto run = [&](QueueDiscipline after) {
    const auto next = held_pool(gate, {.name = "new", .clock = &clock, .discipline = after});
    submit(*old, 0, 0);
    submit(*old, 1, 3);
    submit(*old, 2, -1, true);
    submit(*old, 3, 3);
    submit(*old, 4, 0);
    submit(*next, 5, 3);
    CHECK(hand_over(*old, *next).moved == 5);
    gate.open();
    CHECK(next->shutdown(Context::background()).is_drained());
    check_books(*next);
    return log.events();
  };
  SECTION("first come, first served") { CHECK(run(QueueDiscipline::kFifo) == std::vector{2, 0, 1, 3, 4, 5}); }
  SECTION("by priority") { CHECK(run(QueueDiscipline::kPriority) == std::vector{1, 3, 5, 0, 4, 2}); }
  SECTION("the last first") { CHECK(run(QueueDiscipline::kLifo) == std::vector{2, 5, 4, 3, 1, 0}); }
}

/// A job as the reference knows it.
struct Known {
  int number;
  TimePoint at;
  int priority;
  bool front;
  bool moved;
};

TEST_CASE("WorkerPool: hand_over orders as a naive reference does", "[exec][worker_pool][hand_over]") {
  static constexpr QueueDiscipline kDisciplines[] = {QueueDiscipline::kFifo, QueueDiscipline::kLifo,
                                                     QueueDiscipline::kPriority};
  std::mt19937 random(2725);  // NOLINT(cert-msc51-cpp): the same each time
  for (int round = 0; round < 60; ++round) {
    ManualClock clock;
    Gate old_gate;
    Gate gate;
    const QueueDiscipline discipline = kDisciplines[random() % 3];
    const auto old = held_pool(
        old_gate, {.name = "old", .queue_capacity = 500, .clock = &clock, .discipline = kDisciplines[random() % 3]});
    const auto next =
        held_pool(gate, {.name = "new", .queue_capacity = 500, .clock = &clock, .discipline = discipline});
    Recorder<int> log;
    std::vector<Known> known;
    const int count = static_cast<int>(random() % 300);
    for (int i = 0; i < count; ++i) {
      const Known job{i, clock.now(), static_cast<int>(random() % 4), random() % 5 == 0, random() % 3 != 0};
      REQUIRE((job.moved ? *old : *next)
                  .try_submit([&log, i] { log.record(i); }, nullptr, {.priority = job.priority, .front = job.front}) ==
              OpStatus::kOk);
      known.push_back(job);
      if (random() % 3 != 0) clock.advance(1us);
    }
    CHECK(hand_over(*old, *next).left == 0);
    gate.open();
    REQUIRE(next->shutdown(Context::background()).is_drained());

    std::stable_sort(known.begin(), known.end(), [&](const Known& a, const Known& b) {
      const bool by_priority = discipline == QueueDiscipline::kPriority && a.priority != b.priority;
      if (by_priority) return a.priority > b.priority;
      if (a.front != b.front) return a.front;
      if (a.at != b.at) return (a.at < b.at) != (discipline == QueueDiscipline::kLifo);
      if (a.moved != b.moved) return a.moved != (discipline == QueueDiscipline::kLifo);
      return (a.number < b.number) != (discipline == QueueDiscipline::kLifo);
    });
    std::vector<int> expected;
    for (const Known& job : known) expected.push_back(job.number);
    CHECK(log.events() == expected);
  }
}

}  // namespace
}  // namespace penstock
