// SPDX-License-Identifier: MIT

#include <string>
#include <vector>

#include "penstock/swap/budget_planner.hpp"
#include "penstock/swap/group_planner.hpp"
#include "penstock/swap/matrix_planner.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "swap/planner_support.hpp"

using penstock::budget_planner;
using penstock::BudgetPlannerOptions;
using penstock::BudgetVictims;
using penstock::exclusive_planner;
using penstock::group_planner;
using penstock::matrix_planner;
using penstock::ModelId;
using penstock::PlannerFactory;
using penstock::testing::AskedPlanner;
using penstock::testing::failures_of;
using penstock::testing::ids_of;
using penstock::testing::Names;

namespace {

const Names kModels{"a", "b", "c", "d", "t"};

PlannerFactory budget(BudgetVictims victims) {
  BudgetPlannerOptions options{.budgets = {{.bytes = 8}}, .models = {}, .victims = victims};
  for (const std::string& name : kModels) options.models.push_back({name, {{.bytes = name == "t" ? 8U : 2U}}, false});
  return budget_planner(options);
}

}  // namespace

TEST_CASE("EvictionPlanner: without memory, it appends nothing", "[swap][planner]") {
  const std::vector<PlannerFactory> factories{
      exclusive_planner(), group_planner({}), matrix_planner({.sets = {{"s", "t | (a & b | b & c) & (b | d)"}}}),
      budget(BudgetVictims::kLeastRecentlyUsed), budget(BudgetVictims::kCheapest)};
  for (const PlannerFactory& factory : factories) {
    const AskedPlanner asked(kModels, factory);
    CAPTURE(std::string(asked.planner->name()));
    const std::vector<ModelId> running = ids_of(asked.models, {"a", "b", "c", "d"});
    const ModelId target = asked.models.find("t").value();
    std::vector<ModelId> evict{target};
    bool is_unchanged = true;
    const int failures = failures_of(
        [&] {
          evict = {target};
          evict.shrink_to_fit();
          asked.planner->plan({.target = target, .running = running, .last_used = {}, .start_times = {}}, evict);
        },
        [&](bool threw) { is_unchanged &= !threw || evict == std::vector<ModelId>{target}; });
    CHECK(failures > 0);
    CHECK(is_unchanged);
    CHECK(evict.size() == 5);
  }
}
