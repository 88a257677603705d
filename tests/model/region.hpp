// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The memory in which executions live: a heap and a stack for each thread, at the same addresses in every execution.
///
/// What a thread allocates depends on nothing but its own steps, so a schedule that is replayed meets the same
/// addresses, and two schedules that differ only in the order of independent steps do too.

#include <cstddef>
#include <cstdint>

#include "model/vector_clock.hpp"

namespace penstock::checker {

class Region {
 public:
  static constexpr std::size_t kHeapBytes = std::size_t{8} << 20;
  static constexpr std::size_t kStackBytes = std::size_t{256} << 10;  // the lowest page is a guard
  static constexpr std::size_t kBytes = kMaxThreads * (kHeapBytes + kStackBytes);

  /// Reserves the addresses; pages are committed as they are touched. Throws std::system_error.
  static void reserve();

  [[nodiscard]] static bool contains(std::uintptr_t address) { return address - base_ < kBytes; }
  [[nodiscard]] static bool is_heap(std::uintptr_t address) { return address - base_ < kMaxThreads * kHeapBytes; }
  /// Distance from the beginning, for `contains(address)`.
  [[nodiscard]] static std::size_t offset(std::uintptr_t address) { return address - base_; }

  [[nodiscard]] static std::uintptr_t heap(std::uint32_t thread) { return base_ + thread * kHeapBytes; }
  /// The highest address of the stack, where it begins.
  [[nodiscard]] static std::uintptr_t stack_top(std::uint32_t thread) {
    return base_ + kMaxThreads * kHeapBytes + (thread + 1) * kStackBytes;
  }
  /// The thread whose heap or stack `address` is in.
  [[nodiscard]] static std::uint32_t thread_of(std::uintptr_t address) {
    const std::size_t at = offset(address);
    return static_cast<std::uint32_t>(is_heap(address) ? at / kHeapBytes
                                                       : (at - kMaxThreads * kHeapBytes) / kStackBytes);
  }

 private:
  static constinit std::uintptr_t base_;
};

}  // namespace penstock::checker
