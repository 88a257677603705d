// SPDX-License-Identifier: MIT
#include "penstock/exec/scaling_meter.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "penstock/core/detail/duration_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using detail::seconds;

// So many standard deviations of a random number of arrivals are put down to chance.
constexpr double kChance = 4;
// Fewer jobs do not say that all have become slower.
constexpr double kJump = 20;
// Fewer arrivals than this in a window are none.
constexpr double kNone = 0.01;

Duration duration_of(double seconds) noexcept {
  return saturated(std::chrono::duration<double, std::nano>(std::round(seconds * 1e9)));
}

/// From one point to a later one, held at the end of the range; zero to an earlier one.
Duration between(TimePoint from, TimePoint to) noexcept {
  if (to <= from) return Duration::zero();
  const auto ticks = [](TimePoint at) { return static_cast<std::uint64_t>(at.time_since_epoch().count()); };
  const std::uint64_t distance = ticks(to) - ticks(from);
  return Duration(static_cast<Duration::rep>(std::min(distance, std::uint64_t{INT64_MAX})));
}

/// The mean of what was added to a total, in seconds; zero if nothing was.
double mean_of(Duration from, Duration to, std::uint64_t count) noexcept {
  return count == 0 ? 0 : std::max(seconds(to) - seconds(from), 0.0) / static_cast<double>(count);
}

bool follows(const PoolFigures& later, const PoolFigures& earlier) noexcept {
  return later.arrivals >= earlier.arrivals && later.started >= earlier.started && later.finished >= earlier.finished &&
         later.wait_total >= earlier.wait_total && later.run_total >= earlier.run_total;
}

}  // namespace

ScalingSample ScalingMeter::sample(const ScalingOptions& options, const PoolFigures& figures, TimePoint now) noexcept {
  last_up_ = std::min(last_up_, now);
  last_down_ = std::min(last_down_, now);
  if (!has_begun_ || !follows(figures, latest_)) {
    has_begun_ = true;
    half_since_ = since_ = now;
    before_ = answered_ = figures;
    busy_ = static_cast<double>(figures.busy);
  } else if (now < since_) {
    half_since_ = since_ = now;
    before_ = figures;
  }
  latest_ = figures;

  const Duration elapsed = between(since_, now);
  if (elapsed > Duration::zero() && elapsed >= options.rate_window / 32) {
    const double length = seconds(elapsed);
    learn_rate(options, static_cast<double>(figures.arrivals - before_.arrivals), length);
    learn_peak(options, now);
    // The few calls that a breaker lets through fail at once, or hang.
    if (!figures.breaker_open)
      learn_run(options, figures.finished - before_.finished, seconds(figures.run_total) - seconds(before_.run_total));
    // Jobs that have ended tell how long workers were busy. Those that have not, and may never, are seen at both ends.
    const double ended = (seconds(figures.run_total) - seconds(before_.run_total)) / length;
    busy_ = std::max(ended, static_cast<double>(std::min(figures.busy, before_.busy)));
    since_ = now;
    before_ = figures;
  }
  learn_response(options);

  ScalingSample sample;
  const auto workers = static_cast<double>(figures.workers);
  const auto places = figures.queue_capacity == 0 ? workers : static_cast<double>(figures.queue_capacity);
  sample.workers = figures.workers;
  sample.queue_utilization = places > 0 ? static_cast<double>(figures.queued) / places : 0;
  sample.worker_utilization = workers > 0 ? std::clamp(busy_ / workers, 0.0, 1.0) : 0;
  sample.average_response = response_;
  sample.samples = responses_;
  sample.breaker_open = figures.breaker_open;
  sample.limited = figures.limited;
  sample.since_up = between(last_up_, now);
  sample.since_down = between(last_down_, now);
  sample.queued = figures.queued;
  sample.arrival_rate = rate_;
  if (!std::isnan(rate_)) sample.peak_rate = std::max(peaks_[0], peaks_[1]);
  if (runs_ > 0 && runs_ >= static_cast<double>(options.min_samples)) sample.mean_run = duration_of(run_);
  return sample;
}

void ScalingMeter::changed(std::int64_t delta, TimePoint now) noexcept {
  (delta > 0 ? last_up_ : last_down_) = now;
  answered_ = latest_;
  responses_ = 0;
}

void ScalingMeter::learn_rate(const ScalingOptions& options, double arrivals, double elapsed) noexcept {
  const double seen = arrivals / elapsed;
  const double expected = rate_ * elapsed;
  if (std::isnan(rate_) || arrivals > expected + kChance * std::sqrt(std::max(expected, 1.0))) {
    rate_ = seen;
    age_ = elapsed;
  } else {
    age_ += elapsed;  // until the window is full, a mean of all that was seen
    rate_ += (seen - rate_) * std::max(-std::expm1(-elapsed / window(options)), elapsed / age_);
  }
  if (arrivals == 0 && rate_ * window(options) < kNone) rate_ = 0;
}

/// The load changes by chance about as fast as jobs come and go; who follows that for long ones never rests.
double ScalingMeter::window(const ScalingOptions& options) const noexcept {
  return std::max(seconds(options.rate_window), 2 * run_);
}

void ScalingMeter::learn_peak(const ScalingOptions& options, TimePoint now) noexcept {
  const Duration half = options.peak_window / 2;
  const Duration age = between(half_since_, now);
  if (age >= half) {
    peaks_ = {0, age < options.peak_window ? peaks_[0] : 0};
    half_since_ = now;
  }
  peaks_[0] = std::max(peaks_[0], rate_);
}

void ScalingMeter::learn_run(const ScalingOptions& options, std::uint64_t finished, double total) noexcept {
  if (finished == 0) return;
  const auto count = static_cast<double>(finished);
  const auto enough = static_cast<double>(options.min_samples);
  const double seen = total / count;
  // As many jobs count as come in the window of the rate, but no fewer than `min_samples`.
  const double most = std::max(enough, std::isnan(rate_) ? 0 : rate_ * window(options));
  if (runs_ >= enough && count >= std::max(enough, kJump) && seen > run_ * (1 + kChance / std::sqrt(count))) {
    run_ = seen;  // for times that spread as widely as exponential ones, this is no chance
  } else {
    run_ += (seen - run_) * count / (count + std::min(runs_, most));
  }
  runs_ = std::min(runs_ + count, std::max(most, 1.0));
}

void ScalingMeter::learn_response(const ScalingOptions& options) noexcept {
  const std::uint64_t finished = latest_.finished - answered_.finished;
  if (finished == 0 || finished < options.min_samples) return;
  const double wait = mean_of(answered_.wait_total, latest_.wait_total, latest_.started - answered_.started);
  const double run = mean_of(answered_.run_total, latest_.run_total, finished);
  response_ = duration_of(wait + run);
  responses_ = finished;
  answered_ = latest_;
}

}  // namespace penstock::inline PENSTOCK_ABI
