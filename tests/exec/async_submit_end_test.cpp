// SPDX-License-Identifier: MIT

// WorkerPool::async_submit: coroutines that are destroyed, and functions that throw, while they wait for a place.

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/detached.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::Detached;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::held_pool;

Detached submitting(RunLoop& /*loop*/, WorkerPool& pool, std::atomic<int>& ran, const SubmitOptions& options) {
  static_cast<void>(co_await pool.async_submit([&ran](const JobContext& /*job*/) { ++ran; }, options));
}

TEST_CASE("async_submit: a coroutine may be destroyed where it waits", "[exec][async_submit]") {
  ManualClock clock;
  RunLoop loop;
  Gate gate;
  std::atomic<int> ran{0};
  std::atomic<int> next_ran{0};
  const auto pool = held_pool(gate, {.queue_capacity = 1, .enqueue_timeout = 1s, .clock = &clock});
  Job<void> first = pool->submit([] {}).value();
  auto [ctx, source] = Context(clock).with_cancel();
  const Detached coroutine = submitting(loop, *pool, ran, {.context = ctx});
  const Detached next = submitting(loop, *pool, next_ran, {.enqueue_timeout = 1h});
  REQUIRE(pool->stats().submitting == 2);
  bool next_is_in = true;
  SECTION("in line") {
    coroutine.handle.destroy();
    CHECK(pool->stats().enqueue_cancelled == 1);
    CHECK(pool->stats().submitting == 1);
    CHECK(first.cancel());
  }
  SECTION("when its job is in the queue") {
    CHECK(first.cancel());
    CHECK(pool->stats().queue_depth == 1);
    CHECK(pool->stats().submitting == 1);
    coroutine.handle.destroy();  // the place goes to the next
    CHECK(pool->stats().cancelled == 2);
  }
  SECTION("when its job has ended") {
    gate.open();
    CHECK(eventually([&] { return ran == 1 && next_ran == 1; }));
    coroutine.handle.destroy();
    ran = 0;
  }
  SECTION("when its time was up") {
    clock.advance(1s);
    coroutine.handle.destroy();
    CHECK(pool->stats().enqueue_timeouts == 1);
    CHECK(first.cancel());
  }
  SECTION("when it was cancelled") {
    source.cancel();
    coroutine.handle.destroy();
    CHECK(pool->stats().enqueue_cancelled == 1);
    CHECK(first.cancel());
  }
  SECTION("when it was cancelled, and passed over for a place") {
    source.cancel();
    CHECK(first.cancel());
    CHECK(pool->stats().submitting == 1);
    coroutine.handle.destroy();
  }
  SECTION("after a shutdown") {
    pool->shutdown(Context(clock).with_timeout(0s));
    coroutine.handle.destroy();
    CHECK(pool->stats().refused_closed == 2);
    next_is_in = false;
  }
  gate.open();
  CHECK(eventually([&] { return next_ran == (next_is_in ? 1 : 0); }));
  CHECK(loop.run_ready() == 1);
  CHECK(next.handle.done());
  next.handle.destroy();
  pool->shutdown(Context(clock));
  CHECK(ran == 0);
  CHECK(discrepancies(pool->stats(), true).empty());
  CHECK(clock.armed() <= 1);  // the pool's own
}

TEST_CASE("async_submit: what was not awaited, or never got that far, costs the pool nothing", "[exec][async_submit]") {
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 0, .enqueue_timeout = 1h});
  static_cast<void>(pool->async_submit([] {}));
  CHECK(pool->stats().submitted == 1);
}

struct ThrowsWhenMoved {
  explicit ThrowsWhenMoved(int* moves_left) : moves(moves_left) {}
  ThrowsWhenMoved(ThrowsWhenMoved&& other) : moves(other.moves) {  // NOLINT(performance-noexcept-move-constructor)
    if ((*moves)-- == 0) throw std::runtime_error("moved");
  }
  void operator()() const {}
  int* moves;
};

Task<bool> throws(WorkerPool& pool, int* moves) {
  try {
    static_cast<void>(co_await pool.async_submit(ThrowsWhenMoved(moves)));
  } catch (const std::runtime_error&) {
    co_return true;
  }
  co_return false;
}

TEST_CASE("async_submit: a function that cannot be moved into its job gives the place back", "[exec][async_submit]") {
  RunLoop loop;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 1, .enqueue_timeout = 1h});
  for (const bool is_full : {false, true}) {
    int moves = 1;
    CHECK(sync_wait(throws(*pool, &moves)));
    CHECK(pool->stats().submitting == 0);
    CHECK(pool->stats().enqueue_failures == (is_full ? 2 : 1));
    CHECK(discrepancies(pool->stats()).empty());
    if (!is_full) REQUIRE(pool->try_submit([] {}) == OpStatus::kOk);
  }
}

struct ThrowsAtItsEnd {
  explicit ThrowsAtItsEnd(bool* has_thrown) : thrown(has_thrown) {}
  ThrowsAtItsEnd(ThrowsAtItsEnd&& other) noexcept : thrown(std::exchange(other.thrown, nullptr)) {}
  ~ThrowsAtItsEnd() noexcept(false) {
    if (thrown == nullptr) return;
    *thrown = true;
    throw std::runtime_error("at its end");
  }
  void operator()() const {}
  bool* thrown;
};

