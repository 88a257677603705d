// SPDX-License-Identifier: MIT
#include <algorithm>
#include <exception>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/context_state.hpp"
#include "penstock/core/detail/patience.hpp"
#include "penstock/core/failure_stage.hpp"
#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/exec/detail/pool_locks.hpp"
#include "penstock/exec/detail/pool_text.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

bool was_cancelled(const Context& ctx) noexcept {
  const ContextState* const state = ContextAccess::state(ctx);
  return state != nullptr && state->cancelled_at() != TimePoint::max();
}

// A job that comes so few looks after the last one is one of many.
constexpr std::uint32_t kDense = 64;
constexpr std::uint32_t kPausesForMore = 32;

/// A worker that is faster than who submits would meet them at the locks for each job, which costs both sides more than
/// the job: so it lets some of them come together.
void pause_for_more() noexcept {
  for (std::uint32_t left = std::min(kPausesForMore, world::spin_limit()); left != 0; --left) world::pause();
}

}  // namespace

void PoolCore::work(Worker& me) noexcept {
  Activation here(*this, me.runner.worker_id, 0);
  if (join_crew(me)) {
    while (const Found found = next(me)) {
      if (found.work != nullptr) {
        found.work->run(*found.work);
        continue;
      }
      if (is_watched_too_late(me.runner.expires_at)) watch_from(me.runner.expires_at);
      here.weight = 1;
      here.job = found.job;
      const Ran ran = run(me.runner);
      here.weight = 0;
      here.job = nullptr;
      me.knows_time = ran.knows_time;
      me.time = ran.time;
      me.retires = (me.runner.threw || here.helped_one_that_threw) && options_.retire_worker_after_panic;
    }
    here.serves = false;
    run_stop_hook(me.runner.worker_id);
  }
  WakeList wake;
  {
    Both lock(*this);
    me.next_leaver = std::exchange(leavers_, &me);
    if (WaitNode* const node = watching_.claim_first()) wake.push(*node);
  }
  wake.wake_all();
}

// --- finding work ---

/// Ends what the worker did before, and finds it something to do: nothing if it is to go.
Found PoolCore::next(Worker& me) noexcept {
  TimePoint now = std::exchange(me.knows_time, false) ? me.time : time();
  JobState* done = nullptr;
  if (me.runner.busy && !me.retires) {
    const Found found = next_quickly(me, now, done);
    if (found) {
      if (done != nullptr) done->release();
      return found;
    }
  }
  const bool shares_queue = options_.dispatch == DispatchMode::kSharedQueue;
  bool may_look = shares_queue;
  for (;; now = time()) {
    EndedJobs ended;
    WakeList wake;
    Found found;
    bool leaves = false;
    bool looks = false;
    const Context until = options_.idle_timeout == Duration::max()
                              ? Context(clock_)
                              : Context(clock_).with_timeout(options_.idle_timeout);
    Waiter waiter(until);
    WaitNode node(waiter, nullptr);
    {
      Both lock(*this);
      note_depth();  // before this one is free to take one of them
      if (me.runner.busy) me.runner.since = now;
      come_back(me, done);
      hint_.store(false, std::memory_order_relaxed);
      take_in();
      if (me.retires || live_ > wanted()) {
        leaves = true;
        counts_.workers_retired += me.retires ? 1 : 0;
      } else {
        if (posted_in_a_row_ >= kMaxPostedInARow) grant_places(now, wake);  // or nobody would ever be given this one's
        found = pick(now, ended);
      }
      if (found || ended.size() != 0) {
        me.runner.busy = true;
        me.runner.since = now;
        ++busy_;
        if (found.job != nullptr) start_job(*found.job, me.runner, now);
      } else if (leaves || is(kStopping)) {
        leaves = true;
        leave_crew(me);
      } else if (std::exchange(may_look, false)) {
        looks = me.seeking = true;
        ++seekers_;
      } else if (shares_queue) {
        idle_.push_front(node);
      } else {
        idle_.push(node);
      }
      grant_places(now, wake);
      pass_on(wake);
      claim_closers(wake);
    }
    wake_all(wake, ended.size() + (found.job == nullptr ? 0 : 1), found.job);
    if (done != nullptr) std::exchange(done, nullptr)->release();
    if (ended.size() != 0) {
      settle(ended);
    } else if (found || leaves) {
      return found;
    } else if (looks) {
      look_for_work();
    } else if (waiter.wait() >= Waiter::kServed) {
      me.seeking = true;  // as whoever claimed the node has counted
      may_look = shares_queue;
    } else {
      Both lock(*this);
      idle_.remove(node);
      me.seeking = true;  // it is neither listed nor busy until it has looked once more: no reason to grow
      ++seekers_;
      if (configured_ > options_.smallest() && !is_promised() && queued() == 0) {
        ++counts_.workers_removed;
        --configured_;
        note_crew();
      }
    }
  }
}

