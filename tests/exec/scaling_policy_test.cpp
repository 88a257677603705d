// SPDX-License-Identifier: MIT

#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "penstock/exec/scaling_policy.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"

using namespace std::chrono_literals;
using penstock::decide;
using penstock::Duration;
using penstock::ScalingDecision;
using penstock::ScalingOptions;
using penstock::ScalingPolicy;
using penstock::ScalingReason;
using penstock::ScalingSample;
using penstock::testing::ContainsSubstring;
using penstock::testing::text_of;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

ScalingOptions thresholds() {
  ScalingOptions options;
  options.policy = ScalingPolicy::kThresholds;
  options.min_workers = 2;
  options.max_workers = 40;
  options.up_cooldown = 5s;
  options.down_cooldown = 20s;
  return options;
}

/// Ten workers, half busy, nothing wrong.
ScalingSample calm() {
  ScalingSample sample;
  sample.workers = 10;
  sample.queue_utilization = 0.5;
  sample.worker_utilization = 0.5;
  sample.average_response = 3s;
  sample.samples = 100;
  sample.queued = 50;
  return sample;
}

struct Row {
  std::string name;
  std::function<void(ScalingSample&)> change;
  ScalingDecision expected;
};

void check_rows(const ScalingOptions& options, const ScalingSample& base, const std::vector<Row>& rows) {
  REQUIRE(options.validate().ok());
  for (const Row& row : rows) {
    ScalingSample sample = base;
    row.change(sample);
    const ScalingDecision got = decide(options, sample);
    INFO(row.name << ": " << got.delta << " " << to_string(got.reason));
    CHECK(got == row.expected);
  }
}

}  // namespace

