// SPDX-License-Identifier: MIT

// Contexts: cancelling against registering, taking back and destroying, in families of parent and child.

#include "penstock/core/context.hpp"

#include <chrono>
#include <new>
#include <optional>
#include <stop_token>
#include <utility>

#include "absl/status/status.h"

#include "penstock/core/manual_clock.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using checker::must_pass;
namespace world = penstock::detail::world;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

TEST_CASE("Context: a callback runs once, and never after it was taken back", "[model][context]") {
  must_pass({.name = "context, take back", .preemptions = 4}, [] {
    auto [ctx, source] = Context::background().with_cancel();
    int calls = 0;
    world::Thread canceller([mine = source] { mine.cancel(); });
    {
      const DoneCallback callback = ctx.on_done([&]() noexcept { ++calls; });
    }
    const int calls_then = calls;  // a race, if anybody could still call
    canceller.join();
    MODEL_ASSERT(calls == calls_then && calls <= 1);
  });
}

TEST_CASE("Context: one canceller wins, and all see its cause", "[model][context]") {
  must_pass({.name = "context, two cancellers", .preemptions = 3}, [] {
    auto [ctx, source] = Context::background().with_cancel();
    int calls = 0;
    std::optional<DoneCallback> callback = ctx.on_done([&]() noexcept { ++calls; });
    bool first_won = false;
    world::Thread first([&, mine = source] { first_won = mine.cancel(absl::AbortedError("first")); });
    const bool second_won = source.cancel(absl::UnavailableError("second"));
    MODEL_ASSERT(ctx.status() == OpStatus::kCancelled);
    first.join();
    MODEL_ASSERT(first_won != second_won);
    MODEL_ASSERT(ctx.cause().code() == (first_won ? absl::StatusCode::kAborted : absl::StatusCode::kUnavailable));
    callback.reset();
    MODEL_ASSERT(calls == 1);
  });
}

TEST_CASE("Context: who sees that it is cancelled sees what led to that", "[model][context]") {
  must_pass({.name = "context, status orders", .preemptions = 4}, [] {
    auto [ctx, source] = Context::background().with_cancel();
    int reason = 0;
    world::Thread canceller([&, mine = source] {
      reason = 42;
      mine.cancel();
    });
    if (ctx.status() == OpStatus::kCancelled) MODEL_ASSERT(reason == 42);
    canceller.join();
  });
}

TEST_CASE("Context: a parent is cancelled while a child is made and goes", "[model][context]") {
  must_pass({.name = "context, child comes and goes", .preemptions = 3}, [] {
    auto [parent, parent_source] = Context::background().with_cancel();
    int calls = 0;
    world::Thread canceller([source = parent_source] { source.cancel(); });
    {
      auto [child, child_source] = parent.with_cancel();
      const DoneCallback callback = child.on_done([&]() noexcept { ++calls; });
    }
    const int calls_then = calls;
    canceller.join();
    MODEL_ASSERT(calls == calls_then && calls <= 1);
    MODEL_ASSERT(parent.with_cancel().context.status() == OpStatus::kCancelled);
  });
}

TEST_CASE("Context: parent and child are cancelled at once", "[model][context]") {
  must_pass({.name = "context, parent and child cancelled", .preemptions = 3}, [] {
    auto [parent, parent_source] = Context::background().with_cancel();
    auto [child, child_source] = parent.with_cancel();
    int calls = 0;
    const DoneCallback callback = child.on_done([&]() noexcept { ++calls; });
    world::Thread first([source = std::move(parent_source)] { source.cancel(); });
    world::Thread second([source = std::move(child_source)] { source.cancel(); });
    first.join();
    second.join();
    MODEL_ASSERT(calls == 1);
    MODEL_ASSERT(parent.status() == OpStatus::kCancelled && child.status() == OpStatus::kCancelled);
  });
}

TEST_CASE("Context: the last owner of a child goes while its parent is cancelled", "[model][context]") {
  must_pass({.name = "context, last owner", .preemptions = 3}, [] {
    auto [parent, parent_source] = Context::background().with_cancel();
    std::optional<Context::Cancellable> child = parent.with_cancel();
    std::optional<Context> copy = child->context;
    world::Thread canceller([source = std::move(parent_source)] { source.cancel(); });
    world::Thread owner([&] { copy.reset(); });
    child.reset();
    canceller.join();
    owner.join();
  });
}

