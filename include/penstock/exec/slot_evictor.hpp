// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Which idle slots have to go so that something else has room: a decision from figures, and the one who carries it out
/// over several slot queues.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "penstock/core/clock.hpp"
#include "penstock/exec/slot_queue.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// What something takes up: thousandths of a processor and bytes, or whatever two numbers stand for.
struct SlotFootprint {
  std::uint64_t cpu = 0;
  std::uint64_t memory = 0;

  friend bool operator==(const SlotFootprint&, const SlotFootprint&) = default;
};

/// Something that may be evicted.
struct EvictionCandidate {
  std::uint64_t owner = 0;  ///< whose it is: nobody evicts his own
  SlotFootprint footprint;
  bool is_evictable = true;  ///< false: busy now
};

/// The first candidates, in the order given, that together free both numbers of `need` for `owner`.
///
/// Returns: their places, in order; nothing if `need` is zero, or all together are not enough. Sums do not wrap.
std::vector<std::size_t> plan_eviction(std::span<const EvictionCandidate> candidates, std::uint64_t owner,
                                       SlotFootprint need);

/// Takes up to `count` slots out of `queues`, always the one that has been idle for longest of all. Queues share a
/// clock. What is taken out is the caller's to end.
///
/// Returns: the slots, oldest first. Throws: std::bad_alloc, before anything is taken.
/// Cost: a look at each queue for each slot.
template <class T>
std::vector<T> evict_longest_idle(std::span<SlotQueue<T>* const> queues, std::size_t count) {
  std::size_t idle = 0;
  for (const SlotQueue<T>* const queue : queues) idle += queue->size();
  const std::size_t most = count < idle ? count : idle;
  std::vector<T> evicted;
  evicted.reserve(most);
  while (evicted.size() != most) {
    SlotQueue<T>* oldest = nullptr;
    TimePoint since = TimePoint::max();
    for (SlotQueue<T>* const queue : queues) {
      const std::optional<TimePoint> of_queue = queue->idle_since();
      if (!of_queue.has_value() || (oldest != nullptr && *of_queue >= since)) continue;
      oldest = queue;
      since = *of_queue;
    }
    if (oldest == nullptr) break;
    // Somebody else may have been quicker: then the next look tells.
    if (std::optional<T> slot = oldest->eject_oldest()) evicted.push_back(*std::move(slot));
  }
  return evicted;
}

}  // namespace penstock::inline PENSTOCK_ABI
