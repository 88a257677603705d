// SPDX-License-Identifier: MIT
// What is said of the scaler and of the limits holds in the simulation.
#include <chrono>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "report.hpp"
#include "support/catch.hpp"

namespace {

using namespace simulation;

constexpr std::uint64_t kSeeds = 3;

Row with_workers(const Scenario& scenario, double workers) {
  return measure(scenario, fixed("fixed", static_cast<std::size_t>(workers)), kSeeds);
}

DriftResult endless_load(const penstock::LimitOptions& limit, bool with_probe, std::uint64_t calls) {
  const auto probe = with_probe ? std::optional(penstock::LimitProbe{}) : std::nullopt;
  const auto algorithm = penstock::make_limit_algorithm(limit, penstock::LimitWindow{}, probe);
  return drift(*algorithm, endless_line(kDriftSlots, 0.1, Spread::kLogNormal), calls, 1);
}

DriftResult endless_load_by_formula(const penstock::LimitOptions& limit, bool with_probe, std::uint64_t calls) {
  const auto probe = with_probe ? std::optional(penstock::LimitProbe{}) : std::nullopt;
  const auto algorithm = penstock::make_limit_algorithm(limit, std::nullopt, probe);
  return drift_by_formula(*algorithm, kDriftSlots, 0.1, calls);
}

penstock::Gradient2Limit gradient2_without_bounds() {
  penstock::Gradient2Limit gradient2;
  gradient2.max = 10'000;
  return gradient2;
}

}  // namespace

TEST_CASE("Simulation: no number of workers that never changes is as good as our scaler", "[simulation]") {
  for (const Scenario& scenario : scenarios()) {
    CAPTURE(scenario.name);
    const Row us = measure(scenario, ours(), kSeeds);
    const double same_cost = us.worker_seconds / scenario.road.duration_s;

    const Row same = with_workers(scenario, same_cost);
    CHECK(same.worker_seconds <= us.worker_seconds);
    CHECK(us.p99_s <= 0.75 * same.p99_s);
    CHECK(us.served >= same.served);

    const Row more = with_workers(scenario, std::ceil(1.08 * same_cost));
    CHECK(more.worker_seconds > us.worker_seconds);
    CHECK(us.p99_s < 0.95 * more.p99_s);
    CHECK(us.served >= more.served);
  }
}

TEST_CASE("Simulation: our scaler has less than half the p99 of the document's, and serves more", "[simulation]") {
  for (const Scenario& scenario : scenarios()) {
    CAPTURE(scenario.name);
    const Row us = measure(scenario, ours(), kSeeds);
    const Row other = measure(scenario, document(), kSeeds);
    CHECK(us.p99_s < 0.5 * other.p99_s);
    CHECK(us.served > other.served);
  }
}

TEST_CASE("Simulation: limits drift under a load that never ends", "[simulation]") {
  CHECK(endless_load(gradient2_without_bounds(), false, 400'000).last > 4 * kDriftSlots);
  CHECK(endless_load_by_formula(gradient2_without_bounds(), false, 200'000).last == 10'000);
  CHECK(endless_load_by_formula(penstock::VegasLimit{}, false, 200'000).last > 8 * kDriftSlots);
}

TEST_CASE("Simulation: with probes, limits stay near the slots and use them", "[simulation]") {
  const DriftResult gradient2 = endless_load(gradient2_without_bounds(), true, 400'000);
  CHECK(gradient2.highest <= 2 * kDriftSlots);  // 1.5 times, a queue of 4, and chance
  CHECK(gradient2.use > 0.9);
  const DriftResult vegas = endless_load(penstock::VegasLimit{}, true, 400'000);
  CHECK(vegas.highest <= 5 * kDriftSlots / 4);
  CHECK(vegas.use > 0.9);
  CHECK(endless_load_by_formula(gradient2_without_bounds(), true, 200'000).highest <= 79);
  CHECK(endless_load_by_formula(penstock::VegasLimit{}, true, 200'000).highest <= 56);
}

TEST_CASE("Simulation: equal seeds give equal reports, to the byte", "[simulation]") {
  const auto report = [](std::uint64_t seeds) {
    const Scenario& scenario = scenarios().front();
    ScenarioStudy study{scenario.name, scenario.what};
    for (const Contender& contender : {document(), ours(), ours_with_limit()}) {
      study.rows.push_back(measure(scenario, contender, seeds));
    }
    const DriftStudy drift{"gradient2", false, true, endless_load(gradient2_without_bounds(), true, 10'000)};
    return as_json({study}, {drift}, {}, seeds) + as_table({study}, {drift});
  };
  const std::string first = report(2);
  CHECK(first == report(2));
  CHECK(first != report(1));
  CHECK(first.find("\"contender\":\"ours\"") != std::string::npos);
}

TEST_CASE("Simulation: the rivals of ours are the largest at its cost and the smallest at its p99", "[simulation]") {
  const auto row = [](double p99_s, double served, double worker_seconds) {
    Row made;
    made.p99_s = p99_s;
    made.served = served;
    made.worker_seconds = worker_seconds;
    return made;
  };
  const Row us = row(2, 1000, 500);
  const Rivals found = rivals(us, {{4, row(9, 900, 400)},
                                   {5, row(8, 950, 500)},
                                   {6, row(2.05, 900, 600)},
                                   {7, row(2.05, 996, 700)},
                                   {8, row(1.9, 1000, 800)}});
  CHECK(found.same_cost->workers == 5);
  CHECK(found.same_p99->workers == 7);  // 6 turns too many away
  CHECK_FALSE(rivals(us, {}).same_cost);
  CHECK_FALSE(rivals(us, {{8, row(3, 1000, 800)}}).same_p99);
}
