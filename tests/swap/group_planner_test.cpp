// SPDX-License-Identifier: MIT

#include <set>
#include <string>
#include <vector>

#include "penstock/swap/group_planner.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"
#include "swap/planner_support.hpp"

using penstock::EvictionPlanner;
using penstock::exclusive_planner;
using penstock::function_planner;
using penstock::group_planner;
using penstock::GroupPlannerOptions;
using penstock::ModelGroup;
using penstock::ModelId;
using penstock::ModelTable;
using penstock::PairwiseEviction;
using penstock::PlanInput;
using penstock::testing::AskedPlanner;
using penstock::testing::complaint_of;
using penstock::testing::ids_of;
using penstock::testing::Names;
using penstock::testing::table_of;
using penstock::testing::text_of;

namespace {

/// Two groups, {a, b} and {c, d}.
AskedPlanner two_groups(ModelGroup first, ModelGroup second) {
  first.name = "first";
  first.members = {"a", "b"};
  second.name = "second";
  second.members = {"c", "d"};
  return {{"a", "b", "c", "d"}, group_planner({.groups = {first, second}})};
}

/// The group of the lowest three bits.
ModelGroup group_of_bits(unsigned bits) {
  return {.swap = (bits & 1U) != 0, .exclusive = (bits & 2U) != 0, .persistent = (bits & 4U) != 0};
}

}  // namespace

TEST_CASE("ExclusivePlanner: all others go", "[swap][planner]") {
  const AskedPlanner asked({"a", "b", "c"}, exclusive_planner());
  CHECK(asked.evict("b", {"a", "b", "c"}) == Names{"a", "c"});
  CHECK(asked.evict("b", {"b"}).empty());
  CHECK(asked.evict("b", {}).empty());
  CHECK(asked.planner->name() == "exclusive");
  CHECK(asked.planner->is_monotone());
  CHECK_FALSE(asked.planner->uses_history());
}

TEST_CASE("FunctionPlanner: does what the function says", "[swap][planner]") {
  const auto evict_first = [](const PlanInput& input, std::vector<ModelId>& evict) {
    if (!input.running.empty()) evict.push_back(input.running.front());
  };
  const AskedPlanner asked({"a", "b", "c"}, function_planner({.plan = evict_first, .uses_history = true}));
  CHECK(asked.evict("a", {"b", "c"}) == Names{"b"});
  CHECK(asked.planner->name() == "function");
  CHECK(asked.planner->pairwise() == nullptr);
  CHECK_FALSE(asked.planner->is_monotone());
  CHECK(asked.planner->uses_history());
}

TEST_CASE("FunctionPlanner: needs a function", "[swap][planner]") {
  CHECK(complaint_of([] { function_planner({})(ModelTable()); }) ==
        "function planner: options.plan must be a function, got an empty one");
}

TEST_CASE("GroupPlanner: one model in two groups is an error (G01)", "[swap][group_planner]") {
  const GroupPlannerOptions options{
      .groups = {{.name = "first", .members = {"a"}}, {.name = "second", .members = {"a"}}}};
  CHECK(complaint_of([&] { group_planner(options)(table_of({"a"})); }) ==
        "group planner: options.groups[1].members must be in one group, and once, got 'a', which is in 'first' too");
}

TEST_CASE("GroupPlanner: in a swap group, one at a time (G02)", "[swap][group_planner]") {
  const AskedPlanner asked({"a", "b"}, group_planner({.groups = {{.name = "g", .members = {"a", "b"}}}}));
  CHECK(asked.evict("b", {"a"}) == Names{"a"});
}

TEST_CASE("GroupPlanner: in a group without swap, all together (G03)", "[swap][group_planner]") {
  const AskedPlanner asked({"a", "b"},
                           group_planner({.groups = {{.name = "g", .swap = false, .members = {"a", "b"}}}}));
  CHECK(asked.evict("b", {"a"}).empty());
}

TEST_CASE("GroupPlanner: exclusive groups evict each other (G04)", "[swap][group_planner]") {
  const AskedPlanner asked = two_groups({}, {});
  CHECK(asked.evict("c", {"a", "b"}) == Names{"a", "b"});
  CHECK(asked.evict("a", {"c"}) == Names{"c"});
}

TEST_CASE("GroupPlanner: groups that are not exclusive leave each other alone (G05)", "[swap][group_planner]") {
  const AskedPlanner asked = two_groups({.exclusive = false}, {.exclusive = false});
  CHECK(asked.evict("c", {"a"}).empty());
  CHECK(asked.evict("a", {"c"}).empty());
}

TEST_CASE("GroupPlanner: a persistent group stays (G07)", "[swap][group_planner]") {
  const AskedPlanner asked = two_groups({}, {.persistent = true});
  CHECK(asked.evict("a", {"c"}).empty());
  CHECK(asked.evict("c", {"a"}) == Names{"a"});
  CHECK(asked.evict("c", {"d"}) == Names{"d"});  // but for its own
}

