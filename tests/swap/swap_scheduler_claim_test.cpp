// SPDX-License-Identifier: MIT

// The bound on waiting: max_wait, then the swaps under way and the longest service that was running, then its own swap.

#include "penstock/swap/group_planner.hpp"
#include "penstock/swap/swap_scheduler.hpp"
#include "support/catch.hpp"
#include "swap/swap_scheduler_support.hpp"

namespace penstock {
namespace {

using testing::models_named;
using testing::seconds;
using testing::SwapBench;

TEST_CASE("SwapScheduler: a model in constant use keeps another one waiting for no longer than the bound",
          "[swap][swap_scheduler]") {
  constexpr auto kMaxWait = seconds(60);
  constexpr auto kService = seconds(6);
  constexpr auto kSwap = seconds(20);
  SwapSchedulerOptions options = models_named({"hot", "rare"}, {.max_wait = kMaxWait});
  SwapBench bench(options);
  bench.warm("hot");
  std::vector<std::pair<TimePoint, TicketId>> served;
  const TicketId rare = [&] {
    served.emplace_back(bench.now + kService, bench.ask("hot"));
    return bench.ask("rare");
  }();
  const TimePoint came = bench.now;
  std::optional<TimePoint> up_at;
  // A request each second, each of which is served for six.
  while (bench.scheduler.state(rare) != TicketState::kGranted && bench.now < came + seconds(1000)) {
    bench.now += seconds(1);
    bench.tick();
    std::erase_if(served, [&](const auto& each) {
      if (each.first > bench.now) return false;
      bench.done(each.second);
      if (bench.started() == "rare") up_at = bench.now + kSwap;
      return true;
    });
    if (up_at && bench.now >= *up_at) bench.up("rare");
    const TicketId next = bench.ask("hot");
    if (bench.scheduler.state(next) == TicketState::kGranted) served.emplace_back(bench.now + kService, next);
  }
  CHECK(bench.now - came >= kMaxWait);
  CHECK(bench.now - came <= kMaxWait + kService + kSwap);
}

TEST_CASE("SwapScheduler: without a bound, a model in constant use is never given up", "[swap][swap_scheduler]") {
  SwapBench bench(models_named({"hot", "rare"}));
  bench.warm("hot");
  TicketId before = bench.ask("hot");
  const TicketId rare = bench.ask("rare");
  for (int i = 0; i != 1000; ++i) {
    bench.now += seconds(1);
    const TicketId next = bench.ask("hot");
    REQUIRE(bench.is(next, TicketState::kGranted));
    bench.done(before);
    before = next;
  }
  CHECK(bench.is(rare, TicketState::kQueued));
}

TEST_CASE("SwapScheduler: claims are met in the order in which they began, whatever the priorities",
          "[swap][swap_scheduler]") {
  SwapBench bench(models_named({"a", "b", "c"}, {.max_wait = seconds(10)}));
  bench.warm("a");
  const TicketId busy = bench.ask("a");
  bench.ask("b");
  bench.at(seconds(1));
  bench.ask("c", {.priority = 100});
  bench.at(seconds(11));
  bench.done(busy);
  CHECK(bench.started() == "b");
}

TEST_CASE("SwapScheduler: who matters enough keeps smaller swaps from what it needs", "[swap][swap_scheduler]") {
  // "big" evicts both of "x" and "y"; they go along with each other.
  SwapSchedulerOptions options = models_named({"big", "x", "y"}, {.claim_priority = 100});
  options.planner =
      group_planner({.groups = {{.name = "big", .swap = true, .exclusive = true, .members = {"big"}},
                                {.name = "small", .swap = false, .exclusive = true, .members = {"x", "y"}}}});
  SwapBench bench(options);
  bench.warm("x");
  const TicketId busy = bench.ask("x");
  const TicketId big = bench.ask("big", {.priority = 100});
  const TicketId small = bench.ask("y");
  CHECK(bench.is(small, TicketState::kQueued));  // it could come up, and would be in the way
  CHECK(bench.scheduler.explain(small, bench.now).obstacle == SwapObstacle::kClaim);
  CHECK(bench.is(bench.ask("x"), TicketState::kQueued));
  bench.done(busy);
  CHECK(bench.started() == "big");
  CHECK(bench.is(big, TicketState::kJoined));
}

TEST_CASE("SwapScheduler: a claim that is given up lets the others go on", "[swap][swap_scheduler]") {
  SwapBench bench(models_named({"a", "b"}, {.claim_priority = 1}));
  bench.warm("a");
  const TicketId busy = bench.ask("a");
  const TicketId holder = bench.ask("b", {.priority = 1});
  const TicketId held = bench.ask("a");
  CHECK(bench.is(held, TicketState::kQueued));
  bench.out.clear();
  bench.scheduler.on_cancel(holder, bench.now, bench.out);
  CHECK(bench.is(held, TicketState::kGranted));
  CHECK(bench.is(busy, TicketState::kGranted));
}

TEST_CASE("SwapScheduler: explains whose claim is in the way, not one that came later", "[swap][swap_scheduler]") {
  SwapSchedulerOptions options =
      models_named({"big", "late", "x", "y"}, {.max_wait = seconds(10), .claim_priority = 100});
  options.planner =
      group_planner({.groups = {{.name = "big", .exclusive = true, .members = {"big"}},
                                {.name = "late", .exclusive = true, .members = {"late"}},
                                {.name = "small", .swap = false, .exclusive = true, .members = {"x", "y"}}}});
  SwapBench bench(options);
  bench.warm("x");
  bench.ask("x");
  bench.ask("big");
  bench.at(seconds(10));
  const TicketId held = bench.ask("y");
  CHECK(bench.is(held, TicketState::kQueued));
  bench.at(seconds(25));
  bench.ask("late", {.priority = 100});
  const SwapExplanation why = bench.scheduler.explain(held, bench.now);
  CHECK(why.obstacle == SwapObstacle::kClaim);
  CHECK(why.model == bench.id("big"));
}

TEST_CASE("SwapScheduler: each who has waited for too long ends residencies, also behind one who waits on",
          "[swap][swap_scheduler]") {
  SwapSchedulerOptions options = models_named({"a", "b", "c", "d"}, {.max_wait = seconds(10)});
  options.batching.min_residency = seconds(100);
  options.planner = group_planner({.groups = {{.name = "ab", .exclusive = false, .members = {"a", "b"}},
                                              {.name = "cd", .exclusive = false, .members = {"c", "d"}}}});
  SwapBench bench(options);
  bench.warm("a");
  bench.warm("c");
  const TicketId busy = bench.ask("a");
  bench.at(seconds(1));
  bench.ask("b");
  bench.at(seconds(5));
  bench.ask("d");
  CHECK(bench.last<WakeAt>() == std::nullopt);
  bench.at(seconds(11));
  bench.tick();
  CHECK(bench.started() == std::nullopt);  // as a serves
  CHECK(bench.last<WakeAt>()->when == TimePoint(std::chrono::hours(1)) + seconds(15));
  bench.at(seconds(15));
  bench.tick();
  CHECK(bench.started() == "d");
  bench.done(busy);
  CHECK(bench.started() == "b");
}

TEST_CASE("SwapScheduler: what matters enough ends no residency", "[swap][swap_scheduler]") {
  SwapSchedulerOptions options = models_named({"a", "b"}, {.max_wait = seconds(50), .claim_priority = 1});
  options.batching.min_residency = seconds(100);
  SwapBench bench(options);
  bench.warm("a");
  bench.ask("b");
  bench.at(seconds(40));
  const TicketId urgent = bench.ask("b", {.priority = 1});
  CHECK(bench.is(urgent, TicketState::kQueued));
  bench.at(seconds(50));
  bench.tick();
  CHECK(bench.started() == "b");
}

}  // namespace
}  // namespace penstock
