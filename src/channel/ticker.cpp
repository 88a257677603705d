// SPDX-License-Identifier: MIT
#include "penstock/channel/ticker.hpp"

#include <algorithm>
#include <cstdint>
#include <stdexcept>

#include <fmt/format.h>

namespace penstock::inline PENSTOCK_ABI {
namespace {

Duration checked_period(Duration period) {
  if (period <= Duration::zero()) {
    throw std::invalid_argument(fmt::format("ticker: period must be at least 1 ns, got {} ns", period.count()));
  }
  return period;
}

/// The first of the points `due`, `due` + `period`, `due` + 2 * `period`, ... that lies after `now`, and after `due`.
TimePoint next_in_phase(TimePoint due, TimePoint now, Duration period) noexcept {
  if (period == Duration::max()) return TimePoint::max();
  now = std::max(now, due);
  // Unsigned, since they may be further apart than a Duration can say.
  const auto count = [](auto time) { return static_cast<std::uint64_t>(time.count()); };
  const std::uint64_t into_period = (count(now.time_since_epoch()) - count(due.time_since_epoch())) % count(period);
  return saturated_add(now, period - Duration(static_cast<Duration::rep>(into_period)));
}

}  // namespace

After::After(Wait wait, Clock& clock)
    : Timer([](Timer& timer) noexcept { static_cast<After&>(timer).fire(); }), clock_(clock) {
  const Duration duration = wait.duration;
  if (duration == Duration::max()) return;  // for ever, also where the time is below zero
  const TimePoint deadline = saturated_add(clock_.now(), duration);
  if (duration > Duration::zero()) clock_.start_timers();
  if (!clock_.arm(*this, deadline)) fire();
}

After::~After() { clock_.disarm(*this); }

void After::fire() noexcept {
  // The last step: whom it wakes may run inside the call, and destroy this object.
  static_cast<void>(channel_.try_send(clock_.now()));
}

Ticker::Ticker(Start start, Clock& clock)
    : Timer([](Timer& timer) noexcept { static_cast<Ticker&>(timer).tick(); }),
      clock_(clock),
      period_(checked_period(start.period)) {
  clock_.start_timers();
  this->start();
}

Ticker::~Ticker() { clock_.disarm(*this); }

void Ticker::stop() noexcept {
  clock_.disarm(*this);
  static_cast<void>(channel_.try_receive());
}

void Ticker::restart(Duration period) {
  checked_period(period);
  stop();
  period_ = period;
  start();
}

void Ticker::start() noexcept {
  due_ = clock_.now();
  arm_next();
}

void Ticker::arm_next() noexcept {
  // What falls due before the timer is armed is dropped. Where the period is shorter than a look at the clock, that
  // would go on for ever; so after a few tries it aims further ahead each time. Not at once: a clock that is moved by
  // hand has moved between two looks only if another thread has just advanced it, and then no tick may be skipped.
  constexpr int kExactTries = 8;
  Duration ahead = Duration::zero();
  for (int tries = 1;; ++tries) {
    due_ = next_in_phase(due_, saturated_add(clock_.now(), ahead), period_);
    if (clock_.arm(*this, due_)) return;
    if (tries >= kExactTries) ahead = ahead > Duration::max() / 2 ? Duration::max() : std::max(period_, 2 * ahead);
  }
}

void Ticker::tick() noexcept {
  if (channel_.is_closed()) return;
  const TimePoint now = clock_.now();
  arm_next();
  // The last step: whom it wakes may run inside the call, and reset, stop or destroy this ticker. The clock runs the
  // next tick only when this one has returned.
  static_cast<void>(channel_.try_send(TimePoint(now)));
}

}  // namespace penstock::inline PENSTOCK_ABI
