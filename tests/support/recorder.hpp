// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What worker threads saw, for the main thread to judge: they may not use Catch2.

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

namespace penstock::testing {

/// A list of events in the order in which they were recorded.
///
/// Threads: any member, from any thread.
template <class Event>
class Recorder {
 public:
  void record(Event event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }

  /// All events so far.
  [[nodiscard]] std::vector<Event> events() const {
    const std::lock_guard lock(mutex_);
    return events_;
  }

  [[nodiscard]] std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return events_.size();
  }

  /// How many events equal `event`.
  [[nodiscard]] std::size_t count(const Event& event) const {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::count(events_.begin(), events_.end(), event));
  }

  [[nodiscard]] bool contains(const Event& event) const { return count(event) != 0; }

  void clear() {
    const std::lock_guard lock(mutex_);
    events_.clear();
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Event> events_;
};

}  // namespace penstock::testing
