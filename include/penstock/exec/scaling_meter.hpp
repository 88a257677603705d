// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Makes the samples that scaling decides on from what a pool counts: differences, means and rates over time.

#include <array>
#include <cstddef>
#include <cstdint>

#include "penstock/core/clock.hpp"
#include "penstock/exec/scaling_policy.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// What a pool tells at one moment.
struct PoolFigures {
  std::size_t workers = 0;
  std::size_t busy = 0;            ///< Of these.
  std::size_t queued = 0;          ///< Jobs that wait, in the queue and for a place in it.
  std::size_t queue_capacity = 0;  ///< 0: there is no queue.

  // Since the pool was made. If one has become smaller, it is another pool, and nothing is made of the difference.
  std::uint64_t arrivals = 0;  ///< Submissions, accepted or not.
  std::uint64_t started = 0;   ///< Jobs whose wait is in `wait_total`.
  Duration wait_total{};
  std::uint64_t finished = 0;  ///< Jobs whose run is in `run_total`.
  Duration run_total{};

  bool breaker_open = false;
  bool limited = false;

  // What the pool allows, whatever the options of the scaling say.
  std::size_t min_workers = 1;
  std::size_t max_workers = SIZE_MAX;
};

/// The memory between two samples. It reads no clock; it does not matter how regularly it is asked.
///
///     ScalingMeter meter(start);
///     ...
///     const ScalingDecision decision = decide(options, meter.sample(options, figures, now));   // every now and then
///     if (decision.delta != 0) meter.changed(decision.delta, now);
///
/// Threads: one at a time.
class ScalingMeter {
 public:
  /// The cooldowns count from `start`.
  explicit ScalingMeter(TimePoint start) noexcept : last_up_(start), last_down_(start) {}

  /// How the pool is doing, by what it tells now and what it told before. After a clock that steps back, a new interval
  /// begins, and the cooldowns do.
  ///
  /// Rates and busy times are computed anew once `rate_window` / 32 has passed since the last time, responses once
  /// `min_samples` jobs have ended since then; until then they stay as they were.
  ScalingSample sample(const ScalingOptions& options, const PoolFigures& figures, TimePoint now) noexcept;

  /// The pool was changed, or it was tried: the cooldowns begin, and responses from before tell nothing any more.
  void changed(std::int64_t delta, TimePoint now) noexcept;

 private:
  void learn_rate(const ScalingOptions& options, double arrivals, double elapsed) noexcept;
  void learn_peak(const ScalingOptions& options, TimePoint now) noexcept;
  void learn_run(const ScalingOptions& options, std::uint64_t finished, double total) noexcept;
  [[nodiscard]] double window(const ScalingOptions& options) const noexcept;
  void learn_response(const ScalingOptions& options) noexcept;

  TimePoint last_up_, last_down_;

  bool has_begun_ = false;
  PoolFigures latest_;
  TimePoint since_{};   // of rates and busy times
  PoolFigures before_;  // as they were then

  double busy_ = 0;  // workers
  double rate_ = ScalingSample::kUnknown;
  double age_ = 0;                 // seconds that this is the mean of
  TimePoint half_since_{};         // of the peak window
  std::array<double, 2> peaks_{};  // of this half of it, and of the one before

  double runs_ = 0;  // that `run_` is the mean of, as long as they are few
  double run_ = 0;   // seconds

  PoolFigures answered_;  // as they were when the responses below began to be counted
  Duration response_{};
  std::uint64_t responses_ = 0;
};

}  // namespace penstock::inline PENSTOCK_ABI
