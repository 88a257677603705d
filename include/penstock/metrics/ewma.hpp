// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Moving averages that forget: each sample counts for half, or for `alpha`, of what all before it count for together.
///
/// `IntegerEwma` is a published arithmetic, bit for bit, for who has to decide as others do. `Ewma` is the one to use:
/// it is right from its first sample on, and comes to rest at what it is given.

#include <cstdint>
#include <limits>

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// The average of the fn project's slot queue, in integers: `value = (value * 5 + sample * 5) / 10`.
///
/// It has its ways. The first sample only says that there was one; the second is halved. As it cuts off, it stays one
/// below a constant that it comes to from below, so a constant 1 is never seen. Above 2^64 / 5 it wraps.
///
/// Threads: one at a time, like any value.
class IntegerEwma {
 public:
  constexpr void add(std::uint64_t sample) noexcept {
    if (count_ != 0) value_ = (value_ * 5 + sample * 5) / 10;
    ++count_;
    if (count_ == 0) count_ = 1;  // 2^64 samples are not none
  }

  [[nodiscard]] constexpr std::uint64_t value() const noexcept { return value_; }
  [[nodiscard]] constexpr std::uint64_t count() const noexcept { return count_; }

  friend constexpr bool operator==(const IntegerEwma&, const IntegerEwma&) = default;

 private:
  std::uint64_t count_ = 0;
  std::uint64_t value_ = 0;
};

/// An average in which a sample counts for `alpha`, and what was before for the rest.
///
/// The first samples are not pulled towards zero: the average is that of what there was (the correction for the start,
/// as in Kingma and Ba's Adam). A NaN is ignored, infinities are taken for the largest numbers; so `value()` is always
/// a number, between the least and the largest sample.
///
/// Threads: one at a time, like any value.
class Ewma {
 public:
  /// `alpha` in (0, 1]; what is outside, or a NaN, becomes the nearer end of [1e-6, 1].
  explicit constexpr Ewma(double alpha = 0.5) noexcept : alpha_(alpha > 1 ? 1 : alpha >= kLeast ? alpha : kLeast) {}

  constexpr void add(double sample) noexcept {
    if (sample != sample) return;
    constexpr double kMost = std::numeric_limits<double>::max() / 4;
    sample = sample > kMost ? kMost : sample < -kMost ? -kMost : sample;
    // The mean of the samples with their weights, kept as such: the weights of the first ones sum up to less than 1.
    weight_ += alpha_ * (1 - weight_);
    value_ += (sample - value_) * (alpha_ / weight_);
    if (count_ != std::numeric_limits<std::uint64_t>::max()) ++count_;
  }

  /// 0 before the first sample.
  [[nodiscard]] constexpr double value() const noexcept { return value_; }
  [[nodiscard]] constexpr std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] constexpr double alpha() const noexcept { return alpha_; }

 private:
  static constexpr double kLeast = 1e-6;

  double alpha_;
  double weight_ = 0;  // 1 - (1 - alpha)^count
  double value_ = 0;
  std::uint64_t count_ = 0;
};

}  // namespace penstock::inline PENSTOCK_ABI
