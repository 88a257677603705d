// SPDX-License-Identifier: MIT
#include "penstock/route/detail/breaker_machine.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr Duration kTick{1};  // the waits end strictly after their time

double rate_pct(std::uint64_t part, std::uint64_t calls) noexcept {
  return 100.0 * static_cast<double>(part) / static_cast<double>(calls);
}

/// How long after `from` is `to`: zero if it is not after it.
Duration between(TimePoint from, TimePoint to) noexcept {
  if (to <= from) return Duration::zero();
  // The difference of two points may be more than a duration can hold, but never more than 2^64.
  const std::uint64_t ticks = static_cast<std::uint64_t>(to.time_since_epoch().count()) -
                              static_cast<std::uint64_t>(from.time_since_epoch().count());
  return Duration(static_cast<Duration::rep>(std::min(ticks, static_cast<std::uint64_t>(Duration::max().count()))));
}

/// The next number in [0, 1) of a generator with the state `state`: Vigna's SplitMix64.
double next_random(std::uint64_t& state) noexcept {
  state += 0x9E3779B97F4A7C15U;
  std::uint64_t mixed = state;
  mixed = (mixed ^ (mixed >> 30U)) * 0xBF58476D1CE4E5B9U;
  mixed = (mixed ^ (mixed >> 27U)) * 0x94D049BB133111EBU;
  mixed ^= mixed >> 31U;
  return static_cast<double>(mixed >> 11U) * 0x1.0p-53;
}

}  // namespace

BreakerMachine::BreakerMachine(const CircuitBreakerOptions& options, TimePoint now, std::uint64_t seed)
    : options_(options),
      enough_calls_(options.window == CircuitBreakerOptions::Window::kCount
                        ? std::min(options.minimum_calls, options.window_size)
                        : options.minimum_calls),
      enough_probes_(std::min(options.minimum_calls, options.half_open_permits)),
      window_(options.window, options.window_size, options.bucket) {
  phase_.since = now;
  phase_.random = seed;
}

std::uint64_t BreakerMachine::acquire(TimePoint now) noexcept {
  changes_.clear();
  let_pass(phase_, now, &changes_);
  switch (phase_.state) {
    case BreakerState::kClosed:
    case BreakerState::kDisabled:
    case BreakerState::kMetricsOnly:
      return phase_.generation;
    case BreakerState::kOpen:
      if (now <= phase_.open_until) break;
      half_open(phase_, now, &changes_);
      [[fallthrough]];
    case BreakerState::kHalfOpen:
      if (phase_.free_permits == 0) break;
      --phase_.free_permits;
      if (phase_.half_open_until == TimePoint::max()) {
        phase_.half_open_until = saturated_add(now, options_.half_open_max_wait);
      }
      return phase_.generation;
    case BreakerState::kForcedOpen:
      break;
  }
  ++counts_.not_permitted;
  return kRefused;
}

void BreakerMachine::report(TimePoint now, std::uint64_t generation, CallOutcome outcome, bool slow) noexcept {
  changes_.clear();
  let_pass(phase_, now, &changes_);
  if (!holds_permit(generation) || phase_.state == BreakerState::kDisabled) return;
  if (outcome == CallOutcome::kIgnored) {
    ++counts_.ignored;
    give_back();
    return;
  }
  const bool failed = outcome != CallOutcome::kSuccess;
  ++(failed ? counts_.failed : counts_.succeeded);
  if (slow) ++counts_.slow;
  if (phase_.state == BreakerState::kHalfOpen) {
    ++phase_.probes.calls;
    if (failed) ++phase_.probes.failed;
    if (slow) ++phase_.probes.slow;
    judge_probes(now);
    return;
  }
  window_.record(now, failed, slow);
  if (phase_.state == BreakerState::kClosed) judge_window(now);
}

bool BreakerMachine::report_success(std::uint64_t generation) noexcept {
  const bool by_count = options_.window == CircuitBreakerOptions::Window::kCount;
  if (phase_.state != BreakerState::kClosed || generation != phase_.generation || !by_count) return false;
  // It lowers the rates, so it can open the breaker only where it makes the calls enough.
  if (window_.tally({}).calls + 1 == enough_calls_) return false;
  changes_.clear();
  ++counts_.succeeded;
  window_.record({}, false, false);
  return true;
}

