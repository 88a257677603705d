// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace simulation {

/// A number that changes over time: `base`, and a wave around it, but in the time of a piece the piece's value.
struct Curve {
  struct Piece {
    double from_s = 0;
    double to_s = 0;
    double value = 0;
  };

  double base = 0;
  std::vector<Piece> pieces{};
  double wave = 0;           ///< Half the height from the lowest to the highest point.
  double wave_period_s = 1;  ///< It begins at its lowest point.

  [[nodiscard]] double at(double time_s) const noexcept {
    for (const Piece& piece : pieces) {
      if (piece.from_s <= time_s && time_s < piece.to_s) return piece.value;
    }
    if (wave == 0) return base;
    return base - wave * std::cos(2.0 * std::numbers::pi * time_s / wave_period_s);
  }

  [[nodiscard]] double highest() const noexcept {
    double found = base + std::abs(wave);
    for (const Piece& piece : pieces) found = std::max(found, piece.value);
    return found;
  }
};

}  // namespace simulation
