// SPDX-License-Identifier: MIT
#include "penstock/route/detail/breaker_machine.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "penstock/core/detail/elapsed.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr Duration kTick{1};  // the waits end strictly after their time

double rate_pct(std::uint64_t part, std::uint64_t calls) noexcept {
  return 100.0 * static_cast<double>(part) / static_cast<double>(calls);
}

}  // namespace

BreakerMachine::BreakerMachine(std::shared_ptr<const CircuitBreakerOptions> options, TimePoint now, std::uint64_t seed)
    : options_(std::move(options)), window_(options_->window, options_->window_size, options_->bucket) {
  settle_rules();
  phase_.since = now;
  phase_.random = RandomUnit(seed);
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
      if (phase_.probes_out + phase_.probes.calls >= options_->half_open_permits) break;
      ++phase_.probes_out;
      if (!std::exchange(phase_.probed, true)) {
        phase_.first_probe = now;
        phase_.half_open_until = saturated_add(now, options_->half_open_max_wait);
      }
      return phase_.generation;
    case BreakerState::kForcedOpen:
      break;
  }
  ++counts_.not_permitted;
  return kRefused;
}

void BreakerMachine::report(TimePoint now, std::uint64_t generation, CallOutcome outcome, bool slow,
                            absl::StatusCode code) noexcept {
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
  if (failed) ++counts_.failed_with[static_cast<std::size_t>(code)];
  if (slow) ++counts_.slow;
  if (phase_.state == BreakerState::kHalfOpen) {
    --phase_.probes_out;
    ++phase_.probes.calls;
    if (failed) ++phase_.probes.failed;
    if (slow) ++phase_.probes.slow;
    judge_probes(now);
    return;
  }
  window_.record(now, failed, slow);
  if (phase_.state == BreakerState::kClosed) judge_window(now);
}

void BreakerMachine::add_successes(std::uint64_t count) noexcept {
  if (count == 0) return;
  counts_.succeeded += count;
  window_.add_successes(count);
}

