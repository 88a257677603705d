// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Waits for what other threads are about to do, without sleeping and without guessing how long they take.

#include <chrono>
#include <thread>

namespace penstock::testing {

/// Calls `condition` until it holds. Only a failing test reaches `limit`.
///
/// Blocks:  until `condition()` is true, at most `limit`; gives the processor away in between.
/// Returns: whether it held.
template <class Condition>
[[nodiscard]] bool eventually(Condition condition, std::chrono::nanoseconds limit = std::chrono::seconds(30)) {
  const auto start = std::chrono::steady_clock::now();
  while (!condition()) {
    if (std::chrono::steady_clock::now() - start >= limit) return condition();
    std::this_thread::yield();
  }
  return true;
}

}  // namespace penstock::testing
