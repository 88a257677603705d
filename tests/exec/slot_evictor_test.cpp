// SPDX-License-Identifier: MIT
#include "penstock/exec/slot_evictor.hpp"

#include <limits>
#include <random>
#include <vector>

#include "exec/slot_queue_support.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::number;
using testing::Number;
using testing::NumberQueue;

using Places = std::vector<std::size_t>;

TEST_CASE("plan_eviction: nobody evicts his own, and no more than is needed goes", "[exec][slot_queue]") {
  const std::vector<EvictionCandidate> two{{.owner = 1, .footprint = {100, 10}}, {.owner = 2, .footprint = {100, 10}}};
  CHECK(plan_eviction(two, 1, {100, 10}) == Places{1});
  CHECK(plan_eviction(two, 3, {0, 0}).empty());
  CHECK(plan_eviction(two, 3, {201, 1}).empty());
  CHECK(plan_eviction(two, 3, {1, 21}).empty());
  CHECK(plan_eviction(two, 3, {100, 10}) == Places{0});
  CHECK(plan_eviction({}, 3, {1, 0}).empty());
}

TEST_CASE("plan_eviction: what is busy stays", "[exec][slot_queue]") {
  std::vector<EvictionCandidate> one{{.owner = 1, .footprint = {100, 10}, .is_evictable = false}};
  CHECK(plan_eviction(one, 2, {100, 10}).empty());
  one[0].is_evictable = true;
  CHECK(plan_eviction(one, 2, {100, 10}) == Places{0});
  one.clear();
  CHECK(plan_eviction(one, 2, {100, 10}).empty());
}

TEST_CASE("plan_eviction: two go for what neither frees alone, and the third is kept", "[exec][slot_queue]") {
  const std::vector<EvictionCandidate> four{{.owner = 9, .footprint = {100, 10}},
                                            {.owner = 1, .footprint = {100, 10}},
                                            {.owner = 2, .footprint = {100, 10}},
                                            {.owner = 3, .footprint = {100, 10}}};
  CHECK(plan_eviction(four, 9, {200, 10}) == Places{1, 2});
}

TEST_CASE("plan_eviction: sums do not wrap", "[exec][slot_queue]") {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  const std::vector<EvictionCandidate> huge{{.owner = 1, .footprint = {kMost, 1}},
                                            {.owner = 1, .footprint = {kMost, 1}}};
  CHECK(plan_eviction(huge, 2, {kMost, 2}) == Places{0, 1});
  CHECK(plan_eviction(huge, 2, {kMost, 3}).empty());
}

TEST_CASE("plan_eviction: against a naive reference", "[exec][slot_queue]") {
  std::mt19937_64 random(13);  // NOLINT(cert-msc51-cpp): the same each time
  for (int i = 0; i != 20'000; ++i) {
    std::vector<EvictionCandidate> candidates(random() % 8);
    for (EvictionCandidate& each : candidates) {
      each = {.owner = random() % 3, .footprint = {random() % 5, random() % 5}, .is_evictable = random() % 4 != 0};
    }
    const std::uint64_t owner = random() % 3;
    const SlotFootprint need{random() % 10, random() % 10};
    Places expected;
    std::uint64_t cpu = 0;
    std::uint64_t memory = 0;
    for (std::size_t at = 0; at != candidates.size(); ++at) {
      if (cpu >= need.cpu && memory >= need.memory) break;
      if (candidates[at].owner == owner || !candidates[at].is_evictable) continue;
      cpu += candidates[at].footprint.cpu;
      memory += candidates[at].footprint.memory;
      expected.push_back(at);
    }
    if (cpu < need.cpu || memory < need.memory) expected.clear();
    REQUIRE(plan_eviction(candidates, owner, need) == expected);
  }
}

TEST_CASE("evict_longest_idle: the oldest of all queues first", "[exec][slot_queue]") {
  ManualClock clock;
  NumberQueue a({.name = "a", .clock = &clock});
  NumberQueue b({.name = "b", .clock = &clock});
  const auto offer = [&](NumberQueue& queue, int value) {
    REQUIRE(queue.offer(number(value)).ok());
    clock.advance(1s);
  };
  offer(a, 1);
  offer(b, 2);
  offer(b, 3);
  offer(a, 4);
  offer(b, 5);
  const auto busy = a.acquire();  // the newest of a
  const std::vector<NumberQueue*> queues{&a, &b};
  std::vector<int> evicted;
  for (const Number& slot : evict_longest_idle<Number>(queues, 3)) evicted.push_back(*slot);
  CHECK(evicted == std::vector<int>{1, 2, 3});
  CHECK(evict_longest_idle<Number>(queues, 9).size() == 1);
  CHECK(evict_longest_idle<Number>(queues, 9).empty());
  CHECK(a.stats().leased == 1);
}

}  // namespace
}  // namespace penstock
