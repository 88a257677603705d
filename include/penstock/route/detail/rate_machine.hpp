// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How many may go by now, and from when on more may: the decision of a rate limiter, without clock, lock or line.
///
/// Both algorithms are a bucket of `burst` tokens that is full at first and fills at `rate`. They differ in what they
/// write down, and so in what they round:
///
///   kGcra         the time at which the bucket will be full again. One number: a take moves it on by what the tokens
///                 cost, and is refused if it would come to lie further ahead than an empty bucket is from full. The
///                 cost is rounded up to a tick, so it never gives more than the rate; at one million per second it
///                 gives one part in eight thousand less.
///   kTokenBucket  the tokens that it had at some time, and those taken since. What the rate has added is computed from
///                 that time each time, so nothing adds up: it gives what the rate says, however long it is kept busy.

#include <cstdint>
#include <string_view>

#include "penstock/core/clock.hpp"

namespace penstock::inline PENSTOCK_ABI {

enum class RateAlgorithm : std::uint8_t {
  kTokenBucket,  ///< Exact at any rate; takes a short lock.
  kGcra,         ///< The generic cell rate algorithm: one compare-exchange; rounds each take up to 1/8 ns.
};

/// The name of `algorithm` in lower case with underscores, such as "token_bucket".
std::string_view to_string(RateAlgorithm algorithm) noexcept;

}  // namespace penstock::inline PENSTOCK_ABI

namespace penstock::inline PENSTOCK_ABI::detail {

/// Time since the limiter was made, in eighths of a nanosecond. Time ends after 18 years: then nothing more comes in.
using Ticks = std::uint64_t;
inline constexpr Ticks kTicksPerNanosecond = 8;
inline constexpr Ticks kTicksPerSecond = kTicksPerNanosecond * 1'000'000'000;
inline constexpr Ticks kLastTick = Ticks{1} << 62U;

/// `now` in ticks since `epoch`; zero before it.
Ticks ticks_between(TimePoint epoch, TimePoint now) noexcept;
/// The first point of a clock that is not before `time`.
TimePoint time_of(TimePoint epoch, Ticks time) noexcept;

/// A rate in [1e-6, 1e9], and a burst in [1, 1e9], that lasts for at most 1e8 s.
class RateRule {
 public:
  RateRule(double per_second, double burst) noexcept;

  [[nodiscard]] double per_second() const noexcept { return per_second_; }
  [[nodiscard]] double burst() const noexcept { return burst_; }
  /// In how many ticks an empty bucket is full.
  [[nodiscard]] Ticks capacity() const noexcept { return capacity_; }
  /// In how many ticks so many tokens come, rounded up; at most kLastTick.
  [[nodiscard]] Ticks cost(double tokens) const noexcept { return cost(tokens, per_second_); }
  static Ticks cost(double tokens, double per_second) noexcept {
    // First the product, which is exact for some million whole tokens: so whole quotients are exact, too.
    const double exact = tokens * double{kTicksPerSecond} / per_second;
    if (!(exact < double{kLastTick})) return kLastTick;
    const auto whole = static_cast<Ticks>(exact);
    return static_cast<double>(whole) < exact ? whole + 1 : whole;
  }

 private:
  double per_second_;
  double burst_;
  Ticks capacity_;
};

/// The one step of kGcra, for who has its number in an atomic. `full_at` after a take of `cost` at `now`, or 0 if it is
/// refused.
constexpr Ticks gcra_take(Ticks full_at, Ticks now, Ticks cost, Ticks capacity) noexcept {
  const Ticks next = (full_at < now ? now : full_at) + cost;
  return next <= now + capacity ? next : 0;
}

/// The bucket.
///
/// Times that are given never decrease. Threads: one at a time.
class RateMachine {
 public:
  /// Full at `now`.
  RateMachine(RateAlgorithm algorithm, const RateRule& rule, Ticks now) noexcept;

  [[nodiscard]] const RateRule& rule() const noexcept { return rule_; }
  [[nodiscard]] RateAlgorithm algorithm() const noexcept { return algorithm_; }

  /// Takes `n` tokens if they are there; more than the burst never are.
  [[nodiscard]] bool take(Ticks now, std::uint64_t n) noexcept;

  /// From when on `n` tokens are there, if none is taken until then; of more than the burst: would be there, if the
  /// bucket did not overflow meanwhile.
  [[nodiscard]] Ticks due(double n) const noexcept;

  /// Takes `n` tokens that are due, even more than the burst: for who had to wait, and was promised them when the burst
  /// was larger.
  void take_due(Ticks now, std::uint64_t n) noexcept;

  /// The tokens that are there.
  [[nodiscard]] double tokens(Ticks now) const noexcept;

  /// From now on `rule` holds. Tokens that are there stay, as long as they find room.
  void change(Ticks now, RateAlgorithm algorithm, const RateRule& rule) noexcept;

  // The number of kGcra.
  [[nodiscard]] Ticks full_at() const noexcept { return full_at_; }
  void set_full_at(Ticks full_at) noexcept { full_at_ = full_at; }

 private:
  void hold(Ticks now, double tokens) noexcept;

  RateRule rule_;
  RateAlgorithm algorithm_;
  Ticks full_at_ = 0;  // kGcra
  // kTokenBucket: at `since_` there were `held_` tokens, and `used_` have been taken after that.
  Ticks since_ = 0;
  double held_ = 0;
  double used_ = 0;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
