// SPDX-License-Identifier: MIT
#include "penstock/core/manual_clock.hpp"

#include <algorithm>

#include "penstock/core/detail/timer_queue.hpp"

namespace penstock::inline PENSTOCK_ABI {

ManualClock::ManualClock(TimePoint start)
    : timers_(std::make_unique<detail::TimerQueue>()), now_(start.time_since_epoch().count()) {}

ManualClock::~ManualClock() = default;

TimePoint ManualClock::now() const noexcept {
  return TimePoint(Duration(now_.load(std::memory_order_acquire)));  // T1 acquire
}

void ManualClock::advance(Duration duration) noexcept {
  const TimePoint target = saturated_add(now(), std::max(duration, Duration::zero()));
  for (;;) {
    const TimePoint next = timers_->next();
    if (next > target || next == TimePoint::max()) break;  // the end of time is also the target of a long advance
    move_to(next);
    timers_->fire_one(next);
  }
  move_to(target);
  // A timer queued between the last look and the move is due: look again. One that is queued after this look finds the
  // queue's mutex released after the move, sees the new time, and takes itself out: see arm().
  while (timers_->fire_one(target)) {
  }
}

std::size_t ManualClock::armed() const noexcept { return timers_->size(); }

bool ManualClock::arm(Timer& timer, TimePoint when) noexcept {
  if (when <= now()) return false;
  timers_->add(timer, when);
  if (when > now()) return true;
  // Time moved over `when` while the timer was queued. Either the advance found it, and it has fired, or it is taken
  // out again here and reported as due.
  return !timers_->withdraw(timer);
}

void ManualClock::disarm(Timer& timer) noexcept { timers_->remove(timer); }

void ManualClock::move_to(TimePoint when) noexcept {
  Duration::rep current = now_.load(std::memory_order_relaxed);
  const Duration::rep wanted = when.time_since_epoch().count();
  while (current < wanted && !now_.compare_exchange_weak(current, wanted, std::memory_order_release,  // T1 release
                                                         std::memory_order_relaxed)) {
  }
}

}  // namespace penstock::inline PENSTOCK_ABI
