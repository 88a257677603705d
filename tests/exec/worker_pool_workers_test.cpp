// SPDX-License-Identifier: MIT
// What each worker of a pool is doing, and since when.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::make_pool;
using testing::Samples;
using testing::worker_of;

bool comes_to(WorkerPool& pool, WorkerState state) {
  return eventually([&] { return worker_of(pool).state == state; });
}

TEST_CASE("WorkerState: each one has its own word", "[exec][worker_info]") {
  std::set<std::string_view> words;
  for (std::size_t i = 0; i < kWorkerStates; ++i) words.insert(to_string(static_cast<WorkerState>(i)));
  CHECK(words.size() == kWorkerStates);
  CHECK(words.count("unknown state") == 0);
  CHECK(to_string(static_cast<WorkerState>(kWorkerStates)) == "unknown state");
}

TEST_CASE("WorkerPool: workers without work listen, and are shown by their numbers", "[exec][worker_info]") {
  ManualClock clock;
  const TimePoint start = clock.now();
  const auto pool = make_pool({.workers = 3, .clock = &clock});
  clock.advance(5s);
  const std::vector<WorkerInfo> workers = pool->workers();
  REQUIRE(workers.size() == 3);
  for (std::size_t i = 0; i < workers.size(); ++i) {
    WorkerInfo expected;
    expected.id = i;
    expected.state = WorkerState::kListening;
    expected.since = start;
    expected.in_state = 5s;
    CHECK(workers[i] == expected);
  }
}

// Holds whoever tells it that a job has ended.
struct Holder : PoolObserver {
  void on_finish(const JobEvent& /*event*/) override { gate.pass(); }
  Gate gate;
};

Task<void> goes_on_at_once(Job<void> job, Gate& gate) {
  static_cast<void>(co_await job);
  gate.pass();
}

TEST_CASE("WorkerPool: a worker responds from the end of its function on", "[exec][worker_info]") {
  ManualClock clock;
  SECTION("to the observer") {
    Holder holder;
    const auto pool = make_pool(holder.gate, {.workers = 1, .clock = &clock, .observer = &holder});
    Job<void> job = pool->submit([&clock] { clock.advance(3s); }, {.tag = "chat"}).value();
    REQUIRE(holder.gate.await(1));
    clock.advance(2s);
    const WorkerInfo worker = worker_of(*pool);
    CHECK(worker.state == WorkerState::kResponding);
    CHECK(worker.in_state == 2s);
    CHECK(worker.job_age == 5s);
    CHECK(worker.tag == "chat");
    CHECK(worker.jobs == 0);
    holder.gate.open();
    CHECK(job.get().ok());
    CHECK(comes_to(*pool, WorkerState::kListening));
  }
  SECTION("to who goes on in its thread") {
    Gate begin;
    Gate gate;
    const auto pool = make_pool(gate, {.workers = 1, .clock = &clock, .measure = false});
    Job<void> job = pool->submit([&] {
                          begin.pass();
                          clock.advance(3s);
                        })
                        .value();
    auto waiting = spawn(Executor::inline_executor(), goes_on_at_once(std::move(job), gate));
    begin.open();
    REQUIRE(gate.await(1));
    clock.advance(2s);
    const WorkerInfo worker = worker_of(*pool);
    CHECK(worker.state == WorkerState::kResponding);
    CHECK(worker.in_state == 2s);
    CHECK(worker.job_age == 5s);
    CHECK(worker.jobs == 1);
    gate.open();
    CHECK(comes_to(*pool, WorkerState::kListening));
    waiting.get();
  }
}

TEST_CASE("WorkerPool: a worker that runs posted work has no job", "[exec][worker_info]") {
  ManualClock clock;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .clock = &clock});
  clock.advance(1s);
  pool->post([&gate] { gate.pass(); });
  REQUIRE(gate.await(1));
  clock.advance(1s);
  const WorkerInfo worker = worker_of(*pool);
  CHECK(worker.state == WorkerState::kPosted);
  CHECK(worker.in_state == 1s);
  CHECK(worker.job_id == 0);
  gate.open();
  CHECK(comes_to(*pool, WorkerState::kListening));
  CHECK(worker_of(*pool).jobs == 0);
}

