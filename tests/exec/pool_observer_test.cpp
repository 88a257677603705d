// SPDX-License-Identifier: MIT
#include "penstock/exec/pool_observer.hpp"

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
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
using testing::make_pool;
using testing::Recorder;

struct Seen {
  std::string what;
  std::uint64_t job_id;
  std::string tag;
  TimePoint at;
  TimePoint since;
  std::size_t worker_id;
  absl::StatusCode code;
};

class Watcher : public PoolObserver {
 public:
  void on_submit(const JobEvent& event) override { record("submit", event); }
  void on_start(const JobEvent& event) override { record("start", event); }
  void on_finish(const JobEvent& event) override { record("finish", event); }
  void on_drop(const JobEvent& event) override { record("drop", event); }
  void on_state(std::string_view /*pool*/, PoolState state, TimePoint /*at*/) override {
    states_.record(std::string(to_string(state)));
  }

  [[nodiscard]] std::size_t size() const { return events_.size(); }
  [[nodiscard]] std::vector<std::string> states() const { return states_.events(); }
  // What happened to one job; of another kind: nothing.
  [[nodiscard]] std::vector<Seen> of(std::uint64_t job_id, const std::string& what = "") const {
    std::vector<Seen> result;
    for (const Seen& seen : events_.events()) {
      if (seen.job_id == job_id && (what.empty() || seen.what == what)) result.push_back(seen);
    }
    return result;
  }

 private:
  void record(const char* what, const JobEvent& event) {
    events_.record({what, event.job_id, std::string(event.tag), event.at, event.since, event.worker_id, event.code});
  }

  Recorder<Seen> events_;
  Recorder<std::string> states_;
};

TEST_CASE("PoolObserver: sees a job from its acceptance to its end, with the times", "[exec][pool_observer]") {
  ManualClock clock;
  Watcher watcher;
  Gate gate;
  const auto pool = held_pool(gate, {.clock = &clock, .observer = &watcher});
  const TimePoint accepted = clock.now();
  Job<void> job = pool->submit([&clock] { clock.advance(2s); }, {.tag = "chat"}).value();
  clock.advance(1s);
  gate.open();
  CHECK(job.get().ok());
  const std::uint64_t id = job.id();
  const auto submit = watcher.of(id, "submit");
  const auto start = watcher.of(id, "start");
  const auto finish = watcher.of(id, "finish");
  REQUIRE(submit.size() == 1);
  REQUIRE(start.size() == 1);
  REQUIRE(finish.size() == 1);
  CHECK(submit[0].at == accepted);
  CHECK(submit[0].worker_id == kCallerThread);
  CHECK(start[0].at == accepted + 1s);
  CHECK(start[0].since == accepted);
  CHECK(start[0].worker_id == 0);
  CHECK(finish[0].at == accepted + 3s);
  CHECK(finish[0].since == accepted + 1s);
  CHECK(finish[0].worker_id == 0);
  CHECK(finish[0].code == absl::StatusCode::kOk);
  for (const Seen& seen : watcher.of(id)) CHECK(seen.tag == "chat");
  CHECK(watcher.of(id).size() == 3);
}

TEST_CASE("PoolObserver: the end of a job shows its code", "[exec][pool_observer]") {
  Watcher watcher;
  const auto pool = make_pool({.workers = 1, .observer = &watcher});
  const auto code_of = [&](auto function) {
    auto job = pool->submit(function).value();
    static_cast<void>(job.wait());
    const auto finish = watcher.of(job.id(), "finish");  // before the answer, so it is there
    REQUIRE(finish.size() == 1);
    return finish[0].code;
  };
  CHECK(code_of([] {}) == absl::StatusCode::kOk);
  CHECK(code_of([] { return absl::NotFoundError("none"); }) == absl::StatusCode::kNotFound);
  CHECK(code_of([] { throw std::runtime_error("boom"); }) == absl::StatusCode::kInternal);
  CHECK(code_of([]() -> absl::StatusOr<int> { return 7; }) == absl::StatusCode::kOk);
}

TEST_CASE("PoolObserver: a job that never runs is dropped, with the code of its answer", "[exec][pool_observer]") {
  ManualClock clock;
  Watcher watcher;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 3, .clock = &clock, .observer = &watcher});
  Job<void> cancelled = pool->submit([] {}).value();
  Job<void> expires = pool->submit([] {}, {.tag = "late", .queue_wait_limit = 4s}).value();
  Job<void> evicted = pool->submit([] {}).value();
  Job<void> abandoned;
  const TimePoint accepted = clock.now();
  clock.advance(1s);
  CHECK(cancelled.cancel());
  clock.advance(3s);
  CHECK(expires.get().code() == absl::StatusCode::kDeadlineExceeded);
  for (int i = 0; i < 3; ++i) {
    abandoned = pool->submit([] {}, {.overflow = OverflowPolicy::kDropOldest}).value();
  }
  CHECK(evicted.get().code() == absl::StatusCode::kAborted);
  pool->shutdown(Context(clock).with_timeout(0s));
  CHECK(abandoned.get().code() == absl::StatusCode::kCancelled);

  const auto dropped = [&](std::uint64_t id) {
    const auto drops = watcher.of(id, "drop");
    REQUIRE(drops.size() == 1);
    CHECK(watcher.of(id, "start").empty());
    CHECK(watcher.of(id, "finish").empty());
    CHECK(drops[0].since <= drops[0].at);
    return drops[0];
  };
  CHECK(dropped(cancelled.id()).code == absl::StatusCode::kCancelled);
  CHECK(dropped(cancelled.id()).at == accepted + 1s);
  CHECK(dropped(cancelled.id()).since == accepted);
  CHECK(dropped(expires.id()).code == absl::StatusCode::kDeadlineExceeded);
  CHECK(dropped(expires.id()).at == accepted + 4s);
  CHECK(dropped(expires.id()).tag == "late");
  CHECK(dropped(evicted.id()).code == absl::StatusCode::kAborted);
  CHECK(dropped(abandoned.id()).code == absl::StatusCode::kCancelled);
}

