// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Time in a simulation: it starts at zero, and jumps from one event to the next.

#include <cstdint>
#include <queue>
#include <vector>

#include "penstock/core/clock.hpp"

namespace simulation {

using penstock::Duration;
using penstock::TimePoint;

[[nodiscard]] inline Duration seconds(double value) noexcept {
  return penstock::saturated(std::chrono::duration<double>(value));
}
[[nodiscard]] inline double in_seconds(Duration duration) noexcept {
  return std::chrono::duration<double>(duration).count();
}
[[nodiscard]] inline double in_seconds(TimePoint time) noexcept { return in_seconds(time.time_since_epoch()); }

/// What is going to happen, the earliest first; at the same time, what was planned first.
template <class What>
class Agenda {
 public:
  struct Entry {
    TimePoint at;
    std::uint64_t sequence;
    What what;
  };

  void plan(TimePoint at, What what) { entries_.push({at, sequence_++, what}); }

  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  [[nodiscard]] TimePoint next() const { return entries_.top().at; }

  /// Takes the next one out. The agenda must not be empty.
  Entry pop() {
    const Entry entry = entries_.top();
    entries_.pop();
    return entry;
  }

 private:
  struct Later {
    bool operator()(const Entry& a, const Entry& b) const noexcept {
      return a.at != b.at ? a.at > b.at : a.sequence > b.sequence;
    }
  };
  std::priority_queue<Entry, std::vector<Entry>, Later> entries_;
  std::uint64_t sequence_ = 0;
};

}  // namespace simulation
