// SPDX-License-Identifier: MIT

// What must not happen, and does: after each of these the machine is as it was, or as it should be, everybody who asked
// gets one answer, and it is counted.

#include <chrono>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "penstock/swap/group_planner.hpp"
#include "swap/swap_script.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::any_rules;
using testing::rules;
using testing::Script;
using testing::Ways;

constexpr auto kNoTicket = TicketId{0xdead'beef'0000'0001};

/// Everything goes on as ever: a request for `model`, which is in nobody's way, is served.
template <class Way>
void expect_works(Script<Way>& script, char model, std::size_t number) {
  CHECK(script.request(model) == std::string("S ") + model);
  CHECK(script.up(model) == "G " + std::to_string(number));
  CHECK(script.served(number) == "");
  CHECK(script.answer());
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: unknown models are refused, and change nothing", "[swap][bad_input]", Ways) {
  Script<TestType> script({.models = "ab", .options = any_rules()});
  CHECK(script.request(SwapRequest{}) == "E 1 unknown_model");
  CHECK(script.request(SwapRequest{.model = ModelId{2}}) == "E 2 unknown_model");
  CHECK(script.refused(SwapReason::kUnknownModel) == 2);
  SwapActions out;
  CHECK_FALSE(script.scheduler().on_model_state(kNoModel, ModelState::kReady, TimePoint{}, out));
  CHECK_FALSE(script.scheduler().on_model_state(ModelId{2}, ModelState::kReady, TimePoint{}, out));
  CHECK(script.stats().ignored == 2);
  CHECK(script.scheduler().model_state(ModelId{2}) == ModelState::kUnknown);
  CHECK(script.scheduler().model_load(ModelId{2}).queued == 0);
  const ModelId nobody[] = {kNoModel, ModelId{7}};
  CHECK_FALSE(script.scheduler().on_unload(nobody, 1s, TimePoint{}, out));
  CHECK_FALSE(script.scheduler().on_unload({}, 1s, TimePoint{}, out));
  CHECK(out.empty());
  expect_works(script, 'b', 3);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: an unload leaves out unknown and doubled models", "[swap][bad_input]", Ways) {
  Script<TestType> script({.models = "ab", .ready = "ab", .options = any_rules()});
  CHECK(script.unload("bxbab") == "stop[b a]");
  CHECK(script.stats().unloads == 2);
  CHECK(script.stopped("ab") == "");
  CHECK(script.stopped(*script.stop()) == "");
  CHECK_FALSE(script.answer());
  CHECK(script.stats().ignored == 1);
  expect_works(script, 'a', 1);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: a model that is not configured any more", "[swap][bad_input]", Ways) {
  const SwapConduct conduct = GENERATE(SwapConduct::kCured, SwapConduct::kPublished);
  Script<TestType> script(
      {.models = "abc", .evict = {"b:a"}, .ready = "a", .options = rules(LimitAt::kArrival, conduct)});
  CHECK(script.requests("abc") == "G 1 S c");
  const bool tells_at_once = conduct == SwapConduct::kCured;
  CHECK(script.state('b', ModelState::kUnknown) == (tells_at_once ? "E 2 unknown_model" : ""));
  CHECK(script.request('b') == "E 4 unknown_model");
  CHECK(script.served(1) == (tells_at_once ? "" : "E 2 unknown_model"));
  // Who waits for a swap is told when it ends.
  CHECK(script.state('c', ModelState::kUnknown) == "");
  CHECK(script.request('c') == "E 5 unknown_model");
  CHECK(script.done(script.swap('c'), true) == (tells_at_once ? "E 3 not_ready" : "G 3"));
  // It is configured again.
  CHECK(script.state('b', ModelState::kStopped) == "");
  CHECK(script.request('b') == "S b[a]");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: events for tickets that never were", "[swap][bad_input]", Ways) {
  Script<TestType> script({.models = "a", .options = any_rules()});
  SwapActions out;
  auto& scheduler = script.scheduler();
  for (const TicketId each :
       {TicketId{}, TicketId{1}, kNoTicket, TicketId{std::numeric_limits<std::uint64_t>::max()}}) {
    CHECK_FALSE(scheduler.on_cancel(each, TimePoint{}, out));
    CHECK_FALSE(scheduler.on_serve_done(each, TimePoint{}, out));
    CHECK_FALSE(scheduler.on_grant_refused(each, TimePoint{}, out));
    CHECK(scheduler.state(each) == TicketState::kEnded);
    CHECK_FALSE(scheduler.position(each));
  }
  CHECK(out.empty());
  CHECK(script.stats().ignored == 12);
  expect_works(script, 'a', 1);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: reports that come twice, or after another end", "[swap][bad_input]", Ways) {
  Script<TestType> script({.models = "ab", .evict = {"b:a"}, .ready = "a", .options = any_rules()});
  CHECK(script.requests("aab") == "G 1 G 2");
  CHECK(script.served(1) == "");
  CHECK(script.served(1) == "");
  CHECK_FALSE(script.answer());
  CHECK(script.refuse(1) == "");
  CHECK_FALSE(script.answer());
  CHECK(script.cancel(1) == "");
  CHECK_FALSE(script.answer());
  CHECK(script.in_flight('a') == 1);
  CHECK(script.cancel(3) == "");
  CHECK(script.answer());
  CHECK(script.cancel(3) == "");
  CHECK_FALSE(script.answer());
  CHECK(script.served(3) == "");
  CHECK_FALSE(script.answer());
  CHECK(script.stats().ignored == 5);
  CHECK(script.refuse(2) == "");
  CHECK(script.answer());
  CHECK(script.in_flight('a') == 0);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: a served request that only waits is none", "[swap][bad_input]", Ways) {
  Script<TestType> script({.models = "ab", .evict = {"b:a"}, .options = any_rules()});
  CHECK(script.requests("ab") == "S a");
  for (const std::size_t number : {1U, 2U}) {
    CHECK(script.served(number) == "");
    CHECK_FALSE(script.answer());
    CHECK(script.refuse(number) == "");
    CHECK_FALSE(script.answer());
  }
  CHECK(script.stats().ignored == 4);
  CHECK(script.up('a') == "G 1");
  CHECK(script.served(1) == "S b[a]");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: the end of a swap that never was, or has ended", "[swap][bad_input]", Ways) {
  Script<TestType> script({.models = "ab", .options = any_rules()});
  CHECK(script.done(SwapId{}, true) == "");
  CHECK_FALSE(script.answer());
  CHECK(script.done(SwapId{77}, true) == "");
  CHECK_FALSE(script.answer());
  CHECK(script.request('a') == "S a");
  CHECK(script.up('a') == "G 1");
  const bool succeeded = GENERATE(true, false);
  CHECK(script.done(script.swap('a'), succeeded) == "");
  CHECK_FALSE(script.answer());
  CHECK(script.in_flight('a') == 1);
  CHECK(script.stats().ignored == 3);
  expect_works(script, 'b', 2);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: the end of a stop that never was", "[swap][bad_input]", Ways) {
  Script<TestType> script({.models = "a", .options = any_rules()});
  CHECK(script.stopped(StopId{}) == "");
  CHECK_FALSE(script.answer());
  CHECK(script.stopped(StopId{4}) == "");
  CHECK_FALSE(script.answer());
  CHECK(script.stats().ignored == 2);
  expect_works(script, 'a', 1);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: states that are reported late, twice, or out of order", "[swap][bad_input]",
                        Ways) {
  Script<TestType> script({.models = "ab", .evict = {"b:a"}, .ready = "a", .options = any_rules()});
  CHECK(script.state('a', ModelState::kReady) == "");
  CHECK(script.request('b') == "S b[a]");
  // It has ended, and never said that it was stopping; then it says so.
  CHECK(script.state('a', ModelState::kStopped) == "");
  CHECK(script.state('a', ModelState::kStopping) == "");
  CHECK(script.state('b', ModelState::kReady) == "");
  CHECK(script.state('b', ModelState::kStarting) == "");
  CHECK(script.state('b', ModelState::kReady) == "");
  CHECK(script.state('a', ModelState::kStopped) == "");
  CHECK(script.done(script.swap('b'), true) == "G 1");
  CHECK(script.served(1) == "");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: a request after the end, and the end in the middle of everything",
                        "[swap][bad_input]", Ways) {
  Script<TestType> script({.models = "abcs", .evict = {"c:ab"}, .ready = "bs", .options = any_rules()});
  CHECK(script.requests("abc") == "S a G 2");
  CHECK(script.unload("s") == "stop[s]");
  CHECK(script.shutdown() == "E 1 shutdown E 3 shutdown");
  CHECK(script.request('a') == "E 4 shutdown");
  CHECK(script.request(SwapRequest{}) == "E 5 shutdown");
  CHECK(script.shutdown() == "");
  // What was under way still reports, and nothing comes of it.
  CHECK(script.up('a') == "");
  CHECK(script.answer());
  CHECK(script.served(2) == "");
  CHECK(script.answer());
  CHECK(script.stopped("s") == "");
  CHECK(script.answer());
  CHECK(script.cancel(3) == "");
  CHECK_FALSE(script.answer());
  CHECK(script.stats().ignored == 1);
  CHECK(script.stats().swaps_active == 0);
  CHECK(script.stats().stops_active == 0);
  CHECK(script.stats().in_flight == 0);
  CHECK(script.unload("a") == "stop[a]");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: what a planner names without sense is ignored", "[swap][bad_input]", Ways) {
  const PlannerFactory planner = function_planner({.plan = [](const PlanInput& input, std::vector<ModelId>& evict) {
    // Itself, a model that there is not, one that does not run, and one twice.
    evict = {input.target, ModelId{99}, kNoModel, ModelId{2}, ModelId{1}, ModelId{1}};
  }});
  Script<TestType> script({.models = "abc", .ready = "b", .options = any_rules(), .planner = planner});
  CHECK(script.request('a') == "S a[b]");
  CHECK(script.up('a') == "G 1");
  if constexpr (std::is_same_v<typename TestType::Scheduler, SwapScheduler>) {
    CHECK(script.stats().planner_misfits > 0);
  }
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: a planner that throws refuses whom it was asked for", "[swap][bad_input]",
                        Ways) {
  const auto is_broken = std::make_shared<bool>(true);
  const PlannerFactory planner = function_planner({.plan = [is_broken](const PlanInput& input, std::vector<ModelId>&) {
    if (*is_broken && input.target == ModelId{1}) throw std::runtime_error("broken");
  }});
  Script<TestType> script({.models = "ab", .options = any_rules(), .planner = planner});
  CHECK(script.request('b') == "E 1 planner_failed");
  CHECK(script.refused(SwapReason::kPlannerFailed) == 1);
  if constexpr (std::is_same_v<typename TestType::Scheduler, SwapScheduler>) {
    CHECK(script.stats().planner_failures == 1);
  }
  expect_works(script, 'a', 2);
  *is_broken = false;
  expect_works(script, 'b', 3);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: whom a planner named before it threw stays", "[swap][bad_input]", Ways) {
  const PlannerFactory planner = function_planner({.plan = [](const PlanInput& input, std::vector<ModelId>& evict) {
    if (input.target != ModelId{1}) return;
    evict.assign(input.running.begin(), input.running.end());
    throw std::runtime_error("broken");
  }});
  Script<TestType> script({.models = "abc", .ready = "a", .options = any_rules(), .planner = planner});
  CHECK(script.request('b') == "E 1 planner_failed");
  CHECK(script.request('c') == "S c");
  CHECK(script.request('a') == "G 3");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: a planner that throws for those who wait", "[swap][bad_input]", Ways) {
  // b waits for a; when a has been served, the planner does not know any more.
  const PlannerFactory planner = function_planner({.plan = [](const PlanInput& input, std::vector<ModelId>& evict) {
    if (input.target != ModelId{1}) return;
    if (input.running.empty()) throw 7;
    evict.assign(input.running.begin(), input.running.end());
  }});
  Script<TestType> script({.models = "abc", .ready = "a", .options = any_rules(), .planner = planner});
  CHECK(script.requests("abb") == "G 1");
  CHECK(script.unload("a") == "stop[a]");
  CHECK(script.state('a', ModelState::kShutdown).find("G") == std::string::npos);
  const std::string told = script.stopped(*script.stop());
  CHECK(script.stats().queued == 0);
  CHECK(script.refused(SwapReason::kPlannerFailed) == 2);
  CHECK(script.served(1) == "");
  expect_works(script, 'c', 4);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: extreme priorities and times do not overflow", "[swap][bad_input]", Ways) {
  constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();
  constexpr std::int32_t kLeast = std::numeric_limits<std::int32_t>::min();
  SwapSchedulerOptions options = any_rules();
  const bool ages = GENERATE(false, true);
  if (ages) options.aging_step = Duration::max();
  Script<TestType> script({.models = "abcz",
                           .evict = {"z:abc"},
                           .ready = "abc",
                           .priority = {{'a', kLeast}, {'b', 0}, {'c', kMost}},
                           .options = options});
  CHECK(script.request('z') == "S z[a b c]");
  CHECK(script.request('a', {.priority = kLeast}) == "");
  CHECK(script.request('b') == "");
  CHECK(script.request('c', {.priority = kMost}) == "");
  CHECK(script.queue() == "cba");
  SwapActions out;
  CHECK(script.scheduler().on_cancel(script.ticket(3), TimePoint::max(), out));
  CHECK(script.queue() == "ca");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: bounds of the queue refuse who is one too many", "[swap][bad_input]", Ways) {
  SwapSchedulerOptions options = any_rules();
  const auto given = [&] {
    return testing::Given{.models = "abcz", .evict = {"z:abc"}, .ready = "abc", .options = options};
  };
  SECTION("of all") {
    options.max_queued = 3;
    Script<TestType> script(given());
    CHECK(script.requests("zabcz") == "S z[a b c] E 4 queue_full E 5 queue_full");
    CHECK(script.cancel(2) == "");
    CHECK(script.request('z') == "");  // who joins waits, too
    CHECK(script.request('c') == "E 7 queue_full");
    CHECK(script.up('z') == "G 1 G 6 S b");  // who is served does not
    CHECK(script.requests("aac") == "S a E 10 queue_full");
  }
  SECTION("of a model") {
    options.max_queued_per_model = 1;
    Script<TestType> script(given());
    CHECK(script.requests("zaabz") == "S z[a b c] E 3 model_queue_full E 5 model_queue_full");
  }
  SECTION("of a tenant") {
    options.tenants = {{.name = "t"}};
    options.max_queued_per_tenant = 1;
    Script<TestType> script(given());
    CHECK(script.request('z') == "S z[a b c]");
    CHECK(script.request('b') == "E 2 tenant_queue_full");
    CHECK(script.request('z') == "E 3 tenant_queue_full");
    CHECK(script.request('b', {.tenant = 1}) == "");
    CHECK(script.request('z', {.tenant = 77}) == "E 5 tenant_queue_full");  // who is not named is one
  }
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: a deadline ends who waits, in the queue and for a swap", "[swap][bad_input]",
                        Ways) {
  Script<TestType> script({.models = "ab", .evict = {"b:a"}, .options = any_rules()});
  CHECK(script.request('a', {.deadline = 30ms}) == "S a wake 30");
  CHECK(script.request('a') == "");
  CHECK(script.request('b', {.deadline = 20ms}) == "wake 20");
  CHECK(script.at(19ms) == "");
  CHECK(script.at(20ms) == "E 3 expired wake 30");
  script.set_time(31ms);
  CHECK(script.up('a') == "E 1 expired wake never G 2");
  CHECK(script.refused(SwapReason::kExpired) == 2);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: a model in two groups, or a bad option, is told when it is made",
                        "[swap][bad_input]", Ways) {
  using Scheduler = typename TestType::Scheduler;
  SwapSchedulerOptions options;
  options.models = {{.name = "a"}, {.name = "b"}};
  SECTION("two groups") {
    options.planner =
        group_planner({.groups = {{.name = "g", .members = {"a", "b"}}, {.name = "h", .members = {"b"}}}});
    CHECK_THROWS_AS(Scheduler(options), std::invalid_argument);
  }
  SECTION("a negative limit") {
    options.models[0].concurrency_limit = -1;
    CHECK_THROWS_AS(Scheduler(options), std::invalid_argument);
  }
  SECTION("no name") {
    options.models[0].name = "";
    CHECK_THROWS_AS(Scheduler(options), std::invalid_argument);
  }
}

}  // namespace
}  // namespace penstock