void BreakerMachine::abandon(TimePoint now, std::uint64_t generation) noexcept {
  changes_.clear();
  let_pass(phase_, now, &changes_);
  if (!holds_permit(generation)) return;
  ++counts_.abandoned;
  give_back();
}

void BreakerMachine::set(TimePoint now, BreakerState state) noexcept {
  changes_.clear();
  let_pass(phase_, now, &changes_);
  if (state == BreakerState::kClosed) {
    close(now, BreakerReason::kOperator);
    return;
  }
  enter(phase_, now, state, BreakerReason::kOperator, Duration::zero(), &changes_);
  if (state == BreakerState::kMetricsOnly) window_.clear();
}

void BreakerMachine::advance(TimePoint now) noexcept {
  changes_.clear();
  let_pass(phase_, now, &changes_);
}

TimePoint BreakerMachine::due() const noexcept {
  if (phase_.state == BreakerState::kHalfOpen) return saturated_add(phase_.half_open_until, kTick);
  if (phase_.state == BreakerState::kOpen && options_.auto_half_open) return saturated_add(phase_.open_until, kTick);
  return TimePoint::max();
}

BreakerRefusal BreakerMachine::refusal(TimePoint now) const noexcept { return refusal(phase_at(now), now); }

CircuitBreakerStats BreakerMachine::stats(TimePoint now) const noexcept {
  const Phase phase = phase_at(now);
  CircuitBreakerStats stats = counts_;
  stats.state = phase.state;
  stats.generation = phase.generation;
  stats.time_in_state = between(phase.since, now);
  stats.retry_after = refusal(phase, now).retry_after;
  stats.attempts = phase.attempts;
  stats.probes = probes_on_their_way(phase);
  stats.window = tally(phase, now);
  const bool judges_window = phase.state == BreakerState::kClosed || phase.state == BreakerState::kMetricsOnly;
  const std::uint64_t enough = judges_window                            ? enough_calls_
                               : phase.state == BreakerState::kHalfOpen ? enough_probes_
                                                                        : 1;
  if (stats.window.calls >= enough) {
    stats.failure_rate_pct = rate_pct(stats.window.failed, stats.window.calls);
    stats.slow_rate_pct = rate_pct(stats.window.slow, stats.window.calls);
  }
  return stats;
}

Duration BreakerMachine::wait(const CircuitBreakerOptions& options, std::uint32_t attempt) noexcept {
  using Nanoseconds = std::chrono::duration<long double, std::nano>;
  const auto growth = std::pow(static_cast<long double>(options.open_backoff), static_cast<long double>(attempt - 1));
  return std::min(saturated(Nanoseconds(options.open_for) * growth), options.open_for_max);
}

/// Makes the changes that time alone has brought about by `now`.
void BreakerMachine::let_pass(Phase& phase, TimePoint now, BreakerTransitions* changes) const noexcept {
  if (phase.state == BreakerState::kHalfOpen && now > phase.half_open_until) {
    open(phase, phase.half_open_until, BreakerReason::kProbesLost, changes);
  }
  // Half open without a probe lasts for ever, so there is no third change, however long ago all this was.
  if (phase.state == BreakerState::kOpen && options_.auto_half_open && now > phase.open_until) {
    half_open(phase, phase.open_until, changes);
  }
}

void BreakerMachine::open(Phase& phase, TimePoint at, BreakerReason reason,
                          BreakerTransitions* changes) const noexcept {
  if (phase.attempts != std::numeric_limits<std::uint32_t>::max()) ++phase.attempts;
  Duration wait_for = wait(options_, phase.attempts);
  if (options_.open_jitter > 0) {
    using Nanoseconds = std::chrono::duration<long double, std::nano>;
    const double kept = 1 - options_.open_jitter * next_random(phase.random);
    wait_for = std::max(saturated(Nanoseconds(wait_for) * static_cast<long double>(kept)), kTick);
  }
  enter(phase, at, BreakerState::kOpen, reason, wait_for, changes);
  phase.reason = reason;
  phase.open_until = saturated_add(at, wait_for);
}

void BreakerMachine::half_open(Phase& phase, TimePoint at, BreakerTransitions* changes) const noexcept {
  enter(phase, at, BreakerState::kHalfOpen, BreakerReason::kWaitOver, Duration::zero(), changes);
  phase.half_open_until = TimePoint::max();
  phase.free_permits = options_.half_open_permits;
  phase.probes = {};
}

