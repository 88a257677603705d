// SPDX-License-Identifier: MIT
#include "penstock/core/manual_clock.hpp"

#include <algorithm>

#include "penstock/core/detail/timer_queue.hpp"

namespace penstock::inline PENSTOCK_ABI {

namespace {

// A deadline at `TimePoint::max()` never comes, so neither does that time.
constexpr TimePoint kLast = TimePoint::max() - Duration(1);

}  // namespace

ManualClock::ManualClock(TimePoint start)
    : timers_(std::make_unique<detail::TimerQueue>()), now_(std::min(start, kLast).time_since_epoch().count()) {}

ManualClock::~ManualClock() = default;

TimePoint ManualClock::now() const noexcept {
  return TimePoint(Duration(now_.load(std::memory_order_acquire)));  // T1 acquire
}

void ManualClock::advance(Duration duration) noexcept {
  Duration left = std::max(duration, Duration::zero());
  for (;;) {
    // One step, to the next deadline or as far as is left. Other threads may take theirs in between.
    const TimePoint next = timers_->next();
    const TimePoint from = now();
    const TimePoint to = std::clamp(next, from, std::min(saturated_add(from, left), kLast));
    Duration::rep expected = from.time_since_epoch().count();
    if (!now_.compare_exchange_strong(expected, to.time_since_epoch().count(), std::memory_order_release,  // T1 release
                                      std::memory_order_relaxed)) {
      continue;
    }
    left -= to - from;
    // A timer that is queued after the last look here is queued after the move: see TimerQueue::add_unless_due().
    if (!timers_->fire_one(to) && (left == Duration::zero() || to == kLast)) return;
  }
}

std::size_t ManualClock::armed() const noexcept { return timers_->size(); }

bool ManualClock::arm(Timer& timer, TimePoint when) noexcept { return timers_->add_unless_due(timer, when, *this); }

void ManualClock::disarm(Timer& timer) noexcept { timers_->remove(timer); }

}  // namespace penstock::inline PENSTOCK_ABI
