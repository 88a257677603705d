// SPDX-License-Identifier: MIT
#include "penstock/swap/detail/happening.hpp"

#include "penstock/core/detail/patience.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void Happening::happen() noexcept {
  WakeList wake;
  {
    const SpinLockGuard lock(lock_);
    happened_.store(true, std::memory_order_release);  // H1 release
    waiters_.claim_all(Waiter::kServed, wake);
  }
  wake.wake_all();
}

bool Happening::happen_to_threads() noexcept {
  WakeList wake;
  {
    const SpinLockGuard lock(lock_);
    if (has_coroutines_) return false;
    happened_.store(true, std::memory_order_release);  // H1 release
    waiters_.claim_all(Waiter::kServed, wake);
  }
  wake.wake_all();
  return true;
}

Waiter::Outcome Happening::wait(const Context& ctx) {
  if (has_happened()) return Waiter::kServed;
  for (Patience patience; patience.has_more();) {
    if (!has_happened()) continue;
    patience.paid();
    return Waiter::kServed;
  }
  Waiter waiter(ctx);
  WaitNode node(waiter, nullptr);
  if (!list(node, Who::kThread)) return Waiter::kServed;
  const Waiter::Outcome outcome = waiter.wait();
  if (outcome < Waiter::kServed) unlist(node);
  return outcome;
}

bool Happening::list(WaitNode& node, Who who) noexcept {
  const SpinLockGuard lock(lock_);
  if (happened_.load(std::memory_order_relaxed)) return false;
  waiters_.push(node);
  if (who == Who::kCoroutine) has_coroutines_ = true;
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
