// SPDX-License-Identifier: MIT

#include <string>
#include <thread>
#include <vector>

#include "penstock/swap/matrix_planner.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"
#include "swap/matrix_support.hpp"

using penstock::matrix_planner;
using penstock::MatrixPlan;
using penstock::MatrixPlannerOptions;
using penstock::ModelId;
using penstock::testing::AskedMatrix;
using penstock::testing::AskedPlanner;
using penstock::testing::NamedPlan;
using penstock::testing::Names;
using penstock::testing::names_of;
using penstock::testing::NamesList;
using penstock::testing::text_of;

namespace {

std::string model(std::size_t dimension, std::size_t choice) {
  return "m" + std::to_string(dimension) + "-" + std::to_string(choice);
}

/// "(m0-0 | m0-1 | ...) & (m1-0 | ...) & ..."
std::string product(std::size_t dimensions, std::size_t choices, Names& names) {
  std::string expression;
  for (std::size_t i = 0; i < dimensions; ++i) {
    expression += i == 0 ? "(" : " & (";
    for (std::size_t j = 0; j < choices; ++j) {
      names.push_back(model(i, j));
      expression += (j == 0 ? "" : " | ") + model(i, j);
    }
    expression += ")";
  }
  return expression;
}

NamesList combinations_of(const std::string& expression) {
  return AskedMatrix({"a", "b", "c", "d"}, {.sets = {{"s", expression}}}).combinations("s");
}

}  // namespace

TEST_CASE("MatrixPlanner: models in different sets evict each other (M01, M04)", "[swap][matrix_planner]") {
  const AskedMatrix asked({"a", "b"}, {.sets = {{"first", "a"}, {"second", "b"}}});
  CHECK(asked.solve("b", {"a"}) == NamedPlan{{"a"}, {"b"}, "second"});
  CHECK(asked.evict("b", {"a"}) == Names{"a"});
}

TEST_CASE("MatrixPlanner: models of one combination run together (M02, M03)", "[swap][matrix_planner]") {
  const AskedMatrix asked({"a", "b"}, {.sets = {{"s", "a & b"}}});
  CHECK(asked.solve("b", {"a"}) == NamedPlan{{}, {"a", "b"}, "s"});
  CHECK(asked.solve("a", {}) == NamedPlan{{}, {"a", "b"}, "s"});
}

TEST_CASE("MatrixPlanner: of equal costs, the set that is defined first (M05)", "[swap][matrix_planner]") {
  const AskedMatrix asked({"a", "b", "c"}, {.sets = {{"first", "a & b"}, {"second", "a & c"}}});
  CHECK(asked.solve("a", {"b", "c"}) == NamedPlan{{"c"}, {"a", "b"}, "first"});
}

TEST_CASE("MatrixPlanner: the cheapest eviction wins (M06)", "[swap][matrix_planner]") {
  const AskedMatrix asked({"a", "b", "c"},
                          {.evict_costs = {{"b", 10}, {"c", 1}}, .sets = {{"first", "a & c"}, {"second", "a & b"}}});
  CHECK(asked.solve("a", {"b", "c"}) == NamedPlan{{"c"}, {"a", "b"}, "second"});
  CHECK(asked.explain("a", {"b", "c"}).cost == 1);
}

TEST_CASE("MatrixPlanner: expressions (M12 to M17)", "[swap][matrix_planner]") {
  CHECK(combinations_of("a") == NamesList{{"a"}});
  CHECK(combinations_of("a & b") == NamesList{{"a", "b"}});
  CHECK(combinations_of("a | b | c") == NamesList{{"a"}, {"b"}, {"c"}});
  CHECK(combinations_of("(a | b) & (c | d)") == NamesList{{"a", "c"}, {"a", "d"}, {"b", "c"}, {"b", "d"}});
  CHECK(combinations_of("a | b & c") == NamesList{{"a"}, {"b", "c"}});
  CHECK(combinations_of("a & a") == NamesList{{"a"}});
  CHECK(combinations_of("a|a|b") == NamesList{{"a"}, {"b"}});
  CHECK(combinations_of("a & (b | a)") == NamesList{{"a", "b"}, {"a"}});
}

