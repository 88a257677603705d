// SPDX-License-Identifier: MIT
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::held_pool;
using testing::is_closed;
using testing::make_pool;
using testing::text_of;

TEST_CASE("WorkerPool: shutdown runs what was accepted and refuses the rest", "[exec][worker_pool]") {
  std::atomic<int> ran{0};
  const auto pool = make_pool({.name = "openai", .workers = 2});
  for (int i = 0; i < 20; ++i) CHECK(pool->try_submit([&] { ++ran; }) == OpStatus::kOk);
  const ShutdownReport report = pool->shutdown(Context::background());
  CHECK(ran == 20);
  CHECK(report.is_drained());
  CHECK(report.completed <= 20);
  CHECK(report.cancelled_in_queue == 0);
  const absl::Status refused = pool->submit([] {}).status();
  CHECK(absl::IsUnavailable(refused));
  CHECK(text_of(refused) == "worker pool 'openai': shut down");
  CHECK(pool->try_submit([] {}) == OpStatus::kClosed);
  CHECK(pool->stats().refused_closed == 2);
  CHECK(pool->stats().succeeded == 20);
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("WorkerPool: shutdown counts what it waited for", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {});
  for (int i = 0; i < 4; ++i) CHECK(pool->try_submit([] {}) == OpStatus::kOk);
  ShutdownReport report;
  std::thread closer([&] { report = pool->shutdown(Context::background()); });
  REQUIRE(eventually([&] { return is_closed(*pool); }));
  gate.open();
  closer.join();
  CHECK(report.completed >= 4);
  CHECK(report.is_drained());
  CHECK(pool->shutdown(Context::background()).completed == 0);
}

TEST_CASE("WorkerPool: a shutdown that runs out of time calls off what is left and names it", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = make_pool(gate, {.name = "openai", .workers = 2, .clock = &clock});
  Job<void> stuck = pool->submit([&] { gate.pass(); }, {.tag = "stuck"}).value();
  Job<absl::Status> heeds = pool->submit(
                                    [&](const JobContext& job) -> absl::Status {
                                      gate.pass();
                                      return job.context.cause();
                                    },
                                    {.tag = "heeds"})
                                .value();
  REQUIRE(gate.await(2));
  clock.advance(3s);
  const auto witness = std::make_shared<int>(0);
  Job<void> queued = pool->submit([witness] {}).value();

  ShutdownReport report;
  std::atomic<bool> returned{false};
  std::thread closer([&] {
    report = pool->shutdown(Context(clock).with_timeout(5s));
    returned = true;
  });
  REQUIRE(eventually([&] { return is_closed(*pool); }));
  clock.advance(4s);
  CHECK_FALSE(returned);
  CHECK_FALSE(queued.is_done());
  clock.advance(1s);
  closer.join();

  CHECK(report.cancelled_in_queue == 1);
  CHECK(report.completed == 0);
  CHECK(report.queued == 0);
  REQUIRE(report.running.size() == 2);
  CHECK(report.running[0].id == 1);
  CHECK(report.running[0].tag == "stuck");
  CHECK(report.running[0].age == 8s);
  CHECK(report.running[1].tag == "heeds");
  CHECK(queued.is_done());
  CHECK(witness.use_count() == 1);
  CHECK(text_of(queued.get()) == "worker pool 'openai': job 3 cancelled by shutdown after 5 s in the queue");
  CHECK(absl::IsCancelled(queued.get()));
  CHECK(pool->stats().abandoned == 1);
  CHECK(discrepancies(pool->stats()).empty());

  gate.open();
  CHECK(text_of(heeds.get()) == "worker pool 'openai': shutting down");
  CHECK(absl::IsCancelled(heeds.get()));
  CHECK(stuck.get().ok());
  CHECK(pool->shutdown(Context::background()).is_drained());
}

TEST_CASE("WorkerPool: a shutdown without time cancels the queue at once", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {});
  Job<void> queued = pool->submit([] {}).value();
  const ShutdownReport report = pool->shutdown(Context::background().with_timeout(0s));
  CHECK(report.cancelled_in_queue == 1);
  CHECK(report.running.size() == 1);
  CHECK(absl::IsCancelled(queued.get()));
}

TEST_CASE("WorkerPool: a shutdown can be cancelled", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {});
  Job<void> queued = pool->submit([] {}).value();
  auto [ctx, source] = Context::background().with_cancel();
  std::thread closer([&pool, ctx = ctx] { pool->shutdown(ctx); });
  REQUIRE(eventually([&] { return is_closed(*pool); }));
  CHECK_FALSE(queued.is_done());
  source.cancel();
  CHECK(absl::IsCancelled(queued.get()));
  closer.join();
}

