// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "study.hpp"

namespace simulation {

/// For people: a table for each scenario, one of the limits under a load that never ends, and what follows.
[[nodiscard]] std::string as_table(const std::vector<ScenarioStudy>& studies, const std::vector<DriftStudy>& drifts);

/// For programs, and for charts.py.
[[nodiscard]] std::string as_json(const std::vector<ScenarioStudy>& studies, const std::vector<DriftStudy>& drifts,
                                  std::uint64_t seeds);

}  // namespace simulation
