// SPDX-License-Identifier: MIT

// What is pulled: why a request waits, and for how long about; and what is wrong with options.

#include <stdexcept>

#include "penstock/swap/group_planner.hpp"
#include "penstock/swap/swap_scheduler.hpp"
#include "support/catch.hpp"
#include "swap/swap_scheduler_support.hpp"

namespace penstock {
namespace {

using testing::ContainsSubstring;
using testing::models_named;
using testing::seconds;
using testing::SwapBench;

TEST_CASE("SwapScheduler: explains what a request waits for", "[swap][swap_scheduler]") {
  SwapSchedulerOptions options = models_named({"a", "b", "c"}, {.limit_at = LimitAt::kService});
  options.models[0].concurrency_limit = 1;
  SwapBench bench(options);
  const auto why = [&](TicketId ticket) { return bench.scheduler.explain(ticket, bench.now); };
  const auto text = [&](TicketId ticket) { return to_text(why(ticket), bench.scheduler.models()); };

  const TicketId first = bench.ask("a");
  const TicketId other = bench.ask("b");
  CHECK(why(first).obstacle == SwapObstacle::kOwnSwap);
  CHECK(text(first) == "waits until 'a' is up");
  CHECK(why(other).obstacle == SwapObstacle::kSwapTarget);
  CHECK(why(other).swap == why(first).swap);
  CHECK(text(other) == "waits for 'a', which is being brought up");

  bench.up("a");
  const TicketId second = bench.ask("a");
  CHECK(why(first).obstacle == SwapObstacle::kNothing);
  CHECK(why(second).obstacle == SwapObstacle::kLimit);
  CHECK(text(second) == "waits for its turn: 'a' serves 1 request");
  CHECK(why(other).obstacle == SwapObstacle::kBusyModel);
  CHECK(why(other).in_flight == 1);
  CHECK(text(other) == "waits for 'a', which serves 1 request");

  bench.out.clear();
  bench.scheduler.on_cancel(second, bench.now, bench.out);
  bench.done(first);
  REQUIRE(bench.started() == "b");
  const TicketId evicted = bench.ask("a");
  CHECK(why(evicted).obstacle == SwapObstacle::kEvicted);
  CHECK(why(evicted).model == bench.id("b"));
  bench.out.clear();
  const ModelId c = bench.id("c");
  const std::optional<StopId> stop = bench.scheduler.on_unload({&c, 1}, Duration::zero(), bench.now, bench.out);
  const TicketId stopping = bench.ask("c");
  CHECK(why(stopping).obstacle == SwapObstacle::kStopping);
  CHECK(why(stopping).stop == *stop);
  CHECK(why(TicketId{0}).obstacle == SwapObstacle::kNothing);
}

TEST_CASE("SwapScheduler: guesses how long a request waits from what has been seen", "[swap][swap_scheduler]") {
  SwapSchedulerOptions options = models_named({"a", "b", "c"});
  for (SwapModel& model : options.models) model.start_time = seconds(10);
  SwapBench bench(options);
  const TicketId first = bench.ask("a");
  CHECK(bench.scheduler.eta(first, bench.now) == seconds(10));
  bench.at(seconds(4));
  CHECK(bench.scheduler.eta(first, bench.now) == seconds(6));
  bench.up("a");
  CHECK(bench.scheduler.eta(first, bench.now) == Duration::zero());
  CHECK(bench.scheduler.model_load(bench.id("a")).swap_time == seconds(4));
  bench.at(seconds(7));
  bench.done(first);
  CHECK(bench.scheduler.model_load(bench.id("a")).serve_time == seconds(3));
  CHECK_FALSE(bench.scheduler.eta(first, bench.now));
  const TicketId busy = bench.ask("a");
  const TicketId next = bench.ask("b");
  const TicketId last = bench.ask("c");
  CHECK(bench.scheduler.eta(busy, bench.now) == Duration::zero());
  CHECK(bench.scheduler.eta(next, bench.now) == seconds(3 + 10));
  CHECK(bench.scheduler.eta(last, bench.now) == seconds(3 + 10 + 10));
}

TEST_CASE("SwapScheduler: reports for what has ended are counted and change nothing", "[swap][swap_scheduler]") {
  SwapBench bench(models_named({"a", "b"}));
  const TicketId ticket = bench.ask("a");
  const SwapId swap = bench.scheduler.model_load(bench.id("a")).swap;
  CHECK_FALSE(bench.scheduler.on_serve_done(ticket, bench.now, bench.out));  // not granted yet
  bench.up("a");
  CHECK_FALSE(bench.scheduler.on_swap_done(swap, true, bench.now, bench.out));
  CHECK_FALSE(bench.scheduler.on_cancel(ticket, bench.now, bench.out));
  bench.done(ticket);
  CHECK_FALSE(bench.scheduler.on_serve_done(ticket, bench.now, bench.out));
  CHECK_FALSE(bench.scheduler.on_grant_refused(TicketId{12345}, bench.now, bench.out));
  CHECK_FALSE(bench.scheduler.on_stopped(StopId{7}, bench.now, bench.out));
  CHECK_FALSE(bench.scheduler.on_model_state(ModelId{99}, ModelState::kReady, bench.now, bench.out));
  CHECK(bench.scheduler.stats().ignored == 7);
  CHECK(bench.scheduler.stats().in_flight == 0);
}

TEST_CASE("SwapSchedulerOptions: all that is wrong is told at once", "[swap][swap_scheduler]") {
  SwapSchedulerOptions options;
  options.name = "";
  options.planner = nullptr;
  options.aging_step = Duration(1);
  options.max_wait = Duration::zero();
  options.tenants = {{.name = "t", .weight = 0}, {.name = "t"}};
  options.back_off = {.first = seconds(2), .factor = 0.5, .longest = seconds(1)};
  options.batching.min_residency = Duration(-1);
  const std::string text(options.validate().message());
  for (const char* const each :
       {"options.name", "options.planner", "options.aging_step", "options.max_wait", "options.tenants[0].weight",
        "'t' twice", "options.back_off.factor", "options.back_off.longest", "options.batching.min_residency"}) {
    CHECK_THAT(text, ContainsSubstring(each));
  }
  CHECK_THROWS_AS(SwapScheduler(options), std::invalid_argument);
  CHECK(SwapSchedulerOptions{}.validate().ok());
}

TEST_CASE("SwapScheduler: explains and guesses without what a planner names without sense", "[swap][swap_scheduler]") {
  SwapSchedulerOptions options = models_named({"a"});
  options.models[0].concurrency_limit = 1;
  options.limit_at = LimitAt::kService;
  options.planner = function_planner({.plan = [](const PlanInput& input, std::vector<ModelId>& evict) {
    evict = {input.target, ModelId{7}, input.target};
  }});
  SwapBench bench(options);
  bench.warm("a");
  const TicketId busy = bench.ask("a");
  const TicketId waits = bench.ask("a");
  CHECK(bench.is(busy, TicketState::kGranted));
  const SwapExplanation why = bench.scheduler.explain(waits, bench.now);
  CHECK(why.obstacle == SwapObstacle::kLimit);
  CHECK(why.in_flight == 1);
}

}  // namespace
}  // namespace penstock
