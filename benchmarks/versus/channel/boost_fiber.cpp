// SPDX-License-Identifier: MIT
// boost::fibers: its channels between threads, and between the fibers of one thread.
#include <functional>
#include <numeric>
#include <optional>
#include <vector>

#include <boost/fiber/buffered_channel.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/unbuffered_channel.hpp>

#include "thread_workloads.hpp"

namespace {

using boost::fibers::channel_op_status;

template <class T>
class Queue {
 public:
  static bool supports(std::size_t /*capacity*/) { return true; }
  explicit Queue(std::size_t capacity) {
    if (capacity != 0) buffered_.emplace(slots_for(capacity));
  }

  void send(const T& value) {
    const channel_op_status status = buffered_ ? buffered_->push(value) : rendezvous_.push(value);
    versus::check(status == channel_op_status::success, "push failed");
  }
  T receive() { return buffered_ ? buffered_->value_pop() : rendezvous_.value_pop(); }

 private:
  /// A power of two, of which one slot stays empty: it holds 1, 127, 1023.
  static std::size_t slots_for(std::size_t capacity) {
    std::size_t slots = 2;
    while (slots - 1 < capacity) slots *= 2;
    return slots;
  }

  boost::fibers::unbuffered_channel<T> rendezvous_;
  std::optional<boost::fibers::buffered_channel<T>> buffered_;
};

/// Runs each of `workers` in a fiber of this thread.
versus::Figures run_fibers(std::size_t items, const std::vector<std::function<void()>>& workers) {
  std::vector<versus::Span> spans(workers.size());
  std::vector<boost::fibers::fiber> fibers;
  const versus::Usage before = versus::Usage::now();
  for (std::size_t i = 0; i != workers.size(); ++i) {
    fibers.emplace_back([&, i] {
      spans[i].begin = versus::now_ns();
      workers[i]();
      spans[i].end = versus::now_ns();
    });
  }
  for (boost::fibers::fiber& fiber : fibers) fiber.join();
  return versus::figures_of(items, spans, before, versus::Usage::now());
}

}  // namespace

int main(int argc, char** argv) {
  versus::Workloads workloads = versus::thread_workloads<Queue>();
  for (const auto& [name, workload] : versus::workloads_run_by<Queue>(run_fibers, "tasks_")) {
    workloads[name] = [workload = workload](const versus::Arguments& arguments) {
      return arguments["processors"] == 1 ? workload(arguments) : std::nullopt;
    };
  }
  return versus::run_program(argc, argv, workloads);
}
