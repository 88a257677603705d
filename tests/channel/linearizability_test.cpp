// SPDX-License-Identifier: MIT

// Random concurrent programs on our channels: what every party saw has to have an explanation. PENSTOCK_SEED=<seed>
// runs one program over and over, PENSTOCK_LONG=1 more of them.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>

#include "channel/linearizability_ours.hpp"
#include "channel/linearizability_program.hpp"
#include "channel/linearizability_runner.hpp"
#include "support/catch.hpp"
#include "support/long_run.hpp"
#include "support/rounds.hpp"

namespace penstock {
namespace {

using namespace testing;

std::optional<std::string> run_program(Crew& crew, std::uint64_t seed) {
  const Program program = Program::from(seed, true);
  OurChannels channels(program.capacities);
  return ProgramRun<OurChannels>(channels, program, seed).run(crew);
}

TEST_CASE("Channel: every history of a random program has an explanation", "[channel][select][linearizability]") {
  Crew crew(4);
  std::uint64_t first = std::random_device()() % 1'000'000'000U * 1000U;
  std::uint64_t count = 12'000;
  if (testing::runs_long()) count = 500'000;
  const char* const replay = std::getenv("PENSTOCK_SEED");
  if (replay != nullptr) first = std::strtoull(replay, nullptr, 10);
  for (testing::Rounds rounds(count); rounds.next();) {
    const std::uint64_t seed = replay != nullptr ? first : first + rounds.begun();
    const std::optional<std::string> problem = run_program(crew, seed);
    if (problem) FAIL("PENSTOCK_SEED=" << seed << ": " << *problem);
  }
}

}  // namespace
}  // namespace penstock
