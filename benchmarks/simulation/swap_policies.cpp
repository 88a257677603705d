// SPDX-License-Identifier: MIT
// swap_policies [--seeds=N] [--json=FILE]: simulates a swap scheduler's policies, and prints what came of it; the same
// each time.

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "swap.hpp"

namespace {

int run(std::uint64_t seeds, const std::string& file) {
  const std::vector<simulation::SwapStudy> studies = simulation::swap_studies(seeds);
  std::fputs(simulation::as_table(studies).c_str(), stdout);
  if (file.empty()) return 0;
  std::ofstream out(file);
  out << simulation::as_json(studies, seeds);
  out.close();
  if (out) return 0;
  std::fprintf(stderr, "swap_policies: cannot write '%s'\n", file.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t seeds = 5;
  std::string file;
  for (int i = 1; i != argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--json=")) {
      file = argument.substr(7);
      continue;
    }
    const char* const end = argument.data() + argument.size();
    if (!argument.starts_with("--seeds=") || std::from_chars(argument.data() + 8, end, seeds).ptr != end || seeds < 1) {
      std::fprintf(stderr, "usage: swap_policies [--seeds=N] [--json=FILE]\n");
      return 64;
    }
  }
  try {
    return run(seeds, file);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "swap_policies: %s\n", error.what());
    return 1;
  }
}
