// SPDX-License-Identifier: MIT

// The published scenarios M01 to M06: sets of models that may run together, as a scheduler decides with them.

#include <string>
#include <vector>

#include "penstock/swap/matrix_planner.hpp"
#include "swap/swap_script.hpp"

namespace penstock {
namespace {

using testing::any_rules;
using testing::Script;
using testing::Ways;

/// Such sets of the models a to d.
testing::Given given(const std::vector<std::string>& sets, const std::string& ready,
                     std::vector<MatrixCost> costs = {}) {
  MatrixPlannerOptions matrix{.evict_costs = std::move(costs)};
  for (const std::string& each : sets) {
    matrix.sets.push_back({.name = "set " + std::to_string(matrix.sets.size()), .expression = each});
  }
  return {.models = "abcd", .ready = ready, .options = any_rules(), .planner = matrix_planner(std::move(matrix))};
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: M01 models of different sets replace each other", "[swap][conformance]", Ways) {
  Script<TestType> script(given({"a", "b"}, "a"));
  CHECK(script.request('b') == "S b[a]");
  CHECK(script.up('b') == "G 1");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: M02 models of one set stay", "[swap][conformance]", Ways) {
  Script<TestType> script(given({"a & b"}, "a"));
  CHECK(script.request('b') == "S b");
  CHECK(script.request('a') == "G 2");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: M03 models of one set come up side by side", "[swap][conformance]", Ways) {
  Script<TestType> script(given({"a & b"}, ""));
  CHECK(script.requests("ab") == "S a S b");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: M04 who would evict what comes up waits for it", "[swap][conformance]", Ways) {
  Script<TestType> script(given({"a", "b"}, ""));
  CHECK(script.requests("ab") == "S a");
  CHECK(script.up('a') == "G 1");
  CHECK(script.served(1) == "S b[a]");
  CHECK(script.up('b') == "G 2");
  CHECK(script.stats().evictions == 1);
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: M05 of equal costs, the set that is first", "[swap][conformance]", Ways) {
  Script<TestType> script(given({"a & b", "a & c"}, "bc"));
  CHECK(script.request('a') == "S a[c]");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: M06 the set that costs least", "[swap][conformance]", Ways) {
  Script<TestType> script(given({"a & c", "a & b"}, "bc", {{.name = "b", .cost = 10}, {.name = "c", .cost = 1}}));
  CHECK(script.request('a') == "S a[c]");
}

TEMPLATE_LIST_TEST_CASE("SwapScheduler: one more that runs may let somebody in", "[swap][conformance]", Ways) {
  testing::Given world = given({"c & d & e", "a & c", "a & b & c & d"}, "bce");
  world.models = "abcde";
  Script<TestType> script(world);
  CHECK(script.request('b') == "G 1");
  // d evicts b while b, c and e run; with a in place of e, nobody.
  CHECK(script.request('d') == "");
  CHECK(script.request('a') == "S a[e]");
  CHECK(script.up('a') == (world.options.conduct == SwapConduct::kCured ? "S d G 3" : "G 3 S d"));
  CHECK(script.in_flight('b') == 1);
}

}  // namespace
}  // namespace penstock
