// SPDX-License-Identifier: MIT
// tbb::concurrent_bounded_queue.
#include <oneapi/tbb/concurrent_queue.h>

#include "thread_workloads.hpp"

namespace {

template <class T>
class Queue {
 public:
  static bool supports(std::size_t capacity) { return capacity != 0; }
  explicit Queue(std::size_t capacity) { queue_.set_capacity(static_cast<std::ptrdiff_t>(capacity)); }

  void send(const T& value) { queue_.push(value); }
  T receive() {
    T value{};
    queue_.pop(value);
    return value;
  }

 private:
  tbb::concurrent_bounded_queue<T> queue_;
};

}  // namespace

int main(int argc, char** argv) { return versus::run_program(argc, argv, versus::thread_workloads<Queue>()); }