TEST_CASE("decide: thresholds, row by row", "[exec][scaling]") {
  using S = ScalingSample;
  using R = ScalingReason;
  check_rows(
      thresholds(), calm(),
      {
          {"in between", [](S&) {}, {0, R::kHold}},
          {"full queue", [](S& s) { s.queue_utilization = 0.81; }, {5, R::kUpQueue}},
          {"exactly at the threshold", [](S& s) { s.queue_utilization = 0.80; }, {0, R::kHold}},
          {"nearly full doubles the step", [](S& s) { s.queue_utilization = 0.90; }, {10, R::kUpQueue}},
          {"a full queue needs no samples", [](S& s) { s.queue_utilization = 1, s.samples = 0; }, {10, R::kUpQueue}},
          {"one worker grows", [](S& s) { s.queue_utilization = 0.85, s.workers = 2; }, {1, R::kUpQueue}},
          {"no further than the maximum", [](S& s) { s.queue_utilization = 1, s.workers = 38; }, {2, R::kUpQueue}},
          {"at the maximum", [](S& s) { s.queue_utilization = 1, s.workers = 40; }, {0, R::kAtMax}},
          {"slow", [](S& s) { s.average_response = 11s; }, {5, R::kUpLatency}},
          {"exactly as slow as allowed", [](S& s) { s.average_response = 10s; }, {0, R::kHold}},
          {"slow, but nobody waits",
           [](S& s) { s.average_response = 11s, s.queued = 0, s.queue_utilization = 0; },
           {0, R::kQueueEmpty}},
          {"slow, with few samples", [](S& s) { s.average_response = 11s, s.samples = 19; }, {0, R::kHold}},
          {"slow and refused", [](S& s) { s.average_response = 11s, s.breaker_open = true; }, {0, R::kBreakerOpen}},
          {"full and refused", [](S& s) { s.queue_utilization = 1, s.breaker_open = true; }, {0, R::kBreakerOpen}},
          {"slow and limited", [](S& s) { s.average_response = 11s, s.limited = true; }, {0, R::kLimited}},
          {"full and limited", [](S& s) { s.queue_utilization = 1, s.limited = true; }, {0, R::kLimited}},
          {"just grown", [](S& s) { s.queue_utilization = 1, s.since_up = 5s - 1ns; }, {0, R::kCooldown}},
          {"grown so long ago", [](S& s) { s.queue_utilization = 1, s.since_up = 5s; }, {10, R::kUpQueue}},
          {"just shrunk", [](S& s) { s.queue_utilization = 1, s.since_down = 4s; }, {0, R::kCooldown}},
          {"before the clock", [](S& s) { s.queue_utilization = 1, s.since_down = -4s; }, {0, R::kCooldown}},
      });

  ScalingSample idle = calm();
  idle.queue_utilization = 0;
  idle.queued = 0;
  idle.worker_utilization = 0.2;
  idle.average_response = 1s;
  check_rows(thresholds(), idle,
             {
                 {"idle", [](S&) {}, {-3, R::kDown}},
                 {"at least one goes", [](S& s) { s.workers = 3; }, {-1, R::kDown}},
                 {"no further than the minimum", [](S& s) { s.workers = 2; }, {0, R::kAtMin}},
                 {"queue at the threshold", [](S& s) { s.queue_utilization = 0.30; }, {0, R::kHold}},
                 {"just below it", [](S& s) { s.queue_utilization = 0.29; }, {-3, R::kDown}},
                 {"no queue, but all are busy", [](S& s) { s.worker_utilization = 1; }, {0, R::kHold}},
                 {"half of them are busy", [](S& s) { s.worker_utilization = 0.5; }, {0, R::kHold}},
                 {"not fast enough", [](S& s) { s.average_response = 2s; }, {0, R::kHold}},
                 {"nothing measured", [](S& s) { s.samples = 0; }, {0, R::kTooFewSamples}},
                 {"little measured", [](S& s) { s.samples = 19; }, {0, R::kTooFewSamples}},
                 {"nothing to measure",
                  [](S& s) { s.samples = 0, s.worker_utilization = 0, s.arrival_rate = 0; },
                  {-3, R::kDown}},
                 {"refused", [](S& s) { s.breaker_open = true; }, {0, R::kBreakerOpen}},
                 {"limited", [](S& s) { s.limited = true; }, {-3, R::kDown}},
                 {"just grown", [](S& s) { s.since_up = 19s; }, {0, R::kCooldown}},
                 {"just shrunk", [](S& s) { s.since_down = 20s - 1ns; }, {0, R::kCooldown}},
                 {"long ago", [](S& s) { s.since_down = s.since_up = 20s; }, {-3, R::kDown}},
                 {"too many", [](S& s) { s.workers = 50; }, {-10, R::kIntoBounds}},
                 {"too many, for a moment", [](S& s) { s.workers = 50, s.since_up = 1s; }, {0, R::kCooldown}},
                 {"too few", [](S& s) { s.workers = 1; }, {1, R::kIntoBounds}},
             });
}

TEST_CASE("decide: what is no figure changes nothing", "[exec][scaling]") {
  for (const ScalingPolicy policy : {ScalingPolicy::kThresholds, ScalingPolicy::kTargetUtilization}) {
    ScalingOptions options = thresholds();
    options.policy = policy;
    CHECK(decide(options, {}) == ScalingDecision{0, ScalingReason::kNoFigures});
    const std::vector<std::function<void(ScalingSample&)>> spoil = {
        [](ScalingSample& s) { s.workers = 0; },
        [](ScalingSample& s) { s.workers = SIZE_MAX; },
        [](ScalingSample& s) { s.queue_utilization = kNan; },
        [](ScalingSample& s) { s.queue_utilization = kInf; },
        [](ScalingSample& s) { s.queue_utilization = -1; },
        [](ScalingSample& s) { s.worker_utilization = kNan; },
        [](ScalingSample& s) { s.worker_utilization = -0.1; },
        [](ScalingSample& s) { s.worker_utilization = 1.1; },
        [](ScalingSample& s) { s.average_response = -1ns; },
        [](ScalingSample& s) { s.mean_run = -1ns; },
    };
    for (const auto& change : spoil) {
      for (const double utilization : {0.0, 1.0}) {
        ScalingSample sample = calm();
        sample.queue_utilization = utilization;
        sample.arrival_rate = utilization * 100;
        sample.mean_run = 1s;
        change(sample);
        CHECK(decide(options, sample) == ScalingDecision{0, ScalingReason::kNoFigures});
      }
    }
    for (const double rate : {kNan, kInf, -kInf, -1.0}) {
      ScalingSample sample = calm();
      sample.arrival_rate = rate;
      sample.mean_run = 1s;
      CHECK(decide(options, sample).delta == 0);
      sample.arrival_rate = 5;
      sample.peak_rate = rate;
      sample.queued = 0;
      CHECK(decide(options, sample).delta == 0);
    }
  }
}

