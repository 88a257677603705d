// SPDX-License-Identifier: MIT
#include <algorithm>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"
#include "support/threads.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::hold;
using testing::make_pool;
using testing::Recorder;
using testing::text_of;
using testing::threads_of;

bool await_live(WorkerPool& pool, std::size_t workers) {
  return eventually([&] {
    const WorkerPoolStats stats = pool.stats();
    return stats.live == workers && stats.joining == 0 && stats.retiring == 0;
  });
}

TEST_CASE("WorkerPool: workers come and go within their limits", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 2, .min_workers = 1, .max_workers = 4});
  CHECK(pool->add_workers(2).ok());
  WorkerPoolStats stats = pool->stats();
  CHECK(stats.configured == 4);
  CHECK(stats.live == 4);
  CHECK(stats.workers_added == 2);
  CHECK(discrepancies(stats).empty());
  CHECK(pool->remove_workers(1).ok());
  CHECK(await_live(*pool, 3));
  CHECK(pool->resize(1).ok());
  CHECK(await_live(*pool, 1));
  CHECK(pool->resize(1).ok());
  CHECK(pool->add_workers(0).ok());
  CHECK(pool->remove_workers(0).ok());
  stats = pool->stats();
  CHECK(stats.configured == 1);
  CHECK(stats.workers_removed == 3);
  CHECK(discrepancies(stats).empty());
}

TEST_CASE("WorkerPool: a size outside of the limits is refused, with the numbers", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 2, .min_workers = 1, .max_workers = 4});
  const absl::Status more = pool->resize(5);
  CHECK(more.code() == absl::StatusCode::kInvalidArgument);
  CHECK(text_of(more) == "worker pool 'p': the number of workers must be in [1, 4], got 5");
  CHECK(text_of(pool->resize(0)) == "worker pool 'p': the number of workers must be in [1, 4], got 0");
  CHECK(text_of(pool->add_workers(3)) == "worker pool 'p': the number of workers must be in [1, 4], got 5");
  CHECK(pool->add_workers(static_cast<std::size_t>(-1)).code() == absl::StatusCode::kInvalidArgument);
  CHECK(text_of(pool->remove_workers(2)) == "worker pool 'p': the number of workers must be in [1, 4], got 0");
  CHECK(pool->remove_workers(static_cast<std::size_t>(-1)).code() == absl::StatusCode::kInvalidArgument);
  CHECK(pool->stats().live == 2);
  CHECK(pool->stats().workers_added + pool->stats().workers_removed == 0);
}

TEST_CASE("WorkerPool: without limits of its own the crew stays as it is", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 2});
  CHECK(text_of(pool->add_workers(1)) == "worker pool 'p': the number of workers must be in [2, 2], got 3");
  CHECK(text_of(pool->remove_workers(1)) == "worker pool 'p': the number of workers must be in [2, 2], got 1");
}

TEST_CASE("WorkerPool: after a shutdown no worker comes or goes", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 2, .min_workers = 1, .max_workers = 4});
  pool->shutdown(Context::background());
  for (const absl::Status& refused : {pool->add_workers(1), pool->remove_workers(1), pool->resize(3)}) {
    CHECK(refused.code() == absl::StatusCode::kUnavailable);
    CHECK(text_of(refused) == "worker pool 'p': shut down");
  }
}

TEST_CASE("WorkerPool: of several new workers all start or none", "[exec][worker_pool]") {
  std::atomic<bool> has_keys{false};
  const auto start = [&has_keys](std::size_t id) -> absl::Status {
    return id == 3 && !has_keys ? absl::UnavailableError("no key left") : absl::OkStatus();
  };
  auto pool = make_pool({.workers = 2, .on_worker_start = start, .max_workers = 8});
  const absl::Status failed = pool->add_workers(3);
  CHECK(failed.code() == absl::StatusCode::kUnavailable);
  CHECK(text_of(failed) == "worker pool 'p': worker 3 did not start: no key left");
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.configured == 2);
  CHECK(stats.live == 2);
  CHECK(stats.joining == 0);
  CHECK(stats.worker_failures == 1);
  CHECK(stats.workers_added == 0);
  CHECK(discrepancies(stats).empty());
  CHECK(eventually([&] { return threads_of("p") == 3; }));
  CHECK(pool->submit([] { return 7; }).value().get().value() == 7);
  CHECK(pool->add_workers(1).ok());  // number 2 does not mind
  CHECK(pool->stats().live == 3);
  pool.destroy();
  CHECK(eventually([&] { return threads_of("p") == 0; }));
}

