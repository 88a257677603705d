// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Scenarios x contenders x seeds, and what is to be said of them.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "drift.hpp"
#include "scenarios.hpp"

namespace simulation {

/// Medians over the seeds.
struct Row {
  std::string scenario{};
  std::string contender{};
  double arrived = 0;
  double served = 0;
  double rejected = 0;
  double failed = 0;
  double p50_s = 0;
  double p99_s = 0;  ///< Of the jobs that were served, from arrival to answer.
  double worker_seconds = 0;
  double use = 0;  ///< The part of the worker-seconds that was busy.
  double most_workers = 0;
  std::vector<Moment> moments{};  ///< Of the first seed.
};

[[nodiscard]] Row measure(const Scenario& scenario, const Contender& contender, std::uint64_t seeds);

/// A number of workers that never changes, and what it leads to.
struct FixedSize {
  std::size_t workers = 0;
  Row row{};
};
[[nodiscard]] std::vector<FixedSize> fixed_sizes(const Scenario& scenario, std::size_t from, std::size_t to,
                                                 std::uint64_t seeds);

/// The fixed sizes that come nearest to `ours`: they are the strongest that one can choose, and nobody knows them
/// before.
struct Rivals {
  std::optional<FixedSize> same_cost{};  ///< The largest that has no more worker-seconds.
  /// The smallest that is as good: has at most 1.05 times the p99, and serves at least 0.995 times as many.
  std::optional<FixedSize> same_p99{};
};
[[nodiscard]] Rivals rivals(const Row& ours, const std::vector<FixedSize>& sizes);

struct ScenarioStudy {
  std::string name{};
  std::string what{};
  std::vector<Row> rows{};  ///< The rivals first, then all others.
  std::vector<FixedSize> sizes{};
};
[[nodiscard]] ScenarioStudy study(const Scenario& scenario, std::uint64_t seeds);

struct DriftStudy {
  std::string name{};
  bool by_formula = false;
  bool has_probe = false;
  DriftResult result{};
};
inline constexpr std::size_t kDriftSlots = 50;
[[nodiscard]] std::vector<DriftStudy> drift_studies();

}  // namespace simulation
