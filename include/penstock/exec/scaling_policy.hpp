// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How many workers a pool should have: a decision from figures, without a clock, a lock or a thread.
///
/// kTargetUtilization asks how much work comes in. By Little's law a rate of arrivals times the mean time that a job
/// runs is how many workers are busy on average; so many are kept, some more for chance, and some more for a backlog.
/// It grows at once to what is needed and shrinks to what the busiest moment of the last while needs.
///
/// kThresholds looks at the queue and at response times, and multiplies by a factor when they cross a threshold.
///
/// A `ScalingMeter` (scaling_meter.hpp) makes samples from what a pool counts, an `AdaptiveScaler`
/// (adaptive_scaler.hpp) does what was decided.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"

namespace penstock::inline PENSTOCK_ABI {

enum class ScalingPolicy : std::uint8_t { kTargetUtilization, kThresholds };

/// The name of `policy` in lower case with underscores, such as "target_utilization".
std::string_view to_string(ScalingPolicy policy) noexcept;

struct ScalingOptions {
  std::string name = "unnamed";  ///< For messages and metrics; at most 256 bytes.
  ScalingPolicy policy = ScalingPolicy::kTargetUtilization;

  std::size_t min_workers = 1;    ///< [1, max_workers]
  std::size_t max_workers = 100;  ///< [min_workers, 1000000]

  /// After a change of either direction, and after the start, there is no growth for `up_cooldown` and no shrinking for
  /// `down_cooldown`; at least 0. Once exactly that long has passed there may be.
  Duration up_cooldown = std::chrono::seconds(1);
  Duration down_cooldown = std::chrono::seconds(10);
  /// Fewer jobs than this tell nothing about how long jobs take.
  std::uint64_t min_samples = 20;

  /// The queue is too full above `up_threshold`, and empty enough to shrink below `down_threshold`: parts of its
  /// capacity, in [0, 1], the second below the first.
  double up_threshold = 0.80;
  double down_threshold = 0.30;
  /// A step up by `up_factor`, at least by 1 and rounded up, and by twice as much if the queue is filled to
  /// `nearly_full` or above; in (1, 1000], and in [0, inf).
  double up_factor = 1.5;
  double nearly_full = 0.90;

  // Of kTargetUtilization alone.

  /// Workers are to be busy for at most this part of the time; (0, 1].
  double target_utilization = 0.90;
  /// And so many times the square root of their load are there beyond it, for arrivals come by chance; [0, 100]. With
  /// 1, about one job in five has to wait, with 2 one in forty, whatever the load (Halfin and Whitt, 1981).
  double headroom = 1.0;
  /// A backlog is to be gone after this time, or after that of one job if a job takes longer; positive.
  Duration drain_time = std::chrono::seconds(2);
  /// It shrinks only by more than this part of the workers; [0, 1).
  double tolerance = 0.05;
  /// Over how long arrivals, and the times that jobs run, are averaged, or over twice the time of a job if that is
  /// longer; positive. A jump up that chance does not explain is believed at once.
  Duration rate_window = std::chrono::seconds(10);
  /// It shrinks to what the highest rate of this time needs, or of half of it; positive.
  Duration peak_window = std::chrono::seconds(30);

  // Of kThresholds alone.

  /// A step down by this, at least by 1 and rounded down; in (0, 1). Only while fewer than `idle_threshold` of the
  /// workers are busy; (0, 1].
  double down_factor = 0.7;
  double idle_threshold = 0.50;
  /// Mean responses above the first, while jobs wait, ask for more workers; ones below the second let it shrink. The
  /// second is below the first, and both are positive.
  Duration max_response_time = std::chrono::seconds(10);
  Duration target_response_time = std::chrono::seconds(2);
  /// Computes what "Concurrency" of the Bifrost gateway has in its text, with what that leads to: factors truncate, so
  /// that 1 worker never becomes 2 by a factor of 1.5; a slow response alone is a reason to grow; neither the number of
  /// samples, nor busy workers, nor breaker and limiter are looked at. See `document`.
  bool document_rounding = false;

