// SPDX-License-Identifier: MIT

// The copy of a worker pool in a forked child: it refuses everything, waits for nothing, and can be destroyed, also if
// a lock of the pool was held when the fork came. The parent's pool goes on.

#include <atomic>
#include <chrono>
#include <exception>
#include <stdexcept>
#include <thread>

#include "exec/pool_support.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "penstock/metrics/prometheus_writer.hpp"
#include "support/catch.hpp"
#include "support/detached.hpp"
#include "support/forked.hpp"

#if PENSTOCK_TEST_FORKS
namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::hold;
using testing::make_pool;
using testing::TestPool;
using testing::text_of;

const char* const kRefused = "worker pool 'p': its threads are not in this process, which is a fork";

bool is_refused(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) && text_of(status) == kRefused;
}

testing::Detached go_on_in(RunLoop& /*loop*/, WorkerPool& pool, bool& resumed) {
  co_await pool.schedule();
  resumed = true;
}

// The number of the first law that the copy breaks, which is destroyed then; 0 if it keeps all.
int broken_law(TestPool& pool, std::atomic<int>& told) {
  const int told_before = told;
  bool ran = false;
  const auto run = [&ran] { ran = true; };
  int law = 0;
  int broken = 0;
  const auto require = [&](bool holds) {
    ++law;
    if (!holds && broken == 0) broken = law;
  };
  require(is_refused(pool->submit(run).status()));
  require(is_refused(pool->submit(run, {.overflow = OverflowPolicy::kCallerRuns}).status()));
  require(pool->workers().empty());
  Job<void> job;
  require(pool->try_submit(run, &job) == OpStatus::kClosed && job.id() == 0);
  require(pool->execute(run) == OpStatus::kClosed);
  require(pool->execute(run, {.tag = "t"}) == OpStatus::kClosed);
  require(is_refused(pool->set_overflow(OverflowPolicy::kReject)));
  require(is_refused(pool->set_queue_capacity(7)));
  require(is_refused(pool->resize(1)));
  require(is_refused(pool->add_workers(1)));
  require(is_refused(pool->remove_workers(1)));  // 10
  pool->pause();
  pool->resume();
  const WorkerPoolStats stats = pool->stats();
  require(stats.submitted + stats.accepted + stats.started + stats.live + stats.configured == 0 && !stats.paused);
  PrometheusWriter writer;
  pool->collect(writer);
  require(writer.refusals() == MetricRefusals());
  const ShutdownReport report = pool->shutdown(Context::background());
  require(report.is_drained() && report.completed == 0);
  require(pool->name() == "p" && !pool->on_worker_thread());

  struct Posted : Work {
    explicit Posted(bool& flag) noexcept
        : Work([](Work& work) noexcept { static_cast<Posted&>(work).ran = true; }), ran(flag) {}
    bool& ran;
  };
  Posted posted(ran);
  pool->post(posted);
  require(pool->revoke(posted));
  pool->post(run);
  RunLoop loop;
  bool resumed = false;
  go_on_in(loop, *pool, resumed).handle.destroy();
  pool->on_exception(std::make_exception_ptr(std::runtime_error("boom")));
  require(told == told_before);
  pool.destroy();
  require(!ran && !resumed);
  return broken;
}

TEST_CASE("WorkerPool: a forked child's copy refuses everything, and the parent's goes on", "[exec][worker_pool]") {
  Gate gate;
  std::atomic<int> told{0};
  auto pool = make_pool(gate, {.workers = 2,
                               .queue_capacity = 10,
                               .on_exception = [&told](const CaughtException&) { ++told; },
                               .min_workers = 1});
  hold(*pool, gate);
  REQUIRE(gate.await(1));
  Job<int> running = pool->submit([&gate] {
                           gate.pass();
                           return 7;
                         })
                         .value();
  REQUIRE(gate.await(2));
  hold(*pool, gate);
  CHECK(testing::answer_of_child([&] { return broken_law(pool, told); }) == 0);

  CHECK_FALSE(running.is_done());
  CHECK(pool->stats().live == 2);
  CHECK(discrepancies(pool->stats()).empty());
  gate.open();
  CHECK(running.get().value() == 7);
  CHECK(pool->submit([] { return 8; }).value().get().value() == 8);
  CHECK(pool->remove_workers(1).ok());
  CHECK(pool->shutdown(Context::background()).is_drained());
  CHECK(pool->stats().succeeded == 4);
}

TEST_CASE("WorkerPool: a child forked by a job can destroy its copy", "[exec][worker_pool]") {
  auto pool = make_pool({.workers = 1});
  std::atomic<int> told{0};
  auto law = pool->submit([&] { return testing::answer_of_child([&] { return broken_law(pool, told); }); });
  CHECK(law.value().get().value() == 0);
}

#if PENSTOCK_TEST_BUSY_FORKS

// In the middle of work some lock is held by a thread that the child does not have.
TEST_CASE("WorkerPool: a fork in the middle of work leaves nothing to wait for", "[exec][worker_pool]") {
  std::atomic<int> told{0};
  auto pool = make_pool({.workers = 2, .queue_capacity = 4, .enqueue_timeout = 1h, .min_workers = 1});
  std::atomic<bool> ends{false};
  std::atomic<std::uint64_t> accepted{0};
  std::thread submitters[2];
  for (std::thread& submitter : submitters) {
    submitter = std::thread([&] {
      while (!ends) {
        if (pool->execute([] {}) == OpStatus::kOk) ++accepted;
      }
    });
  }
  for (int i = 0; i < 50; ++i) CHECK(testing::answer_of_child([&] { return broken_law(pool, told); }) == 0);
  ends = true;
  for (std::thread& submitter : submitters) submitter.join();
  CHECK(pool->shutdown(Context::background()).is_drained());
  CHECK(pool->stats().succeeded == accepted);
  CHECK(discrepancies(pool->stats()).empty());
}

#endif

}  // namespace
}  // namespace penstock
#endif
