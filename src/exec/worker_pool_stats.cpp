// SPDX-License-Identifier: MIT
#include <algorithm>
#include <chrono>

#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI {

WorkerPoolStats detail::PoolCore::stats() const {
  MutexLock lock(mutex_);
  WorkerPoolStats stats = counts_;
  stats.configured = stats.live = options_.workers;
  stats.busy = busy_;
  stats.idle = free_workers();
  stats.submitting = submitting_;
  stats.queue_depth = depth();
  stats.starting = queue_.size() - stats.queue_depth;
  stats.queue_capacity = options_.queue_capacity;
  if (const JobState* const oldest = queue_.front()) {
    stats.oldest_queued_age = std::max(clock_.now() - oldest->enqueued_at_, Duration::zero());
  }
  return stats;
}

WorkerPoolStats WorkerPool::stats() const { return core_->stats(); }

void WorkerPool::collect(MetricSink& sink) const {
  const WorkerPoolStats stats = this->stats();
  const Label pool{"pool", name()};
  const auto number = [](auto value) { return static_cast<double>(value); };
  const auto refused = [&](std::string_view reason, std::uint64_t value) {
    sink.counter("penstock_pool_refused_total", "submissions that were refused, by reason", {pool, {"reason", reason}},
                 value);
  };
  const auto ended = [&](std::string_view outcome, std::uint64_t value) {
    sink.counter("penstock_pool_jobs_total", "accepted jobs that have been answered, by outcome",
                 {pool, {"outcome", outcome}}, value);
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
  ended("succeeded", stats.succeeded);
  ended("failed", stats.failed);
  ended("panicked", stats.panicked);
  ended("cancelled", stats.cancelled);
  ended("queue_expired", stats.queue_expired);
  ended("dropped_oldest", stats.dropped_oldest);
  ended("processing_timeout", stats.processing_timeouts);
  ended("abandoned", stats.abandoned);
  sink.counter("penstock_pool_late_results_total", "functions that ended after their caller was answered", {pool},
               stats.late_results);
  sink.counter("penstock_pool_exceptions_total", "exceptions caught from jobs and posted work", {pool},
               stats.exceptions);

  sink.gauge("penstock_pool_workers", "worker threads by state", {pool, {"state", "idle"}}, number(stats.idle));
  sink.gauge("penstock_pool_workers", "worker threads by state", {pool, {"state", "busy"}}, number(stats.busy));
  sink.gauge("penstock_pool_workers_configured", "worker threads asked for", {pool}, number(stats.configured));
  sink.gauge("penstock_pool_queue_depth", "jobs that wait for a worker", {pool}, number(stats.queue_depth));
  sink.gauge("penstock_pool_queue_capacity", "jobs that may wait for a worker", {pool}, number(stats.queue_capacity));
  sink.gauge("penstock_pool_queue_high_water", "the most jobs that ever waited at once", {pool},
             number(stats.queue_high_water));
  sink.gauge("penstock_pool_oldest_queued_age_seconds", "how long the first job of the queue has waited", {pool},
             std::chrono::duration<double>(stats.oldest_queued_age).count());
  sink.gauge("penstock_pool_running", "jobs that run, in time", {pool}, number(stats.running));
  sink.gauge("penstock_pool_overdue", "functions that run although their caller has been answered", {pool},
             number(stats.overdue));
  sink.histogram("penstock_pool_queue_wait_seconds", "time from acceptance to start", {pool}, stats.queue_wait);
  sink.histogram("penstock_pool_run_seconds", "time from start to the end of the function", {pool}, stats.run);
}

}  // namespace penstock::inline PENSTOCK_ABI
