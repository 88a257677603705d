// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How many threads there are: whether some have been left behind.

#include <cstddef>
#include <filesystem>
#include <iterator>

namespace penstock::testing {

/// The threads of this process now. A thread that has been joined may be seen
/// for a moment longer.
inline std::size_t live_threads() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

} // namespace penstock::testing