TEST_CASE("WorkerPool: work that was posted during a job begins after it", "[exec][worker_info]") {
  ManualClock clock;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .clock = &clock});
  Gate first;
  Job<void> job = pool->submit([&first] { first.pass(); }).value();
  REQUIRE(first.await(1));
  pool->post([] {});
  pool->post([&gate] { gate.pass(); });
  clock.advance(2s);
  first.open();
  REQUIRE(gate.await(1));
  clock.advance(1s);
  const WorkerInfo worker = worker_of(*pool);
  CHECK(worker.state == WorkerState::kPosted);
  CHECK(worker.in_state == 1s);
  CHECK(worker.job_id == 0);
  CHECK(worker.jobs == 1);
}

TEST_CASE("WorkerPool: workers that are on their way are shown, and gone if they do not start", "[exec][worker_info]") {
  ManualClock clock;
  Gate gate;
  std::atomic<bool> fails{true};
  const auto start = [&](std::size_t id) {
    if (id == 0) return absl::OkStatus();
    gate.pass();
    return fails ? absl::UnavailableError("no key") : absl::OkStatus();
  };
  const auto pool = make_pool(gate, {.workers = 1, .clock = &clock, .on_worker_start = start, .max_workers = 2});
  absl::Status added;
  std::thread adds([&] { added = pool->add_workers(1); });
  const bool has_come = gate.await(1);
  clock.advance(4s);
  const std::vector<WorkerInfo> workers = pool->workers();
  const WorkerPoolStats stats = pool->stats();
  gate.open();
  adds.join();
  REQUIRE(has_come);
  CHECK(absl::IsUnavailable(added));
  REQUIRE(workers.size() == 2);
  CHECK(workers[0].state == WorkerState::kListening);
  CHECK(workers[1].state == WorkerState::kStarting);
  CHECK(workers[1].in_state == 4s);
  CHECK(stats.live == 1);
  CHECK(stats.workers_by_state[static_cast<std::size_t>(WorkerState::kStarting)] == 1);
  CHECK(discrepancies(stats).empty());
  CHECK(pool->workers().size() == 1);

  fails = false;
  CHECK(pool->add_workers(1).ok());
  REQUIRE(pool->workers().size() == 2);
  CHECK(pool->workers()[1].state == WorkerState::kListening);
  CHECK(pool->workers()[1].in_state == Duration::zero());
}

TEST_CASE("WorkerPool: each worker counts its own jobs and panics", "[exec][worker_info]") {
  const auto pool = make_pool({.workers = 2, .min_workers = 1, .max_workers = 2});
  // Two at once, one in each worker: the one that gets the first number throws.
  for (int round = 0; round < 3; ++round) {
    Gate gate;
    const auto meets = [&gate](const JobContext& job) {
      gate.pass();
      if (job.worker_id == 0) throw std::runtime_error("boom");
    };
    Job<void> one = pool->submit(meets).value();
    Job<void> other = pool->submit(meets).value();
    const bool have_met = gate.await(2);
    gate.open();
    REQUIRE(have_met);
    CHECK(one.get().ok() != other.get().ok());
  }
  std::vector<WorkerInfo> workers = pool->workers();
  REQUIRE(workers.size() == 2);
  CHECK(workers[0].jobs == 3);
  CHECK(workers[0].panicked == 3);
  CHECK(workers[1].jobs == 3);
  CHECK(workers[1].panicked == 0);
  // A new worker begins anew; the pool forgets nothing.
  CHECK(pool->resize(1).ok());
  REQUIRE(eventually([&] { return pool->workers().size() == 1; }));
  const std::size_t kept = pool->workers()[0].id;
  CHECK(pool->resize(2).ok());
  workers = pool->workers();
  REQUIRE(workers.size() == 2);
  for (const WorkerInfo& worker : workers) CHECK(worker.jobs == (worker.id == kept ? 3 : 0));
  CHECK(pool->stats().panicked == 3);
  CHECK(pool->stats().succeeded == 3);
}

