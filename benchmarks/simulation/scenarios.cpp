// SPDX-License-Identifier: MIT
#include "scenarios.hpp"

#include <memory>
#include <optional>
#include <utility>

#include "penstock/exec/scaling_meter.hpp"
#include "penstock/exec/scaling_policy.hpp"
#include "penstock/route/limit_algorithm.hpp"

namespace simulation {
namespace {

using namespace std::chrono_literals;
using penstock::LimitAlgorithm;
using penstock::LimitOptions;
using penstock::ScalingOptions;

/// A provider with 50 slots, of which usually 16 are in use.
RoadOptions usual_road() {
  RoadOptions road;
  road.rate = {.base = 20};
  road.duration_s = 900;
  road.workers = 24;
  road.breaker.emplace();
  road.breaker->minimum_calls = 20;
  road.breaker->open_for = 5s;
  road.breaker->half_open_permits = 5;
  road.breaker->auto_half_open = true;
  return road;
}

std::vector<Scenario> make_scenarios() {
  std::vector<Scenario> all;
  const auto add = [&](std::string name, std::string what) -> RoadOptions& {
    return all.emplace_back(Scenario{std::move(name), std::move(what), usual_road()}).road;
  };
  add("step", "from 10 to 45 jobs/s after a third of the time").rate = {.base = 10, .pieces = {{300, 900, 45}}};
  add("spike", "20 jobs/s, three times 80 jobs/s for 15 s, which is more than the provider bears").rate = {
      .base = 20, .pieces = {{200, 215, 80}, {450, 465, 80}, {700, 715, 80}}};
  add("slow", "calls take 2.5 times as long for 5 minutes").provider.slowness = {.base = 1,
                                                                                 .pieces = {{300, 600, 2.5}}};
  RoadOptions& failing = add("failing",
                             "80 % of the calls fail for 2 minutes, half of these without an answer; then, for a "
                             "minute, those who were turned away come again");
  failing.rate = {.base = 20, .pieces = {{420, 480, 45}}};
  failing.provider.failing = {.base = 0, .pieces = {{300, 420, 0.8}}};
  failing.provider.hanging = 0.5;
  add("diurnal", "between 5 and 45 jobs/s, a day in 7.5 minutes").rate = {.base = 25, .wave = 20, .wave_period_s = 450};
  return all;
}

/// What an AdaptiveScaler does, but for the pool and the clock.
Scaler scaler_of(const ScalingOptions& options) {
  return [options, meter = penstock::ScalingMeter(TimePoint{})](const Reading& reading) mutable {
    penstock::PoolFigures figures;
    figures.workers = reading.workers;
    figures.busy = reading.busy;
    figures.queued = reading.queued;
    figures.queue_capacity = reading.capacity;
    figures.arrivals = reading.arrived;
    figures.started = reading.started;
    figures.wait_total = reading.wait_total;
    figures.finished = reading.finished;
    figures.run_total = reading.run_total;
    figures.breaker_open = reading.breaker_open;
    figures.limited = reading.limited;
    const auto decision = penstock::decide(options, meter.sample(options, figures, reading.now));
    if (decision.delta != 0) meter.changed(decision.delta, reading.now);
    return static_cast<int>(decision.delta);
  };
}

ScalingOptions within_bounds(ScalingOptions options) {
  options.min_workers = kFewestWorkers;
  options.max_workers = kMostWorkers;
  return options;
}

Contender scaled(std::string name, const ScalingOptions& options) {
  return {std::move(name), {}, [options](const RoadOptions&, std::uint64_t) {
            Policy policy;
            policy.scaler = scaler_of(options);
            return policy;
          }};
}

void limit_by(Policy& policy, std::shared_ptr<LimitAlgorithm> algorithm) {
  policy.first_limit = algorithm->limit();
  policy.limit = [algorithm = std::move(algorithm)](const CallSample& sample) {
    return algorithm->on_sample({sample.rtt, sample.in_flight, sample.dropped, sample.now});
  };
}

/// As many calls as are usual: three at a time would hold up the others for 13 s.
penstock::LimitProbe probe_of_few_calls() {
  penstock::LimitProbe probe;
  probe.concurrency = 16;
  probe.samples = 32;
  return probe;
}

Contender limited(std::string name, const LimitOptions& limit, bool with_probe) {
  return {std::move(name), [](RoadOptions& road) { road.workers = kManyWorkers; },
          [limit, with_probe](const RoadOptions&, std::uint64_t seed) {
            std::optional<penstock::LimitProbe> probe;
            if (with_probe) probe = probe_of_few_calls();
            Policy policy;
            limit_by(policy, penstock::make_limit_algorithm(limit, penstock::LimitWindow{}, probe, seed));
            return policy;
          }};
}

}  // namespace

const std::vector<Scenario>& scenarios() {
  static const std::vector<Scenario> all = make_scenarios();
  return all;
}

Contender fixed(std::string name, std::size_t workers) {
  return {std::move(name), [workers](RoadOptions& road) { road.workers = static_cast<int>(workers); },
          [](const RoadOptions&, std::uint64_t) { return Policy{}; }};
}

Contender document() { return scaled("document", within_bounds(ScalingOptions::document())); }

Contender ours() { return scaled("ours", within_bounds(ScalingOptions{})); }

std::vector<Contender> limits() {
  penstock::AimdLimit aimd;
  aimd.timeout = 2s;  // 2.5 times the usual mean
  return {fixed("no limit", kManyWorkers),
          limited("fixed limit", penstock::FixedLimit{50}, false),
          limited("aimd", aimd, false),
          limited("vegas", penstock::VegasLimit{}, false),
          limited("gradient", penstock::GradientLimit{}, false),
          limited("gradient2", penstock::Gradient2Limit{}, false),
          limited("vegas, probe", penstock::VegasLimit{}, true),
          limited("gradient2, probe", penstock::Gradient2Limit{}, true)};
}

Contender ours_with_limit() {
  Contender both = ours();
  both.name = "ours, gradient2";
  both.policy = [scaled = both.policy](const RoadOptions& road, std::uint64_t seed) {
    Policy policy = scaled(road, seed);
    limit_by(policy, penstock::make_limit_algorithm(penstock::Gradient2Limit{}, penstock::LimitWindow{},
                                                    probe_of_few_calls(), seed));
    return policy;
  };
  return both;
}

}  // namespace simulation
