// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How many threads a pool has: whether some have been left behind.

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>

namespace penstock::testing {

/// The threads of this process that are named after `pool`, as the system counts them. One that has been joined may be
/// seen for a moment longer, and one that has been started has no name at first.
inline std::size_t threads_of(const std::string& pool) {
  std::size_t count = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "comm");
    std::string name;
    if (std::getline(file, name) && name.compare(0, pool.size() + 1, pool + "/") == 0) ++count;
  }
  return count;
}

}  // namespace penstock::testing
