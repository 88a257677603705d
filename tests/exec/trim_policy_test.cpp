// SPDX-License-Identifier: MIT

#include <chrono>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "exec/trim_support.hpp"
#include "penstock/exec/trim_policy.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"

using namespace std::chrono_literals;
using penstock::Duration;
using penstock::IdleTimeout;
using penstock::LowWater;
using penstock::PoisonPill;
using penstock::time_to_floor;
using penstock::TimePoint;
using penstock::TrimDecision;
using penstock::TrimMachine;
using penstock::TrimPolicy;
using penstock::TrimSample;
using penstock::testing::text_of;
using penstock::testing::TrimmedCrew;

namespace {

using Retirements = std::vector<TrimmedCrew::Retirement>;

/// `workers` have been created at `at`, and are all idle.
TrimmedCrew after_burst(const TrimPolicy& policy, std::size_t workers, Duration at = 0s) {
  TrimmedCrew pool(policy);
  pool.run_until(at);
  pool.begin(workers);
  pool.end(workers);
  return pool;
}

TrimSample sample(Duration now, std::size_t live, std::size_t idle, Duration longest_idle = 0s) {
  return {TimePoint{} + now, live, idle, idle, 0, longest_idle};
}

constexpr TimePoint kNever = TimePoint::max();

}  // namespace

TEST_CASE("PoisonPill: the first goes 22 s after the last creation, then one each 2 s", "[exec][trim]") {
  TrimmedCrew pool = after_burst(PoisonPill{}, 6, 40s);
  pool.run_until(1h);
  CHECK(pool.retirements() == Retirements{{62s, 5}, {64s, 4}, {66s, 3}});
  CHECK(pool.next() == kNever);
}

