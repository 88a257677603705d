// SPDX-License-Identifier: MIT

// The line of a concurrency limiter: threads and coroutines alike, and nobody is left in it.

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/route/concurrency_limiter.hpp"
#include "route/limiter_support.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/detached.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::acquire_in;
using testing::ContainsSubstring;
using testing::Detached;
using testing::eventually;
using testing::in_line;
using testing::limiter_options;
using testing::LimiterSlot;
using testing::Recorder;
using testing::Script;
using testing::scripted_options;
using testing::stage_of;
using testing::text_of;
using Order = ConcurrencyLimiterOptions::Order;

Task<> queue_up(ConcurrencyLimiter& limiter, Recorder<std::string>& order, std::string name) {
  auto slot = co_await limiter.async_acquire();
  order.record(slot.ok() ? name : "refused");
}

TEST_CASE("ConcurrencyLimiter: threads and coroutines stand in one line", "[route][concurrency_limiter]") {
  for (const Order way : {Order::kFifo, Order::kLifo}) {
    ConcurrencyLimiterOptions options = limiter_options(1);
    options.order = way;
    ConcurrencyLimiter limiter(options);
    auto held = limiter.try_acquire();
    Recorder<std::string> order;
    auto first = spawn(Executor::inline_executor(), queue_up(limiter, order, "coroutine 1"));
    CHECK(in_line(limiter, 1));
    std::thread second([&] {
      const auto slot = limiter.acquire();
      order.record(slot.ok() ? "thread 2" : "refused");
    });
    CHECK(in_line(limiter, 2));
    auto third = spawn(Executor::inline_executor(), queue_up(limiter, order, "coroutine 3"));
    CHECK(in_line(limiter, 3));
    CHECK_FALSE(limiter.try_acquire().has_value());
    held->success();
    second.join();
    sync_wait(std::move(first));
    sync_wait(std::move(third));
    CHECK(order.events() == (way == Order::kFifo ? std::vector<std::string>{"coroutine 1", "thread 2", "coroutine 3"}
                                                 : std::vector<std::string>{"coroutine 3", "thread 2", "coroutine 1"}));
    const ConcurrencyLimiterStats stats = limiter.stats();
    CHECK(stats.waits == 3);
    CHECK(stats.waiting == 0);
    CHECK(stats.in_flight == 0);
    CHECK(stats.abandoned == 3);
    CHECK(limiter.try_acquire().has_value());
  }
}

TEST_CASE("ConcurrencyLimiter: a limit that rises wakes as many as may go, no more", "[route][concurrency_limiter]") {
  const auto script = std::make_shared<Script>();
  script->limit = 2;
  ConcurrencyLimiter limiter(scripted_options(script));
  auto one = limiter.try_acquire();
  auto two = limiter.try_acquire();
  RunLoop loop;
  std::vector<JoinHandle<absl::StatusOr<LimiterSlot>>> waiting;
  for (int i = 0; i != 6; ++i) waiting.push_back(spawn(loop, acquire_in(limiter, Context::background(), "")));
  loop.run_ready();
  CHECK(limiter.stats().waiting == 6);
  script->limit = 5;
  one->success(1ms);  // its own, and three more
  CHECK(limiter.stats().waiting == 2);
  CHECK(limiter.in_flight() == 5);
  script->limit = 1;
  two->success(1ms);
  CHECK(limiter.in_flight() == 4);
  loop.run_ready();
  for (int i = 0; i != 4; ++i) waiting[static_cast<std::size_t>(i)].get()->ignore();
  CHECK(limiter.in_flight() == 1);  // when the last of the four went, one of those in line could
  CHECK(limiter.stats().waiting == 1);
  loop.run_ready();
  waiting[4].get()->ignore();
  loop.run_ready();
  waiting[5].get()->ignore();
  CHECK(limiter.in_flight() == 0);
}

