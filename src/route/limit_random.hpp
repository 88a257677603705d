// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Numbers in [0, 1) that look random: splitmix64.
class LimitRandom {
 public:
  explicit LimitRandom(std::uint64_t seed) noexcept : state_(seed) {}

  double next() noexcept {
    state_ += 0x9e3779b97f4a7c15U;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9U;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebU;
    return static_cast<double>((mixed ^ (mixed >> 31U)) >> 11U) * 0x1.0p-53;
  }

 private:
  std::uint64_t state_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
