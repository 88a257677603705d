// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Heaps whose elements know their places, so that any of them can be taken out or get another key. They have four
/// children each and so half the height of binary ones: with many elements, each level is what the caches miss.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "large_pages.hpp"
#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// No ticket, model, class, or place.
inline constexpr std::uint32_t kNoIndex = 0xffff'ffff;

inline constexpr std::size_t kHeapArity = 4;

template <class Key>
struct HeapEntry {
  Key key{};
  std::uint32_t item = kNoIndex;
};

/// Moves the entry at `at` of a heap to where it belongs. `place(item)` is where an item's place is kept.
template <class Key, class Place>
void sift(std::span<HeapEntry<Key>> heap, std::size_t at, Place&& place) noexcept {
  const HeapEntry<Key> moved = heap[at];
  const auto put = [&](const HeapEntry<Key>& entry, std::size_t to) {
    heap[to] = entry;
    place(entry.item) = static_cast<std::uint32_t>(to);
  };
  while (at != 0 && moved.key < heap[(at - 1) / kHeapArity].key) {
    put(heap[(at - 1) / kHeapArity], at);
    at = (at - 1) / kHeapArity;
  }
  for (std::size_t child = kHeapArity * at + 1; child < heap.size(); child = kHeapArity * at + 1) {
    const std::size_t end = std::min(child + kHeapArity, heap.size());
    std::size_t least = child;
    while (++child != end) {
      if (heap[child].key < heap[least].key) least = child;
    }
    if (!(heap[least].key < moved.key)) break;
    put(heap[least], at);
    at = least;
  }
  put(moved, at);
}

/// Many heaps in one piece of memory: each item has one heap that it may be in, and a heap has room for all of its
/// items. So nothing but the constructor allocates.
///
/// Threads: none of its own. Cost: `put` and `erase` O(log of that heap), `first` O(1).
template <class Key>
class HeapForest {
 public:
  HeapForest() = default;
  /// `home[item]` is the heap of `item`, below `heaps`.
  HeapForest(std::size_t heaps, std::vector<std::uint32_t> home)
      : home_(std::move(home)), entries_(home_.size()), heaps_(heaps) {
    places_.assign(home_.size(), kNoIndex);  // here: g++ 12 misreads its cleanup among the members
    for (const std::uint32_t heap : home_) ++heaps_[heap].begin;
    std::uint32_t end = 0;
    for (Heap& heap : heaps_) {
      const std::uint32_t room = heap.begin;
      heap.begin = end;
      end += room;
    }
  }

  /// Whether there are any items for it.
  [[nodiscard]] bool has_room() const noexcept { return !places_.empty(); }
  [[nodiscard]] bool contains(std::uint32_t item) const noexcept { return places_[item] != kNoIndex; }
  [[nodiscard]] bool empty(std::uint32_t heap) const noexcept { return heaps_[heap].size == 0; }
  /// The entry with the smallest key; the heap must not be empty.
  [[nodiscard]] const HeapEntry<Key>& first(std::uint32_t heap) const noexcept { return entries_[heaps_[heap].begin]; }
  /// All of a heap, in no order but that the first comes first.
  [[nodiscard]] std::span<const HeapEntry<Key>> all(std::uint32_t heap) const noexcept {
    return std::span(entries_).subspan(heaps_[heap].begin, heaps_[heap].size);
  }
  /// The first entry found with a key of at most `last` for which `is_it(entry)`, or null; in no order, but only those
  /// with such keys are looked at, and their children.
  template <class IsIt>
  [[nodiscard]] const HeapEntry<Key>* find_up_to(std::uint32_t heap, const Key& last, IsIt&& is_it) const {
    const std::span<const HeapEntry<Key>> all = this->all(heap);
    for (std::size_t at = 0;;) {
      if (at < all.size() && !(last < all[at].key)) {
        if (is_it(all[at])) return &all[at];
        at = kHeapArity * at + 1;
        continue;
      }
      // The places of last children, and of the root, are multiples: up, until there is a sibling to the right.
      while (at % kHeapArity == 0) {
        if (at == 0) return nullptr;
        at = at / kHeapArity - 1;
      }
      ++at;
    }
  }
  /// Of an item that is in.
  [[nodiscard]] const HeapEntry<Key>& entry(std::uint32_t item) const noexcept {
    return entries_[heaps_[home_[item]].begin + places_[item]];
  }
  [[nodiscard]] const Key& key(std::uint32_t item) const noexcept { return entry(item).key; }

  /// Puts `item` into its heap, or gives it another key.
  void put(std::uint32_t item, const Key& key) noexcept {
    Heap& heap = heaps_[home_[item]];
    if (places_[item] == kNoIndex) places_[item] = heap.size++;
    entries_[heap.begin + places_[item]] = {.key = key, .item = item};
    settle(heap, places_[item]);
  }

  /// Takes out `item`, if it is in.
  void erase(std::uint32_t item) noexcept {
    const std::uint32_t at = places_[item];
    if (at == kNoIndex) return;
    places_[item] = kNoIndex;
    Heap& heap = heaps_[home_[item]];
    if (at == --heap.size) return;
    entries_[heap.begin + at] = entries_[heap.begin + heap.size];
    settle(heap, at);
  }

  [[nodiscard]] std::size_t memory_bytes() const noexcept {
    return home_.size() * (sizeof(entries_[0]) + 2 * sizeof(std::uint32_t)) + heaps_.size() * sizeof(Heap);
  }

 private:
  struct Heap {
    std::uint32_t begin = 0;
    std::uint32_t size = 0;
  };

  void settle(const Heap& heap, std::uint32_t at) noexcept {
    sift(std::span(entries_).subspan(heap.begin, heap.size), at,
         [this](std::uint32_t item) -> std::uint32_t& { return places_[item]; });
  }

  std::vector<std::uint32_t> home_;
  std::vector<HeapEntry<Key>, LargePages<HeapEntry<Key>>> entries_;
  std::vector<std::uint32_t> places_;
  std::vector<Heap> heaps_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
