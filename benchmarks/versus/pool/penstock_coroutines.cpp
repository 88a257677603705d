// SPDX-License-Identifier: MIT
// Ours, coroutines: each job is one, which a pool runs.
#include <memory>
#include <utility>

#include "penstock/core/task.hpp"
#include "penstock/exec/worker_pool.hpp"

#include "penstock_pool.hpp"
#include "pool_workloads.hpp"

namespace versus {
namespace {

using penstock::Task;
using penstock::WorkerPool;

/// `spawn` schedules a coroutine; so it is created, scheduled, run and destroyed.
struct Spawned {
  template <class F>
  static Task<> call(WorkerPool& /*pool*/, F job) {
    job();
    co_return;
  }
};

/// This one schedules itself once more.
struct ScheduledAgain {
  template <class F>
  static Task<> call(WorkerPool& pool, F job) {
    co_await pool.schedule();
    job();
  }
};

template <class Coroutine>
class Pool {
 public:
  Pool(std::size_t workers, std::size_t capacity) : pool_(make_pool(workers, capacity)) {}

  template <class F>
  void run(F job) {
    static_cast<void>(spawn(*pool_, Coroutine::call(*pool_, std::move(job))));
  }

 private:
  const std::unique_ptr<WorkerPool> pool_;
};

}  // namespace

Workloads coroutine_workloads() {
  return {{"coroutines", bulk<Pool<Spawned>>}, {"coroutines_schedule", bulk<Pool<ScheduledAgain>>}};
}

}  // namespace versus
