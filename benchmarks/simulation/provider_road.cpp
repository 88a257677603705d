// SPDX-License-Identifier: MIT
// provider_road [--seeds=N] [--json=FILE]: simulates, and prints what came of it; the same each time.

#include <cstdint>
#include <vector>

#include "program.hpp"
#include "report.hpp"

namespace {

simulation::Report study(std::uint64_t seeds) {
  std::vector<simulation::ScenarioStudy> studies;
  for (const simulation::Scenario& scenario : simulation::scenarios()) {
    studies.push_back(simulation::study(scenario, seeds));
  }
  const std::vector<simulation::DriftStudy> drifts = simulation::drift_studies();
  std::vector<simulation::BurstStudy> bursts;
  for (const simulation::BurstLoad& load : simulation::burst_loads()) bursts.push_back(simulation::study(load, seeds));
  return {.table = simulation::as_table(studies, drifts) + "\n" + simulation::as_table(bursts),
          .json = simulation::as_json(studies, drifts, bursts, seeds)};
}

}  // namespace

int main(int argc, char** argv) { return simulation::run_program(argc, argv, "provider_road", study); }
