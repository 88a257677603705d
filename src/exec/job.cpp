// SPDX-License-Identifier: MIT
#include "penstock/exec/job.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/context_state.hpp"
#include "penstock/core/detail/patience.hpp"
#include "penstock/exec/detail/pool_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

ClockedContext::ClockedContext(const Context& ctx, Clock& clock) : context(ctx) {
  if (&ctx.clock() == &clock) return;
  context = Context(clock);
  if (!ctx.can_end()) return;
  Context::Cancellable local = context.with_cancel();
  bridge.emplace(ctx.on_done([source = local.source, ctx]() noexcept {
    try {
      source.cancel(ctx.cause());
    } catch (...) {
      source.cancel();  // no memory for the cause
    }
  }));
  context = std::move(local.context);
}

bool JobHome::has_as_worker() const noexcept {
  for (const Activation* at = Activation::current(); at != nullptr; at = at->outer) {
    if (at->pool == this && at->worker_id != kCallerThread) return true;
  }
  return Inside::worker_of(*this) != Inside::kNoWorker;
}

JobTerms::JobTerms(AnsweredJob& owner, const JobHome& pool, SubmitOptions&& options, bool with_context)
    : job(owner),
      caller(options.context, pool.clock()),
      context(caller.context),
      own_run_limit(options.processing_timeout.value_or(Duration::zero())),
      own_wait_limit(options.queue_wait_limit.value_or(Duration::max())),
      tag(std::move(options.tag)),
      attempt(options.attempt),
      call_id(options.call_id),
      hook([](CancelHook& caller_hook) noexcept { static_cast<CallerHook&>(caller_hook).job.stop(); }, owner) {
  if (!with_context) return;
  Context::Cancellable own = context.with_cancel();
  context = std::move(own.context);
  source.emplace(own.source);
}

AnsweredJob::AnsweredJob(PoolCore& pool, SubmitOptions&& options, bool with_context, std::uint16_t steps)
    : AnsweredJob(static_cast<JobHome&>(pool), std::move(options), with_context, steps) {}

AnsweredJob::AnsweredJob(JobHome& pool, SubmitOptions&& options, bool with_context, std::uint16_t steps)
    : JobState(false, steps), pool_(&pool) {
  level_ = JobQueue::level(std::clamp(options.priority, kLowestPriority, kHighestPriority), options.front);
  if (!with_context && !options.has_terms()) return;
  terms_ = std::make_unique<JobTerms>(*this, pool, std::move(options), with_context);
  block_steps_ = steps_of(std::size_t{block_steps_} * kBlockStep + sizeof(JobTerms));
}

bool AnsweredJob::may_wait() { return is_done() || pool().may_wait_for(*this) || is_done(); }

OpStatus AnsweredJob::wait(const Context& ctx) {
  if (is_done()) return OpStatus::kOk;
  Patience patience(true);
  for (;;) {  // once more if the job is in another pool then
    JobHome& asked = pool();
    if (!asked.may_wait_for(*this)) return is_done() ? OpStatus::kOk : OpStatus::kFull;
    do {
      if (is_done()) {
        patience.paid();
        return OpStatus::kOk;
      }
    } while (patience.has_more());
    Waiter waiter(ctx);
    WaitNode node(waiter, const_cast<Activation*>(Activation::current()));
    {
      SpinLockGuard lock(lock_);
      if (answered_.load(std::memory_order_relaxed)) return OpStatus::kOk;
      if (&pool() != &asked) continue;
      waiting_.push(node);
    }
    const Waiter::Outcome outcome = waiter.wait();
    if (outcome < Waiter::kServed) delist(node);
    if (outcome != kMoved) return to_op_status(outcome);
  }
}

bool AnsweredJob::enlist(WaitNode& node) noexcept {
  SpinLockGuard lock(lock_);
  if (answered_.load(std::memory_order_relaxed)) return false;
  waiting_.push(node);
  return true;
}

void AnsweredJob::delist(WaitNode& node) noexcept {
  SpinLockGuard lock(lock_);
  waiting_.remove(node);
}

absl::Status AnsweredJob::unfinished(OpStatus status) const {
  std::array<char, kMaxPoolNameBytes> name{};  // no allocation under the lock
  std::size_t bytes = 0;
  std::string_view kind;
  {
    // The pool lives for as long as the job is not answered, and with this lock it is not going to be.
    SpinLockGuard lock(lock_);
    if (!answered_.load(std::memory_order_relaxed)) {
      kind = pool().kind();
      bytes = pool().name().copy(name.data(), name.size());
    }
  }
  const std::string_view pool(name.data(), bytes);
  if (status == OpStatus::kFull) {
    return absl::FailedPreconditionError(
        fmt::format("{} '{}': a worker of the pool must not wait for job {} of it", kind, pool, id()));
  }
  return to_status(status, pool.empty() ? fmt::format("job {}: waiting for its answer", id())
                                        : fmt::format("{} '{}': waiting for job {}", kind, pool, id()));
}

bool AnsweredJob::cancel() noexcept {
  switch (stop()) {
    case Stop::kEnded:
      return true;
    case Stop::kAsked:
      ask_to_stop(absl::CancelledError());
      return true;
    case Stop::kDone:
    case Stop::kAskedBefore:
    case Stop::kElsewhere:
      break;
  }
  return false;
}

AnsweredJob::Stop AnsweredJob::stop() noexcept {
  EndedJobs ended;
  WakeList wake;
  Stop stop = Stop::kDone;
  JobHome* pool = nullptr;
  {
    SpinLockGuard lock(lock_);
    if (answered_.load(std::memory_order_relaxed)) return stop;
    do {
      pool = &this->pool();
      stop = pool->take_back(*this, ended, wake);
    } while (stop == Stop::kElsewhere);
  }
  if (ended.size() == 0) return stop;  // the pool, and this job, may be gone
  pool->settle_taken(ended, wake);
  return stop;
}

bool AnsweredJob::hook() noexcept {
  if (terms_ == nullptr) return true;
  ContextState* const state = ContextAccess::state(terms_->context);
  return state == nullptr || state->add(terms_->hook);
}

void AnsweredJob::unhook() noexcept {
  if (terms_ == nullptr) return;
  if (ContextState* const state = ContextAccess::state(terms_->context)) state->remove(terms_->hook);
}

void AnsweredJob::ask_to_stop(absl::Status cause) noexcept {
  if (terms_ != nullptr && terms_->source) terms_->source->cancel(std::move(cause));
}

void AnsweredJob::publish(absl::Status answer) noexcept {
  WakeList wake;
  answer_ = std::move(answer);
  // With the handle dropped there is nobody left to see it, now or later: references are not given out any more.
  if (references_.load(std::memory_order_acquire) == 1) return;  // R1
  {
    SpinLockGuard lock(lock_);
    answered_.store(true, std::memory_order_release);  // J2 release
    waiting_.claim_all(Waiter::kServed, wake);
  }
  wake.wake_all();
}

void AnsweredJob::release() noexcept {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;  // R1
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
