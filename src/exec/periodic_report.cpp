// SPDX-License-Identifier: MIT

// What a periodic runner says of itself, and of the options it is given.

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/exec/detail/periodic_core.hpp"
#include "penstock/exec/detail/pool_text.hpp"
#include "penstock/exec/periodic_runner.hpp"
#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;

}  // namespace

absl::Status PeriodicTaskOptions::validate() const {
  detail::OptionViolations violations;
  violations.require(!name.empty() && name.size() <= kMaxNameBytes, "name", "1 to 256 bytes", name.size());
  violations.require(interval > Duration::zero(), "interval", "positive", detail::duration_text(interval));
  violations.require(jitter >= 0 && jitter <= 1, "jitter", "in [0, 1]", jitter);  // a NaN is not
  violations.require(initial_delay >= Duration::zero(), "initial_delay", "at least 0 s",
                     detail::duration_text(initial_delay));
  violations.require(timeout > Duration::zero(), "timeout", "positive", detail::duration_text(timeout));
  return violations.status(fmt::format("periodic task '{}'", detail::shortened(name, kMaxNameBytes)));
}

absl::Status PeriodicRunnerOptions::validate() const {
  detail::OptionViolations violations;
  violations.require(!name.empty() && name.size() <= kMaxNameBytes, "name", "1 to 256 bytes", name.size());
  violations.require(clock != nullptr, "clock", "a clock", "null");
  violations.require(thread_idle_timeout >= Duration::zero(), "thread_idle_timeout", "at least 0 s",
                     detail::duration_text(thread_idle_timeout));
  return violations.status(fmt::format("periodic runner '{}'", detail::shortened(name, kMaxNameBytes)));
}

void PeriodicRunner::collect(MetricSink& sink) const {
  if (core_->is_forked()) return;
  const Label runner{"runner", name()};
  const PeriodicRunnerStats now = stats();
  const auto gauge = [&](std::string_view metric, std::string_view help, std::size_t value) {
    sink.gauge(metric, help, {runner}, static_cast<double>(value));
  };
  gauge("penstock_periodic_tasks", "tasks of the runner", now.tasks);
  gauge("penstock_periodic_running", "calls that run now", now.running);
  gauge("penstock_periodic_threads", "threads of the runner", now.threads);
  std::map<std::string_view, PeriodicTaskStats> by_name;
  const std::vector<std::shared_ptr<detail::PeriodicState>> tasks = core_->tasks();  // keeps the names
  for (const auto& state : tasks) {
    const PeriodicTaskStats task = core_->stats_of(*state);
    PeriodicTaskStats& sum = by_name[state->options.name];
    sum.calls += task.calls;
    sum.overruns += task.overruns;
    sum.missed += task.missed;
    sum.exceptions += task.exceptions;
    sum.timeouts += task.timeouts;
    sum.start_failures += task.start_failures;
    sum.running_for = std::max(sum.running_for, task.running_for);
  }
  for (const auto& [task_name, task] : by_name) {
    const std::array labels = {runner, Label{"task", task_name}};
    const auto counter = [&](std::string_view metric, std::string_view help, std::uint64_t value) {
      sink.counter(metric, help, labels, value);
    };
    counter("penstock_periodic_calls_total", "calls begun", task.calls);
    counter("penstock_periodic_overruns_total", "calls skipped since one was running", task.overruns);
    counter("penstock_periodic_missed_total", "calls skipped since nobody could look in time", task.missed);
    counter("penstock_periodic_exceptions_total", "calls that threw", task.exceptions);
    counter("penstock_periodic_timeouts_total", "calls that ended after their time-out", task.timeouts);
    counter("penstock_periodic_start_failures_total", "calls skipped since the system had no thread",
            task.start_failures);
    sink.gauge("penstock_periodic_running_seconds", "how long the longest present call has run", labels,
               detail::seconds(task.running_for));
  }
}

namespace detail {

bool PeriodicCore::is_active(const PeriodicState& state) const noexcept {
  const MutexLock lock(mutex_);
  return !state.stopped;
}

PeriodicTaskOptions PeriodicCore::options_of(const PeriodicState& state) const {
  const MutexLock lock(mutex_);
  return state.options;
}

PeriodicTaskStats PeriodicCore::stats_of(const PeriodicState& state) const {
  const TimePoint now = clock_.now();
  const MutexLock lock(mutex_);
  PeriodicTaskStats stats = state.counts;
  stats.is_running = state.running;
  stats.next_due = state.due;
  if (!state.running) return stats;
  if (state.thread != world::ThreadId{}) stats.running_for = now - state.began;
  if (!state.stopped) stats.overruns += state.due_by(now).times;
  return stats;
}

PeriodicRunnerStats PeriodicCore::stats() const {
  const TimePoint now = clock_.now();
  const ThreadManagerStats threads = threads_->stats();
  const MutexLock lock(mutex_);
  PeriodicRunnerStats stats = counts_;
  stats.threads = threads.live;
  stats.idle_threads = threads.idle;
  stats.tasks = tasks_.size();
  for (const StatePtr& state : tasks_) {
    if (state->running && !state->stopped) stats.overruns += state->due_by(now).times;
  }
  return stats;
}

std::vector<PeriodicCore::StatePtr> PeriodicCore::tasks() const {
  const MutexLock lock(mutex_);
  return tasks_;
}

}  // namespace detail
}  // namespace penstock::inline PENSTOCK_ABI