TEST_CASE("ConcurrencyLimiter: the line has an end", "[route][concurrency_limiter]") {
  ConcurrencyLimiter limiter(limiter_options(1, 2));
  auto held = limiter.try_acquire();
  RunLoop loop;
  auto one = spawn(loop, acquire_in(limiter, Context::background(), ""));
  auto two = spawn(loop, acquire_in(limiter, Context::background(), ""));
  loop.run_ready();
  const absl::Status refused = limiter.acquire().status();
  CHECK(refused.code() == absl::StatusCode::kResourceExhausted);
  CHECK(text_of(refused) == "concurrency limiter 'l': full (limit 1, 1 in flight, 2 waiting)");
  CHECK(stage_of(refused) == "limit");
  CHECK(limiter.stats().rejected == 1);
  held->ignore();
  loop.run_ready();
  one.get()->ignore();
  loop.run_ready();
  two.get()->ignore();
}

TEST_CASE("ConcurrencyLimiter: a deadline ends the wait, with numbers", "[route][concurrency_limiter]") {
  ManualClock clock;
  ConcurrencyLimiterOptions options = limiter_options(1);
  options.clock = &clock;
  ConcurrencyLimiter limiter(options);
  auto held = limiter.try_acquire();
  RunLoop loop;
  auto late = spawn(loop, acquire_in(limiter, Context(clock).with_timeout(250ms), ""));
  auto later = spawn(loop, acquire_in(limiter, Context(clock).with_timeout(1s), ""));
  loop.run_ready();
  clock.advance(250ms);
  loop.run_ready();
  const absl::Status status = late.get().status();
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(text_of(status) == "concurrency limiter 'l': no slot in time (waited 250 ms, limit 1, 1 in flight, 1 waiting)");
  CHECK(stage_of(status) == "limit");
  held->ignore();
  loop.run_ready();
  CHECK(later.get().ok());
  CHECK(clock.armed() == 0);
  CHECK(limiter.stats().timed_out == 1);
}

