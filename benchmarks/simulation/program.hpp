// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the programs do that print a study.

#include <cstdint>
#include <functional>
#include <string>

namespace simulation {

/// A study, for people and for charts.py.
struct Report {
  std::string table;
  std::string json;
};

/// The main function of the program `name`: [--seeds=N] [--json=FILE], with 5 seeds unless said otherwise. Prints the
/// table of `study(seeds)`, and writes its JSON if that is wanted.
/// Returns: 0; 1 if that could not be done, which it says; 64 for arguments that it does not know.
int run_program(int argc, char** argv, const char* name, const std::function<Report(std::uint64_t seeds)>& study);

}  // namespace simulation