TEST_CASE("WorkerPool: a start hook that throws is a failure like any other", "[exec][worker_pool]") {
  const auto start = [](std::size_t id) -> absl::Status {
    if (id == 1) throw std::runtime_error("boom");
    return absl::OkStatus();
  };
  const auto pool = make_pool({.workers = 1, .on_worker_start = start, .max_workers = 2});
  const absl::Status failed = pool->add_workers(1);
  CHECK(failed.code() == absl::StatusCode::kInternal);
  CHECK(text_of(failed) == "worker pool 'p': on_worker_start(1) threw std::runtime_error: boom");
  CHECK(pool->stats().live == 1);
}

TEST_CASE(
    "WorkerPool: it grows while all are busy and a job waits, up to "
    "max_workers",
    "[exec][worker_pool]") {
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .queue_capacity = 10, .max_workers = 4});
  for (int jobs = 1; jobs <= 4; ++jobs) {
    hold(*pool, gate);
    REQUIRE(gate.await(jobs));
    CHECK(discrepancies(pool->stats()).empty());
  }
  hold(*pool, gate, 2);
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.configured == 4);
  CHECK(stats.busy == 4);
  CHECK(stats.workers_added == 3);
  CHECK(stats.queue_depth == 2);
  CHECK(discrepancies(stats).empty());
}

TEST_CASE("WorkerPool: a worker idle for idle_timeout goes, down to min_workers", "[exec][worker_pool]") {
  ManualClock clock;
  Recorder<std::size_t> stopped;
  auto pool = make_pool({.workers = 3,
                         .clock = &clock,
                         .min_workers = 1,
                         .max_workers = 4,
                         .idle_timeout = 10s,
                         .on_worker_stop = [&stopped](std::size_t id) { stopped.record(id); }});
  REQUIRE(eventually([&] { return clock.armed() == 3; }));
  clock.advance(10s - 1ns);
  CHECK(pool->stats().configured == 3);
  CHECK(stopped.size() == 0);
  clock.advance(1ns);
  CHECK(await_live(*pool, 1));
  CHECK(eventually([&] { return threads_of("p") == 2; }));  // a worker and the watch
  CHECK(stopped.size() == 2);
  WorkerPoolStats stats = pool->stats();
  CHECK(stats.configured == 1);
  CHECK(stats.workers_removed == 2);
  CHECK(discrepancies(stats).empty());

  REQUIRE(eventually([&] { return clock.armed() == 1; }));
  clock.advance(10s);
  CHECK(pool->submit([] { return 7; }).value().get().value() == 7);
  CHECK(pool->stats().live == 1);
  pool.destroy();
  CHECK(eventually([&] { return threads_of("p") == 0; }));
  CHECK(stopped.size() == 3);
  std::vector<std::size_t> ids = stopped.events();
  std::sort(ids.begin(), ids.end());
  CHECK(ids == std::vector<std::size_t>{0, 1, 2});
}

TEST_CASE("WorkerPool: fewer workers never cost a job that runs", "[exec][worker_pool]") {
  Gate gate;
  Recorder<std::size_t> stopped;
  const auto pool =
      make_pool(gate, {.workers = 3, .min_workers = 1, .max_workers = 3, .on_worker_stop = [&stopped](std::size_t id) {
                         stopped.record(id);
                       }});
  std::vector<Job<bool>> jobs;
  for (int i = 0; i < 2; ++i) {
    jobs.push_back(pool->submit([&gate](const JobContext& job) {
                         gate.pass();
                         return job.context.is_done();
                       })
                       .value());
  }
  REQUIRE(gate.await(2));
  REQUIRE(pool->remove_workers(2).ok());  // the idle one at once, one of the others later
  REQUIRE(eventually([&] { return stopped.size() == 1; }));
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.configured == 1);
  CHECK(stats.live == 2);
  CHECK(stats.retiring == 1);
  CHECK(stats.running == 2);
  CHECK(discrepancies(stats).empty());
  gate.open();
  for (Job<bool>& job : jobs) CHECK_FALSE(job.get().value());
  CHECK(await_live(*pool, 1));
  CHECK(eventually([&] { return stopped.size() == 2; }));
  CHECK(pool->stats().succeeded == 2);
}

TEST_CASE("WorkerPool: a hook that throws when its worker goes is counted", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 2, .min_workers = 1, .max_workers = 2, .on_worker_stop = [](std::size_t) {
                                 throw std::runtime_error("boom");
                               }});
  REQUIRE(pool->remove_workers(1).ok());
  CHECK(eventually([&] { return pool->stats().exceptions == 1; }));
  CHECK(pool->submit([] { return 7; }).value().get().value() == 7);
}

}  // namespace
}  // namespace penstock
