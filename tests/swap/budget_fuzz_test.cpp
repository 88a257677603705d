// SPDX-License-Identifier: MIT

// The budget planner against all that could be evicted, over random models, budgets and histories.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "penstock/swap/budget_planner.hpp"
#include "support/catch.hpp"
#include "swap/planner_support.hpp"

using penstock::BudgetPlanner;
using penstock::BudgetPlannerOptions;
using penstock::BudgetVictims;
using penstock::Duration;
using penstock::ModelId;
using penstock::ModelTable;
using penstock::testing::Names;
using penstock::testing::names_of;
using penstock::testing::table_of;

namespace {

struct Case {
  std::vector<std::uint64_t> budgets;
  std::vector<std::vector<std::uint64_t>> uses;  // by model
  std::vector<bool> is_pinned;
  std::vector<std::uint64_t> last_used;
  std::vector<Duration> start_times;
  std::vector<ModelId> running;
  ModelId target{};

  [[nodiscard]] bool fits_without(const std::vector<ModelId>& evict) const {
    for (std::size_t i = 0; i < budgets.size(); ++i) {
      std::uint64_t sum = uses[static_cast<std::size_t>(target)][i];
      for (const ModelId model : running) {
        if (model == target || std::find(evict.begin(), evict.end(), model) != evict.end()) continue;
        sum += uses[static_cast<std::size_t>(model)][i];
      }
      if (sum > budgets[i]) return false;
    }
    return true;
  }

  [[nodiscard]] Duration cost_of(const std::vector<ModelId>& evict) const {
    Duration sum{};
    for (const ModelId model : evict) sum += start_times[static_cast<std::size_t>(model)];
    return sum;
  }

  [[nodiscard]] std::vector<ModelId> evictable() const {
    std::vector<ModelId> models;
    for (const ModelId model : running) {
      if (model != target && !is_pinned[static_cast<std::size_t>(model)]) models.push_back(model);
    }
    return models;
  }

  [[nodiscard]] Duration least_cost() const {
    const std::vector<ModelId> models = evictable();
    Duration least = Duration::max();
    for (std::uint32_t bits = 0; bits < (std::uint32_t{1} << models.size()); ++bits) {
      std::vector<ModelId> evict;
      for (std::size_t i = 0; i < models.size(); ++i) {
        if ((bits >> i & 1U) != 0) evict.push_back(models[i]);
      }
      if (fits_without(evict)) least = std::min(least, cost_of(evict));
    }
    return least;
  }

  /// The rule for the longest unused, in other words: the shortest beginning of the list of those that help that is
  /// enough. Then, from its end, each without which it is still enough is left out.
  [[nodiscard]] std::vector<ModelId> longest_unused() const {
    std::vector<ModelId> order = evictable();
    std::stable_sort(order.begin(), order.end(), [this](ModelId a, ModelId b) {
      return last_used[static_cast<std::size_t>(a)] < last_used[static_cast<std::size_t>(b)];
    });
    std::vector<ModelId> taken;
    for (const ModelId model : order) {
      if (fits_without(taken)) break;
      taken.push_back(model);
    }
    for (std::size_t i = taken.size(); i-- > 0;) {
      std::vector<ModelId> fewer = taken;
      fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
      if (fits_without(fewer)) taken = fewer;
    }
    std::sort(taken.begin(), taken.end());
    return taken;
  }
};

class RandomCases {
 public:
  explicit RandomCases(std::uint64_t seed) : random_(seed) {}

  std::uint64_t below(std::uint64_t bound) {
    return std::uniform_int_distribution<std::uint64_t>(0, bound - 1)(random_);
  }