TEST_CASE("WorkerPool: how many workers are in each state reaches the sink", "[exec][worker_info]") {
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 4});
  testing::hold(*pool, gate);
  REQUIRE(pool->submit([&gate](const JobContext& context) {
                const auto calling = context.calling();
                gate.pass();
              })
              .ok());
  pool->post([&gate] { gate.pass(); });
  REQUIRE(gate.await(3));
  CHECK(discrepancies(pool->stats()).empty());
  Samples samples;
  pool->collect(samples);
  for (const char* state : {"listening", "processing", "calling", "posted"}) {
    CHECK(samples.at("penstock_pool_workers_by_state p " + std::string(state)) == 1);
  }
  CHECK(samples.at("penstock_pool_workers_by_state p responding") == 0);
  CHECK(samples.at("penstock_pool_workers_by_state p starting") == 0);
}

TEST_CASE("WorkerPool: who asks what the workers do may run out of memory", "[exec][worker_info]") {
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 2});
  const std::string tag(100, 't');
  Job<void> job = pool->submit([&gate] { gate.pass(); }, {.tag = tag}).value();
  REQUIRE(gate.await(1));
  std::vector<WorkerInfo> workers;
  const int failures = testing::failures_of([&] { workers = pool->workers(); });
  CHECK(failures >= 3);
  REQUIRE(workers.size() == 2);
  CHECK((workers[0].tag == tag || workers[1].tag == tag));
  gate.open();
  CHECK(job.get().ok());
}

TEST_CASE("WorkerPool: the workers are asked about while jobs, posted work and workers come and go",
          "[exec][worker_info][stress]") {
  const auto pool = make_pool({.workers = 3, .queue_capacity = 50, .min_workers = 1, .max_workers = 4});
  std::atomic<bool> stop{false};
  std::string wrong;
  std::thread asks([&] {
    while (!stop) {
      const std::vector<WorkerInfo> workers = pool->workers();
      for (std::size_t i = 0; i < workers.size(); ++i) {
        const WorkerInfo& worker = workers[i];
        const bool has_job = worker.state == WorkerState::kProcessing || worker.state == WorkerState::kCalling ||
                             worker.state == WorkerState::kResponding;
        if (has_job != (worker.job_id != 0)) wrong += "a state without a job, or the other way round; ";
        if (has_job && !worker.tag.empty() && worker.tag != "tagged") wrong += "tag " + worker.tag + "; ";
        if (worker.panicked > worker.jobs) wrong += "more panics than jobs; ";
        if (i != 0 && workers[i - 1].id >= worker.id) wrong += "numbers out of order; ";
        if (worker.in_state < Duration::zero() || worker.job_age < Duration::zero()) wrong += "a time to come; ";
      }
    }
  });
  std::uint64_t accepted = 0;
  for (int i = 0; i < 2000; ++i) {
    const bool taken = pool->execute([] {}) == OpStatus::kOk;
    const OpStatus calls = pool->try_submit(
        [i](const JobContext& job) {
          const auto calling = job.calling();
          if (i % 7 == 0) throw 1;
        },
        nullptr, {.tag = "tagged"});
    accepted += (taken ? 1U : 0U) + (calls == OpStatus::kOk ? 1U : 0U);
    if (i % 10 == 0) pool->post([] {});
    if (i % 200 == 0) static_cast<void>(pool->resize(static_cast<std::size_t>(1 + i / 200 % 4)));
  }
  CHECK(pool->shutdown(Context::background()).is_drained());
  stop = true;
  asks.join();
  CHECK(wrong.empty());
  CHECK(pool->stats().accepted == accepted);
  CHECK(discrepancies(pool->stats()).empty());
}

}  // namespace
}  // namespace penstock
