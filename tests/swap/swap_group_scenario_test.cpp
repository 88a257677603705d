// SPDX-License-Identifier: MIT

// The published scenarios G01 to G08: groups of models, as a scheduler decides with them.

#include <stdexcept>
#include <string>
#include <vector>

#include "penstock/swap/group_planner.hpp"
#include "swap/swap_script.hpp"

namespace penstock {
namespace {

using testing::any_rules;
using testing::Script;
using testing::Ways;

ModelGroup group(const std::string& members, bool swap, bool exclusive, bool persistent = false) {
  ModelGroup made{.name = members, .swap = swap, .exclusive = exclusive, .persistent = persistent};
  for (const char each : members) made.members.emplace_back(1, each);
  return made;
}

/// Models in such groups, those of `ready` running.
testing::Given given(std::vector<ModelGroup> groups, const std::string& ready = {}) {
  testing::Given given{.ready = ready, .options = any_rules()};
  for (const ModelGroup& each : groups) given.models += each.name;
  given.planner = group_planner({.groups = std::move(groups)});
  return given;
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: G01 no model is in two groups", "[swap][conformance]", Ways) {
  SwapSchedulerOptions options;
  options.models = {{.name = "a"}, {.name = "b"}};
  options.planner = group_planner({.groups = {group("ab", true, true), group("b", true, true)}});
  CHECK_THROWS_AS(typename TestType::Scheduler(options), std::invalid_argument);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: G02 the models of a group that swaps replace each other", "[swap][conformance]",
                        Ways) {
  Script<TestType> script(given({group("ab", true, true)}, "a"));
  CHECK(script.request('b') == "S b[a]");
  CHECK(script.up('b') == "G 1");
  CHECK(script.served(1) == "");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: G03 the models of a group that does not swap run together",
                        "[swap][conformance]", Ways) {
  Script<TestType> script(given({group("ab", false, true)}, "a"));
  CHECK(script.request('b') == "S b");
  CHECK(script.request('a') == "G 2");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: G04 exclusive groups stop each other", "[swap][conformance]", Ways) {
  Script<TestType> script(given({group("ab", false, true), group("cd", false, true)}, "ab"));
  CHECK(script.request('c') == "S c[a b]");
  CHECK(script.up('c') == "G 1");
  CHECK(script.request('d') == "S d");
  CHECK(script.request('a') == "");
  CHECK(script.up('d') == "G 2");
  CHECK(script.served(1) == "");
  CHECK(script.served(2) == "S a[c d]");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: G05 groups that are not exclusive come up side by side", "[swap][conformance]",
                        Ways) {
  Script<TestType> script(given({group("a", true, false), group("b", true, false)}));
  CHECK(script.requests("ab") == "S a S b");
  CHECK(script.up('b') == "G 2");
  CHECK(script.up('a') == "G 1");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: G06 a model that is yet to start counts as running", "[swap][conformance]",
                        Ways) {
  Script<TestType> script(given({group("ab", true, true)}));
  CHECK(script.requests("ab") == "S a");
  CHECK(script.up('a') == "G 1");
  CHECK(script.served(1) == "S b[a]");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: G07 a persistent group stays when an exclusive one comes",
                        "[swap][conformance]", Ways) {
  Script<TestType> script(given({group("ab", true, true), group("p", false, false, true)}, "ap"));
  CHECK(script.request('b') == "S b[a]");
  CHECK(script.request('p') == "G 2");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: G08 a group that is not exclusive leaves an exclusive one alone",
                        "[swap][conformance]", Ways) {
  Script<TestType> script(given({group("x", true, true), group("n", true, false)}, "x"));
  CHECK(script.requests("xn") == "G 1 S n");
  CHECK(script.up('n') == "G 2");
  // The other way round it is evicted.
  CHECK(script.state('x', ModelState::kStopped) == "");
  CHECK(script.served(2) == "");
  CHECK(script.request('x') == "S x[n]");
}

}  // namespace
}  // namespace penstock
