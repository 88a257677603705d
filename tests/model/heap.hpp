// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// operator new and delete within an execution.
///
/// Each thread allocates upwards from the bottom of its own heap and nothing is used again before the execution ends,
/// so a freed block stays recognizable: its bytes are marked in the shadow memory, and freeing it again is seen. What
/// is alive at the end is a leak. Between blocks lie headers, which nobody may touch.

#include <cstddef>
#include <cstdint>
#include <new>
#include <string>

#include "model/region.hpp"

namespace penstock::checker {

class Heap {
 public:
  /// Forgets all blocks. The allocation with number `fail_at`, from 1, will fail; 0: none.
  void start(std::uint64_t fail_at);

  /// For code under test, on behalf of `thread`. Returns null if this is the one that has to fail.
  void* allocate(std::uint32_t thread, std::size_t size, std::size_t alignment);
  /// For what the language allocates without operator new (exceptions, thread-local values): never fails on purpose.
  void* allocate_quietly(std::uint32_t thread, std::size_t size, std::size_t alignment);

  /// `address` is in the region. If `checked`, earlier accesses to the block must have happened before.
  void free(std::uint32_t thread, void* address, bool checked);

  [[nodiscard]] std::size_t live_blocks() const { return live_; }
  [[nodiscard]] std::uint64_t allocations() const { return allocations_; }

  /// Ends the execution with a leak unless at most `allowed` blocks are alive.
  void check_leaks(std::size_t allowed) const;

  /// "byte 8 of a block of 64 (the 3rd that T1 allocated)", for an address in a heap.
  [[nodiscard]] std::string describe(std::uintptr_t address) const;

 private:
  struct Block;  // directly before the memory it describes

  std::uintptr_t next_[kMaxThreads] = {};
  Block* last_[kMaxThreads] = {};
  std::size_t live_ = 0;
  std::uint64_t allocations_ = 0;
  std::uint64_t fail_at_ = 0;
};

extern Heap heap;

}  // namespace penstock::checker
