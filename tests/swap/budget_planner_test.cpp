// SPDX-License-Identifier: MIT

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "penstock/swap/budget_planner.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"
#include "swap/planner_support.hpp"

using namespace std::chrono_literals;
using penstock::budget_planner;
using penstock::BudgetPlan;
using penstock::BudgetPlanner;
using penstock::BudgetPlannerOptions;
using penstock::BudgetUse;
using penstock::BudgetVictims;
using penstock::Duration;
using penstock::MemoryUse;
using penstock::ModelId;
using penstock::ModelTable;
using penstock::PlanInput;
using penstock::SwapModel;
using penstock::testing::AskedPlanner;
using penstock::testing::complaint_of;
using penstock::testing::ids_of;
using penstock::testing::Names;
using penstock::testing::names_of;
using penstock::testing::table_of;
using penstock::testing::text_of;

namespace {

using Sizes = std::map<std::string, std::uint64_t>;  // by model

/// One budget of `bytes`.
BudgetPlannerOptions options_of(std::uint64_t bytes, const Sizes& sizes, const Names& pinned = {},
                                BudgetVictims victims = BudgetVictims::kLeastRecentlyUsed) {
  BudgetPlannerOptions options{.budgets = {{.bytes = bytes}}, .models = {}, .victims = victims};
  for (const auto& [name, size] : sizes) {
    const bool is_pinned = std::find(pinned.begin(), pinned.end(), name) != pinned.end();
    options.models.push_back({name, {{.bytes = size}}, is_pinned});
  }
  return options;
}

struct AskedBudget {
  AskedBudget(std::vector<SwapModel> swap_models, const BudgetPlannerOptions& options)
      : models(std::move(swap_models)),
        planner(options, models),
        last_used(models.size(), 0),
        start_times(models.size(), 10s) {}
  AskedBudget(const Names& names, const BudgetPlannerOptions& options) : AskedBudget(models_of(names), options) {}

  static std::vector<SwapModel> models_of(const Names& names) {
    std::vector<SwapModel> list;
    for (const std::string& name : names) list.push_back({.name = name});
    return list;
  }

  /// From the longest unused to the last used.
  void used_in_order(const Names& names) {
    for (const std::string& name : names) last_used[place(name)] = ++count;
  }
  void starts_in(const std::string& name, Duration time) { start_times[place(name)] = time; }

  [[nodiscard]] Names evict(const std::string& target, const Names& running) const {
    const std::vector<ModelId> ids = ids_of(models, running);
    std::vector<ModelId> evicted;
    planner.plan(
        {.target = models.find(target).value(), .running = ids, .last_used = last_used, .start_times = start_times},
        evicted);
    return names_of(models, evicted);
  }

  [[nodiscard]] std::size_t place(const std::string& name) const {
    return static_cast<std::size_t>(models.find(name).value());
  }

  ModelTable models;
  BudgetPlanner planner;
  std::vector<std::uint64_t> last_used;
  std::vector<Duration> start_times;
  std::uint64_t count = 0;
};

std::string complaint(const BudgetPlannerOptions& options, const Names& names) {
  const std::string text = text_of(options.validate(table_of(names)));
  const std::string thrown = complaint_of([&] { budget_planner(options)(table_of(names)); });
  return thrown == text ? text : "'" + text + "', but thrown '" + thrown + "'";
}

}  // namespace

TEST_CASE("BudgetPlanner: what fits together runs together", "[swap][budget_planner]") {
  const AskedBudget asked({"a", "b", "c"}, options_of(10, {{"a", 4}, {"b", 3}, {"c", 3}}));
  CHECK(asked.evict("c", {"a", "b"}).empty());
  CHECK(asked.evict("a", {}).empty());
  CHECK(asked.evict("a", {"a", "b", "c"}).empty());
}

TEST_CASE("BudgetPlanner: the longest unused goes", "[swap][budget_planner]") {
  AskedBudget asked({"a", "b", "c", "d"}, options_of(10, {{"a", 3}, {"b", 3}, {"c", 3}, {"d", 3}}));
  asked.used_in_order({"b", "c", "a"});
  CHECK(asked.evict("d", {"a", "b", "c"}) == Names{"b"});
  asked.used_in_order({"b"});
  CHECK(asked.evict("d", {"a", "b", "c"}) == Names{"c"});
}

