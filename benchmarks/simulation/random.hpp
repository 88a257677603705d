// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace simulation {

/// Random numbers that are the same on each machine whose <cmath> is: Vigna's SplitMix64.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

  /// In (0, 1), so that its logarithm is finite.
  double uniform() noexcept {
    state_ += 0x9E3779B97F4A7C15U;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30U)) * 0xBF58476D1CE4E5B9U;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94D049BB133111EBU;
    mixed ^= mixed >> 31U;
    return (static_cast<double>(mixed >> 12U) + 0.5) * 0x1.0p-52;
  }

  double exponential(double mean) noexcept { return -mean * std::log(uniform()); }

  /// Its logarithm is normal with the deviation `sigma`; the mean is `mean`.
  double lognormal(double mean, double sigma) noexcept {
    const double radius = std::sqrt(-2.0 * std::log(uniform()));
    const double normal = radius * std::cos(2.0 * std::numbers::pi * uniform());
    return mean * std::exp(sigma * normal - sigma * sigma / 2.0);
  }

 private:
  std::uint64_t state_;
};

}  // namespace simulation