Task<absl::Status> submit_throwing(WorkerPool& pool, bool* thrown) {
  co_return (co_await pool.async_submit(ThrowsAtItsEnd(thrown))).status();
}

TEST_CASE("async_submit: a refused function that throws when it is destroyed is reported", "[exec][async_submit]") {
  ManualClock clock;
  RunLoop loop;
  Gate gate;
  testing::Recorder<std::string> reported;
  const auto pool = held_pool(
      gate,
      {.queue_capacity = 0, .enqueue_timeout = 1s, .clock = &clock, .on_exception = [&](const CaughtException& caught) {
         reported.record(std::string(caught.text));
       }});
  bool thrown = false;
  auto waiting = spawn(loop, submit_throwing(*pool, &thrown));
  loop.run_ready();
  SECTION("by the coroutine") {
    clock.advance(1s);
    loop.run_ready();
    CHECK(absl::IsDeadlineExceeded(waiting.get()));
  }
  SECTION("by the shutdown") {
    pool->shutdown(Context(clock).with_timeout(0s));
    loop.run_ready();
    CHECK(absl::IsUnavailable(waiting.get()));
  }
  CHECK(thrown);
  REQUIRE(reported.size() == 1);
  CHECK(reported.events()[0] == "std::runtime_error: at its end");
  CHECK(pool->stats().exceptions == 1);
}

// --- jobs that go in front ---

TEST_CASE("WorkerPool: a job in front is next, whatever has come before", "[exec][worker_pool]") {
  const auto discipline = static_cast<QueueDiscipline>(GENERATE(0, 1, 2, 3));
  testing::Recorder<int> order;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 100, .discipline = discipline});
  const auto add = [&](int which, bool front) {
    return pool->submit([&order, which] { order.record(which); }, {.front = front}).status().ok();
  };
  REQUIRE(add(1, false));
  REQUIRE(add(2, true));
  REQUIRE(add(3, false));
  REQUIRE(add(4, true));
  CHECK(pool->execute([&order] { order.record(5); }) == OpStatus::kOk);
  gate.open();
  REQUIRE(eventually([&] { return order.size() == 5; }));
  const bool newest_first = discipline == QueueDiscipline::kLifo;
  CHECK(order.events() == (newest_first ? std::vector<int>{4, 2, 5, 3, 1} : std::vector<int>{2, 4, 1, 3, 5}));
  CHECK(eventually([&] { return pool->stats().succeeded == 6; }));
  CHECK(discrepancies(pool->stats(), true).empty());
}

TEST_CASE("WorkerPool: a job in front is before those that its worker has taken in", "[exec][worker_pool]") {
  testing::Recorder<int> order;
  Gate gate;
  Gate second_gate;
  const auto pool = held_pool(gate, {.queue_capacity = 100});
  REQUIRE(pool->execute([&] { second_gate.pass(); }) == OpStatus::kOk);
  REQUIRE(pool->execute([&] { order.record(1); }) == OpStatus::kOk);
  gate.open();
  REQUIRE(second_gate.await(1));
  REQUIRE(pool->execute([&] { order.record(2); }) == OpStatus::kOk);
  REQUIRE(pool->try_submit([&] { order.record(3); }, nullptr, {.front = true}) == OpStatus::kOk);
  second_gate.open();
  REQUIRE(eventually([&] { return order.size() == 3; }));
  CHECK(order.events() == std::vector<int>{3, 1, 2});
}

TEST_CASE("WorkerPool: a job in front expires, and is cancelled, as any other", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 100, .queue_wait_limit = 10s, .clock = &clock});
  Job<void> old = pool->submit([] {}).value();
  clock.advance(1s);
  Job<void> in_front = pool->submit([] {}, {.front = true}).value();
  Job<void> called_off = pool->submit([] {}, {.front = true}).value();
  CHECK(called_off.cancel());
  clock.advance(9s);
  CHECK(absl::IsDeadlineExceeded(old.get()));
  CHECK_FALSE(in_front.is_done());
  clock.advance(1s);
  CHECK(absl::IsDeadlineExceeded(in_front.get()));
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("WorkerPool: plain jobs have the priority of who says nothing", "[exec][worker_pool]") {
  testing::Recorder<int> order;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 100, .discipline = QueueDiscipline::kPriority});
  CHECK(pool->try_submit([&] { order.record(1); }, nullptr, {.priority = -1}) == OpStatus::kOk);
  CHECK(pool->execute([&] { order.record(2); }) == OpStatus::kOk);
  CHECK(pool->try_submit([&] { order.record(3); }) == OpStatus::kOk);
  CHECK(pool->try_submit([&] { order.record(4); }, nullptr, {.priority = 1}) == OpStatus::kOk);
  gate.open();
  REQUIRE(eventually([&] { return order.size() == 4; }));
  CHECK(order.events() == std::vector<int>{4, 2, 3, 1});
}

}  // namespace
}  // namespace penstock
