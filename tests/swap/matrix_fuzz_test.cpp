// SPDX-License-Identifier: MIT

// The solver against the published rule written out: each part of each set is expanded to all its combinations, of
// which those that are within another one of the part are taken out.

#include <algorithm>
#include <bitset>
#include <cstdint>
#include <iterator>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "penstock/swap/matrix_planner.hpp"
#include "support/catch.hpp"
#include "swap/matrix_support.hpp"

using penstock::MatrixPlan;
using penstock::MatrixPlanner;
using penstock::MatrixPlannerOptions;
using penstock::ModelId;
using penstock::ModelTable;
using penstock::testing::ids_of;
using penstock::testing::Names;
using penstock::testing::names_of;
using penstock::testing::table_of;

namespace {

using Bits = std::bitset<128>;  // models, by id

struct Tree {
  char kind;             // 'm' model, 'r' reference, '&', '|'
  std::size_t leaf = 0;  // a model or a set
  std::vector<Tree> parts = {};
};

struct World {
  Names names;
  std::vector<Tree> trees;  // of the sets
  MatrixPlannerOptions options;
};

class TooMuch {};

/// The rule, applied as it stands. Throws TooMuch where that would take long.
class WrittenOut {
 public:
  WrittenOut(const World& world, ModelId target, const std::vector<ModelId>& running) : world_(world) {
    relevant_.set(static_cast<std::size_t>(target));
    for (const ModelId model : running) relevant_.set(static_cast<std::size_t>(model));
  }

  struct Choice {
    Bits mask;  // of what is relevant
    Bits all;
  };

  const std::vector<Choice>& of_set(std::size_t set) {
    if (known_.size() < world_.trees.size()) known_.resize(world_.trees.size());
    if (!known_[set]) known_[set] = of(world_.trees[set]);
    return *known_[set];
  }

 private:
  static bool is_within(const Bits& mask, const Bits& other) { return (mask & ~other).none(); }

  /// Keeps what is within nothing else; of equal ones, the first.
  static std::vector<Choice> counting(const std::vector<Choice>& all) {
    if (all.size() > 400) throw TooMuch();
    std::vector<Choice> counts;
    for (std::size_t i = 0; i < all.size(); ++i) {
      bool is_dropped = false;
      for (std::size_t j = 0; j < all.size() && !is_dropped; ++j) {
        is_dropped = j != i && is_within(all[i].mask, all[j].mask) && (all[i].mask != all[j].mask || j < i);
      }
      if (!is_dropped) counts.push_back(all[i]);
    }
    return counts;
  }

  std::vector<Choice> of(const Tree& tree) {
    std::vector<Choice> all;
    if (tree.kind == 'r') return of_set(tree.leaf);
    if (tree.kind == 'm') {
      Choice one;
      one.all.set(tree.leaf);
      one.mask = one.all & relevant_;
      return {one};
    }
    if (tree.kind == '|') {
      for (const Tree& part : tree.parts) {
        for (const Choice& choice : of(part)) all.push_back(choice);
      }
      return counting(all);
    }
    all.push_back({});
    for (const Tree& part : tree.parts) {
      std::vector<Choice> longer;
      const std::vector<Choice> choices = of(part);
      for (const Choice& left : all) {
        for (const Choice& right : choices) longer.push_back({left.mask | right.mask, left.all | right.all});
      }
      all = counting(longer);
    }
    return all;
  }

  const World& world_;
  Bits relevant_;
  std::vector<std::optional<std::vector<Choice>>> known_;
};

std::vector<ModelId> ids_of_bits(const Bits& bits) {
  std::vector<ModelId> ids;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    if (bits[i]) ids.push_back(static_cast<ModelId>(i));
  }
  return ids;
}

MatrixPlan expected_plan(const World& world, const MatrixPlanner& planner, ModelId target,
                         const std::vector<ModelId>& running) {
  WrittenOut rule(world, target, running);
  const std::vector<std::string> order = planner.sets();
  const bool runs = std::find(running.begin(), running.end(), target) != running.end();
  MatrixPlan plan;
  plan.target_set = runs ? running : std::vector<ModelId>{target};
  plan.evict = runs ? std::vector<ModelId>{} : running;
  std::optional<std::int64_t> least;
  for (const std::string& name : order) {
    const std::size_t set = std::stoul(name.substr(1));
    for (const WrittenOut::Choice& choice : rule.of_set(set)) {
      if (!choice.mask[static_cast<std::size_t>(target)]) continue;
      std::vector<ModelId> evict;
      std::int64_t cost = 0;
      for (const ModelId model : running) {
        if (choice.mask[static_cast<std::size_t>(model)]) continue;
        evict.push_back(model);
        cost += planner.cost(model);
      }
      if (runs) {
        if (evict.empty() && plan.set_name.empty()) plan.set_name = name;
      } else if (!least || cost < *least) {
        least = cost;
        plan.evict = evict;
        plan.target_set = ids_of_bits(choice.all);
        plan.set_name = name;
      }
    }
  }
  for (const ModelId model : plan.evict) plan.cost += planner.cost(model);
  return plan;
}

