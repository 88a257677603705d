// SPDX-License-Identifier: MIT

// The line of those who wait for places, first come, first served: threads, and submissions of coroutines.
//
// A thread that is given a place runs on and makes its job. A coroutine could not do that soon: its executor may have
// other things to do, and it may be the pool itself, whose free workers are promised to the jobs of reserved places and
// run nothing else. So its job is made before it gets in line, and whoever frees a place puts the job there at once.
//
//   counted as submitting --line_up()--> in line --a place--> accepted; the coroutine gets the handle
//                                          |
//                                          +--shutdown------> refused and answered by the pool
//                                          +--its context, or it is destroyed --leave_line()--> refused by itself
//
// On the first two ways the pool has done all before the coroutine is woken, and is not used by it any more. On the
// third the pool waits for it. Whoever wins the claim of the coroutine's waiter decides which way it is. A cancellation
// also reaches the job, by the hook that every job has; where that came first, the job is not accepted any more and the
// waiter is left to its own hook.

#include <exception>
#include <utility>

#include "penstock/core/detail/check.hpp"
#include "penstock/exec/detail/async_submit.hpp"
#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/exec/detail/pool_locks.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void PoolCore::grant_places(TimePoint now, WakeList& wake) noexcept {
  if (blocked_.empty()) return;
  while (has_place()) {
    WaitNode* const node = blocked_.front();
    if (node == nullptr) break;
    blocked_.remove(*node);
    auto* const job = static_cast<AnsweredJob*>(node->slot);
    if (job != nullptr && job->stop_asked_) continue;
    if (!node->waiter->claim(node->served)) continue;
    if (job != nullptr) {
      put_from_line(*job, now, wake);
    } else {
      ++reserved_;
    }
    wake.push(*node);
  }
  set_detour(kBlocked, !blocked_.empty());
}

void PoolCore::put_from_line(AnsweredJob& job, TimePoint now, WakeList& wake) noexcept {
  --submitting_;
  --lined_up_;
  set_limits(job, now);
  job.unannounced_ = options_.observer != nullptr;
  put_first(job, wake);
}

/// The pool is closed. The answer says so.
void PoolCore::refuse_waiting(AnsweredJob& job, EndedJobs& ended) noexcept {
  --submitting_;
  --lined_up_;
  decide(job, Ending::kRefused, ended);
}

Context PoolCore::line_context(const AnsweredJob& job, TimePoint until) const {
  return (job.terms_ == nullptr ? Context(clock_) : job.terms_->caller.context).with_deadline(until);
}

Waiter::Outcome PoolCore::line_up(AnsweredJob& job, WaitNode& node) noexcept {
  const bool hooked = job.hook();
  const TimePoint now = time();
  Waiter::Outcome outcome = Waiter::kPending;
  EndedJobs refused;
  WakeList wake;
  {
    Both lock(*this);
    ++lined_up_;
    if (is(kClosed)) {
      refuse_waiting(job, refused);
      outcome = Waiter::kClosed;
    } else if (!hooked || job.stop_asked_) {
      outcome = Waiter::kCancelled;
    } else if (has_place()) {
      put_from_line(job, now, wake);
      outcome = Waiter::kServed;
    } else {
      blocked_.push(node);
      ++counts_.blocked;
      set_detour(kBlocked, true);
    }
  }
  wake.wake_all();
  if (refused.size() != 0) settle(refused);
  return outcome;
}

