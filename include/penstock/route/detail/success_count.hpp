// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The successes of a breaker that lets calls through, counted by many threads without its lock.
///
/// A breaker has several counts, one for each few threads:
///
///   shut --open(g)--> g, 0 successes --count(g)--> g, 1 success --count(g)--> ... --take()--> g, 0 successes
///     ^                                                                       --shut()--.
///     '--------------------------------------------------------------------------------'
///
/// Only the holder of the breaker's lock opens, takes and shuts. Anybody counts, by one compare-exchange, which fails
/// once the count is shut or open for another generation. So whoever has shut them all has everything that was counted
/// in his hands, and nothing is counted before he opens them again.
///
/// Why shutting one after the other mixes up nothing. A thread's success comes before its next report, since that shuts
/// the count first that the success is in. Of two successes in two counts the holder may find the second and miss the
/// first: then the first was counted after its count was shut, or looked at, and so both were reported while the holder
/// was at it. They are all alike, so it is the same as if he had found the first and missed the second.

#include <cstdint>

#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Names the thread-local number, from 1, that decides which of a breaker's counts a thread uses.
struct SuccessRowTag {};

/// Threads: `count` from any thread; the rest under the lock of the owner.
class SuccessCount {
 public:
  /// Counts a success of a permit of `generation`. Returns false if it is not open for that, or full.
  ///
  /// Cost: one compare-exchange.
  bool count(std::uint64_t generation) noexcept {
    const std::uint64_t none = generation << kCountBits;
    std::uint64_t seen = word_.load(std::memory_order_relaxed);
    while (seen - none < kFull) {
      if (word_.compare_exchange_weak(seen, seen + 1, std::memory_order_relaxed, std::memory_order_relaxed))
        return true;
    }
    return false;
  }

  [[nodiscard]] bool is_shut() const noexcept { return word_.load(std::memory_order_relaxed) == kShut; }

  /// Returns how many successes there were.
  std::uint64_t shut() noexcept {
    return is_shut() ? 0 : word_.exchange(kShut, std::memory_order_relaxed) & kCountMask;
  }

  /// For one that is shut.
  void open(std::uint64_t generation) noexcept { word_.store(generation << kCountBits, std::memory_order_relaxed); }

  /// Returns how many successes there were since it was opened or they were taken.
  std::uint64_t take() noexcept {
    const std::uint64_t seen = word_.load(std::memory_order_relaxed);
    if (seen == kShut || (seen & kCountMask) == 0) return 0;  // a line that others write is left to them
    return word_.exchange(seen & ~kCountMask, std::memory_order_relaxed) & kCountMask;
  }

 private:
  static constexpr unsigned kCountBits = 16;
  static constexpr std::uint64_t kCountMask = 0xFFFF;
  static constexpr std::uint64_t kFull = 0xFFFE;
  static constexpr std::uint64_t kShut = 0xFFFF;  // more than full, for every generation

  // A generation, without its 16 highest bits, and below it a count. It orders nothing: nobody reads anything else
  // because of what he finds here, and what a thread has counted before it takes the owner's lock the holder finds,
  // since all threads see one and the same order of changes of a word.
  //   A generation would have to end 2^48 times while a permit is out for that permit to be taken for a new one.
  world::Atomic<std::uint64_t> word_{kShut};
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
