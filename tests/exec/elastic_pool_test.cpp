// SPDX-License-Identifier: MIT
#include <atomic>
#include <chrono>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "exec/elastic_support.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/elastic_pool.hpp"
#include "penstock/metrics/json_writer.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/recorder.hpp"
#include "support/status_text.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::ContainsSubstring;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::is_at_rest;
using testing::Recorder;

TEST_CASE("ElasticPool: a task runs once, in a worker", "[exec][elastic_pool]") {
  std::atomic<int> ran{0};
  std::atomic<bool> inside{false};
  ElasticPool pool({.name = "p"});
  REQUIRE(pool.execute([&] {
    inside = pool.on_worker_thread();
    ++ran;
  }) == OpStatus::kOk);
  REQUIRE(is_at_rest(pool));
  CHECK(ran == 1);
  CHECK(inside);
  CHECK_FALSE(pool.on_worker_thread());
  CHECK(discrepancies(pool.stats()) == "");
}

TEST_CASE("ElasticPool: an answer comes to threads and to coroutines", "[exec][elastic_pool]") {
  ElasticPool pool({.name = "p"});
  CHECK(pool.submit([] { return 42; })->get().value() == 42);
  CHECK(pool.submit([] {})->get().ok());
  CHECK(absl::IsNotFound(pool.submit([] { return absl::NotFoundError("x"); })->get()));
  auto owned = std::make_unique<int>(7);
  Job<std::unique_ptr<int>> moved =
      pool.submit([owned = std::move(owned)]() mutable { return std::move(owned); }).value();
  const int sum = sync_wait([](ElasticPool& on, Job<std::unique_ptr<int>> first) -> Task<int> {
    co_await on.schedule();
    const bool inside = on.on_worker_thread();
    Job<int> second = on.submit([] { return 1; }).value();
    co_return *(co_await first).value() + (co_await second).value() + (inside ? 100 : 0);
  }(pool, std::move(moved)));
  CHECK(sum == 108);
}

TEST_CASE("ElasticPool: a task is told its context, its number and how it was asked to stop", "[exec][elastic_pool]") {
  Gate gate;
  ElasticPool pool({.name = "p"});
  const Context::Cancellable caller = Context::background().with_cancel();
  Job<absl::Status> job = pool.submit(
                                  [&](const JobContext& told) {
                                    gate.pass();
                                    const bool named = told.job_id == 1 && told.worker_id == 1;
                                    return named ? told.context.cause() : absl::UnknownError("numbers");
                                  },
                                  caller.context)
                              .value();
  CHECK(job.id() == 1);
  REQUIRE(gate.await(1));
  caller.source.cancel();
  gate.open();
  CHECK(absl::IsCancelled(job.get()));
}

