// SPDX-License-Identifier: MIT

// Posted work and the jobs of a worker pool under every schedule: a worker that is promised to a job takes no posted
// work, and nothing that was posted stays behind.

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <utility>

#include "penstock/core/detail/parker.hpp"
#include "penstock/exec/worker_pool.hpp"

#include "model/pool_scenario.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using penstock::checker::must_pass_with_pool;
namespace world = penstock::detail::world;

namespace {

std::unique_ptr<WorkerPool> make_pool(std::size_t capacity, bool retires = false) {
  return checker::make_endless_pool({.workers = 1, .queue_capacity = capacity, .retire_worker_after_panic = retires});
}

}  // namespace

TEST_CASE("WorkerPool: posted work for a busy worker against a job that it waits for", "[model][worker_pool]") {
  must_pass_with_pool({.name = "pool, posted work against a hand-over"}, [] {
    world::Atomic<int> done{0};
    const auto count = [&] { done.fetch_add(1, std::memory_order_relaxed); };
    bool accepted = false;
    {
      detail::Parker gate;
      const auto pool = make_pool(0);
      pool->post(count);
      // Ends after the job. Had the worker taken it between the job's acceptance and its start, both would hang.
      world::Thread poster([&] {
        pool->post([&] {
          gate.park();
          count();
        });
      });
      const auto job = [&] {
        count();
        gate.unpark();
      };
      accepted = pool->try_submit(job) == OpStatus::kOk;
      if (!accepted) gate.unpark();
      poster.join();
    }
    MODEL_ASSERT(done.load(std::memory_order_relaxed) == (accepted ? 3 : 2));
  });
}

TEST_CASE("WorkerPool: a queue that becomes smaller than it is full against posted work", "[model][worker_pool]") {
  must_pass_with_pool({.name = "pool, posted work against less capacity"}, [] {
    world::Atomic<int> done{0};
    const auto count = [&] { done.fetch_add(1, std::memory_order_relaxed); };
    {
      const auto pool = make_pool(1);
      pool->post(count);
      MODEL_ASSERT(pool->execute(count) == OpStatus::kOk);
      world::Thread poster([&] { pool->post(count); });
      MODEL_ASSERT(pool->set_queue_capacity(0).ok());
      poster.join();
    }
    MODEL_ASSERT(done.load(std::memory_order_relaxed) == 3);
  });
}

TEST_CASE("WorkerPool: a worker that goes since its job has thrown against a job and posted work",
          "[model][worker_pool]") {
  must_pass_with_pool({.name = "pool, retirement against jobs"}, [] {
    world::Atomic<int> done{0};
    const auto count = [&] { done.fetch_add(1, std::memory_order_relaxed); };
    const auto pool = make_pool(1, true);
    MODEL_ASSERT(pool->execute([] { throw std::runtime_error("boom"); }) == OpStatus::kOk);
    world::Thread poster([&] { pool->post(count); });
    MODEL_ASSERT(pool->execute(count) == OpStatus::kOk);
    poster.join();
    {
      const checker::Calm calm;
      pool->shutdown(Context::background());
      const WorkerPoolStats stats = pool->stats();
      MODEL_ASSERT(stats.panicked == 1 && stats.succeeded == 1 && stats.workers_retired == 1);
      MODEL_ASSERT(stats.live + stats.joining == 1);
    }
  });
}
