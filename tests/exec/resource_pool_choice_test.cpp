// SPDX-License-Identifier: MIT

// Which resource is chosen: against a naive reference, and by its distribution.

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "penstock/core/detail/random_unit.hpp"
#include "penstock/exec/detail/resource_choice.hpp"
#include "support/catch.hpp"

namespace penstock::detail {
namespace {

using namespace std::chrono_literals;
using Rows = std::vector<std::unique_ptr<ResourceRow>>;

constexpr std::array kStrategies = {ResourceStrategy::kWeightedRandom, ResourceStrategy::kRoundRobin,
                                    ResourceStrategy::kLeastLoaded};

Rows rows_of_weights(const std::vector<double>& weights) {
  Rows rows;
  for (const double weight : weights) {
    rows.push_back(std::make_unique<ResourceRow>());
    rows.back()->serial = rows.size();
    rows.back()->weight = weight;
  }
  return rows;
}

/// Written for plainness: makes a list of what may be chosen, in the order of turns, and picks from it.
std::size_t reference(ResourceStrategy strategy, const Rows& rows, const std::vector<std::uint64_t>* accepted,
                      std::size_t turn, double random) {
  std::vector<std::size_t> in_turn;
  for (std::size_t i = 0; i != rows.size(); ++i) in_turn.push_back(((turn < rows.size() ? turn : 0) + i) % rows.size());
  std::vector<std::size_t> real;
  std::vector<std::size_t> spare;
  for (const std::size_t at : in_turn) {
    const ResourceRow& row = *rows[at];
    bool passes = row.serial != 0;
    if (accepted != nullptr) passes = std::find(accepted->begin(), accepted->end(), row.serial) != accepted->end();
    if (!passes || !row.is_enabled || row.in_use >= row.max_concurrent) continue;
    (row.weight > 0 ? real : spare).push_back(at);
  }
  if (real.empty() && spare.empty()) return kNoChoice;
  if (strategy == ResourceStrategy::kRoundRobin) return real.empty() ? spare.front() : real.front();
  if (strategy == ResourceStrategy::kLeastLoaded) {
    const auto load = [&](std::size_t at) {
      const double in_use = static_cast<double>(rows[at]->in_use);
      return real.empty() || in_use == 0 ? in_use : in_use / rows[at]->weight;
    };
    const auto& from = real.empty() ? spare : real;
    return *std::min_element(from.begin(), from.end(), [&](auto a, auto b) { return load(a) < load(b); });
  }
  if (real.empty()) return spare.front();
  std::sort(real.begin(), real.end());
  double total = 0;
  for (const std::size_t at : real) total += rows[at]->weight;
  double rest = random * total;
  for (const std::size_t at : real) {
    if (rest < rows[at]->weight) return at;
    rest -= rows[at]->weight;
  }
  return real.back();
}

TEST_CASE("ResourceChoice: agrees with the reference on random rows", "[exec][resource_pool]") {
  std::mt19937_64 random(20261121);
  const auto below = [&](std::uint64_t bound) { return random() % bound; };
  constexpr std::array kWeights = {0.0, 0.001, 0.5, 1.0, 3.0, 1e12, 5e-324};
  for (int round = 0; round != 50'000; ++round) {
    Rows rows = rows_of_weights(std::vector<double>(below(9)));
    std::vector<std::uint64_t> accepted;
    for (auto& row : rows) {
      row->weight = kWeights[below(kWeights.size())];
      row->max_concurrent = 1 + below(4);
      row->in_use = below(5);
      row->is_enabled = below(4) != 0;
      if (below(8) == 0) row->serial = 0;
      if (row->serial != 0 && below(3) != 0) accepted.push_back(row->serial);
    }
    const bool filtered = below(2) != 0;
    const Acceptance accepts = filtered ? Acceptance(accepted) : Acceptance();
    const std::size_t turn = below(11);
    const double unit = static_cast<double>(random() >> 11U) * 0x1p-53;
    for (const ResourceStrategy strategy : kStrategies) {
      const std::size_t expected = reference(strategy, rows, filtered ? &accepted : nullptr, turn, unit);
      const std::size_t chosen = choose(strategy, rows, accepts, turn, unit);
      if (chosen != expected) {
        CAPTURE(round, to_string(strategy), turn, unit);
        REQUIRE(chosen == expected);
      }
    }
  }
}

/// Pearson's statistic of what was chosen how often.
double chi_square(const std::vector<double>& weights, std::uint64_t seed, int draws) {
  const Rows rows = rows_of_weights(weights);
  std::vector<int> chosen(weights.size());
  RandomUnit random(seed);
  for (int i = 0; i != draws; ++i) {
    ++chosen[choose(ResourceStrategy::kWeightedRandom, rows, Acceptance(), 0, random.next())];
  }
  double total = 0;
  for (const double weight : weights) total += weight;
  double sum = 0;
  for (std::size_t i = 0; i != weights.size(); ++i) {
    const double expected = draws * weights[i] / total;
    if (weights[i] == 0) {
      CHECK(chosen[i] == 0);
    } else {
      sum += (chosen[i] - expected) * (chosen[i] - expected) / expected;
    }
  }
  return sum;
}

TEST_CASE("ResourceChoice: chance follows the weights, also the smallest", "[exec][resource_pool]") {
  // With n weights the statistic has n - 1 degrees of freedom; the bounds are the quantiles at 0.999.
  CHECK(chi_square({1, 1, 1, 1}, 1, 100'000) < 16.27);
  CHECK(chi_square({1, 2, 3, 4, 0}, 2, 100'000) < 16.27);
  CHECK(chi_square({0.001, 0.002, 0.997}, 3, 1'000'000) < 13.82);  // these are 1000 and 2000 of a million
  CHECK(chi_square({0.001, 1000, 0.003, 1000}, 4, 10'000'000) < 16.27);
  CHECK(chi_square({1e-9, 2e-9, 3e-9}, 5, 100'000) < 13.82);
  CHECK(chi_square({1e12, 1e12}, 6, 100'000) < 10.83);
}

TEST_CASE("ResourceChoice: round robin gives each its turn", "[exec][resource_pool]") {
  const Rows rows = rows_of_weights({1, 5, 0, 1});
  std::size_t turn = 0;
  std::vector<std::size_t> chosen;
  for (int i = 0; i != 6; ++i) {
    chosen.push_back(choose(ResourceStrategy::kRoundRobin, rows, Acceptance(), turn, 0));
    turn = chosen.back() + 1;
  }
  CHECK(chosen == std::vector<std::size_t>{0, 1, 3, 0, 1, 3});  // the spare one stays out
}

TEST_CASE("ResourceChoice: least loaded fills up in proportion to the weights", "[exec][resource_pool]") {
  const Rows rows = rows_of_weights({1, 3});
  for (const auto& row : rows) row->max_concurrent = 100;
  for (std::size_t i = 0; i != 40; ++i) {
    ++rows[choose(ResourceStrategy::kLeastLoaded, rows, Acceptance(), i, 0)]->in_use;
  }
  CHECK(rows[0]->in_use == 10);
  CHECK(rows[1]->in_use == 30);
}

TEST_CASE("ResourceChoice: sticky keys are kept for their time, and not for ever", "[exec][resource_pool]") {
  StickyTable table(64);
  const TimePoint start(1h);
  CHECK(table.find(1, start) == 0);
  table.bind(1, 10, start + 5s);
  CHECK(table.find(1, start) == 10);
  CHECK(table.find(1, start + 5s - 1ns) == 10);
  CHECK(table.find(1, start + 5s) == 0);
  table.bind(1, 11, start + 9s);
  CHECK(table.find(1, start + 5s) == 11);
  table.bind(0, 12, start + 9s);  // the key 0 is a key
  CHECK(table.find(0, start) == 12);
}

TEST_CASE("ResourceChoice: of too many sticky keys the oldest are forgotten", "[exec][resource_pool]") {
  // Against a map that knows which keys share a place by trying: with one place all of them do.
  for (const std::size_t keys : {1U, 5U, 8U, 15U}) {
    StickyTable table(keys);
    std::map<std::uint64_t, std::pair<std::uint64_t, TimePoint>> model;
    std::mt19937_64 random(keys);
    TimePoint now(1h);
    for (int i = 0; i != 20'000; ++i) {
      now += Duration(1 + random() % 1000);
      const std::uint64_t key = random() % (2 * keys + 1);
      const auto known = model.find(key);
      const std::uint64_t expected = known != model.end() && now < known->second.second ? known->second.first : 0;
      REQUIRE(table.find(key, now) == expected);
      if (random() % 2 == 0) continue;
      if (known == model.end() && model.size() == keys) {
        auto oldest = model.begin();
        for (auto at = model.begin(); at != model.end(); ++at) {
          if (at->second.second < oldest->second.second) oldest = at;
        }
        model.erase(oldest);
      }
      const std::uint64_t serial = 1 + random() % 9;
      table.bind(key, serial, now + 10us);
      model[key] = {serial, now + 10us};
    }
  }
  StickyTable large(1000);
  const TimePoint now(1h);
  for (std::uint64_t key = 1; key != 500; ++key) large.bind(key << 32U, key, now + Duration(key));
  int kept = 0;
  for (std::uint64_t key = 1; key != 500; ++key) kept += large.find(key << 32U, now) == key ? 1 : 0;
  CHECK(kept > 450);  // half full, few places overflow
}

}  // namespace
}  // namespace penstock::detail
