// SPDX-License-Identifier: MIT
#include "penstock/exec/job.hpp"

#include <fmt/format.h>

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

JobState::JobState(PoolCore& pool, const Context& caller, std::string tag, Duration processing_timeout,
                   bool with_context)
    : pool_(pool),
      caller_(caller, *pool.options().clock),
      context_(caller_.context),
      processing_timeout_(processing_timeout),
      tag_(std::move(tag)),
      caller_hook_([](CancelHook& hook) noexcept { static_cast<CallerHook&>(hook).job.stop(); }, *this) {
  if (!with_context) return;
  Context::Cancellable own = context_.with_cancel();
  context_ = std::move(own.context);
  source_.emplace(own.source);
}

JobState::~JobState() = default;

OpStatus JobState::wait(const Context& ctx) {
  if (is_done()) return OpStatus::kOk;
  Waiter waiter(ctx);
  WaitNode node(waiter, nullptr);
  if (!enlist(node)) return OpStatus::kOk;
  const Waiter::Outcome outcome = waiter.wait();
  if (outcome < Waiter::kServed) delist(node);
  return to_op_status(outcome);
}

bool JobState::is_done() const noexcept {
  MutexLock lock(mutex_);
  return answered_;
}

bool JobState::enlist(WaitNode& node) noexcept {
  MutexLock lock(mutex_);
  if (answered_) return false;
  waiting_.push(node);
  return true;
}

void JobState::delist(WaitNode& node) noexcept {
  MutexLock lock(mutex_);
  waiting_.remove(node);
}

absl::Status JobState::unfinished(OpStatus status) const {
  std::string pool;
  {
    MutexLock lock(mutex_);
    if (!answered_) pool = pool_.options().name;  // the pool lives for as long as the job is not answered
  }
  return to_status(status, pool.empty() ? fmt::format("job {}: waiting for its answer", id_)
                                        : fmt::format("worker pool '{}': waiting for job {}", pool, id_));
}

bool JobState::cancel() noexcept {
  switch (stop()) {
    case Stop::kEnded:
      return true;
    case Stop::kAsked:
      ask_to_stop(absl::CancelledError());
      return true;
    case Stop::kDone:
    case Stop::kAskedBefore:
      break;
  }
  return false;
}

JobState::Stop JobState::stop() noexcept {
  EndedJobs ended;
  WakeList wake;
  Stop stop = Stop::kDone;
  PoolCore& pool = pool_;
  {
    MutexLock lock(mutex_);
    if (answered_) return stop;
    stop = pool.take_back(*this, ended, wake);
  }
  wake.wake_all();
  if (ended.size() != 0) pool.settle(ended);  // else the pool, and this job, may be gone
  return stop;
}

bool JobState::hook() noexcept {
  ContextState* const state = ContextAccess::state(context_);
  return state == nullptr || state->add(caller_hook_);
}

void JobState::unhook() noexcept {
  if (ContextState* const state = ContextAccess::state(context_)) state->remove(caller_hook_);
}

void JobState::ask_to_stop(absl::Status cause) noexcept {
  if (source_) source_->cancel(std::move(cause));
}

void JobState::publish(absl::Status answer) noexcept {
  WakeList wake;
  answer_ = std::move(answer);
  // With the handle dropped there is nobody left to see it, now or later: references are not given out any more.
  if (references_.load(std::memory_order_acquire) == 1) return;  // R1
  {
    MutexLock lock(mutex_);
    answered_ = true;
    waiting_.claim_all(Waiter::kServed, wake);
  }
  wake.wake_all();
}

void JobState::release() noexcept {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;  // R1
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