Found PoolCore::next_quickly(Worker& me, TimePoint now, JobState*& done) noexcept {
  SpinLockGuard lock(serve_);
  if (is(kWorkersDetour) || me.runner.stuck) return {};
  if (has_posted_.load(std::memory_order_relaxed)) {
    if (Work* const work = next_posted()) {
      retire_job(me.runner, done);
      me.runner.since = now;
      return {nullptr, work};
    }
  }
  JobState* const job = queue_.is_fifo() ? queue_.next(false) : next_of_all();
  if (job == nullptr || queue_.has_expired(*job, now)) return {};
  take_out(*job);
  retire_job(me.runner, done);
  start_job(*job, me.runner, now);
  posted_in_a_row_ = 0;
  return {job, nullptr};
}

/// Where what has come since a worker looked last may be next. For a caller that is free, though not yet booked as
/// such.
JobState* PoolCore::next_of_all() noexcept {
  SpinLockGuard lock(intake_);
  take_in();
  return queue_.next(2 * depth(1) > capacity_);
}

/// Before it sleeps, for as long as that would cost, or as long as the options say.
void PoolCore::look_for_work() const noexcept {
  const auto looks_busy = [this] { return hint_.load(std::memory_order_relaxed) || is(kStopping | kCrowded); };
  Patience patience;
  if (options_.idle_spin == Duration::zero()) {
    for (std::uint32_t looks = 0; patience.has_more(); ++looks) {
      if (!looks_busy()) continue;
      patience.paid();
      if (looks < kDense) pause_for_more();
      return;
    }
    return;
  }
  const TimePoint end = saturated_add(clock_.now(), options_.idle_spin);
  for (std::uint32_t round = 0; !looks_busy(); ++round) {
    if (round % 64 == 63) {
      if (clock_.now() >= end) return;
      world::yield();  // there may be others who want this processor
    } else {
      world::pause();
    }
  }
}

/// Books the end of what the worker did.
void PoolCore::come_back(Worker& me, JobState*& done) noexcept {
  retire_job(me.runner, done);
  if (std::exchange(me.runner.busy, false)) --busy_;
  if (std::exchange(me.seeking, false)) --seekers_;
  if (std::exchange(me.runner.stuck, false)) set_stuck(stuck_ - 1);
}

void PoolCore::count_end(Tally& tally, Count outcome, int code) noexcept {
  if (outcome == Count::kFailed) {
    const auto index = std::min(static_cast<std::size_t>(code), failed_with_.size() - 1);
    failed_with_[index].fetch_add(1, std::memory_order_relaxed);
  }
  tally.add(outcome);
}

void PoolCore::retire_job(Runner& runner, JobState*& done) noexcept {
  if (runner.job == nullptr) return;
  --executing_;
  runner.tally.add(Count::kReturned);
  if (runner.job->plain_) {
    count_end(runner.tally, runner.stuck ? Count::kLate : runner.outcome, runner.code);
  } else {
    runner.activity.reset();
  }
  done = std::exchange(runner.job, nullptr);
}

/// Moves in what has come since a worker looked last.
void PoolCore::take_in() noexcept {
  if (!incoming_.empty()) {
    note_depth();
    queue_.push_all(incoming_, incoming_is_plain_);
    incoming_is_plain_ = true;
  }
  posted_.append(posted_incoming_);
  if (posted_.empty()) has_posted_.store(false, std::memory_order_relaxed);
}

void PoolCore::take_out(JobState& job) noexcept {
  queue_.remove(job);
  left_steps_ += job.block_steps_;
  left_.store(left_.load(std::memory_order_relaxed) + 1, std::memory_order_release);  // Q1 release
}

Found PoolCore::pick(TimePoint now, EndedJobs& ended) noexcept {
  // Answered before the next job starts, whose time would be running already.
  end_expired(now, ended);
  if (ended.size() != 0) return {};
  const bool may_start = !is(kPaused | kTakingOver);
  if (may_start && (posted_.empty() || posted_in_a_row_ >= kMaxPostedInARow || is_promised())) {
    while (JobState* const job = ended.size() == kMostEnded ? nullptr : queue_.next(2 * depth() > capacity_)) {
      if (codel_ && codel_->sheds(now - job->enqueued_at_, now)) {
        end_queued(*job, Ending::kShed, ended);
        continue;
      }
      if (ended.size() != 0) return {};
      posted_in_a_row_ = 0;
      take_out(*job);
      return {job, nullptr};
    }
  }
  if (ended.size() != 0 || (may_start && is_promised())) return {};
  Work* const work = posted_.pop();
  if (work != nullptr) ++posted_in_a_row_;
  return {nullptr, work};
}

void PoolCore::start_job(JobState& job, Runner& runner, TimePoint now) noexcept {
  runner.expires_at = saturated_add(now, run_limit_);
  if (const JobTerms* const terms = job.terms()) {
    runner.expires_at =
        std::min(terms->context.deadline(), saturated_add(now, lagged(terms->run_limit(options_.processing_timeout))));
  }
  job.state_.store(JobState::State::kRunning, std::memory_order_relaxed);
  runner.job = &job;
  runner.started_at = now;
  ++executing_;
  ++started_;
}

