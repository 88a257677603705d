// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A small number for each running thread that no other running thread has, so that a thread may own a slot of a table.
///
/// States of a thread's number:
///
///   kUnassigned --first assign--> 1..kMaxIndex --its thread-local values are destroyed--> kNone
///                            \--> kNone         (more than kMaxIndex threads at once)
///
/// A number that a thread gives back is handed to another thread later. The hand-over is a release and an acquire of
/// the same word (X1), so the new owner sees all that the old one wrote: what a number owns may be read and written
/// without read-modify-write operations, whichever threads come and go.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

using ThreadIndex = std::uint32_t;

/// A set of numbers of which each has at most one holder. The lowest free one is given first, so that few running
/// threads use few numbers, next to each other.
class IndexPool {
 public:
  static constexpr ThreadIndex kMaxIndex = 1024;
  static constexpr ThreadIndex kNone = 0xFFFF'FFFF;

  /// Returns a number in [1, kMaxIndex], or kNone if all are taken.
  ThreadIndex claim() noexcept;
  void release(ThreadIndex index) noexcept;

 private:
  static constexpr std::size_t kBits = 64;

  // A set bit is a number that is taken.
  //   X1  release in release() -> acquire in claim(): the next holder sees what the last one did.
  std::array<world::Atomic<std::uint64_t>, kMaxIndex / kBits> taken_{};
};

/// The number of a thread that has none yet.
inline constexpr ThreadIndex kUnassigned = 0;

struct ThreadIndexTag {};
struct ThreadIndexSlot {
  ThreadIndex index = kUnassigned;  // trivially destructible: may be read until the very end of the thread
};

/// The calling thread's number: one in [1, kMaxIndex] which is its own until it ends, kUnassigned, or IndexPool::kNone.
///
/// Cost: one thread-local load.
// Clang before 16 takes the address of a thread-local value for a constant within a coroutine, and may keep it in the
// frame across a suspension; resumed elsewhere, the coroutine would use the number of another thread. Out of line it
// cannot.
#if defined(__clang__) && __clang_major__ < 16
[[gnu::noinline]]
#endif
inline ThreadIndex
thread_index() noexcept {
  return world::thread_local_value<ThreadIndexTag, ThreadIndexSlot>().index;
}

/// Gives the calling thread a number if it has never had one, and returns what `thread_index()` returns from now on.
ThreadIndex assign_thread_index() noexcept;

// --- implementation ---

inline ThreadIndex IndexPool::claim() noexcept {
  for (std::size_t word = 0; word < taken_.size(); ++word) {
    std::uint64_t taken = taken_[word].load(std::memory_order_relaxed);
    while (~taken != 0) {
      const int bit = std::countr_one(taken);
      if (taken_[word].compare_exchange_weak(taken, taken | (std::uint64_t{1} << bit),
                                             std::memory_order_acquire,  // X1 acquire
                                             std::memory_order_relaxed)) {
        return static_cast<ThreadIndex>(word * kBits + static_cast<std::size_t>(bit) + 1);
      }
    }
  }
  return kNone;
}

inline void IndexPool::release(ThreadIndex index) noexcept {
  const std::size_t bit = index - 1;
  taken_[bit / kBits].fetch_and(~(std::uint64_t{1} << (bit % kBits)), std::memory_order_release);  // X1 release
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
