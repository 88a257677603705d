// SPDX-License-Identifier: MIT

// The grids are those of the tests of the elastic-worker-pool package, row by row.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <vector>

#include "penstock/exec/desired_size.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"

using penstock::AgileSize;
using penstock::desired_size;
using penstock::LoadLevel;
using penstock::RigidSize;
using penstock::SizePolicy;
using penstock::SizeSample;
using penstock::testing::text_of;

namespace {

using Levels = std::vector<LoadLevel>;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();

const Levels& published() {
  static const Levels levels(penstock::kDefaultLoadLevels.begin(), penstock::kDefaultLoadLevels.end());
  return levels;
}
const Levels& custom() {
  static const Levels levels{{0.1, 0.1}, {0.2, 0.2}, {0.3, 0.3}, {0.5, 0.5}, {0.7, 0.7}, {0.9, 1}};
  return levels;
}

/// A pool with as many workers as it has at least, and a buffer of 100.
SizeSample loaded(std::size_t min, std::size_t max, std::size_t tasks) {
  const std::size_t busy = std::min(tasks, min);
  return {.live = min, .busy = busy, .queued = tasks - busy, .min = min, .max = max, .buffer_length = 100};
}

struct AgileRow {
  std::size_t tasks, expected;
};
struct RigidRow {
  std::size_t tasks;
  int changes;
  std::size_t expected;
};

/// What the package does, in its own words.
long published_size(Levels levels, const SizeSample& sample, const int* max_changes) {
  std::stable_sort(levels.begin(), levels.end(),
                   [](const LoadLevel& a, const LoadLevel& b) { return a.load_ratio < b.load_ratio; });
  const double load = static_cast<double>(sample.queued + sample.busy) / static_cast<double>(sample.buffer_length);
  const long growth_space = static_cast<long>(sample.max) - static_cast<long>(sample.min);
  long desired = static_cast<long>(sample.min);
  for (std::size_t i = levels.size(); i-- > 0;) {
    if (load >= levels[i].load_ratio) {
      desired += static_cast<long>(levels[i].growth_ratio * static_cast<double>(growth_space));
      break;
    }
  }
  if (max_changes == nullptr) return desired;
  const long diff = desired - static_cast<long>(sample.live);
  return static_cast<long>(sample.live) + std::clamp<long>(diff, -*max_changes, *max_changes);
}

}  // namespace

TEST_CASE("AgileSize: levels in any order, and which are none", "[exec][desired_size]") {
  const auto size = [](const Levels& levels, std::size_t tasks) {
    return desired_size(AgileSize{levels}, loaded(0, 100, tasks));
  };
  const Levels sorted{{0, 0}, {0.5, 0.5}, {1, 1}};
  const Levels backwards{{1, 1}, {0.5, 0.5}, {0, 0}};
  const Levels mixed{{1, 1}, {0.5, 0.5}, {0.1, 0.1}, {0.8, 0.8}, {0, 0}};
  const Levels mixed_sorted{{0, 0}, {0.1, 0.1}, {0.5, 0.5}, {0.8, 0.8}, {1, 1}};
  for (std::size_t tasks = 0; tasks <= 150; ++tasks) {
    CHECK(size({}, tasks) == size(published(), tasks));
    CHECK(size(backwards, tasks) == size(sorted, tasks));
    CHECK(size(mixed, tasks) == size(mixed_sorted, tasks));
  }
  CHECK(size(mixed, 49) == 10);
  CHECK(size(mixed, 50) == 50);
  CHECK(size({{0.5, 0.2}, {0.5, 0.7}}, 50) == 70);  // of two, the later one
  for (const Levels& levels : {Levels{}, published(), sorted, backwards, mixed}) {
    CHECK(validate(AgileSize{levels}).ok());
    CHECK(validate(RigidSize{levels, 10}).ok());
  }

  for (const Levels& levels : {Levels{{-1, 0}, {0.5, 0.5}, {1, 1}}, Levels{{0, 0}, {0.5, 0.5}, {1, 1.5}},
                               Levels{{0, 0}, {-1, 0.5}, {1, 1.5}}, Levels{{kNan, 0}}, Levels{{0, kNan}}}) {
    CHECK_FALSE(validate(AgileSize{levels}).ok());
    CHECK_FALSE(validate(RigidSize{levels, 10}).ok());
  }
  CHECK(text_of(validate(AgileSize{{{0, 0}, {-1, 0.5}, {1, 1.5}}})) ==
        "size policy 'agile': options.levels[1].load_ratio must be in [0, 1], got -1; options.levels[2].growth_ratio "
        "must be in [0, 1], got 1.5");
}

