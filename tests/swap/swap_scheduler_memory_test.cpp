// SPDX-License-Identifier: MIT

// Without memory: an event that throws has not happened, and a drain goes on with the next one.

#include <new>

#include "penstock/swap/swap_scheduler.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "swap/swap_scheduler_support.hpp"

namespace penstock {
namespace {

using testing::FailAllocation;
using testing::models_named;
using testing::seconds;
using testing::SwapBench;

/// Each of them fails in a copy of its own, for each of its allocations, and is then repeated.
template <class Event>
void check_event(const SwapScheduler& before, TimePoint now, Event event) {
  SwapScheduler expected = before;
  SwapActions wanted;
  event(expected, now, wanted);
  for (std::uint64_t nth = 0;; ++nth) {
    SwapScheduler tried = before;
    SwapActions out;
    bool has_thrown = false;
    {
      const FailAllocation failure(nth);
      try {
        event(tried, now, out);
      } catch (const std::bad_alloc&) {
        has_thrown = true;
      }
      if (!failure.has_failed()) break;
    }
    if (has_thrown) {
      CHECK(tried.queued() == before.queued());
      CHECK(tried.stats().granted == before.stats().granted);
      CHECK(tried.stats().swaps_active == before.stats().swaps_active);
      CHECK(tried.stats().arrived == before.stats().arrived);
      event(tried, now, out);
    } else {
      tried.on_timer(now, out);  // what a drain has left
    }
    CHECK(tried.queued() == expected.queued());
    CHECK(tried.stats().joined == expected.stats().joined);
    CHECK(tried.stats().in_flight == expected.stats().in_flight);
    CHECK(tried.stats().swaps_started == expected.stats().swaps_started);
    CHECK(tried.stats().stops_active == expected.stats().stops_active);
  }
}

TEST_CASE("SwapScheduler: an event that runs out of memory has not happened", "[swap][swap_scheduler]") {
  for (const LimitAt limit_at : {LimitAt::kArrival, LimitAt::kService}) {
    SwapSchedulerOptions options = models_named({"a", "b", "c"}, {.limit_at = limit_at});
    for (SwapModel& model : options.models) model.concurrency_limit = 5;
    SwapBench bench(options);
    const ModelId a = bench.id("a");
    const ModelId b = bench.id("b");
    const auto request = [&](SwapScheduler& scheduler, TimePoint now, SwapActions& out) {
      scheduler.on_request({.model = b, .deadline = now + seconds(9)}, now, out);
    };
    check_event(bench.scheduler, bench.now, request);
    const TicketId first = bench.ask("a");
    bench.note();
    for (int i = 0; i != 7; ++i) bench.ask("a");
    for (int i = 0; i != 4; ++i) bench.ask("b");
    check_event(bench.scheduler, bench.now, request);
    const SwapId swap = bench.scheduler.model_load(a).swap;
    bench.state(a, ModelState::kReady);
    check_event(bench.scheduler, bench.now, [&](SwapScheduler& scheduler, TimePoint now, SwapActions& out) {
      scheduler.on_swap_done(swap, true, now, out);
    });
    check_event(bench.scheduler, bench.now, [&](SwapScheduler& scheduler, TimePoint now, SwapActions& out) {
      scheduler.on_swap_done(swap, false, now, out);
    });
    check_event(bench.scheduler, bench.now, [&](SwapScheduler& scheduler, TimePoint now, SwapActions& out) {
      scheduler.on_unload(std::vector{a, b}, Duration::zero(), now, out);
    });
    check_event(bench.scheduler, bench.now,
                [&](SwapScheduler& scheduler, TimePoint now, SwapActions& out) { scheduler.on_shutdown(now, out); });
    bench.out.clear();
    bench.scheduler.on_cancel(first, bench.now, bench.out);
    CHECK(bench.scheduler.stats().cancelled == 1);
  }
}

TEST_CASE("SwapScheduler: a request that has been served has, even if there is no memory to grant the next one",
          "[swap][swap_scheduler]") {
  SwapSchedulerOptions options = models_named({"a"}, {.limit_at = LimitAt::kService});
  options.models[0].concurrency_limit = 2;
  SwapBench bench(options);
  bench.warm("a");
  const TicketId first = bench.ask("a");
  const TicketId second = bench.ask("a");
  const TicketId waits = bench.ask("a");
  REQUIRE(bench.is(waits, TicketState::kQueued));
  SwapActions out;
  out.reserve(1);
  {
    const FailAllocation failure(0);
    bench.scheduler.on_serve_done(first, bench.now, out);
  }
  CHECK(bench.is(first, TicketState::kEnded));
  CHECK(bench.is(waits, TicketState::kQueued));
  REQUIRE(out.size() == 1);
  CHECK(std::get<WakeAt>(out[0]).when == bench.now);
  bench.tick();
  CHECK(bench.is(waits, TicketState::kGranted));
  CHECK(bench.is(second, TicketState::kGranted));
}

TEST_CASE("SwapScheduler: a drain that runs out of memory goes on with the next event", "[swap][swap_scheduler]") {
  SwapBench bench(models_named({"a", "b"}));
  bench.warm("a");
  const TicketId busy = bench.ask("a");
  const TicketId waits = bench.ask("b");
  const auto done = [&](SwapScheduler& scheduler, TimePoint now, SwapActions& out) {
    scheduler.on_serve_done(busy, now, out);
  };
  check_event(bench.scheduler, bench.now, done);
  SwapActions out;
  out.reserve(8, 8);
  {
    const FailAllocation failure(1);
    done(bench.scheduler, bench.now, out);
  }
  CHECK(bench.is(waits, TicketState::kQueued));
  REQUIRE(out.size() == 1);
  CHECK(std::get<WakeAt>(out[0]).when == bench.now);  // it asks to be called at once
  bench.tick();
  CHECK(bench.started() == "b");
}

TEST_CASE("SwapScheduler: a request that waits takes no more than 128 bytes", "[swap][swap_scheduler]") {
  const std::size_t kRequests =
      GENERATE(16'385U, 32'769U, 65'537U, 100'000U);  // just after it has grown, and in between
  SwapSchedulerOptions options = models_named({"a", "b"}, {.limit_at = LimitAt::kGrant});
  SwapBench bench(options);
  bench.warm("a");
  bench.ask("a");
  for (std::size_t i = 0; i != kRequests; ++i) bench.ask("b");
  REQUIRE(bench.scheduler.queued() == kRequests);
  CHECK(bench.scheduler.memory_bytes() <= 128 * kRequests);
}

TEST_CASE("SwapScheduler: a copy goes its own way", "[swap][swap_scheduler]") {
  SwapBench bench(models_named({"a", "b"}));
  bench.warm("a");
  const TicketId busy = bench.ask("a");
  const TicketId waits = bench.ask("b", {.priority = 1});
  SwapScheduler copy = bench.scheduler;
  bench.done(busy);
  CHECK(bench.is(waits, TicketState::kJoined));
  CHECK(copy.state(waits) == TicketState::kQueued);
  CHECK(copy.position(waits) == 1);
  SwapActions out;
  CHECK(copy.on_serve_done(busy, bench.now, out));
  CHECK(copy.state(waits) == TicketState::kJoined);
}

}  // namespace
}  // namespace penstock