void BreakerMachine::enter(Phase& phase, TimePoint at, BreakerState to, BreakerReason reason, Duration wait_for,
                           BreakerTransitions* changes) const noexcept {
  phase.evidence = tally(phase, at);
  ++phase.generation;
  if (phase.state != to) {
    if (changes != nullptr) {
      changes->push({phase.state, to, reason, at, phase.generation, phase.evidence, wait_for});
    }
    phase.state = to;
    phase.since = at;
  }
}

void BreakerMachine::close(TimePoint at, BreakerReason reason) noexcept {
  enter(phase_, at, BreakerState::kClosed, reason, Duration::zero(), &changes_);
  phase_.attempts = 0;
  window_.clear();
}

void BreakerMachine::judge_window(TimePoint now) noexcept {
  const CallTally seen = window_.tally(now);
  if (seen.calls < enough_calls_) return;
  if (rate_pct(seen.failed, seen.calls) >= options_.failure_rate_pct) {
    open(phase_, now, BreakerReason::kFailureRate, &changes_);
  } else if (rate_pct(seen.slow, seen.calls) >= options_.slow_rate_pct) {
    open(phase_, now, BreakerReason::kSlowRate, &changes_);
  }
}

void BreakerMachine::judge_probes(TimePoint now) noexcept {
  const CallTally& seen = phase_.probes;
  const std::uint64_t to_come = enough_probes_ - seen.calls;
  const auto reaches = [this](std::uint64_t part, double threshold) {
    return rate_pct(part, enough_probes_) >= threshold;
  };
  if (reaches(seen.failed, options_.failure_rate_pct)) {
    open(phase_, now, BreakerReason::kFailureRate, &changes_);
  } else if (reaches(seen.slow, options_.slow_rate_pct)) {
    open(phase_, now, BreakerReason::kSlowRate, &changes_);
  } else if (!reaches(seen.failed + to_come, options_.failure_rate_pct) &&
             !reaches(seen.slow + to_come, options_.slow_rate_pct)) {
    close(now, BreakerReason::kProbesPassed);
  }
}

/// Whether a permit of `generation` may speak now. A probe more than there are would be a report made twice.
bool BreakerMachine::holds_permit(std::uint64_t generation) noexcept {
  const bool refuses = phase_.state == BreakerState::kOpen || phase_.state == BreakerState::kForcedOpen;
  if (generation != phase_.generation || refuses) {
    ++counts_.late_results;
    return false;
  }
  if (phase_.state == BreakerState::kHalfOpen && probes_on_their_way(phase_) == 0) {
    ++counts_.doubled_reports;
    return false;
  }
  return true;
}

void BreakerMachine::give_back() noexcept {
  if (phase_.state == BreakerState::kHalfOpen) ++phase_.free_permits;
}

BreakerMachine::Phase BreakerMachine::phase_at(TimePoint now) const noexcept {
  Phase phase = phase_;
  let_pass(phase, now, nullptr);
  return phase;
}

CallTally BreakerMachine::tally(const Phase& phase, TimePoint now) const noexcept {
  switch (phase.state) {
    case BreakerState::kClosed:
    case BreakerState::kMetricsOnly:
      return window_.tally(now);
    case BreakerState::kHalfOpen:
      return phase.probes;
    case BreakerState::kOpen:
    case BreakerState::kDisabled:
    case BreakerState::kForcedOpen:
      break;
  }
  return phase.evidence;
}

std::size_t BreakerMachine::probes_on_their_way(const Phase& phase) const noexcept {
  if (phase.state != BreakerState::kHalfOpen) return 0;
  return options_.half_open_permits - phase.free_permits - static_cast<std::size_t>(phase.probes.calls);
}

BreakerRefusal BreakerMachine::refusal(const Phase& phase, TimePoint now) const noexcept {
  BreakerRefusal refusal;
  refusal.state = phase.state;
  refusal.reason = phase.reason;
  refusal.tally = tally(phase, now);
  refusal.probes = probes_on_their_way(phase);
  if (phase.state == BreakerState::kForcedOpen) {
    refusal.retry_after = Duration::max();
  } else if (phase.state == BreakerState::kOpen && phase.open_until == TimePoint::max()) {
    refusal.retry_after = Duration::max();
  } else if (phase.state == BreakerState::kOpen) {
    refusal.retry_after = between(now, phase.open_until);
  }
  return refusal;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