absl::Status PoolCore::leave_line(AnsweredJob& job, WaitNode& node, Waiter::Outcome outcome, TimePoint since) noexcept {
  if (is_forked()) return absl::FailedPreconditionError({});
  {
    Both lock(*this);
    --lined_up_;
    blocked_.remove(node);
    set_detour(kBlocked, !blocked_.empty());
  }
  job.unhook();
  const bool may_be_late = outcome == Waiter::kTimedOut || outcome == Waiter::kCancelled;
  absl::StatusCode code = absl::StatusCode::kCancelled;
  absl::Status refusal;
  try {
    const Context ctx = line_context(job, TimePoint::max());
    // From another clock a deadline comes as a cancellation.
    if (outcome == Waiter::kTimedOut || (may_be_late && absl::IsDeadlineExceeded(ctx.cause()))) {
      code = absl::StatusCode::kDeadlineExceeded;
    }
    const bool late = code == absl::StatusCode::kDeadlineExceeded;
    if (may_be_late) refusal = describe(late ? Refusal::kWaited : Refusal::kCancelled, ctx, clock_.now() - since);
  } catch (...) {
    refusal = absl::Status(code, {});  // no memory for the text
  }
  {
    const Activation here(*this, kCallerThread, 1);  // this submission
    discard(job);
  }
  leave(code == absl::StatusCode::kDeadlineExceeded ? &WorkerPoolCounts::enqueue_timeouts
                                                    : &WorkerPoolCounts::enqueue_cancelled);
  return refusal;
}

/// Ends a submission that was not accepted, as the last use of the pool.
void PoolCore::leave(std::uint64_t WorkerPoolCounts::*count) noexcept {
  WakeList wake;
  {
    Both lock(*this);
    ++(counts_.*count);
    --submitting_;
    claim_closers(wake);
  }
  wake.wake_all();
}

/// Destroys a job that was not accepted and that nobody has a handle on.
void PoolCore::discard(AnsweredJob& job) noexcept {
  try {
    job.destroy_function();
  } catch (...) {
    report(std::current_exception(), &job);
  }
  job.release();  // the pool's share
  job.release();  // the handle's
}

// --- the coroutine's side ---

LineWait::~LineWait() {
  switch (stage_) {
    case Stage::kNew:
    case Stage::kOver:
      return;
    case Stage::kPlaced:
    case Stage::kRunsHere:
    case Stage::kCounted:
      pool_.give_back(stage_ != Stage::kPlaced);
      return;
    case Stage::kWaiting:
      break;
  }
  // The coroutine is being destroyed where it is suspended. What was accepted meanwhile nobody has asked for any more.
  if (const Waiter::Outcome outcome = wait_->call_off(); outcome >= Waiter::kClosed) {
    job_->cancel();
    job_->release();
  } else {
    static_cast<void>(pool_.leave_line(*job_, wait_->node(), outcome, since_));
  }
}

void LineWait::discard(AnsweredJob& job) noexcept {
  const Activation here(pool_, kCallerThread, 1);  // this submission
  pool_.discard(job);
}

bool LineWait::admit(const SubmitOptions& options) {
  PENSTOCK_CHECK(stage_ == Stage::kNew, "a submission was awaited twice");
  const PoolCore::Admitted admitted = pool_.admit(options, PoolCore::Wait::kCoroutine, &refusal_);
  since_ = admitted.since;
  until_ = Context(*pool_.options().clock).with_deadline(admitted.until);
  if (admitted.status != OpStatus::kOk) {
    stage_ = Stage::kOver;
  } else if (admitted.must_wait) {
    stage_ = Stage::kCounted;
    return false;
  } else {
    stage_ = admitted.runs_here ? Stage::kRunsHere : Stage::kPlaced;
  }
  return true;
}

void LineWait::enter(JobState& job) noexcept {
  if (std::exchange(stage_, Stage::kOver) == Stage::kRunsHere) {
    pool_.run_here(job);
  } else {
    pool_.enqueue(job);
  }
}

void LineWait::take(AnsweredJob& job) {
  until_ = pool_.line_context(job, until_.deadline());
  job_ = &job;
}

bool LineWait::line_up() noexcept {
  stage_ = Stage::kWaiting;  // before it is listed: from then on the frame may be gone
  const Waiter::Outcome outcome = pool_.line_up(*job_, wait_->node());
  if (outcome == Waiter::kPending) return true;
  immediate_ = outcome;
  return false;
}

bool LineWait::finish() {
  stage_ = Stage::kOver;
  const Waiter::Outcome outcome = immediate_ == Waiter::kPending ? wait_->resume() : immediate_;
  if (outcome >= Waiter::kServed) return true;
  if (outcome == Waiter::kClosed) {
    refusal_ = job_->answer();
    job_->release();
  } else {
    refusal_ = pool_.leave_line(*job_, wait_->node(), outcome, since_);
  }
  return false;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
