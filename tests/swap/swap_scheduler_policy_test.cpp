// SPDX-License-Identifier: MIT

// What the scheduler does beyond the published decisions; each of it is off unless asked for.

#include "penstock/swap/swap_scheduler.hpp"
#include "support/catch.hpp"
#include "swap/swap_scheduler_support.hpp"

namespace penstock {
namespace {

using testing::models_named;
using testing::seconds;
using testing::SwapBench;

constexpr auto kQueued = TicketState::kQueued;
constexpr auto kJoined = TicketState::kJoined;
constexpr auto kGranted = TicketState::kGranted;
constexpr auto kEnded = TicketState::kEnded;

TEST_CASE("SwapScheduler: a deadline ends who is queued and who has joined, at its time", "[swap][swap_scheduler]") {
  SwapBench bench(models_named({"a", "b"}));
  const TicketId joined = bench.ask("a", {.deadline = bench.now + seconds(2)});
  const TicketId queued = bench.ask("b", {.deadline = bench.now + seconds(1)});
  CHECK(bench.last<WakeAt>()->when == bench.now + seconds(1));
  bench.at(seconds(1));
  bench.tick();
  CHECK(bench.refused() == SwapReason::kExpired);
  CHECK(bench.is(queued, kEnded));
  CHECK(bench.is(joined, kJoined));
  bench.at(seconds(2));
  bench.tick();
  CHECK(bench.is(joined, kEnded));
  CHECK(bench.last<WakeAt>()->when == TimePoint::max());
}

TEST_CASE("SwapScheduler: with aging, who has waited for a step goes as if its priority were higher by one",
          "[swap][swap_scheduler]") {
  SwapBench bench(models_named({"a", "b", "c"}, {.aging_step = seconds(10)}));
  bench.warm("a");
  const TicketId busy = bench.ask("a");
  const TicketId old = bench.ask("b");
  bench.at(seconds(9));
  CHECK(bench.scheduler.position(bench.ask("c", {.priority = 1})) == 1);
  bench.at(seconds(11));
  CHECK(bench.scheduler.position(bench.ask("c", {.priority = 1})) == 3);
  CHECK(bench.scheduler.position(old) == 2);
  CHECK(bench.is(busy, kGranted));
}

TEST_CASE("SwapScheduler: by deadline, the earliest goes first among equal priorities", "[swap][swap_scheduler]") {
  SwapBench bench(models_named({"a", "b", "c", "d"}, {.order = QueueOrder::kDeadline}));
  bench.warm("a");
  const TicketId busy = bench.ask("a");
  const TicketId never = bench.ask("b");
  const TicketId late = bench.ask("c", {.deadline = bench.now + seconds(9)});
  const TicketId early = bench.ask("d", {.deadline = bench.now + seconds(5)});
  CHECK(bench.scheduler.position(early) == 1);
  CHECK(bench.scheduler.position(late) == 2);
  CHECK(bench.scheduler.position(never) == 3);
  bench.done(busy);
  CHECK(bench.started() == "d");
}

TEST_CASE("SwapScheduler: of two tenants, one with twice the weight has twice as many in front",
          "[swap][swap_scheduler]") {
  SwapSchedulerOptions options = models_named({"a", "b"});
  options.order = QueueOrder::kFairShare;
  options.limit_at = LimitAt::kGrant;
  options.tenants = {{.name = "light", .weight = 1}, {.name = "heavy", .weight = 2}};
  SwapBench bench(options);
  bench.warm("a");
  const TicketId busy = bench.ask("a");
  REQUIRE(bench.is(busy, kGranted));
  std::vector<TicketId> light;
  std::vector<TicketId> heavy;
  for (int i = 0; i != 6; ++i) light.push_back(bench.ask("b", {.tenant = TenantId{0}}));
  for (int i = 0; i != 12; ++i) heavy.push_back(bench.ask("b", {.tenant = TenantId{1}}));
  for (std::size_t i = 1; i != light.size(); ++i) {
    const std::size_t between = *bench.scheduler.position(light[i]) - *bench.scheduler.position(light[i - 1]) - 1;
    CHECK(between == 2);
  }
}

TEST_CASE("SwapScheduler: who is one too many is refused, and told when to try again", "[swap][swap_scheduler]") {
  SwapSchedulerOptions options = models_named({"a", "b", "c"});
  options.max_queued = 3;
  options.max_queued_per_model = 2;
  options.max_queued_per_tenant = 1;
  options.tenants = {{.name = "one"}};
  options.limit_at = LimitAt::kGrant;
  SwapBench bench(options);
  bench.warm("a");
  const TicketId busy = bench.ask("a");
  bench.ask("b", {.tenant = TenantId{0}});
  CHECK(bench.is(bench.ask("c", {.tenant = TenantId{0}}), kEnded));
  CHECK(bench.refused() == SwapReason::kTenantQueueFull);
  CHECK(bench.last<RejectTicket>()->retry_after > Duration::zero());
  bench.done(busy);
  CHECK(bench.scheduler.queued() == 0);
}

TEST_CASE("SwapScheduler: a model that cannot be brought up evicts nothing for a while", "[swap][swap_scheduler]") {
  SwapSchedulerOptions options = models_named({"bad", "good"});
  options.back_off = {.first = seconds(1), .factor = 2, .longest = seconds(3)};
  SwapBench bench(options);
  bench.ask("bad");
  bench.fail("bad");
  CHECK(bench.refused() == SwapReason::kSwapFailed);
  bench.ask("bad");
  CHECK(bench.refused() == SwapReason::kBackingOff);
  CHECK(bench.last<RejectTicket>()->retry_after == seconds(1));
  // Each further failure doubles the pause, up to the longest.
  for (const auto& [time, pause] : {std::pair(1, 2), std::pair(3, 3), std::pair(6, 3)}) {
    bench.at(seconds(time));
    bench.ask("bad");
    REQUIRE(bench.started() == "bad");
    bench.fail("bad");
    bench.ask("bad");
    CHECK(bench.last<RejectTicket>()->retry_after == seconds(pause));
  }
  bench.at(seconds(9));
  bench.ask("bad");
  bench.up("bad");
  bench.state(bench.id("bad"), ModelState::kStopped);
  bench.ask("bad");
  bench.fail("bad");
  bench.ask("bad");
  CHECK(bench.last<RejectTicket>()->retry_after == seconds(1));  // the row of failures was broken
}

TEST_CASE("SwapScheduler: a swap that nobody waits for is called off if others wait", "[swap][swap_scheduler]") {
  SwapBench bench(models_named({"a", "b"}, {.cancel_unwanted = true}));
  const TicketId first = bench.ask("a");
  bench.out.clear();
  bench.scheduler.on_cancel(first, bench.now, bench.out);
  CHECK_FALSE(bench.last<CancelSwap>());  // nobody else wants its place
  bench.ask("b");
  REQUIRE(bench.last<CancelSwap>());
  CHECK(bench.last<CancelSwap>()->target == bench.id("a"));
  CHECK(bench.last<CancelSwap>()->reason == SwapReason::kUnwanted);
  // It keeps its claims until it has ended.
  CHECK(bench.scheduler.queued() == 1);
  const SwapId swap = bench.last<CancelSwap>()->swap;
  bench.out.clear();
  bench.scheduler.on_swap_done(swap, false, bench.now, bench.out);
  CHECK(bench.started() == "b");
}

TEST_CASE("SwapScheduler: a model that serves nothing is stopped after its time", "[swap][swap_scheduler]") {
  SwapSchedulerOptions options;
  options.models = {{.name = "a", .idle_unload = seconds(10)}};
  SwapBench bench(options);
  const TicketId ticket = bench.ask("a");
  bench.at(seconds(1));
  bench.up("a");
  bench.at(seconds(20));
  bench.tick();
  CHECK_FALSE(bench.last<StopModels>());  // it serves
  bench.done(ticket);
  CHECK(bench.last<WakeAt>()->when == bench.now + seconds(10));
  bench.at(seconds(29));
  bench.tick();
  CHECK_FALSE(bench.last<StopModels>());
  bench.at(seconds(30));
  bench.tick();
  REQUIRE(bench.last<StopModels>());
  CHECK(bench.last<StopModels>()->reason == SwapReason::kIdle);
  // Whoever comes now waits until it has stopped, and brings it up again.
  const TicketId late = bench.ask("a");
  CHECK(bench.is(late, kQueued));
  bench.state(bench.id("a"), ModelState::kStopped);
  bench.out.clear();
  bench.scheduler.on_stopped(StopId{1}, bench.now, bench.out);
  CHECK(bench.started() == "a");
}

TEST_CASE("SwapScheduler: who cannot be served in time is refused at once, and no swap is begun for it",
          "[swap][swap_scheduler]") {
  SwapSchedulerOptions options = models_named({"a", "b"}, {.reject_late = true});
  for (SwapModel& model : options.models) model.start_time = seconds(5);
  SwapBench bench(options);
  bench.ask("a", {.deadline = bench.now + seconds(4)});
  CHECK(bench.refused() == SwapReason::kTooLate);
  CHECK_FALSE(bench.started());
  const TicketId fine = bench.ask("a", {.deadline = bench.now + seconds(6)});
  CHECK(bench.is(fine, kJoined));
  // Behind it: the rest of that swap, and its own.
  bench.ask("b", {.deadline = bench.now + seconds(9)});
  CHECK(bench.refused() == SwapReason::kTooLate);
  CHECK(bench.is(bench.ask("b", {.deadline = bench.now + seconds(11)}), kQueued));
}

TEST_CASE("SwapScheduler: a model that has just come may stay", "[swap][swap_scheduler]") {
  SwapSchedulerOptions options = models_named({"a", "b"});
  options.batching.min_residency = seconds(30);
  SwapBench bench(options);
  bench.warm("a");
  const TicketId waits = bench.ask("b");
  CHECK(bench.is(waits, kQueued));
  CHECK(bench.scheduler.explain(waits, bench.now).obstacle == SwapObstacle::kResidency);
  CHECK(bench.scheduler.explain(waits, bench.now).until == bench.now + seconds(30));
  CHECK(bench.is(bench.ask("a"), kGranted));
  bench.at(seconds(30));
  bench.tick();
  CHECK(bench.is(waits, kQueued));  // it still serves
}

TEST_CASE("SwapScheduler: a residency ends with its model, and lets in whom it has kept", "[swap][swap_scheduler]") {
  for (const SwapConduct conduct : {SwapConduct::kCured, SwapConduct::kPublished}) {
    SwapSchedulerOptions options = models_named({"a", "b"}, {.conduct = conduct});
    options.batching.min_residency = seconds(30);
    SwapBench bench(options);
    bench.warm("a");
    CHECK(bench.is(bench.ask("b"), kQueued));
    bench.state(bench.id("a"), ModelState::kStopped);
    CHECK(bench.started() == "b");
  }
}

TEST_CASE("SwapScheduler: who has waited for too long ends a residency", "[swap][swap_scheduler]") {
  SwapSchedulerOptions options = models_named({"a", "b"}, {.max_wait = seconds(5)});
  options.batching.min_residency = seconds(30);
  SwapBench bench(options);
  bench.warm("a");
  bench.ask("b");
  CHECK(bench.last<WakeAt>()->when == bench.now + seconds(5));
  bench.at(seconds(5));
  bench.tick();
  CHECK(bench.started() == "b");
}

TEST_CASE("SwapScheduler: by cost, the model that most has been waited for comes first", "[swap][swap_scheduler]") {
  SwapSchedulerOptions options = models_named({"a", "b", "c"});
  options.batching.by_cost = true;
  SwapBench bench(options);
  bench.warm("a");
  const TicketId busy = bench.ask("a");
  bench.ask("b");
  bench.at(seconds(1));
  for (int i = 0; i != 3; ++i) bench.ask("c");
  bench.at(seconds(10));
  bench.done(busy);
  CHECK(bench.started() == "c");  // 27 s against 10 s
}

TEST_CASE("SwapScheduler: what weights leave over is not lost", "[swap][swap_scheduler]") {
  // Without, the time of a request of the second one would be too short by a third.
  SwapSchedulerOptions options = models_named({"a", "b"});
  options.order = QueueOrder::kFairShare;
  options.limit_at = LimitAt::kGrant;
  options.tenants = {{.name = "one"}, {.name = "three", .weight = 3'000}, {.name = "seven", .weight = 700'000}};
  SwapBench bench(options);
  bench.warm("a");
  const TicketId busy = bench.ask("a");
  constexpr std::size_t kFew = 13;
  constexpr std::size_t kMany = kFew * 700 / 3;
  TicketId last_of_few{};
  for (std::size_t i = 0; i != kFew; ++i) last_of_few = bench.ask("b", {.tenant = TenantId{1}});
  for (std::size_t i = 0; i != kMany; ++i) bench.ask("b", {.tenant = TenantId{2}});
  const std::size_t in_front = *bench.scheduler.position(last_of_few) - kFew;
  CHECK(in_front >= (kFew - 1) * 700 / 3 - 1);
  CHECK(in_front <= (kFew - 1) * 700 / 3 + 1);
  CHECK(bench.is(busy, kGranted));
}

TEST_CASE("SwapScheduler: a back-off that does not grow costs no more with each failure", "[swap][swap_scheduler]") {
  SwapSchedulerOptions options = models_named({"bad"});
  options.back_off = {.first = Duration(1), .factor = 1.5, .longest = seconds(1)};
  SwapBench bench(options);
  for (int i = 0; i != 200'000; ++i) {
    bench.now += Duration(1);
    bench.ask("bad");
    bench.fail("bad");
  }
  CHECK(bench.scheduler.stats().swaps_failed == 200'000);
}

TEST_CASE("SwapScheduler: times at the ends of time, and that go back, do not overflow", "[swap][swap_scheduler]") {
  SwapSchedulerOptions options = models_named({"a", "b"}, {.max_wait = seconds(5)});
  options.back_off.first = seconds(1);
  options.batching = {.by_cost = true, .min_residency = seconds(3)};
  options.models[0].idle_unload = seconds(7);
  options.reject_late = true;
  SwapBench bench(options);
  for (const TimePoint begin : {TimePoint::min(), TimePoint::max(), TimePoint{}}) {
    for (const TimePoint end : {TimePoint::max(), TimePoint::min(), TimePoint{}}) {
      bench.now = begin;
      const TicketId first = bench.ask("a");
      const TicketId second = bench.ask("b", {.deadline = TimePoint::max() - Duration(1)});
      bench.now = end;
      (void)bench.scheduler.eta(first, begin);
      (void)bench.scheduler.eta(second, begin);
      (void)bench.scheduler.explain(second, begin);
      const SwapId swap = bench.scheduler.model_load(bench.id("a")).swap;
      bench.out.clear();
      bench.scheduler.on_model_state(bench.id("a"), ModelState::kReady, bench.now, bench.out);
      bench.scheduler.on_swap_done(swap, true, bench.now, bench.out);
      bench.now = begin;
      bench.done(first);
      bench.scheduler.on_cancel(second, bench.now, bench.out);
      bench.state(bench.id("a"), ModelState::kStopped);
      bench.ask("a");
      bench.fail("a");
      bench.scheduler.on_model_state(bench.id("b"), ModelState::kStopped, end, bench.out);
      bench.tick();
    }
  }
  CHECK(bench.scheduler.stats().arrived == 27);
}

}  // namespace
}  // namespace penstock