  Case make(std::size_t budgets) {
    Case made;
    const std::size_t models = 2 + below(9);
    std::vector<std::uint64_t> left;
    for (std::size_t i = 0; i < budgets; ++i) {
      made.budgets.push_back(10 + below(30));
      left.push_back(made.budgets.back());
    }
    std::vector<std::uint64_t> pinned(budgets, 0);
    for (std::size_t i = 0; i < models; ++i) {
      made.is_pinned.push_back(below(6) == 0);
      std::vector<std::uint64_t>& uses = made.uses.emplace_back();
      for (std::size_t j = 0; j < budgets; ++j) {
        uses.push_back(below(3) == 0 ? 0 : below(made.budgets[j] / 2));
        if (!made.is_pinned.back()) continue;
        uses.back() = std::min(uses.back(), made.budgets[j] / 2 - pinned[j]);  // leaves room for the others
        pinned[j] += uses.back();
      }
      made.last_used.push_back(below(models));
      made.start_times.push_back(std::chrono::milliseconds(below(50)));
      if (below(4) != 0) made.running.push_back(static_cast<ModelId>(i));
    }
    made.target = static_cast<ModelId>(below(models));
    return made;
  }

 private:
  std::mt19937_64 random_;
};

std::vector<ModelId> plan(const Case& made, BudgetVictims victims) {
  Names names;
  BudgetPlannerOptions options;
  options.victims = victims;
  for (std::size_t i = 0; i < made.budgets.size(); ++i)
    options.budgets.push_back({"b" + std::to_string(i), made.budgets[i]});
  for (std::size_t i = 0; i < made.uses.size(); ++i) {
    names.push_back("m" + std::to_string(100 + i));
    penstock::ModelMemory memory{names.back(), {}, made.is_pinned[i]};
    for (std::size_t j = 0; j < made.budgets.size(); ++j) {
      memory.uses.push_back({options.budgets[j].name, made.uses[i][j]});
    }
    options.models.push_back(memory);
  }
  const BudgetPlanner planner(options, table_of(names));
  std::vector<ModelId> evict;
  planner.plan(
      {.target = made.target, .running = made.running, .last_used = made.last_used, .start_times = made.start_times},
      evict);
  return evict;
}

void check_laws(const Case& made, const std::vector<ModelId>& evict) {
  REQUIRE(made.fits_without(evict));
  REQUIRE(std::is_sorted(evict.begin(), evict.end()));
  const std::vector<ModelId> allowed = made.evictable();
  for (std::size_t i = 0; i < evict.size(); ++i) {
    REQUIRE(std::find(allowed.begin(), allowed.end(), evict[i]) != allowed.end());
    std::vector<ModelId> fewer = evict;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
    REQUIRE_FALSE(made.fits_without(fewer));
  }
}

}  // namespace

TEST_CASE("BudgetPlanner: all fits afterwards, and nobody goes in vain", "[swap][budget_planner]") {
  RandomCases random(20240801);
  int evicted = 0;
  for (int i = 0; i < 6000; ++i) {
    const Case made = random.make(1 + random.below(3));
    for (const BudgetVictims victims : {BudgetVictims::kLeastRecentlyUsed, BudgetVictims::kCheapest}) {
      const std::vector<ModelId> evict = plan(made, victims);
      check_laws(made, evict);
      evicted += evict.size() > 1 ? 1 : 0;
    }
  }
  CHECK(evicted > 1000);
}

TEST_CASE("BudgetPlanner: the longest unused go as the rule says", "[swap][budget_planner]") {
  RandomCases random(20240802);
  for (int i = 0; i < 6000; ++i) {
    const Case made = random.make(1 + random.below(3));
    REQUIRE(plan(made, BudgetVictims::kLeastRecentlyUsed) == made.longest_unused());
  }
}

TEST_CASE("BudgetPlanner: the cheapest cost at most twice the least", "[swap][budget_planner]") {
  RandomCases random(20240803);
  int asked = 0;
  int least = 0;
  for (int i = 0; i < 8000; ++i) {
    const Case made = random.make(1);
    const std::vector<ModelId> evict = plan(made, BudgetVictims::kCheapest);
    if (evict.size() < 2) continue;
    const Duration best = made.least_cost();
    REQUIRE(made.cost_of(evict) <= 2 * best);
    ++asked;
    least += made.cost_of(evict) == best ? 1 : 0;
  }
  CHECK(asked > 500);
  CHECK(least * 10 > asked * 8);  // mostly it is the least
}
