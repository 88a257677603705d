// SPDX-License-Identifier: MIT
// tbb::task_group in a tbb::task_arena. It has no bound; who submits takes a place of its own in the arena, and helps
// to run the jobs once all are submitted.
#include <utility>

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

#include "pool_workloads.hpp"

namespace {

constexpr std::size_t kMostSubmitters = 4;

class Pool {
 public:
  Pool(std::size_t workers, std::size_t /*capacity*/)
      : threads_(tbb::global_control::max_allowed_parallelism, workers + 1),  // the main thread is counted, too
        arena_(static_cast<int>(workers + kMostSubmitters), kMostSubmitters) {}

  template <class F>
  void produce(F submits) {
    arena_.execute([&] {
      submits();
      group_.wait();
    });
  }

  template <class F>
  void run(F job) {
    group_.run(std::move(job));
  }

 private:
  tbb::global_control threads_;
  tbb::task_arena arena_;
  tbb::task_group group_;
};

}  // namespace

int main(int argc, char** argv) { return versus::run_program(argc, argv, versus::pool_workloads<Pool>()); }
