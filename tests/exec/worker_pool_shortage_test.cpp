// SPDX-License-Identifier: MIT

// Worker pools on a system that has no threads left: what is begun is taken back, and what is missing is tried again.

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>

#include "exec/pool_support.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/thread_shortage.hpp"
#include "support/threads.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::hold;
using testing::make_pool;
using testing::text_of;
using testing::threads_of;
using testing::ThreadShortage;

TEST_CASE("WorkerPool: where the system has too few threads no pool is made, and none of them is left",
          "[exec][worker_pool]") {
  constexpr int kThreads = 4;  // a watch and three workers
  std::atomic<int> started{0};
  std::atomic<int> stopped{0};
  std::atomic<int> checked{0};
  const WorkerPoolOptions options{.name = "scarce",
                                  .workers = kThreads - 1,
                                  .on_worker_start =
                                      [&started](std::size_t) {
                                        ++started;
                                        return absl::OkStatus();
                                      },
                                  .on_worker_stop = [&stopped](std::size_t) { ++stopped; },
                                  .health_check =
                                      [&checked](const Context&) {
                                        ++checked;
                                        return absl::OkStatus();
                                      }};
  for (int left = 0; left < kThreads; ++left) {
    started = stopped = 0;
    StartupReport report;
    absl::Status refused;
    {
      const ThreadShortage shortage(left);
      refused = WorkerPool::create(options, &report).status();
    }
    CHECK(absl::IsResourceExhausted(refused));
    CHECK(text_of(refused) == "worker pool 'scarce': cannot start thread " + std::to_string(left + 1) +
                                  " of 4: Resource temporarily unavailable");
    REQUIRE(report.steps.size() == 2);
    CHECK(report.steps.back().phase == StartupReport::Phase::kThreads);
    CHECK(report.steps.back().status == refused);
    CHECK(started == (left == 0 ? 0 : left - 1));
    CHECK(stopped == started);
    CHECK(eventually([] { return threads_of("scarce") == 0; }));
  }
  CHECK(checked == 0);
  {
    const ThreadShortage shortage(kThreads);
    const auto pool = WorkerPool::create(options);
    REQUIRE(pool.ok());
    CHECK((*pool)->submit([] { return 7; }).value().get().value() == 7);
  }
  CHECK(checked == 1);
}

TEST_CASE("WorkerPool: where the system has too few threads no worker is added", "[exec][worker_pool]") {
  std::atomic<int> started{0};
  std::atomic<int> stopped{0};
  auto pool = make_pool({.workers = 1,
                         .on_worker_start =
                             [&started](std::size_t) {
                               ++started;
                               return absl::OkStatus();
                             },
                         .max_workers = 4,
                         .on_worker_stop = [&stopped](std::size_t) { ++stopped; }});
  absl::Status refused;
  {
    const ThreadShortage shortage(2);
    refused = pool->add_workers(3);
  }
  CHECK(absl::IsResourceExhausted(refused));
  CHECK(text_of(refused) == "worker pool 'p': cannot start thread 3 of 3: Resource temporarily unavailable");
  CHECK(started == 3);
  CHECK(stopped == 2);
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.configured == 1);
  CHECK(stats.live == 1);
  CHECK(stats.joining == 0);
  CHECK(stats.workers_added == 0);
  CHECK(discrepancies(stats).empty());
  CHECK(eventually([] { return threads_of("p") == 2; }));
  CHECK(pool->add_workers(3).ok());
  CHECK(pool->stats().live == 4);
  pool.destroy();
  CHECK(stopped == started);
}

TEST_CASE("WorkerPool: growth for which the system has no thread is tried again after a second",
          "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .queue_capacity = 10, .clock = &clock, .max_workers = 2});
  hold(*pool, gate);
  REQUIRE(gate.await(1));
  {
    const ThreadShortage shortage(0);
    hold(*pool, gate);
    REQUIRE(eventually([&] { return pool->stats().worker_failures == 1; }));
    CHECK(pool->stats().live == 1);
    CHECK(pool->stats().joining == 1);  // since a job waits
    CHECK(discrepancies(pool->stats()).empty());
    clock.advance(1s - 1ns);
  }
  CHECK(gate.arrived() == 1);
  clock.advance(1ns);
  CHECK(gate.await(2));
  CHECK(pool->stats().live == 2);
  CHECK(pool->stats().worker_failures == 1);
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("WorkerPool: a worker that has gone since its job threw has a successor once the system has a thread",
          "[exec][worker_pool]") {
  ManualClock clock;
  auto pool = make_pool({.workers = 1, .clock = &clock, .retire_worker_after_panic = true});
  Job<int> waiting;
  {
    const ThreadShortage shortage(0);
    REQUIRE(pool->execute([] { throw std::runtime_error("boom"); }) == OpStatus::kOk);
    REQUIRE(eventually([&] { return pool->stats().worker_failures == 1; }));
    CHECK(pool->stats().live == 0);
    CHECK(discrepancies(pool->stats()).empty());
    waiting = pool->submit([] { return 7; }).value();
  }
  REQUIRE(eventually([&] { return clock.armed() == 1; }));  // the watch sleeps until it may try again
  CHECK_FALSE(waiting.is_done());
  clock.advance(1s);
  CHECK(waiting.get().value() == 7);
  CHECK(pool->stats().live == 1);
  CHECK(pool->stats().workers_retired == 1);
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("WorkerPool: of two stuck workers one is replaced where the system has one thread, and the other one later",
          "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 2, .processing_timeout = 30s, .clock = &clock, .max_replacements = 2});
  hold(*pool, gate, 2);
  REQUIRE(gate.await(2));
  {
    const ThreadShortage shortage(1);
    clock.advance(30s);
    REQUIRE(eventually([&] {
      const WorkerPoolStats stats = pool->stats();
      return stats.live == 3 && stats.worker_failures == 1;
    }));
    CHECK(pool->stats().replacements == 2);
    CHECK(discrepancies(pool->stats()).empty());
    CHECK(pool->submit([] { return 7; }).value().get().value() == 7);
  }
  // The watch sleeps until it may try again.
  REQUIRE(eventually([&] { return clock.armed() == 1; }));
  clock.advance(1s);
  CHECK(eventually([&] { return pool->stats().live == 4; }));
  CHECK(pool->stats().worker_failures == 1);
  CHECK(discrepancies(pool->stats()).empty());
}

}  // namespace
}  // namespace penstock
