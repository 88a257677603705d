// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Nodes by number, in blocks that do not move.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// A node has a `parent`, by which those that are not in use are linked, and a `count`, which is 0 when it is taken.
///
/// Threads: none of its own. Cost: O(1); memory is kept for the next ones.
template <class Node>
class NodeStore {
 public:
  /// Makes sure that the next `more` calls of `take` need no memory. Throws: std::bad_alloc.
  void reserve(std::size_t more) {
    while (spare_ < more) {
      auto id = static_cast<std::uint32_t>(blocks_.size() * kBlock);
      blocks_.emplace_back(kBlock);
      for (std::uint32_t left = kBlock; left != 0; --left) give(id++);
    }
  }
  [[nodiscard]] std::uint32_t take() noexcept {
    const std::uint32_t id = free_;
    Node& node = (*this)[id];
    free_ = node.parent;
    --spare_;
    node.parent = kNone;
    node.count = 0;
    return id;
  }
  void give(std::uint32_t id) noexcept {
    (*this)[id].parent = free_;
    free_ = id;
    ++spare_;
  }
  [[nodiscard]] Node& operator[](std::uint32_t id) noexcept { return blocks_[id / kBlock][id % kBlock]; }
  [[nodiscard]] const Node& operator[](std::uint32_t id) const noexcept { return blocks_[id / kBlock][id % kBlock]; }
  [[nodiscard]] std::size_t memory_bytes() const noexcept {
    return blocks_.size() * kBlock * sizeof(Node) + blocks_.capacity() * sizeof(blocks_[0]);
  }

 private:
  static constexpr std::uint32_t kNone = 0xffff'ffff;
  static constexpr std::uint32_t kBlock = std::bit_floor(8192 / static_cast<std::uint32_t>(sizeof(Node)));
  static_assert(kBlock != 0);

  std::vector<std::vector<Node>> blocks_;
  std::uint32_t free_ = kNone;  // the first of those not in use, each of which names the next as its parent
  std::size_t spare_ = 0;       // how many those are
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
