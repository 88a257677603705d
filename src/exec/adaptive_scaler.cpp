// SPDX-License-Identifier: MIT
#include "penstock/exec/adaptive_scaler.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/exec/detail/pool_text.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxTaskNameBytes = 256;

const ScalingOptions& checked(const ScalingOptions& options) {
  const absl::Status status = options.validate();
  if (!status.ok()) throw std::invalid_argument(std::string(detail::text_of(status)));
  return options;
}

}  // namespace

// --- ScalableWorkerPool ---

PoolFigures ScalableWorkerPool::figures() const {
  const WorkerPoolStats stats = pool_.stats();
  PoolFigures figures;
  figures.workers = stats.configured;
  figures.busy = std::min(stats.busy, stats.configured);
  figures.queued = stats.queue_depth + stats.starting + stats.submitting;
  figures.queue_capacity = stats.queue_capacity;
  figures.arrivals = stats.submitted;
  figures.started = stats.queue_wait.count();
  figures.wait_total = stats.queue_wait.sum();
  figures.finished = stats.run.count();
  figures.run_total = stats.run.sum();
  figures.breaker_open = surroundings_.breaker_open && surroundings_.breaker_open();
  figures.limited = surroundings_.limited && surroundings_.limited();
  figures.min_workers = pool_.min_workers();
  figures.max_workers = pool_.max_workers();
  return figures;
}

absl::Status ScalableWorkerPool::resize(std::size_t workers) { return pool_.resize(workers); }

// --- AdaptiveScaler ---

AdaptiveScaler::AdaptiveScaler(Scalable& pool, ScalingOptions options)
    : pool_(pool),
      name_(checked(options).name),
      clock_(*options.clock),
      options_(options),
      narrowed_(std::move(options)),
      meter_(clock_.now()) {
  history_.reserve(kHistory);
}

/// The evaluation that goes on.
class AdaptiveScaler::Turn {
 public:
  explicit Turn(AdaptiveScaler& scaler) noexcept : scaler_(scaler) {
    const MutexLock lock(scaler_.mutex_);
    is_ours_ = !std::exchange(scaler_.is_evaluating_, true);
    ++(is_ours_ ? scaler_.stats_.evaluations : scaler_.stats_.skipped);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    if (!is_ours_) return;
    const MutexLock lock(scaler_.mutex_);
    scaler_.is_evaluating_ = false;
  }

  [[nodiscard]] bool is_ours() const noexcept { return is_ours_; }

 private:
  AdaptiveScaler& scaler_;
  bool is_ours_;
};

std::optional<ScalingDecision> AdaptiveScaler::evaluate(TimePoint now) {
  const Turn turn(*this);
  if (!turn.is_ours()) return std::nullopt;
  return look(now);
}

ScalingDecision AdaptiveScaler::look(TimePoint now) {
  PoolFigures figures;
  bool threw = false;
  try {
    figures = pool_.figures();
  } catch (...) {
    threw = true;
  }

  ScalingRecord record{.first = now, .last = now};
  {
    const MutexLock lock(mutex_);
    ScalingDecision decision{0, ScalingReason::kNoFigures};
    if (threw) {
      ++stats_.exceptions;
    } else {
      narrow(figures);
      stats_.last_sample = meter_.sample(narrowed_, figures, now);
      decision = decide(narrowed_, stats_.last_sample);
      if (decision.delta != 0) meter_.changed(decision.delta, now);
    }
    record.workers = figures.workers;
    record.delta = decision.delta;
    record.reason = decision.reason;
    ++stats_.reasons[static_cast<std::size_t>(decision.reason)];
    stats_.last_reason = decision.reason;
    if (decision.delta == 0) this->record(record);
  }
  if (record.delta == 0) return {0, record.reason};

  absl::Status status;
  try {
    status = pool_.resize(static_cast<std::size_t>(static_cast<std::int64_t>(record.workers) + record.delta));
  } catch (...) {
    threw = true;
    status = absl::InternalError(detail::exception_text(std::current_exception()));
  }

  const MutexLock lock(mutex_);
  if (threw) ++stats_.exceptions;
  record.failed = !status.ok();
  if (record.failed) {
    ++stats_.failures;
    std::swap(stats_.last_failure, status);  // the one before is freed without the lock
  } else if (record.delta > 0) {
    ++stats_.scale_ups;
    stats_.workers_added += static_cast<std::uint64_t>(record.delta);
  } else {
    ++stats_.scale_downs;
    stats_.workers_removed += static_cast<std::uint64_t>(-record.delta);
  }
  this->record(record);
  return {record.delta, record.reason};
}

void AdaptiveScaler::narrow(const PoolFigures& figures) noexcept {
  const std::size_t least = std::max<std::size_t>(figures.min_workers, 1);
  const std::size_t most = std::max(figures.max_workers, least);
  narrowed_.min_workers = std::clamp(options_.min_workers, least, most);
  narrowed_.max_workers = std::clamp(options_.max_workers, least, most);
}

void AdaptiveScaler::record(const ScalingRecord& record) noexcept {
  if (!history_.empty()) {
    ScalingRecord& newest = history_[(oldest_ + history_.size() - 1) % history_.size()];
    if (record.delta == 0 && newest.delta == 0 && newest.reason == record.reason && newest.workers == record.workers) {
      newest.last = record.last;
      ++newest.times;
      return;
    }
  }
  if (history_.size() < kHistory) {
    history_.push_back(record);
  } else {
    history_[oldest_] = record;
    oldest_ = (oldest_ + 1) % kHistory;
  }
}

