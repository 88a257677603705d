// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Timers in the order of their deadlines.

#include <cstddef>
#include <cstdint>
#include <mutex>

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/callback_gate.hpp"
#include "penstock/core/detail/pairing_heap.hpp"
#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// A pairing heap with a mutex: arming and disarming cost no memory, so neither can fail. Arming is O(1), firing and
/// disarming O(log n) amortised.
///
/// Threads: any member, from any thread. Callbacks run without the mutex; several threads may fire at once, but not the
/// same timer.
class TimerQueue {
 public:
  TimerQueue() = default;
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;

  enum class Added : std::uint8_t { kQueued, kFirst, kNever };

  /// Queues `timer`; kFirst says that nothing is due before it, kNever that `when` is the end of time. The timer may
  /// have fired, and be gone, when this returns.
  Added add(Timer& timer, TimePoint when) noexcept;

  /// The same, unless `when` has come on `clock`: then it returns false. Whoever moves that clock and fires what is due
  /// afterwards either finds the timer here, or has moved the clock before it is read, under the mutex.
  bool add_unless_due(Timer& timer, TimePoint when, const Clock& clock) noexcept;

  /// Takes `timer` out and waits until no other thread runs its callback.
  void remove(Timer& timer) noexcept;

  /// Calls the earliest timer that is due at `now`; returns false if none is.
  /// Blocks: while another thread runs that timer's callback, which has armed it again.
  bool fire_one(TimePoint now) noexcept;

  /// The earliest deadline; `TimePoint::max()` if there is none.
  [[nodiscard]] TimePoint next() const noexcept;

  [[nodiscard]] std::size_t size() const noexcept;

 private:
  struct Sooner {
    bool operator()(const Timer& a, const Timer& b) const noexcept {
      return a.when_ != b.when_ ? a.when_ < b.when_ : a.sequence_ < b.sequence_;
    }
  };
  void push(Timer& timer, TimePoint when) noexcept;

  mutable world::Mutex mutex_;                         // leaf: nothing else is locked while it is held
  PairingHeap<Timer, &Timer::links_, Sooner> timers_;  // guarded by mutex_, as all below
  std::uint64_t next_sequence_ = 0;
  CallbackGate gate_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
