// SPDX-License-Identifier: MIT
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/exec/detail/pool_text.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

PoolCore::Admitted PoolCore::admit(const SubmitOptions& options, bool may_wait, absl::Status* refusal) {
  OpStatus ended = options.context.status();
  if (options.processing_timeout.value_or(Duration::max()) <= Duration::zero()) ended = OpStatus::kTimedOut;
  Admitted result;
  Refusal why = Refusal::kFull;
  bool must_wait = false;
  TimePoint start{};
  EndedJobs evicted;
  {
    MutexLock lock(mutex_);
    ++counts_.submitted;
    if (closed_) {
      ++counts_.refused_closed;
      result.status = OpStatus::kClosed;
      why = Refusal::kClosed;
    } else if (ended != OpStatus::kOk) {
      const bool late = ended == OpStatus::kTimedOut;
      ++(late ? counts_.enqueue_timeouts : counts_.enqueue_cancelled);
      result.status = ended;
      why = late ? Refusal::kLate : Refusal::kCancelled;
    } else if (has_place()) {
      ++reserved_;
    } else {
      result.status = OpStatus::kFull;
      const OverflowPolicy policy = options.overflow.value_or(overflow_);
      if (policy == OverflowPolicy::kDropNewest) {
        ++counts_.dropped_newest;
        why = Refusal::kDropped;
      } else if (policy == OverflowPolicy::kDropOldest && queue_.front() != nullptr) {
        end_queued(*queue_.front(), Ending::kEvicted, clock_.now(), evicted);
        ++reserved_;  // in the same step: the place was never free
        result.status = OpStatus::kOk;
      } else if (policy == OverflowPolicy::kCallerRuns && may_wait && !is_inside()) {
        result = {OpStatus::kOk, true};
      } else if (policy == OverflowPolicy::kBlock && may_wait && options_.enqueue_timeout > Duration::zero() &&
                 !is_inside()) {
        ++counts_.blocked;
        must_wait = true;
        start = clock_.now();
      } else {
        ++counts_.rejected;
        if (policy == OverflowPolicy::kBlock && may_wait && is_inside()) why = Refusal::kOwnWorker;
      }
    }
    if (result.status == OpStatus::kOk || must_wait) ++submitting_;
  }
  if (must_wait) return wait_for_place(options, start, refusal);
  if (evicted.size() != 0) {
    const Activation here(*this, false, 1);  // this submission
    settle(evicted);
  }
  if (result.status != OpStatus::kOk && refusal != nullptr) *refusal = describe(why, options, Duration::zero());
  return result;
}

PoolCore::Admitted PoolCore::wait_for_place(const SubmitOptions& options, TimePoint start, absl::Status* refusal) {
  const auto leave = [this](std::uint64_t WorkerPoolStats::*count) {
    WakeList wake;
    {
      MutexLock lock(mutex_);
      ++(counts_.*count);
      --submitting_;
      claim_closers(wake);
    }
    wake.wake_all();
  };
  try {
    const ClockedContext caller(options.context, clock_);
    const Context ctx = caller.context.with_deadline(saturated_add(start, options_.enqueue_timeout));
    Waiter waiter(ctx);
    WaitNode node(waiter, nullptr);
    Waiter::Outcome outcome = Waiter::kServed;
    bool listed = false;
    {
      MutexLock lock(mutex_);
      if (closed_) {
        outcome = Waiter::kClosed;
      } else if (has_place()) {
        ++reserved_;
      } else {
        blocked_.push(node);
        listed = true;
      }
    }
    if (listed) outcome = waiter.wait();
    if (outcome >= Waiter::kServed) return {};
    if (outcome != Waiter::kClosed) {
      MutexLock lock(mutex_);
      blocked_.remove(node);
    }

    // The pool may go with the last count, so the text is made first.
    Admitted refused{to_op_status(outcome)};
    Refusal why = outcome == Waiter::kClosed ? Refusal::kClosed : Refusal::kWaited;
    if (outcome == Waiter::kCancelled) {
      // From another clock a deadline comes as a cancellation.
      refused.status = options.context.status() == OpStatus::kTimedOut ? OpStatus::kTimedOut : OpStatus::kCancelled;
      if (refused.status == OpStatus::kCancelled) why = Refusal::kCancelled;
    }
    if (refusal != nullptr) *refusal = describe(why, options, clock_.now() - start);
    leave(why == Refusal::kClosed      ? &WorkerPoolStats::refused_closed
          : why == Refusal::kCancelled ? &WorkerPoolStats::enqueue_cancelled
                                       : &WorkerPoolStats::enqueue_timeouts);
    return refused;
  } catch (...) {
    leave(&WorkerPoolStats::enqueue_failures);
    throw;
  }
}

