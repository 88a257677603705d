// SPDX-License-Identifier: MIT

// The line of a slot queue: who takes a slot, and who waits for one.

#include "penstock/core/detail/elapsed.hpp"
#include "penstock/exec/detail/slot_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void SlotCore::lend(SlotNode& node) noexcept {
  node.place_ = Place::kLeased;
  if (times_leases_) node.since_ = settings_.clock->recent();
  ++counts_.leased;
  ++counts_.acquired;
  ++shares_;  // the lease's
}

SlotNode* SlotCore::try_take() noexcept {
  const SpinLockGuard lock(lock_);
  SlotNode* const node = top_;
  if (node == nullptr) return nullptr;
  unlink(*node);
  lend(*node);
  if (times_leases_) add_latency(SlotPhase::kWaiter, Duration::zero());
  return node;
}

bool SlotCore::take(SlotWait& wait, const Context& ctx) {
  if (!may_wait(wait, ctx)) return false;
  if (!ctx.can_end()) return wait_in_line<EndlessWaiter>(wait);
  return wait_in_line<Waiter>(wait, ctx);
}

template <class Kind, class... Ctx>
bool SlotCore::wait_in_line(SlotWait& wait, const Ctx&... ctx) {
  Kind waiter(ctx...);
  WaitNode node(waiter, &wait);
  if (join(wait, node)) leave(wait, node, waiter.wait());
  return wait.is_lent();
}

void SlotCore::refuse_exhausted(SlotWait& wait) noexcept {
  const SpinLockGuard lock(lock_);
  describe(wait, closed_ ? SlotWait::Why::kClosed : SlotWait::Why::kExhausted);
}

bool SlotCore::may_wait(SlotWait& wait, const Context& ctx) noexcept {
  const OpStatus status = ctx.status();
  const SpinLockGuard lock(lock_);
  if (closed_) {
    describe(wait, SlotWait::Why::kClosed);
  } else if (status == OpStatus::kOk) {
    return true;
  } else {
    describe(wait, status == OpStatus::kTimedOut ? SlotWait::Why::kTimedOut : SlotWait::Why::kCancelled);
  }
  return false;
}

bool SlotCore::join(SlotWait& wait, WaitNode& node) noexcept {
  Effects effects;
  {
    const SpinLockGuard lock(lock_);
    if (closed_) {
      describe(wait, SlotWait::Why::kClosed);
      return false;
    }
    if (SlotNode* const slot = top_) {
      unlink(*slot);
      lend(*slot);
      if (times_leases_) add_latency(SlotPhase::kWaiter, Duration::zero());
      wait.lent_ = slot;
      return false;
    }
    wait.node_ = &node;
    wait.since_ = now();
    wait.has_share_ = true;
    ++shares_;
    ++counts_.waiting;
    ++counts_.waits;
    line_.push(node);
    list_lacking(wait, false);
    want_launch(effects);
  }
  apply(effects);
  return true;
}

bool SlotCore::serve(SlotNode& slot, Effects& effects) noexcept {
  WaitNode* const node = line_.claim_first();
  if (node == nullptr) return false;
  SlotWait& wait = *static_cast<SlotWait*>(node->slot);
  const Duration waited = elapsed(wait.since_, now());
  counts_.wait.record(waited);
  add_latency(SlotPhase::kWaiter, waited);
  take_off(wait);
  lend(slot);
  wait.lent_ = &slot;
  wait.has_share_ = false;
  --shares_;  // not the last one: there is that of the lease
  ++counts_.handed_over;
  effects.wake.push(*node);
  return true;
}

void SlotCore::take_off(SlotWait& wait) noexcept {
  wait.node_ = nullptr;
  --counts_.waiting;
  if (wait.lacks_start_) unlist_lacking(wait);
  if (wait.start_ != nullptr) std::exchange(wait.start_, nullptr)->asker = nullptr;
}

void SlotCore::leave(SlotWait& wait, WaitNode& node, Waiter::Outcome outcome) noexcept {
  using Why = SlotWait::Why;
  if (outcome == Waiter::kServed) return;
  Effects effects;
  {
    const SpinLockGuard lock(lock_);
    if (!closed_) wait.waited_ = elapsed(wait.since_, now());  // else the clock may be gone
    add_latency(SlotPhase::kWaiter, wait.waited_);
    line_.remove(node);
    if (wait.node_ != nullptr) take_off(wait);
    describe(wait, outcome == SlotWait::kStartFailed ? Why::kFailed
                   : outcome == Waiter::kTimedOut    ? Why::kTimedOut
                   : outcome == Waiter::kClosed      ? Why::kClosed
                                                     : Why::kCancelled);
    want_launch(effects);
  }
  apply(effects);
}

void SlotCore::describe(SlotWait& wait, SlotWait::Why why) noexcept {
  using Why = SlotWait::Why;
  wait.why_ = why;
  wait.leased_ = counts_.leased;
  wait.starting_ = counts_.starting + phase(SlotPhase::kStarter).entered_now;
  wait.waiting_ = counts_.waiting;
  ++(why == Why::kTimedOut    ? counts_.timed_out
     : why == Why::kCancelled ? counts_.cancelled
     : why == Why::kClosed    ? counts_.unavailable
     : why == Why::kFailed    ? counts_.failed
                              : counts_.exhausted);
}

SlotWait* SlotCore::first_in_line() const noexcept {
  const WaitNode* const node = line_.front();
  return node == nullptr ? nullptr : static_cast<SlotWait*>(node->slot);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
