// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A line in which each knows its place: a B+-tree whose inner nodes count what is below each child (an order-statistic
/// tree). Whoever comes last in order is appended without a search, into leaves that stay full.

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include "penstock/core/detail/check.hpp"
#include "penstock/swap/detail/node_store.hpp"
#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Who owns the elements of a `RankedQueue`, which knows them by their numbers: has the key of each, never of two the
/// same and not changed while it is in line, and remembers for the line in which leaf it is.
template <class Owner>
concept RankedElements = requires(Owner& owner, const Owner& constant, std::uint32_t element) {
  typename Owner::Key;
  { constant.key(element) } -> std::convertible_to<const typename Owner::Key&>;
  { owner.leaf(element) } -> std::same_as<std::uint32_t&>;
  { constant.leaf(element) } -> std::convertible_to<std::uint32_t>;
};

/// Elements in ascending order of their keys, each with its rank.
///
/// A copy goes with a copy of the owner. Memory: 6 bytes an element if all were appended, 12 after many changes, at
/// most some 20.
///
/// Threads: none of its own. Cost: O(log n) each: about 50 ns for an append, and for any with a thousand elements; with
/// a million, 0.3 to 0.5 us for an erase or a rank anywhere, which is what the caches miss.
template <RankedElements Owner>
class RankedQueue {
 public:
  using Key = typename Owner::Key;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

  /// Makes sure that the next `insert` needs no memory. Throws: std::bad_alloc.
  void reserve_one() {
    // One leaf, and an inner node for each level that may split, and a root above them.
    leaves_.reserve(1);
    inners_.reserve(height_ + 1);
  }

  /// Puts `element` in its place. `reserve_one` comes before each.
  void insert(Owner& owner, std::uint32_t element) noexcept {
    const Key& key = owner.key(element);
    if (size_ == 0) {
      first_ = last_ = root_ = leaves_.take();
      put(owner, first_, 0, element);
    } else {
      std::uint32_t leaf = last_;
      const Leaf& tail = leaves_[leaf];
      if (key < owner.key(tail.elements[tail.count - 1U])) leaf = leaf_for(key);
      std::size_t at = place_in(owner, leaf, key);
      if (leaves_[leaf].count == kLeafSize) {
        const std::uint32_t right = split_leaf(owner, leaf, at, key);
        // What goes to the end of the left half could as well begin the right one; it must, where that is empty.
        if (at > leaves_[leaf].count || leaves_[right].count == 0) {
          at -= leaves_[leaf].count;
          leaf = right;
        }
      }
      put(owner, leaf, at, element);
      for (Step step = parent_of(leaves_[leaf]); step.inner != kNone; step = parent_of(inners_[step.inner]))
        ++inners_[step.inner].sizes[step.at];
    }
    ++size_;
  }

  /// Takes out `element`, which is in line.
  void erase(Owner& owner, std::uint32_t element) noexcept {
    const std::uint32_t id = owner.leaf(element);
    Leaf& leaf = leaves_[id];
    const auto end = leaf.elements.begin() + leaf.count;
    const auto found = std::find(leaf.elements.begin(), end, element);
    PENSTOCK_CHECK(found != end, "an element of a ranked queue is not in the leaf that it names");
    std::copy(found + 1, end, found);
    --leaf.count;
    --size_;
    for (Step step = parent_of(leaf); step.inner != kNone; step = parent_of(inners_[step.inner]))
      --inners_[step.inner].sizes[step.at];
    if (leaf.count < kLeafSize / 4) shrink_leaf(owner, id);
  }

  /// How many come before `element`, which is in line.
  [[nodiscard]] std::size_t rank(const Owner& owner, std::uint32_t element) const noexcept {
    const std::uint32_t id = owner.leaf(element);
    const Leaf& leaf = leaves_[id];
    const auto end = leaf.elements.begin() + leaf.count;
    const auto found = std::find(leaf.elements.begin(), end, element);
    PENSTOCK_CHECK(found != end, "an element of a ranked queue is not in the leaf that it names");
    auto before = static_cast<std::size_t>(found - leaf.elements.begin());
    for (Step step = parent_of(leaf); step.inner != kNone; step = parent_of(inners_[step.inner])) {
      const Inner& inner = inners_[step.inner];
      for (std::size_t at = 0; at != step.at; ++at) before += inner.sizes[at];
    }
    return before;
  }