TEST_CASE("MatrixPlanner: references within references (M18)", "[swap][matrix_planner]") {
  const AskedMatrix asked({"g", "q", "m", "v", "e"},
                          {.sets = {{"mega", "+with_tts & e"}, {"with_tts", "+llms & v"}, {"llms", "g | q | m"}}});
  CHECK(asked.combinations("mega") == NamesList{{"e", "g", "v"}, {"e", "q", "v"}, {"e", "m", "v"}});
  CHECK(asked.planner.sets() == Names{"llms", "with_tts", "mega"});
  CHECK(asked.solve("e", {"q", "v"}) == NamedPlan{{}, {"e", "q", "v"}, "mega"});
}

TEST_CASE("MatrixPlanner: references that overlap (M19)", "[swap][matrix_planner]") {
  const AskedMatrix asked({"a", "b", "c"}, {.sets = {{"x", "a | b"}, {"y", "b | c"}, {"both", "+x | +y"}}});
  CHECK(asked.combinations("both") == NamesList{{"a"}, {"b"}, {"c"}});
}

TEST_CASE("MatrixPlanner: sets are tried in order, behind those that they refer to", "[swap][matrix_planner]") {
  const AskedMatrix asked({"a", "b"}, {.sets = {{"z", "+m | +n"}, {"n", "b"}, {"y", "a"}, {"m", "+y"}, {"x", "b"}}});
  CHECK(asked.planner.sets() == Names{"y", "m", "n", "z", "x"});
}

TEST_CASE("MatrixPlanner: six dimensions of ten choices are not written out (M27)", "[swap][matrix_planner]") {
  Names names;
  const std::string expression = product(6, 10, names);
  names.emplace_back("outsider");
  const AskedMatrix asked(names, {.sets = {{"s", expression}}});
  CHECK(asked.evict(model(5, 9), {model(0, 1), model(1, 2), model(2, 3), model(3, 4), model(4, 5), "outsider"}) ==
        Names{"outsider"});
  // Nor if all of them run.
  Names running = names;
  running.erase(running.begin() + 59);
  const NamedPlan plan = asked.solve(model(5, 9), running);
  CHECK(plan.target_set == Names{"m0-0", "m1-0", "m2-0", "m3-0", "m4-0", "m5-9"});
  CHECK(plan.evict.size() == 60 - 5);
  CHECK(asked.explain(model(5, 9), running).is_exact);
}

TEST_CASE("MatrixPlanner: more models matter than a word has bits (M28)", "[swap][matrix_planner]") {
  Names names;
  std::string all;
  for (int i = 0; i < 70; ++i) {
    names.push_back("m" + std::to_string(100 + i));
    all += (i == 0 ? "" : " & ") + names.back();
  }
  names.emplace_back("other");
  const AskedMatrix asked(names, {.sets = {{"without", "other"}, {"all", all}}});
  Names running(names.begin(), names.begin() + 69);
  CHECK(asked.evict("m169", running).empty());
  running.emplace_back("other");
  CHECK(asked.solve("m169", running).evict == Names{"other"});
  CHECK(asked.solve("m169", running).set_name == "all");
}

TEST_CASE("MatrixPlanner: what is a part of another combination is not in the order (M29)", "[swap][matrix_planner]") {
  // Were "a" still there, its "a & t & b" would come before "c & t & b", at the same cost.
  const AskedMatrix asked({"a", "b", "c", "t"}, {.sets = {{"s", "(a | c | a & b) & (t & b)"}}});
  CHECK(asked.solve("t", {"a", "b", "c"}) == NamedPlan{{"a"}, {"b", "c", "t"}, "s"});
}

TEST_CASE("MatrixPlanner: a target of no set evicts all (M30)", "[swap][matrix_planner]") {
  const AskedMatrix asked({"a", "b", "c"}, {.evict_costs = {{"b", 5}}, .sets = {{"s", "a & b"}}});
  CHECK(asked.solve("c", {"a", "b"}) == NamedPlan{{"a", "b"}, {"c"}, ""});
  CHECK(asked.explain("c", {"a", "b"}).cost == 6);
  CHECK(asked.solve("c", {}) == NamedPlan{{}, {"c"}, ""});
}

TEST_CASE("MatrixPlanner: a target that runs evicts nothing", "[swap][matrix_planner]") {
  const AskedMatrix asked({"a", "b", "c"}, {.sets = {{"first", "a"}, {"second", "b & a"}, {"third", "a & b"}}});
  CHECK(asked.solve("a", {"a", "b"}) == NamedPlan{{}, {"a", "b"}, "second"});
  CHECK(asked.solve("a", {"a"}) == NamedPlan{{}, {"a"}, "first"});
  CHECK(asked.solve("a", {"a", "c"}) == NamedPlan{{}, {"a", "c"}, ""});
  CHECK(asked.evict("a", {"a", "c"}).empty());
}

