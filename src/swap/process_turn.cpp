// SPDX-License-Identifier: MIT

// What the supervisor's thread does for a process: starts its child, reports, and answers who waits.

#include <algorithm>
#include <cerrno>
#include <new>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/elapsed.hpp"
#include "penstock/core/failure_stage.hpp"
#include "process_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr Duration kLookInterval = std::chrono::milliseconds(20);  // for the end of a child without a descriptor
constexpr Duration kOrphanInterval = std::chrono::seconds(1);      // for orphans of a child that runs

absl::StatusCode code_of(int error) noexcept {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::StatusCode::kNotFound;
    case EACCES:
    case EPERM:
      return absl::StatusCode::kPermissionDenied;
    case EAGAIN:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return absl::StatusCode::kResourceExhausted;
    case E2BIG:
    case ENOEXEC:
    case ELOOP:
    case ENAMETOOLONG:
      return absl::StatusCode::kInvalidArgument;
    case ENOSYS:
      return absl::StatusCode::kUnimplemented;
    default:
      return absl::StatusCode::kUnavailable;
  }
}

}  // namespace

// --- reports and answers ---

ProcessCore::Orders ProcessCore::orders() const {
  const MutexLock lock(mutex_);
  return {.state = state_,
          .start = start_,
          .kill_at = kill_at_,
          .check_passed = check_passed_,
          .gives_up = gives_up_,
          .is_overdue = !overdue_.ok()};
}

void ProcessCore::publish(std::uint64_t start, const absl::Status& result) {
  WakeList wake;
  for (Step step;;) {
    bool is_step = true;
    {
      const MutexLock lock(mutex_);
      if (step_count_ != 0) {
        step = steps_[0];
      } else if (std::exchange(reports_state_, false)) {
        is_step = false;
        step.to = state_;
      } else {
        if (start == 0 && !has_news_) return;  // each wait is looked at when there is something to say only
        has_news_ = false;
        answer(start, result, wake);
        break;
      }
    }
    report(step.to);
    if (!is_step) continue;
    tell(step);
    {
      const MutexLock lock(mutex_);
      std::move(steps_.begin() + 1, steps_.begin() + static_cast<std::ptrdiff_t>(step_count_), steps_.begin());
      --step_count_;
    }
  }
  wake.wake_all();
  idle_.notify_all();
}

void ProcessCore::report(ModelState state) noexcept {
  std::shared_ptr<const Report> report;
  {
    const MutexLock lock(mutex_);
    report = report_;
  }
  try {
    if (report != nullptr && *report) (*report)(state);
  } catch (...) {
    count_exception();
  }
}

void ProcessCore::tell(const Step& step) noexcept {
  constexpr std::size_t kMostUntold = 64;
  if (!options_.on_transition) return;
  {
    const MutexLock lock(mutex_);
    try {
      if (untold_.size() == kMostUntold) {
        untold_.pop_front();
        ++counts_.missed_transitions;
      }
      untold_.push_back({step.from, step.to, step.at, step.cause});
    } catch (const std::bad_alloc&) {
      ++counts_.missed_transitions;
    }
  }
  listeners_.run_now();
}

void ProcessCore::answer(std::uint64_t start, const absl::Status& result, WakeList& wake) noexcept {
  static const absl::Status fine;
  for (WaitNode* node = waits_.front(); node != nullptr;) {
    WaitNode& here = *node;
    node = node->next;  // read first: the node is unlinked
    ProcessWait& wait = *static_cast<ProcessWait*>(here.slot);
    const absl::Status* with = nullptr;
    if (wait.start != 0) {
      if (wait.start == start) {
        with = &result;
      } else if (wait.start <= aborted_through_) {
        with = shuts_down_ ? &gone_ : &aborted_;
      }
    } else if (wait.stop <= stopped_) {
      with = &fine;
    } else if (!overdue_.ok()) {
      with = &overdue_;
    }
    if (with == nullptr) continue;
    waits_.remove(here);
    if (!here.waiter->claim(here.served)) continue;
    wait.result = *with;
    wake.push(here);
  }
}