  /// Calls `visit(element)` for all of them in order, as long as it returns true. It must not change the line.
  template <class Visit>
  void each(Visit&& visit) const {
    for (std::uint32_t id = size_ == 0 ? kNone : first_; id != kNone; id = leaves_[id].next) {
      const Leaf& leaf = leaves_[id];
      for (std::size_t at = 0; at != leaf.count; ++at)
        if (!visit(leaf.elements[at])) return;
    }
  }

  /// The first one; it must not be empty.
  [[nodiscard]] std::uint32_t first() const noexcept { return leaves_[first_].elements[0]; }

  /// Has the memory fetched that `erase` and `rank` of `element` need first.
  void prefetch(const Owner& owner, std::uint32_t element) const noexcept {
    const auto* leaf = reinterpret_cast<const char*>(&leaves_[owner.leaf(element)]);
    __builtin_prefetch(leaf);
    __builtin_prefetch(leaf + sizeof(Leaf) / 2);
  }

  [[nodiscard]] std::size_t memory_bytes() const noexcept { return leaves_.memory_bytes() + inners_.memory_bytes(); }

 private:
  static constexpr std::uint32_t kNone = 0xffff'ffff;
  static constexpr std::size_t kLeafSize = 28;
  static constexpr std::size_t kFanout = 32;

  // No leaf and no inner node is empty, but while one of these functions runs. A root of one child is replaced by it.
  // Each node knows its place in its parent. A leaf is two lines of a cache, so that what it misses is fetched at once.
  struct alignas(64) Leaf {
    std::uint32_t parent = kNone;
    std::uint32_t previous = kNone;
    std::uint32_t next = kNone;
    std::uint16_t at = 0;
    std::uint16_t count = 0;
    std::array<std::uint32_t, kLeafSize> elements;
  };
  static_assert(sizeof(Leaf) == 128);
  struct Inner {
    std::uint32_t parent = kNone;
    std::uint16_t at = 0;
    std::uint16_t count = 0;
    bool of_leaves = false;
    std::array<std::uint32_t, kFanout> children;
    std::array<std::uint32_t, kFanout> sizes;  // elements below each child
    std::array<Key, kFanout>
        lows;  // no key below a child is less; all those below the children before it are. Not of 0.
  };
  struct Step {
    std::uint32_t inner = kNone;
    std::size_t at = 0;
  };

  template <class Node>
  [[nodiscard]] static Step parent_of(const Node& node) noexcept {
    return {.inner = node.parent, .at = node.at};
  }

  [[nodiscard]] std::uint32_t leaf_for(const Key& key) const noexcept {
    std::uint32_t id = root_;
    for (std::size_t level = height_; level != 0; --level) {
      const Inner& inner = inners_[id];
      const auto lows = inner.lows.begin();
      const auto beyond = std::upper_bound(lows + 1, lows + inner.count, key);
      id = inner.children[static_cast<std::size_t>(beyond - lows) - 1];
    }
    return id;
  }

  [[nodiscard]] std::size_t place_in(const Owner& owner, std::uint32_t id, const Key& key) const noexcept {
    const Leaf& leaf = leaves_[id];
    const auto begin = leaf.elements.begin();
    if (owner.key(leaf.elements[leaf.count - 1U]) < key) return leaf.count;
    const auto before = [&owner](std::uint32_t element, const Key& other) { return owner.key(element) < other; };
    return static_cast<std::size_t>(std::lower_bound(begin, begin + leaf.count, key, before) - begin);
  }

