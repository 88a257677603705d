// SPDX-License-Identifier: MIT
#include "penstock/swap/swap_scheduler.hpp"
#include "support/swap_machine.hpp"
#include "swap_workloads.hpp"

int main(int argc, char** argv) {
  return versus::run_program(argc, argv, versus::swap_workloads<bench::SwapMachine<penstock::SwapScheduler>>());
}
