// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Which state an execution is in, up to the order of independent steps; and which states have been explored.
///
/// Each thread carries a hash of its steps and of the versions of the objects that they met. Two executions in which
/// these hashes are equal differ only in the order of steps that do not see each other, so every thread is at the same
/// point and will do the same: what can follow has to be explored once. This is the happens-before caching of CHESS
/// (Musuvathi and Qadeer, "Partial-order reduction for context-bounded state exploration", 2007): since a context
/// switch costs budget, a state counts as explored only if it was met with as much of the budget left, by the same
/// running thread.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace penstock::checker {

/// Adds `b` to the hash `a`; in this order.
constexpr std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  a = (a ^ (b + 0x9E3779B97F4A7C15U)) * 0xBF58476D1CE4E5B9U;
  a ^= a >> 29;
  a *= 0x94D049BB133111EBU;
  return a ^ (a >> 32);
}

class StateCache {
 public:
  static constexpr std::uint32_t kMaxSpent = 15;

  void clear() {
    slots_.assign(std::size_t{1} << 12, 0);
    used_ = 0;
  }

  /// Notes that `state` was met with `spent` of the budget used up, and returns whether it is new in that: false if it
  /// has been met with as much or more left.
  bool insert(std::uint64_t state, std::uint32_t spent) {
    const std::uint64_t key = state & ~std::uint64_t{kMaxSpent};
    std::size_t at = slot(key);
    for (; slots_[at] != 0; at = (at + 1) & (slots_.size() - 1)) {
      if ((slots_[at] & ~std::uint64_t{kMaxSpent}) != key) continue;
      if ((slots_[at] & kMaxSpent) <= spent) return false;
      slots_[at] = key | spent;
      return true;
    }
    if (used_ >= kMaxStates) return true;  // full: explores some states twice
    slots_[at] = key | spent;
    if (2 * ++used_ > slots_.size()) grow();
    return true;
  }

  [[nodiscard]] std::size_t size() const { return used_; }

 private:
  static constexpr std::size_t kMaxStates = std::size_t{1} << 24;

  [[nodiscard]] std::size_t slot(std::uint64_t key) const { return (key >> 8) & (slots_.size() - 1); }

  void grow() {
    std::vector<std::uint64_t> old(slots_.size() * 2);
    old.swap(slots_);
    for (const std::uint64_t each : old) {
      if (each == 0) continue;
      std::size_t at = slot(each);
      while (slots_[at] != 0) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = each;
    }
  }

  std::vector<std::uint64_t> slots_ = std::vector<std::uint64_t>(std::size_t{1} << 12);  // state, with `spent` below
  std::size_t used_ = 0;
};

}  // namespace penstock::checker