TEST_CASE("PoolObserver: sees executed functions and those that callers run", "[exec][pool_observer]") {
  Watcher watcher;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 1, .observer = &watcher});
  CHECK(pool->execute([] {}) == OpStatus::kOk);  // number 2
  Job<void> mine = pool->submit([] {}, {.overflow = OverflowPolicy::kCallerRuns}).value();
  CHECK(mine.is_done());
  const auto start = watcher.of(mine.id(), "start");
  REQUIRE(start.size() == 1);
  CHECK(start[0].worker_id == kCallerThread);
  CHECK(watcher.of(mine.id(), "finish").size() == 1);
  gate.open();
  CHECK(eventually([&] { return watcher.of(2, "finish").size() == 1; }));
  CHECK(watcher.of(2, "start").size() == 1);
}

TEST_CASE("PoolObserver: a job that outruns its time finishes late", "[exec][pool_observer]") {
  ManualClock clock;
  Watcher watcher;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .processing_timeout = 5s, .clock = &clock, .observer = &watcher});
  Job<void> job = pool->submit([&gate] { gate.pass(); }).value();
  REQUIRE(gate.await(1));
  clock.advance(5s);
  CHECK(job.get().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(watcher.of(job.id(), "finish").empty());
  clock.advance(1s);
  gate.open();
  REQUIRE(eventually([&] { return watcher.of(job.id(), "finish").size() == 1; }));
  const Seen finish = watcher.of(job.id(), "finish")[0];
  CHECK(finish.at - finish.since == 6s);
}

TEST_CASE("PoolObserver: sees the states of a pool", "[exec][pool_observer]") {
  Watcher watcher;
  using States = std::vector<std::string>;
  auto pool = make_pool({.workers = 1, .observer = &watcher});
  CHECK(watcher.states() == States{"running"});
  pool->pause();
  pool->pause();
  pool->resume();
  pool->resume();
  CHECK(watcher.states() == States{"running", "paused", "running"});
  pool->pause();
  pool->shutdown(Context::background());
  pool->shutdown(Context::background());
  CHECK(watcher.states() == States{"running", "paused", "running", "paused", "draining"});
  pool.destroy();
  CHECK(watcher.states() == States{"running", "paused", "running", "paused", "draining", "stopped"});
}

class Thrower : public PoolObserver {
 public:
  void on_start(const JobEvent&) override { throw std::runtime_error("start"); }
  void on_finish(const JobEvent&) override { throw 7; }
  void on_drop(const JobEvent&) override { throw std::runtime_error("drop"); }
  void on_state(std::string_view, PoolState, TimePoint) override { throw std::runtime_error("state"); }
};

TEST_CASE("PoolObserver: what it throws is counted, and changes nothing", "[exec][pool_observer]") {
  Thrower thrower;
  std::atomic<int> reported{0};
  const auto pool = make_pool(
      {.workers = 1, .on_exception = [&reported](const CaughtException&) { ++reported; }, .observer = &thrower});
  CHECK(pool->stats().exceptions == 1);  // running
  CHECK(pool->submit([] { return 7; }).value().get().value() == 7);
  CHECK(pool->stats().exceptions == 3);
  pool->pause();
  Job<void> dropped = pool->submit([] {}).value();
  CHECK(dropped.cancel());
  CHECK(dropped.get().code() == absl::StatusCode::kCancelled);
  pool->resume();
  CHECK(pool->stats().exceptions == 6);
  CHECK(reported == 6);
  CHECK(pool->stats().succeeded == 1);
  CHECK(pool->stats().cancelled == 1);
}

TEST_CASE("PoolObserver: a job that it is being told of is accepted, and no more being submitted", "[exec][observer]") {
  class Asks : public PoolObserver {
   public:
    void on_submit(const JobEvent& /*event*/) override { findings += discrepancies(pool->stats()); }
    WorkerPool* pool = nullptr;
    std::string findings;
  };
  Asks asks;
  const auto pool = make_pool({.workers = 1, .observer = &asks});
  asks.pool = &*pool;
  REQUIRE(pool->submit([] {}).ok());
  CHECK(pool->shutdown(Context::background()).is_drained());
  CHECK(asks.findings.empty());
}

}  // namespace
}  // namespace penstock
