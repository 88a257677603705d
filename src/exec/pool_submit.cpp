// SPDX-License-Identifier: MIT
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/option_text.hpp"
#include "penstock/core/detail/patience.hpp"
#include "penstock/core/failure_stage.hpp"
#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/exec/detail/pool_locks.hpp"
#include "penstock/exec/detail/pool_text.hpp"
#include "penstock/exec/detail/typed_job.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

// Jobs that found a place between two submissions that did not.
constexpr std::uint64_t kTrickle = 2;

}  // namespace

// --- places ---

bool PoolCore::has_place_quickly() noexcept {
  if (is(kSubmittersDetour)) return false;
  if (entered_ + reserved_ - left_seen_ < capacity_) return true;
  left_seen_ = left_.load(std::memory_order_acquire);  // Q1 acquire
  return entered_ + reserved_ - left_seen_ < capacity_;
}

bool PoolCore::admit_quickly() noexcept {
  if (is_forked()) return false;
  SpinLockGuard lock(intake_);
  if (!has_place_quickly()) return false;
  ++submitted_;
  ++reserved_;
  ++submitting_;
  return true;
}

/// Whether places come one by one, as where jobs take longer than their submission: then the workers want the
/// processor.
bool PoolCore::places_trickle() noexcept {
  SpinLockGuard lock(intake_);
  return entered_ - std::exchange(entered_when_full_, entered_) <= kTrickle;
}

PoolCore::Admitted PoolCore::admit(const SubmitOptions& options, Wait wait, absl::Status* refusal) {
  if (is_forked()) {
    if (refusal != nullptr) *refusal = forked();
    return {OpStatus::kClosed};
  }
  OpStatus ended = options.context.status();
  if (options.processing_timeout.value_or(Duration::max()) <= Duration::zero() ||
      options.queue_wait_limit.value_or(Duration::max()) <= Duration::zero()) {
    ended = OpStatus::kTimedOut;
  }
  if (ended == OpStatus::kOk) {
    if (admit_quickly()) return {};
    if (wait == Wait::kThread &&
        options.overflow.value_or(overflow_.load(std::memory_order_relaxed)) == OverflowPolicy::kBlock &&
        options.enqueue_timeout.value_or(options_.enqueue_timeout) > Duration::zero()) {
      // To sleep and be woken for each place costs more than the jobs. Nobody is overtaken meanwhile: who stands in
      // line makes admit_quickly() refuse.
      Patience patience(true, places_trickle());
      while (!is(kSubmittersDetour) && patience.has_more()) {
        if (!admit_quickly()) continue;
        patience.paid();
        return {};
      }
    }
  }
  return admit_slowly(options, wait, ended, refusal);
}

PoolCore::Admitted PoolCore::admit_slowly(const SubmitOptions& options, Wait wait, OpStatus ended,
                                          absl::Status* refusal) {
  // A coroutine holds no worker while it waits.
  const bool may_wait = wait == Wait::kCoroutine || (wait == Wait::kThread && !is_inside());
  const Duration patience = options.enqueue_timeout.value_or(options_.enqueue_timeout);
  Admitted result;
  Refusal why = Refusal::kFull;
  bool must_wait = false;
  TimePoint start{};
  EndedJobs evicted;
  WakeList wake;
  {
    const TimePoint now = clock_.now();
    Both lock(*this);
    ++submitted_;
    if (is(kClosed)) {
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
      note_depth();
      result.status = OpStatus::kFull;
      const OverflowPolicy policy = options.overflow.value_or(overflow_.load(std::memory_order_relaxed));
      if (policy == OverflowPolicy::kDropOldest) take_in();
      if (policy == OverflowPolicy::kDropNewest) {
        ++counts_.dropped_newest;
        why = Refusal::kDropped;
      } else if (policy == OverflowPolicy::kDropOldest && !queue_.empty()) {
        end_queued(*queue_.most_dispensable(), Ending::kEvicted, evicted);
        ++reserved_;  // in the same step: the place was never free
        result.status = OpStatus::kOk;
      } else if (policy == OverflowPolicy::kCallerRuns && wait != Wait::kNot && !is_inside()) {
        result = {OpStatus::kOk, true};
      } else if (policy == OverflowPolicy::kBlock && may_wait && patience > Duration::zero()) {
        must_wait = true;
        start = now;
        if (seekers_ == 0 && idle_.empty()) grow_by_one(wake);
      } else {
        ++counts_.rejected;
        if (policy == OverflowPolicy::kBlock && wait == Wait::kThread && !may_wait) why = Refusal::kOwnWorker;
      }
    }
    if (result.status == OpStatus::kOk || must_wait) ++submitting_;
  }
  wake.wake_all();
  if (must_wait && wait == Wait::kThread) return wait_for_place(options, start, patience, refusal);
  if (must_wait) return {OpStatus::kOk, false, true, start, saturated_add(start, patience)};
  if (evicted.size() != 0) {
    const Activation here(*this, kCallerThread, 1);  // this submission
    settle(evicted);
  }
  if (result.status != OpStatus::kOk && refusal != nullptr) *refusal = describe(why, options.context, Duration::zero());
  return result;
}

