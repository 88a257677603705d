// SPDX-License-Identifier: MIT

// How the supervisor's thread sees a child through its end, and its group: by itself, or stopped.

#include <algorithm>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/elapsed.hpp"
#include "penstock/core/failure_stage.hpp"
#include "process_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr int kKillSignal = 9;
constexpr Duration kMaxGroupInterval = std::chrono::milliseconds(50);  // to look for the end of a group

std::string exit_text(const ChildExit& exit) {
  switch (exit.end) {
    case ChildEnd::kExited:
      return fmt::format("exit status {}", exit.code);
    case ChildEnd::kSignalled:
      return signal_text(exit.code);
    default:
      return "exit status unknown, somebody else has reaped it";
  }
}

}  // namespace

// --- the end of a child ---

void ProcessCore::see_end() {
  const ChildExit exit = end_of(child_->running);
  if (exit.end == ChildEnd::kNotYet) return;
  child_->probe.reset();
  for (const ProcessStream stream : {ProcessStream::kOutput, ProcessStream::kErrors}) {
    read_stream(stream, true);
    end_line(stream);
  }
  std::string how = exit_text(exit);
  const TimePoint now = clock_.now();
  const std::string words = last_words();
  const absl::Status early = with_failure_stage(
      absl::UnavailableError(fmt::format("process '{}': upstream command exited prematurely ({}){}{}", options_.name,
                                         how, words.empty() ? "" : ": ", words)),
      "start");
  const absl::Status crash = absl::UnavailableError(
      fmt::format("process '{}': ended by itself after {} ({}){}{}", options_.name,
                  duration_text(elapsed(child_->since, now)), how, words.empty() ? "" : ": ", words));
  // Nothing from here on throws: until now there might not have been the memory, and the end is seen again.
  child_->has_ended = true;
  // Whoever is left of the group may still have its port, or its memory: it has stopped when they have gone, too.
  child_->was_last = !group_runs(child_->running);
  std::uint64_t failed = 0;
  bool kills_rest = false;
  {
    const MutexLock lock(mutex_);
    counts_.last_exit = std::move(how);
    const bool was_starting = state_ == ModelState::kStarting;
    if (was_starting || state_ == ModelState::kReady) {
      ++(was_starting ? counts_.start_failures : counts_.crashes);
      if (was_starting) failed = child_->start;
      kills_rest = !child_->was_last;
      if (kills_rest) ++stop_;
      step(kills_rest ? ModelState::kStopping : ModelState::kStopped, was_starting ? early : crash);
    }
  }
  end_check();
  if (kills_rest) {
    child_->was_asked = true;  // nobody is left who knows what to do about a stop signal
    kill_group(now);
  }
  publish(failed, early);
}

void ProcessCore::see_group(const Orders& orders, TimePoint now, Sleep& sleep) {
  if (child_->was_last || !group_runs(child_->running)) return forget_child();
  if (orders.state == ModelState::kStopping) {  // or it has become that since they were read
    be_stopped(orders, now, sleep);
    if (!child_.has_value()) return;
  }
  sleep.at_most(child_->next_look);
  child_->next_look = std::min(2 * child_->next_look, kMaxGroupInterval);
}

void ProcessCore::forget_child() {
  for (const ProcessStream stream : {ProcessStream::kOutput, ProcessStream::kErrors}) {
    read_stream(stream, true);
    end_line(stream);
  }
  end_check();
  reap_group(child_->running);
  // One that the system has not ended yet is given up by its process alone.
  if (!child_->has_ended && !child_->running.is_reaped) supervisor_->leave(std::move(child_->running));
  child_.reset();
  {
    const MutexLock lock(mutex_);
    has_child_ = false;
    counts_.pid = 0;
  }
  idle_.notify_all();
}

// --- stops ---

void ProcessCore::be_stopped(const Orders& orders, TimePoint now, Sleep& sleep) {
  if (!child_->was_asked) {
    child_->was_asked = true;
    child_->probe.reset();
    end_check();
    signal_group(child_->running, options_.stop_signal);
  }
  if (child_->killed_at == TimePoint::max()) {
    if (now < orders.kill_at) return sleep.until(orders.kill_at);
    {
      const MutexLock lock(mutex_);
      ++counts_.kills;
    }
    kill_group(now);
  }
  const TimePoint overdue_at = saturated_add(child_->killed_at, options_.kill_timeout);
  if (now < overdue_at) return sleep.until(overdue_at);
  if (orders.gives_up) return forget_child();
  if (!orders.is_overdue) fail_stop();
}

void ProcessCore::kill_group(TimePoint now) {
  child_->killed_at = now;
  signal_group(child_->running, kKillSignal);
}

void ProcessCore::fail_stop() {
  absl::Status status =
      absl::DeadlineExceededError(fmt::format("process '{}': group {} still runs {} after it was killed", options_.name,
                                              child_->running.pid, duration_text(options_.kill_timeout)));
  const absl::Status not_started = with_failure_stage(status, "start");
  std::uint64_t failed = 0;
  {
    const MutexLock lock(mutex_);
    overdue_ = std::move(status);
    if (std::exchange(starts_again_, false)) failed = ++start_;  // that nobody has begun
    has_news_ = true;
  }
  publish(failed, not_started);
}

void ProcessCore::end_stop() {
  absl::Status overdue;  // destroyed without the lock
  {
    const MutexLock lock(mutex_);
    stopped_ = stop_;
    std::swap(overdue, overdue_);
    if (shuts_down_) {
      step(ModelState::kShutdown);
    } else {
      step(ModelState::kStopped);
      if (std::exchange(starts_again_, false)) {
        ProcessWait nobody;
        want_ready(nobody);
      }
    }
  }
  publish();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
