// SPDX-License-Identifier: MIT

// The decision under random samples and options: what must hold whatever they are, and the arithmetic of the published
// text of the Bifrost gateway's "Adaptive Scaling" against a plain reading of its rules.

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "penstock/exec/scaling_policy.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using penstock::decide;
using penstock::Duration;
using penstock::ScalingDecision;
using penstock::ScalingOptions;
using penstock::ScalingPolicy;
using penstock::ScalingReason;
using penstock::ScalingSample;

namespace {

/// What the text's EvaluateScaling does to a pool: its steps in their order, with Go's conversion of a float to an
/// int, which cuts. The text does not give the body of scaleDown; it is the mirror of scaleUp's here.
std::int64_t document_scaling(const ScalingOptions& config, double queue_utilization, Duration average_response,
                              int current_workers, Duration since_last) {
  const Duration min_scale_interval = config.up_cooldown;
  const int max_workers = static_cast<int>(config.max_workers);
  const int min_workers = static_cast<int>(config.min_workers);
  if (since_last < min_scale_interval) {
    return 0;
  }
  if (queue_utilization > config.up_threshold || average_response > config.max_response_time) {
    int target_workers = static_cast<int>(static_cast<double>(current_workers) * config.up_factor);
    if (target_workers > max_workers) {
      target_workers = max_workers;
    }
    const int additional_workers = target_workers - current_workers;
    if (additional_workers > 0) {
      return additional_workers;
    }
    return 0;  // and does not go on
  }
  if (queue_utilization < config.down_threshold && average_response < config.target_response_time) {
    int target_workers = static_cast<int>(static_cast<double>(current_workers) * config.down_factor);
    if (target_workers < min_workers) {
      target_workers = min_workers;
    }
    const int surplus_workers = current_workers - target_workers;
    if (surplus_workers > 0) {
      return -surplus_workers;
    }
  }
  return 0;
}

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}

  bool flip(int one_in = 2) { return number(0, one_in - 1) == 0; }
  std::int64_t number(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(engine_);
  }
  double real(double low, double high) { return std::uniform_real_distribution<double>(low, high)(engine_); }
  Duration time(Duration most) { return Duration(number(0, most.count())); }
  /// Mostly a part, sometimes exactly a threshold, sometimes none at all.
  double part(const ScalingOptions& options) {
    switch (number(0, 9)) {
      case 0:
        return options.up_threshold;
      case 1:
        return options.down_threshold;
      case 2:
        return 0;
      case 3:
        return 1;
      default:
        return real(0, 1.2);
    }
  }
  double strange() {
    constexpr double kStrange[] = {std::numeric_limits<double>::quiet_NaN(),
                                   std::numeric_limits<double>::infinity(),
                                   -std::numeric_limits<double>::infinity(),
                                   -1,
                                   1e308,
                                   -1e308,
                                   5e-324,
                                   0};
    return kStrange[number(0, 7)];
  }

 private:
  std::mt19937_64 engine_;
};

ScalingOptions random_options(Dice& dice) {
  ScalingOptions options;
  options.policy = dice.flip() ? ScalingPolicy::kThresholds : ScalingPolicy::kTargetUtilization;
  options.min_workers = static_cast<std::size_t>(dice.number(1, 20));
  options.max_workers = options.min_workers + static_cast<std::size_t>(dice.number(0, dice.flip() ? 5 : 200));
  options.up_cooldown = dice.time(10s);
  options.down_cooldown = dice.time(10s);
  options.up_threshold = dice.real(0.4, 1);
  options.down_threshold = dice.real(0, 0.4);
  options.up_factor = dice.real(1.001, 3);
  options.down_factor = dice.real(0.01, 0.99);
  options.target_utilization = dice.real(0.1, 1);
  options.headroom = dice.real(0, 4);
  options.tolerance = dice.real(0, 0.5);
  options.idle_threshold = dice.real(0.01, 1);
  options.drain_time = dice.time(5s) + 1ns;
  options.min_samples = static_cast<std::uint64_t>(dice.number(0, 30));
  return options;
}

