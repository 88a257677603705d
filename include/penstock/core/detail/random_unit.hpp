// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Numbers that look random, and are the same for the same seed: for decisions, which have no randomness of their own.

#include <cstdint>

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Numbers in [0, 1) with 53 random bits: Vigna's splitmix64, which is a bijection of a counter, so any seed will do.
class RandomUnit {
 public:
  explicit RandomUnit(std::uint64_t seed) noexcept : state_(seed) {}

  double next() noexcept { return number_of(state_ += kStep); }

  /// What the `index`-th call of `next` returns, from 0 up, after a start with `seed`.
  static double at(std::uint64_t seed, std::uint64_t index) noexcept { return number_of(seed + (index + 1) * kStep); }

 private:
  static constexpr std::uint64_t kStep = 0x9E3779B97F4A7C15U;

  static double number_of(std::uint64_t mixed) noexcept {
    mixed = (mixed ^ (mixed >> 30U)) * 0xBF58476D1CE4E5B9U;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94D049BB133111EBU;
    return static_cast<double>((mixed ^ (mixed >> 31U)) >> 11U) * 0x1p-53;
  }

  std::uint64_t state_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
