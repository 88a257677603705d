// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a rate limiter is: its machine, a lock, the line, and the timer of the line.
///
/// The word. With kGcra the machine is one number, which is kept in an atomic word, so that who comes can take from it
/// with one compare-exchange. Its low bit closes it: while the bit is set only the holder of the lock changes anything.
///
///     open    nobody waits; takes are compare-exchanges of the word
///     shut    a thread has the lock; or somebody is in line; or the algorithm is kTokenBucket; or it was closed.
///             The machine has the number, and the word is not looked at but for the bit.
///
/// The line. An acquire is listed with what it asks for. Whoever has the lock serves first those at the front whose
/// tokens have come in, so nobody overtakes, even where the timer is late. The timer is set for the first in line, or
/// sooner, by one keeper at a time, without the lock, since disarming waits for the callback. It is claimed in the
/// critical section that listed somebody: the destructor waits for the keeper, as the one who was listed may have been
/// served, and have gone with the limiter's last user, while the keeper is at work.
///
/// Who is woken may destroy the limiter. So that is the last thing that any of these does, and touches nothing of it.

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/detail/cache_padded.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/detail/spin_lock.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/op_status.hpp"
#include "penstock/metrics/counter.hpp"
#include "penstock/route/detail/rate_machine.hpp"
#include "penstock/route/rate_limiter_options.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// One acquire that waits: what it asks for, and where its refusal goes. The owner's, but for what says otherwise.
struct RateWait {
  std::uint64_t n = 0;
  TimePoint since{};  // guarded by the core's lock
};

class RateCore {
 public:
  /// Throws: std::invalid_argument.
  explicit RateCore(RateLimiterOptions given);
  RateCore(const RateCore&) = delete;
  RateCore& operator=(const RateCore&) = delete;
  ~RateCore();

  /// `why` may be null, here and below.
  bool try_acquire(std::uint64_t n, RateRefusal* why) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  OpStatus acquire(const Context& ctx, std::uint64_t n, RateRefusal* why) ABSL_LOCKS_EXCLUDED(lock_);

  // The parts of `acquire`.

  /// What there is to say without waiting, if there is anything. Throws: what `Clock::start_timers` throws.
  std::optional<OpStatus> begin(const Context& ctx, std::uint64_t n, RateRefusal* why) ABSL_LOCKS_EXCLUDED(lock_);
  /// Looks once more, and gets in line. Nothing: `node` is listed, and it and `wait` may be gone already.
  std::optional<OpStatus> join(RateWait& wait, WaitNode& node, const Context& ctx, RateRefusal* why) noexcept
      ABSL_LOCKS_EXCLUDED(lock_);
  /// For one whose wait has ended.
  OpStatus finish(const RateWait& wait, WaitNode& node, Waiter::Outcome outcome, RateRefusal* why) noexcept
      ABSL_LOCKS_EXCLUDED(lock_);

