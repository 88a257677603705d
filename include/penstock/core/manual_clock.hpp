// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A clock that stands still until it is told to go on.

#include <cstddef>
#include <memory>

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// Time for tests and simulations: it moves only in `advance`, and whatever falls due on the way is called there, on
/// the calling thread, in the order of the deadlines. Nothing has to sleep to see a time-out.
///
///     ManualClock clock;
///     Context ctx = Context(clock).with_timeout(100ms);
///     ... a thread waits under ctx ...
///     clock.advance(100ms);      // it gets kTimedOut
///
/// A test that must not advance before the other thread waits can look at `armed()`.
///
/// Threads: any member, from any thread. Advances of several threads add up, and take their turns in small steps.
class ManualClock final : public Clock {
 public:
  /// Starts at `start`; not at the beginning of time, so that tests may step back from it.
  explicit ManualClock(TimePoint start = TimePoint(std::chrono::hours(1)));
  ~ManualClock() override;
  ManualClock(const ManualClock&) = delete;
  ManualClock& operator=(const ManualClock&) = delete;

  [[nodiscard]] TimePoint now() const noexcept override;

  /// Moves time on by `duration`. It stands at each timer's deadline while that timer is called, so a timer that arms
  /// itself again falls due again within the same advance. What a callback advances comes on top. A negative duration
  /// is none, and time stops just before `TimePoint::max()`, which as a deadline means for ever.
  void advance(Duration duration) noexcept;

  /// The number of timers that wait now: one for each waiting thread or coroutine with a deadline, and for each ticker.
  [[nodiscard]] std::size_t armed() const noexcept;

  void start_timers() override {}
  bool arm(Timer& timer, TimePoint when) noexcept override;
  void disarm(Timer& timer) noexcept override;

 private:
  const std::unique_ptr<detail::TimerQueue> timers_;
  // Nanoseconds since the epoch of TimePoint; only grows.
  //   T1  release in advance() -> acquire in now(): who sees the new time sees what was done before the advance.
  detail::world::Atomic<Duration::rep> now_;
};

}  // namespace penstock::inline PENSTOCK_ABI
