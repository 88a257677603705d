// SPDX-License-Identifier: MIT

// The faults of the published scheduler, X01 to X14, each as a law that holds now. (X08 and X10 are about callers that
// are slow or call back: here nobody is called.)

#include <chrono>
#include <string>

#include "swap/swap_script.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::any_rules;
using testing::rules;
using testing::Script;
using testing::Ways;

TEMPLATE_LIST_TEST_CASE("SwapScheduler: X01 the late end of a swap does not end the next one", "[swap][conformance]",
                        Ways) {
  Script<TestType> script({.models = "a", .options = any_rules()});
  CHECK(script.request('a') == "S a");
  const SwapId first = script.swap('a');
  CHECK(script.unload("a") == "E 1 unloaded C a stop[a]");
  CHECK(script.request('a') == "");
  CHECK(script.stopped("a") == "");
  CHECK(script.done(first, false) == "S a");
  CHECK(script.swap('a') != first);
  CHECK(script.done(first, false) == "");
  CHECK_FALSE(script.answer());
  CHECK(script.stats().ignored == 1);
  CHECK(script.up('a') == "G 2");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: X02 a swap that was called off keeps its claims until it has ended",
                        "[swap][conformance]", Ways) {
  Script<TestType> script({.models = "abxy", .evict = {"a:x", "b:x", "y:a"}, .ready = "x", .options = any_rules()});
  CHECK(script.request('a') == "S a[x]");
  const SwapId called_off = script.swap('a');
  CHECK(script.unload("a") == "E 1 unloaded C a stop[a]");
  // It may still be stopping x, or starting a.
  CHECK(script.requests("bya") == "");
  CHECK(script.stopped("a") == "");
  CHECK(script.queue() == "bya");
  CHECK(script.stats().swaps_active == 1);
  CHECK(script.done(called_off, false) == "S b[x] S y");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: what is being stopped is neither started nor evicted", "[swap][conformance]",
                        Ways) {
  Script<TestType> script({.models = "ab", .evict = {"b:a"}, .ready = "a", .options = any_rules()});
  CHECK(script.unload("a", 250ms) == "stop[a]");
  CHECK(script.requests("ba") == "");
  CHECK(script.queue() == "ba");
  CHECK(script.state('a', ModelState::kStopping) == "");
  CHECK(script.stopped("a") == "S b S a");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: X06 nothing is evicted for a model that has just failed to come up",
                        "[swap][conformance]", Ways) {
  SwapSchedulerOptions options = any_rules();
  options.back_off = {.first = 10s, .factor = 2, .longest = 60s};
  Script<TestType> script({.models = "gx", .evict = {"g:x", "x:g"}, .options = options});
  // Five good and five bad ones in turn. Without a back-off each of them is a swap.
  CHECK(script.request('x') == "S x");
  CHECK(script.fail('x') == "E 1 swap_failed");
  CHECK(script.request('g') == "S g");
  CHECK(script.up('g') == "G 2");
  CHECK(script.served(2) == "");
  for (std::size_t number = 3; number < 10; number += 2) {
    CHECK(script.request('x') == "E " + std::to_string(number) + " backing_off");
    CHECK(script.request('g') == "G " + std::to_string(number + 1));
    CHECK(script.served(number + 1) == "");
  }
  CHECK(script.stats().swaps_started == 2);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: each further failure makes the pause longer, a success ends it",
                        "[swap][conformance]", Ways) {
  SwapSchedulerOptions options;
  options.back_off = {.first = 10s, .factor = 3, .longest = 40s};
  Script<TestType> script({.models = "x", .options = options});
  CHECK(script.request('x') == "S x");
  CHECK(script.fail('x') == "E 1 swap_failed");
  script.set_time(9999ms);
  CHECK(script.request('x') == "E 2 backing_off");
  script.set_time(10s);
  CHECK(script.request('x') == "S x");
  CHECK(script.fail('x') == "E 3 swap_failed");
  script.set_time(39999ms);
  CHECK(script.request('x') == "E 4 backing_off");
  script.set_time(40s);
  CHECK(script.request('x') == "S x");
  CHECK(script.fail('x') == "E 5 swap_failed");
  script.set_time(79999ms);
  CHECK(script.request('x') == "E 6 backing_off");
  script.set_time(80s);
  CHECK(script.request('x') == "S x");
  CHECK(script.up('x') == "G 7");
  CHECK(script.served(7) == "");
  CHECK(script.state('x', ModelState::kStopped) == "");
  CHECK(script.request('x') == "S x");
  CHECK(script.fail('x') == "E 8 swap_failed");
  script.set_time(90s);
  CHECK(script.request('x') == "S x");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: X07 who waited for a model that has ended is not granted",
                        "[swap][conformance]", Ways) {
  SECTION("cured: it is told") {
    Script<TestType> script({.models = "a", .options = rules(LimitAt::kArrival)});
    CHECK(script.request('a') == "S a");
    CHECK(script.state('a', ModelState::kReady) == "");
    CHECK(script.state('a', ModelState::kStopped) == "");
    CHECK(script.done(script.swap('a'), true) == "E 1 not_ready");
    CHECK(script.stats().swaps_failed == 1);
  }
  SECTION("as published: it is granted") {
    Script<TestType> script({.models = "a", .options = rules(LimitAt::kArrival, SwapConduct::kPublished)});
    CHECK(script.request('a') == "S a");
    CHECK(script.done(script.swap('a'), true) == "G 1");
  }
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: X09 an unload holds nobody up who is not concerned", "[swap][conformance]",
                        Ways) {
  Script<TestType> script({.models = "abc", .evict = {"b:a"}, .ready = "ac", .options = any_rules()});
  CHECK(script.unload("a", 1h) == "stop[a]");
  CHECK(script.request('c') == "G 1");
  CHECK(script.request('b') == "");
  CHECK(script.stopped("a") == "S b");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: X11 a name is a model's own, or there is no such model", "[swap][conformance]",
                        Ways) {
  SwapSchedulerOptions options;
  options.models = {{.name = "a", .priority = 3}, {.name = "a", .priority = 4}};
  CHECK_THROWS_AS(typename TestType::Scheduler(options), std::invalid_argument);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: X12 older requests of a model go before a new one", "[swap][conformance]",
                        Ways) {
  const auto given = [](SwapConduct conduct) {
    return testing::Given{
        .models = "abx", .evict = {"b:a"}, .ready = "a", .options = rules(LimitAt::kArrival, conduct)};
  };
  SECTION("cured: a process that ends by itself lets the older ones in at once") {
    Script<TestType> script(given(SwapConduct::kCured));
    CHECK(script.requests("ab") == "G 1");
    CHECK(script.state('a', ModelState::kStopped) == "S b");
    CHECK(script.request('b') == "");
    CHECK(script.up('b') == "G 2 G 3");
  }
  SECTION("as published: the new one starts the swap, the older one waits on") {
    Script<TestType> script(given(SwapConduct::kPublished));
    CHECK(script.requests("ab") == "G 1");
    CHECK(script.state('a', ModelState::kStopped) == "");
    CHECK(script.request('b') == "S b");
    CHECK(script.state_of(2) == TicketState::kQueued);
    CHECK(script.up('b') == "G 3 G 2");
  }
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: X13 a swap that nobody waits for is called off, if others wait",
                        "[swap][conformance]", Ways) {
  SwapSchedulerOptions options = any_rules();
  options.cancel_unwanted = true;
  Script<TestType> script({.models = "ab", .evict = {"a:b", "b:a"}, .options = options});
  CHECK(script.request('a') == "S a");
  CHECK(script.cancel(1) == "");
  CHECK(script.request('b') == "C a");
  // Nobody joins it any more.
  CHECK(script.request('a') == "");
  CHECK(script.queue() == "ba");
  CHECK(script.done(script.swap('a'), false) == "S b");
  CHECK(script.stats().swaps_cancelled == 1);
  CHECK(script.up('b') == "G 2");
  CHECK(script.served(2) == "S a[b]");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: X14 a swap without waiters ends, and lets others go", "[swap][conformance]",
                        Ways) {
  Script<TestType> script({.models = "ab", .evict = {"b:a"}, .options = any_rules()});
  CHECK(script.requests("ab") == "S a");
  CHECK(script.cancel(1) == "");
  const bool succeeds = GENERATE(true, false);
  CHECK((succeeds ? script.up('a') : script.fail('a')) == (succeeds ? "S b[a]" : "S b"));
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: a target that is still stopping", "[swap][conformance]", Ways) {
  // Its planner evicts b for a, unless a runs.
  const PlannerFactory planner = function_planner({.plan = [](const PlanInput& input, std::vector<ModelId>& evict) {
    const auto runs = [&](ModelId model) {
      return std::find(input.running.begin(), input.running.end(), model) != input.running.end();
    };
    if (input.target == ModelId{0} && !runs(ModelId{0}) && runs(ModelId{1})) evict.push_back(ModelId{1});
  }});
  SECTION("cured: does not count as running") {
    Script<TestType> script({.models = "ab", .ready = "ab", .options = rules(LimitAt::kArrival), .planner = planner});
    CHECK(script.state('a', ModelState::kStopping) == "");
    CHECK(script.request('a') == "S a[b]");
  }
  SECTION("as published: counts") {
    Script<TestType> script({.models = "ab",
                             .ready = "ab",
                             .options = rules(LimitAt::kArrival, SwapConduct::kPublished),
                             .planner = planner});
    CHECK(script.state('a', ModelState::kStopping) == "");
    CHECK(script.request('a') == "S a");
  }
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: A B C A B C is served A A B B C C, with three swaps", "[swap][conformance]",
                        Ways) {
  SwapSchedulerOptions options = any_rules();
  Script<TestType> script({.models = "ABC", .options = options, .planner = exclusive_planner()});
  CHECK(script.requests("ABCABC") == "S A");
  CHECK(script.up('A') == "G 1 G 4");
  CHECK(script.served(1) == "");
  CHECK(script.served(4) == "S B[A]");
  CHECK(script.up('B') == "G 2 G 5");
  CHECK(script.served(5) == "");
  CHECK(script.served(2) == "S C[B]");
  CHECK(script.up('C') == "G 3 G 6");
  CHECK(script.served(3) == "");
  CHECK(script.served(6) == "");
  CHECK(script.stats().swaps_started == 3);
  CHECK(script.stats().served == 6);
}

}  // namespace
}  // namespace penstock