TEST_CASE("BudgetPlanner: of those unused for as long, the first by name", "[swap][budget_planner]") {
  const AskedBudget asked({"a", "b", "c", "d"}, options_of(10, {{"a", 3}, {"b", 3}, {"c", 3}, {"d", 3}}));
  CHECK(asked.evict("a", {"b", "c", "d"}) == Names{"b"});
}

TEST_CASE("BudgetPlanner: who turned out unneeded stays", "[swap][budget_planner]") {
  AskedBudget asked({"a", "b", "c", "t"}, options_of(10, {{"a", 1}, {"b", 2}, {"c", 7}, {"t", 6}}));
  asked.used_in_order({"a", "b", "c"});
  CHECK(asked.evict("t", {"a", "b", "c"}) == Names{"c"});  // a and b would not be enough, and c is enough alone
  asked.used_in_order({"c", "a", "b"});
  CHECK(asked.evict("t", {"a", "b", "c"}) == Names{"c"});
}

TEST_CASE("BudgetPlanner: as many go as are needed, in the order of their names", "[swap][budget_planner]") {
  AskedBudget asked({"a", "b", "c", "t"}, options_of(12, {{"a", 4}, {"b", 4}, {"c", 4}, {"t", 8}}));
  asked.used_in_order({"c", "a", "b"});
  CHECK(asked.evict("t", {"a", "b", "c"}) == Names{"a", "c"});
}

TEST_CASE("BudgetPlanner: a pinned model stays", "[swap][budget_planner]") {
  AskedBudget asked({"a", "b", "t"}, options_of(10, {{"a", 4}, {"b", 4}, {"t", 5}}, {"a"}));
  asked.used_in_order({"a", "b"});
  CHECK(asked.evict("t", {"a", "b"}) == Names{"b"});
}

TEST_CASE("BudgetPlanner: with the cheapest, what comes back soonest for what it frees", "[swap][budget_planner]") {
  AskedBudget asked({"a", "b", "c", "t"},
                    options_of(20, {{"a", 10}, {"b", 6}, {"c", 4}, {"t", 10}}, {}, BudgetVictims::kCheapest));
  asked.used_in_order({"c", "b", "a"});
  asked.starts_in("a", 30s);
  asked.starts_in("b", 12s);
  asked.starts_in("c", 12s);
  CHECK(asked.evict("t", {"a", "b", "c"}) == Names{"b", "c"});
  asked.starts_in("a", 20s);
  CHECK(asked.evict("t", {"a", "b", "c"}) == Names{"a"});
}

TEST_CASE("BudgetPlanner: one that is dear for its size but enough is looked at, too", "[swap][budget_planner]") {
  AskedBudget asked({"a", "b", "c", "t"},
                    options_of(24, {{"a", 10}, {"b", 9}, {"c", 5}, {"t", 10}}, {}, BudgetVictims::kCheapest));
  asked.starts_in("a", 10500ms);
  asked.starts_in("b", 9s);
  asked.starts_in("c", 8s);
  CHECK(asked.evict("t", {"a", "b", "c"}) == Names{"a"});
}

TEST_CASE("BudgetPlanner: of equally cheap ones, the longest unused", "[swap][budget_planner]") {
  AskedBudget asked({"a", "b", "c", "t"},
                    options_of(9, {{"a", 3}, {"b", 3}, {"c", 3}, {"t", 3}}, {}, BudgetVictims::kCheapest));
  CHECK(asked.evict("t", {"a", "b", "c"}) == Names{"a"});
  asked.used_in_order({"b", "a", "c"});
  CHECK(asked.evict("t", {"a", "b", "c"}) == Names{"b"});
}

