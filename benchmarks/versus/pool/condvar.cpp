// SPDX-License-Identifier: MIT
// The pool that everybody writes. A job with a result is a std::packaged_task, on the heap because a std::function is
// copied.
#include <cstddef>
#include <future>
#include <limits>
#include <memory>
#include <utility>

#include "pool_workloads.hpp"
#include "support/condvar_pool.hpp"

namespace {

class Pool : public CondVarPool {
 public:
  Pool(std::size_t workers, [[maybe_unused]] std::size_t capacity)
#ifdef VERSUS_UNBOUNDED
      : CondVarPool(workers, std::numeric_limits<std::size_t>::max()){}
#else
      : CondVarPool(workers, capacity) {
  }
#endif

        template <class F>
        std::future<int> submit(F job) {
    auto task = std::make_shared<std::packaged_task<int()>>(std::move(job));
    std::future<int> result = task->get_future();
    run([task = std::move(task)] { (*task)(); });
    return result;
  }
  static int wait(std::future<int>& result) { return result.get(); }
};

}  // namespace

int main(int argc, char** argv) { return versus::run_program(argc, argv, versus::pool_workloads<Pool>()); }