TEST_CASE("decide: by demand, row by row", "[exec][scaling]") {
  ScalingOptions options;
  options.min_workers = 2;
  options.max_workers = 200;
  options.target_utilization = 0.8;
  options.headroom = 0;  // so that the numbers are round
  options.tolerance = 0.1;
  // Eight of ten workers are busy, as they are to be.
  ScalingSample steady;
  steady.workers = 10;
  steady.worker_utilization = 0.8;
  steady.arrival_rate = 16;
  steady.peak_rate = 16;
  steady.mean_run = 500ms;
  using S = ScalingSample;
  using R = ScalingReason;
  check_rows(
      options, steady,
      {
          {"as it should be", [](S&) {}, {0, R::kHold}},
          {"twice as much comes", [](S& s) { s.arrival_rate = 32; }, {10, R::kUpDemand}},
          {"ten times as much is said to come, but nobody waits",
           [](S& s) { s.arrival_rate = 160; },
           {10, R::kUpDemand}},
          {"ten times as much, and they wait", [](S& s) { s.arrival_rate = 160, s.queued = 1; }, {90, R::kUpDemand}},
          {"no further than the maximum", [](S& s) { s.arrival_rate = 1e9, s.queued = 9; }, {190, R::kUpDemand}},
          {"slower jobs that do not wait",
           [](S& s) { s.mean_run = 50s, s.worker_utilization = 0.5; },
           {3, R::kUpDemand}},
          {"a backlog of 4 s for all", [](S& s) { s.queued = 80; }, {18, R::kUpBacklog}},
          {"one that they can do", [](S& s) { s.queued = 8; }, {0, R::kHold}},
          {"a backlog of long jobs",
           [](S& s) { s.mean_run = 10s, s.arrival_rate = .8, s.queued = 7; },
           {5, R::kUpBacklog}},
          {"at the maximum", [](S& s) { s.arrival_rate = 1000, s.queued = 9, s.workers = 200; }, {0, R::kAtMax}},
          {"refused", [](S& s) { s.arrival_rate = 32, s.breaker_open = true; }, {0, R::kBreakerOpen}},
          {"limited", [](S& s) { s.arrival_rate = 32, s.limited = true; }, {0, R::kLimited}},
          {"just changed", [](S& s) { s.arrival_rate = 32, s.since_down = 999ms; }, {0, R::kCooldown}},
          {"changed a second ago", [](S& s) { s.arrival_rate = 32, s.since_down = 1s; }, {10, R::kUpDemand}},
          {"nothing known", [](S& s) { s.mean_run = 0s; }, {0, R::kTooFewSamples}},
          {"nothing known, but overrun",
           [](S& s) { s.mean_run = 0s, s.queue_utilization = 0.85, s.worker_utilization = 1; },
           {5, R::kUpQueue}},
          {"enough by the figures, but overrun",
           [](S& s) { s.queued = 8, s.queue_utilization = 0.95, s.worker_utilization = 1, s.since_up = 2s; },
           {10, R::kUpQueue}},
          {"the same, but too soon to tell",
           [](S& s) { s.queued = 8, s.queue_utilization = 0.95, s.worker_utilization = 1, s.since_up = 1999ms; },
           {0, R::kCooldown}},
          {"half as much", [](S& s) { s.arrival_rate = s.peak_rate = 8, s.worker_utilization = 0.4; }, {-5, R::kDown}},
          {"half as much, but more lately",
           [](S& s) { s.arrival_rate = 8, s.worker_utilization = 0.4; },
           {0, R::kHold}},
          {"half as much, but they are all busy",
           [](S& s) { s.arrival_rate = s.peak_rate = 8, s.worker_utilization = 1; },
           {0, R::kHold}},
          {"half as much, with jobs in the queue",
           [](S& s) { s.arrival_rate = s.peak_rate = 8, s.worker_utilization = 0.4, s.queue_utilization = 0.3; },
           {0, R::kHold}},
          {"a little less is not worth it",
           [](S& s) { s.workers = 100, s.worker_utilization = 0.7, s.arrival_rate = s.peak_rate = 146; },
           {0, R::kHold}},
          {"silence", [](S& s) { s.arrival_rate = s.peak_rate = s.worker_utilization = 0; }, {-8, R::kDown}},
          {"silence from the first moment on",
           [](S& s) { s.arrival_rate = s.peak_rate = s.worker_utilization = 0, s.mean_run = 0s; },
           {-8, R::kDown}},
          {"silence at the minimum",
           [](S& s) { s.arrival_rate = s.peak_rate = s.worker_utilization = 0, s.workers = 2; },
           {0, R::kAtMin}},
          {"silence since the breaker is open",
           [](S& s) { s.arrival_rate = s.peak_rate = s.worker_utilization = 0, s.breaker_open = true; },
           {-8, R::kDown}},
          {"too many since the breaker is open",
           [](S& s) { s.workers = 64, s.worker_utilization = 0, s.breaker_open = true; },
           {-54, R::kDown}},
          {"silence after a change",
           [](S& s) { s.arrival_rate = s.peak_rate = s.worker_utilization = 0, s.since_up = 9s; },
           {0, R::kCooldown}},
      });
}

