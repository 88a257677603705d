// SPDX-License-Identifier: MIT
// The decision table, walked row by row, as our tests have it: no index, but no lock and no strings either.
#include "support/swap_machine.hpp"
#include "swap/reference_scheduler.hpp"
#include "swap_workloads.hpp"

int main(int argc, char** argv) {
  return versus::run_program(argc, argv,
                             versus::swap_workloads<bench::SwapMachine<penstock::testing::ReferenceScheduler>>());
}