TEST_CASE("GroupPlanner: a target that is not exclusive leaves an exclusive group (G08)", "[swap][group_planner]") {
  const AskedPlanner asked = two_groups({}, {.exclusive = false});
  CHECK(asked.evict("c", {"a"}).empty());
  CHECK(asked.evict("a", {"c"}) == Names{"c"});
}

TEST_CASE("GroupPlanner: all rows of the table, in the order of running", "[swap][group_planner]") {
  for (unsigned first = 0; first < 8; ++first) {
    for (unsigned second = 0; second < 8; ++second) {
      CAPTURE(first, second);
      const ModelGroup target = group_of_bits(first);
      const ModelGroup other = group_of_bits(second);
      const AskedPlanner asked = two_groups(target, other);
      Names expected;
      if (target.swap) expected.push_back("b");
      if (target.exclusive && !other.persistent) expected.insert(expected.end(), {"c", "d"});
      CHECK(asked.evict("a", {"a", "b", "c", "d"}) == expected);
      CHECK(asked.evict("a", {"a"}).empty());
    }
  }
}

TEST_CASE("GroupPlanner: who is in no group is in one that swaps and is exclusive", "[swap][group_planner]") {
  const AskedPlanner asked({"a", "b", "c"}, group_planner({.groups = {{.name = "g", .members = {"c"}}}}));
  CHECK(asked.evict("a", {"b", "c"}) == Names{"b", "c"});
  CHECK(asked.evict("c", {"a"}) == Names{"a"});
  CHECK(asked.planner->pairwise()->classes() == 2);
  const AskedPlanner none({"a", "b"}, group_planner({}));
  CHECK(none.evict("a", {"b"}) == Names{"b"});
  CHECK(none.planner->pairwise()->classes() == 1);
}

TEST_CASE("GroupPlanner: classes of one kind cannot be told apart", "[swap][group_planner]") {
  GroupPlannerOptions options;
  Names names;
  for (unsigned i = 0; i < 16; ++i) {  // each combination twice
    ModelGroup group = group_of_bits(i % 8);
    group.name = "g" + std::to_string(i);
    group.members = {"m" + std::to_string(i)};
    names.push_back(group.members.front());
    options.groups.push_back(group);
  }
  names.emplace_back("rest");
  const AskedPlanner asked(names, group_planner(options));
  const PairwiseEviction& pairs = *asked.planner->pairwise();
  REQUIRE(pairs.classes() == 17);
  CHECK(pairs.kinds() == 4);
  std::set<std::size_t> kinds;
  for (std::size_t a = 0; a < pairs.classes(); ++a) {
    kinds.insert(pairs.kind_of(a));
    for (std::size_t b = 0; b < pairs.classes(); ++b) {
      if (a == b || pairs.kind_of(a) != pairs.kind_of(b)) continue;
      for (std::size_t c = 0; c < pairs.classes(); ++c) {
        if (c == a || c == b) continue;
        CHECK(pairs.evicts(a, c) == pairs.evicts(b, c));
        CHECK(pairs.evicts(c, a) == pairs.evicts(c, b));
        if (pairs.kind_of(c) == pairs.kind_of(a)) CHECK(pairs.evicts(a, b) == pairs.evicts(a, c));
      }
      CHECK(pairs.evicts(a, b) == pairs.evicts(b, a));
    }
  }
  CHECK(kinds == std::set<std::size_t>{0, 1, 2, 3});
  CHECK(asked.planner->is_monotone());
  CHECK(asked.planner->name() == "group");
}

TEST_CASE("GroupPlanner: says all that is wrong at once", "[swap][group_planner]") {
  const GroupPlannerOptions options{.groups = {{.name = "g", .members = {"a", "x", "a"}},
                                               {.name = "", .members = {"b"}},
                                               {.name = "g", .members = {"b", "y"}},
                                               {.name = std::string(257, 'n')}}};
  CHECK(
      text_of(options.validate(table_of({"a", "b"}))) ==
      "group planner: options.groups[0].members must be models, got unknown 'x'; options.groups[0].members must be in "
      "one group, and once, got 'a' twice; options.groups[1].name must be 1 to 256 bytes long, got 0; "
      "options.groups[2].name must be different from those of other groups, got 'g' again; options.groups[2].members "
      "must be in one group, and once, got 'b', which is in '' too; options.groups[2].members must be models, got "
      "unknown 'y'; options.groups[3].name must be 1 to 256 bytes long, got 257");
  CHECK(GroupPlannerOptions{}.validate(ModelTable()).ok());
  const GroupPlannerOptions long_name{
      .groups = {{.name = std::string(100'000, 'n'), .members = {"a", "b"}}, {.name = "g", .members = {"a", "b"}}}};
  CHECK(text_of(long_name.validate(table_of({"a", "b"}))).size() < 2000);
}
