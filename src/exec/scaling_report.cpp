// SPDX-License-Identifier: MIT

// What scaling says of itself, and of the options it is given.

#include <cmath>
#include <string>

#include <fmt/format.h>

#include "penstock/core/detail/option_text.hpp"
#include "penstock/exec/detail/pool_text.hpp"
#include "penstock/exec/scaling_policy.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;
constexpr std::size_t kMaxWorkers = 1'000'000;

}  // namespace

std::string_view to_string(ScalingPolicy policy) noexcept {
  switch (policy) {
    case ScalingPolicy::kTargetUtilization:
      return "target_utilization";
    case ScalingPolicy::kThresholds:
      return "thresholds";
  }
  return "unknown";
}

std::string_view to_string(ScalingReason reason) noexcept {
  switch (reason) {
    case ScalingReason::kHold:
      return "hold";
    case ScalingReason::kUpDemand:
      return "up_demand";
    case ScalingReason::kUpBacklog:
      return "up_backlog";
    case ScalingReason::kUpQueue:
      return "up_queue";
    case ScalingReason::kUpLatency:
      return "up_latency";
    case ScalingReason::kDown:
      return "down";
    case ScalingReason::kIntoBounds:
      return "into_bounds";
    case ScalingReason::kCooldown:
      return "cooldown";
    case ScalingReason::kAtMax:
      return "at_max";
    case ScalingReason::kAtMin:
      return "at_min";
    case ScalingReason::kBreakerOpen:
      return "breaker_open";
    case ScalingReason::kLimited:
      return "limited";
    case ScalingReason::kQueueEmpty:
      return "queue_empty";
    case ScalingReason::kTooFewSamples:
      return "too_few_samples";
    case ScalingReason::kNoFigures:
      return "no_figures";
  }
  return "unknown";
}

ScalingOptions ScalingOptions::document() {
  ScalingOptions options;
  options.policy = ScalingPolicy::kThresholds;
  options.document_rounding = true;
  options.up_cooldown = options.down_cooldown = std::chrono::seconds(10);
  return options;
}

absl::Status ScalingOptions::validate() const {
  using detail::duration_text;
  detail::OptionViolations violations;
  const auto require = [&](bool holds, const char* option, const std::string& rule, const auto& got) {
    violations.require(holds, option, rule, got);
  };
  const auto require_positive = [&](const char* option, Duration value) {
    require(value > Duration::zero(), option, "positive", duration_text(value));
  };
  const auto require_not_negative = [&](const char* option, Duration value) {
    require(value >= Duration::zero(), option, "at least 0 s", duration_text(value));
  };

  // A NaN is in no range.
  require(name.size() <= kMaxNameBytes, "name", "at most 256 bytes long", name.size());
  const bool known = policy == ScalingPolicy::kTargetUtilization || policy == ScalingPolicy::kThresholds;
  require(known, "policy", "kTargetUtilization or kThresholds", static_cast<int>(policy));
  require(min_workers >= 1 && min_workers <= kMaxWorkers, "min_workers", "in [1, 1000000]", min_workers);
  require(max_workers >= min_workers && max_workers <= kMaxWorkers, "max_workers",
          fmt::format("in [min_workers ({}), 1000000]", min_workers), max_workers);
  require_not_negative("up_cooldown", up_cooldown);
  require_not_negative("down_cooldown", down_cooldown);
  require(up_threshold > 0 && up_threshold <= 1, "up_threshold", "in (0, 1]", up_threshold);
  require(down_threshold >= 0 && down_threshold < up_threshold, "down_threshold",
          fmt::format("in [0, up_threshold ({}))", up_threshold), down_threshold);
  require(up_factor > 1 && up_factor <= 1000, "up_factor", "in (1, 1000]", up_factor);
  require(nearly_full >= 0 && std::isfinite(nearly_full), "nearly_full", "a number of at least 0", nearly_full);
  require(target_utilization > 0 && target_utilization <= 1, "target_utilization", "in (0, 1]", target_utilization);
  require(headroom >= 0 && headroom <= 100, "headroom", "in [0, 100]", headroom);
  require_positive("drain_time", drain_time);
  require(tolerance >= 0 && tolerance < 1, "tolerance", "in [0, 1)", tolerance);
  require_positive("rate_window", rate_window);
  require_positive("peak_window", peak_window);
  require(down_factor > 0 && down_factor < 1, "down_factor", "in (0, 1)", down_factor);
  require(idle_threshold > 0 && idle_threshold <= 1, "idle_threshold", "in (0, 1]", idle_threshold);
  require_positive("target_response_time", target_response_time);
  require(max_response_time > target_response_time, "max_response_time",
          fmt::format("longer than target_response_time ({})", duration_text(target_response_time)),
          duration_text(max_response_time));
  require_positive("interval", interval);
  require(clock != nullptr, "clock", "a clock", "null");

  return violations.status(fmt::format("scaler '{}'", detail::shortened(name, kMaxNameBytes)));
}

}  // namespace penstock::inline PENSTOCK_ABI
