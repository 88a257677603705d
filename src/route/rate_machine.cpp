// SPDX-License-Identifier: MIT
#include "penstock/route/detail/rate_machine.hpp"

#include <algorithm>

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

// A double counts whole tokens up to 2^53. Long before that the bucket writes down afresh what it has.
constexpr double kManyUsed = 1e12;

}  // namespace

Ticks ticks_between(TimePoint epoch, TimePoint now) noexcept {
  if (now <= epoch) return 0;
  // Without a sign, the difference of any two points fits.
  const std::uint64_t nanoseconds = static_cast<std::uint64_t>(now.time_since_epoch().count()) -
                                    static_cast<std::uint64_t>(epoch.time_since_epoch().count());
  return std::min(nanoseconds, kLastTick / kTicksPerNanosecond) * kTicksPerNanosecond;
}

TimePoint time_of(TimePoint epoch, Ticks time) noexcept {
  const Ticks nanoseconds = time / kTicksPerNanosecond + (time % kTicksPerNanosecond == 0 ? 0 : 1);
  return saturated_add(epoch, Duration(static_cast<Duration::rep>(nanoseconds)));
}

RateRule::RateRule(double per_second, double burst) noexcept
    : per_second_(per_second), burst_(burst), capacity_(cost(burst)) {}

RateMachine::RateMachine(RateAlgorithm algorithm, const RateRule& rule, Ticks now) noexcept
    : rule_(rule), algorithm_(algorithm) {
  hold(now, rule.burst());
}

void RateMachine::hold(Ticks now, double tokens) noexcept {
  if (algorithm_ == RateAlgorithm::kGcra) {
    full_at_ = now + rule_.cost(rule_.burst() - tokens);
  } else {
    since_ = now;
    held_ = tokens;
    used_ = 0;
  }
}

bool RateMachine::take(Ticks now, std::uint64_t n) noexcept {
  if (static_cast<double>(n) > rule_.burst() || now < due(static_cast<double>(n))) return false;
  take_due(now, n);
  return true;
}

Ticks RateMachine::due(double n) const noexcept {
  if (algorithm_ == RateAlgorithm::kGcra) {
    const Ticks full_at = full_at_ + rule_.cost(n);
    return full_at > rule_.capacity() ? full_at - rule_.capacity() : 0;
  }
  const double lacks = n + used_ - held_;
  return lacks > 0 ? since_ + rule_.cost(lacks) : since_;
}

void RateMachine::take_due(Ticks now, std::uint64_t n) noexcept {
  const auto tokens = static_cast<double>(n);
  const bool overflows = tokens <= rule_.burst();  // while one waits for more than the bucket holds, it does not
  if (algorithm_ == RateAlgorithm::kGcra) {
    full_at_ = (overflows ? std::max(full_at_, now) : full_at_) + rule_.cost(tokens);
    return;
  }
  if (overflows && now >= due(rule_.burst())) {
    hold(now, rule_.burst());
  } else if (used_ > kManyUsed) {
    hold(now, this->tokens(now));
  }
  used_ += tokens;
}

double RateMachine::tokens(Ticks now) const noexcept {
  const auto come_in = [this](Ticks from, Ticks to) {
    return static_cast<double>(to - from) * rule_.per_second() / double{kTicksPerSecond};
  };
  double tokens = rule_.burst();
  if (algorithm_ == RateAlgorithm::kTokenBucket) {
    tokens = held_ - used_ + come_in(since_, std::max(since_, now));
  } else if (full_at_ > now) {
    tokens -= come_in(now, full_at_);
  }
  return std::clamp(tokens, 0.0, rule_.burst());
}

void RateMachine::change(Ticks now, RateAlgorithm algorithm, const RateRule& rule) noexcept {
  const double there = tokens(now);
  algorithm_ = algorithm;
  rule_ = rule;
  hold(now, std::min(there, rule.burst()));
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
