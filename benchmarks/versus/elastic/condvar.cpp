// SPDX-License-Identifier: MIT
// The elastic pool that everybody writes: a deque under a std::mutex, a std::condition_variable, a thread more whenever
// more jobs wait than workers, and workers that leave when they have waited for long.
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "elastic_workloads.hpp"

namespace {

class Pool {
 public:
  Pool(std::size_t /*workers*/, std::size_t /*capacity*/) {}
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() {
    std::unique_lock lock(mutex_);
    is_closed_ = true;
    has_job_.notify_all();
    ended_.wait(lock, [this] { return workers_ == 0; });
  }

  template <class F>
  void run(F job) {
    bool grows = false;
    {
      const std::lock_guard lock(mutex_);
      jobs_.emplace_back(std::move(job));
      grows = jobs_.size() > waiting_;
      if (grows) ++workers_;
    }
    if (grows) {
      std::thread([this] { work(); }).detach();
    } else {
      has_job_.notify_one();
    }
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      ++waiting_;
      has_job_.wait_for(lock, std::chrono::seconds(10), [this] { return is_closed_ || !jobs_.empty(); });
      --waiting_;
      if (jobs_.empty()) break;
      const std::function<void()> job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job();
      lock.lock();
    }
    if (--workers_ == 0) ended_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable has_job_;
  std::condition_variable ended_;
  bool is_closed_ = false;
  std::size_t workers_ = 0;
  std::size_t waiting_ = 0;
  std::deque<std::function<void()>> jobs_;
};

}  // namespace

int main(int argc, char** argv) { return versus::run_program(argc, argv, versus::elastic_workloads<Pool>()); }