TimePoint BreakerMachine::successes_may_wait_until(TimePoint now) const noexcept {
  if (phase_.state != BreakerState::kClosed && phase_.state != BreakerState::kMetricsOnly) return TimePoint::min();
  const CallTally seen = window_.tally(now);
  if (seen.calls == 0) return TimePoint::min();  // nobody knows which bucket is the newest
  const bool all_is_well = seen.failed == 0 && seen.slow == 0;
  const bool matters = phase_.state == BreakerState::kClosed && seen.calls < enough_calls_ && !all_is_well;
  return matters ? TimePoint::min() : window_.end_of_bucket();
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

void BreakerMachine::set_options(TimePoint now, std::shared_ptr<const CircuitBreakerOptions>& options,
                                 OutcomeWindow& window) noexcept {
  changes_.clear();
  let_pass(phase_, now, &changes_);
  options_.swap(options);
  settle_rules();
  if (!window_.is_like(window)) {
    window.take_over(window_);
    std::swap(window_, window);
  }
  // What the options before would have ended by now has been ended. What these would have is ended next.
  const auto from = [now](TimePoint begin, Duration wait, TimePoint before) {
    return std::max(saturated_add(begin, wait), std::min(now, before));
  };
  switch (phase_.state) {
    case BreakerState::kOpen:
      phase_.wait = jittered(wait(*options_, phase_.attempts), phase_.draw);
      phase_.open_until = from(phase_.since, phase_.wait, phase_.open_until);
      break;
    case BreakerState::kHalfOpen:
      if (!phase_.probed) break;
      phase_.half_open_until = from(phase_.first_probe, options_->half_open_max_wait, phase_.half_open_until);
      if (phase_.probes.calls > 0) judge_probes(now);
      break;
    case BreakerState::kClosed:
      judge_window(now);
      break;
    case BreakerState::kDisabled:
    case BreakerState::kForcedOpen:
    case BreakerState::kMetricsOnly:
      break;
  }
}

void BreakerMachine::settle_rules() noexcept {
  enough_calls_ = options_->window == CircuitBreakerOptions::Window::kCount
                      ? std::min(options_->minimum_calls, options_->window_size)
                      : options_->minimum_calls;
  enough_probes_ = std::min(options_->minimum_calls, options_->half_open_permits);
}

TimePoint BreakerMachine::due() const noexcept {
  if (phase_.state == BreakerState::kHalfOpen) return saturated_add(phase_.half_open_until, kTick);
  if (phase_.state == BreakerState::kOpen && options_->auto_half_open) return saturated_add(phase_.open_until, kTick);
  return TimePoint::max();
}

BreakerRefusal BreakerMachine::refusal(TimePoint now) const noexcept { return refusal(phase_at(now), now); }

CircuitBreakerStats BreakerMachine::stats(TimePoint now) const noexcept {
  const Phase phase = phase_at(now);
  CircuitBreakerStats stats = counts_;
  stats.state = phase.state;
  stats.generation = phase.generation;
  stats.time_in_state = elapsed(phase.since, now);
  stats.retry_after = refusal(phase, now).retry_after;
  stats.attempts = phase.attempts;
  stats.probes = phase.state == BreakerState::kHalfOpen ? phase.probes_out : 0;
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
  // A wait that has more than twice its length to go has lost the clock, which stepped back: it begins anew.
  const auto lost = [now](TimePoint until, Duration wait) {
    return saturated_add(saturated_add(now, wait), wait) < until;
  };
  if (phase.state == BreakerState::kOpen && lost(phase.open_until, phase.wait)) {
    phase.open_until = saturated_add(now, phase.wait);
    phase.since = now;
  }
  if (phase.state == BreakerState::kHalfOpen && phase.probed &&
      lost(phase.half_open_until, options_->half_open_max_wait)) {
    phase.half_open_until = saturated_add(now, options_->half_open_max_wait);
    phase.first_probe = now;
  }
  if (phase.state == BreakerState::kHalfOpen && now > phase.half_open_until) {
    open(phase, phase.half_open_until, BreakerReason::kProbesLost, changes);
  }
  // Half open without a probe lasts for ever, so there is no third change, however long ago all this was.
  if (phase.state == BreakerState::kOpen && options_->auto_half_open && now > phase.open_until) {
    half_open(phase, phase.open_until, changes);
  }
}

void BreakerMachine::open(Phase& phase, TimePoint at, BreakerReason reason,
                          BreakerTransitions* changes) const noexcept {
  if (phase.attempts != std::numeric_limits<std::uint32_t>::max()) ++phase.attempts;
  phase.draw = phase.random.next();
  const Duration wait_for = jittered(wait(*options_, phase.attempts), phase.draw);
  enter(phase, at, BreakerState::kOpen, reason, wait_for, changes);
  phase.reason = reason;
  phase.wait = wait_for;
  phase.open_until = saturated_add(at, wait_for);
}

Duration BreakerMachine::jittered(Duration wait, double draw) const noexcept {
  if (options_->open_jitter <= 0) return wait;
  using Nanoseconds = std::chrono::duration<long double, std::nano>;
  const double kept = 1 - options_->open_jitter * draw;
  return std::max(saturated(Nanoseconds(wait) * static_cast<long double>(kept)), kTick);
}

void BreakerMachine::half_open(Phase& phase, TimePoint at, BreakerTransitions* changes) const noexcept {
  enter(phase, at, BreakerState::kHalfOpen, BreakerReason::kWaitOver, Duration::zero(), changes);
  phase.half_open_until = TimePoint::max();
  phase.probed = false;
  phase.probes_out = 0;
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
  if (seen.calls == 0 || seen.calls < enough_calls_) return;
  if (rate_pct(seen.failed, seen.calls) >= options_->failure_rate_pct) {
    open(phase_, now, BreakerReason::kFailureRate, &changes_);
  } else if (rate_pct(seen.slow, seen.calls) >= options_->slow_rate_pct) {
    open(phase_, now, BreakerReason::kSlowRate, &changes_);
  }
}

void BreakerMachine::judge_probes(TimePoint now) noexcept {
  const CallTally& seen = phase_.probes;
  const std::uint64_t enough = std::max(enough_probes_, seen.calls);  // less may be enough now than when they went
  const std::uint64_t to_come = enough - seen.calls;
  const auto reaches = [enough](std::uint64_t part, double threshold) { return rate_pct(part, enough) >= threshold; };
  if (reaches(seen.failed, options_->failure_rate_pct)) {
    open(phase_, now, BreakerReason::kFailureRate, &changes_);
  } else if (reaches(seen.slow, options_->slow_rate_pct)) {
    open(phase_, now, BreakerReason::kSlowRate, &changes_);
  } else if (!reaches(seen.failed + to_come, options_->failure_rate_pct) &&
             !reaches(seen.slow + to_come, options_->slow_rate_pct)) {
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
  if (phase_.state == BreakerState::kHalfOpen && phase_.probes_out == 0) {
    ++counts_.doubled_reports;
    return false;
  }
  return true;
}

void BreakerMachine::give_back() noexcept {
  if (phase_.state == BreakerState::kHalfOpen) --phase_.probes_out;
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

BreakerRefusal BreakerMachine::refusal(const Phase& phase, TimePoint now) const noexcept {
  BreakerRefusal refusal;
  refusal.state = phase.state;
  refusal.reason = phase.reason;
  refusal.tally = tally(phase, now);
  refusal.probes = phase.state == BreakerState::kHalfOpen ? phase.probes_out : 0;
  if (phase.state == BreakerState::kForcedOpen) {
    refusal.retry_after = Duration::max();
  } else if (phase.state == BreakerState::kOpen && phase.open_until == TimePoint::max()) {
    refusal.retry_after = Duration::max();
  } else if (phase.state == BreakerState::kOpen) {
    refusal.retry_after = elapsed(now, phase.open_until);
  }
  return refusal;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
