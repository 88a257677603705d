// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The idle objects of one pool that are in no thread's cache.
///
/// They come and go by the magazine, an array of them, so that the lock is taken once for 32 and who takes them touches
/// no line of the objects themselves. Single ones, which are rare, hang in a chain. Each of the two generations has
/// both: what was used since the last purge, and the victims.

#include <array>
#include <cstddef>
#include <cstdint>

#include "penstock/state/detail/object_cache.hpp"
#include "penstock/state/detail/object_slot.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

struct ObjectMagazine {
  ObjectMagazine* next = nullptr;
  std::uint32_t count = 0;
  std::array<ObjectSlot*, ObjectCache::kMagazine> slots{};
};

/// Objects on their way to their end, or anywhere else.
class ObjectChain {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  void push(ObjectSlot& slot) noexcept {
    slot.next = first_;
    first_ = &slot;
    ++size_;
  }
  ObjectSlot* pop() noexcept {
    ObjectSlot* const slot = first_;
    if (slot != nullptr) {
      first_ = slot->next;
      --size_;
    }
    return slot;
  }

 private:
  ObjectSlot* first_ = nullptr;
  std::size_t size_ = 0;
};

/// Threads: guarded by its core's mutex.
class ObjectDepot {
 public:
  enum Generation : std::uint8_t { kFresh, kVictims };

  explicit ObjectDepot(bool weighs) noexcept : weighs_(weighs) {}
  ObjectDepot(const ObjectDepot&) = delete;
  ObjectDepot& operator=(const ObjectDepot&) = delete;
  ~ObjectDepot();

  [[nodiscard]] std::size_t size() const noexcept { return parts_[kFresh].size + parts_[kVictims].size; }
  [[nodiscard]] std::size_t size(Generation generation) const noexcept { return parts_[generation].size; }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }  ///< if objects are weighed

  [[nodiscard]] bool has_empty() const noexcept { return empties_ != nullptr; }
  void add_empty(ObjectMagazine& magazine) noexcept {
    magazine.next = empties_;
    empties_ = &magazine;
  }

  /// Takes one in. Cost: O(1).
  void put(ObjectSlot& slot, Generation generation) noexcept;
  /// Takes in `count`, at most a magazine. Cost: O(count).
  void put(ObjectSlot* const* slots, std::uint32_t count, Generation generation) noexcept;

  /// The one put last, or null; fresh ones first.
  ObjectSlot* take(Generation& generation) noexcept;
  ObjectSlot* take_from(Generation generation) noexcept;
  /// At most a magazine, into `slots`; fresh ones first, and all of one generation.
  std::uint32_t take(ObjectSlot** slots, Generation& generation) noexcept;

  /// What was fresh become victims.
  void age() noexcept;

 private:
  struct Part {
    ObjectMagazine* magazines = nullptr;
    ObjectMagazine* last = nullptr;
    ObjectChain loose;
    std::size_t size = 0;
  };

  void count_in(Part& part, const ObjectSlot& slot) noexcept {
    ++part.size;
    if (weighs_) bytes_ += slot.weight;
  }
  void count_out(Part& part, const ObjectSlot& slot) noexcept {
    --part.size;
    if (weighs_) bytes_ -= slot.weight;
  }
  static void push(Part& part, ObjectMagazine& magazine) noexcept;
  void retire_first(Part& part) noexcept;

  const bool weighs_;
  Part parts_[2];
  ObjectMagazine* empties_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
