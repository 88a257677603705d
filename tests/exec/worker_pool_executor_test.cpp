// SPDX-License-Identifier: MIT
#include <atomic>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::ContainsSubstring;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::held_pool;
using testing::make_pool;
using testing::Samples;
using testing::text_of;

TEST_CASE("WorkerPool: a job that throws answers Internal, and its worker lives", "[exec][worker_pool]") {
  testing::Recorder<std::string> reports;
  const auto pool = make_pool({.name = "openai", .workers = 1, .on_exception = [&](const CaughtException& caught) {
                                 reports.record(std::string(caught.pool) + " " + std::to_string(caught.job_id) + " " +
                                                std::string(caught.tag) + " " + std::string(caught.text));
                               }});
  Job<int> job = pool->submit([]() -> int { throw std::runtime_error("boom"); }, {.tag = "chat"}).value();
  const absl::Status status = job.get().status();
  CHECK(absl::IsInternal(status));
  CHECK(text_of(status) == "worker pool 'openai': job 1 threw std::runtime_error: boom");
  CHECK(reports.events() == std::vector<std::string>{"openai 1 chat std::runtime_error: boom"});
  CHECK(pool->stats().panicked == 1);
  CHECK(pool->stats().exceptions == 1);
  CHECK(discrepancies(pool->stats()).empty());

  struct NotStd {};
  CHECK_THAT(text_of(pool->submit([] { throw NotStd(); })->get()),
             ContainsSubstring("job 2 threw") && ContainsSubstring("NotStd"));
  CHECK(text_of(pool->submit([] { throw 1; })->get()) == "worker pool 'openai': job 3 threw int");
  const std::string long_text(100'000, 'x');
  CHECK(pool->submit([&] { throw std::runtime_error(long_text); })->get().message().size() < 1000);
  CHECK(pool->submit([] { return 1; })->get().value() == 1);
}

TEST_CASE("WorkerPool: a result that throws when it is moved is an exception of the job", "[exec][worker_pool]") {
  struct Throws {
    Throws() = default;
    Throws(Throws&& /*other*/) { throw std::logic_error("no move"); }
  };
  const auto pool = make_pool({.workers = 1});
  CHECK_THAT(text_of(pool->submit([] { return Throws(); })->wait() == OpStatus::kOk ? absl::OkStatus()
                                                                                    : absl::CancelledError()),
             testing::Equals(""));
  CHECK(pool->stats().panicked == 1);
}

TEST_CASE("WorkerPool: a destructor that throws is contained", "[exec][worker_pool]") {
  struct Throws {
    explicit Throws(bool* once) : armed(once) {}
    Throws(Throws&& other) noexcept : armed(std::exchange(other.armed, nullptr)) {}
    ~Throws() noexcept(false) {
      if (armed != nullptr) throw std::logic_error("no end");
    }
    void operator()() const {}
    bool* armed;
  };
  bool armed = true;
  Gate gate;
  const auto pool = held_pool(gate, {});
  Job<void> queued = pool->submit(Throws(&armed)).value();
  CHECK(queued.cancel());
  CHECK(absl::IsCancelled(queued.get()));
  CHECK(pool->stats().exceptions == 1);
  Job<void> ran = pool->submit(Throws(&armed)).value();
  gate.open();
  CHECK_THAT(text_of(ran.get()), ContainsSubstring("no end"));
  CHECK(pool->stats().exceptions == 2);
}

TEST_CASE("WorkerPool: a hook that throws is contained", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1, .on_exception = [](const CaughtException&) { throw 2; }});
  CHECK(absl::IsInternal(pool->submit([] { throw 1; })->get()));
  CHECK(pool->submit([] { return 1; })->get().ok());
  CHECK(pool->stats().exceptions == 2);
}

TEST_CASE("WorkerPool: the exception and the function are gone when the answer is there", "[exec][worker_pool]") {
  const auto witness = std::make_shared<int>(0);
  const auto pool = make_pool({.workers = 1});
  CHECK(absl::IsInternal(pool->submit([witness] { throw witness; })->get()));
  CHECK(witness.use_count() == 1);
  CHECK(pool->submit([witness] {})->get().ok());
  CHECK(witness.use_count() == 1);
}

TEST_CASE("WorkerPool: posted work runs in a worker, and its exceptions are reported", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1});
  std::atomic<int> on_worker{0};
  pool->post([&] { on_worker += pool->on_worker_thread() ? 1 : 100; });
  pool->post([] { throw std::runtime_error("posted"); });
  CHECK(eventually([&] { return pool->stats().exceptions == 1; }));
  CHECK(on_worker == 1);
  CHECK_FALSE(pool->on_worker_thread());
}

TEST_CASE("WorkerPool: a full queue refuses no posted work, and neither does shutdown", "[exec][worker_pool]") {
  Gate gate;
  std::atomic<int> ran{0};
  const auto pool = held_pool(gate, {.queue_capacity = 1, .overflow = OverflowPolicy::kReject});
  CHECK(pool->try_submit([] {}) == OpStatus::kOk);
  CHECK(pool->try_submit([] {}) == OpStatus::kFull);
  for (int i = 0; i < 100; ++i) pool->post([&] { ++ran; });
  gate.open();
  CHECK(pool->shutdown(Context::background()).is_drained());
  pool->post([&] { ++ran; });
  CHECK(eventually([&] { return ran == 101; }));
}

