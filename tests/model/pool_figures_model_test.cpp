// SPDX-License-Identifier: MIT

// The figures that a worker publishes, under every schedule: who reads them finds them whole, whenever he does.

#include <chrono>

#include "penstock/exec/detail/pool_figures.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using penstock::detail::PairMoments;
using penstock::detail::WaitRunTally;
namespace world = penstock::detail::world;

namespace {

// The pairs are (0, 0), (1, 2), (2, 4) and so on: so the count tells the rest.
void record(WaitRunTally& tally, int from, int to) {
  for (int i = from; i != to; ++i) tally.record(Duration(i), Duration(2 * i));
}

void check_whole(const WaitRunTally& tally, double at_least, double at_most) {
  WaitRunTable table;
  PairMoments moments;
  tally.add_to(table, moments);
  const PairMoments::Values v = moments.values();
  MODEL_ASSERT(at_least <= v[0] && v[0] <= at_most);
  if (v[0] == 0) return;
  const double error = v[1] - (v[0] - 1) / 2;
  MODEL_ASSERT(-1e-9 < error && error < 1e-9);
  MODEL_ASSERT(v[2] == 2 * v[1] && v[4] == 4 * v[3] && v[5] == 2 * v[3]);
}

}  // namespace

TEST_CASE("WaitRunTally: a reader against the first records", "[model][worker_pool]") {
  checker::must_pass({.name = "tally, first records", .preemptions = 2, .executions = 5'000}, [] {
    WaitRunTally tally;
    world::Thread worker([&] { record(tally, 0, 3); });
    check_whole(tally, 0, 3);
    worker.join();
    check_whole(tally, 3, 3);
  });
}

TEST_CASE("WaitRunTally: a reader against the records around the end of a block", "[model][worker_pool]") {
  checker::must_pass({.name = "tally, end of a block", .preemptions = 1, .executions = 5'000}, [] {
    WaitRunTally tally;
    {
      const checker::Calm calm;
      record(tally, 0, 63);
    }
    world::Thread worker([&] { record(tally, 63, 66); });
    check_whole(tally, 63, 66);
    worker.join();
    check_whole(tally, 66, 66);
  });
}
