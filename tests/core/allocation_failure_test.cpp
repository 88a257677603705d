// SPDX-License-Identifier: MIT

// Each operation of the room that allocates, with each of its allocations failing in turn: the caller gets
// std::bad_alloc, nothing else has changed, and the next try works. And what must not fail does not allocate.

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include "absl/status/status.h"

#include "core/catching_loop.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "support/allocations.hpp"
#include "support/blocks.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::allocations_of;
using testing::failures_of;

// The machine's clock is made by its first use, which cannot fail with an exception: before any test.
[[maybe_unused]] const Context& first_use = Context::background();

TEST_CASE("Allocation failure: deriving a context leaves its parent as it was", "[core][allocation_failure]") {
  const auto [parent, parent_source] = Context::background().with_timeout(1h).with_cancel();
  std::optional<Context> child;
  const auto derive = [&, &parent = parent] { child = parent.with_cancel().context; };
  CHECK(failures_of(derive, [&] { child.reset(); }) == 1);
  REQUIRE(child.has_value());
  CHECK_FALSE(child->is_done());
  CHECK(parent_source.cancel());
  CHECK(child->is_done());
}

TEST_CASE("Allocation failure: following a stop token", "[core][allocation_failure]") {
  const std::stop_source stop;
  const std::stop_token token = stop.get_token();
  std::optional<Context> ctx;
  CHECK(failures_of([&] { ctx = Context::background().with_stop_token(token); }) == 2);
  REQUIRE(ctx.has_value());
  // Who asks to stop gets no exception, so there must be none.
  CHECK(allocations_of([&] { std::stop_source(stop).request_stop(); }) == 0);
  CHECK(ctx->status() == OpStatus::kCancelled);
  CHECK(ctx->cause() == absl::CancelledError("stop requested"));
}

TEST_CASE("Allocation failure: registering a callback", "[core][allocation_failure]") {
  ManualClock clock;
  const auto [ctx, source] = Context(clock).with_timeout(1s).with_cancel();
  int calls = 0;
  std::optional<DoneCallback> callback;
  const auto enlist = [&, &on = ctx] { callback = on.on_done([&]() noexcept { ++calls; }); };
  std::size_t left_armed = 0;
  CHECK(failures_of(enlist, [&] { left_armed += clock.armed(); }) == 1);
  CHECK(left_armed == 0);
  CHECK(calls == 0);
  CHECK(clock.armed() == 1);
  clock.advance(1s);
  CHECK(calls == 1);
}

TEST_CASE("Allocation failure: a bridge to stop tokens", "[core][allocation_failure]") {
  const auto [ctx, source] = Context::background().with_cancel();
  std::optional<StopBridge> bridge;
  CHECK(failures_of([&, &from = ctx] { bridge.emplace(from); }) == 2);
  REQUIRE(bridge.has_value());
  CHECK(source.cancel());
  CHECK(bridge->token().stop_requested());
}

TEST_CASE("Allocation failure: cancelling does not allocate", "[core][allocation_failure]") {
  ManualClock clock;
  const auto [parent, source] = Context(clock).with_timeout(1s).with_cancel();
  const auto [child, child_source] = parent.with_cancel();
  int calls = 0;
  const DoneCallback callback = child.on_done([&]() noexcept { ++calls; });
  const StopBridge bridge(child);
  SECTION("a source") {
    CHECK(allocations_of([&, &by = source] { by.cancel(); }) == 0);
  }
  SECTION("a deadline") {
    CHECK(allocations_of([&] { clock.advance(1s); }) == 0);
  }
  CHECK(calls == 1);
  CHECK(bridge.token().stop_requested());
}

TEST_CASE("Allocation failure: a cause that cannot be told", "[core][allocation_failure]") {
  ManualClock clock;
  const Context ctx = Context(clock).with_timeout(0s);
  absl::Status cause;
  CHECK(failures_of([&] { cause = ctx.cause(); }) > 0);
  CHECK(absl::IsDeadlineExceeded(cause));
}

TEST_CASE("Allocation failure: posting a function", "[core][allocation_failure]") {
  CatchingLoop loop;
  Executor& executor = loop;
  auto witness = std::make_shared<int>(0);
  long uses = 0;
  const auto post = [&] { executor.post([witness] { ++*witness; }); };
  CHECK(failures_of(post, [&] { uses += witness.use_count() - 1; }) >= 1);
  CHECK(uses == 0);  // a function that was not posted is gone
  loop.run_ready();
  CHECK(*witness == 1);
  CHECK(loop.escaped.empty());
}

Task<int> increment(std::shared_ptr<int> number, testing::TooLargeToKeep /*kept_in_the_frame*/ = {}) {
  co_return ++*number;
}

// The allocations of small frames fail only where a sanitizer looks on, or none of that size has been kept.
TEST_CASE("Allocation failure: spawning a task", "[core][allocation_failure]") {
  RunLoop loop;
  auto number = std::make_shared<int>(0);
  std::optional<JoinHandle<int>> handle;
  long uses = 0;
  CHECK(failures_of([&] { handle = spawn(loop, increment(number)); }, [&] { uses += number.use_count() - 1; }) >= 1);
  CHECK(uses == 0);
  REQUIRE(handle.has_value());
  CHECK(loop.run_ready() == 1);  // what failed was not started
  CHECK(handle->get() == 1);
}

TEST_CASE("Allocation failure: awaiting a task that cannot be made", "[core][allocation_failure]") {
  auto number = std::make_shared<int>(0);
  const auto twice = [](std::shared_ptr<int> each) -> Task<int> {
    co_await increment(each);
    co_return co_await increment(each);
  };
  int result = 0;
  CHECK(failures_of([&] { result = sync_wait(twice(number)); }, [&] { *number = 0; }) >= 2);
  CHECK(result == 2);
  CHECK(number.use_count() == 1);
}

TEST_CASE("Allocation failure: starting a timer thread", "[core][allocation_failure]") {
  SteadyClock clock;
  std::optional<DoneCallback> callback;
  std::atomic<bool> called{false};
  const Context ctx = Context(clock).with_timeout(1ms);
  CHECK(failures_of([&] { callback = ctx.on_done([&]() noexcept { called = true; }); }) >= 2);
  while (!called) std::this_thread::yield();
}

TEST_CASE("Allocation failure: waiting does not allocate", "[core][allocation_failure]") {
  ManualClock clock;
  const auto [ended, source] = Context(clock).with_timeout(0s).with_cancel();
  Mutex mutex;
  CondVar never;
  RunLoop loop;
  JoinHandle<int> handle = spawn(loop, increment(std::make_shared<int>(0)));
  JoinHandle<int> outer =
      spawn(loop, [](JoinHandle<int> inner) -> Task<int> { co_return co_await inner; }(std::move(handle)));
  OpStatus status = OpStatus::kOk;
  CHECK(allocations_of([&, &ctx = ended] {
          MutexLock lock(mutex);
          status = never.wait(mutex, ctx);
        }) == 0);
  CHECK(status == OpStatus::kTimedOut);
  CHECK(allocations_of([&, &ctx = ended] { status = outer.wait(ctx); }) == 0);
  CHECK(status == OpStatus::kTimedOut);
  CHECK(allocations_of([&] { loop.run_ready(); }) == 0);  // suspends, ends, resumes
  CHECK(outer.get() == 1);
}

}  // namespace
}  // namespace penstock