TEST_CASE("ConcurrencyLimiter: wait_timeout ends the wait of whoever has no deadline", "[route][concurrency_limiter]") {
  ManualClock clock;
  ConcurrencyLimiterOptions options = limiter_options(1);
  options.clock = &clock;
  options.wait_timeout = 100ms;
  ConcurrencyLimiter limiter(options);
  auto held = limiter.try_acquire();
  RunLoop loop;
  auto endless = spawn(loop, acquire_in(limiter, Context::background(), ""));
  auto patient = spawn(loop, acquire_in(limiter, Context(clock).with_timeout(1h), ""));
  auto hasty = spawn(loop, acquire_in(limiter, Context(clock).with_timeout(50ms), ""));
  loop.run_ready();
  clock.advance(50ms);
  loop.run_ready();
  CHECK(hasty.get().status().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(limiter.stats().waiting == 2);
  clock.advance(50ms);
  loop.run_ready();
  CHECK(endless.get().status().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(patient.get().status().code() == absl::StatusCode::kDeadlineExceeded);
  options.wait_timeout = 0s;
  REQUIRE(limiter.set_options(options).ok());
  CHECK(limiter.acquire().status().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(limiter.stats().waits == 3);
}

TEST_CASE("ConcurrencyLimiter: cancelled while waiting, and a context that has ended looks once",
          "[route][concurrency_limiter]") {
  ConcurrencyLimiter limiter(limiter_options(1));
  auto held = limiter.try_acquire();
  const Context::Cancellable ending = Context::background().with_cancel();
  std::optional<absl::Status> status;
  std::thread waiter([&] { status = limiter.acquire(ending.context).status(); });
  CHECK(in_line(limiter, 1));
  ending.source.cancel();
  waiter.join();
  CHECK(status->code() == absl::StatusCode::kCancelled);
  CHECK_THAT(text_of(*status), ContainsSubstring("cancelled while waiting for a slot"));
  CHECK(limiter.acquire(ending.context).status().code() == absl::StatusCode::kCancelled);
  CHECK(limiter.stats().waits == 1);
  CHECK(limiter.stats().cancelled == 2);
  held->ignore();
  CHECK(limiter.acquire(ending.context).ok());
  CHECK(limiter.acquire(Context::background().with_timeout(0s)).ok());
}

TEST_CASE("ConcurrencyLimiter: closing sends everybody away", "[route][concurrency_limiter]") {
  ConcurrencyLimiter limiter(limiter_options(1));
  auto held = limiter.try_acquire();
  RunLoop loop;
  auto coroutine = spawn(loop, acquire_in(limiter, Context::background(), ""));
  loop.run_ready();
  std::optional<absl::Status> status;
  std::thread waiter([&] { status = limiter.acquire().status(); });
  CHECK(in_line(limiter, 2));
  CHECK(limiter.close());
  waiter.join();
  loop.run_ready();
  CHECK(status->code() == absl::StatusCode::kUnavailable);
  CHECK(coroutine.get().status().code() == absl::StatusCode::kUnavailable);
  CHECK(limiter.stats().waiting == 0);
  held->success();
  CHECK(limiter.in_flight() == 0);
}

Detached wait_on(RunLoop& /*loop*/, ConcurrencyLimiter& limiter, Context ctx, bool& had) {
  const auto slot = co_await limiter.async_acquire(ctx);
  had = slot.ok();
}

TEST_CASE("ConcurrencyLimiter: a coroutine may be destroyed while it waits, and once it was served",
          "[route][concurrency_limiter]") {
  ConcurrencyLimiter limiter(limiter_options(1));
  RunLoop loop;
  bool had = false;
  const Context::Cancellable cancellable = Context::background().with_cancel();
  for (const Context& ctx : {Context::background(), cancellable.context}) {
    auto held = limiter.try_acquire();
    const Detached waiting = wait_on(loop, limiter, ctx, had);
    CHECK(limiter.stats().waiting == 1);
    waiting.handle.destroy();
    CHECK(limiter.stats().waiting == 0);
    const Detached served = wait_on(loop, limiter, ctx, had);
    held->ignore();
    CHECK(limiter.in_flight() == 1);  // handed over
    served.handle.destroy();
    CHECK(limiter.in_flight() == 0);
    CHECK_FALSE(had);
  }
  CHECK(limiter.try_acquire().has_value());
}

TEST_CASE("ConcurrencyLimiter: a burst waits its turn instead of being dropped", "[route][concurrency_limiter]") {
  ConcurrencyLimiterOptions options;
  options.algorithm = VegasLimit{.initial = 2, .max = 2};
  options.max_waiting = 100;
  ConcurrencyLimiter limiter(options);
  Recorder<bool> outcomes;
  std::vector<std::thread> burst;
  for (int i = 0; i != 20; ++i) {
    burst.emplace_back([&] {
      auto slot = limiter.acquire();
      if (slot.ok()) slot->success(1ms);
      outcomes.record(slot.ok());
    });
  }
  for (std::thread& thread : burst) thread.join();
  CHECK(outcomes.count(true) == 20);
  CHECK(limiter.stats().success == 20);
  CHECK(limiter.in_flight() == 0);
}

TEST_CASE("ConcurrencyLimiter: waiting allocates nothing, and a refusal that cannot be told leaves nothing behind",
          "[route][concurrency_limiter][allocation_failure]") {
  ConcurrencyLimiter limiter(limiter_options(1, 0));
  limiter.acquire()->success();  // the first use of the background context allocates that
  CHECK(testing::allocations_of([&] { limiter.acquire()->success(); }) == 0);
  auto held = limiter.try_acquire();
  CHECK(testing::allocations_of([&] { static_cast<void>(limiter.try_acquire().has_value()); }) == 0);
  CHECK(testing::failures_of([&] { static_cast<void>(limiter.acquire().ok()); }) > 0);
  held->ignore();
  ConcurrencyLimiterOptions options = limiter_options(3);
  options.algorithm = AimdLimit{};
  options.partitions = {{"a partition with a name that is longer than a short string", 0.5}, {"b", 0.1}};
  options.classify = classify_limit;
  CHECK(testing::failures_of([&] { static_cast<void>(limiter.set_options(options).ok()); },
                             [&](bool threw) { CHECK(limiter.limit() == (threw ? 1 : 20)); }) > 0);
  CHECK(limiter.limit() == 20);
  CHECK(testing::failures_of([&] { static_cast<void>(limiter.stats()); }) > 0);
  CHECK(testing::failures_of([&] { const ConcurrencyLimiter another(options); }) > 0);
}

}  // namespace
}  // namespace penstock