PoolCore::Admitted PoolCore::wait_for_place(const SubmitOptions& options, TimePoint start, Duration timeout,
                                            absl::Status* refusal) {
  try {
    const ClockedContext caller(options.context, clock_);
    const Context ctx = caller.context.with_deadline(saturated_add(start, timeout));
    Waiter waiter(ctx);
    WaitNode node(waiter, nullptr);
    Waiter::Outcome outcome = Waiter::kServed;
    bool listed = false;
    {
      Both lock(*this);
      if (is(kClosed)) {
        outcome = Waiter::kClosed;
      } else if (has_place()) {
        ++reserved_;
      } else {
        blocked_.push(node);
        ++counts_.blocked;  // here, so that whoever is counted stands in line
        set_detour(kBlocked, true);
        listed = true;
      }
    }
    if (listed) outcome = waiter.wait();
    if (outcome >= Waiter::kServed) return {};
    if (outcome != Waiter::kClosed) {
      Both lock(*this);
      blocked_.remove(node);
      set_detour(kBlocked, !blocked_.empty());
    }

    // The pool may go with the last count, so the text is made first.
    Admitted refused{to_op_status(outcome)};
    Refusal why = outcome == Waiter::kClosed ? Refusal::kClosed : Refusal::kWaited;
    if (outcome == Waiter::kCancelled) {
      // From another clock a deadline comes as a cancellation.
      refused.status = options.context.status() == OpStatus::kTimedOut ? OpStatus::kTimedOut : OpStatus::kCancelled;
      if (refused.status == OpStatus::kCancelled) why = Refusal::kCancelled;
    }
    if (refusal != nullptr) *refusal = describe(why, options.context, clock_.now() - start);
    leave(why == Refusal::kClosed      ? &WorkerPoolCounts::refused_closed
          : why == Refusal::kCancelled ? &WorkerPoolCounts::enqueue_cancelled
                                       : &WorkerPoolCounts::enqueue_timeouts);
    return refused;
  } catch (...) {
    leave(&WorkerPoolCounts::enqueue_failures);
    throw;
  }
}

absl::Status PoolCore::describe(Refusal refusal, const Context& ctx, Duration waited) const {
  const std::string& name = options_.name;
  const std::size_t capacity = this->capacity();
  switch (refusal) {
    case Refusal::kClosed:
      return with_failure_stage(absl::UnavailableError(fmt::format("worker pool '{}': shut down", name)), "shutdown");
    case Refusal::kFull:
    case Refusal::kDropped:
      return with_failure_stage(
          absl::ResourceExhaustedError(fmt::format("worker pool '{}': {}queue full (capacity {})", name,
                                                   refusal == Refusal::kDropped ? "job dropped, " : "", capacity)),
          "enqueue");
    case Refusal::kWaited:
      return with_failure_stage(
          absl::DeadlineExceededError(fmt::format("worker pool '{}': queue full (capacity {}, waited {})", name,
                                                  capacity, duration_text(waited))),
          "enqueue");
    case Refusal::kLate:
      return with_failure_stage(absl::DeadlineExceededError(fmt::format(
                                    "worker pool '{}': the deadline had passed before the job was queued", name)),
                                "enqueue");
    case Refusal::kCancelled: {
      const absl::Status cause = ctx.cause();
      return with_failure_stage(absl::CancelledError(fmt::format(
                                    "worker pool '{}': cancelled before the job was queued (waited {}){}{}", name,
                                    duration_text(waited), cause.message().empty() ? "" : ": ", text_of(cause))),
                                "enqueue");
    }
    case Refusal::kOwnWorker:
      return with_failure_stage(
          absl::FailedPreconditionError(
              fmt::format("worker pool '{}': queue full (capacity {}), and a job of the pool must not wait for it",
                          name, capacity)),
          "enqueue");
  }
  return absl::InternalError("worker pool: unknown refusal");
}

absl::Status PoolCore::forked() const {
  return absl::FailedPreconditionError(
      fmt::format("worker pool '{}': its threads are not in this process, which is a fork", options_.name));
}

void PoolCore::give_back(bool runs_here) noexcept {
  if (is_forked()) return;
  const TimePoint now = time();
  const Activation here(*this, kCallerThread, 1);  // this submission, which counts until all are woken
  WakeList wake;
  if (!runs_here) {
    Both lock(*this);
    --reserved_;
    grant_places(now, wake);
    pass_on(wake);  // a worker may have left posted work alone for the job that does not come
  }
  wake.wake_all();
  leave(&WorkerPoolCounts::enqueue_failures);
}

// --- jobs ---