  absl::Status set_options(const RateLimiterOptions& options) ABSL_LOCKS_EXCLUDED(lock_);
  bool close() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  [[nodiscard]] bool is_closed() const noexcept ABSL_LOCKS_EXCLUDED(lock_);
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] RateLimiterOptions options() const ABSL_LOCKS_EXCLUDED(lock_);
  [[nodiscard]] RateLimiterStats stats() const noexcept ABSL_LOCKS_EXCLUDED(lock_);

 private:
  // Counted in this order, see `Counters::snapshot`; the reasons in theirs.
  enum Event : std::size_t { kTokens, kAcquired, kFirstReason };
  static constexpr std::size_t kReasons = 7;

  enum class Quick : std::uint8_t { kTaken, kRefused, kShut };

  /// What a look under the lock came to.
  struct Look {
    bool has_taken = false;
    std::optional<RateReason> refused;  ///< Nothing, without tokens: it helps to wait.
    Duration wait{};                    ///< Until the tokens would be there.
  };

  /// How long a wait may last. By default somebody who does not wait.
  struct Patience {
    Patience() = default;
    explicit Patience(const Context& ctx) noexcept;
    OpStatus ended = OpStatus::kOk;
    Duration left{};
  };

  struct LineTimer : Timer {
    explicit LineTimer(RateCore& owner) noexcept
        : Timer([](Timer& timer) noexcept { static_cast<LineTimer&>(timer).core.on_timer(); }), core(owner) {}
    RateCore& core;
  };

  /// What is left to do once the lock is released.
  struct Effects {
    WakeList wake;
    bool keeps_timer = false;
  };

  /// Holds the lock, with the word shut, for a scope.
  class ABSL_SCOPED_LOCKABLE Shut {
   public:
    explicit Shut(RateCore& core) noexcept ABSL_EXCLUSIVE_LOCK_FUNCTION(core.lock_);
    ~Shut() ABSL_UNLOCK_FUNCTION();
    Shut(const Shut&) = delete;
    Shut& operator=(const Shut&) = delete;

   private:
    RateCore& core_;
  };

  static constexpr std::uint64_t kShutBit = 1;

  [[nodiscard]] Ticks read_clock() const noexcept { return ticks_between(epoch_, clock_.now()); }
  Quick take_quickly(Ticks time, std::uint64_t n) noexcept;
  void shut() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void open() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void publish_rule() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  /// The time that counts, where the clock says `time`: it never steps back.
  Ticks pass(Ticks time) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  void apply(Effects& effects) noexcept ABSL_LOCKS_EXCLUDED(lock_) {
    if (effects.keeps_timer) keep_timer(effects);
    effects.wake.wake_all();
  }
  void count(std::uint64_t n) noexcept;
  OpStatus count(RateReason reason) noexcept;
  Look look(Ticks now, std::uint64_t n, const Patience& patience, Effects& effects) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void serve(Ticks now, Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void unlist(WaitNode& node) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  [[nodiscard]] Duration wait_for(Ticks now, std::uint64_t n) const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  /// Counts what a look came to.
  std::optional<OpStatus> conclude(const Look& seen, std::uint64_t n) noexcept;
  void explain(RateRefusal* why, RateReason reason, std::uint64_t n, Duration wait, Duration patience) const noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  [[nodiscard]] Ticks timer_due() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void want_timer(Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void keep_timer(Effects& effects) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  void on_timer() noexcept ABSL_LOCKS_EXCLUDED(lock_);

  const std::string name_;
  Clock& clock_;
  const TimePoint epoch_;

  struct Hot {
    // The number of kGcra, shifted by the bit; see above.
    //   R1  release in open() -> acquire in take_quickly(): the version that is looked at after the word is at least as
    //       new as the word.
    world::Atomic<std::uint64_t> word{0};
    // The time of the last take, for a clock that steps back. It orders nothing. Of two that write it at the same time
    // the earlier one may win: so much time a clock that then steps back may give twice.
    world::Atomic<Ticks> latest{0};
  };
  CachePadded<Hot> hot_;
  struct Published {
    // A copy of the machine's rule, changed under the lock while the word is shut. `version` is odd meanwhile.
    //   R2  release of each part, after the odd version -> acquire of each, before the second look at the version: who
    //       reads parts of two rules, or the word and the rule of different times, sees that the version has changed.
    world::Atomic<std::uint64_t> version{0};
    world::Atomic<std::uint64_t> per_second{0};  // the bits of a double
    world::Atomic<Ticks> cost_of_one{0};
    world::Atomic<Ticks> capacity{0};
  };
  CachePadded<Published> rule_;

  // A leaf. The short lock: under it there are a few numbers to compute, and those to claim whose tokens have come.
  mutable SpinLock lock_;
  RateMachine machine_ ABSL_GUARDED_BY(lock_);
  bool closed_ ABSL_GUARDED_BY(lock_) = false;
  std::size_t max_waiting_ ABSL_GUARDED_BY(lock_);
  WaitList line_ ABSL_GUARDED_BY(lock_);
  std::size_t waiting_ ABSL_GUARDED_BY(lock_) = 0;
  double queued_ ABSL_GUARDED_BY(lock_) = 0;  // tokens asked for by the line: whole numbers, far below 2^53
  LatencyHistogram::Snapshot wait_ ABSL_GUARDED_BY(lock_);

  static constexpr Ticks kNotArmed = ~Ticks{0};
  world::Atomic<bool> has_timers_{false};               // the clock's have been started; orders nothing
  LineTimer timer_;                                     // belongs to who has set timer_taken_
  bool timer_taken_ ABSL_GUARDED_BY(lock_) = false;     // by the keeper
  bool timer_fired_ ABSL_GUARDED_BY(lock_) = false;     // since it was last armed, perhaps
  Ticks armed_for_ ABSL_GUARDED_BY(lock_) = kNotArmed;  // by the keeper, if it has not fired
  WaitList destroyer_ ABSL_GUARDED_BY(lock_);           // waits for the keeper

  Counters<kFirstReason + kReasons> counters_;
};

/// One acquire of a coroutine.
class [[nodiscard]] RateAwaiter {
 public:
  RateAwaiter(RateCore& core, Context ctx, std::uint64_t n, RateRefusal* why)
      : core_(core), ctx_(std::move(ctx)), why_(why), place_{n, {}} {}
  RateAwaiter(const RateAwaiter&) = delete;
  RateAwaiter& operator=(const RateAwaiter&) = delete;
  ~RateAwaiter();

  bool await_ready() {
    result_ = core_.begin(ctx_, place_.n, why_);
    return result_.has_value();
  }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    wait_.emplace(ctx_, coroutine, &place_);
    return suspend();
  }
  OpStatus await_resume() noexcept;

 private:
  bool suspend() noexcept;

  RateCore& core_;
  const Context ctx_;
  RateRefusal* const why_;
  RateWait place_;
  std::optional<CoroutineWait> wait_;
  std::optional<OpStatus> result_;  // nothing while it is suspended
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
