// SPDX-License-Identifier: MIT
#include <utility>

#include "penstock/exec/detail/thread_core.hpp"
#include "penstock/exec/thread_manager.hpp"
#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI {

std::vector<ThreadEvent> detail::ThreadCore::history() const {
  std::vector<std::shared_ptr<const ThreadEvent>> events;
  events.reserve(options_.history_size);
  {
    MutexLock lock(mutex_);
    for (std::size_t i = 0; i < history_.size(); ++i) {
      const auto& event = history_[(history_next_ + i) % history_.size()];
      if (event != nullptr) events.push_back(event);
    }
  }
  std::vector<ThreadEvent> copies;
  copies.reserve(events.size());
  for (const auto& event : events) copies.push_back(*event);
  return copies;
}

std::vector<ThreadInfo> detail::ThreadCore::snapshot() const { return list(nullptr); }

std::vector<ThreadInfo> detail::ThreadCore::list(const ThreadRecord* except) const {
  std::vector<ThreadInfo> threads;
  MutexLock lock(mutex_);
  for (const ThreadRecord* record = oldest_; record != nullptr; record = record->next) {
    if (record == except) continue;
    const ThreadTimes::Reading reading = record->times.read();
    threads.push_back(record->info(reading, clock_.now()));
  }
  return threads;
}

ThreadManagerStats detail::ThreadCore::stats() const {
  MutexLock lock(mutex_);
  ThreadManagerStats stats = counts_;
  stats.max = options_.max_threads;
  for (const ThreadRecord* record = oldest_; record != nullptr; record = record->next) {
    const ThreadTimes::Reading reading = record->times.read();
    ++stats.by_state[static_cast<std::size_t>(reading.state)];
    const Duration limit = options_.stuck_after.of(reading.state);
    if (limit != Duration::max() && clock_.now() - reading.since >= limit) ++stats.stuck;
  }
  return stats;
}

void ThreadManager::collect(MetricSink& sink) const {
  const ThreadManagerStats stats = this->stats();
  const Label manager{"manager", name()};
  const auto gauge = [&](std::string_view metric, std::string_view help, std::size_t value) {
    sink.gauge(metric, help, {manager}, static_cast<double>(value));
  };
  const auto refused = [&](std::string_view reason, std::uint64_t value) {
    sink.counter("penstock_threads_refused_total", "spawns that were refused, by reason", {manager, {"reason", reason}},
                 value);
  };
  const auto finished = [&](ThreadOutcome outcome, std::uint64_t value) {
    sink.counter("penstock_threads_finished_total", "functions that have ended, by outcome",
                 {manager, {"outcome", to_string(outcome)}}, value);
  };
  const auto threads = [&](std::string_view state, std::size_t value) {
    sink.gauge("penstock_threads", "threads by state", {manager, {"state", state}}, static_cast<double>(value));
  };

  for (std::size_t i = 0; i < kThreadStates; ++i) threads(to_string(static_cast<ThreadState>(i)), stats.by_state[i]);
  threads("starting", stats.starting);
  threads("idle", stats.idle);
  threads("ending", stats.ending);
  gauge("penstock_threads_live", "threads, but for those on their way out", stats.live);
  gauge("penstock_threads_max", "threads that may exist at once", stats.max);
  gauge("penstock_threads_high_water", "the most threads that ever existed at once", stats.high_water);
  gauge("penstock_threads_stuck", "threads that have been in one state for longer than allowed", stats.stuck);
  sink.counter("penstock_threads_spawned_total", "functions that got a thread", {manager}, stats.spawned);
  sink.counter("penstock_threads_reused_total", "functions that got a thread that was idle", {manager}, stats.reused);
  finished(ThreadOutcome::kReturned, stats.returned);
  finished(ThreadOutcome::kThrew, stats.threw);
  finished(ThreadOutcome::kCancelled, stats.cancelled);
  refused("rejected", stats.rejected);
  refused("start_failure", stats.start_failures);
  refused("closed", stats.refused_closed);
  sink.counter("penstock_threads_idle_expired_total", "threads that ended because nobody needed them", {manager},
               stats.idle_expired);
  sink.counter("penstock_threads_stuck_total", "times that a stuck thread was reported", {manager},
               stats.stuck_episodes);
  sink.counter("penstock_threads_exceptions_total", "exceptions caught from functions and hooks", {manager},
               stats.exceptions);
}

}  // namespace penstock::inline PENSTOCK_ABI
