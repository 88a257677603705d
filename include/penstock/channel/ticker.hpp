// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Channels on which time arrives: once, from `after`, or again and again, from a `Ticker`.
///
///     Ticker beat(1s);
///     for (;;) {
///       select(on_receive(jobs, run), on_receive(beat.channel(), [&](TimePoint) { report(); }));
///     }
///
/// On a `ManualClock` the times arrive inside `advance`, in the order in which they fall due. On any clock they are
/// sent by the thread that runs its timers, which never waits for a receiver.

#include <chrono>

#include "penstock/channel/channel.hpp"
#include "penstock/core/clock.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// A channel that gets one value, once a time has passed: that at which it was sent. It stays open and empty after
/// that.
///
/// Threads: the channel, any. As for every channel, no operation on it may begin once the destructor has. The clock
/// must outlive this.
class [[nodiscard]] After : private Timer {
 public:
  /// The value comes when `duration` has passed on `clock`. Zero or less has passed already, and a NaN is zero: the
  /// value is there at once. `duration::max()`, and what reaches past the end of time, never passes.
  ///
  /// Throws: std::bad_alloc, or std::system_error if the clock needs a thread and cannot start it. Cost: one
  /// allocation.
  template <class Rep, class Period>
  explicit After(std::chrono::duration<Rep, Period> duration, Clock& clock = Clock::steady())
      : After(Wait{saturated(duration)}, clock) {}
  After(const After&) = delete;
  After& operator=(const After&) = delete;
  /// Calls it off, and closes the channel: who waits there gets kClosed. Blocks: while the clock is sending the value
  /// on another thread, and as the destructor of a channel does.
  ~After();

  /// Buffers one value, so that the time is there whenever somebody comes for it.
  [[nodiscard]] Channel<TimePoint>& channel() noexcept { return channel_; }

 private:
  struct Wait {
    Duration duration;
  };
  After(Wait wait, Clock& clock);

  void fire() noexcept;

  Clock& clock_;
  Channel<TimePoint> channel_{1};
};

/// `After(duration, clock)`, as Go writes it.
///
///     select(on_receive(answers, use), on_receive(after(5s).channel(), [](TimePoint) { give_up(); }));
template <class Rep, class Period>
After after(std::chrono::duration<Rep, Period> duration, Clock& clock = Clock::steady()) {
  return After(duration, clock);
}

/// A channel that gets the time again and again: the k-th tick falls due at start + k * period, however late the others
/// were. Its value is the time at which it was sent.
///
/// The channel holds one tick. A tick that finds it full is dropped, so a slow receiver gets no backlog, and a clock
/// that was late by several periods sends one tick for all of them and goes on in phase. A period that is shorter than
/// the clock can keep up with is thinned out in the same way.
///
///     Ticker ticker(100ms);
///     for (TimePoint now : ticker.channel()) poll(now);   // until somebody calls ticker.channel().close()
///
/// Closing the channel ends the ticker for good. Stopping it does not close the channel: who waits there goes on
/// waiting, as in Go, until a `reset` brings the next tick, or the destructor closes the channel and gives them
/// kClosed.
///
/// Threads: the channel and `stop`, any; `reset` and the destructor, one owner at a time. All of them also from a
/// coroutine that a tick resumes, on the inline executor too. As for every channel, no operation on it may begin once
/// the destructor has. The clock must outlive the ticker.
class Ticker : private Timer {
 public:
  /// Starts to tick; the first tick falls due after one `period`, and none ever with `duration::max()`.
  ///
  /// Throws: std::invalid_argument if `period`, in whole nanoseconds, is not above zero; std::bad_alloc;
  /// std::system_error if the clock needs a thread and cannot start it. Cost: one allocation; a tick costs none.
  template <class Rep, class Period>
  explicit Ticker(std::chrono::duration<Rep, Period> period, Clock& clock = Clock::steady())
      : Ticker(Start{saturated(period)}, clock) {}
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;
  /// Blocks: while the clock is sending a tick, and as the destructor of a channel does.
  ~Ticker();

  [[nodiscard]] Channel<TimePoint>& channel() noexcept { return channel_; }

  /// Ends the ticking. Once it has returned nobody gets a tick any more: one that nobody has received is taken back.
  ///
  /// Blocks: while the clock is sending a tick on another thread.
  void stop() noexcept;

  /// Starts anew, whether it was stopped or not: the next tick falls due one `period` from now. A tick of before that
  /// nobody has received is taken back.
  ///
  /// Blocks: as `stop` does. Throws: std::invalid_argument as the constructor; the ticker goes on as it was then.
  template <class Rep, class Period>
  void reset(std::chrono::duration<Rep, Period> period) {
    restart(saturated(period));
  }

 private:
  struct Start {
    Duration period;
  };
  Ticker(Start start, Clock& clock);

  void restart(Duration period);
  void start() noexcept;
  void arm_next() noexcept;
  void tick() noexcept;

  Clock& clock_;
  // Written while the timer is not armed, and by its callback before it arms it again: the clock passes them on.
  Duration period_;
  TimePoint due_{};  // the latest point of the phase that the timer was armed for; at first, the start
  Channel<TimePoint> channel_{1};
};

}  // namespace penstock::inline PENSTOCK_ABI
