// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The requests that a scheduler knows: records that stay where they are, found by their numbers.

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "indexed_heap.hpp"
#include "large_pages.hpp"
#include "penstock/core/clock.hpp"
#include "penstock/swap/swap_model.hpp"
#include "penstock/swap/swap_scheduler.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// A request's place among all that wait, fixed when it comes: the smallest goes first.
struct OrderKey {
  std::int64_t major = 0;
  std::int64_t middle = 0;
  std::uint64_t sequence = 0;

  friend auto operator<=>(const OrderKey&, const OrderKey&) = default;
};

struct TicketLinks {
  std::uint32_t next = kNoIndex;
  std::uint32_t previous = kNoIndex;
};

/// What is known of a request: one line of a cache.
struct alignas(64) Ticket {
  std::uint32_t generation = 1;
  std::uint32_t model = 0;
  TicketLinks line;                 ///< in the queue of its model, or among those who joined
  std::uint32_t leaf = 0;           ///< where the line of all has it
  std::uint32_t due_at = kNoIndex;  ///< its place among the deadlines
  std::uint32_t child = kNoIndex;   ///< in the heap of its model's queue
  std::uint16_t tenant = 0;
  TicketState state = TicketState::kEnded;
  bool out_of_order : 1 = false;  ///< it is in that heap
  bool is_urgent : 1 = false;     ///< it holds a claim from its arrival on
  OrderKey key;
  TimePoint since{};  ///< when it came; once it is granted, when that was
};
static_assert(sizeof(Ticket) == 64);

/// Tickets by number. A number is used again, under another id.
///
/// Threads: none of its own. Cost: O(1); memory is kept for the next ones.
class TicketStore {
 public:
  using Key = OrderKey;

  /// With `has_ages`, each has links for another list.
  explicit TicketStore(bool has_ages) : has_ages_(has_ages) {}
  TicketStore(const TicketStore& other);
  TicketStore& operator=(const TicketStore&) = delete;

  [[nodiscard]] Ticket& operator[](std::uint32_t at) noexcept { return chunks_[at / kChunk][at % kChunk]; }
  [[nodiscard]] const Ticket& operator[](std::uint32_t at) const noexcept { return chunks_[at / kChunk][at % kChunk]; }

  [[nodiscard]] TicketLinks& line(std::uint32_t at) noexcept { return (*this)[at].line; }
  /// Among all who are queued, by arrival. Only with `has_ages`.
  [[nodiscard]] TicketLinks& age(std::uint32_t at) noexcept { return ages_[at / kChunk][at % kChunk]; }

  /// Makes sure that the next `take` needs no memory. Throws: std::bad_alloc.
  void reserve_one();
  /// `reserve_one` comes before.
  [[nodiscard]] std::uint32_t take() noexcept;
  /// Its id has ended.
  void give(std::uint32_t at) noexcept;

  [[nodiscard]] TicketId id(std::uint32_t at) const noexcept {
    return TicketId{std::uint64_t{(*this)[at].generation} << 32 | at};
  }
  /// `kNoIndex` if it has ended, or never was.
  [[nodiscard]] std::uint32_t find(TicketId id) const noexcept {
    const auto at = static_cast<std::uint32_t>(id);
    if (at >= size_ || (*this)[at].generation != static_cast<std::uint64_t>(id) >> 32) return kNoIndex;
    return (*this)[at].state == TicketState::kEnded ? kNoIndex : at;
  }

  // For the line of all that are queued.
  [[nodiscard]] const OrderKey& key(std::uint32_t at) const noexcept { return (*this)[at].key; }
  [[nodiscard]] std::uint32_t& leaf(std::uint32_t at) noexcept { return (*this)[at].leaf; }
  [[nodiscard]] std::uint32_t leaf(std::uint32_t at) const noexcept { return (*this)[at].leaf; }

  [[nodiscard]] std::size_t memory_bytes() const noexcept {
    return chunks_.size() * kChunk * sizeof(Ticket) + chunks_.capacity() * sizeof(chunks_[0]) +
           slabs_.capacity() * sizeof(slabs_[0]) + ages_.size() * kChunk * sizeof(TicketLinks) +
           ages_.capacity() * sizeof(ages_[0]);
  }

 private:
  using Slab = std::vector<Ticket, LargePages<Ticket>>;  // with room for some chunks from the beginning

  static constexpr std::size_t kChunk = 1024;
  static constexpr std::size_t kLargestSlab = LargePages<Ticket>::kPage / sizeof(Ticket);
  static_assert(kLargestSlab % kChunk == 0);

  void add_slab(std::size_t capacity);

  std::vector<Slab> slabs_;  // all but the last one are full
  std::vector<Ticket*> chunks_;
  std::vector<std::unique_ptr<TicketLinks[]>> ages_;  // as many, or none
  bool has_ages_ = false;
  std::uint32_t size_ = 0;  // those that were ever taken
  std::uint32_t free_ = kNoIndex;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
