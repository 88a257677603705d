// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Where time comes from: every deadline of the library is a point on a `Clock`.

#include <chrono>
#include <cstdint>
#include <memory>
#include <ratio>
#include <type_traits>

#include "penstock/core/detail/pairing_heap.hpp"
#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI {

using Duration = std::chrono::nanoseconds;
/// A point on a monotonic clock. `TimePoint::max()` as a deadline means for ever.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;

/// `duration` in nanoseconds, held at the ends of the range instead of overflowing; a NaN is zero.
template <class Rep, class Period>
constexpr Duration saturated(std::chrono::duration<Rep, Period> duration) noexcept;

/// `from + duration`, held at the ends of time instead of overflowing.
constexpr TimePoint saturated_add(TimePoint from, Duration duration) noexcept;

namespace detail {
class TimerQueue;
}

/// A callback at a point in time; a node that lives with its owner and costs no allocation to arm.
///
/// Threads: one owner arms and disarms it; the callback runs on a thread of the clock, without a lock, never on two
/// threads at once. It may arm, disarm and destroy its own timer. All other timers of the clock wait for it: keep it
/// short. The owner disarms it before it goes, unless the callback has run.
class Timer {
 public:
  using Fire = void (*)(Timer&) noexcept;

  explicit Timer(Fire fire) noexcept : fire_(fire) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  friend class detail::TimerQueue;

  const Fire fire_;
  TimePoint when_{};
  std::uint64_t sequence_ = 0;      // first armed, first fired, among equal deadlines
  detail::HeapLinks<Timer> links_;  // guarded by its queue's mutex, as all of this
};

/// A monotonic clock that can call back. Time-outs, tickers and windows read it, so a test that hands in a
/// `ManualClock` decides what time it is.
///
/// Threads: any member, from any thread.
class Clock {
 public:
  virtual ~Clock() = default;

  [[nodiscard]] virtual TimePoint now() const noexcept = 0;

  /// A point at most `recent_lag()` before `now()`, and never after it, where a few milliseconds do not matter. (On a
  /// machine whose timer is held up for longer than that, it is older.)
  /// Cost: on the machine's clock about 5 ns, a fifth of `now()`.
  [[nodiscard]] virtual TimePoint recent() const noexcept { return now(); }
  [[nodiscard]] virtual Duration recent_lag() const noexcept { return Duration::zero(); }

  /// Makes sure that timers will fire. Called before the first `arm`, once is enough.
  /// Throws: std::system_error or std::bad_alloc if the clock needs a thread and cannot start it; it may be asked
  /// again.
  virtual void start_timers() = 0;

  /// Has `timer` called at `when`, or soon after; it may have been called, and be gone, before this returns. Returns
  /// false, and will not call, if `when` has come already; a timer for `TimePoint::max()` is never called. The timer
  /// must not be armed.
  virtual bool arm(Timer& timer, TimePoint when) noexcept = 0;

  /// Takes `timer` back. When this returns it is not armed and no other thread runs its callback.
  ///
  /// Blocks: while another thread runs the callback. From the callback itself it returns at once.
  virtual void disarm(Timer& timer) noexcept = 0;

  /// Whether a point on this clock is a point of the machine's steady clock, so that a thread may sleep until it.
  [[nodiscard]] virtual bool is_machine_time() const noexcept { return false; }

  /// The machine's steady clock, shared by all who ask for none. Its timer thread starts with the first timer that a
  /// coroutine or callback needs; threads that wait for a deadline sleep by themselves. It lives until the process
  /// ends. The first call allocates, and ends the process if it cannot.
  static Clock& steady() noexcept;
};

/// A steady clock with a timer thread of its own, for those who must share none.
class SteadyClock final : public Clock {
 public:
  SteadyClock();
  ~SteadyClock() override;
  SteadyClock(const SteadyClock&) = delete;
  SteadyClock& operator=(const SteadyClock&) = delete;

  [[nodiscard]] TimePoint now() const noexcept override { return detail::world::now(); }
  [[nodiscard]] TimePoint recent() const noexcept override { return detail::world::recent(); }
  [[nodiscard]] Duration recent_lag() const noexcept override { return detail::world::recent_lag(); }
  void start_timers() override;
  bool arm(Timer& timer, TimePoint when) noexcept override;
  void disarm(Timer& timer) noexcept override;
  [[nodiscard]] bool is_machine_time() const noexcept override { return true; }

 private:
  class TimerThread;

  const std::unique_ptr<TimerThread> timers_;
};

// --- implementation ---

template <class Rep, class Period>
constexpr Duration saturated(std::chrono::duration<Rep, Period> duration) noexcept {
  if constexpr (std::is_floating_point_v<Rep>) {
    if (duration.count() != duration.count()) return Duration::zero();  // std::isnan is not constexpr in C++20
  }
  // Where a long double has 64 bits of mantissa it holds every count of nanoseconds; where it has fewer, the end of the
  // range is rounded up to a power of two, and what compares less than that still fits.
  using Nanoseconds = std::chrono::duration<long double, std::nano>;
  const long double nanoseconds = std::chrono::duration_cast<Nanoseconds>(duration).count();
  if (nanoseconds >= static_cast<long double>(Duration::max().count())) return Duration::max();
  if (nanoseconds <= static_cast<long double>(Duration::min().count())) return Duration::min();
  // Integers are exact, unless the unit is such that the cast would have to multiply before it divides, and might
  // overflow on the way. Floating point would round once more, and might round up past the end.
  using Factor = std::ratio_divide<Period, std::nano>;
  if constexpr (std::is_integral_v<Rep> && (Factor::num == 1 || Factor::den == 1)) {
    return std::chrono::duration_cast<Duration>(duration);
  } else {
    return Duration(static_cast<Duration::rep>(nanoseconds));
  }
}

constexpr TimePoint saturated_add(TimePoint from, Duration duration) noexcept {
  if (duration >= Duration::zero()) {
    return from > TimePoint::max() - duration ? TimePoint::max() : from + duration;
  }
  // `min()` has no negative, so the room below is asked for by subtraction from the other side.
  return from.time_since_epoch() < Duration::min() - duration ? TimePoint::min() : from + duration;
}

}  // namespace penstock::inline PENSTOCK_ABI