TEST_CASE("AgileSize: the published grid", "[exec][desired_size]") {
  for (const Levels& levels : {Levels{}, published()}) {
    for (const auto& [tasks, expected] : std::vector<AgileRow>{
             {0, 5}, {5, 5}, {10, 6}, {20, 6}, {25, 7}, {40, 7}, {50, 8}, {70, 8}, {75, 10}, {100, 10}, {120, 10}}) {
      CAPTURE(tasks);
      CHECK(desired_size(AgileSize{levels}, loaded(5, 10, tasks)) == expected);
    }
  }
  for (const auto& [tasks, expected] : std::vector<AgileRow>{{0, 1},
                                                             {10, 2},
                                                             {20, 3},
                                                             {30, 4},
                                                             {40, 4},
                                                             {50, 6},
                                                             {60, 6},
                                                             {70, 8},
                                                             {80, 8},
                                                             {90, 11},
                                                             {100, 11},
                                                             {200, 11}}) {
    CAPTURE(tasks);
    CHECK(desired_size(AgileSize{custom()}, loaded(1, 11, tasks)) == expected);
  }
}

TEST_CASE("RigidSize: bad input", "[exec][desired_size]") {
  CHECK(validate(RigidSize{}).ok());
  CHECK(validate(RigidSize{published(), 0}).ok());
  CHECK(validate(RigidSize{published(), 2}).ok());
  CHECK(text_of(validate(RigidSize{{}, -1})) ==
        "size policy 'rigid': options.max_changes must be in [0, 1000000], got -1");
  CHECK(text_of(validate(RigidSize{{{0, 2}}, 1'000'001})) ==
        "size policy 'rigid': options.levels[0].growth_ratio must be in [0, 1], got 2; options.max_changes must be in "
        "[0, 1000000], got 1000001");
}

TEST_CASE("RigidSize: the published grid", "[exec][desired_size]") {
  for (const auto& [tasks, changes, expected] : std::vector<RigidRow>{{0, 0, 5},
                                                                      {5, 0, 5},
                                                                      {10, 4, 6},
                                                                      {20, 2, 6},
                                                                      {25, 2, 7},
                                                                      {40, 2, 7},
                                                                      {50, 2, 7},
                                                                      {70, 2, 7},
                                                                      {75, 5, 10},
                                                                      {100, 6, 10},
                                                                      {120, 10, 10}}) {
    CAPTURE(tasks);
    CHECK(desired_size(RigidSize{published(), changes}, loaded(5, 10, tasks)) == expected);
  }
  for (const auto& [tasks, changes, expected] : std::vector<RigidRow>{{0, 0, 1},
                                                                      {10, 0, 1},
                                                                      {20, 1, 2},
                                                                      {30, 3, 4},
                                                                      {40, 0, 1},
                                                                      {50, 4, 5},
                                                                      {60, 5, 6},
                                                                      {70, 8, 8},
                                                                      {80, 10, 8},
                                                                      {90, 10, 11},
                                                                      {100, 12, 11},
                                                                      {200, 0, 1}}) {
    CAPTURE(tasks);
    CHECK(desired_size(RigidSize{custom(), changes}, loaded(1, 11, tasks)) == expected);
  }
}

