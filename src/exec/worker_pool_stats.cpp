// SPDX-License-Identifier: MIT
#include <algorithm>
#include <chrono>
#include <iterator>
#include <string>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/exec/detail/pool_locks.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI {

WorkerPoolStats detail::PoolCore::stats() const {
  WorkerPoolStats stats;
  const TimePoint now = clock_.now();
  if (times_) times_->write_to(stats);  // before the counts: no wait that is not counted as started
  {
    Both lock(*this);
    note_depth();
    static_cast<WorkerPoolCounts&>(stats) = counts_;
    stats.configured = configured_;
    stats.live = live_;
    stats.busy = busy_;
    stats.idle = live_ - busy_;
    stats.stuck = stuck_;
    stats.replacements = replacements_;
    stats.joining = joining_ + missing();
    stats.retiring = live_ + stats.joining > wanted() ? live_ + stats.joining - wanted() : 0;
    if (live_ + stats.joining < wanted())
      stats.configured -= wanted() - live_ - stats.joining;  // they do not come any more
    stats.paused = is(kPaused);
    stats.submitted = submitted_;
    stats.submitting = submitting_ - announcing_;
    stats.accepted = entered_ - (options_.first_job_id - 1) - counts_.taken_over;
    stats.started = started_;
    stats.queue_depth = depth();
    stats.starting = queued() - stats.queue_depth;
    stats.queue_capacity = capacity_;
    stats.queue_bytes = static_cast<std::size_t>(entered_steps_ - left_steps_) * kBlockStep;
    stats.codel_dropping = codel_ && codel_->is_dropping();
    const JobState* oldest = queue_.oldest();
    if (oldest == nullptr) oldest = incoming_.front();
    if (oldest != nullptr) stats.oldest_queued_age = std::max(now - oldest->enqueued_at_, Duration::zero());
    // What ends meanwhile is counted as running or as ended, never as both: it was started before.
    stats.succeeded = tallied(Count::kSucceeded);
    stats.failed = tallied(Count::kFailed);
    stats.panicked = tallied(Count::kPanicked);
    const std::uint64_t cancelled = tallied(Count::kCancelled);
    stats.cancelled += cancelled;
    stats.late_results = tallied(Count::kLate);
    stats.overdue = static_cast<std::size_t>(stats.processing_timeouts - stats.late_results);
    stats.running = static_cast<std::size_t>(stats.started - stats.succeeded - stats.failed - stats.panicked -
                                             cancelled - stats.processing_timeouts);
    const auto rates =
        throughput_.at(now, stats.succeeded + stats.failed + stats.panicked + cancelled + stats.late_results);
    stats.throughput_1s = rates[0];
    stats.throughput_10s = rates[1];
    stats.throughput_60s = rates[2];
    bool first = true;
    for (const Runner* runner = runners_; runner != nullptr; runner = runner->next) {
      if (!runner->is_worker) continue;
      ++stats.workers_by_state[static_cast<std::size_t>(runner->doing().state)];
      if (!runner->joined) continue;
      const std::uint64_t jobs = runner->tally.value(Count::kReturned);
      stats.jobs_per_worker_min = first ? jobs : std::min(stats.jobs_per_worker_min, jobs);
      stats.jobs_per_worker_max = std::max(stats.jobs_per_worker_max, jobs);
      first = false;
    }
  }
  stats.exceptions = exceptions_.load(std::memory_order_relaxed);
  for (std::size_t code = 0; code < stats.failed_with.size(); ++code) {
    stats.failed_with[code] = failed_with_[code].load(std::memory_order_relaxed);
  }
  return stats;
}

namespace {

double ratio(double part, double whole) noexcept { return whole > 0 ? part / whole : 0; }

}  // namespace

double WorkerPoolStats::queue_utilization() const noexcept {
  if (queue_capacity == 0) return worker_utilization();
  return ratio(static_cast<double>(queue_depth), static_cast<double>(queue_capacity));
}

double WorkerPoolStats::worker_utilization() const noexcept {
  return ratio(static_cast<double>(busy), static_cast<double>(live));
}

double WorkerPoolStats::error_rate() const noexcept {
  const double errors = static_cast<double>(failed + panicked + processing_timeouts);
  return ratio(errors, errors + static_cast<double>(succeeded + cancelled));
}

std::string_view to_string(StartupReport::Phase phase) noexcept {
  switch (phase) {
    case StartupReport::Phase::kOptions:
      return "options";
    case StartupReport::Phase::kThreads:
      return "threads";
    case StartupReport::Phase::kWorkers:
      return "workers";
    case StartupReport::Phase::kHealthCheck:
      return "health check";
    case StartupReport::Phase::kReady:
      return "ready";
  }
  return "unknown phase";
}

