// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Memory for things that one thread makes and another one ends, by the million: jobs, and the frames of tasks.
///
/// An ordinary allocator gives a block back to the thread that it came from, under a lock of that thread's; here that
/// costs more than the job. So each thread keeps freed blocks in two magazines for each size, and exchanges whole
/// magazines with a depot that all threads share: the lock of the depot is taken once for each kMagazine blocks
/// (Bonwick and Adams, "Magazines and Vmem", 2001).
///
/// Memory: at most 2 * kMagazine blocks of each size for a thread, 144 KiB, and kDepot magazines of each size for all
/// of them, 18 MiB; what is more goes back to the system. A thread that ends gives its magazines to the depot.
///
/// Under AddressSanitizer and ThreadSanitizer, and under the model checker, each block is allocated and freed by
/// itself, so that they see every use after the end.

#include <cstddef>

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// The sizes are the multiples of this, and blocks are aligned to it: a line of the cache.
inline constexpr std::size_t kBlockStep = 64;
/// What is larger comes from the system each time.
inline constexpr std::size_t kLargestBlock = 8 * kBlockStep;

/// Throws: std::bad_alloc. Cost: about 4 ns, without a lock, nearly always.
[[nodiscard]] void* allocate_block(std::size_t bytes);

/// Takes back what `allocate_block(bytes)` gave, to any thread.
void free_block(void* block, std::size_t bytes) noexcept;

}  // namespace penstock::inline PENSTOCK_ABI::detail
