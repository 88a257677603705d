// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What holds functions on other threads until a test lets them go.

#include <condition_variable>
#include <mutex>

#include "support/eventually.hpp"

namespace penstock::testing {

/// Holds who passes until it is opened.
class Gate {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    ++inside_;
    opened_.wait(lock, [this] { return open_; });
  }

  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    opened_.notify_all();
  }

  /// How many have come so far.
  [[nodiscard]] int arrived() const {
    const std::lock_guard lock(mutex_);
    return inside_;
  }

  [[nodiscard]] bool await(int count) const {
    return eventually([&] { return arrived() >= count; });
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable opened_;
  int inside_ = 0;
  bool open_ = false;
};

/// Opens gates at the end of a scope, so that a failed test does not hang.
template <class Gates>
class OpenAtEnd {
 public:
  explicit OpenAtEnd(Gates& gates) : gates_(gates) {}
  OpenAtEnd(const OpenAtEnd&) = delete;
  OpenAtEnd& operator=(const OpenAtEnd&) = delete;
  ~OpenAtEnd() {
    for (Gate& gate : gates_) gate.open();
  }

 private:
  Gates& gates_;
};

}  // namespace penstock::testing
