// SPDX-License-Identifier: MIT

// Who stands in line for a worker pool while its crew changes, and who leaves a pool that is about to go, under every
// schedule.

#include <chrono>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "penstock/core/detail/parker.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/worker_pool.hpp"

#include "model/pool_scenario.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
namespace world = penstock::detail::world;

namespace {

std::unique_ptr<WorkerPool> make_pool(WorkerPoolOptions options) {
  options.workers = 1;
  return checker::make_endless_pool(std::move(options));
}

Task<absl::Status> submit_one(WorkerPool& pool, std::vector<int>& order, int number) {
  const auto job = co_await pool.async_submit([&order, number] { order.push_back(number); });
  co_return job.status();
}

}  // namespace

// Without a queue a place is a free worker. The first one is held, so each job goes to the one that comes.
TEST_CASE("WorkerPool: a worker that comes gives its place to the first in line, and nobody overtakes",
          "[model][worker_pool]") {
  checker::must_pass({.name = "pool, a new worker against the line", .preemptions = 0, .executions = 20'000}, [] {
    auto pool = make_pool({.queue_capacity = 0, .overflow = OverflowPolicy::kBlock, .max_workers = 2});
    detail::Parker gate;
    detail::Parker started;
    std::vector<int> order;
    {
      const checker::Calm calm;
      order.reserve(3);
      MODEL_ASSERT(pool->execute([&] {
        started.unpark();
        gate.park();
      }) == OpStatus::kOk);
      started.park();
    }
    auto first = spawn(Executor::inline_executor(), submit_one(*pool, order, 1));  // brings a worker along
    auto second = spawn(Executor::inline_executor(), submit_one(*pool, order, 2));
    OpStatus third = OpStatus::kFull;
    world::Thread late([&] { third = pool->try_submit([&] { order.push_back(3); }); });
    MODEL_ASSERT(first.get().ok());
    MODEL_ASSERT(second.get().ok());
    late.join();
    gate.unpark();
    {
      const checker::Calm calm;
      MODEL_ASSERT(pool->shutdown(Context::background()).is_drained());
    }
    const WorkerPoolStats stats = pool->stats();
    MODEL_ASSERT(stats.live == 2 && stats.workers_added == 1 && stats.submitting == 0);
    MODEL_ASSERT(stats.submitted == 4 && stats.succeeded == stats.accepted);
    MODEL_ASSERT(order == (third == OpStatus::kOk ? std::vector<int>{1, 2, 3} : std::vector<int>{1, 2}));
    const checker::Calm calm;
    pool.reset();
  });
}

// The pool may be gone as soon as the last submission is counted out.
TEST_CASE("WorkerPool: a submission that fails against the end of the pool", "[model][worker_pool]") {
  struct Unmovable {
    explicit Unmovable(detail::Parker& place) : inside(&place) {}
    Unmovable(const Unmovable& other) : inside(other.inside) {
      inside->unpark();
      throw 1;
    }
    void operator()() const {}
    detail::Parker* inside;
  };
  checker::must_pass({.name = "pool, a failing submission against the end", .preemptions = 1, .executions = 5'000}, [] {
    auto pool = make_pool({.queue_capacity = 1});
    detail::Parker inside;
    bool threw = false;
    WorkerPool& submits_to = *pool;
    world::Thread submitter([&] {
      const Unmovable function(inside);
      try {
        static_cast<void>(submits_to.try_submit(function));
      } catch (int) {
        threw = true;
      }
    });
    inside.park();
    pool.reset();
    submitter.join();
    MODEL_ASSERT(threw);
  });
}