class RandomWorlds {
 public:
  explicit RandomWorlds(std::uint64_t seed) : random_(seed) {}

  std::size_t below(std::size_t bound) { return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random_); }
  bool once_in(std::size_t count) { return below(count) == 0; }

  World make(std::size_t models, std::size_t sets, std::size_t depth) {
    World world;
    for (std::size_t i = 0; i < models; ++i) world.names.push_back("m" + std::to_string(1000 + i));
    // References go to sets of a lower rank: no circles, in any order of definition.
    std::vector<std::size_t> rank(sets);
    for (std::size_t i = 0; i < sets; ++i) rank[i] = i;
    std::shuffle(rank.begin(), rank.end(), random_);
    for (std::size_t i = 0; i < sets; ++i) {
      world.trees.push_back(tree(models, rank, i, depth));
      world.options.sets.push_back({"s" + std::to_string(i), text(world, world.trees.back())});
    }
    for (std::size_t i = 0; i < models; ++i) {
      if (once_in(3)) world.options.evict_costs.push_back({world.names[i], static_cast<std::int64_t>(1 + below(3))});
    }
    return world;
  }

  std::vector<ModelId> some_of(std::size_t models, std::size_t one_in) {
    std::vector<ModelId> some;
    for (std::size_t i = 0; i < models; ++i) {
      if (one_in <= 1 || !once_in(one_in)) some.push_back(static_cast<ModelId>(i));
    }
    return some;
  }

 private:
  Tree tree(std::size_t models, const std::vector<std::size_t>& rank, std::size_t set, std::size_t depth) {
    if (depth == 0 || once_in(5)) {
      std::vector<std::size_t> lower;
      for (std::size_t i = 0; i < rank.size(); ++i) {
        if (rank[i] < rank[set]) lower.push_back(i);
      }
      if (!lower.empty() && once_in(3)) return {'r', lower[below(lower.size())]};
      return {'m', below(models)};
    }
    Tree result{once_in(2) ? '&' : '|'};
    const std::size_t parts = 2 + below(3);
    for (std::size_t i = 0; i < parts; ++i) result.parts.push_back(tree(models, rank, set, depth - 1));
    return result;
  }

  std::string text(const World& world, const Tree& tree) {
    if (tree.kind == 'm') return world.names[tree.leaf];
    if (tree.kind == 'r') return "+s" + std::to_string(tree.leaf);
    std::string result;
    for (const Tree& part : tree.parts) {
      if (!result.empty()) result += once_in(2) ? std::string(1, tree.kind) : " " + std::string(1, tree.kind) + " ";
      // A part of the same kind keeps its parentheses: it is a part of its own.
      const bool is_bare = part.parts.empty() || (tree.kind == '|' && part.kind == '&' && once_in(2));
      result += is_bare ? text(world, part) : "(" + text(world, part) + ")";
    }
    return result;
  }

  std::mt19937_64 random_;
};

/// So many programs, several questions each; how many were compared, until one was found wrong.
std::size_t compare(std::uint64_t seed, std::size_t programs, std::size_t models, std::size_t depth,
                    std::size_t one_in) {
  RandomWorlds random(seed);
  std::size_t compared = 0;
  for (std::size_t i = 0; i < programs; ++i) {
    const World world = random.make(models, 1 + random.below(5), depth);
    const ModelTable table = table_of(world.names);
    MatrixPlannerOptions options = world.options;
    options.max_states = 4096;
    const MatrixPlanner planner(options, table);
    for (int j = 0; j < 8; ++j) {
      const std::vector<ModelId> running = random.some_of(models, 1 + random.below(one_in));
      const auto target = static_cast<ModelId>(random.below(models));
      MatrixPlan expected;
      try {
        expected = expected_plan(world, planner, target, running);
      } catch (const TooMuch&) {
        continue;
      }
      const MatrixPlan plan = planner.explain(target, running);
      std::vector<ModelId> evict;
      planner.plan({.target = target, .running = running, .last_used = {}, .start_times = {}}, evict);
      ++compared;
      if (plan == expected && evict == expected.evict) continue;
      std::string text;
      for (const penstock::MatrixSet& set : world.options.sets) text += set.name + ": " + set.expression + "\n";
      CAPTURE(text, table.name(target), names_of(table, running), names_of(table, plan.evict), plan.set_name);
      CHECK(plan == expected);
      CHECK(evict == expected.evict);
      return compared;
    }
  }
  return compared;
}

}  // namespace

