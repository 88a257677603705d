// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The idle objects of one pool that one thread keeps for itself.
///
/// A stack. Its top is what the thread gave back last; its bottom, below `floor`, has not been touched since the last
/// purge, and is what the next purge drops:
///
///     0 ........ floor ........ count ........ limit ........ kSlots
///     |  victims   |  used since  | free places  |  not leased
///
/// The pool has so many places for idle objects in all; the cache has leased `limit` of them, so it may fill up to
/// there without asking anybody. Whatever goes wrong on the fast path (nothing above the floor, no place below the
/// limit) is one comparison, and the slow path finds out what it was.

#include <array>
#include <cstddef>
#include <cstdint>

#include "penstock/core/detail/asymmetric_lock.hpp"
#include "penstock/core/detail/cache_padded.hpp"
#include "penstock/core/detail/spin_lock.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/state/detail/object_slot.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Threads: guarded by `lock`, whose owner is the thread, unless something else is said.
struct alignas(kCachePadding) ObjectCache {
  static constexpr std::uint32_t kSlots = 64;
  static constexpr std::uint32_t kMagazine = 32;  // so many go to the depot, or come from there, at once

  using Number = world::Atomic<std::uint32_t>;

  AsymmetricLock lock;
  // Atomic only for those who look without the lock, to see whether a visit is worth it. A stale look costs a visit
  // that finds nothing, or another object.
  Number count{0};
  Number limit{0};
  std::uint32_t floor = 0;
  // Set under `life`, to null when the pool goes; read without: a thread that looks for another pool's cache here sees
  // one or the other, and both are not what it looks for.
  world::Atomic<ObjectCore*> core{nullptr};

  std::uint64_t hits_local = 0;
  std::uint64_t hits_victim = 0;
  std::uint64_t kept = 0;  // came back, and stayed here
  std::uint64_t resets = 0;
  std::uint64_t saved_bytes = 0;  // the weights of all hits, if objects are weighed

  std::array<ObjectSlot*, kSlots> slots{};

  SpinLock life;                          // of the pool, as seen from this thread
  ObjectCache* next_of_thread = nullptr;  // the thread's
  ObjectCache* next_of_pool = nullptr;    // guarded by the core's visit mutex, as the next one
  ObjectCache* previous_of_pool = nullptr;

  [[nodiscard]] std::uint32_t size() const noexcept { return count.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint32_t places() const noexcept { return limit.load(std::memory_order_relaxed); }
  void set_size(std::uint32_t size) noexcept { count.store(size, std::memory_order_relaxed); }
  void set_places(std::uint32_t places) noexcept { limit.store(places, std::memory_order_relaxed); }

  /// Forgets the `number` at the bottom.
  void drop_bottom(std::uint32_t number) noexcept {
    const std::uint32_t size = this->size();
    for (std::uint32_t i = number; i < size; ++i) slots[i - number] = slots[i];
    set_size(size - number);
    floor = floor > number ? floor - number : 0;
  }

  /// The object on top, or null if there is none that has been used since the last purge. `weighs`: as the pool does.
  [[nodiscard]] ObjectSlot* pop(bool weighs) noexcept {
    ObjectSlot* slot = nullptr;
    lock.enter();
    const std::uint32_t size = this->size();
    if (size > floor) [[likely]] {
      slot = slots[size - 1];
      set_size(size - 1);
      ++hits_local;
      if (weighs) saved_bytes += slot->weight;
    }
    lock.leave();
    return slot;
  }

  /// False if there is no place.
  [[nodiscard]] bool push(ObjectSlot& slot, std::uint64_t was_reset = 0) noexcept {
    lock.enter();
    const std::uint32_t size = this->size();
    const bool has_place = size < places();
    if (has_place) [[likely]] {
      slots[size] = &slot;
      set_size(size + 1);
      ++kept;
      resets += was_reset;
    }
    lock.leave();
    return has_place;
  }
};

/// Where a thread looks for its caches first. Pools that are alive share an index only if there are more than kIndexes.
struct ObjectCacheTable {
  static constexpr std::uint32_t kIndexes = 64;

  ObjectCache* at[kIndexes];
};
struct ObjectCacheTag {};

inline ObjectCache* quick_cache(std::uint32_t index) noexcept {
  return world::thread_local_value<ObjectCacheTag, ObjectCacheTable>().at[index];
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
