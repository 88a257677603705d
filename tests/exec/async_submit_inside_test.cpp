// SPDX-License-Identifier: MIT

// WorkerPool::async_submit: coroutines that run at once, inside the pool, when they get their place, and shut it down.

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <utility>

#include "exec/pool_support.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::held_pool;

/// Gets a place, and then shuts the pool down; returns whether that ended in time.
Task<bool> shuts_down(WorkerPool& pool, Gate& gate, std::atomic<int>& ran) {
  static_cast<void>(co_await pool.async_submit([&ran] { ++ran; }));
  gate.open();
  co_return pool.shutdown(Context::background().with_timeout(10s)).in_time;
}

/// A function that does something else when it is moved into its job.
class WhenMoved {
 public:
  explicit WhenMoved(std::function<void()>& then) : then_(then) {}
  WhenMoved(WhenMoved&& other) : then_(other.then_) {  // NOLINT(performance-noexcept-move-constructor)
    if (then_) std::exchange(then_, nullptr)();
  }
  void operator()() const {}

 private:
  std::function<void()>& then_;
};

TEST_CASE("async_submit: a shutdown does not wait for what its own thread has yet to do", "[exec][async_submit]") {
  ManualClock clock;
  Gate gate;
  std::atomic<int> ran{0};
  std::atomic<int> queued_ran{0};
  const auto pool = held_pool(gate, {.queue_capacity = 1, .enqueue_timeout = 1h, .clock = &clock});
  std::optional<JoinHandle<bool>> waiting;
  const auto wait = [&] { waiting.emplace(spawn(Executor::inline_executor(), shuts_down(*pool, gate, ran))); };
  int expected = 1;
  SECTION("to answer a job that it has cancelled") {
    Job<void> queued = pool->submit([] {}).value();
    wait();
    CHECK(queued.cancel());
  }
  SECTION("to answer a job that has expired") {
    REQUIRE(pool->submit([] {}, {.queue_wait_limit = 1s}).ok());
    wait();
    clock.advance(1s);
  }
  SECTION("to run the job that it has found") {
    REQUIRE(pool->execute([&queued_ran] { ++queued_ran; }) == OpStatus::kOk);
    wait();
    gate.open();
    expected = 2;
  }
  SECTION("to answer a job that was cancelled while it was made") {
    auto [ctx, source] = Context(clock).with_cancel();
    std::function<void()> then = [&, cancels = source]() mutable {
      wait();
      cancels.cancel();
    };
    const auto job = pool->submit(WhenMoved(then), {.context = ctx});
    REQUIRE(job.ok());
    CHECK(job->is_done());
  }
  CHECK(waiting->get());
  CHECK(eventually([&] { return ran + queued_ran == expected; }));
  pool->shutdown(Context(clock));
  CHECK(discrepancies(pool->stats(), true).empty());
}

Task<absl::StatusCode> submits(WorkerPool& pool, Context ctx) {
  const SubmitOptions options{.context = std::move(ctx)};
  co_return (co_await pool.async_submit([] {}, options)).status().code();
}

TEST_CASE(
    "async_submit: a shutdown in the only worker does not wait for a coroutine that the worker would have to resume",
    "[exec][async_submit]") {
  Gate gate;
  bool in_time = false;
  auto [ctx, source] = Context::background().with_cancel();
  const auto pool = held_pool(gate, {.queue_capacity = 1, .enqueue_timeout = 1h});
  Job<void> last = pool->submit([&, cancels = source]() mutable {
                         cancels.cancel();  // the second coroutine is out of line, and does not know it yet
                         in_time = pool->shutdown(Context::background().with_timeout(10s)).in_time;
                       })
                       .value();
  auto first = spawn(*pool, submits(*pool, Context::background()));
  auto second = spawn(*pool, submits(*pool, ctx));
  gate.open();
  CHECK(last.get().ok());
  CHECK(in_time);
  CHECK(first.get() == absl::StatusCode::kOk);
  CHECK(second.get() == absl::StatusCode::kCancelled);
  pool->shutdown(Context::background());
  CHECK(discrepancies(pool->stats(), true).empty());
}

}  // namespace
}  // namespace penstock