TEST_CASE("BudgetPlanner: only who takes of a budget that is short goes", "[swap][budget_planner]") {
  BudgetPlannerOptions options{.budgets = {{"gpu0", 10}, {"gpu1", 10}, {"ram", 100}}};
  options.models = {{"a", {{"gpu0", 8}, {"ram", 10}}},
                    {"b", {{"gpu1", 8}, {"ram", 10}}},
                    {"both", {{"gpu0", 6}, {"gpu1", 6}}},
                    {"t0", {{"gpu0", 8}}},
                    {"t1", {{"gpu1", 8}}},
                    {"none", {}}};
  AskedBudget asked({"a", "b", "both", "t0", "t1", "none"}, options);
  asked.used_in_order({"none", "a", "b"});
  CHECK(asked.evict("t1", {"a", "b", "none"}) == Names{"b"});
  CHECK(asked.evict("t0", {"a", "b", "none"}) == Names{"a"});
  CHECK(asked.evict("both", {"a", "b", "none"}) == Names{"a", "b"});
  CHECK(asked.evict("t1", {"both", "none"}) == Names{"both"});
  CHECK(asked.evict("none", {"a", "b"}).empty());
}

TEST_CASE("BudgetPlanner: what runs beyond the budget already has to go", "[swap][budget_planner]") {
  AskedBudget asked({"a", "b", "c"}, options_of(10, {{"a", 6}, {"b", 6}, {"c", 4}}));
  asked.used_in_order({"a", "b"});
  CHECK(asked.evict("c", {"a", "b"}) == Names{"a"});
  CHECK(asked.evict("b", {"a", "b"}) == Names{"a"});  // also for one that runs
}

TEST_CASE("BudgetPlanner: asked outside of a scheduler, it knows no history", "[swap][budget_planner]") {
  const AskedPlanner unused({"a", "b", "t"}, budget_planner(options_of(10, {{"a", 5}, {"b", 5}, {"t", 5}})));
  CHECK(unused.evict("t", {"a", "b"}) == Names{"a"});

  const ModelTable models({{.name = "a", .start_time = 20s}, {.name = "b", .start_time = 15s}, {.name = "t"}});
  const BudgetPlanner cheapest(options_of(10, {{"a", 5}, {"b", 5}, {"t", 5}}, {}, BudgetVictims::kCheapest), models);
  const std::vector<ModelId> running = ids_of(models, {"a", "b"});
  std::vector<ModelId> evict;
  cheapest.plan({.target = ModelId{2}, .running = running, .last_used = {}, .start_times = {}}, evict);
  CHECK(names_of(models, evict) == Names{"b"});
}

TEST_CASE("BudgetPlanner: explains what a plan leads to", "[swap][budget_planner]") {
  BudgetPlannerOptions options{.budgets = {{"gpu", 10}, {"ram", 50}}};
  options.models = {{"a", {{"ram", 10}, {"gpu", 7}}}, {"b", {{"ram", 5}}}, {"t", {{"gpu", 4}, {"ram", 20}}}};
  const AskedBudget asked({"a", "b", "t"}, options);
  const std::vector<ModelId> running = ids_of(asked.models, {"a", "b"});
  const BudgetPlan plan = asked.planner.explain(
      {.target = asked.models.find("t").value(), .running = running, .last_used = {}, .start_times = {}});
  CHECK(plan == BudgetPlan{ids_of(asked.models, {"a"}), {BudgetUse{"gpu", 10, 11, 4}, BudgetUse{"ram", 50, 35, 25}}});
  const auto uses = asked.planner.uses(asked.models.find("a").value());
  CHECK(std::vector<std::uint64_t>(uses.begin(), uses.end()) == std::vector<std::uint64_t>{7, 10});
}

TEST_CASE("BudgetPlanner: says what it is", "[swap][budget_planner]") {
  const AskedBudget asked({"a"}, options_of(1, {{"a", 1}}));
  CHECK(asked.planner.name() == "budget");
  CHECK(asked.planner.uses_history());
  CHECK_FALSE(asked.planner.is_monotone());
  CHECK(asked.planner.pairwise() == nullptr);
  CHECK(to_string(BudgetVictims::kLeastRecentlyUsed) == "least_recently_used");
  CHECK(to_string(BudgetVictims::kCheapest) == "cheapest");
}

