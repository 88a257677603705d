// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Blocks of memory that are kept for the next job or frame: tests that count allocations go around them, or see to it
/// that there are some.

#include <array>
#include <cstddef>

#include "penstock/core/detail/block_cache.hpp"

namespace penstock::testing {

/// What makes a job or a coroutine that holds one too large for the blocks that are kept for the next: its memory is an
/// allocation that can be counted, and fail.
struct TooLargeToKeep {
  std::array<char, 2 * detail::kLargestBlock> bytes{};
};

/// Sees to it that the next allocations of blocks in this thread, some of each size, are of blocks that were kept.
inline void stock_blocks() {
  std::array<void*, 16> blocks{};
  for (std::size_t bytes = detail::kBlockStep; bytes <= detail::kLargestBlock; bytes += detail::kBlockStep) {
    for (void*& block : blocks) block = detail::allocate_block(bytes);
    for (void* const block : blocks) detail::free_block(block, bytes);
  }
}

}  // namespace penstock::testing
