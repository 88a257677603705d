// SPDX-License-Identifier: MIT
#include "penstock/core/detail/wait_list.hpp"

#include "penstock/core/detail/inline_batch.hpp"
#include "penstock/core/detail/sleep_observer.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

EndlessWaiter::Outcome EndlessWaiter::wait() noexcept {
  const Asleep asleep;
  parker_.park();
  return outcome();
}

Waiter::Waiter(const Context& ctx, Executor* executor, Work* work, bool needs_timer)
    : EndlessWaiter(executor, work, executor != nullptr && ctx.can_end(), false),
      needs_timer_(needs_timer),
      ctx_(ctx),
      hook_([](CancelHook& hook) noexcept { static_cast<Hook&>(hook).self.end_with_context(); }, *this),
      deadline_([](Timer& timer) noexcept { static_cast<Deadline&>(timer).self.claim_and_wake(kTimedOut); }, *this) {
  if (needs_timer_) ctx_.clock().start_timers();
}

Waiter::Waiter(const Context& ctx)
    : Waiter(ctx, nullptr, nullptr, ctx.deadline() != TimePoint::max() && !ctx.clock().is_machine_time()) {}

Waiter::Waiter(const Context& ctx, Executor& executor, Work& work)
    : Waiter(ctx, &executor, &work, ctx.deadline() != TimePoint::max()) {}

void Waiter::end_with_context() noexcept {
  // The deadline may have passed before it was cancelled: then the wait ends as the context says it has ended.
  claim_and_wake(ctx_.status() == OpStatus::kTimedOut ? kTimedOut : kCancelled);
}

Waiter::Outcome Waiter::wait() noexcept {
  const bool sleeps_until_deadline = ctx_.deadline() != TimePoint::max() && !needs_timer_;
  ContextState* const state = ContextAccess::state(ctx_);
  if (state != nullptr && !ContextAccess::add(*state, hook_)) end_with_context();
  if (needs_timer_ && !ctx_.clock().arm(deadline_, ctx_.deadline())) claim_and_wake(kTimedOut);

  {
    const Asleep asleep;
    // A lost claim means that the winner is about to wake us, so its token is waited for without a deadline.
    if (!sleeps_until_deadline) {
      parker_.park();
    } else if (!parker_.park_until(ctx_.deadline()) && !claim(kTimedOut)) {
      parker_.park();
    }
  }
  withdraw();
  return outcome();
}

bool Waiter::suspend() noexcept {
  ContextState* const state = ContextAccess::state(ctx_);
  if (state != nullptr && !ContextAccess::add(*state, hook_)) end_with_context();
  if (needs_timer_ && !ctx_.clock().arm(deadline_, ctx_.deadline())) claim_and_wake(kTimedOut);
  return gate_.exchange(Gate::kOpen, std::memory_order_acq_rel) != Gate::kWoken;  // W1
}

Waiter::Outcome Waiter::resume() noexcept {
  withdraw();
  return outcome();
}

void Waiter::withdraw() noexcept {
  if (needs_timer_) ctx_.clock().disarm(deadline_);
  if (ContextState* const state = ContextAccess::state(ctx_)) ContextAccess::remove(*state, hook_);
}

void WakeList::wake_several() noexcept {
  const InlineBatch batch;  // what the first one does may be to destroy the second
  for (WaitNode* node = first_; node != nullptr;) {
    WaitNode* const next = node->next;  // read first: the node goes with its waiter
    node->waiter->wake();
    node = next;
  }
  first_ = last_ = nullptr;
}

void WaitList::claim_all(Waiter::Outcome outcome, WakeList& wake) noexcept {
  while (WaitNode* const node = pop()) {
    if (node->waiter->claim(outcome)) wake.push(*node);
  }
}

OpStatus to_op_status(Waiter::Outcome outcome) noexcept {
  switch (outcome) {
    case Waiter::kTimedOut:
      return OpStatus::kTimedOut;
    case Waiter::kCancelled:
    case Waiter::kAbandoned:
      return OpStatus::kCancelled;
    case Waiter::kClosed:
      return OpStatus::kClosed;
    default:
      return OpStatus::kOk;
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
