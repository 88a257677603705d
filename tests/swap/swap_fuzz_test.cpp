// SPDX-License-Identifier: MIT

// The scheduler against the reference, over random worlds: every action in its order, every answer, counter, state and
// position after every event, and the laws of every scheduler on top.
//
// PENSTOCK_SWAP_EVENTS=100000000  so many events in each of the tests, from seeds that no other run has had
// PENSTOCK_LONG=1                 ten times as many as usual
// PENSTOCK_SEED=7                 the world of this seed only

#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>

#include "support/catch.hpp"
#include "support/long_run.hpp"
#include "swap/swap_hunt.hpp"

namespace penstock {
namespace {

using testing::explore;
using testing::Finding;
using testing::make_world;
using testing::shrink;
using testing::World;
using testing::WorldKind;

/// So many events of one kind of worlds, without a difference.
void hunt(WorldKind kind, std::uint64_t most) {
  std::uint64_t seed = 1;
  if (const char* const events = std::getenv("PENSTOCK_SWAP_EVENTS")) {
    most = std::stoull(events);
    seed = std::random_device()() * std::uint64_t{0x1'0000};
  } else if (testing::runs_long()) {
    most *= 10;
  }
  if (const char* const replayed = std::getenv("PENSTOCK_SEED")) {
    seed = std::stoull(replayed);
    most = 1;
  }
  const std::uint64_t first = seed;
  std::uint64_t events = 0;
  for (; events < most; ++seed) {
    const World world = make_world(kind, seed);
    Finding finding = explore<SwapScheduler>(world, events);
    if (finding.difference.empty()) continue;
    finding = shrink<SwapScheduler>(world, std::move(finding));
    FAIL("after " << events << " events: " << to_text(world, finding) << "  again: PENSTOCK_SEED=" << seed
                  << " swap_tests '" << Catch::getResultCapture().getCurrentTestName() << "'");
  }
  CHECK(events >= most);
  if (std::getenv("PENSTOCK_SWAP_EVENTS") != nullptr) {
    WARN("no difference in " << events << " events, seeds " << first << " to " << seed - 1);
  }
}

TEST_CASE("SwapScheduler: decides as the reference does, with pairwise planners", "[swap][fuzz]") {
  hunt(WorldKind::kPairwise, 500'000);
}

TEST_CASE("SwapScheduler: decides as the reference does, with planners that are asked", "[swap][fuzz]") {
  hunt(WorldKind::kGeneral, 300'000);
}

TEST_CASE("SwapScheduler: decides as the reference does, with other orders, bounds and deadlines", "[swap][fuzz]") {
  hunt(WorldKind::kPolicy, 300'000);
}

TEST_CASE("SwapScheduler: decides as the reference does, with idle models and learned times", "[swap][fuzz]") {
  hunt(WorldKind::kIdle, 200'000);
}

TEST_CASE("SwapScheduler: decides as the reference does, with claims", "[swap][fuzz]") {
  hunt(WorldKind::kClaim, 200'000);
}

TEST_CASE("SwapScheduler: decides as the reference does, with queues of thousands", "[swap][fuzz]") {
  hunt(WorldKind::kDeep, 60'000);
}

TEST_CASE("SwapScheduler: decides as the reference does, with hundreds of models", "[swap][fuzz]") {
  hunt(WorldKind::kWide, 20'000);
}

}  // namespace
}  // namespace penstock