TEST_CASE("RigidSize: the published table of steps", "[exec][desired_size]") {
  struct Row {
    std::size_t wanted, live;
    int changes;
    std::size_t expected;
  };
  for (const auto& [wanted, live, changes, expected] : std::vector<Row>{
           {1, 1, 0, 1}, {1, 1, 2, 1}, {2, 1, 2, 2}, {4, 1, 0, 1}, {4, 1, 2, 3}, {2, 3, 2, 2}, {1, 4, 2, 2}}) {
    const double growth = static_cast<double>(wanted) / 8;
    SizeSample sample{.live = live, .min = 0, .max = 8, .buffer_length = 100};
    REQUIRE(desired_size(AgileSize{{{0, growth}}}, sample) == wanted);
    CHECK(desired_size(RigidSize{{{0, growth}}, changes}, sample) == expected);
  }
}

TEST_CASE("desired_size: what is no matter of load", "[exec][desired_size]") {
  const SizePolicy agile = AgileSize{};
  SizeSample sample = loaded(5, 10, 80);
  CHECK(sample.load() == 0.8);
  CHECK(desired_size(SizePolicy{}, sample) == 5);
  sample.live = 7;
  CHECK(desired_size(SizePolicy{}, sample) == 7);
  CHECK(desired_size(agile, sample) == 10);
  sample.buffer_length = 1;  // as published: a buffer this small says nothing
  CHECK(desired_size(agile, sample) == 7);
  sample.buffer_length = 0;
  CHECK(sample.load() == 0);
  CHECK(desired_size(agile, sample) == 7);
  sample = loaded(5, 5, 80);
  sample.live = 7;
  CHECK(desired_size(agile, sample) == 7);
  sample.max = 4;
  CHECK(desired_size(agile, sample) == 7);

  CHECK(to_string(SizePolicy{}) == "none");
  CHECK(to_string(agile) == "agile");
  CHECK(to_string(SizePolicy(RigidSize{})) == "rigid");
}

TEST_CASE("desired_size: at the ends of numbers", "[exec][desired_size]") {
  SizeSample most{.live = kMost, .busy = kMost, .queued = kMost, .min = 0, .max = kMost, .buffer_length = 2};
  CHECK(desired_size(AgileSize{}, most) == kMost);
  CHECK(desired_size(RigidSize{}, most) == kMost);
  most.live = 0;
  CHECK(desired_size(RigidSize{}, most) == 1);
  most.busy = most.queued = 0;
  most.live = kMost;
  CHECK(desired_size(AgileSize{}, most) == 0);
  CHECK(desired_size(RigidSize{}, most) == kMost - 1);
  most.busy = kMost / 2;
  most.buffer_length = kMost;
  CHECK(desired_size(AgileSize{}, most) > kMost / 2);
}

TEST_CASE("desired_size: as the package computes it, for whatever load", "[exec][desired_size]") {
  std::mt19937_64 engine(6);
  const auto number = [&](std::size_t low, std::size_t high) {
    return std::uniform_int_distribution<std::size_t>(low, high)(engine);
  };
  std::size_t differing = 0;
  for (int round = 0; round < 200'000; ++round) {
    Levels levels(number(1, 6));
    for (LoadLevel& level : levels) {
      level.load_ratio = static_cast<double>(number(0, 20)) / 20;
      level.growth_ratio = number(0, 1) == 0 ? static_cast<double>(number(0, 10)) / 10
                                             : std::uniform_real_distribution<double>(0, 1)(engine);
    }
    SizeSample sample;
    sample.min = number(0, 20);
    sample.max = sample.min + number(1, number(0, 9) == 0 ? 100'000 : 20);
    sample.live = number(0, 2 * sample.max);
    sample.busy = number(0, 100);
    sample.queued = number(0, 100);
    sample.buffer_length = number(2, 200);
    const int changes = static_cast<int>(number(0, 12));

    const long agile = published_size(levels, sample, nullptr);
    if (desired_size(AgileSize{levels}, sample) != static_cast<std::size_t>(agile)) FAIL("round " << round);
    if (agile < static_cast<long>(sample.min) || agile > static_cast<long>(sample.max)) FAIL("round " << round);
    const long rigid = published_size(levels, sample, &changes);
    if (desired_size(RigidSize{levels, changes}, sample) != static_cast<std::size_t>(rigid)) FAIL("round " << round);
    differing += agile != rigid ? 1 : 0;
  }
  CHECK(differing > 10'000);
}
