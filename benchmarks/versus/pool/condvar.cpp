// SPDX-License-Identifier: MIT
// The pool that everybody writes: std::mutex, std::condition_variable, std::deque<std::function<void()>>. A job with a
// result is a std::packaged_task, on the heap because a std::function is copied.
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "pool_workloads.hpp"

namespace {

class Pool {
 public:
  Pool(std::size_t workers, [[maybe_unused]] std::size_t capacity)
#ifdef VERSUS_UNBOUNDED
      : capacity_(std::numeric_limits<std::size_t>::max()) {
#else
      : capacity_(capacity) {
#endif
    while (threads_.size() != workers) threads_.emplace_back([this] { work(); });
  }
  ~Pool() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    has_job_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

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
  std::future<int> submit(F job) {
    auto task = std::make_shared<std::packaged_task<int()>>(std::move(job));
    std::future<int> result = task->get_future();
    run([task = std::move(task)] { (*task)(); });
    return result;
  }
  static int wait(std::future<int>& result) { return result.get(); }

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

}  // namespace

int main(int argc, char** argv) { return versus::run_program(argc, argv, versus::pool_workloads<Pool>()); }
