// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Changes the number of a pool's workers with what there is to do.

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/exec/periodic_runner.hpp"
#include "penstock/exec/scaling_meter.hpp"
#include "penstock/exec/scaling_policy.hpp"

namespace penstock::inline PENSTOCK_ABI {

class MetricSink;
class WorkerPool;

/// What an `AdaptiveScaler` can drive. It calls one of these at a time, without a lock, and contains what they throw.
class Scalable {
 public:
  virtual ~Scalable() = default;

  [[nodiscard]] virtual PoolFigures figures() const = 0;
  /// Makes it `workers`, within what the figures allow. It may wait for new ones to be ready, but not for old ones to
  /// finish their jobs.
  virtual absl::Status resize(std::size_t workers) = 0;

 protected:
  Scalable() = default;
  Scalable(const Scalable&) = default;
  Scalable& operator=(const Scalable&) = default;
};

/// A worker pool, within its `min_workers` and `max_workers`. It should not `grow_when_busy`, which needs no scaler and
/// asks nobody; and it should measure, for without that nobody knows how long jobs take: then only a full queue lets it
/// grow, and only silence shrink.
class ScalableWorkerPool final : public Scalable {
 public:
  /// Whether a circuit breaker refuses calls, and whether a limiter is at its limit: empty means no.
  struct Surroundings {
    std::function<bool()> breaker_open = {};
    std::function<bool()> limited = {};
  };

  /// `pool` outlives it.
  explicit ScalableWorkerPool(WorkerPool& pool) noexcept : pool_(pool) {}
  ScalableWorkerPool(WorkerPool& pool, Surroundings surroundings) noexcept
      : pool_(pool), surroundings_(std::move(surroundings)) {}

  [[nodiscard]] PoolFigures figures() const override;
  absl::Status resize(std::size_t workers) override;

 private:
  WorkerPool& pool_;
  const Surroundings surroundings_;
};

/// One decision, and how often it was made in a row.
struct ScalingRecord {
  TimePoint first{};
  TimePoint last{};
  std::uint64_t times = 1;  ///< Only what changed nothing is put together.
  std::size_t workers = 0;  ///< Before it.
  std::int64_t delta = 0;
  ScalingReason reason = ScalingReason::kHold;
  bool failed = false;  ///< The pool could not be changed so.

  friend bool operator==(const ScalingRecord&, const ScalingRecord&) = default;
};

struct AdaptiveScalerStats {
  std::uint64_t evaluations = 0;
  std::uint64_t skipped = 0;  ///< Not counted there: another one was going on.
  std::uint64_t scale_ups = 0;
  std::uint64_t scale_downs = 0;
  std::uint64_t workers_added = 0;
  std::uint64_t workers_removed = 0;
  std::uint64_t failures = 0;                            ///< The pool refused a change, or could not make it.
  std::uint64_t exceptions = 0;                          ///< It threw.
  std::array<std::uint64_t, kScalingReasons> reasons{};  ///< Evaluations by their reason.
  ScalingReason last_reason = ScalingReason::kHold;
  ScalingSample last_sample;
  absl::Status last_failure;  ///< OK if there was none.

  [[nodiscard]] std::uint64_t count(ScalingReason reason) const noexcept {
    return reasons[static_cast<std::size_t>(reason)];
  }
};

/// Looks at a pool now and then, decides, and changes it.
///
///     ScalableWorkerPool scalable(*pool);
///     AdaptiveScaler scaler(scalable, {.name = "openai", .min_workers = 2, .max_workers = 50});
///     ...
///     scaler.start(runner);         // looks every `interval`; or scaler.evaluate() every now and then
///
/// A change that fails (the system has no more threads, say) counts as one for the cooldown: it is tried again after
/// that, and not in each evaluation.
///
/// Threads: any member, from any thread, also from what the pool calls. The pool outlives it.
class AdaptiveScaler {
 public:
  /// How many records are kept.
  static constexpr std::size_t kHistory = 64;

  /// Throws: std::invalid_argument with the text of `options.validate()`.
  AdaptiveScaler(Scalable& pool, ScalingOptions options = {});
  /// As `stop()`.
  ~AdaptiveScaler() { stop(); }
  AdaptiveScaler(const AdaptiveScaler&) = delete;
  AdaptiveScaler& operator=(const AdaptiveScaler&) = delete;

  /// Looks at the pool, and changes it if there is a reason to. Nothing if another thread is at it: one at a time.
  ///
  /// Blocks: as long as the pool's `figures` and `resize` do.
  std::optional<ScalingDecision> evaluate() { return evaluate(clock_.now()); }
  /// The same at a time of the caller's.
  std::optional<ScalingDecision> evaluate(TimePoint now);

  /// Has a thread of `runner` call `evaluate` every `interval` of the options, for the first time after one; until
  /// `stop` or `end`, or the end of the runner. The times that it decides by are those of its own clock. The task is
  /// called "scale <name>". With a `jitter`, each interval is longer or shorter by up to this part of it, so that the
  /// scalers of a runner spread; in [0, 1].
  ///
  /// Returns: FailedPrecondition if that is so already; else what `runner.every` does.
  absl::Status start(PeriodicRunner& runner, double jitter = 0) ABSL_LOCKS_EXCLUDED(task_mutex_);
  /// Ends that; nothing happens if there is nothing to end.
  ///
  /// Blocks: until an evaluation of the runner's that goes on has ended; called from within it, not at all.
  void stop() noexcept ABSL_LOCKS_EXCLUDED(task_mutex_);
  /// The same, without waiting; `stop` and the destructor still do.
  void end() noexcept ABSL_LOCKS_EXCLUDED(task_mutex_);

  /// Goes by `options` from the next evaluation on; what was learned and counted stays, and so do name and clock.
  ///
  /// Returns: InvalidArgument, with nothing changed, and the text of `options.validate()`.
  absl::Status set_options(ScalingOptions options) ABSL_LOCKS_EXCLUDED(mutex_, task_mutex_);

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] ScalingOptions options() const ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] AdaptiveScalerStats stats() const ABSL_LOCKS_EXCLUDED(mutex_);
  /// The last decisions, oldest first.
  [[nodiscard]] std::vector<ScalingRecord> history() const ABSL_LOCKS_EXCLUDED(mutex_);
  /// Writes the metrics `penstock_scaler_...`, with the label scaler = name().
  void collect(MetricSink& sink) const;

 private:
  class Turn;

  ScalingDecision look(TimePoint now) ABSL_LOCKS_EXCLUDED(mutex_);
  void narrow(const PoolFigures& figures) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void record(const ScalingRecord& record) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Scalable& pool_;
  const std::string name_;
  Clock& clock_;

  Mutex task_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);  // and before the runner's locks; not taken by an evaluation
  PeriodicTask task_ ABSL_GUARDED_BY(task_mutex_);

  mutable Mutex mutex_;  // leaf: nothing else is locked while it is held
  bool is_evaluating_ ABSL_GUARDED_BY(mutex_) = false;
  ScalingOptions options_ ABSL_GUARDED_BY(mutex_);
  ScalingOptions narrowed_ ABSL_GUARDED_BY(mutex_);  // the same, but with the bounds that the pool has, too
  ScalingMeter meter_ ABSL_GUARDED_BY(mutex_);
  AdaptiveScalerStats stats_ ABSL_GUARDED_BY(mutex_);
  std::vector<ScalingRecord> history_ ABSL_GUARDED_BY(mutex_);  // a ring once it is full
  std::size_t oldest_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace penstock::inline PENSTOCK_ABI
