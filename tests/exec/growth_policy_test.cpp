// SPDX-License-Identifier: MIT
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <random>
#include <vector>

#include "penstock/exec/growth_policy.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMost = 1'000'000;
const TimePoint kStart{1h};

GrowthPolicy policy() { return {.at_once = 2, .look_every = 50us, .look_at_most = 400us, .most_at_a_look = 8}; }

GrowthSample sample(Duration at, std::size_t live, std::size_t queued, std::uint64_t progress = 0,
                    std::size_t starting = 0) {
  return {kStart + at, live, starting, queued, kMost, progress, 0};
}

TEST_CASE("GrowthMachine: a worker is made at once only up to the number of processors", "[exec][growth_policy]") {
  struct Row {
    std::size_t at_once, processors, live, starting, queued, most;
    bool makes;
  };
  const std::vector<Row> rows = {
      {0, 4, 0, 0, 1, kMost, true},  {0, 4, 3, 0, 1, kMost, true},  {0, 4, 4, 0, 1, kMost, false},
      {2, 4, 1, 0, 1, kMost, true},  {2, 4, 2, 0, 1, kMost, false},  // the policy says how many
      {0, 4, 1, 1, 1, kMost, false}, {0, 4, 1, 1, 2, kMost, true},   // one is under way for it
      {0, 4, 1, 0, 1, 1, false},     {0, 4, 1, 0, 9, 2, true},       // as many as there may be
  };
  for (const Row& row : rows) {
    GrowthPolicy policy;
    policy.at_once = row.at_once;
    const GrowthMachine machine(policy, row.processors);
    CAPTURE(row.at_once, row.live, row.starting, row.queued, row.most);
    CHECK(machine.queued({kStart, row.live, row.starting, row.queued, row.most, 0, 0}) == row.makes);
  }
}

TEST_CASE("GrowthMachine: while nothing is taken it makes 1, 2, 4 and so on, up to its limit",
          "[exec][growth_policy]") {
  GrowthMachine machine(policy(), 2);
  std::vector<std::size_t> made;
  std::size_t live = 2;
  CHECK(machine.look(sample(0us, live, 100)).create == 0);  // nothing is known yet
  for (int look = 1; look <= 6; ++look) {
    const GrowthDecision decision = machine.look(sample(look * 50us, live, 100));
    made.push_back(decision.create);
    live += decision.create;
    CHECK(decision.next == kStart + (look + 1) * 50us);
  }
  CHECK(made == std::vector<std::size_t>{1, 2, 4, 8, 8, 8});
}

TEST_CASE("GrowthMachine: it makes none while tasks are taken, and looks less often", "[exec][growth_policy]") {
  GrowthMachine machine(policy(), 2);
  TimePoint at = kStart;
  std::vector<Duration> steps;
  for (std::uint64_t progress = 1; progress <= 6; ++progress) {
    const GrowthDecision decision = machine.look({at, 2, 0, 100, kMost, progress, 0});
    CHECK(decision.create == 0);
    steps.push_back(decision.next - at);
    at = decision.next;
  }
  CHECK(steps == std::vector<Duration>{50us, 100us, 200us, 400us, 400us, 400us});
  // The first look at which nothing was taken makes one, and it is as watchful as before.
  const GrowthDecision decision = machine.look({at, 2, 0, 100, kMost, 6, 0});
  CHECK(decision == GrowthDecision{1, at + 50us});
}

TEST_CASE("GrowthMachine: progress begins the doubling anew", "[exec][growth_policy]") {
  GrowthMachine machine(policy(), 2);
  CHECK(machine.look(sample(0us, 2, 9)).create == 0);
  CHECK(machine.look(sample(50us, 2, 9)).create == 1);
  CHECK(machine.look(sample(100us, 3, 9)).create == 2);
  CHECK(machine.look(sample(150us, 5, 9, 1)).create == 0);
  CHECK(machine.look(sample(1ms, 5, 9, 1)).create == 1);
}

TEST_CASE("GrowthMachine: while workers that were made have not begun, no more are made", "[exec][growth_policy]") {
  GrowthMachine machine(policy(), 2);
  CHECK(machine.look(sample(0us, 2, 9)).create == 0);
  CHECK(machine.look(sample(50us, 2, 9)).create == 1);
  for (int look = 2; look < 50; ++look) CHECK(machine.look(sample(look * 50us, 3, 9, 0, 1)).create == 0);
  CHECK(machine.look(sample(50 * 50us, 3, 8)).create == 2);
}

TEST_CASE("GrowthMachine: while workers that were woken have not run, no more are made", "[exec][growth_policy]") {
  GrowthMachine machine(policy(), 2);
  GrowthSample waking = sample(0us, 2, 9);
  CHECK(machine.look(waking).create == 0);
  for (waking.waking = 1; waking.now < kStart + 10ms; waking.now += 50us) CHECK(machine.look(waking).create == 0);
  waking.waking = 0;
  CHECK(machine.look(waking).create == 1);
}

TEST_CASE("GrowthMachine: it makes no more than wait, and than there may be", "[exec][growth_policy]") {
  GrowthMachine machine(policy(), 2);
  CHECK(machine.look(sample(0us, 2, 1)).create == 0);
  CHECK(machine.look(sample(50us, 2, 1)).create == 1);
  CHECK(machine.look(sample(100us, 3, 1)).create == 1);  // not 2
  GrowthSample full = sample(150us, 4, 9);
  full.most = 5;
  CHECK(machine.look(full).create == 1);  // not 4
  full.now += 50us;
  full.live = 5;
  CHECK(machine.look(full) == GrowthDecision{});  // nothing would help
}

