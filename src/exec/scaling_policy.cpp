// SPDX-License-Identifier: MIT
#include "penstock/exec/scaling_policy.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "penstock/core/detail/duration_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using detail::seconds;

constexpr double kMost = 1'000'000;
// Where no job waits, the workers do all the work there is. More of it than twice what they do is not believed, however
// fast the arrivals or slow the jobs are said to be.
constexpr double kTrust = 2;

/// Rounds up what is not whole but for the error of its computation: 10 times 1.1 is 11.
double ceil_of(double value) noexcept { return std::ceil(value - 1e-9 * std::max(1.0, std::abs(value))); }
double floor_of(double value) noexcept { return std::floor(value + 1e-9 * std::max(1.0, std::abs(value))); }

bool is_amount(double value) noexcept { return value >= 0 && std::isfinite(value); }  // a NaN is not

/// The one sample that is looked at, and what follows from it.
class Judge {
 public:
  Judge(const ScalingOptions& options, const ScalingSample& sample) noexcept
      : options_(options),
        sample_(sample),
        workers_(static_cast<double>(sample.workers)),
        min_(static_cast<double>(options.min_workers)),
        max_(static_cast<double>(options.max_workers)),
        since_(std::min(sample.since_up, sample.since_down)) {}

  ScalingDecision judge() const noexcept {
    if (options_.policy == ScalingPolicy::kThresholds && options_.document_rounding) return by_document();
    if (!has_figures()) return {0, ScalingReason::kNoFigures};
    if (workers_ < min_ || workers_ > max_) return into_bounds();
    return options_.policy == ScalingPolicy::kThresholds ? by_thresholds() : by_demand();
  }

 private:
  [[nodiscard]] bool has_figures() const noexcept {
    return sample_.workers != 0 && sample_.workers <= static_cast<std::size_t>(kMost) * 1000 &&
           is_amount(sample_.queue_utilization) && is_amount(sample_.worker_utilization) &&
           sample_.worker_utilization <= 1 && sample_.average_response >= Duration::zero() &&
           sample_.mean_run >= Duration::zero();
  }

  [[nodiscard]] ScalingDecision into_bounds() const noexcept {
    const bool up = workers_ < min_;
    if (since_ < (up ? options_.up_cooldown : options_.down_cooldown)) return {0, ScalingReason::kCooldown};
    return to(up ? min_ : max_, ScalingReason::kIntoBounds);
  }

  // --- kTargetUtilization ---

  [[nodiscard]] ScalingDecision by_demand() const noexcept {
    const bool knows_rate = is_amount(sample_.arrival_rate);
    const bool is_silent = knows_rate && sample_.arrival_rate == 0 && sample_.queued == 0;
    const bool is_known = knows_rate && (sample_.mean_run > Duration::zero() || is_silent);
    const bool is_overrun =
        sample_.queue_utilization > options_.up_threshold && sample_.worker_utilization >= options_.target_utilization;
    if (!is_known) return is_overrun ? grow(step_up(), ScalingReason::kUpQueue) : too_few();

    const double run = seconds(sample_.mean_run);
    const double busy = sample_.worker_utilization * workers_;
    double load = sample_.arrival_rate * run;
    if (sample_.queued == 0) load = std::min(load, kTrust * busy);
    const double for_demand = static_cast<double>(workers_for(options_, load));
    const double drain = std::max(run, seconds(options_.drain_time));
    const double for_backlog = ceil_of(load + static_cast<double>(sample_.queued) * run / drain);
    if (for_demand > workers_) return grow(std::max(for_demand, for_backlog), ScalingReason::kUpDemand);
    if (for_backlog > workers_) return grow(for_backlog, ScalingReason::kUpBacklog);
    // By the figures there are enough. If the queue is as full as before although they had time to empty it, then the
    // figures are wrong: jobs that hang, for example, have not told yet how long they take.
    if (is_overrun) {
      return since_ < options_.drain_time ? ScalingDecision{0, ScalingReason::kCooldown}
                                          : grow(step_up(), ScalingReason::kUpQueue);
    }
    if (sample_.queue_utilization >= options_.down_threshold) return {};

    const double peak = is_amount(sample_.peak_rate) ? std::max(sample_.peak_rate, sample_.arrival_rate) * run : load;
    const double enough = std::max(static_cast<double>(workers_for(options_, std::max(peak, busy))), for_backlog);
    const bool is_worth_it = enough < workers_ && enough <= workers_ * (1 - options_.tolerance);
    return is_worth_it ? shrink(enough) : ScalingDecision{};
  }

  // --- kThresholds ---

