// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The threads that serve connections.

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <list>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <httplib.h>

namespace gateway {

/// A thread for each connection, up to a bound.
///
/// cpp-httplib's own pool has eight threads, and a thread belongs to a connection for as long as it is open. Eight
/// clients of a provider that hangs would take all of them, and nobody could ask a healthy provider any more: the
/// providers would be coupled in front of the pools that keep them apart. So the bound has to exceed what all providers
/// together can hold (the sum of workers and queue places: whoever comes beyond is refused at once) with room for idle
/// connections.
///
/// A thread is started when a connection comes and none is free, and then kept: it costs no CPU and little memory.
class ConnectionThreads final : public httplib::TaskQueue {
  using Task = std::function<void()>;
  // void in old versions of cpp-httplib, bool in new ones.
  using Enqueued = decltype(std::declval<httplib::TaskQueue&>().enqueue(Task()));

 public:
  explicit ConnectionThreads(std::size_t max_threads) : max_threads_(max_threads) {}

  Enqueued enqueue(Task task) override {
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
      if (tasks_.size() > idle_ && threads_.size() < max_threads_) start_thread();
    }
    changed_.notify_one();
    return static_cast<Enqueued>(true);
  }

  /// Returns once all connections have been served.
  void shutdown() override {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  void start_thread() {
    try {
      threads_.emplace_back([this] { serve(); });
    } catch (const std::system_error&) {
      // The machine has no thread left: the connection waits for one of ours. Without any there is no server.
      if (threads_.empty()) throw;
    }
  }

  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      ++idle_;
      changed_.wait(lock, [this] { return closed_ || !tasks_.empty(); });
      --idle_;
      if (tasks_.empty()) return;
      const Task task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
  }

  const std::size_t max_threads_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool closed_ = false;
  std::size_t idle_ = 0;
  std::list<Task> tasks_;
  std::vector<std::thread> threads_;
};

}  // namespace gateway
