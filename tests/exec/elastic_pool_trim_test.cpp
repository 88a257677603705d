// SPDX-License-Identifier: MIT
#include <array>
#include <atomic>
#include <chrono>
#include <vector>

#include "exec/elastic_support.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/elastic_pool.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/threads.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::is_at_rest;
using testing::OpenAtEnd;
using testing::threads_of;

/// Has `count` workers made, by as many tasks that wait for each other, and waits until they are idle.
void grow(ElasticPool& pool, int count) {
  std::array<Gate, 1> gates;
  {
    OpenAtEnd guard(gates);
    for (int i = 0; i < count; ++i) REQUIRE(pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk);
    REQUIRE(gates[0].await(count));
  }
  REQUIRE(is_at_rest(pool));
}

// 1.3.1 of what it follows: the first pill comes 22 s after the last creation, then one each 2 s, down to 3. E4, E6.
TEST_CASE("ElasticPool: the poison pill is given as published", "[exec][elastic_pool]") {
  ManualClock clock;
  ElasticPool pool({.name = "p", .clock = &clock});
  grow(pool, 8);
  REQUIRE(pool.worker_count() == 8);
  std::vector<std::size_t> after_ticks;
  for (int tick = 1; tick <= 18; ++tick) {
    clock.advance(2s);
    after_ticks.push_back(pool.worker_count());
  }
  CHECK(after_ticks == std::vector<std::size_t>{8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 7, 6, 5, 4, 3, 3, 3, 3});
  CHECK(pool.stats().pills == 5);
  CHECK(pool.stats().trimmed == 5);
  CHECK(eventually([] { return threads_of("p") == 4; }));  // and the keeper
  CHECK(discrepancies(pool.stats()) == "");
}

TEST_CASE("ElasticPool: one step of the clock over many ticks is worth all of them", "[exec][elastic_pool]") {
  ManualClock clock;
  ElasticPool pool({.name = "p", .clock = &clock});
  grow(pool, 8);
  clock.advance(24s);
  CHECK(pool.worker_count() == 6);
  clock.advance(1h);
  CHECK(pool.worker_count() == 3);
  CHECK(clock.armed() == 0);  // nothing to do until a worker is made
  grow(pool, 4);
  CHECK(clock.armed() == 1);
}

// X19, E5: a tick that falls due while all are busy gives its pill to nobody, now or later.
TEST_CASE("ElasticPool: a pill for which nobody was idle is not given later", "[exec][elastic_pool]") {
  ManualClock clock;
  std::array<Gate, 1> gates;
  ElasticPool pool({.name = "p", .clock = &clock});
  grow(pool, 8);
  clock.advance(20s);
  {
    OpenAtEnd guard(gates);
    for (int i = 0; i < 8; ++i) REQUIRE(pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk);
    REQUIRE(gates[0].await(8));
    clock.advance(10s);  // five ticks beyond the delay
    CHECK(pool.stats().pills == 0);
    // A ninth is made: the kill clock begins anew, and nothing that was due before counts any more.
    CHECK(pool.submit([] { return 1; })->get().value() == 1);
  }
  REQUIRE(is_at_rest(pool));
  CHECK(pool.worker_count() == 9);
  clock.advance(20s);
  CHECK(pool.worker_count() == 9);
  clock.advance(2s);
  CHECK(pool.worker_count() == 8);
}

TEST_CASE("ElasticPool: one creation each now and then postpones the pill", "[exec][elastic_pool]") {
  ManualClock clock;
  std::array<Gate, 1> gates;
  ElasticPool pool({.name = "p", .trim = PoisonPill{2s, 2, 0}, .growth = {.at_once = 100}, .clock = &clock});
  OpenAtEnd guard(gates);
  grow(pool, 1);
  clock.advance(4s);
  CHECK(pool.worker_count() == 1);
  REQUIRE(pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk);
  REQUIRE(gates[0].await(1));
  REQUIRE(pool.submit([] {})->get().ok());  // made a second one
  REQUIRE(eventually([&] { return pool.stats().idle == 1; }));
  clock.advance(4s);
  CHECK(pool.worker_count() == 2);
  clock.advance(2s);
  CHECK(pool.worker_count() == 1);
}

TEST_CASE("ElasticPool: who is not used goes after its time, who is used stays", "[exec][elastic_pool]") {
  ManualClock clock;
  ElasticPool pool({.name = "p", .trim = IdleTimeout{30s, 0}, .clock = &clock});
  grow(pool, 6);
  for (int second = 0; second < 29; ++second) {
    clock.advance(1s);
    REQUIRE(pool.submit([] {})->get().ok());
    REQUIRE(is_at_rest(pool));
    REQUIRE(pool.worker_count() == 6);
  }
  clock.advance(1s);
  CHECK(pool.worker_count() == 1);  // the one at the top, used a second ago
  clock.advance(28s);
  CHECK(pool.worker_count() == 1);
  clock.advance(1s);
  CHECK(pool.worker_count() == 0);
  CHECK(pool.submit([] { return 1; })->get().value() == 1);
  CHECK(eventually([] { return threads_of("p") == 2; }));
}