// W01: the count is exact and every reply the right one.
TEST_CASE("ElasticPool: 11 threads with 1000 messages each get their replies", "[exec][elastic_pool]") {
  std::atomic<int> right{0};
  ElasticPool pool({.name = "p"});
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 11; ++thread) {
    threads.emplace_back([&, thread] {
      for (int message = 0; message < 1000; ++message) {
        const int asked = thread * 1000 + message;
        if (pool.submit([asked] { return asked + 1; })->get().value_or(0) == asked + 1) ++right;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(right == 11'000);
  CHECK(pool.stats().succeeded == 11'000);
}

// W03: exact after the end.
TEST_CASE("ElasticPool: 200 000 tasks are counted exactly", "[exec][elastic_pool]") {
  std::atomic<int> ran{0};
  ElasticPool pool({.name = "p", .max_workers = 10});
  for (int i = 0; i < 200'000; ++i) REQUIRE(pool.execute([&ran] { ++ran; }) == OpStatus::kOk);
  const ElasticShutdownReport report = pool.shutdown();
  CHECK(report.in_time);
  CHECK(report.dropped == 0);
  CHECK(ran == 200'000);
  const ElasticPoolStats stats = pool.stats();
  CHECK(stats.succeeded == 200'000);
  CHECK(stats.live == 0);
  CHECK(discrepancies(stats) == "");
}

TEST_CASE("ElasticPool: what a task throws is reported, answered and survived", "[exec][elastic_pool]") {
  Recorder<std::string> caught;
  ElasticPool pool({.name = "p", .on_exception = [&](const CaughtException& exception) {
                      caught.record(std::string(exception.pool) + ": " + std::string(exception.text));
                      throw std::runtime_error("the hook, too");
                    }});
  const absl::Status answer = pool.submit([]() -> int { throw std::runtime_error("broken"); })->get().status();
  CHECK(absl::IsInternal(answer));
  CHECK_THAT(testing::text_of(answer), ContainsSubstring("elastic pool 'p': job 1 threw std::runtime_error: broken"));
  REQUIRE(pool.execute([] { throw 7; }) == OpStatus::kOk);
  pool.post([] { throw std::logic_error("posted"); });
  CHECK(pool.submit([] { return 1; })->get().value() == 1);
  REQUIRE(is_at_rest(pool));
  CHECK(caught.size() == 3);
  CHECK(caught.contains("p: std::runtime_error: broken"));
  CHECK(caught.contains("p: std::logic_error: posted"));
  const ElasticPoolStats stats = pool.stats();
  CHECK(stats.threw == 2);
  CHECK(stats.exceptions == 6);  // and three of the hook
  CHECK(stats.trimmed == 0);
  CHECK(discrepancies(stats) == "");
}

TEST_CASE("ElasticPool: a low load always finds the same worker", "[exec][elastic_pool]") {
  ElasticPool pool({.name = "p", .min_workers = 5, .growth = {.at_once = 1}});
  REQUIRE(is_at_rest(pool));
  std::set<std::size_t> workers;
  for (int i = 0; i < 200; ++i) {
    REQUIRE(is_at_rest(pool));
    const auto worker = pool.submit([](const JobContext& told) { return told.worker_id; })->get();
    workers.insert(worker.value());
  }
  CHECK(workers.size() == 1);
}

TEST_CASE("ElasticPool: two pools share no counters", "[exec][elastic_pool]") {  // X20, E6
  ElasticPool first({.name = "a", .min_workers = 10});
  ElasticPool second({.name = "b"});
  REQUIRE(second.submit([] { return 1; })->get().ok());
  CHECK(first.stats().accepted == 0);
  CHECK(first.worker_count() == 10);
  CHECK(second.worker_count() == 1);
  CHECK(second.stats().accepted == 1);
}

TEST_CASE("ElasticPool: a cancelled job that waits never runs", "[exec][elastic_pool]") {
  Gate gate;
  std::atomic<int> ran{0};
  ElasticPool pool({.name = "p", .max_workers = 1});
  REQUIRE(pool.execute([&] { gate.pass(); }) == OpStatus::kOk);
  REQUIRE(gate.await(1));
  const Context::Cancellable caller = Context::background().with_cancel();
  Job<int> by_handle = pool.submit([&] { return ++ran; }).value();
  Job<int> by_context = pool.submit([&] { return ++ran; }, caller.context).value();
  Job<int> goes_on = pool.submit([&] { return ++ran; }).value();
  CHECK(by_handle.cancel());
  CHECK_FALSE(by_handle.cancel());
  caller.source.cancel();
  CHECK(absl::IsCancelled(by_handle.get().status()));
  CHECK(absl::IsCancelled(by_context.get().status()));
  CHECK_THAT(testing::text_of(by_handle.get().status()),
             ContainsSubstring("elastic pool 'p': job 2 cancelled in the queue"));
  gate.open();
  CHECK(goes_on.get().value() == 1);
  REQUIRE(is_at_rest(pool));
  CHECK(pool.stats().cancelled == 2);
  CHECK(discrepancies(pool.stats()) == "");
}

TEST_CASE("ElasticPool: in a limited pool a task waits only for jobs that have started", "[exec][elastic_pool]") {
  ElasticPool pool({.name = "p", .max_workers = 1});
  const absl::StatusOr<bool> refused =
      pool.submit([&] { return absl::IsFailedPrecondition(pool.submit([] { return 1; })->get().status()); })->get();
  CHECK(refused.value());
}

TEST_CASE("ElasticPool: tasks may wait for each other, as deep as they like", "[exec][elastic_pool]") {
  ElasticPool pool({.name = "p"});
  struct Sum {
    static int down(ElasticPool& on, int n) {
      return n == 0 ? 0 : n + on.submit([&on, n] { return down(on, n - 1); })->get().value();
    }
  };
  CHECK(pool.submit([&] { return Sum::down(pool, 100); })->get().value() == 5050);
  CHECK(pool.stats().peak >= 100);
}

TEST_CASE("ElasticPool: its figures go to a sink, and add up", "[exec][elastic_pool]") {
  ElasticPool pool({.name = "p"});
  REQUIRE(pool.submit([] { return 1; })->get().ok());
  REQUIRE(is_at_rest(pool));
  JsonMetricSink sink;
  pool.collect(sink);
  const std::string json = sink.text();
  CHECK(sink.refusals() == MetricRefusals{});
  CHECK_THAT(json, ContainsSubstring("penstock_elastic_pool_workers_created_total"));
  CHECK_THAT(json, ContainsSubstring("penstock_elastic_pool_tasks_total"));
  CHECK(discrepancies(pool.stats()) == "");
}

}  // namespace
}  // namespace penstock
