// SPDX-License-Identifier: MIT
#include "penstock/core/context.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "penstock/core/manual_clock.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;

TEST_CASE("Context: the background never ends", "[core][context]") {
  const Context& ctx = Context::background();
  CHECK(ctx.status() == OpStatus::kOk);
  CHECK_FALSE(ctx.is_done());
  CHECK_FALSE(ctx.can_end());
  CHECK(ctx.cause().ok());
  CHECK(ctx.deadline() == TimePoint::max());
  CHECK(&ctx.clock() == &Clock::steady());
}

TEST_CASE("Context: a deadline passes", "[core][context]") {
  ManualClock clock;
  const Context ctx = Context(clock).with_timeout(10ms);
  CHECK(ctx.deadline() == clock.now() + 10ms);
  clock.advance(10ms - 1ns);
  CHECK(ctx.status() == OpStatus::kOk);
  clock.advance(1ns);
  CHECK(ctx.status() == OpStatus::kTimedOut);
  CHECK(absl::IsDeadlineExceeded(ctx.cause()));
}

TEST_CASE("Context: a child's deadline is the earlier one", "[core][context]") {
  ManualClock clock;
  const Context parent = Context(clock).with_timeout(10s);
  CHECK(parent.with_timeout(20s).deadline() == parent.deadline());
  CHECK(parent.with_timeout(5s).deadline() == clock.now() + 5s);
  CHECK(parent.with_cancel().context.deadline() == parent.deadline());
}

TEST_CASE("Context: any timeout is a sane deadline", "[core][context]") {
  ManualClock clock;
  const Context ctx(clock);
  CHECK(ctx.with_timeout(Duration::max()).deadline() == TimePoint::max());
  CHECK(ctx.with_timeout(std::chrono::hours::max()).deadline() == TimePoint::max());
  CHECK(ctx.with_timeout(0s).status() == OpStatus::kTimedOut);
  CHECK(ctx.with_timeout(-1h).status() == OpStatus::kTimedOut);
  CHECK(ctx.with_timeout(Duration::min()).status() == OpStatus::kTimedOut);
  CHECK_FALSE(ctx.with_deadline(TimePoint::max()).can_end());
}

TEST_CASE("Context: a deadline alone allocates nothing", "[core][context]") {
  ManualClock clock;
  const testing::Allocations before = testing::Allocations::now();
  const Context ctx = Context(clock).with_timeout(1s).with_deadline(clock.now() + 2s);
  const Context copy = ctx;
  CHECK(copy.status() == OpStatus::kOk);
  CHECK(testing::Allocations::now() == before);
  STATIC_REQUIRE(sizeof(Context) == 24);
}

TEST_CASE("Context: cancelling ends it and all below it, and nothing above", "[core][context]") {
  const auto [parent, parent_source] = Context::background().with_cancel();
  const auto [child, child_source] = parent.with_cancel();
  const auto [grandchild, unused] = child.with_timeout(1h).with_cancel();
  CHECK(child_source.cancel(absl::AbortedError("enough")));
  CHECK(parent.status() == OpStatus::kOk);
  CHECK(child.status() == OpStatus::kCancelled);
  CHECK(grandchild.status() == OpStatus::kCancelled);
  CHECK(grandchild.cause() == absl::AbortedError("enough"));
  CHECK(parent_source.cancel());
  CHECK(parent.cause() == absl::CancelledError());
  CHECK(child.cause() == absl::AbortedError("enough"));
}

TEST_CASE("Context: the first cause stays", "[core][context]") {
  const auto [ctx, source] = Context::background().with_cancel();
  CHECK(source.cancel(absl::AbortedError("first")));
  CHECK_FALSE(source.cancel(absl::AbortedError("second")));
  CHECK(ctx.cause() == absl::AbortedError("first"));
  // Cancelled is never OK, whatever the cause given says.
  const auto [other, other_source] = Context::background().with_cancel();
  CHECK(other_source.cancel(absl::OkStatus()));
  CHECK(other.cause() == absl::CancelledError());
}

TEST_CASE("Context: deadline and cancellation, whichever came first", "[core][context]") {
  ManualClock clock;
  const auto [ctx, source] = Context(clock).with_timeout(1s).with_cancel();
  SECTION("cancelled before the deadline") {
    source.cancel();
    clock.advance(2s);
    CHECK(ctx.status() == OpStatus::kCancelled);
  }
  SECTION("cancelled after the deadline") {
    clock.advance(1s);
    source.cancel();
    CHECK(ctx.status() == OpStatus::kTimedOut);
    CHECK(absl::IsDeadlineExceeded(ctx.cause()));
  }
  SECTION("a parent cancelled before the deadline counts at its own time") {
    const auto [child, child_source] = ctx.with_cancel();
    source.cancel();
    clock.advance(2s);
    CHECK(child.status() == OpStatus::kCancelled);
  }
}