ScalingSample random_sample(Dice& dice, const ScalingOptions& options) {
  ScalingSample sample;
  sample.workers = static_cast<std::size_t>(
      dice.number(static_cast<std::int64_t>(options.min_workers), static_cast<std::int64_t>(options.max_workers)));
  sample.queue_utilization = dice.part(options);
  sample.worker_utilization = std::min(dice.part(options), 1.0);
  sample.average_response = dice.time(15s);
  sample.samples = static_cast<std::uint64_t>(dice.number(0, 40));
  sample.breaker_open = dice.flip(5);
  sample.limited = dice.flip(5);
  sample.since_up = dice.time(20s);
  sample.since_down = dice.time(20s);
  sample.queued = dice.flip() ? 0 : static_cast<std::size_t>(dice.number(0, 1000));
  if (!dice.flip(4)) {
    sample.arrival_rate = dice.flip(4) ? 0 : dice.real(0, 100);
    sample.peak_rate = sample.arrival_rate * dice.real(0.5, 3);
    sample.mean_run = dice.flip(4) ? 0s : dice.time(3s);
  }
  return sample;
}

}  // namespace

TEST_CASE("decide: by the document, as its text computes it", "[exec][scaling]") {
  Dice dice(17);
  int ups = 0, downs = 0;
  for (int round = 0; round < 200'000; ++round) {
    ScalingOptions options = ScalingOptions::document();
    options.min_workers = static_cast<std::size_t>(dice.number(1, 10));
    options.max_workers = options.min_workers + static_cast<std::size_t>(dice.number(0, 200));
    options.up_factor = dice.flip() ? 1 + 0.1 * static_cast<double>(dice.number(1, 20)) : dice.real(1.001, 4);
    options.down_factor = dice.flip() ? 0.1 * static_cast<double>(dice.number(1, 9)) : dice.real(0.01, 0.99);
    options.up_cooldown = options.down_cooldown = dice.time(20s);
    REQUIRE((round % 1000 != 0 || options.validate().ok()));

    ScalingSample sample = random_sample(dice, options);
    sample.workers = static_cast<std::size_t>(dice.number(0, 250));
    if (dice.flip(10)) sample.queue_utilization = dice.strange();
    if (dice.flip(10)) sample.average_response = options.max_response_time;
    if (dice.flip(10)) sample.average_response = options.target_response_time;
    if (dice.flip(10)) sample.worker_utilization = dice.strange();
    if (dice.flip(10)) sample.since_up = options.up_cooldown;
    const std::int64_t expected =
        document_scaling(options, sample.queue_utilization, sample.average_response, static_cast<int>(sample.workers),
                         std::min(sample.since_up, sample.since_down));
    const ScalingDecision got = decide(options, sample);
    if (got.delta != expected) {
      FAIL("round " << round << ": " << got.delta << " for " << sample.workers << " workers, expected " << expected);
    }
    ups += expected > 0 ? 1 : 0;
    downs += expected < 0 ? 1 : 0;
  }
  CHECK(ups > 10'000);
  CHECK(downs > 1'000);
}

TEST_CASE("decide: what the document's arithmetic leads to", "[exec][scaling]") {
  ScalingOptions options = ScalingOptions::document();
  ScalingSample sample;
  sample.queue_utilization = 1;
  const auto never_grows_up_to = [&](double factor) {
    options.up_factor = factor;
    std::size_t last = 0;
    for (sample.workers = 1; sample.workers < 20; ++sample.workers) {
      if (decide(options, sample).delta == 0) last = sample.workers;
    }
    return last;
  };
  CHECK(never_grows_up_to(1.5) == 1);
  CHECK(never_grows_up_to(1.2) == 4);
  CHECK(never_grows_up_to(1.1) == 9);
  options.document_rounding = false;
  CHECK(never_grows_up_to(1.1) == 0);
}

TEST_CASE("decide: laws that hold for all samples", "[exec][scaling]") {
  Dice dice(4);
  std::array<int, penstock::kScalingReasons> seen{};
  for (int round = 0; round < 300'000; ++round) {
    const ScalingOptions options = random_options(dice);
    REQUIRE((round % 1000 != 0 || options.validate().ok()));
    ScalingSample sample = random_sample(dice, options);
    const bool is_outside = dice.flip(10);
    if (is_outside) sample.workers = static_cast<std::size_t>(dice.number(0, 300));
    const ScalingDecision got = decide(options, sample);
    ++seen[static_cast<std::size_t>(got.reason)];
    const auto fail = [&](const char* law) { FAIL("round " << round << ": " << law << ", " << got.delta); };

    const auto after = static_cast<std::int64_t>(sample.workers) + got.delta;
    const auto min = static_cast<std::int64_t>(options.min_workers);
    const auto max = static_cast<std::int64_t>(options.max_workers);
    if (got.delta != 0 && (after < min || after > max)) fail("stays within its bounds");
    const Duration since = std::min(sample.since_up, sample.since_down);
    if (got.delta > 0 && since < options.up_cooldown) fail("never grows twice within the interval");
    if (got.delta < 0 && since < options.down_cooldown) fail("never shrinks twice within the interval");
    if (got.delta > 0 && got.reason != ScalingReason::kIntoBounds) {
      if (sample.breaker_open || sample.limited) fail("does not grow where more calls cannot help");
    }
    const bool says_up = got.reason == ScalingReason::kUpDemand || got.reason == ScalingReason::kUpBacklog ||
                         got.reason == ScalingReason::kUpQueue || got.reason == ScalingReason::kUpLatency;
    if (says_up && got.delta <= 0) fail("who says up goes up");
    if (got.reason == ScalingReason::kDown && got.delta >= 0) fail("who says down goes down");
    if (got.delta != 0 && !says_up && got.reason != ScalingReason::kDown && got.reason != ScalingReason::kIntoBounds) {
      fail("each change has its reason");
    }
    if (got.reason == ScalingReason::kUpLatency && sample.queued == 0 && sample.queue_utilization == 0) {
      fail("latency is no reason to grow while nobody waits");
    }
    const double busy = sample.worker_utilization * static_cast<double>(sample.workers);
    if (got.reason == ScalingReason::kDown && static_cast<double>(after) < std::floor(busy)) {
      if (options.policy == ScalingPolicy::kTargetUtilization) fail("busy workers are needed");
    }

    // Slower jobs alone: while nobody waits, not more than what the workers are seen to do warrants.
    if (options.policy == ScalingPolicy::kTargetUtilization && sample.queued == 0 && got.delta > 0 && !is_outside &&
        got.reason != ScalingReason::kUpQueue) {
      if (after > static_cast<std::int64_t>(penstock::workers_for(options, 2 * busy))) fail("seen work bounds growth");
    }
    if (options.policy == ScalingPolicy::kThresholds && sample.queued == 0 && sample.queue_utilization == 0) {
      sample.average_response = 1h;
      if (decide(options, sample).delta > 0 && !is_outside) fail("latency alone never grows");
    }

    // A figure that is none.
    ScalingSample spoilt = sample;
    (dice.flip() ? spoilt.queue_utilization : spoilt.worker_utilization) = std::numeric_limits<double>::quiet_NaN();
    if (decide(options, spoilt).delta != 0) fail("no figure, no change");
    spoilt = sample;
    spoilt.arrival_rate = dice.strange();
    spoilt.peak_rate = dice.strange();
    spoilt.mean_run = dice.flip() ? Duration::max() : Duration(1);
    const ScalingDecision strange = decide(options, spoilt);
    const auto strange_after = static_cast<std::int64_t>(sample.workers) + strange.delta;
    if (strange.delta != 0 && (strange_after < min || strange_after > max)) fail("stays within its bounds");
  }
  for (std::size_t reason = 0; reason < seen.size(); ++reason) {
    INFO(to_string(static_cast<ScalingReason>(reason)));
    CHECK(seen[reason] > 100);
  }
}
