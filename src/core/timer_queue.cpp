// SPDX-License-Identifier: MIT
#include "penstock/core/detail/timer_queue.hpp"

#include <utility>

#include "penstock/core/detail/check.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

TimerQueue::Added TimerQueue::add(Timer& timer, TimePoint when) noexcept {
  if (when == TimePoint::max()) return Added::kNever;
  std::lock_guard lock(mutex_);
  link(timer, when);
  return root_ == &timer ? Added::kFirst : Added::kQueued;
}

bool TimerQueue::add_unless_due(Timer& timer, TimePoint when, const Clock& clock) noexcept {
  if (when == TimePoint::max()) return true;
  std::lock_guard lock(mutex_);
  if (when <= clock.now()) return false;
  link(timer, when);
  return true;
}

void TimerQueue::remove(Timer& timer) noexcept {
  std::unique_lock lock(mutex_);
  do {
    if (timer.queued_) unlink(timer);
  } while (gate_.await(lock, &timer));  // the callback may have armed it again while we waited
}

bool TimerQueue::fire_one(TimePoint now) noexcept {
  std::unique_lock lock(mutex_);
  do {
    if (root_ == nullptr || root_->when_ > now) return false;
  } while (gate_.await(lock, root_));  // another timer may have become the first while we waited
  Timer& timer = *root_;
  unlink(timer);
  CallbackGate::Running running(gate_, &timer);
  lock.unlock();
  timer.fire_(timer);  // may destroy the timer
  lock.lock();
  running.leave(lock);
  return true;
}

TimePoint TimerQueue::next() const noexcept {
  std::lock_guard lock(mutex_);
  return root_ == nullptr ? TimePoint::max() : root_->when_;
}

std::size_t TimerQueue::size() const noexcept {
  std::lock_guard lock(mutex_);
  return size_;
}

bool TimerQueue::before(const Timer& a, const Timer& b) noexcept {
  return a.when_ != b.when_ ? a.when_ < b.when_ : a.sequence_ < b.sequence_;
}

Timer* TimerQueue::meld(Timer* a, Timer* b) noexcept {
  if (a == nullptr) return b;
  if (b == nullptr) return a;
  if (before(*b, *a)) std::swap(a, b);
  // b becomes the eldest child of a.
  b->next_ = a->child_;
  b->previous_ = a;
  if (a->child_ != nullptr) a->child_->previous_ = b;
  a->child_ = b;
  return a;
}

Timer* TimerQueue::meld_siblings(Timer* first) noexcept {
  // The two passes that give the heap its bound: pairs from left to right, then the pairs from right to left.
  Timer* pairs = nullptr;  // a stack through next_
  while (first != nullptr) {
    Timer* const a = first;
    Timer* const b = a->next_;
    first = b == nullptr ? nullptr : b->next_;
    a->next_ = a->previous_ = nullptr;
    if (b != nullptr) b->next_ = b->previous_ = nullptr;
    Timer* const pair = meld(a, b);
    pair->next_ = pairs;
    pairs = pair;
  }
  Timer* root = nullptr;
  while (pairs != nullptr) {
    Timer* const pair = pairs;
    pairs = pair->next_;
    pair->next_ = nullptr;
    root = meld(root, pair);
  }
  return root;
}

void TimerQueue::link(Timer& timer, TimePoint when) noexcept {
  PENSTOCK_CHECK(!timer.queued_, "a timer is armed once at a time");
  timer.when_ = when;
  timer.sequence_ = next_sequence_++;
  timer.child_ = timer.next_ = timer.previous_ = nullptr;
  timer.queued_ = true;
  ++size_;
  root_ = meld(root_, &timer);
}

void TimerQueue::unlink(Timer& timer) noexcept {
  Timer* const orphans = meld_siblings(timer.child_);
  timer.child_ = nullptr;
  if (&timer == root_) {
    root_ = orphans;
  } else {
    (timer.previous_->child_ == &timer ? timer.previous_->child_ : timer.previous_->next_) = timer.next_;
    if (timer.next_ != nullptr) timer.next_->previous_ = timer.previous_;
    timer.next_ = timer.previous_ = nullptr;
    root_ = meld(root_, orphans);
  }
  timer.queued_ = false;
  --size_;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
