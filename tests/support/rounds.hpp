// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// For tests that hunt by repetition: how often, and how threads begin a round at the same instant.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

#include "support/long_run.hpp"

namespace penstock::testing {

/// So many rounds; but where the machine has too much else to do, only those that begin within `limit`: a test that
/// proves nothing by its success hunts less there, instead of running out of time. With PENSTOCK_LONG=1 always all.
class Rounds {
 public:
  explicit Rounds(std::uint64_t most, std::chrono::nanoseconds limit = std::chrono::seconds(15)) noexcept
      : most_(most), end_(std::chrono::steady_clock::now() + limit), has_end_(!runs_long()) {}

  /// Whether there is another one.
  [[nodiscard]] bool next() noexcept {
    if (begun_ == most_) return false;
    if (has_end_ && begun_ % 16 == 15 && std::chrono::steady_clock::now() >= end_) return false;
    ++begun_;
    return true;
  }
  [[nodiscard]] std::uint64_t begun() const noexcept { return begun_; }

 private:
  const std::uint64_t most_;
  const std::chrono::steady_clock::time_point end_;
  const bool has_end_;
  std::uint64_t begun_ = 0;
};

/// Where threads wait for each other, to go on at the same instant if each has a processor.
class Meeting {
 public:
  explicit Meeting(int threads) noexcept : threads_(threads) {}

  void arrive() noexcept {
    ++arrived_;
    for (int spins = 0; arrived_.load() < threads_;) {
      if (++spins % 4096 == 0) std::this_thread::yield();  // the others may have none
    }
  }

 private:
  const int threads_;
  std::atomic<int> arrived_{0};
};

}  // namespace penstock::testing