TEST_CASE("PoisonPill: the kill clock ticks whether or not anybody looks", "[exec][trim]") {
  // Created between two ticks: the eleventh tick after it comes 22 s after the tick before it.
  TrimmedCrew pool = after_burst(PoisonPill{}, 5, 41'999ms);
  pool.run_until(1h);
  CHECK(pool.retirements() == Retirements{{62s, 4}, {64s, 3}});

  // Nothing was ever created since the beginning: the workers are there, and the clock started at 0.
  TrimMachine machine(PoisonPill{}, TimePoint{});
  CHECK(machine.step(sample(0s, 5, 5)) == TrimDecision{0, TimePoint{22s}});
  CHECK(machine.step(sample(22s, 5, 5)) == TrimDecision{1, TimePoint{24s}});
}

TEST_CASE("PoisonPill: 500 workers need 1014 s and 497 pills", "[exec][trim]") {
  TrimmedCrew pool = after_burst(PoisonPill{}, 500);
  CHECK(time_to_floor(PoisonPill{}, 500) == 1014s);
  pool.run_until(1014s - 1ns);
  CHECK(pool.crew().live() == 4);
  pool.run_until(24h);
  CHECK(pool.crew().live() == 3);
  CHECK(pool.retirements().size() == 497);
  CHECK(pool.retirements().back().at == 1014s);
}

TEST_CASE("PoisonPill: a creation postpones all by 22 s", "[exec][trim]") {
  TrimmedCrew pool = after_burst(PoisonPill{}, 10);
  pool.run_until(24s);
  REQUIRE(pool.retirements() == Retirements{{22s, 9}, {24s, 8}});
  pool.begin(9);
  pool.end(9);
  pool.run_until(46s - 1ns);
  CHECK(pool.crew().live() == 9);
  pool.run_until(46s);
  CHECK(pool.crew().live() == 8);

  // One creation in less than 11 ticks keeps the peak for ever: the rule is published so.
  for (Duration time = 46s; time < 1h; time += 20s) {
    pool.run_until(time);
    pool.begin(pool.crew().idle() + 1);
    pool.end(pool.crew().busy());
  }
  CHECK(pool.crew().live() > 100);
}

TEST_CASE("PoisonPill: only an idle worker takes a pill, and at its tick", "[exec][trim]") {
  TrimmedCrew pool(PoisonPill{});
  pool.begin(5);
  pool.run_until(59s);
  CHECK(pool.crew().live() == 5);
  CHECK(pool.next() == TimePoint{60s});
  pool.end();  // the pills of the ticks before are not kept for it
  pool.run_until(60s - 1ns);
  CHECK(pool.crew().live() == 5);
  pool.run_until(60s);
  CHECK(pool.retirements() == Retirements{{60s, 4}});
}

TEST_CASE("PoisonPill: no pill of a tick that a creation came before", "[exec][trim]") {
  TrimMachine machine(PoisonPill{}, TimePoint{});
  CHECK(machine.step(sample(20s, 5, 5)).next == TimePoint{22s});
  SECTION("that was told of") {
    machine.created(TimePoint{22s});
    TrimSample late = sample(22s, 6, 5);
    late.created = 1;
    CHECK(machine.step(late) == TrimDecision{0, TimePoint{44s}});
    late.now += 22s;
    CHECK(machine.step(late) == TrimDecision{1, TimePoint{46s}});
  }
  SECTION("that only the sample tells of") {
    TrimSample late = sample(25s, 6, 5);
    late.created = std::numeric_limits<std::uint64_t>::max();
    CHECK(machine.step(late) == TrimDecision{0, TimePoint{46s}});
    machine.created(TimePoint{26s});
    late.now += 21s;
    late.created = 0;  // wrapped
    CHECK(machine.step(late) == TrimDecision{0, TimePoint{48s}});
  }
}

TEST_CASE("PoisonPill: other figures than the published ones", "[exec][trim]") {
  TrimmedCrew pool = after_burst(PoisonPill{.interval = 1ms, .delay = 0, .floor = 0}, 3);
  pool.run_until(1s);
  CHECK(pool.retirements() == Retirements{{1ms, 2}, {2ms, 1}, {3ms, 0}});
  CHECK(time_to_floor(PoisonPill{.interval = 1ms, .delay = 0, .floor = 0}, 3) == 3ms);
}

TEST_CASE("IdleTimeout: who has been idle for so long goes at that very moment", "[exec][trim]") {
  TrimmedCrew pool(IdleTimeout{.timeout = 10s, .floor = 1});
  pool.begin(4);
  for (int i = 1; i <= 4; ++i) {
    pool.run_until(i * 1s + 7ms);
    pool.end();
  }
  pool.run_until(1h);
  CHECK(pool.retirements() == Retirements{{11'007ms, 3}, {12'007ms, 2}, {13'007ms, 1}});
  CHECK(pool.next() == kNever);
}

TEST_CASE("IdleTimeout: workers that a low load does not reach go, the others stay", "[exec][trim]") {
  TrimmedCrew pool(IdleTimeout{.timeout = 10s, .floor = 0});
  pool.begin(8);
  pool.end(8);
  for (int second = 1; second <= 100; ++second) {
    pool.run_until(second * 1s);
    pool.begin(2);
    pool.end(2);
  }
  CHECK(pool.crew().live() == 2);
  CHECK(pool.retirements().front().at == 10s);
  CHECK(pool.retirements().back().at == 10s);
  CHECK(pool.retirements().size() == 6);
}

TEST_CASE("IdleTimeout: all of a burst go at once", "[exec][trim]") {
  TrimmedCrew pool = after_burst(IdleTimeout{}, 500, 5s);
  CHECK(time_to_floor(IdleTimeout{}, 500) == 30s);
  pool.run_until(35s - 1ns);
  CHECK(pool.crew().live() == 500);
  pool.run_until(35s);
  CHECK(pool.crew().live() == 3);
}

TEST_CASE("LowWater: halves what was not needed, window by window", "[exec][trim]") {
  TrimmedCrew pool = after_burst(LowWater{}, 500, 15s);
  // The burst is in the second window, so the third is the first that is idle throughout.
  pool.run_until(1h);
  CHECK(pool.retirements() == Retirements{{30s, 250}, {40s, 125}, {50s, 62}, {60s, 31}, {70s, 15}, {80s, 7}, {90s, 3}});
  CHECK(pool.next() == kNever);
  CHECK(time_to_floor(LowWater{}, 500) == 80s);
}

TEST_CASE("LowWater: with a fraction of 1 one window is enough", "[exec][trim]") {
  TrimmedCrew pool = after_burst(LowWater{.window = 1s, .fraction = 1, .floor = 2}, 500);
  pool.run_until(1h);
  CHECK(pool.retirements() == Retirements{{2s, 2}});
  CHECK(time_to_floor(LowWater{.window = 1s, .fraction = 1, .floor = 2}, 500) == 2s);
}

TEST_CASE("LowWater: a load that comes back within a window keeps its workers", "[exec][trim]") {
  TrimmedCrew pool(LowWater{.floor = 0});
  for (int second = 0; second < 1000; ++second) {
    pool.run_until(second * 1s);
    if (second == 500) pool.forget();
    if (second % 8 == 0) pool.begin(50 - pool.crew().busy());
    if (second % 8 == 3) pool.end(40);
  }
  CHECK(pool.retirements().empty());
  CHECK(pool.crew().live() == 50);
}

TEST_CASE("LowWater: shrinks to what a lower load needs at its peaks, and stays there", "[exec][trim]") {
  TrimmedCrew pool(LowWater{.floor = 0});
  pool.begin(200);
  pool.end(200);
  for (int second = 0; second < 400; ++second) {
    pool.run_until(second * 1s);
    if (second == 200) {
      CHECK(pool.crew().live() == 20);
      pool.forget();
    }
    if (second % 2 == 0) pool.begin(20);
    if (second % 2 == 1) pool.end(20);
  }
  CHECK(pool.retirements().empty());
  CHECK(pool.crew().live() == 20);
}

TEST_CASE("LowWater: none goes after a window with a creation", "[exec][trim]") {
  TrimMachine machine(LowWater{}, TimePoint{});
  CHECK(machine.step(sample(3s, 10, 10)) == TrimDecision{0, TimePoint{10s}});
  machine.created(TimePoint{5s});
  TrimSample next = sample(10s, 11, 11);
  next.created = 1;
  CHECK(machine.step(next) == TrimDecision{0, TimePoint{20s}});
  next.now += 10s;
  CHECK(machine.step(next) == TrimDecision{6, TimePoint{30s}});
}

TEST_CASE("TrimMachine: a step that comes late makes up for what it missed", "[exec][trim]") {
  const auto late = [](const TrimPolicy& policy, Duration now, TrimSample of) {
    TrimMachine machine(policy, TimePoint{});
    of.now = TimePoint{} + now;
    return machine.step(of);
  };
  CHECK(late(PoisonPill{}, 26s, sample(0s, 10, 10)) == TrimDecision{3, TimePoint{28s}});
  CHECK(late(PoisonPill{}, 26s, sample(0s, 10, 2)) == TrimDecision{2, TimePoint{28s}});
  CHECK(late(PoisonPill{}, 26s, sample(0s, 5, 5)) == TrimDecision{2, kNever});
  CHECK(late(PoisonPill{}, 24h, sample(0s, 500, 500)) == TrimDecision{497, kNever});
  CHECK(late(LowWater{}, 39s, sample(0s, 500, 500)) == TrimDecision{250 + 125 + 63, TimePoint{40s}});
  CHECK(late(LowWater{}, 24h, sample(0s, 500, 500)) == TrimDecision{497, kNever});
  CHECK(late(IdleTimeout{}, 24h, sample(0s, 500, 500, 24h)) == TrimDecision{1, TimePoint{24h}});
}

TEST_CASE("TrimMachine: nobody is woken while nobody can go", "[exec][trim]") {
  for (const TrimPolicy& policy : {TrimPolicy(PoisonPill{}), TrimPolicy(IdleTimeout{}), TrimPolicy(LowWater{})}) {
    INFO(to_string(policy));
    TrimMachine machine(policy, TimePoint{});
    CHECK(machine.step(sample(0s, 0, 0)) == TrimDecision{0, kNever});
    CHECK(machine.step(sample(1h, 3, 3, 1h)) == TrimDecision{0, kNever});
    // A busy pool is asked about, too, for it could become idle at any time; not more often than the policy says.
    TrimmedCrew pool(policy);
    pool.begin(100);
    pool.forget();
    pool.run_until(300s);
    CHECK(pool.steps() <= 151);
    CHECK(pool.crew().live() == 100);
  }
}

TEST_CASE("TrimMachine: a clock that steps back stands still", "[exec][trim]") {
  TrimMachine pill(PoisonPill{}, TimePoint{100s});
  CHECK(pill.step(sample(0s, 5, 5)) == TrimDecision{0, TimePoint{122s}});
  CHECK(pill.step(sample(122s, 5, 5)) == TrimDecision{1, TimePoint{124s}});
  CHECK(pill.step(sample(50s, 4, 4)) == TrimDecision{0, TimePoint{124s}});
  pill.created(TimePoint{60s});  // counts as at 122 s
  TrimSample after = sample(124s, 5, 5);
  after.created = 1;
  CHECK(pill.step(after) == TrimDecision{0, TimePoint{144s}});

  TrimMachine water(LowWater{}, TimePoint{});
  CHECK(water.step(sample(10s, 9, 6)) == TrimDecision{3, TimePoint{20s}});
  CHECK(water.step(sample(-5s, 6, 3)) == TrimDecision{0, TimePoint{20s}});

  // Who has become idle in the future has been idle for no time.
  TrimMachine timeout(IdleTimeout{}, TimePoint{});
  CHECK(timeout.step(sample(5s, 9, 6, -7s)) == TrimDecision{0, TimePoint{35s}});
}

TEST_CASE("TrimMachine: at the ends of time and of numbers", "[exec][trim]") {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  for (const TimePoint begin : {TimePoint::min(), TimePoint{}, TimePoint::max() - 1ns}) {
    for (const TrimPolicy& policy :
         {TrimPolicy(PoisonPill{1ms, 0, 0}), TrimPolicy(PoisonPill{Duration::max(), 1'000'000, kMost}),
          TrimPolicy(IdleTimeout{Duration::max(), 0}), TrimPolicy(LowWater{Duration::max(), 0.01, 0}),
          TrimPolicy(LowWater{1ms, 0.01, 0})}) {
      TrimMachine machine(policy, begin);
      for (const TimePoint now : {TimePoint::min(), TimePoint{}, TimePoint::max()}) {
        const TrimDecision decision = machine.step({now, kMost, kMost, kMost, 0, Duration::max()});
        CHECK(decision.next >= now);
        machine.created(now);
        CHECK(machine.step({now, kMost, 0, kMost, 1, Duration::min()}).retire == 0);
      }
    }
  }
  CHECK(time_to_floor(PoisonPill{1s, 0, 0}, kMost) == Duration::max());
  CHECK(time_to_floor(LowWater{Duration::max(), 0.5, 0}, 2) == Duration::max());
  CHECK(time_to_floor(LowWater{1s, 0.01, 0}, kMost) < 2h);
  for (const TrimPolicy& policy : {TrimPolicy(PoisonPill{}), TrimPolicy(IdleTimeout{}), TrimPolicy(LowWater{})}) {
    CHECK(time_to_floor(policy, 3) == 0s);
    CHECK(time_to_floor(policy, 0) == 0s);
  }
}

TEST_CASE("TrimPolicy: bad input", "[exec][trim]") {
  const auto text = [](const TrimPolicy& policy) { return text_of(validate(policy)); };
  CHECK(validate(PoisonPill{}).ok());
  CHECK(validate(IdleTimeout{}).ok());
  CHECK(validate(LowWater{}).ok());
  CHECK(text(PoisonPill{0s, -1, 0}) ==
        "trim policy 'poison_pill': options.interval must be at least 1 ms, got 0 s; options.delay must be in [0, "
        "1000000], "
        "got -1");
  CHECK(text(IdleTimeout{-1s, 0}) == "trim policy 'idle_timeout': options.timeout must be at least 1 ms, got -1 s");
  CHECK(text(LowWater{-1ms, 0, 0}) ==
        "trim policy 'low_water': options.window must be at least 1 ms, got -1 ms; options.fraction must be in [0.01, "
        "1], got "
        "0");
  CHECK_FALSE(validate(LowWater{.fraction = std::numeric_limits<double>::quiet_NaN()}).ok());
  CHECK_FALSE(validate(LowWater{.fraction = 1.001}).ok());
  CHECK_FALSE(validate(PoisonPill{.delay = 1'000'001}).ok());
  CHECK_THROWS_AS(TrimMachine(PoisonPill{.interval = 1ms - 1ns}, TimePoint{}), std::invalid_argument);
}