TEST_CASE("Context: what is cancelled at the end of time is cancelled", "[core][context]") {
  /// A clock that has come to the point which, as a deadline, means for ever.
  struct EndOfTime : Clock {
    [[nodiscard]] TimePoint now() const noexcept override { return TimePoint::max(); }
    void start_timers() override {}
    bool arm(Timer&, TimePoint) noexcept override { return false; }
    void disarm(Timer&) noexcept override {}
  };
  EndOfTime end;
  const auto [ctx, source] = Context(end).with_cancel();
  CHECK(source.cancel());
  CHECK(ctx.status() == OpStatus::kCancelled);

  ManualClock manual;
  manual.advance(Duration::max());
  const auto [other, other_source] = Context(manual).with_cancel();
  CHECK(other_source.cancel());
  CHECK(other.status() == OpStatus::kCancelled);
  CHECK(Context(manual).with_timeout(0s).status() == OpStatus::kTimedOut);
}

TEST_CASE("CancelSource: is copied, so that moving from one leaves it whole", "[core][context]") {
  Context::Cancellable pair = Context::background().with_cancel();
  const CancelSource taken = std::move(pair.source);
  CHECK(pair.source.cancel());  // NOLINT(bugprone-use-after-move): the point of the test
  CHECK_FALSE(taken.cancel());
  CHECK(pair.context.is_done());
}

TEST_CASE("Context: a child of what was cancelled is cancelled", "[core][context]") {
  const auto [ctx, source] = Context::background().with_cancel();
  source.cancel(absl::AbortedError("gone"));
  const auto [child, child_source] = ctx.with_cancel();
  CHECK(child.cause() == absl::AbortedError("gone"));
  CHECK_FALSE(child_source.cancel());
}

TEST_CASE("Context: dropping the source cancels nothing", "[core][context]") {
  std::optional<Context::Cancellable> pair = Context::background().with_cancel();
  const Context ctx = pair->context;
  pair.reset();
  CHECK(ctx.status() == OpStatus::kOk);
}

TEST_CASE("Context: a child outlives its parents' handles", "[core][context]") {
  std::optional<Context> child;
  std::optional<CancelSource> source;
  {
    auto [parent, parent_source] = Context::background().with_cancel();
    child = parent.with_cancel().context;
    source = parent_source;
  }
  source->cancel();
  CHECK(child->status() == OpStatus::kCancelled);
}

TEST_CASE("Context: on_done calls once, on cancellation", "[core][context]") {
  const auto [ctx, source] = Context::background().with_cancel();
  int calls = 0;
  const DoneCallback callback = ctx.on_done([&]() noexcept { ++calls; });
  CHECK(calls == 0);
  source.cancel();
  source.cancel();
  CHECK(calls == 1);
}

TEST_CASE("Context: on_done calls once, at the deadline", "[core][context]") {
  ManualClock clock;
  const auto [ctx, source] = Context(clock).with_timeout(1s).with_cancel();
  int calls = 0;
  const DoneCallback callback = ctx.on_done([&]() noexcept { ++calls; });
  clock.advance(1s);
  CHECK(calls == 1);
  source.cancel();
  CHECK(calls == 1);
}

TEST_CASE("Context: on_done of what has ended calls at once", "[core][context]") {
  ManualClock clock;
  const auto [cancelled, source] = Context(clock).with_cancel();
  source.cancel();
  int calls = 0;
  const DoneCallback first = cancelled.on_done([&]() noexcept { ++calls; });
  CHECK(calls == 1);
  const DoneCallback second = Context(clock).with_timeout(0s).on_done([&]() noexcept { ++calls; });
  CHECK(calls == 2);
  const DoneCallback never = Context::background().on_done([&]() noexcept { ++calls; });
  CHECK(calls == 2);
}

TEST_CASE("Context: on_done refuses an empty function", "[core][context]") {
  const auto [ctx, source] = Context::background().with_cancel();
  CHECK_THROWS_AS(ctx.on_done({}), std::invalid_argument);
  CHECK(source.cancel());
}

TEST_CASE("Context: on_done registers nothing when the clock has no thread for its timers", "[core][context]") {
  struct Threadless : Clock {
    [[nodiscard]] TimePoint now() const noexcept override { return TimePoint{}; }
    void start_timers() override {
      throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
    }
    bool arm(Timer&, TimePoint) noexcept override { return false; }
    void disarm(Timer&) noexcept override {}
  };
  Threadless clock;
  const auto [ctx, source] = Context(clock).with_timeout(1s).with_cancel();
  int calls = 0;
  CHECK_THROWS_AS(ctx.on_done([&]() noexcept { ++calls; }), std::system_error);
  CHECK_THROWS_AS(StopBridge(ctx), std::system_error);
  CHECK(source.cancel());
  CHECK(calls == 0);
}

TEST_CASE("Context: destroying the registration takes the call back", "[core][context]") {
  ManualClock clock;
  const auto [ctx, source] = Context(clock).with_timeout(1s).with_cancel();
  int calls = 0;
  {
    const DoneCallback callback = ctx.on_done([&]() noexcept { ++calls; });
  }
  CHECK(clock.armed() == 0);
  source.cancel();
  clock.advance(1s);
  CHECK(calls == 0);
}

