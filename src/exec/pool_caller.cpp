// SPDX-License-Identifier: MIT

// Jobs that are run by threads that are no workers at that moment: their submitter, or a worker that waits for them.

#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/exec/detail/pool_locks.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void PoolCore::run_here(JobState& job) noexcept {
  const bool cancelled = !job.plain_ && !static_cast<AnsweredJob&>(job).hook();
  const TimePoint now = time();
  set_limits(job, now);
  EndedJobs ended;
  Activation here(*this, kCallerThread, 1);
  Runner runner(others_, kCallerThread, false);
  {
    Both lock(*this);
    accept_past_queue(job);
    if (cancelled || job.stop_asked_) {
      decide(job, Ending::kCancelled, ended);
    } else if (is(kCalledOff)) {
      decide(job, Ending::kAbandoned, ended);
    } else {
      ++counts_.caller_runs;
      list_runner(runner);
      start_job(job, runner, now);
    }
  }
  observe_submit(job);
  if (ended.size() != 0) {
    here.weight = 0;  // the job that is settled counts as such
    return settle(ended);
  }
  run_in(here, runner);
}

/// Runs the job that has been started in `runner`, and takes that off the list again, as the last use of the pool.
void PoolCore::run_in(Activation& here, Runner& runner) noexcept {
  if (is_watched_too_late(runner.expires_at)) watch_from(runner.expires_at);
  here.job = runner.job;
  run(runner);
  if (runner.threw) {
    for (const Activation* at = here.outer; at != nullptr; at = at->outer) {
      at->helped_one_that_threw |= at->pool == this && at->worker_id == runner.worker_id;
    }
  }
  JobState* done = nullptr;
  WakeList wake;
  {
    Both lock(*this);
    retire_job(runner, done);
    unlist_runner(runner);
    claim_closers(wake);
  }
  done->release();  // uses the pool no more
  wake.wake_all();
}

bool PoolCore::may_wait_inside(AnsweredJob& job) noexcept {
  const std::size_t worker_id = own_worker_id();
  if (worker_id == kCallerThread || is_forked()) return true;
  if (options_.inside_wait == InsideWait::kRefuse) return false;
  for (const Activation* at = Activation::current(); at != nullptr; at = at->outer) {
    if (at->job == &job) return false;  // nobody but the calling thread can bring it to its end
  }
  Activation here(*this, kCallerThread, 1);
  Runner runner(others_, worker_id, false);
  const TimePoint now = time();
  EndedJobs expired;
  WakeList wake;
  {
    Both lock(*this);
    if (!is_mine(job)) return true;  // which its waiter finds out, and asks the other pool
    // Else it has ended, or a thread runs it: that one will come to an end without us.
    if (job.state_.load(std::memory_order_relaxed) != JobState::State::kQueued) return true;
    take_in();
    if (queue_.has_expired(job, now)) {
      end_queued(job, Ending::kQueueExpired, expired);
    } else {
      take_out(job);
      ++counts_.caller_runs;
      list_runner(runner);
      start_job(job, runner, now);
      here.job = &job;
    }
    grant_places(now, wake);
  }
  wake.wake_all();
  if (expired.size() != 0) {
    here.weight = 0;  // the job that is settled counts as such
    settle(expired);
  } else {
    run_in(here, runner);
  }
  return true;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