  [[nodiscard]] ScalingDecision by_thresholds() const noexcept {
    const bool has_samples = sample_.samples >= options_.min_samples && sample_.samples != 0;
    if (sample_.queue_utilization > options_.up_threshold) return grow(step_up(), ScalingReason::kUpQueue);
    if (has_samples && sample_.average_response > options_.max_response_time) {
      // A slow other side is not made faster by more calls: that only helps jobs that wait for one of ours.
      const bool waits = sample_.queued != 0 || sample_.queue_utilization > 0;
      return waits ? grow(step_up(), ScalingReason::kUpLatency) : ScalingDecision{0, ScalingReason::kQueueEmpty};
    }
    if (sample_.queue_utilization >= options_.down_threshold) return {};
    if (sample_.worker_utilization >= options_.idle_threshold) return {};
    const bool is_silent = sample_.arrival_rate == 0 && sample_.worker_utilization == 0 && sample_.queued == 0;
    if (!has_samples && !is_silent) return too_few();
    if (has_samples && sample_.average_response >= options_.target_response_time) return {};
    // Only what they do tells how many are needed, and they do nothing.
    if (sample_.breaker_open && workers_ > min_) return {0, ScalingReason::kBreakerOpen};
    return shrink(std::min(floor_of(workers_ * options_.down_factor), workers_ - 1));
  }

  /// As its text has it: one cooldown, then up or else down, and after a step up that came to nothing nothing else.
  [[nodiscard]] ScalingDecision by_document() const noexcept {
    if (since_ < std::min(options_.up_cooldown, options_.down_cooldown)) return {0, ScalingReason::kCooldown};
    const bool is_full = sample_.queue_utilization > options_.up_threshold;
    if (is_full || sample_.average_response > options_.max_response_time) {
      if (since_ < options_.up_cooldown) return {0, ScalingReason::kCooldown};
      const double target = std::min(std::trunc(workers_ * options_.up_factor), max_);
      if (target > workers_) return to(target, is_full ? ScalingReason::kUpQueue : ScalingReason::kUpLatency);
      return {0, workers_ >= max_ ? ScalingReason::kAtMax : ScalingReason::kHold};
    }
    if (sample_.queue_utilization < options_.down_threshold &&
        sample_.average_response < options_.target_response_time) {
      if (since_ < options_.down_cooldown) return {0, ScalingReason::kCooldown};
      const double target = std::max(std::trunc(workers_ * options_.down_factor), min_);
      if (target < workers_) return to(target, ScalingReason::kDown);
      return {0, ScalingReason::kAtMin};
    }
    return {};
  }

  // --- both ---

  [[nodiscard]] double step_up() const noexcept {
    const double step = std::max(ceil_of(workers_ * options_.up_factor) - workers_, 1.0);
    return workers_ + (sample_.queue_utilization >= options_.nearly_full ? 2 * step : step);
  }

  [[nodiscard]] ScalingDecision grow(double target, ScalingReason reason) const noexcept {
    if (workers_ >= max_) return {0, ScalingReason::kAtMax};
    if (sample_.breaker_open) return {0, ScalingReason::kBreakerOpen};
    if (sample_.limited) return {0, ScalingReason::kLimited};
    if (since_ < options_.up_cooldown) return {0, ScalingReason::kCooldown};
    return to(std::min(target, max_), reason);
  }

  [[nodiscard]] ScalingDecision shrink(double target) const noexcept {
    if (workers_ <= min_) return {0, ScalingReason::kAtMin};
    if (since_ < options_.down_cooldown) return {0, ScalingReason::kCooldown};
    return to(std::max(target, min_), ScalingReason::kDown);
  }

  [[nodiscard]] ScalingDecision to(double target, ScalingReason reason) const noexcept {
    return {static_cast<std::int64_t>(target - workers_), reason};
  }

  static ScalingDecision too_few() noexcept { return {0, ScalingReason::kTooFewSamples}; }

  const ScalingOptions& options_;
  const ScalingSample& sample_;
  const double workers_, min_, max_;
  const Duration since_;
};

}  // namespace

std::size_t workers_for(const ScalingOptions& options, double load) noexcept {
  if (!(load > 0)) return 1;
  const double wanted = std::max(load / options.target_utilization, load + options.headroom * std::sqrt(load));
  return wanted >= kMost ? static_cast<std::size_t>(kMost) : static_cast<std::size_t>(std::max(ceil_of(wanted), 1.0));
}

ScalingDecision decide(const ScalingOptions& options, const ScalingSample& sample) noexcept {
  return Judge(options, sample).judge();
}

}  // namespace penstock::inline PENSTOCK_ABI
