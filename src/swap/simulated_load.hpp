// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// When something happens in a simulation, and how long it takes.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "penstock/core/detail/random_unit.hpp"
#include "penstock/swap/swap_simulator.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// A stream of numbers for each purpose, so that none depends on how often another one was asked.
inline RandomUnit random_stream(std::uint64_t seed, std::uint64_t of, std::uint64_t purpose) noexcept {
  return RandomUnit(seed * 0xD134'2543'DE82'EF95U + of * 0xAF25'1AF3'B0F0'25B5U + purpose * 0x8CB9'2BA7'2F3D'8DD7U);
}

inline double exponential(RandomUnit& random) noexcept { return -std::log(1 - random.next()); }

/// Cost: one or two numbers of the stream, as the shape is.
inline Duration draw(const RandomDuration& duration, RandomUnit& random) noexcept {
  using Shape = RandomDuration::Shape;
  if (duration.mean == Duration::max()) return Duration::max();
  double factor = 1;
  if (duration.shape == Shape::kUniform) factor = 1 + duration.spread * (2 * random.next() - 1);
  if (duration.shape == Shape::kExponential) factor = exponential(random);
  if (duration.shape == Shape::kLogNormal) {
    const double radius = std::sqrt(2 * exponential(random));
    const double normal = radius * std::cos(2 * std::numbers::pi * random.next());
    factor = std::exp(duration.spread * normal - duration.spread * duration.spread / 2);
  }
  if (duration.shape == Shape::kConstant) return duration.mean;
  return saturated(std::chrono::duration<double, std::nano>(factor * static_cast<double>(duration.mean.count())));
}

/// What is going to happen, the earliest first; at the same time, what was planned first.
class SimulationAgenda {
 public:
  enum class What : std::uint8_t { kArrival, kBurst, kTraced, kServed, kPatience, kProcess, kCrash, kWake };
  struct Entry {
    TimePoint at;
    std::uint64_t sequence;
    std::uint32_t of;     // a workload, request or model
    std::uint32_t round;  // of that, when it was planned: what has changed since then does not happen
    What what;
  };

  void plan(TimePoint at, What what, std::uint32_t of, std::uint32_t round = 0) {
    if (at == TimePoint::max()) return;
    entries_.push_back({at, sequence_++, of, round, what});
    std::push_heap(entries_.begin(), entries_.end(), later);
  }
  /// Takes the next one out, if it is before `end`.
  bool pop(TimePoint end, Entry& entry) {
    if (entries_.empty() || entries_.front().at >= end) return false;
    std::pop_heap(entries_.begin(), entries_.end(), later);
    entry = entries_.back();
    entries_.pop_back();
    return true;
  }

 private:
  static bool later(const Entry& a, const Entry& b) noexcept {
    return a.at != b.at ? a.at > b.at : a.sequence > b.sequence;
  }

  std::vector<Entry> entries_;
  std::uint64_t sequence_ = 0;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
