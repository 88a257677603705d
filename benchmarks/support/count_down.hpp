// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

/// Counts a batch of functions on other threads down, and wakes the one who waits for the last.
class CountDown {
 public:
  void start(int count) {
    done_ = false;
    left_.store(count, std::memory_order_relaxed);
  }

  void hit() {
    if (left_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    // Only what is said under the mutex may let the other one go on: it may destroy this then.
    const std::lock_guard lock(mutex_);
    done_ = true;
    zero_.notify_one();
  }

  void wait() {
    std::unique_lock lock(mutex_);
    zero_.wait(lock, [&] { return done_; });
  }

 private:
  std::atomic<int> left_{0};
  std::mutex mutex_;
  std::condition_variable zero_;
  bool done_ = false;
};
