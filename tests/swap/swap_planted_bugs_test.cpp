// SPDX-License-Identifier: MIT

// Does the comparison see what it is for? Faults are put into one of two references, and have to be found.

#include <array>
#include <cstdint>
#include <string>

#include "support/catch.hpp"
#include "swap/swap_hunt.hpp"

namespace penstock {
namespace {

using testing::explore;
using testing::Finding;
using testing::kPlantedBugs;
using testing::make_world;
using testing::NamedBug;
using testing::PlantedBug;
using testing::ReferenceScheduler;
using testing::shrink;
using testing::World;
using testing::WorldKind;

/// The first difference within so many events.
Finding find(PlantedBug bug, std::uint64_t most, World& world) {
  std::uint64_t events = 0;
  for (std::uint64_t seed = 1; events < most; ++seed) {
    world = make_world(
        std::array{WorldKind::kPairwise, WorldKind::kGeneral, WorldKind::kPolicy, WorldKind::kClaim}[seed % 4], seed);
    Finding finding = explore<ReferenceScheduler>(world, events, bug);
    if (!finding.difference.empty()) return finding;
  }
  return {};
}

TEST_CASE("ReferenceScheduler: is what it is", "[swap][fuzz]") {
  World world;
  const Finding finding = find(PlantedBug::kNone, 30'000, world);
  INFO(to_text(world, shrink<ReferenceScheduler>(world, finding, PlantedBug::kNone)));
  CHECK(finding.difference.empty());
}

TEST_CASE("ReferenceScheduler: every planted bug is found", "[swap][fuzz]") {
  for (const NamedBug& each : kPlantedBugs) {
    INFO(each.name);
    World world;
    const Finding finding = find(each.bug, 100'000, world);
    CHECK_FALSE(finding.difference.empty());
    const Finding smaller = shrink<ReferenceScheduler>(world, finding, each.bug);
    CHECK(smaller.steps.size() <= finding.steps.size());
    CHECK(smaller.steps.size() <= 50);
  }
}

}  // namespace
}  // namespace penstock