  void put(Owner& owner, std::uint32_t id, std::size_t at, std::uint32_t element) noexcept {
    Leaf& leaf = leaves_[id];
    const auto place = leaf.elements.begin() + static_cast<std::ptrdiff_t>(at);
    std::copy_backward(place, leaf.elements.begin() + leaf.count, leaf.elements.begin() + leaf.count + 1);
    *place = element;
    ++leaf.count;
    owner.leaf(element) = id;
  }

  // Makes room in a full leaf where `key` is to go to `at`; returns the new one behind it. At the end of the line that
  // one is empty, so that leaves that are appended to stay full.
  std::uint32_t split_leaf(Owner& owner, std::uint32_t id, std::size_t at, const Key& key) noexcept {
    const std::uint32_t right_id = leaves_.take();
    Leaf& left = leaves_[id];
    Leaf& right = leaves_[right_id];
    const bool appends = id == last_ && at == kLeafSize;
    const std::uint32_t kept = appends ? kLeafSize : kLeafSize / 2;
    for (std::size_t from = kept; from != left.count; ++from) put(owner, right_id, right.count, left.elements[from]);
    left.count = static_cast<std::uint16_t>(kept);
    right.previous = id;
    right.next = left.next;
    left.next = right_id;
    (right.next == kNone ? last_ : leaves_[right.next].previous) = right_id;
    attach(leaves_, id, right_id, appends ? key : owner.key(right.elements[0]), right.count);
    return right_id;
  }

  // Makes `right`, with `size` elements that were below `left`, the sibling behind it.
  template <class Nodes>
  void attach(Nodes& nodes, std::uint32_t left, std::uint32_t right, const Key& low, std::uint32_t size) noexcept {
    if (nodes[left].parent == kNone) {
      const std::uint32_t root = inners_.take();
      Inner& inner = inners_[root];
      inner.of_leaves = height_ == 0;
      inner.count = 1;
      inner.children[0] = left;
      inner.sizes[0] = static_cast<std::uint32_t>(size_);
      nodes[left].parent = root;
      nodes[left].at = 0;
      root_ = root;
      ++height_;
    }
    Step step = parent_of(nodes[left]);
    if (inners_[step.inner].count == kFanout) {
      const std::uint32_t beside = split_inner(step.inner, step.at);
      if (const std::size_t kept = inners_[step.inner].count; step.at >= kept)
        step = {.inner = beside, .at = step.at - kept};
    }
    Inner& parent = inners_[step.inner];
    for (std::size_t at = parent.count; at != step.at + 1; --at) move_child(parent, at - 1, parent, at);
    parent.children[step.at + 1] = right;
    parent.lows[step.at + 1] = low;
    parent.sizes[step.at] -= size;
    parent.sizes[step.at + 1] = size;
    ++parent.count;
    nodes[right].parent = step.inner;
    nodes[right].at = static_cast<std::uint16_t>(step.at + 1);
  }

  std::uint32_t split_inner(std::uint32_t id, std::size_t at) noexcept {
    const std::uint32_t right_id = inners_.take();
    Inner& left = inners_[id];
    Inner& right = inners_[right_id];
    right.of_leaves = left.of_leaves;
    // As with leaves; but it takes one along, so as not to be empty.
    const std::size_t kept = at + 1 == kFanout ? kFanout - 1 : kFanout / 2;
    std::uint32_t size = 0;
    for (std::size_t from = kept; from != left.count; ++from) {
      adopt(left, from, right_id, right.count);
      size += right.sizes[right.count++];
    }
    left.count = static_cast<std::uint16_t>(kept);
    attach(inners_, id, right_id, right.lows[0], size);
    return right_id;
  }

  void move_child(const Inner& from, std::size_t source, Inner& to, std::size_t target) noexcept {
    const std::uint32_t child = from.children[source];
    (to.of_leaves ? leaves_[child].at : inners_[child].at) = static_cast<std::uint16_t>(target);
    to.children[target] = child;
    to.sizes[target] = from.sizes[source];
    to.lows[target] = from.lows[source];
  }

