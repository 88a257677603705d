// SPDX-License-Identifier: MIT
#include "penstock/core/detail/timer_queue.hpp"

#include "penstock/core/detail/check.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

TimerQueue::Added TimerQueue::add(Timer& timer, TimePoint when) noexcept {
  if (when == TimePoint::max()) return Added::kNever;
  std::lock_guard lock(mutex_);
  push(timer, when);
  return timers_.first() == &timer ? Added::kFirst : Added::kQueued;
}

bool TimerQueue::add_unless_due(Timer& timer, TimePoint when, const Clock& clock) noexcept {
  if (when == TimePoint::max()) return true;
  std::lock_guard lock(mutex_);
  if (when <= clock.now()) return false;
  push(timer, when);
  return true;
}

void TimerQueue::remove(Timer& timer) noexcept {
  std::unique_lock lock(mutex_);
  do {
    if (timers_.contains(timer)) timers_.remove(timer);
  } while (gate_.await(lock, &timer));  // the callback may have armed it again while we waited
}

bool TimerQueue::fire_one(TimePoint now) noexcept {
  std::unique_lock lock(mutex_);
  Timer* first = nullptr;
  do {
    first = timers_.first();
    if (first == nullptr || first->when_ > now) return false;
  } while (gate_.await(lock, first));  // another timer may have become the first while we waited
  Timer& timer = *first;
  timers_.remove(timer);
  CallbackGate::Running running(gate_, &timer);
  lock.unlock();
  timer.fire_(timer);  // may destroy the timer
  lock.lock();
  running.leave(lock);
  return true;
}

TimePoint TimerQueue::next() const noexcept {
  std::lock_guard lock(mutex_);
  return timers_.empty() ? TimePoint::max() : timers_.first()->when_;
}

std::size_t TimerQueue::size() const noexcept {
  std::lock_guard lock(mutex_);
  return timers_.size();
}

void TimerQueue::push(Timer& timer, TimePoint when) noexcept {
  PENSTOCK_CHECK(!timers_.contains(timer), "a timer is armed once at a time");
  timer.when_ = when;
  timer.sequence_ = next_sequence_++;
  timers_.push(timer);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
