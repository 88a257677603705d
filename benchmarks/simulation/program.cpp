// SPDX-License-Identifier: MIT
#include "program.hpp"

#include <charconv>
#include <cstdio>
#include <exception>
#include <fstream>
#include <string_view>

namespace simulation {

int run_program(int argc, char** argv, const char* name, const std::function<Report(std::uint64_t seeds)>& study) {
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
      std::fprintf(stderr, "usage: %s [--seeds=N] [--json=FILE]\n", name);
      return 64;
    }
  }
  try {
    const Report report = study(seeds);
    std::fputs(report.table.c_str(), stdout);
    if (file.empty()) return 0;
    std::ofstream out(file);
    out << report.json;
    out.close();
    if (out) return 0;
    std::fprintf(stderr, "%s: cannot write '%s'\n", name, file.c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", name, error.what());
  }
  return 1;
}

}  // namespace simulation