  void adopt(const Inner& from, std::size_t source, std::uint32_t to_id, std::size_t target) noexcept {
    move_child(from, source, inners_[to_id], target);
    const std::uint32_t child = from.children[source];
    (from.of_leaves ? leaves_[child].parent : inners_[child].parent) = to_id;
  }

  // A leaf that is a quarter full joins a neighbour, if that leaves it some room.
  void shrink_leaf(Owner& owner, std::uint32_t id) noexcept {
    const Step step = parent_of(leaves_[id]);
    if (step.inner == kNone) {
      if (leaves_[id].count == 0) leaves_.give(id);
      return;
    }
    const Inner& parent = inners_[step.inner];
    const auto fits = [&](std::size_t at) {
      return at + 1 < parent.count && parent.sizes[at] + parent.sizes[at + 1] <= kLeafSize * 3 / 4;
    };
    std::size_t at = step.at;
    if (!fits(at)) {
      if (at == 0 || !fits(at - 1)) {
        if (leaves_[id].count == 0) drop_leaf(step, id);
        return;
      }
      --at;
    }
    const std::uint32_t left_id = parent.children[at];
    const std::uint32_t right_id = parent.children[at + 1];
    const Leaf& right = leaves_[right_id];
    for (std::size_t from = 0; from != right.count; ++from)
      put(owner, left_id, leaves_[left_id].count, right.elements[from]);
    inners_[step.inner].sizes[at] += right.count;
    drop_leaf({.inner = step.inner, .at = at + 1}, right_id);
  }

  void drop_leaf(Step step, std::uint32_t id) noexcept {
    const Leaf& leaf = leaves_[id];
    (leaf.previous == kNone ? first_ : leaves_[leaf.previous].next) = leaf.next;
    (leaf.next == kNone ? last_ : leaves_[leaf.next].previous) = leaf.previous;
    leaves_.give(id);
    drop_child(step);
  }

  // Takes a child without elements out of its parent, which then joins a neighbour if both are small.
  void drop_child(Step step) noexcept {
    Inner& inner = inners_[step.inner];
    for (std::size_t at = step.at + 1; at != inner.count; ++at) move_child(inner, at, inner, at - 1);
    --inner.count;
    const Step above = parent_of(inner);
    if (above.inner == kNone) {
      if (inner.count == 1) lower_root();
      return;
    }
    if (inner.count == 0) {
      inners_.give(step.inner);
      drop_child(above);
      return;
    }
    if (inner.count > kFanout / 4) return;
    const Inner& parent = inners_[above.inner];
    const auto fits = [&](std::size_t at) {
      return at + 1 < parent.count &&
             inners_[parent.children[at]].count + inners_[parent.children[at + 1]].count <= kFanout * 3 / 4;
    };
    std::size_t at = above.at;
    if (!fits(at)) {
      if (at == 0 || !fits(at - 1)) return;
      --at;
    }
    const std::uint32_t left_id = parent.children[at];
    const std::uint32_t right_id = parent.children[at + 1];
    Inner& left = inners_[left_id];
    Inner& right = inners_[right_id];
    right.lows[0] = parent.lows[at + 1];
    for (std::size_t from = 0; from != right.count; ++from) adopt(right, from, left_id, left.count++);
    inners_[above.inner].sizes[at] += parent.sizes[at + 1];
    inners_.give(right_id);
    drop_child({.inner = above.inner, .at = at + 1});
  }

  void lower_root() noexcept {
    while (height_ != 0 && inners_[root_].count == 1) {
      const std::uint32_t child = inners_[root_].children[0];
      inners_.give(root_);
      root_ = child;
      --height_;
      (height_ == 0 ? leaves_[child].parent : inners_[child].parent) = kNone;
    }
  }

  NodeStore<Leaf> leaves_;
  NodeStore<Inner> inners_;
  std::size_t size_ = 0;
  std::size_t height_ = 0;  // inner nodes from the root to a leaf
  std::uint32_t root_ = kNone;
  std::uint32_t first_ = kNone;
  std::uint32_t last_ = kNone;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