TEST_CASE("BudgetPlanner: with more that runs, who had to go may stay", "[swap][budget_planner]") {
  BudgetPlannerOptions options{.budgets = {{"x", 10}, {"y", 10}}};
  options.models = {{"a", {{"x", 2}}}, {"b", {{"x", 2}, {"y", 3}}}, {"c", {{"y", 9}}}, {"t", {{"x", 8}}}};
  AskedBudget asked({"a", "b", "c", "t"}, options);
  asked.used_in_order({"a", "b", "c"});
  CHECK(asked.evict("t", {"a", "b"}) == Names{"a"});
  CHECK(asked.evict("t", {"a", "b", "c"}) == Names{"b"});
}

TEST_CASE("BudgetPlanner: a model that can never fit is refused", "[swap][budget_planner]") {
  CHECK(complaint(options_of(10, {{"a", 11}, {"b", 10}}), {"a", "b"}) ==
        "budget planner: options.models[0].uses must be within the budgets, got 11 bytes for 'a', 'memory' has 10");
  CHECK(complaint(options_of(10, {{"a", 4}, {"b", 7}, {"c", 6}}, {"a"}), {"a", "b", "c"}) ==
        "budget planner: options.models[1].uses must be within what pinned models leave, got 7 bytes for 'b', 'memory' "
        "has 10, of which pinned 4");
  CHECK(complaint(options_of(10, {{"a", 6}, {"b", 5}, {"c", 6}}, {"a", "b"}), {"a", "b", "c"}) ==
        "budget planner: options.models must be pinned as far as there is room, got 11 bytes, 'memory' has 10");
  CHECK(complaint(options_of(10, {{"a", 4}, {"b", 6}}, {"a", "b"}), {"a", "b"}).empty());
}

TEST_CASE("BudgetPlanner: says all that is wrong at once", "[swap][budget_planner]") {
  CHECK(complaint({}, {}) == "budget planner: options.budgets must be at least one, got none");
  const std::uint64_t too_much = (std::uint64_t{1} << 44) + 1;
  const BudgetPlannerOptions options{
      .budgets = {{"gpu", 0}, {"", too_much}, {"gpu", 5}},
      .models = {{"a", {{"gpu", 1}, {"gpu", 2}, {"cpu", 3}}}, {"x", {}}, {"a", {{"gpu", too_much}}}},
      .victims = static_cast<BudgetVictims>(7)};
  CHECK(
      complaint(options, {"a", "b"}) ==
      "budget planner: options.victims must be one of its values, got 7; options.budgets[0].bytes must be in [1, "
      "2^44], "
      "got 0 of 'gpu'; options.budgets[1].name must be 1 to 256 bytes long, got 0; options.budgets[1].bytes must be in "
      "[1, 2^44], got 17592186044417 of ''; options.budgets[2].name must be different from those of other budgets, got "
      "'gpu' again; options.models[0].uses[1].budget must be there once, got 'gpu' again for 'a'; "
      "options.models[0].uses[2].budget must be a budget, got unknown 'cpu' for 'a'; options.models[1].model must be a "
      "model, got unknown 'x'; options.models[2].model must be there once, got 'a' again; "
      "options.models[2].uses[0].bytes must be at most 2^44, got 17592186044417 for 'a'; options.models must be all "
      "models, got none for 'b'");
}

TEST_CASE("BudgetPlanner: the same input gives the same answer, from any thread", "[swap][budget_planner]") {
  AskedBudget asked({"a", "b", "c", "t"}, options_of(12, {{"a", 4}, {"b", 4}, {"c", 4}, {"t", 8}}));
  asked.used_in_order({"c", "a", "b"});
  std::vector<std::vector<Names>> answers(4);
  std::vector<std::thread> threads;
  for (std::vector<Names>& mine : answers) {
    threads.emplace_back([&asked, &mine] {
      for (int i = 0; i < 50; ++i) mine.push_back(asked.evict("t", {"a", "b", "c"}));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<Names>& mine : answers) CHECK(mine == std::vector<Names>(50, Names{"a", "c"}));
}
