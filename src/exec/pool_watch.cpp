// SPDX-License-Identifier: MIT

// Deadlines. The watching thread sleeps until the earliest time at which a job may expire, as known when it fell
// asleep. A job with an earlier one wakes it. Jobs that end in time do not: with even limits it wakes once in a limit.
// It also starts workers where the pool grows, and joins those that have left.

#include <algorithm>
#include <utility>

#include "penstock/core/detail/thread_name.hpp"
#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/exec/detail/pool_locks.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void PoolCore::watch() noexcept {
  name_thread(options_.name, "/w");
  for (;;) {
    const TimePoint now = clock_.now();
    EndedJobs expired;
    WakeList wake;
    TimePoint until;
    Worker* leavers = nullptr;
    std::size_t starting = 0;
    {
      Both lock(*this);
      if (is(kStopping)) return;
      until = expire(now, expired);
      leavers = std::exchange(leavers_, nullptr);
      if (now >= grow_not_before_) {
        starting = missing();
        joining_ += starting;
      } else if (missing() != 0) {
        until = std::min(until, grow_not_before_);
      }
      watched_until_.store(until.time_since_epoch().count(), std::memory_order_relaxed);
      grant_places(now, wake);
    }
    if (starting != 0) grow(starting, now, leavers);
    if (leavers != nullptr) join_leavers(leavers);
    wake_all(wake, expired.size());  // last: it may run a coroutine, which may wait for these workers
    if (expired.size() != 0) {
      settle(expired);
      continue;
    }
    const Context ctx = Context(clock_).with_deadline(until);
    Waiter waiter(ctx);
    WaitNode node(waiter, nullptr);
    {
      Both lock(*this);
      if (is(kStopping)) return;
      const bool has_earlier = watched_until_.load(std::memory_order_relaxed) < until.time_since_epoch().count();
      if (has_earlier || leavers_ != nullptr) continue;  // it has come meanwhile
      watching_.push(node);
    }
    if (waiter.wait() < Waiter::kServed) {
      Both lock(*this);
      watching_.remove(node);
    }
  }
}

/// Decides what has expired by `now`, or a part of it, and returns when the next may.
TimePoint PoolCore::expire(TimePoint now, EndedJobs& ended) noexcept {
  take_in();
  end_expired(now, ended);
  TimePoint next = queue_.next_expiry();
  for (Runner* runner = runners_; runner != nullptr; runner = runner->next) {
    if (runner->job == nullptr || runner->stuck) continue;
    if (runner->expires_at > now) {
      next = std::min(next, runner->expires_at);
    } else {
      overrun(*runner, ended);
    }
  }
  return next;
}

/// The time of the runner's job is up.
void PoolCore::overrun(Runner& runner, EndedJobs& ended) noexcept {
  JobState& job = *runner.job;
  auto running = JobState::State::kRunning;
  if (!job.state_.compare_exchange_strong(running, JobState::State::kOverdue, std::memory_order_acq_rel,  // J1
                                          std::memory_order_relaxed)) {
    return;  // it has just ended
  }
  runner.stuck = true;
  ++counts_.processing_timeouts;
  if (runner.is_worker) set_stuck(stuck_ + 1);
  if (job.plain_) return;  // there is nobody to answer
  auto& answered = static_cast<AnsweredJob&>(job);
  answered.retain();  // the pool's share stays with the thread that runs it
  answered.ending_ = Ending::kRunExpired;
  answered.expires_at_ = runner.started_at;
  ++settling_;
  ended.push(job);
}

void PoolCore::watch_from(TimePoint when, WakeList& wake) noexcept {
  if (!is_watched_too_late(when)) return;
  watched_until_.store(when.time_since_epoch().count(), std::memory_order_relaxed);
  if (WaitNode* const node = watching_.claim_first()) wake.push(*node);
}

void PoolCore::watch_from(TimePoint when) noexcept {
  WakeList wake;
  {
    Both lock(*this);
    watch_from(when, wake);
  }
  wake.wake_all();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