  /// How often an `AdaptiveScaler` that drives itself looks; positive.
  Duration interval = std::chrono::seconds(1);
  Clock* clock = &Clock::steady();  ///< Must outlive the scaler.

  /// kThresholds with `document_rounding`, and one cooldown of 10 s for both directions.
  static ScalingOptions document();

  /// OK, or InvalidArgument with every violation.
  [[nodiscard]] absl::Status validate() const;
};

/// How a pool is doing. What is not known, or is no number, changes nothing.
struct ScalingSample {
  std::size_t workers = 0;  ///< 0: not known

  /// Waiting jobs by the places for them, or by the workers if there is no queue; above 1 if jobs wait for a place.
  double queue_utilization = 0;
  double worker_utilization = 0;  ///< The part of the workers that was busy, in [0, 1].
  Duration average_response{};    ///< From submission to answer, of `samples` jobs.
  std::uint64_t samples = 0;

  /// Calls are refused: more workers cannot help, and only a demand says whether fewer can.
  bool breaker_open = false;
  bool limited = false;  ///< As many calls are on their way as the other side bears: more workers cannot help.

  /// Since the last change of that direction; both count from the start at first.
  Duration since_up = Duration::max();
  Duration since_down = Duration::max();

  // The demand. Of kThresholds only `queued` counts, and an `arrival_rate` of exactly 0.
  std::size_t queued = 0;          ///< Jobs that wait, in the queue and for a place in it.
  double arrival_rate = kUnknown;  ///< Submissions per second, refused ones too, smoothed.
  double peak_rate = kUnknown;     ///< The highest of these lately.
  Duration mean_run{};             ///< How long a job runs; zero: not known, or from too few of them.

  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
};

/// Why a pool is to change, or not.
enum class ScalingReason : std::uint8_t {
  kHold,           ///< It is as it should be.
  kUpDemand,       ///< More comes in than these workers can do.
  kUpBacklog,      ///< They can, but what waits would take too long.
  kUpQueue,        ///< The queue is too full.
  kUpLatency,      ///< Jobs wait, and responses take too long.
  kDown,           ///< Fewer will do.
  kIntoBounds,     ///< There are fewer than `min_workers` or more than `max_workers`.
  kCooldown,       ///< The last change is too recent.
  kAtMax,          ///< More are needed, but there are `max_workers`.
  kAtMin,          ///< Fewer would do, but there are `min_workers`.
  kBreakerOpen,    ///< It would change, but the circuit breaker is open.
  kLimited,        ///< More are needed, but the other side bears no more calls.
  kQueueEmpty,     ///< Responses take too long, but no job waits for a worker.
  kTooFewSamples,  ///< Too few jobs have ended to tell.
  kNoFigures,      ///< A figure is missing, or is none.
};
inline constexpr std::size_t kScalingReasons = 15;

/// The name of `reason` in lower case with underscores, such as "up_demand".
std::string_view to_string(ScalingReason reason) noexcept;

struct ScalingDecision {
  /// Workers to add; negative: to remove. Where there is one it leads into the bounds (with `document_rounding`, unless
  /// it began outside).
  std::int64_t delta = 0;
  ScalingReason reason = ScalingReason::kHold;

  friend bool operator==(const ScalingDecision&, const ScalingDecision&) = default;
};

/// What to do about `sample`. `options` must be valid; a sample may be anything.
///
/// Cost: some ten ns.
[[nodiscard]] ScalingDecision decide(const ScalingOptions& options, const ScalingSample& sample) noexcept;

/// How many workers keep up with `load`, the mean number of busy ones: at least 1, and at most 1000000.
[[nodiscard]] std::size_t workers_for(const ScalingOptions& options, double load) noexcept;

}  // namespace penstock::inline PENSTOCK_ABI
