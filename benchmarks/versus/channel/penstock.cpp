// SPDX-License-Identifier: MIT
// Ours, on threads; batches, coroutines and select are in files of their own.
#include "penstock/channel/channel.hpp"

#include "penstock_workloads.hpp"
#include "thread_workloads.hpp"

namespace {

using penstock::Channel;
using penstock::OpStatus;

template <class T>
class Queue {
 public:
  static bool supports(std::size_t /*capacity*/) { return true; }
  explicit Queue(std::size_t capacity) : channel_(capacity) {}

  void send(const T& value) { versus::check(channel_.send(value) == OpStatus::kOk, "send failed"); }
  T receive() {
    T value;
    versus::check(channel_.receive(value) == OpStatus::kOk, "receive failed");
    return value;
  }

 private:
  Channel<T> channel_;
};

}  // namespace

int main(int argc, char** argv) {
  versus::Workloads workloads = versus::thread_workloads<Queue>();
  workloads.merge(versus::batch_workloads());
  workloads.merge(versus::task_workloads());
  workloads.merge(versus::select_workloads());
  return versus::run_program(argc, argv, workloads);
}