absl::Status AdaptiveScaler::start(PeriodicRunner& runner, double jitter) {
  PeriodicTask ended;  // one whose runner has gone
  const MutexLock task_lock(task_mutex_);
  if (task_.is_active()) {
    return absl::FailedPreconditionError(fmt::format("scaler '{}': has been started", name_));
  }
  PeriodicTaskOptions options;
  options.name = detail::shortened(fmt::format("scale {}", name_), kMaxTaskNameBytes);
  options.jitter = jitter;
  {
    const MutexLock lock(mutex_);
    options.interval = options.initial_delay = options_.interval;
  }
  auto task = runner.every(std::move(options), [this] { static_cast<void>(evaluate()); });
  if (!task.ok()) return task.status();
  std::swap(ended, task_);
  task_ = *std::move(task);
  return absl::OkStatus();
}

void AdaptiveScaler::stop() noexcept {
  PeriodicTask ended;
  {
    const MutexLock task_lock(task_mutex_);
    std::swap(ended, task_);
  }
  ended.stop();  // waits: an evaluation may call anything of the scaler
}

void AdaptiveScaler::end() noexcept {
  const MutexLock task_lock(task_mutex_);
  task_.end();
}

absl::Status AdaptiveScaler::set_options(ScalingOptions options) {
  options.name = name_;
  options.clock = &clock_;
  if (absl::Status status = options.validate(); !status.ok()) return status;
  const Duration interval = options.interval;
  ScalingOptions narrowed = options;  // what they replace is freed without the lock
  const MutexLock task_lock(task_mutex_);
  {
    const MutexLock lock(mutex_);
    std::swap(options_, options);
    std::swap(narrowed_, narrowed);
  }
  if (task_.options().interval == interval) return absl::OkStatus();
  static_cast<void>(task_.set_interval(interval));  // positive; and if there is no task, nothing
  return absl::OkStatus();
}

ScalingOptions AdaptiveScaler::options() const {
  const MutexLock lock(mutex_);
  return options_;
}

AdaptiveScalerStats AdaptiveScaler::stats() const {
  const MutexLock lock(mutex_);
  return stats_;
}

std::vector<ScalingRecord> AdaptiveScaler::history() const {
  std::vector<ScalingRecord> records;
  records.reserve(kHistory);  // before the lock
  const MutexLock lock(mutex_);
  for (std::size_t i = 0; i < history_.size(); ++i) records.push_back(history_[(oldest_ + i) % history_.size()]);
  return records;
}

void AdaptiveScaler::collect(MetricSink& sink) const {
  const AdaptiveScalerStats now = stats();
  const ScalingOptions options = this->options();
  const Label scaler{"scaler", name()};
  const auto number = [](auto value) { return static_cast<double>(value); };
  sink.counter("penstock_scaler_evaluations_total", "looks at the pool", {scaler}, now.evaluations);
  sink.counter("penstock_scaler_skipped_total", "looks left out because another one was going on", {scaler},
               now.skipped);
  sink.counter("penstock_scaler_scale_ups_total", "times that workers were added", {scaler}, now.scale_ups);
  sink.counter("penstock_scaler_scale_downs_total", "times that workers were removed", {scaler}, now.scale_downs);
  sink.counter("penstock_scaler_workers_added_total", "workers added", {scaler}, now.workers_added);
  sink.counter("penstock_scaler_workers_removed_total", "workers removed", {scaler}, now.workers_removed);
  sink.counter("penstock_scaler_failures_total", "changes that the pool refused or could not make", {scaler},
               now.failures);
  sink.counter("penstock_scaler_caught_exceptions_total", "exceptions of the pool", {scaler}, now.exceptions);
  for (std::size_t reason = 0; reason < kScalingReasons; ++reason) {
    const Label of{"reason", to_string(static_cast<ScalingReason>(reason))};
    sink.counter("penstock_scaler_decisions_total", "looks at the pool, by what came of them and why", {scaler, of},
                 now.reasons[reason]);
    const bool is_last = now.evaluations != 0 && now.last_reason == static_cast<ScalingReason>(reason);
    sink.gauge("penstock_scaler_last_reason", "whether the last look ended so", {scaler, of}, is_last ? 1 : 0);
  }
  sink.gauge("penstock_scaler_workers", "workers at the last look, and what they must stay within",
             {scaler, {"of", "now"}}, number(now.last_sample.workers));
  sink.gauge("penstock_scaler_workers", "workers at the last look, and what they must stay within",
             {scaler, {"of", "min"}}, number(options.min_workers));
  sink.gauge("penstock_scaler_workers", "workers at the last look, and what they must stay within",
             {scaler, {"of", "max"}}, number(options.max_workers));
  sink.gauge("penstock_scaler_queue_utilization", "how full the queue was at the last look", {scaler},
             now.last_sample.queue_utilization);
  sink.gauge("penstock_scaler_worker_utilization", "the part of the workers that was busy before the last look",
             {scaler}, now.last_sample.worker_utilization);
  if (!std::isnan(now.last_sample.arrival_rate)) {
    sink.gauge("penstock_scaler_arrival_rate", "submissions per second, smoothed", {scaler},
               now.last_sample.arrival_rate);
  }
  sink.gauge("penstock_scaler_mean_run_seconds", "how long jobs run on average; 0: not known yet", {scaler},
             detail::seconds(now.last_sample.mean_run));
}

}  // namespace penstock::inline PENSTOCK_ABI