TEST_CASE("Context: callbacks may register, take back, cancel and destroy", "[core][context]") {
  auto pair = std::make_unique<Context::Cancellable>(Context::background().with_cancel());
  std::vector<int> order;
  std::optional<DoneCallback> second;
  std::optional<DoneCallback> nested;
  std::optional<DoneCallback> first = pair->context.on_done([&]() noexcept {
    order.push_back(1);
    second.reset();                                                          // a callback that has not run yet
    first.reset();                                                           // itself
    nested = pair->context.on_done([&]() noexcept { order.push_back(3); });  // has ended: runs at once
    pair->source.cancel();
    pair.reset();
  });
  second = pair->context.on_done([&]() noexcept { order.push_back(2); });
  pair->source.cancel();
  CHECK(order == std::vector<int>{1, 3});
  CHECK(pair == nullptr);
}

TEST_CASE("Context: callbacks of one context run in the order of registration", "[core][context]") {
  const auto [ctx, source] = Context::background().with_cancel();
  std::vector<int> order;
  std::vector<DoneCallback> callbacks;
  for (int i = 0; i < 5; ++i) callbacks.push_back(ctx.on_done([&order, i]() noexcept { order.push_back(i); }));
  callbacks.erase(callbacks.begin() + 2);
  source.cancel();
  CHECK(order == std::vector<int>{0, 1, 3, 4});
}

TEST_CASE("Context: taking a callback back waits while it runs elsewhere", "[core][context]") {
  const auto [ctx, source] = Context::background().with_cancel();
  std::atomic<bool> entered{false};
  std::atomic<bool> release{false};
  std::atomic<bool> left{false};
  std::optional<DoneCallback> callback = ctx.on_done([&]() noexcept {
    entered = true;
    while (!release) std::this_thread::yield();
    left = true;
  });
  std::thread cancelling([source = source] { source.cancel(); });
  REQUIRE(testing::eventually([&] { return entered.load(); }));
  std::atomic<bool> left_when_gone{false};
  std::atomic<bool> gone{false};
  std::thread removing([&] {
    callback.reset();
    left_when_gone = left.load();
    gone = true;
  });
  for (int i = 0; i < 1000; ++i) std::this_thread::yield();
  CHECK_FALSE(gone);
  release = true;
  removing.join();
  cancelling.join();
  CHECK(left_when_gone);
}

TEST_CASE("Context: follows a stop token", "[core][context]") {
  std::stop_source stop;
  const Context ctx = Context::background().with_stop_token(stop.get_token());
  CHECK(ctx.status() == OpStatus::kOk);
  stop.request_stop();
  CHECK(ctx.status() == OpStatus::kCancelled);
  CHECK(ctx.cause() == absl::CancelledError("stop requested"));
  CHECK(Context::background().with_stop_token(stop.get_token()).is_done());
  CHECK_FALSE(Context::background().with_stop_token(std::stop_token{}).is_done());
}

TEST_CASE("Context: drives a stop token", "[core][context]") {
  ManualClock clock;
  const auto [ctx, source] = Context(clock).with_timeout(1s).with_cancel();
  SECTION("by cancellation") {
    const StopBridge bridge(ctx);
    CHECK_FALSE(bridge.token().stop_requested());
    source.cancel();
    CHECK(bridge.token().stop_requested());
  }
  SECTION("by its deadline") {
    const StopBridge bridge(ctx);
    clock.advance(1s);
    CHECK(bridge.token().stop_requested());
  }
  SECTION("at once, if it has ended") {
    source.cancel();
    CHECK(StopBridge(ctx).token().stop_requested());
  }
}

TEST_CASE("Context: a token made from a context made from a token", "[core][context]") {
  std::stop_source stop;
  const StopBridge bridge(Context::background().with_stop_token(stop.get_token()));
  stop.request_stop();
  CHECK(bridge.token().stop_requested());
}

TEST_CASE("Context: cancel, derive and drop from many threads", "[core][context][stress]") {
  for (int round = 0; round < 300; ++round) {
    auto [root, source] = Context::background().with_cancel();
    std::atomic<int> calls{0};
    std::atomic<int> expected{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&, root = root] {
        for (int i = 0; i < 20; ++i) {
          auto [child, child_source] = root.with_cancel();
          std::optional<DoneCallback> kept = child.on_done([&]() noexcept { ++calls; });
          std::optional<DoneCallback> dropped = child.on_done([&]() noexcept { ++calls; });
          dropped.reset();
          child_source.cancel();  // or the root did
          ++expected;
        }
      });
    }
    threads.emplace_back([source = source] { source.cancel(); });
    for (std::thread& thread : threads) thread.join();
    REQUIRE(root.is_done());
    REQUIRE(calls >= expected);  // `dropped` may have been called before it was dropped
    REQUIRE(calls <= 2 * expected);
  }
}

}  // namespace
}  // namespace penstock
