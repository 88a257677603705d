// SPDX-License-Identifier: MIT
// swap_policies [--seeds=N] [--json=FILE]: simulates a swap scheduler's policies, and prints what came of it; the same
// each time.

#include <cstdint>
#include <vector>

#include "program.hpp"
#include "swap.hpp"

namespace {

simulation::Report study(std::uint64_t seeds) {
  const std::vector<simulation::SwapStudy> studies = simulation::swap_studies(seeds);
  return {.table = simulation::as_table(studies), .json = simulation::as_json(studies, seeds)};
}

}  // namespace

int main(int argc, char** argv) { return simulation::run_program(argc, argv, "swap_policies", study); }