// --- a turn ---

void ProcessCore::turn(Sleep& sleep) {
  places_ = {};
  publish();
  Orders now_wanted = orders();
  if (!child_.has_value()) {
    if (now_wanted.state == ModelState::kStarting) {
      spawn(now_wanted);
    } else if (now_wanted.state == ModelState::kStopping) {
      end_stop();
    } else {
      return;
    }
    if (!child_.has_value()) return sleep.at_most(Duration::zero());  // to see what is wanted now
    now_wanted = orders();
  }
  const TimePoint now = clock_.now();
  if (!child_->has_ended && !child_->running.watch) see_end();
  if (child_->has_ended) {
    see_group(now_wanted, now, sleep);
  } else if (now_wanted.state == ModelState::kStarting) {
    be_started(now_wanted, now, sleep);
  } else if (now_wanted.state == ModelState::kStopping) {
    be_stopped(now_wanted, now, sleep);
  }
  if (!child_.has_value()) return sleep.at_most(Duration::zero());
  await_events(sleep);
}

void ProcessCore::await_events(Sleep& sleep) {
  const RunningChild& running = child_->running;
  if (!child_->has_ended) {
    if (running.watch) {
      places_.watch = sleep.until(Interest{running.watch.number(), false, false});
    } else {
      sleep.at_most(kLookInterval);
    }
    if (supervisor_->options().adopts_orphans) {
      reap_orphans(running);
      sleep.at_most(kOrphanInterval);
    }
  }
  if (running.output) places_.streams[0] = sleep.until(Interest{running.output.number(), false, false});
  if (running.errors) places_.streams[1] = sleep.until(Interest{running.errors.number(), false, false});
  if (child_->probe.is_pending()) places_.probe = sleep.until(child_->probe.interest());
}

void ProcessCore::look(const Sleep& sleep) {
  const auto happened = [&](std::size_t place) { return place != kNowhere && sleep.happened(place); };
  if (!child_.has_value()) return;
  if (happened(places_.streams[0])) read_stream(ProcessStream::kOutput, false);
  if (happened(places_.streams[1])) read_stream(ProcessStream::kErrors, false);
  if (happened(places_.probe)) child_->is_ready |= child_->probe.advance() == ProbeAttempt::Result::kReady;
  if (happened(places_.watch)) see_end();
}

// --- the beginning of a child ---

void ProcessCore::spawn(const Orders& orders) {
  RunningChild running;
  int error = ENOMEM;
  try {
    error = spawn_child({.arguments = options_.arguments,
                         .environment = options_.environment,
                         .inherits_environment = options_.inherits_environment,
                         .working_directory = options_.working_directory,
                         .wants_watch = supervisor_->options().uses_pidfd},
                        running);
  } catch (const std::bad_alloc&) {
    // as if the system had none
  }
  if (error != 0) {
    const std::string where =
        options_.working_directory.empty() ? std::string() : fmt::format(" in '{}'", options_.working_directory);
    return fail_start(orders.start,
                      absl::Status(code_of(error), fmt::format("process '{}': cannot start '{}'{}: {}", options_.name,
                                                               options_.arguments[0], where, error_text(error))));
  }
  ProcessChild& child = child_.emplace();
  child.running = std::move(running);
  child.start = orders.start;
  child.since = clock_.now();
  child.next_probe = child.since;
  {
    const MutexLock lock(mutex_);
    has_child_ = true;
    counts_.pid = child.running.pid;
    child.first_line = ring_.lines();
  }
}

void ProcessCore::fail_start(std::uint64_t start, const absl::Status& status) {
  const absl::Status staged = with_failure_stage(status, "start");
  bool is_ours = false;
  {
    const MutexLock lock(mutex_);
    if (state_ == ModelState::kStarting) {  // and it is this start: a later one comes after a stop
      is_ours = true;
      ++counts_.start_failures;
      step(ModelState::kStopped, staged);
    }
  }
  publish(is_ours ? start : 0, staged);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
