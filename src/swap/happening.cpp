// SPDX-License-Identifier: MIT
#include "penstock/swap/detail/happening.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

bool Happening::has_happened() const noexcept {
  const SpinLockGuard lock(lock_);
  return happened_;
}

void Happening::happen() noexcept {
  WakeList wake;
  {
    const SpinLockGuard lock(lock_);
    happened_ = true;
    waiters_.claim_all(Waiter::kServed, wake);
  }
  wake.wake_all();
}

Waiter::Outcome Happening::wait(const Context& ctx) {
  if (has_happened()) return Waiter::kServed;
  Waiter waiter(ctx);
  WaitNode node(waiter, nullptr);
  if (!list(node)) return Waiter::kServed;
  const Waiter::Outcome outcome = waiter.wait();
  if (outcome < Waiter::kServed) unlist(node);
  return outcome;
}

bool Happening::list(WaitNode& node) noexcept {
  const SpinLockGuard lock(lock_);
  if (happened_) return false;
  waiters_.push(node);
  return true;
}

void Happening::unlist(WaitNode& node) noexcept {
  const SpinLockGuard lock(lock_);
  waiters_.remove(node);
}

bool HappeningWait::ready(const Happening& happening) noexcept {
  if (happening.has_happened()) return true;
  const OpStatus status = ctx_.status();
  if (status == OpStatus::kOk) return false;
  outcome_ = status == OpStatus::kTimedOut ? Waiter::kTimedOut : Waiter::kCancelled;
  return true;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
