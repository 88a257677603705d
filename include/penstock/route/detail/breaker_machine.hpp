// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The decisions of a circuit breaker: calls, outcomes and times go in, permits and changes of state come out. It knows
/// no clock, no lock and no listener.
///
/// What time alone brings about happens when it is due, whether or not anybody looks: each event first makes the
/// changes that were due before it. So when the machine is asked has no influence on what it decides. Where the clock
/// steps back, no wait becomes longer than twice its length, and a time window goes on from there.
///
///   kClosed     an outcome fills the window to minimum_calls or more, and a rate reaches its threshold -> kOpen
///   kOpen       acquire, later than open_until -> kHalfOpen, and the caller is the first probe
///   kHalfOpen   as soon as the probes still to come cannot change the verdict -> kOpen or kClosed;
///               later than half_open_max_wait after the first probe -> kOpen
///
/// In kHalfOpen a caller is let through while probes on their way + recorded outcomes < half_open_permits.
///
/// A success that is not slow lowers both rates. So it can open the breaker only where it makes the calls enough, and
/// not while none in the window failed or was slow: at all other times it matters how many of them there were, but not
/// in which order they came. The driver counts those without the machine, and hands in their number before the next
/// event for which it matters.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/random_unit.hpp"
#include "penstock/route/circuit_breaker.hpp"
#include "penstock/route/detail/outcome_window.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// What an event brought about, in order: time can bring about two changes before the one of the event itself.
class BreakerTransitions {
 public:
  void clear() noexcept { size_ = 0; }
  void push(const BreakerTransition& transition) noexcept { transitions_[size_++] = transition; }
  [[nodiscard]] auto begin() const noexcept { return transitions_.begin(); }
  [[nodiscard]] auto end() const noexcept { return transitions_.begin() + static_cast<std::ptrdiff_t>(size_); }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

 private:
  std::array<BreakerTransition, 4> transitions_;
  std::size_t size_ = 0;
};

/// Threads: one at a time.
class BreakerMachine {
 public:
  static constexpr std::uint64_t kRefused = 0;

  /// `options` must be valid. `seed` decides the jitter.
  BreakerMachine(std::shared_ptr<const CircuitBreakerOptions> options, TimePoint now, std::uint64_t seed = 1);

  /// A call wants to go. Returns the generation of its permit, or kRefused.
  std::uint64_t acquire(TimePoint now) noexcept;
  /// A permit of `generation` reports. `slow`: the call took longer than options.slow_call. `code`: of a failure.
  void report(TimePoint now, std::uint64_t generation, CallOutcome outcome, bool slow,
              absl::StatusCode code = absl::StatusCode::kUnknown) noexcept;
  /// Permits of this generation have reported `count` successes that were not slow, each before the time that
  /// `successes_may_wait_until()` returned after the last other event.
  void add_successes(std::uint64_t count) noexcept;
  /// Until when successes of this generation that are not slow may be counted elsewhere, to be handed in before the
  /// next event but an acquisition, `abandon` and a report of kIgnored, and before `stats`. TimePoint::min(): each must
  /// be reported.
  [[nodiscard]] TimePoint successes_may_wait_until(TimePoint now) const noexcept;
  /// A permit of `generation` went without a report.
  void abandon(TimePoint now, std::uint64_t generation) noexcept;
  /// An operator wants it to be kClosed, as when new, kForcedOpen, kDisabled or kMetricsOnly.
  void set(TimePoint now, BreakerState state) noexcept;
  /// From now on `options` count, which must be valid, and `window`, an empty one that was made from them; both come
  /// back with what was there before, or, if the windows are alike, with what was brought. A wait goes on as if it had
  /// begun with these options, but nothing comes about before `now`. What is recorded is kept as far as it fits, and
  /// judged at once. Cost: O(the smaller window); frees and allocates nothing.
  void set_options(TimePoint now, std::shared_ptr<const CircuitBreakerOptions>& options,
                   OutcomeWindow& window) noexcept;
  /// Nothing happened, but time has passed.
  void advance(TimePoint now) noexcept;

  /// What the last of these events brought about.
  [[nodiscard]] const BreakerTransitions& changes() const noexcept { return changes_; }

  [[nodiscard]] const std::shared_ptr<const CircuitBreakerOptions>& options() const noexcept { return options_; }
  [[nodiscard]] BreakerState state() const noexcept { return phase_.state; }
  [[nodiscard]] std::uint64_t generation() const noexcept { return phase_.generation; }
  /// The first time at which `advance` changes the state; TimePoint::max() if time alone will not.
  [[nodiscard]] TimePoint due() const noexcept;

  /// Why `acquire` refuses at `now`, if it does.
  [[nodiscard]] BreakerRefusal refusal(TimePoint now) const noexcept;
  /// All but the transitions and what else the driver counts.
  [[nodiscard]] CircuitBreakerStats stats(TimePoint now) const noexcept;

  /// How long the breaker stays open for the n-th time in a row, without jitter.
  static Duration wait(const CircuitBreakerOptions& options, std::uint32_t attempt) noexcept;

 private:
  // All but the window; small, so that an observer can let a copy go on to its own now.
  struct Phase {
    BreakerState state = BreakerState::kClosed;
    BreakerReason reason = BreakerReason::kOperator;  // of the last opening
    std::uint32_t attempts = 0;
    std::uint64_t generation = 1;
    RandomUnit random{0};
    TimePoint since{};
    double draw = 0;  // kOpen: what the jitter made of the wait, in [0, 1)
    Duration wait{};  // kOpen: how long it is
    TimePoint open_until{};
    TimePoint first_probe{};      // once half_open_until is set
    TimePoint half_open_until{};  // TimePoint::max() until the first probe goes
    bool probed = false;          // kHalfOpen: the first probe has gone
    std::size_t probes_out = 0;   // kHalfOpen: on their way
    CallTally probes;             // kHalfOpen: recorded outcomes
    CallTally evidence;           // what the state before had recorded or, if that did not record, had found
  };

  // Those with a phase write to `changes` unless that is null.
  void let_pass(Phase& phase, TimePoint now, BreakerTransitions* changes) const noexcept;
  void open(Phase& phase, TimePoint at, BreakerReason reason, BreakerTransitions* changes) const noexcept;
  void half_open(Phase& phase, TimePoint at, BreakerTransitions* changes) const noexcept;
  void enter(Phase& phase, TimePoint at, BreakerState to, BreakerReason reason, Duration wait,
             BreakerTransitions* changes) const noexcept;
  void close(TimePoint at, BreakerReason reason) noexcept;

  void settle_rules() noexcept;
  [[nodiscard]] Duration jittered(Duration wait, double draw) const noexcept;
  void judge_window(TimePoint now) noexcept;
  void judge_probes(TimePoint now) noexcept;
  [[nodiscard]] bool holds_permit(std::uint64_t generation) noexcept;
  void give_back() noexcept;

  [[nodiscard]] Phase phase_at(TimePoint now) const noexcept;
  [[nodiscard]] CallTally tally(const Phase& phase, TimePoint now) const noexcept;
  [[nodiscard]] BreakerRefusal refusal(const Phase& phase, TimePoint now) const noexcept;

  std::shared_ptr<const CircuitBreakerOptions> options_;
  std::uint64_t enough_calls_ = 0;   // so many in the window, and the rates mean something
  std::uint64_t enough_probes_ = 0;  // so many outcomes, and the verdict is there
  OutcomeWindow window_;
  Phase phase_;
  BreakerTransitions changes_;
  CircuitBreakerStats counts_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
