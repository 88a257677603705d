// SPDX-License-Identifier: MIT
// The elastic pool of benchmarks/simulation: that it is right, and what is said of the trim policies.
#include "elastic.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "report.hpp"
#include "support/catch.hpp"

namespace {

using namespace simulation;
using penstock::IdleTimeout;
using penstock::LowWater;
using penstock::PoisonPill;
using penstock::testing::Approx;

const BurstLoad& load(std::string_view name) {
  for (const BurstLoad& load : burst_loads()) {
    if (load.name == name) return load;
  }
  FAIL("no load " << name);
  return burst_loads().front();
}

}  // namespace

TEST_CASE("Simulation: a pool is as busy as Little's law says", "[simulation]") {
  const BurstResult steady = run(load("steady"), PoisonPill{}, 1);
  CHECK(steady.busy_seconds / load("steady").until_s == Approx(100 * 0.5).epsilon(0.02));
  CHECK(steady.tasks == Approx(100 * 1200).epsilon(0.02));
  CHECK(steady.cold_starts >= steady.most);

  const BurstResult alone = run(load("steady"), std::nullopt, 1);
  CHECK(alone.tasks == steady.tasks);
  CHECK(alone.cold_starts == alone.tasks);
  CHECK(alone.thread_seconds == Approx(alone.busy_seconds));
  CHECK(alone.busy_seconds == Approx(steady.busy_seconds));
  CHECK(alone.most == steady.most);
}

TEST_CASE("Simulation: after a burst of 10000 tasks each policy takes the time it says", "[simulation]") {
  const BurstLoad& blocked = load("blocked");
  // The last worker is created at nearly 31 s, and so just after the tick of 30 s; the last task ends 10 s later.
  const BurstResult pills = run(blocked, PoisonPill{}, 1);
  CHECK(pills.most == 10'000);
  CHECK(pills.last_task_s == Approx(41).epsilon(0.001));
  CHECK(pills.last_task_s + pills.to_floor_s == Approx(30 + (10 + 9'997) * 2).epsilon(1e-12));

  const BurstResult timeout = run(blocked, IdleTimeout{}, 1);
  CHECK(timeout.to_floor_s <= 30);
  CHECK(timeout.to_floor_s > 29.9);

  // The first window that is idle throughout is that from 50 s on; 10000 are halved 12 times to be 3.
  const BurstResult water = run(blocked, LowWater{}, 1);
  CHECK(water.last_task_s + water.to_floor_s == Approx(50 + 12 * 10).epsilon(1e-12));
}

TEST_CASE("Simulation: what is said of the trim policies", "[simulation]") {
  constexpr std::uint64_t kSeeds = 3;
  for (const BurstLoad& load : burst_loads()) {
    CAPTURE(load.name);
    const BurstStudy found = study(load, kSeeds);
    REQUIRE(found.rows.size() == 5);
    const BurstRow& alone = found.rows[0];
    const BurstRow& kept = found.rows[1];
    const BurstRow& pill = found.rows[2];
    const BurstRow& timeout = found.rows[3];
    const BurstRow& water = found.rows[4];
    CHECK(kept.cold_starts == kept.most);
    for (const BurstRow* row : {&pill, &timeout, &water}) {
      CHECK(row->cold_starts >= kept.cold_starts);
      CHECK(row->cold_starts < 1.001 * alone.cold_starts);
      CHECK(row->thread_seconds > alone.thread_seconds);
      CHECK(row->thread_seconds < kept.thread_seconds);
      CHECK(row->to_floor_s >= 0);
    }
    CHECK(water.thread_seconds < timeout.thread_seconds);
    CHECK(timeout.thread_seconds < pill.thread_seconds);
    CHECK(timeout.to_floor_s <= 30);
    CHECK(water.to_floor_s <= 130);
    CHECK(pill.to_floor_s > timeout.to_floor_s);
  }
}

TEST_CASE("Simulation: equal seeds give equal reports of a pool, to the byte", "[simulation]") {
  const auto report = [](std::uint64_t seeds) {
    const BurstStudy found = study(load("bursts"), seeds);
    return as_json({}, {}, {found}, seeds) + as_table({found});
  };
  const std::string first = report(2);
  CHECK(first == report(2));
  CHECK(first != report(1));
  CHECK(first.find("\"contender\":\"low water\"") != std::string::npos);
}
