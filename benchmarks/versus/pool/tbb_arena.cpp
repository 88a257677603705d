// SPDX-License-Identifier: MIT
// tbb::task_arena, whose tasks are enqueued. It has no bound.
#include <utility>

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>

#include "pool_workloads.hpp"

namespace {

class Pool {
 public:
  Pool(std::size_t workers, std::size_t /*capacity*/)
      : threads_(tbb::global_control::max_allowed_parallelism, workers + 1),  // the main thread is counted, too
        arena_(static_cast<int>(workers), 0) {}

  template <class F>
  void run(F job) {
    arena_.enqueue(std::move(job));
  }

 private:
  tbb::global_control threads_;
  tbb::task_arena arena_;
};

}  // namespace

int main(int argc, char** argv) { return versus::run_program(argc, argv, versus::pool_workloads<Pool>()); }