TEST_CASE("workers_for: keeps a part free, and a part of chance", "[exec][scaling]") {
  ScalingOptions options;
  options.target_utilization = 0.9;
  options.headroom = 1.5;
  CHECK(workers_for(options, 0) == 1);
  CHECK(workers_for(options, kNan) == 1);
  CHECK(workers_for(options, -3) == 1);
  CHECK(workers_for(options, 1) == 3);
  CHECK(workers_for(options, 100) == 115);
  CHECK(workers_for(options, 900) == 1000);  // 10 % are more than 1.5 * 30 of 900
  CHECK(workers_for(options, kInf) == 1'000'000);
  options.headroom = 0;
  options.target_utilization = 1;
  CHECK(workers_for(options, 110 * 0.1) == 11);  // not 12, though the product is a little more than 11
}

TEST_CASE("ScalingOptions: every violation is told, with name, range and value", "[exec][scaling]") {
  CHECK(ScalingOptions().validate().ok());
  CHECK(ScalingOptions::document().validate().ok());
  const std::vector<std::pair<std::string, std::function<void(ScalingOptions&)>>> rows = {
      {"name", [](ScalingOptions& o) { o.name = std::string(257, 'x'); }},
      {"policy", [](ScalingOptions& o) { o.policy = static_cast<ScalingPolicy>(7); }},
      {"min_workers", [](ScalingOptions& o) { o.min_workers = 0; }},
      {"min_workers", [](ScalingOptions& o) { o.min_workers = o.max_workers = 1'000'001; }},
      {"max_workers", [](ScalingOptions& o) { o.min_workers = 101; }},
      {"max_workers", [](ScalingOptions& o) { o.max_workers = 1'000'001; }},
      {"up_cooldown", [](ScalingOptions& o) { o.up_cooldown = -1ns; }},
      {"down_cooldown", [](ScalingOptions& o) { o.down_cooldown = -1ns; }},
      {"down_threshold", [](ScalingOptions& o) { o.up_threshold = 0.3; }},
      {"down_threshold", [](ScalingOptions& o) { o.down_threshold = 0.9; }},
      {"down_threshold", [](ScalingOptions& o) { o.down_threshold = -0.1; }},
      {"up_threshold", [](ScalingOptions& o) { o.up_threshold = 0; }},
      {"up_threshold", [](ScalingOptions& o) { o.up_threshold = 1.1; }},
      {"up_factor", [](ScalingOptions& o) { o.up_factor = 1; }},
      {"up_factor", [](ScalingOptions& o) { o.up_factor = 0.5; }},
      {"up_factor", [](ScalingOptions& o) { o.up_factor = 1001; }},
      {"down_factor", [](ScalingOptions& o) { o.down_factor = 0; }},
      {"down_factor", [](ScalingOptions& o) { o.down_factor = 1; }},
      {"nearly_full", [](ScalingOptions& o) { o.nearly_full = -1; }},
      {"target_utilization", [](ScalingOptions& o) { o.target_utilization = 0; }},
      {"target_utilization", [](ScalingOptions& o) { o.target_utilization = 1.01; }},
      {"headroom", [](ScalingOptions& o) { o.headroom = -1; }},
      {"headroom", [](ScalingOptions& o) { o.headroom = 101; }},
      {"drain_time", [](ScalingOptions& o) { o.drain_time = 0s; }},
      {"tolerance", [](ScalingOptions& o) { o.tolerance = 1; }},
      {"rate_window", [](ScalingOptions& o) { o.rate_window = 0s; }},
      {"peak_window", [](ScalingOptions& o) { o.peak_window = -1s; }},
      {"idle_threshold", [](ScalingOptions& o) { o.idle_threshold = 0; }},
      {"target_response_time", [](ScalingOptions& o) { o.target_response_time = 0s; }},
      {"max_response_time", [](ScalingOptions& o) { o.target_response_time = o.max_response_time; }},
      {"interval", [](ScalingOptions& o) { o.interval = 0s; }},
      {"clock", [](ScalingOptions& o) { o.clock = nullptr; }},
  };
  for (const auto& [option, spoil] : rows) {
    ScalingOptions options;
    spoil(options);
    INFO(option);
    CHECK(options.validate().code() == absl::StatusCode::kInvalidArgument);
    CHECK_THAT(text_of(options.validate()), ContainsSubstring("options." + option + " must be "));
  }
  for (const auto member :
       {&ScalingOptions::up_threshold, &ScalingOptions::down_threshold, &ScalingOptions::up_factor,
        &ScalingOptions::down_factor, &ScalingOptions::nearly_full, &ScalingOptions::headroom,
        &ScalingOptions::target_utilization, &ScalingOptions::tolerance, &ScalingOptions::idle_threshold}) {
    for (const double value : {kNan, kInf, -kInf, -1.0}) {
      ScalingOptions options;
      options.*member = value;
      CHECK_FALSE(options.validate().ok());
    }
  }

  ScalingOptions many;
  many.name = "openai";
  many.up_factor = kNan;
  many.min_workers = 20;
  many.max_workers = 10;
  CHECK(text_of(many.validate()) ==
        "scaler 'openai': options.max_workers must be in [min_workers (20), 1000000], got 10; "
        "options.up_factor must be in (1, 1000], got nan");
}

TEST_CASE("ScalingReason: each has a name of its own", "[exec][scaling]") {
  std::set<std::string_view> names;
  for (std::size_t reason = 0; reason < penstock::kScalingReasons; ++reason) {
    names.insert(to_string(static_cast<ScalingReason>(reason)));
  }
  CHECK(names.size() == penstock::kScalingReasons);
  CHECK(names.count("unknown") == 0);
  CHECK(to_string(static_cast<ScalingReason>(penstock::kScalingReasons)) == "unknown");
  CHECK(to_string(ScalingPolicy::kThresholds) == "thresholds");
  CHECK(to_string(ScalingPolicy::kTargetUtilization) == "target_utilization");
}
