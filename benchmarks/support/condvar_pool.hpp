// SPDX-License-Identifier: MIT
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

/// The pool that everybody writes: std::mutex, std::condition_variable, std::deque<std::function<void()>>; bounded,
/// without deadlines, cancellation, results or counts.
class CondVarPool {
 public:
  CondVarPool(std::size_t workers, std::size_t capacity) : capacity_(capacity) {
    while (threads_.size() != workers) threads_.emplace_back([this] { work(); });
  }
  CondVarPool(const CondVarPool&) = delete;
  CondVarPool& operator=(const CondVarPool&) = delete;
  ~CondVarPool() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    has_job_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  /// Waits for room.
  template <class F>
  void run(F job) {
    {
      std::unique_lock lock(mutex_);
      has_room_.wait(lock, [&] { return jobs_.size() < capacity_; });
      jobs_.emplace_back(std::move(job));
    }
    has_job_.notify_one();
  }

  template <class F>
  bool try_run(F job) {
    {
      const std::lock_guard lock(mutex_);
      if (jobs_.size() >= capacity_) return false;
      jobs_.emplace_back(std::move(job));
    }
    has_job_.notify_one();
    return true;
  }

 private:
  void work() {
    for (;;) {
      std::function<void()> job;
      {
        std::unique_lock lock(mutex_);
        has_job_.wait(lock, [&] { return closed_ || !jobs_.empty(); });
        if (jobs_.empty()) return;
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
      has_room_.notify_one();
      job();
    }
  }

  const std::size_t capacity_;
  std::mutex mutex_;
  std::condition_variable has_job_;
  std::condition_variable has_room_;
  bool closed_ = false;
  std::deque<std::function<void()>> jobs_;
  std::vector<std::thread> threads_;
};
