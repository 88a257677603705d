// SPDX-License-Identifier: MIT
// moodycamel::BlockingConcurrentQueue, which has no bound: its own semaphore counts the room. With VERSUS_UNBOUNDED as
// it comes. It keeps no order between producers, and cannot be closed.
#include <concurrentqueue/blockingconcurrentqueue.h>
#include <concurrentqueue/lightweightsemaphore.h>

#include "thread_workloads.hpp"

namespace {

template <class T>
class Queue {
 public:
  static bool supports(std::size_t capacity) { return capacity != 0; }
#ifdef VERSUS_UNBOUNDED
  explicit Queue(std::size_t capacity) : values_(capacity) {}

  void send(const T& value) { versus::check(values_.enqueue(value), "enqueue failed"); }
  T receive() {
    T value;
    values_.wait_dequeue(value);
    return value;
  }
#else
  explicit Queue(std::size_t capacity) : values_(capacity), room_(static_cast<std::ptrdiff_t>(capacity)) {}

  void send(const T& value) {
    room_.wait();
    versus::check(values_.enqueue(value), "enqueue failed");
  }
  T receive() {
    T value;
    values_.wait_dequeue(value);
    room_.signal();
    return value;
  }
#endif

 private:
  moodycamel::BlockingConcurrentQueue<T> values_;
#ifndef VERSUS_UNBOUNDED
  moodycamel::LightweightSemaphore room_;
#endif
};

}  // namespace

int main(int argc, char** argv) { return versus::run_program(argc, argv, versus::thread_workloads<Queue>()); }