// --- running a job ---

Ran PoolCore::run(Runner& runner) noexcept {
  JobState& job = *runner.job;
  const JobTerms* const terms = job.terms();
  if (times_) times_->record_wait(runner.started_at - job.enqueued_at_);
  if (options_.observer != nullptr) {
    if (job.unannounced_) observe_submit(job);
    tell_observer([&](PoolObserver& observer) {
      observer.on_start(event(job, runner.worker_id, runner.started_at, job.enqueued_at_));
    });
  }
  absl::Status status;
  std::exception_ptr escaped;
  bool stopped = false;
  try {
    if (terms != nullptr && was_cancelled(terms->caller.context)) {
      // Those who are told are told one after the other, and it is not this one's turn yet: a worker that was told
      // before would start what nobody waits for.
      status = with_failure_stage(
          absl::CancelledError(fmt::format("worker pool '{}': job {} cancelled in the queue", options_.name, job.id_)),
          "queue");
      stopped = true;
    } else if (terms != nullptr && terms->source) {
      const Context ctx = terms->context.with_deadline(runner.expires_at);
      const Duration waited = std::max(runner.started_at - job.enqueued_at_, Duration::zero());
      const JobContext context{ctx, job.id_, runner.worker_id, waited, terms->attempt, call_of(job), &runner.activity};
      status = job.invoke(&context);
      stopped = absl::IsCancelled(status) && ctx.status() == OpStatus::kCancelled;
    } else {
      status = job.invoke(nullptr);
      stopped = absl::IsCancelled(status) && terms != nullptr &&
                terms->context.with_deadline(runner.expires_at).status() == OpStatus::kCancelled;
    }
  } catch (...) {
    escaped = std::current_exception();
  }
  try {
    job.destroy_function();
  } catch (...) {
    if (!escaped) escaped = std::current_exception();
  }
  const bool threw = escaped != nullptr;
  if (threw) {
    report(escaped, &job);
    status = describe_exception(job, escaped);
    escaped = nullptr;  // the caller's exception is gone before the caller is answered
  }
  Count outcome = Count::kFailed;
  if (threw) {
    outcome = Count::kPanicked;
  } else if (status.ok()) {
    outcome = Count::kSucceeded;
  } else if (stopped) {
    outcome = Count::kCancelled;
  }

  runner.threw = threw;
  Ran ran;
  if (is_timed()) {
    ran.time = clock_.now();
    ran.knows_time = job.plain_;  // what follows else is the user's: its time is not the next job's
    if (times_) {
      times_->record_end(runner.times, runner.started_at - job.enqueued_at_, ran.time - runner.started_at);
    }
  }
  if (!job.plain_) runner.activity.enter(JobStage::kResponding, is_timed() ? ran.time : clock_.recent());
  if (options_.observer != nullptr) observe_end(runner, status, outcome, ran.time);
  if (job.plain_) {
    runner.outcome = outcome;
    runner.code = status.raw_code();
    return ran;
  }
  const auto before = job.state_.exchange(JobState::State::kDecided, std::memory_order_acq_rel);  // J1
  const bool late = before == JobState::State::kOverdue;
  count_end(runner.tally, late ? Count::kLate : outcome, status.raw_code());
  auto& answered = static_cast<AnsweredJob&>(job);
  answered.unhook();
  if (threw || late) answered.discard_value();
  if (!late) answered.publish(std::move(status));
  return ran;
}

// --- what follows from a change ---

void PoolCore::note_depth() const noexcept { counts_.queue_high_water = std::max(counts_.queue_high_water, depth()); }

void PoolCore::wake_seeker(WakeList& wake) noexcept {
  if (!hint_.load(std::memory_order_relaxed)) hint_.store(true, std::memory_order_relaxed);
  if (seekers_ != 0 && options_.dispatch == DispatchMode::kSharedQueue) return;
  if (WaitNode* const node = idle_.claim_first()) {
    ++seekers_;
    wake.push(*node);
  }
}

void PoolCore::pass_on(WakeList& wake) noexcept {
  const bool may_start = !is(kPaused | kTakingOver);
  const bool has_job = may_start && (!queue_.empty() || !incoming_.empty());
  // As in pick(): else the worker would wake itself again and again.
  const bool has_work = (!posted_.empty() || !posted_incoming_.empty()) && !(may_start && is_promised());
  if (has_job || has_work) wake_seeker(wake);
  if (has_job && seekers_ == 0 && is(kGrowing)) grow_by_one(wake);
}

void PoolCore::claim_closers(WakeList& wake) noexcept {
  if (is(kClosed) && executing_ + settling_ + submitting_ - lined_up_ <= inside_weight_) {
    closers_.claim_all(Waiter::kServed, wake);
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
