// SPDX-License-Identifier: MIT

// Who asks what the workers of a pool do, under every schedule: a job that is shown with its tag is not freed
// meanwhile, and what is said of a worker goes together.

#include <memory>
#include <utility>
#include <vector>

#include "penstock/exec/worker_pool.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
namespace world = penstock::detail::world;

TEST_CASE("WorkerPool: who asks for the workers against a job's call and its end", "[model][worker_pool]") {
  checker::Options options{.name = "pool, workers() against a job"};
  options.preemptions = 1;
  options.executions = 20'000;
  checker::must_pass(options, [] {
    WorkerPoolOptions settings{.name = "p", .workers = 1, .queue_capacity = 1};
    settings.enqueue_timeout = settings.queue_wait_limit = Duration::max();
    settings.processing_timeout = settings.shutdown_timeout = Duration::max();
    settings.measure = false;
    std::unique_ptr<WorkerPool> pool;
    {
      const checker::Calm calm;
      pool = *WorkerPool::create(std::move(settings));
    }
    world::Thread asks([&pool] {
      const std::vector<WorkerInfo> workers = pool->workers();
      MODEL_ASSERT(workers.size() == 1);
      const WorkerInfo& worker = workers.front();
      const bool has_job = worker.state != WorkerState::kListening && worker.state != WorkerState::kPosted;
      MODEL_ASSERT(has_job == (worker.job_id == 1));
      MODEL_ASSERT(has_job == (worker.tag == "t"));
      MODEL_ASSERT(worker.jobs <= 1);
      MODEL_ASSERT(worker.state != WorkerState::kCalling || worker.jobs == 0);
      MODEL_ASSERT(has_job || worker.in_state >= Duration::zero());
    });
    const auto calls = [](const JobContext& job) { const auto calling = job.calling(); };
    // Nobody keeps a handle: once it has ended the job is the worker's, and the asker's.
    MODEL_ASSERT(pool->execute(calls, {.tag = "t"}) == OpStatus::kOk);
    asks.join();
    pool.reset();
  });
}
