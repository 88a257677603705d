// SPDX-License-Identifier: MIT
#include "study.hpp"

#include <utility>

#include "median.hpp"

namespace simulation {

Row measure(const Scenario& scenario, const Contender& contender, std::uint64_t seeds) {
  Row row{scenario.name, contender.name};
  RoadOptions road = scenario.road;
  if (contender.adapt) contender.adapt(road);
  std::vector<double> arrived, served, rejected, failed, p50, p99, worker_seconds, use, most;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    RoadResult result = run(road, contender.policy(road, seed), seed);
    arrived.push_back(static_cast<double>(result.arrived));
    served.push_back(static_cast<double>(result.served));
    rejected.push_back(static_cast<double>(result.rejected()));
    failed.push_back(static_cast<double>(result.failed()));
    p50.push_back(percentile(result.response_s, 0.5));
    p99.push_back(percentile(std::move(result.response_s), 0.99));
    worker_seconds.push_back(result.worker_seconds);
    use.push_back(result.busy_seconds / result.worker_seconds);
    most.push_back(result.most_workers);
    if (seed == 1) row.moments = std::move(result.moments);
  }
  row.arrived = median(arrived);
  row.served = median(served);
  row.rejected = median(rejected);
  row.failed = median(failed);
  row.p50_s = median(p50);
  row.p99_s = median(p99);
  row.worker_seconds = median(worker_seconds);
  row.use = median(use);
  row.most_workers = median(most);
  return row;
}

std::vector<FixedSize> fixed_sizes(const Scenario& scenario, std::size_t from, std::size_t to, std::uint64_t seeds) {
  std::vector<FixedSize> sizes;
  for (std::size_t workers = from; workers <= to; ++workers) {
    sizes.push_back({workers, measure(scenario, fixed("fixed " + std::to_string(workers), workers), seeds)});
  }
  return sizes;
}

Rivals rivals(const Row& ours, const std::vector<FixedSize>& sizes) {
  Rivals found;
  for (const FixedSize& size : sizes) {
    if (size.row.worker_seconds <= ours.worker_seconds) found.same_cost = size;
    const bool is_as_good = size.row.p99_s <= ours.p99_s * 1.05 && size.row.served >= ours.served * 0.995;
    if (is_as_good && !found.same_p99) found.same_p99 = size;
  }
  return found;
}

ScenarioStudy study(const Scenario& scenario, std::uint64_t seeds) {
  ScenarioStudy study{scenario.name, scenario.what};
  const Row us = measure(scenario, ours(), seeds);
  study.sizes = fixed_sizes(scenario, 8, 64, seeds);
  const Rivals fixed_ones = rivals(us, study.sizes);
  if (fixed_ones.same_cost) study.rows.push_back(fixed_ones.same_cost->row);
  if (fixed_ones.same_p99) study.rows.push_back(fixed_ones.same_p99->row);
  study.rows.push_back(measure(scenario, document(), seeds));
  study.rows.push_back(us);
  study.rows.push_back(measure(scenario, ours_with_limit(), seeds));
  for (const Contender& limit : limits()) study.rows.push_back(measure(scenario, limit, seeds));
  for (FixedSize& size : study.sizes) size.row.moments.clear();
  return study;
}

std::vector<DriftStudy> drift_studies() {
  constexpr double kServiceSeconds = 0.1;
  penstock::AimdLimit aimd;
  aimd.timeout = seconds(1.5 * kServiceSeconds);
  penstock::Gradient2Limit gradient2;
  gradient2.max = 10'000;
  const penstock::VegasLimit vegas;

  std::vector<DriftStudy> all;
  const auto by_formula = [&](std::string name, const penstock::LimitOptions& limit,
                              const std::optional<penstock::LimitProbe>& probe) {
    const auto algorithm = penstock::make_limit_algorithm(limit, std::nullopt, probe);
    all.push_back({std::move(name), true, probe.has_value(),
                   drift_by_formula(*algorithm, kDriftSlots, kServiceSeconds, 200'000)});
  };
  const auto by_calls = [&](std::string name, const penstock::LimitOptions& limit,
                            const std::optional<penstock::LimitProbe>& probe) {
    const auto algorithm = penstock::make_limit_algorithm(limit, penstock::LimitWindow{}, probe);
    all.push_back({std::move(name), false, probe.has_value(),
                   drift(*algorithm, endless_line(kDriftSlots, kServiceSeconds, Spread::kLogNormal), 1'000'000, 1)});
  };
  by_formula("aimd", aimd, std::nullopt);
  by_formula("vegas", vegas, std::nullopt);
  by_formula("gradient2", gradient2, std::nullopt);
  by_formula("vegas, probe", vegas, penstock::LimitProbe{});
  by_formula("gradient2, probe", gradient2, penstock::LimitProbe{});
  by_calls("vegas", vegas, std::nullopt);
  by_calls("gradient2", gradient2, std::nullopt);
  by_calls("vegas, probe", vegas, penstock::LimitProbe{});
  by_calls("gradient2, probe", gradient2, penstock::LimitProbe{});
  return all;
}

}  // namespace simulation
