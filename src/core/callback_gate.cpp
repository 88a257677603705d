// SPDX-License-Identifier: MIT
#include "penstock/core/detail/callback_gate.hpp"

#include "penstock/core/detail/sleep_observer.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

bool CallbackGate::await(std::unique_lock<world::Mutex>& lock, const void* subject) noexcept {
  const world::ThreadId self = world::this_thread_id();
  for (Running* running = running_; running != nullptr; running = running->next_) {
    if (running->subject_ != subject) continue;
    if (running->thread_ == self) return false;
    Awaiting me;
    me.next = running->awaiting_;
    running->awaiting_ = &me;
    lock.unlock();
    {
      const Asleep asleep;
      me.parker.park();
    }
    lock.lock();
    return true;
  }
  return false;
}

void CallbackGate::Running::leave(std::unique_lock<world::Mutex>& lock) noexcept {
  Running** link = &gate_.running_;
  while (*link != this) link = &(*link)->next_;
  *link = next_;
  if (awaiting_ == nullptr) return;
  lock.unlock();
  for (Awaiting* waiting = awaiting_; waiting != nullptr;) {
    Awaiting* const next = waiting->next;  // read first: the waiter goes as soon as it has its token
    waiting->parker.unpark();
    waiting = next;
  }
  lock.lock();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