TEST_CASE("WorkerPool: posted work comes before jobs, but for every 17th turn", "[exec][worker_pool]") {
  testing::Recorder<int> order;
  Gate gate;
  const auto pool = held_pool(gate, {});
  for (int i = 0; i < 2; ++i) CHECK(pool->try_submit([&] { order.record(1); }) == OpStatus::kOk);
  for (int i = 0; i < 40; ++i) pool->post([&] { order.record(0); });
  gate.open();
  REQUIRE(eventually([&] { return order.size() == 42; }));
  const auto events = order.events();
  for (std::size_t i = 0; i < events.size(); ++i) {
    INFO(i);
    CHECK(events[i] == (i == 16 || i == 33 ? 1 : 0));
  }
}

TEST_CASE("WorkerPool: posted work that comes when the pool goes is not lost", "[exec][worker_pool]") {
  std::atomic<int> ran{0};
  {
    const auto pool = make_pool({.workers = 1});
    for (int i = 0; i < 100; ++i) pool->post([&] { ++ran; });
  }
  CHECK(ran == 100);
}

Task<bool> hop(WorkerPool& to) {
  co_await to.schedule();
  co_return to.on_worker_thread();
}

TEST_CASE("WorkerPool: a coroutine can move over to a worker", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1});
  RunLoop loop;
  CHECK(sync_wait(spawn(*pool, hop(*pool))));
  JoinHandle<bool> handle = spawn(loop, hop(*pool));
  loop.run_ready();
  // It goes on, and ends, in the worker.
  CHECK(handle.get());
}

TEST_CASE("WorkerPool: a task whose exception nobody takes is reported", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1});
  {
    auto dropped = spawn(*pool, []() -> Task<void> {
      throw 1;
      co_return;
    }());
  }
  CHECK(eventually([&] { return pool->stats().exceptions == 1; }));
}

TEST_CASE("WorkerPool: its numbers reach a sink", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool =
      held_pool(gate, {.name = "openai", .queue_capacity = 2, .overflow = OverflowPolicy::kReject, .clock = &clock});
  CHECK(pool->try_submit([] {}) == OpStatus::kOk);
  CHECK(pool->try_submit([] {}) == OpStatus::kOk);
  CHECK(pool->try_submit([] {}) == OpStatus::kFull);
  clock.advance(1500ms);
  Samples samples;
  pool->collect(samples);
  CHECK(samples.at("penstock_pool_submitted_total openai") == 4);
  CHECK(samples.at("penstock_pool_accepted_total openai") == 3);
  CHECK(samples.at("penstock_pool_refused_total openai rejected") == 1);
  CHECK(samples.at("penstock_pool_queue_depth openai") == 2);
  CHECK(samples.at("penstock_pool_queue_high_water openai") == 2);
  CHECK(samples.at("penstock_pool_oldest_queued_age_seconds openai") == 1.5);
  CHECK(samples.at("penstock_pool_workers openai busy") == 1);
  CHECK(samples.at("penstock_pool_workers openai idle") == 0);
  CHECK(samples.at("penstock_pool_queue_wait_seconds openai") == 1);
  CHECK(samples.at("penstock_pool_jobs_total openai succeeded") == 0);
}

TEST_CASE("WorkerPool: what a job did is counted before its answer is there", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 2});
  for (std::uint64_t i = 1; i <= 200; ++i) {
    CHECK(pool->submit([] { return 1; })->get().ok());
    const WorkerPoolStats stats = pool->stats();
    REQUIRE(stats.succeeded == i);
    REQUIRE(stats.run.count() == i);
    REQUIRE(discrepancies(stats).empty());
  }
}

TEST_CASE("WorkerPool: pools share nothing", "[exec][worker_pool]") {
  Gate gate;
  const auto stuck = held_pool(gate, {.name = "stuck", .queue_capacity = 1, .overflow = OverflowPolicy::kReject});
  CHECK(stuck->try_submit([] {}) == OpStatus::kOk);
  CHECK(stuck->try_submit([] {}) == OpStatus::kFull);
  const auto healthy = make_pool({.name = "healthy", .workers = 1});
  for (int i = 0; i < 100; ++i) CHECK(healthy->submit([] { return 1; })->get().ok());
  CHECK(healthy->stats().succeeded == 100);
}

TEST_CASE("WorkerPool: posted work without end leaves a worker to a submission now and then", "[exec][worker_pool]") {
  const auto capacity = GENERATE(std::size_t{0}, std::size_t{1});
  std::atomic<bool> ends{false};
  std::function<void()> again;
  const auto pool = make_pool({.workers = 1, .queue_capacity = capacity, .enqueue_timeout = 20s});
  again = [&] {
    if (!ends) pool->post([&] { again(); });
  };
  pool->post([&] { again(); });
  CHECK(pool->submit([] { return 7; }).value().get().value() == 7);
  CHECK(pool->execute([] {}) == OpStatus::kOk);
  ends = true;
}

TEST_CASE("WorkerPool: work that was posted can be taken back until a worker has it", "[exec][worker_pool]") {
  struct Counted : Work {
    Counted() noexcept : Work([](Work& work) noexcept { ++static_cast<Counted&>(work).runs; }) {}
    std::atomic<int> runs{0};
  };
  Counted first;
  Counted second;
  Gate gate;
  {
    const auto pool = held_pool(gate, {});
    pool->post(first);
    pool->post(second);
    CHECK(pool->revoke(first));
    gate.open();
    CHECK(eventually([&] { return second.runs == 1; }));
    CHECK_FALSE(pool->revoke(second));
    CHECK(discrepancies(pool->stats()).empty());
  }
  CHECK(first.runs == 0);
}

}  // namespace
}  // namespace penstock