TEST_CASE("MatrixPlanner: of equal combinations, the first written", "[swap][matrix_planner]") {
  const AskedMatrix asked({"a", "b", "c", "d", "t"}, {.sets = {{"s", "(b | a) & (d | c) & t"}}});
  CHECK(asked.solve("t", {"a", "b", "c", "d"}) == NamedPlan{{"a", "c"}, {"b", "d", "t"}, "s"});
  // What does not run is chosen like this, too.
  CHECK(asked.solve("t", {"c"}) == NamedPlan{{}, {"b", "c", "t"}, "s"});
}

TEST_CASE("MatrixPlanner: more that runs may make fewer evictions", "[swap][matrix_planner]") {
  const AskedMatrix asked({"a", "b", "c", "d", "e"},
                          {.sets = {{"1", "c & d & e"}, {"2", "a & c"}, {"3", "a & b & c & d"}}});
  CHECK(asked.evict("d", {"b", "c", "e"}) == Names{"b"});
  CHECK(asked.evict("d", {"a", "b", "c", "e"}) == Names{"e"});
  CHECK_FALSE(asked.planner.is_monotone());
  CHECK_FALSE(asked.planner.uses_history());
  CHECK(asked.planner.pairwise() == nullptr);
  CHECK(asked.planner.name() == "matrix");
}

TEST_CASE("MatrixPlanner: says what a set allows, up to a limit", "[swap][matrix_planner]") {
  Names names;
  const AskedMatrix asked(names, {.sets = {{"s", product(2, 10, names)}}});
  CHECK(asked.planner.combinations("s", 100).value().size() == 100);
  CHECK(text_of(asked.planner.combinations("s", 99).status()) ==
        "matrix planner: set 's' has more than 99 combinations");
  const AskedMatrix one({"a"}, {.sets = {{"s", "a"}}});
  CHECK(text_of(one.planner.combinations("s", 0).status()) == "matrix planner: set 's' has more than 0 combinations");
  CHECK(text_of(asked.planner.combinations("x").status()) == "matrix planner: there is no set 'x'");
}

TEST_CASE("MatrixPlanner: sets that refer to one another twice each are looked at once", "[swap][matrix_planner]") {
  MatrixPlannerOptions options{.sets = {{"s0", "a | b"}}};
  for (int i = 1; i < 200; ++i) {
    const std::string before = "+s" + std::to_string(i - 1);
    options.sets.push_back({"s" + std::to_string(i), "(" + before + " & " + before + ") | " + before});
  }
  options.sets.push_back({"s", "+s199 & t"});
  const AskedMatrix asked({"a", "b", "c", "t"}, options);
  CHECK(asked.solve("t", {"c"}) == NamedPlan{{"c"}, {"a", "t"}, "s"});  // nothing of the others matters
  CHECK(asked.solve("t", {"a", "b", "c"}) == NamedPlan{{"c"}, {"a", "b", "t"}, "s"});
}

TEST_CASE("MatrixPlanner: a long chain of references", "[swap][matrix_planner]") {
  MatrixPlannerOptions options;
  for (int i = 20000; i > 0; --i) options.sets.push_back({"s" + std::to_string(i), "+s" + std::to_string(i - 1)});
  options.sets.push_back({"s0", "a & b"});
  const AskedMatrix asked({"a", "b"}, options);
  CHECK(asked.solve("a", {"b"}) == NamedPlan{{}, {"a", "b"}, "s0"});
}

TEST_CASE("MatrixPlanner: an explosion is cut, and the answer is still a combination", "[swap][matrix_planner]") {
  // Each part has models in common with the next one: 2^20 combinations none of which is within another one.
  Names names;
  std::string expression = "t";
  for (int i = 0; i < 20; ++i) {
    names.push_back("a" + std::to_string(i));
    names.push_back("b" + std::to_string(i));
    expression += " & (" + names[names.size() - 2] + " & link | " + names.back() + ")";
  }
  names.emplace_back("link");
  const Names running = names;
  names.emplace_back("t");
  MatrixPlannerOptions options{.sets = {{"s", expression}}, .max_states = 16};
  const AskedMatrix asked(names, options);
  const MatrixPlan plan = asked.explain("t", running);
  CHECK_FALSE(plan.is_exact);
  CHECK(plan.set_name == "s");
  CHECK(plan.evict.size() == 20);
  CHECK(plan.target_set.size() == 22);
  CHECK(asked.explain("t", {"a0", "b1"}).is_exact);
}