TEST_CASE("Context: a callback may take itself back, and end the context's life", "[model][context]") {
  must_pass({.name = "context, callback destroys", .preemptions = 3}, [] {
    std::optional<Context::Cancellable> family = Context::background().with_cancel();
    std::optional<DoneCallback> callback;
    int calls = 0;
    callback = family->context.on_done([&]() noexcept {
      ++calls;
      callback.reset();
    });
    world::Thread canceller([source = family->source] { source.cancel(); });
    const OpStatus status = family->context.status();
    MODEL_ASSERT(status == OpStatus::kOk || status == OpStatus::kCancelled);
    canceller.join();
    MODEL_ASSERT(calls == 1 && !callback);
  });
}

TEST_CASE("Context: deadline and cancellation together call once", "[model][context]") {
  must_pass({.name = "context, deadline and cancel", .preemptions = 3}, [] {
    ManualClock clock;
    auto [ctx, source] = Context(clock).with_timeout(5ms).with_cancel();
    world::Atomic<int> calls{0};
    std::optional<DoneCallback> callback = ctx.on_done([&]() noexcept { calls.fetch_add(1, kRelaxed); });
    world::Thread canceller([mine = source] { mine.cancel(); });
    world::Thread advancer([&] { clock.advance(10ms); });
    canceller.join();
    advancer.join();
    callback.reset();
    MODEL_ASSERT(calls.load(kRelaxed) == 1);
    MODEL_ASSERT(ctx.status() != OpStatus::kOk);
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("Context: registering against the deadline", "[model][context]") {
  must_pass({.name = "context, on_done and advance", .preemptions = 3}, [] {
    ManualClock clock;
    const Context ctx = Context(clock).with_timeout(5ms);
    world::Atomic<int> calls{0};
    world::Thread advancer([&] { clock.advance(10ms); });
    {
      const DoneCallback callback = ctx.on_done([&]() noexcept { calls.fetch_add(1, kRelaxed); });
    }
    const int calls_then = calls.load(kRelaxed);
    advancer.join();
    MODEL_ASSERT(calls.load(kRelaxed) == calls_then && calls_then <= 1);
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("Context: whichever allocation fails, nothing is lost or left behind", "[model][context]") {
  checker::expect_passed(checker::explore_allocation_failures({.name = "context, allocations", .preemptions = 1}, [] {
    try {
      std::stop_source stopper;
      auto [parent, source] = Context::background().with_cancel();
      world::Thread canceller([mine = source] { mine.cancel(); });
      try {
        auto [child, child_source] = parent.with_cancel();
        const Context bridged = child.with_stop_token(stopper.get_token());
        const DoneCallback callback = bridged.on_done([]() noexcept {});
        const StopBridge bridge(bridged);
      } catch (const std::bad_alloc&) {
      }
      canceller.join();
      MODEL_ASSERT(parent.status() == OpStatus::kCancelled);
    } catch (const std::bad_alloc&) {
    }
  }));
}

TEST_CASE("Context: a stop token asks while the context goes", "[model][context]") {
  must_pass({.name = "context, stop token", .preemptions = 3, .standard_steps = true}, [] {
    std::stop_source source;
    world::Atomic<int> calls{0};
    world::Thread stopper([&] { source.request_stop(); });
    {
      const Context ctx = Context::background().with_stop_token(source.get_token());
      const DoneCallback callback = ctx.on_done([&]() noexcept { calls.fetch_add(1, kRelaxed); });
    }
    const int calls_then = calls.load(kRelaxed);
    stopper.join();
    MODEL_ASSERT(calls.load(kRelaxed) == calls_then && calls_then <= 1);
  });
}

TEST_CASE("Context: a bridge to a stop token goes while the context is cancelled", "[model][context]") {
  must_pass({.name = "context, stop bridge", .preemptions = 3, .standard_steps = true}, [] {
    auto [ctx, source] = Context::background().with_cancel();
    std::optional<StopBridge> bridge(std::in_place, ctx);
    const std::stop_token token = bridge->token();
    world::Thread canceller([mine = source] { mine.cancel(); });
    bridge.reset();
    canceller.join();
    StopBridge late(ctx);
    MODEL_ASSERT(late.token().stop_requested());
  });
}