absl::Status PoolCore::describe(Refusal refusal, const SubmitOptions& options, Duration waited) const {
  const std::string& name = options_.name;
  const std::size_t capacity = options_.queue_capacity;
  switch (refusal) {
    case Refusal::kClosed:
      return absl::UnavailableError(fmt::format("worker pool '{}': shut down", name));
    case Refusal::kFull:
      return absl::ResourceExhaustedError(fmt::format("worker pool '{}': queue full (capacity {})", name, capacity));
    case Refusal::kDropped:
      return absl::ResourceExhaustedError(
          fmt::format("worker pool '{}': job dropped, queue full (capacity {})", name, capacity));
    case Refusal::kWaited:
      return with_stage(absl::DeadlineExceededError(fmt::format("worker pool '{}': queue full (capacity {}, waited {})",
                                                                name, capacity, duration_text(waited))),
                        "enqueue");
    case Refusal::kLate:
      return with_stage(absl::DeadlineExceededError(
                            fmt::format("worker pool '{}': the deadline had passed before the job was queued", name)),
                        "enqueue");
    case Refusal::kCancelled: {
      const absl::Status cause = options.context.cause();
      return with_stage(
          absl::CancelledError(fmt::format("worker pool '{}': cancelled before the job was queued (waited {}){}{}",
                                           name, duration_text(waited), cause.message().empty() ? "" : ": ",
                                           fmt::string_view(cause.message().data(), cause.message().size()))),
          "enqueue");
    }
    case Refusal::kOwnWorker:
      return absl::FailedPreconditionError(fmt::format(
          "worker pool '{}': queue full (capacity {}), and a job of the pool must not wait for it", name, capacity));
  }
  return absl::InternalError("worker pool: unknown refusal");
}

void PoolCore::give_back(bool runs_here) noexcept {
  WakeList wake;
  {
    MutexLock lock(mutex_);
    ++counts_.enqueue_failures;
    --submitting_;
    if (!runs_here) --reserved_;
    grant_places(wake);
    if (!posted_.empty()) claim_idle(wake);  // a worker may have left it alone for the job that does not come
    claim_closers(wake);
  }
  wake.wake_all();
}

void PoolCore::accept(JobState& job, TimePoint now) noexcept {
  --submitting_;
  job.id_ = ++counts_.accepted;
  job.enqueued_at_ = now;
}

void PoolCore::enqueue(JobState& job) noexcept {
  const bool cancelled = !job.hook();
  const TimePoint now = clock_.now();
  EndedJobs ended;
  WakeList wake;
  {
    MutexLock lock(mutex_);
    accept(job, now);
    --reserved_;
    if (cancelled || job.stop_asked_) {
      decide(job, Ending::kCancelled, now, ended);
      grant_places(wake);
      if (!posted_.empty()) claim_idle(wake);  // as in give_back()
    } else {
      job.phase_ = JobState::Phase::kQueued;
      job.expires_at_ = std::min(job.context_.deadline(), saturated_add(now, options_.queue_wait_limit));
      queue_.push(job);
      counts_.queue_high_water = std::max(counts_.queue_high_water, depth());
      watch_from(job.expires_at_, wake);
      claim_idle(wake);
    }
  }
  wake.wake_all();
  if (ended.size() != 0) settle(ended);
}

void PoolCore::run_here(JobState& job) noexcept {
  const bool cancelled = !job.hook();
  EndedJobs ended;
  WakeList wake;
  Activation here(*this, false, 1);
  {
    MutexLock lock(mutex_);
    const TimePoint now = clock_.now();
    accept(job, now);
    if (cancelled || job.stop_asked_) {
      decide(job, Ending::kCancelled, now, ended);
    } else {
      ++counts_.caller_runs;
      start_job(job, now, wake);
    }
  }
  wake.wake_all();
  if (ended.size() != 0) return settle(ended);
  here.job = &job;
  run(job, kCallerThread);
  WakeList closers;
  {
    MutexLock lock(mutex_);
    --executing_;
    claim_closers(closers);
  }
  closers.wake_all();
}

Admission::Admission(PoolCore& pool, const SubmitOptions& options, bool may_wait, absl::Status* refusal)
    : pool_(pool), processing_timeout_(options.processing_timeout.value_or(pool.options().processing_timeout)) {
  const PoolCore::Admitted admitted = pool.admit(options, may_wait, refusal);
  status_ = admitted.status;
  runs_here_ = admitted.runs_here;
}

void Admission::enter(JobState& job) noexcept {
  entered_ = true;
  if (runs_here_) {
    pool_.run_here(job);
  } else {
    pool_.enqueue(job);
  }
}

void Admission::give_back() noexcept { pool_.give_back(runs_here_); }

}  // namespace penstock::inline PENSTOCK_ABI::detail