TEST_CASE("MatrixPlanner: two parts are decided exactly, whatever they allow together", "[swap][matrix_planner]") {
  // 300 times 300 combinations, none within another one: far more than are held.
  Names names{"link"};
  std::string expression = "t";
  for (const std::string part : {"a", "b"}) {
    for (int i = 0; i < 300; ++i) {
      names.push_back(part + std::to_string(100 + i));
      expression += (i == 0 ? " & (" : " | ") + names.back() + " & link";
    }
    expression += ")";
  }
  const Names running = names;
  names.emplace_back("t");
  const AskedMatrix asked(names, {.sets = {{"s", expression}}});
  const MatrixPlan plan = asked.explain("t", running);
  CHECK(plan.is_exact);
  CHECK(names_of(asked.models, plan.target_set) == Names{"a100", "b100", "link", "t"});
}

TEST_CASE("MatrixPlanner: what would take hours is decided by the best of each part", "[swap][matrix_planner]") {
  Names names;
  std::string any;
  for (int i = 0; i < 600; ++i) {
    names.push_back("m" + std::to_string(100 + i));
    any += (i == 0 ? "" : " | ") + names.back();
  }
  std::string expression = "t";
  for (int i = 0; i < 40; ++i) expression += " & +any";
  const Names running = names;
  names.emplace_back("t");
  // Enough time for some of the first parts: those of the last set are shared with them.
  const AskedMatrix asked(names, {.sets = {{"any", any}, {"s", expression}, {"last", expression + " & +any & +any"}}});
  const MatrixPlan plan = asked.explain("t", running);
  CHECK_FALSE(plan.is_exact);
  CHECK(plan.set_name == "last");
  CHECK(plan.target_set.size() == 43);
  CHECK(plan.evict.size() == 558);
  CHECK(plan.cost == 558);
}

TEST_CASE("MatrixPlanner: where a good combination was cut, another one is found", "[swap][matrix_planner]") {
  // Taken greedily, p with u leads to all of them. But 15 others keep more at first, and leave it no room.
  Names names;
  MatrixPlannerOptions options{.evict_costs = {{"p", 10}}, .max_states = 16};
  std::string any;
  std::string all;
  for (int i = 0; i < 15; ++i) {
    names.push_back("o" + std::to_string(i));
    options.evict_costs.push_back({names.back(), 9});
    any += " | " + names.back();
    all += " & " + names.back();
  }
  names.insert(names.end(), {"p", "q", "r", "u"});
  const Names running = names;
  names.emplace_back("t");
  options.sets = {{"s", "t & (p & u" + any + ") & (p & q | p & r) & (q & r" + all + ")"}};
  const MatrixPlan cut = AskedMatrix(names, options).explain("t", running);
  CHECK_FALSE(cut.is_exact);
  CHECK(cut.cost == 1);
  options.max_states = 32;
  const MatrixPlan exact = AskedMatrix(names, options).explain("t", running);
  CHECK(exact.is_exact);
  CHECK(exact.cost == 0);
}

TEST_CASE("MatrixPlanner: the same input gives the same answer, from any thread", "[swap][matrix_planner]") {
  Names names;
  const std::string expression = product(4, 5, names);
  const AskedMatrix asked(names, {.sets = {{"s", expression + " | m0-0 & m0-1"}}});
  const NamedPlan expected = asked.solve("m0-1", {"m0-0", "m1-3", "m2-2", "m2-4"});
  std::vector<std::vector<NamedPlan>> answers(4);
  std::vector<std::thread> threads;
  for (std::vector<NamedPlan>& mine : answers) {
    threads.emplace_back([&asked, &mine] {
      for (int i = 0; i < 50; ++i) mine.push_back(asked.solve("m0-1", {"m0-0", "m1-3", "m2-2", "m2-4"}));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<NamedPlan>& mine : answers) CHECK(mine == std::vector<NamedPlan>(50, expected));
}

TEST_CASE("MatrixPlanner: made for a table, like any planner", "[swap][matrix_planner]") {
  const AskedPlanner asked({"a", "b"}, matrix_planner({.sets = {{"s", "a"}, {"t", "b"}}}));
  CHECK(asked.evict("a", {"b"}) == Names{"b"});
}
