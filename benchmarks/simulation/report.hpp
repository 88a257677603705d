// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "elastic.hpp"
#include "study.hpp"

namespace simulation {

/// For people: a table for each scenario, one of the limits under a load that never ends, and what follows.
[[nodiscard]] std::string as_table(const std::vector<ScenarioStudy>& studies, const std::vector<DriftStudy>& drifts);
/// And one for each load of an elastic pool.
[[nodiscard]] std::string as_table(const std::vector<BurstStudy>& bursts);

/// For programs, and for charts.py.
[[nodiscard]] std::string as_json(const std::vector<ScenarioStudy>& studies, const std::vector<DriftStudy>& drifts,
                                  const std::vector<BurstStudy>& bursts, std::uint64_t seeds);

}  // namespace simulation