TEST_CASE("ElasticPool: what was idle all through a window goes by half", "[exec][elastic_pool]") {
  ManualClock clock;
  ElasticPool pool({.name = "p", .trim = LowWater{10s, 0.5, 1}, .clock = &clock});
  grow(pool, 9);
  clock.advance(10s);  // a worker was made in this one
  CHECK(pool.worker_count() == 9);
  std::vector<std::size_t> after_windows;
  for (int window = 0; window < 5; ++window) {
    clock.advance(10s);
    after_windows.push_back(pool.worker_count());
  }
  CHECK(after_windows == std::vector<std::size_t>{4, 2, 1, 1, 1});
}

TEST_CASE("ElasticPool: the least number stays, whatever the floor of the policy is", "[exec][elastic_pool]") {
  ManualClock clock;
  ElasticPool pool({.name = "p", .min_workers = 5, .trim = IdleTimeout{1s, 0}, .clock = &clock});
  grow(pool, 8);
  clock.advance(1h);
  CHECK(pool.worker_count() == 5);
  REQUIRE(pool.resize(2, kUnlimited).ok());
  CHECK(eventually([&] {
    clock.advance(1s);
    return pool.worker_count() == 2;
  }));
}

TEST_CASE("ElasticPool: another trim policy holds from its change on", "[exec][elastic_pool]") {
  ManualClock clock;
  ElasticPool pool({.name = "p", .trim = PoisonPill{1h, 1000, 0}, .clock = &clock});
  grow(pool, 8);
  clock.advance(1h);
  CHECK(pool.worker_count() == 8);
  REQUIRE(pool.set_trim(IdleTimeout{30s, 2}).ok());
  CHECK(clock.armed() <= 1);
  clock.advance(30s);
  CHECK(pool.worker_count() == 2);
  CHECK(absl::IsInvalidArgument(pool.set_trim(IdleTimeout{-1s, 2})));
  CHECK(pool.stats().pills == 0);
}

TEST_CASE("ElasticPool: a clock that stands still or jumps does no harm", "[exec][elastic_pool]") {
  ManualClock clock(TimePoint::max() - 1s);
  ElasticPool pool({.name = "p", .clock = &clock});
  grow(pool, 8);
  clock.advance(1000h);
  CHECK(pool.worker_count() <= 8);
  CHECK(pool.submit([] { return 1; })->get().value() == 1);
}

// W02: five to ten workers, a queue of five; overload makes ten of them, idleness five, the end none.
TEST_CASE("ElasticPool: an agile size follows the load", "[exec][elastic_pool]") {
  ManualClock clock;
  std::array<Gate, 1> gates;
  ElasticPool pool({.name = "p",
                    .min_workers = 5,
                    .max_workers = 10,
                    .queue_capacity = 5,
                    .trim = PoisonPill{1h, 1000, 0},
                    .size = AgileSize{},
                    .size_interval = 1s,
                    .clock = &clock});
  CHECK(pool.worker_count() == 5);
  {
    OpenAtEnd guard(gates);
    for (int i = 0; i < 5; ++i) REQUIRE(pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk);
    REQUIRE(gates[0].await(5));
    CHECK(pool.worker_count() == 5);
    clock.advance(1s);  // a load of 1
    CHECK(eventually([&] { return pool.stats().idle == 5; }));
    CHECK(pool.worker_count() == 10);
    for (int i = 0; i < 10; ++i) REQUIRE(pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk);
    REQUIRE(gates[0].await(10));
    CHECK(pool.execute([] {}) == OpStatus::kFull);
  }
  REQUIRE(is_at_rest(pool));
  CHECK(pool.stats().succeeded == 15);
  clock.advance(1s);
  CHECK(pool.worker_count() == 5);
  const ElasticShutdownReport report = pool.shutdown();
  CHECK(report.in_time);
  CHECK(pool.worker_count() == 0);
}

TEST_CASE("ElasticPool: a rigid size follows the load by steps", "[exec][elastic_pool]") {
  ManualClock clock;
  std::array<Gate, 1> gates;
  ElasticPool pool({.name = "p",
                    .min_workers = 1,
                    .max_workers = 10,
                    .trim = PoisonPill{1h, 1000, 0},
                    .size = RigidSize{{}, 2},
                    .size_interval = 1s,
                    .size_buffer = 2,
                    .clock = &clock});
  {
    OpenAtEnd guard(gates);
    for (int i = 0; i < 2; ++i) REQUIRE(pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk);
    REQUIRE(gates[0].await(2));
    clock.advance(1s);
    CHECK(eventually([&] { return pool.stats().idle == 2; }));
    CHECK(pool.worker_count() == 4);
  }
  REQUIRE(is_at_rest(pool));
  clock.advance(1s);
  CHECK(pool.worker_count() == 2);
  clock.advance(1s);
  CHECK(pool.worker_count() == 1);
}

}  // namespace
}  // namespace penstock