TEST_CASE("GrowthMachine: it sleeps once there has been no queue for some looks", "[exec][growth_policy]") {
  GrowthMachine machine(policy(), 2);
  CHECK(machine.look(sample(0us, 2, 0)) == GrowthDecision{});
  CHECK(machine.look(sample(10us, 2, 1)).next == kStart + 60us);
  int looks = 0;
  TimePoint at = kStart + 60us;
  for (;; ++looks) {
    const GrowthDecision decision = machine.look({at, 2, 0, 0, kMost, 1, 0});
    CHECK(decision.create == 0);
    if (decision.next == TimePoint::max()) break;
    at = decision.next;
  }
  CHECK(looks == 8);
}

TEST_CASE("GrowthMachine: a look that comes too early changes nothing", "[exec][growth_policy]") {
  GrowthMachine machine(policy(), 2);
  CHECK(machine.look(sample(0us, 2, 9)).create == 0);
  for (int i = 1; i < 50; ++i) CHECK(machine.look(sample(i * 1us, 2, 9)) == GrowthDecision{0, kStart + 50us});
  CHECK(machine.look(sample(50us, 2, 9)).create == 1);
  CHECK(machine.look(sample(-1h, 3, 9)) == GrowthDecision{0, kStart + 100us});  // a clock that steps back stands still
}

TEST_CASE("GrowthMachine: the only task of a pool without workers gets one at once", "[exec][growth_policy]") {
  GrowthMachine machine(policy(), 2);
  CHECK(machine.look(sample(0us, 0, 1)).create == 1);
}

TEST_CASE("GrowthMachine: after failures it tries again, at longer and longer intervals", "[exec][growth_policy]") {
  GrowthMachine machine(policy(), 2);
  TimePoint at = kStart;
  CHECK(machine.look({at, 0, 0, 1, kMost, 0, 0}).create == 1);
  std::vector<Duration> rests;
  for (int failure = 0; failure < 9; ++failure) {
    machine.failed(at);
    GrowthDecision decision = machine.look({at, 0, 0, 1, kMost, 0, 0});
    CHECK(decision.create == 0);
    rests.push_back(decision.next - at);
    at = decision.next;
    decision = machine.look({at, 0, 0, 1, kMost, 0, 0});
    CHECK(decision.create == 1);
  }
  CHECK(rests == std::vector<Duration>{1ms, 2ms, 4ms, 8ms, 16ms, 32ms, 64ms, 100ms, 100ms});
}

// A pool as a list: some tasks block for ever, others take a while; workers take a while to begin.
TEST_CASE("GrowthMachine: whatever the tasks do, all of them start, and soon", "[exec][growth_policy][fuzz]") {
  for (unsigned seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto below = [&random](unsigned bound) { return static_cast<unsigned>(random()) % bound; };
    const std::uint32_t blocking_percent = below(101);
    GrowthMachine machine({.at_once = 1 + below(4)}, 2);
    std::size_t queued = 1 + below(3000);
    const std::size_t all = queued;
    std::uint64_t progress = 0;
    std::vector<TimePoint> begins;  // of workers that were made
    std::vector<TimePoint> ends;    // of tasks that run and do not block
    std::size_t live = 1;
    std::size_t started = 0;
    TimePoint now = kStart;
    const auto start_one = [&](TimePoint at) {
      if (queued == 0) return;
      --queued;
      ++started;
      if (below(100) >= blocking_percent) ends.push_back(at + std::chrono::microseconds(1 + below(100)));
    };
    start_one(now);
    TimePoint look = now;
    std::size_t looks_in_vain = 0;
    while (queued != 0) {
      now += 1us;
      REQUIRE(now < kStart + 10s);
      for (std::size_t i = 0; i < begins.size();) {
        if (begins[i] > now) {
          ++i;
          continue;
        }
        begins.erase(begins.begin() + static_cast<std::ptrdiff_t>(i));
        start_one(now);
      }
      for (std::size_t i = 0; i < ends.size();) {
        if (ends[i] > now) {
          ++i;
          continue;
        }
        ends.erase(ends.begin() + static_cast<std::ptrdiff_t>(i));
        if (queued != 0) ++progress;
        start_one(now);
      }
      if (now < look || queued == 0) continue;
      const std::uint64_t before = progress;
      const GrowthDecision decision = machine.look({now, live, begins.size(), queued, kMost, progress, 0});
      REQUIRE(decision.create <= queued);
      REQUIRE((decision.create == 0 || begins.empty()));
      REQUIRE(decision.next > now);
      REQUIRE(decision.next <= now + 400us);
      looks_in_vain = decision.create == 0 && begins.empty() && before == progress ? looks_in_vain + 1 : 0;
      live += decision.create;
      for (std::size_t i = 0; i < decision.create; ++i) {
        begins.push_back(now + std::chrono::microseconds(20 + below(100)));
      }
      look = decision.next;
    }
    CHECK(started == all);
    if (blocking_percent == 100) {
      // Doubling: about log2(n) rounds, and of 1024 at a time, of a look and a start each.
      CHECK(now - kStart < (12 + 3) * 600us);
    }
    if (blocking_percent == 0) CHECK(live <= 3);
  }
}

}  // namespace
}  // namespace penstock
