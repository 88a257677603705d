// SPDX-License-Identifier: MIT
// The queue that everybody writes: std::mutex, two std::condition_variable, std::deque.
#include <condition_variable>
#include <deque>
#include <mutex>

#include "thread_workloads.hpp"

namespace {

template <class T>
class Queue {
 public:
  static bool supports(std::size_t /*capacity*/) { return true; }
  explicit Queue(std::size_t capacity) : capacity_(capacity) {}

  void send(const T& value) {
    std::unique_lock lock(mutex_);
    has_room_.wait(lock, [&] { return values_.size() < capacity_ + waiting_receivers_; });
    values_.push_back(value);
    lock.unlock();
    has_value_.notify_one();
  }

  T receive() {
    std::unique_lock lock(mutex_);
    if (capacity_ == 0) {  // a rendezvous: a receiver that waits is the room for one value
      ++waiting_receivers_;
      has_room_.notify_one();
    }
    has_value_.wait(lock, [&] { return !values_.empty(); });
    const T value = values_.front();
    values_.pop_front();
    if (capacity_ == 0) {
      --waiting_receivers_;
    } else {
      lock.unlock();
      has_room_.notify_one();
    }
    return value;
  }

 private:
  const std::size_t capacity_;
  std::size_t waiting_receivers_ = 0;
  std::mutex mutex_;
  std::condition_variable has_room_;
  std::condition_variable has_value_;
  std::deque<T> values_;
};

}  // namespace

int main(int argc, char** argv) { return versus::run_program(argc, argv, versus::thread_workloads<Queue>()); }
