// SPDX-License-Identifier: MIT
#include "penstock/core/mutex.hpp"

namespace penstock::inline PENSTOCK_ABI {

OpStatus CondVar::wait(Mutex& mutex, const Context& ctx) {
  detail::Waiter waiter(ctx);
  detail::WaitNode node(waiter, nullptr);
  {
    MutexLock lock(mutex_);
    waiters_.push(node);
  }
  mutex.unlock();
  const detail::Waiter::Outcome outcome = waiter.wait();
  if (outcome < detail::Waiter::kServed) {
    MutexLock lock(mutex_);
    waiters_.remove(node);
  }
  mutex.lock();
  return detail::to_op_status(outcome);
}

void CondVar::notify_one() noexcept {
  detail::WaitNode* node = nullptr;
  {
    MutexLock lock(mutex_);
    node = waiters_.claim_first();
  }
  if (node != nullptr) node->waiter->wake();
}

void CondVar::notify_all() noexcept {
  detail::WakeList wake;
  {
    MutexLock lock(mutex_);
    waiters_.claim_all(detail::Waiter::kServed, wake);
  }
  wake.wake_all();
}

}  // namespace penstock::inline PENSTOCK_ABI