std::string_view to_string(PoolState state) noexcept {
  switch (state) {
    case PoolState::kRunning:
      return "running";
    case PoolState::kPaused:
      return "paused";
    case PoolState::kDraining:
      return "draining";
    case PoolState::kStopped:
      return "stopped";
  }
  return "unknown state";
}

std::string_view to_string(JobOutcome outcome) noexcept {
  switch (outcome) {
    case JobOutcome::kNone:
      return "none";
    case JobOutcome::kSucceeded:
      return "succeeded";
    case JobOutcome::kFailed:
      return "failed";
    case JobOutcome::kPanicked:
      return "panicked";
    case JobOutcome::kProcessingTimeout:
      return "processing_timeout";
    case JobOutcome::kCancelled:
      return "cancelled";
    case JobOutcome::kQueueExpired:
      return "queue_expired";
    case JobOutcome::kDroppedOldest:
      return "dropped_oldest";
    case JobOutcome::kShed:
      return "shed";
    case JobOutcome::kAbandoned:
      return "abandoned";
  }
  return "unknown outcome";
}

WorkerPoolStats WorkerPool::stats() const { return core_->is_forked() ? WorkerPoolStats{} : core_->stats(); }

void WorkerPool::collect(MetricSink& sink) const {
  const WorkerPoolStats stats = this->stats();
  const Label pool{"pool", name()};
  const auto number = [](auto value) { return static_cast<double>(value); };
  const auto refused = [&](std::string_view reason, std::uint64_t value) {
    sink.counter("penstock_pool_refused_total", "submissions that were refused, by reason", {pool, {"reason", reason}},
                 value);
  };
  const auto ended = [&](JobOutcome outcome, std::uint64_t value) {
    sink.counter("penstock_pool_jobs_total", "accepted jobs that have been answered, by outcome",
                 {pool, {"outcome", to_string(outcome)}}, value);
  };

  sink.counter("penstock_pool_submitted_total", "submissions, accepted or not", {pool}, stats.submitted);
  sink.counter("penstock_pool_accepted_total", "accepted jobs", {pool}, stats.accepted);
  refused("rejected", stats.rejected);
  refused("dropped_newest", stats.dropped_newest);
  refused("enqueue_timeout", stats.enqueue_timeouts);
  refused("enqueue_cancelled", stats.enqueue_cancelled);
  refused("closed", stats.refused_closed);
  refused("enqueue_failure", stats.enqueue_failures);
  sink.counter("penstock_pool_blocked_total", "submissions that had to wait for a place", {pool}, stats.blocked);
  sink.counter("penstock_pool_caller_runs_total", "jobs run by their submitter", {pool}, stats.caller_runs);
  sink.gauge("penstock_pool_submitting", "submissions that wait for a place or are being accepted", {pool},
             number(stats.submitting));

  sink.counter("penstock_pool_started_total", "jobs whose function was called", {pool}, stats.started);
  ended(JobOutcome::kSucceeded, stats.succeeded);
  ended(JobOutcome::kFailed, stats.failed);
  ended(JobOutcome::kPanicked, stats.panicked);
  ended(JobOutcome::kCancelled, stats.cancelled);
  ended(JobOutcome::kQueueExpired, stats.queue_expired);
  ended(JobOutcome::kDroppedOldest, stats.dropped_oldest);
  ended(JobOutcome::kShed, stats.shed);
  ended(JobOutcome::kProcessingTimeout, stats.processing_timeouts);
  ended(JobOutcome::kAbandoned, stats.abandoned);
  sink.counter("penstock_pool_taken_over_total", "jobs that another pool has handed over to this one", {pool},
               stats.taken_over);
  sink.counter("penstock_pool_handed_over_total", "jobs that this pool has handed over to another one", {pool},
               stats.handed_over);
  sink.counter("penstock_pool_late_results_total", "functions that ended after their caller was answered", {pool},
               stats.late_results);
  sink.counter("penstock_pool_exceptions_total", "exceptions caught from jobs and posted work", {pool},
               stats.exceptions);

  for (std::size_t code = 0; code < stats.failed_with.size(); ++code) {
    if (stats.failed_with[code] == 0) continue;
    const std::string text = absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
    sink.counter("penstock_pool_failed_total", "jobs that returned a status other than OK, by its code",
                 {pool, {"code", text}}, stats.failed_with[code]);
  }

  sink.gauge("penstock_pool_workers", "worker threads by state", {pool, {"state", "idle"}}, number(stats.idle));
  sink.gauge("penstock_pool_workers", "worker threads by state", {pool, {"state", "busy"}}, number(stats.busy));
  for (std::size_t i = 0; i < kWorkerStates; ++i) {
    sink.gauge("penstock_pool_workers_by_state", "worker threads by what they do",
               {pool, {"state", to_string(static_cast<WorkerState>(i))}}, number(stats.workers_by_state[i]));
  }
  sink.gauge("penstock_pool_workers_configured", "worker threads asked for", {pool}, number(stats.configured));
  sink.gauge("penstock_pool_workers_live", "worker threads that are there", {pool}, number(stats.live));
  sink.gauge("penstock_pool_workers_stuck", "busy workers whose job has outrun its time", {pool}, number(stats.stuck));
  sink.gauge("penstock_pool_workers_replacing", "workers there in place of stuck ones", {pool},
             number(stats.replacements));
  sink.gauge("penstock_pool_workers_retiring", "workers that go after their job", {pool}, number(stats.retiring));
  sink.gauge("penstock_pool_workers_joining", "workers that are about to be there", {pool}, number(stats.joining));
  sink.gauge("penstock_pool_worker_utilization", "the part of the workers that is busy", {pool},
             stats.worker_utilization());
  sink.gauge("penstock_pool_jobs_per_worker", "jobs that one of the workers has run", {pool, {"of", "min"}},
             number(stats.jobs_per_worker_min));
  sink.gauge("penstock_pool_jobs_per_worker", "jobs that one of the workers has run", {pool, {"of", "max"}},
             number(stats.jobs_per_worker_max));
  sink.counter("penstock_pool_workers_added_total", "workers added to the first crew", {pool}, stats.workers_added);
  sink.counter("penstock_pool_workers_removed_total", "workers asked to go, or idle for too long", {pool},
               stats.workers_removed);
  sink.counter("penstock_pool_workers_replaced_total", "replacements started for stuck workers", {pool},
               stats.workers_replaced);
  sink.counter("penstock_pool_workers_retired_total", "workers that went since their job had thrown", {pool},
               stats.workers_retired);
  sink.counter("penstock_pool_worker_failures_total", "workers that could not start", {pool}, stats.worker_failures);

  sink.gauge("penstock_pool_paused", "whether no job is started", {pool}, stats.paused ? 1 : 0);
  sink.gauge("penstock_pool_starting", "accepted jobs for which a free worker is on its way", {pool},
             number(stats.starting));
  sink.gauge("penstock_pool_queue_depth", "jobs that wait for a worker", {pool}, number(stats.queue_depth));
  sink.gauge("penstock_pool_queue_capacity", "jobs that may wait for a worker", {pool}, number(stats.queue_capacity));
  sink.gauge("penstock_pool_queue_bytes", "memory of the jobs that wait, without what their functions own", {pool},
             number(stats.queue_bytes));
  sink.gauge("penstock_pool_queue_utilization", "how full the queue is, or how busy the workers are if there is none",
             {pool}, stats.queue_utilization());
  sink.gauge("penstock_pool_codel_dropping", "whether jobs that have waited for long are shed", {pool},
             stats.codel_dropping ? 1 : 0);
  sink.gauge("penstock_pool_queue_high_water", "the most jobs that ever waited at once", {pool},
             number(stats.queue_high_water));
  sink.gauge("penstock_pool_oldest_queued_age_seconds", "how long the first job of the queue has waited", {pool},
             detail::seconds(stats.oldest_queued_age));
  sink.gauge("penstock_pool_running", "jobs that run, in time", {pool}, number(stats.running));
  sink.gauge("penstock_pool_overdue", "functions that run although their caller has been answered", {pool},
             number(stats.overdue));
  sink.gauge("penstock_pool_error_rate", "the part of the jobs that failed, threw or ran for too long", {pool},
             stats.error_rate());
  const auto throughput = [&](std::string_view window, double value) {
    sink.gauge("penstock_pool_throughput", "functions that have returned or thrown, per second",
               {pool, {"window", window}}, value);
  };
  throughput("1s", stats.throughput_1s);
  throughput("10s", stats.throughput_10s);
  throughput("60s", stats.throughput_60s);
  sink.gauge("penstock_pool_wait_run_correlation", "Pearson's r of the times that jobs waited and ran", {pool},
             stats.wait_run_correlation);
  static constexpr std::string_view kUpTo[] = {"0.00001", "0.0001", "0.001", "0.01", "0.1", "1", "10", "+Inf"};
  static_assert(std::size(kUpTo) == WaitRunTable::kBuckets);
  for (std::size_t wait = 0; wait < WaitRunTable::kBuckets; ++wait) {
    for (std::size_t run = 0; run < WaitRunTable::kBuckets; ++run) {
      if (stats.wait_run.jobs[wait][run] == 0) continue;
      sink.counter("penstock_pool_wait_run_jobs_total",
                   "jobs by how long they waited and ran: up to so many seconds, above a tenth of it",
                   {pool, {"wait", kUpTo[wait]}, {"run", kUpTo[run]}}, stats.wait_run.jobs[wait][run]);
    }
  }
  sink.histogram("penstock_pool_queue_wait_seconds", "time from acceptance to start", {pool}, stats.queue_wait);
  sink.histogram("penstock_pool_run_seconds", "time from start to the end of the function", {pool}, stats.run);
}

}  // namespace penstock::inline PENSTOCK_ABI