void PoolCore::set_limits(JobState& job, TimePoint now) const noexcept {
  job.enqueued_at_ = now;
  if (!job.plain_) limit_wait(static_cast<AnsweredJob&>(job));
}

/// Accepts a job that does not go through the queue.
void PoolCore::accept_past_queue(JobState& job) noexcept {
  --submitting_;
  job.id_ = ++entered_;
  left_.store(left_.load(std::memory_order_relaxed) + 1, std::memory_order_release);  // Q1 release
}

/// Accepts `job` into the queue. Whatever else that asks for is done under the same locks: once they are free the pool
/// may go.
void PoolCore::put(JobState& job, WakeList& wake) noexcept {
  job.id_ = ++entered_;
  job.state_.store(JobState::State::kQueued, std::memory_order_relaxed);
  if (job.terms() != nullptr) incoming_is_plain_ = false;
  entered_steps_ += job.block_steps_;
  incoming_.push(job);
  wake_seeker(wake);
}

void PoolCore::put_first(JobState& job, WakeList& wake) noexcept {
  const TimePoint expires_at = job.expires_at(wait_limit_);
  if (seekers_ == 0 && idle_.empty()) grow_by_one(wake);
  // Workers look at what is coming only once the queue is empty, so this one is put where they look.
  const bool in_front = is_in_front(job);
  if (in_front) take_in();
  put(job, wake);
  if (in_front) {
    incoming_is_plain_ = false;
    take_in();
  }
  watch_from(expires_at, wake);
}

bool PoolCore::is_everyday(TimePoint expires_at) const noexcept {
  return !is_watched_too_late(expires_at) && !is(kClosed) && !(is(kGrowing) && seekers_ == 0 && idle_.empty());
}

bool PoolCore::enqueue_quickly(JobState& job) noexcept {
  if (is_forked()) return false;
  set_limits(job, time());
  bool is_in = false;
  WakeList wake;
  {
    SpinLockGuard lock(intake_);
    if (!has_place_quickly()) return false;
    if (is_everyday(job.expires_at(wait_limit_))) {
      ++submitted_;
      put(job, wake);
      is_in = true;
    }
  }
  if (!is_in) {
    Both lock(*this);
    if (!has_place_quickly()) return false;
    ++submitted_;
    put_first(job, wake);
  }
  wake.wake_all();
  return true;
}

void PoolCore::enqueue(JobState& job) noexcept {
  bool cancelled = !job.plain_ && !static_cast<AnsweredJob&>(job).hook();
  bool abandoned = false;
  set_limits(job, time());
  const std::size_t announced = options_.observer == nullptr ? 0 : 1;  // then this is not the last use of the pool
  bool is_in = false;
  WakeList wake;
  if (!cancelled) {
    SpinLockGuard lock(intake_);
    cancelled = job.stop_asked_;
    if (!cancelled && !is_in_front(job) && is_everyday(job.expires_at(wait_limit_))) {
      --reserved_;
      submitting_ -= 1 - announced;
      announcing_ += announced;
      put(job, wake);
      is_in = true;
    }
  }
  if (!cancelled && !is_in) {
    Both lock(*this);
    cancelled = job.stop_asked_;
    abandoned = !cancelled && is(kCalledOff);
    if (!cancelled && !abandoned) {
      --reserved_;
      submitting_ -= 1 - announced;
      announcing_ += announced;
      put_first(job, wake);
      claim_closers(wake);  // a shutdown that all workers are in waits for the submission, but not for the job
    }
  }
  if (cancelled) return end_new(job, Ending::kCancelled);
  if (abandoned) return end_new(job, Ending::kAbandoned);
  wake.wake_all();
  if (announced == 0) return;
  observe_submit(job);  // which its submitter has a share of
  WakeList closers;
  {
    Both lock(*this);
    --submitting_;
    --announcing_;
    claim_closers(closers);
  }
  closers.wake_all();
}

/// Accepts a job, and ends it at once.
void PoolCore::end_new(JobState& job, Ending ending) noexcept {
  const TimePoint now = time();
  EndedJobs ended;
  WakeList wake;
  {
    Both lock(*this);
    --reserved_;
    accept_past_queue(job);
    decide(job, ending, ended);
    grant_places(now, wake);
    pass_on(wake);  // as in give_back()
  }
  wake_all(wake, ended.size());
  observe_submit(job);
  settle(ended);
}

Admission::Admission(PoolCore& pool, const SubmitOptions& options, bool may_wait, absl::Status* refusal) : pool_(pool) {
  const PoolCore::Admitted admitted =
      pool.admit(options, may_wait ? PoolCore::Wait::kThread : PoolCore::Wait::kNot, refusal);
  status_ = admitted.status;
  runs_here_ = admitted.runs_here;
}

bool enter_quickly(PoolCore& pool, JobState& job) noexcept { return pool.enqueue_quickly(job); }

Admission::Admission(PoolCore& pool) : Admission(pool, SubmitOptions(), true, nullptr) {}

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
