// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the tests of batches have in common.

#include <cstddef>
#include <numeric>
#include <optional>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/core/task.hpp"
#include "support/catch.hpp"

namespace penstock {

// In the namespace of what it compares, where the lookup of the test macros finds it.
inline bool operator==(const BatchResult& left, const BatchResult& right) {
  return left.status == right.status && left.count == right.count;
}

namespace testing {

using Batch = std::optional<BatchResult>;

inline std::size_t any_capacity() { return GENERATE(as<std::size_t>(), 0, 1, 3, 64); }

inline std::vector<int> numbers(int first, int count) {
  std::vector<int> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), first);
  return values;
}

inline std::vector<MoveOnly> boxes(int first, int count) {
  std::vector<MoveOnly> values;
  for (int i = 0; i != count; ++i) values.emplace_back(first + i);
  return values;
}

inline Task<> send_all(Channel<int>& channel, std::vector<int>& values, Batch& outcome) {
  outcome = co_await channel.async_send_many(values);
}

}  // namespace testing
}  // namespace penstock