TEST_CASE("MatrixPlanner: decides as the rule written out, few models", "[swap][matrix_planner]") {
  CHECK(compare(20240701, 3000, 5, 3, 4) > 20'000);
}

TEST_CASE("MatrixPlanner: decides as the rule written out, more models", "[swap][matrix_planner]") {
  CHECK(compare(20240702, 1500, 12, 3, 4) > 10'000);
}

TEST_CASE("MatrixPlanner: decides as the rule written out, more models than a word has bits",
          "[swap][matrix_planner]") {
  CHECK(compare(20240703, 400, 100, 3, 3) > 1'500);
}

TEST_CASE("MatrixPlanner: no combination of any set is cheaper", "[swap][matrix_planner]") {
  RandomWorlds random(20240704);
  for (int i = 0; i < 1000; ++i) {
    const World world = random.make(8, 3, 2);
    const ModelTable table = table_of(world.names);
    const MatrixPlanner planner(world.options, table);
    const std::vector<ModelId> running = random.some_of(8, 3);
    for (const ModelId target : random.some_of(8, 2)) {
      if (std::find(running.begin(), running.end(), target) != running.end()) continue;
      const MatrixPlan plan = planner.explain(target, running);
      bool is_listed = plan.set_name.empty();
      for (const std::string& set : planner.sets()) {
        const auto combinations = planner.combinations(set, 100'000);
        for (const std::vector<ModelId>& one : combinations.value()) {
          if (set == plan.set_name && one == plan.target_set) is_listed = true;
          if (std::find(one.begin(), one.end(), target) == one.end()) continue;
          std::int64_t cost = 0;
          for (const ModelId model : running) {
            if (!std::binary_search(one.begin(), one.end(), model)) cost += planner.cost(model);
          }
          REQUIRE(cost >= plan.cost);
        }
      }
      REQUIRE(is_listed);
    }
  }
}

TEST_CASE("MatrixPlanner: what is cut short is still a combination of the set", "[swap][matrix_planner]") {
  RandomWorlds random(20240707);
  int cut = 0;
  for (int i = 0; i < 100; ++i) {
    Names names{"t"};
    for (std::size_t j = 0; j < 40; ++j) names.push_back("m" + std::to_string(100 + j));
    const ModelTable table = table_of(names);
    MatrixPlannerOptions options{.sets = {{"s", "t"}}, .max_states = 16};
    for (std::size_t j = 1; j < names.size(); ++j) {
      options.evict_costs.push_back({names[j], static_cast<std::int64_t>(1 + random.below(100))});
    }
    std::vector<std::vector<std::vector<ModelId>>> parts(2 + random.below(9));
    for (auto& part : parts) {
      options.sets[0].expression += " & (";
      const std::size_t alternatives = 2 + random.below(4);
      for (std::size_t j = 0; j < alternatives; ++j) {
        options.sets[0].expression += j == 0 ? "" : " | ";
        const std::size_t count = 1 + random.below(5);
        Names some;
        for (std::size_t k = 0; k < count; ++k) {
          some.push_back(names[1 + random.below(names.size() - 1)]);
          options.sets[0].expression += (k == 0 ? "" : " & ") + some.back();
        }
        part.push_back(ids_of(table, some));
        part.back().erase(std::unique(part.back().begin(), part.back().end()), part.back().end());
      }
      options.sets[0].expression += ")";
    }
    const MatrixPlanner planner(options, table);
    const ModelId target = table.find("t").value();
    std::vector<ModelId> running = random.some_of(names.size(), 1);
    running.erase(std::find(running.begin(), running.end(), target));
    const MatrixPlan plan = planner.explain(target, running);
    cut += plan.is_exact ? 0 : 1;
    const std::vector<ModelId>& allowed = plan.target_set;
    REQUIRE(std::binary_search(allowed.begin(), allowed.end(), target));
    for (const auto& part : parts) {
      REQUIRE(std::any_of(part.begin(), part.end(), [&](const std::vector<ModelId>& one) {
        return std::includes(allowed.begin(), allowed.end(), one.begin(), one.end());
      }));
    }
    std::vector<ModelId> gone;
    std::set_difference(running.begin(), running.end(), allowed.begin(), allowed.end(), std::back_inserter(gone));
    REQUIRE(plan.evict == gone);
    options.max_states = 1024;
    const MatrixPlan roomier = MatrixPlanner(options, table).explain(target, running);
    if (roomier.is_exact) REQUIRE(roomier.cost <= plan.cost);
    if (plan.is_exact) REQUIRE(plan == roomier);
  }
  CHECK(cut > 10);
  CHECK(cut < 90);
}