TEST_CASE("WorkerPool: threads may shut down together", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {});
  std::vector<std::thread> closers;
  std::atomic<int> drained{0};
  for (int i = 0; i < 4; ++i) {
    closers.emplace_back([&] { drained += pool->shutdown(Context::background()).is_drained(); });
  }
  gate.open();
  for (std::thread& closer : closers) closer.join();
  CHECK(drained == 4);
}

TEST_CASE("WorkerPool: a job that shuts its pool down does not wait for itself", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 2});
  Job<bool> job = pool->submit([&] { return pool->shutdown(Context::background()).is_drained(); }).value();
  CHECK(job.get().value());
  CHECK(pool->try_submit([] {}) == OpStatus::kClosed);
}

TEST_CASE("WorkerPool: a job that shuts its pool down waits for the others", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 2});
  std::atomic<bool> returned{false};
  Job<void> other = pool->submit([&] { gate.pass(); }).value();
  REQUIRE(gate.await(1));
  Job<std::uint64_t> closer = pool->submit([&] {
                                    const ShutdownReport report = pool->shutdown(Context::background());
                                    returned = true;
                                    return report.completed;
                                  })
                                  .value();
  REQUIRE(eventually([&] { return is_closed(*pool); }));
  CHECK_FALSE(returned);
  gate.open();
  CHECK(closer.get().value() == 1);
  CHECK(other.is_done());
}

TEST_CASE("WorkerPool: where all workers shut down, the queue is left to run afterwards", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 2});
  const auto close = [&] {
    gate.pass();
    return pool->shutdown(Context::background()).queued;
  };
  Job<std::size_t> first = pool->submit(close).value();
  Job<std::size_t> second = pool->submit(close).value();
  REQUIRE(gate.await(2));
  Job<int> queued = pool->submit([] { return 1; }).value();
  gate.open();
  CHECK(first.get().value() + second.get().value() >= 1);
  CHECK(queued.get().value() == 1);
  CHECK(pool->shutdown(Context::background()).is_drained());
}

TEST_CASE("WorkerPool: a job run by its caller, and a function being destroyed, may shut the pool down",
          "[exec][worker_pool]") {
  struct ShutsDown {
    explicit ShutsDown(WorkerPool* of) : pool(of) {}
    ShutsDown(ShutsDown&& other) noexcept : pool(std::exchange(other.pool, nullptr)) {}
    ~ShutsDown() {
      if (pool != nullptr) pool->shutdown(Context::background());
    }
    void operator()() const {}
    WorkerPool* pool;
  };
  SECTION("run by its caller") {
    Gate gate;
    const auto pool = held_pool(gate, {.queue_capacity = 0, .overflow = OverflowPolicy::kCallerRuns});
    Job<void> job = pool->submit([&] {
                          gate.open();
                          pool->shutdown(Context::background());
                        })
                        .value();
    CHECK(job.get().ok());
  }
  SECTION("destroyed after it ran") {
    const auto pool = make_pool({.workers = 1});
    CHECK(pool->submit(ShutsDown(&*pool))->get().ok());
    CHECK(pool->try_submit([] {}) == OpStatus::kClosed);
  }
  SECTION("destroyed by who cancels") {
    Gate gate;
    const auto pool = held_pool(gate, {});
    Job<void> job = pool->submit(ShutsDown(&*pool)).value();
    std::thread opener([&] {
      if (eventually([&] { return is_closed(*pool); })) gate.open();
    });
    CHECK(job.cancel());
    opener.join();
  }
  SECTION("destroyed by who takes its place") {
    Gate gate;
    const auto pool = held_pool(gate, {.queue_capacity = 1, .overflow = OverflowPolicy::kDropOldest});
    Job<void> evicted = pool->submit(ShutsDown(&*pool)).value();
    std::thread opener([&] {
      if (eventually([&] { return pool->stats().dropped_oldest == 1; })) gate.open();
    });
    Job<int> accepted = pool->submit([] { return 1; }).value();
    opener.join();
    CHECK(accepted.get().value() == 1);  // its place was given before the shutdown began
    CHECK(absl::IsAborted(evicted.get()));
  }
}

TEST_CASE("WorkerPool: the destructor answers every job", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  auto pool = std::make_unique<testing::TestPool>(
      WorkerPoolOptions{.workers = 1, .processing_timeout = 1h, .shutdown_timeout = 2s, .clock = &clock}, nullptr);
  Job<absl::Status> heeds = (*pool)
                                ->submit([&](const JobContext& job) {
                                  gate.pass();
                                  return job.context.cause();
                                })
                                .value();
  REQUIRE(gate.await(1));
  Job<void> queued = (*pool)->submit([] {}).value();
  std::thread destroyer([&] { pool.reset(); });
  REQUIRE(eventually([&] { return clock.armed() >= 2; }));  // the watching thread's deadline, and the shutdown's
  clock.advance(2s);
  CHECK(absl::IsCancelled(queued.get()));
  gate.open();
  destroyer.join();
  CHECK(absl::IsCancelled(heeds.get()));
}

TEST_CASE("WorkerPool: a destructor that has to wait says each second what for", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  testing::Recorder<std::string> told;
  std::atomic<int> caught{0};
  auto pool = std::make_unique<testing::TestPool>(
      WorkerPoolOptions{.workers = 1,
                        .queue_wait_limit = Duration::max(),
                        .processing_timeout = Duration::max(),
                        .shutdown_timeout = 2s,
                        .on_slow_shutdown =
                            [&told](const ShutdownReport& report) {
                              for (const auto& left : report.running) {
                                told.record(left.tag + " " + std::to_string(left.age / 1s));
                              }
                              if (told.size() == 2) throw std::runtime_error("in the hook");
                            },
                        .clock = &clock,
                        .on_exception = [&caught](const CaughtException&) { ++caught; }},
      nullptr);
  REQUIRE((*pool)->submit([&gate] { gate.pass(); }, {.tag = "deaf"}).ok());
  REQUIRE(gate.await(1));
  std::thread destroyer([&] { pool.reset(); });
  const auto pass = [&](Duration time) {
    const bool waits = eventually([&] { return clock.armed() == 1; });  // the destructor; nothing else has a deadline
    clock.advance(time);
    return waits;
  };
  CHECK(pass(2s));
  CHECK(pass(1s - 1ns));
  CHECK(told.size() == 0);
  CHECK(pass(1ns));
  CHECK(pass(1s));
  CHECK(eventually([&] { return told.size() == 2; }));
  gate.open();
  destroyer.join();
  CHECK(told.events() == std::vector<std::string>{"deaf 3", "deaf 4"});
  CHECK(caught == 1);
}

TEST_CASE("WorkerPool: the destructor waits for who answers a job elsewhere", "[exec][worker_pool]") {
  Gate gate;
  Gate destructor;
  struct SlowToGo {
    explicit SlowToGo(Gate* at) : gate(at) {}
    SlowToGo(SlowToGo&& other) noexcept : gate(std::exchange(other.gate, nullptr)) {}
    ~SlowToGo() {
      if (gate != nullptr) gate->pass();
    }
    void operator()() const {}
    Gate* gate;
  };
  auto pool = std::make_unique<testing::TestPool>(WorkerPoolOptions{.workers = 1}, nullptr);
  CHECK((*pool)->try_submit([&] { gate.pass(); }) == OpStatus::kOk);
  REQUIRE(gate.await(1));
  Job<void> job = (*pool)->submit(SlowToGo(&destructor)).value();
  std::thread canceller([&] { job.cancel(); });
  REQUIRE(destructor.await(1));
  std::atomic<bool> destroyed{false};
  std::thread destroyer([&] {
    pool.reset();
    destroyed = true;
  });
  gate.open();
  for (int i = 0; i < 100; ++i) std::this_thread::yield();
  CHECK_FALSE(destroyed);
  destructor.open();
  canceller.join();
  destroyer.join();
  CHECK(absl::IsCancelled(job.get()));
}

// A function whose copy takes its time: until a shutdown has given up waiting for the submission.
TEST_CASE("WorkerPool: a job that is made while a shutdown runs out of time is not run", "[exec][worker_pool]") {
  struct ShutsDown {
    ShutsDown(WorkerPool& of, bool& flag) : pool(of), ran(flag) {}
    ShutsDown(const ShutsDown& other) : pool(other.pool), ran(other.ran) {
      const Context::Cancellable closing = Context::background().with_cancel();
      closing.source.cancel();
      CHECK_FALSE(pool.shutdown(closing.context).in_time);
    }
    void operator()() const { ran = true; }
    WorkerPool& pool;
    bool& ran;
  };
  for (const OverflowPolicy policy : {OverflowPolicy::kBlock, OverflowPolicy::kCallerRuns}) {
    Gate gate;
    const auto pool = make_pool(gate, {.workers = 1, .queue_capacity = 0, .overflow = policy});
    const bool is_full = policy == OverflowPolicy::kCallerRuns;
    if (is_full) {
      hold(*pool, gate);
      REQUIRE(gate.await(1));
    }
    bool ran = false;
    const ShutsDown function(*pool, ran);
    Job<void> job = pool->submit(function).value();
    const absl::Status answer = job.get();
    CHECK(absl::IsCancelled(answer));
    CHECK(answer.GetPayload("type.penstock/stage") == absl::Cord("shutdown"));
    gate.open();
    CHECK(pool->shutdown(Context::background()).is_drained());
    CHECK_FALSE(ran);
    CHECK(pool->stats().abandoned == 1);
    CHECK(discrepancies(pool->stats()).empty());
  }
}

}  // namespace
}  // namespace penstock
