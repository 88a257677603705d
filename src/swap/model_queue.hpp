// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Requests in line, linked through their tickets: those who joined a swap, and those who wait for one model.

#include <cstddef>
#include <cstdint>

#include "ticket_store.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// First come, first served; linked through `(tickets.*links)(at)`.
///
/// Threads: none of its own. Cost: O(1).
template <TicketLinks& (TicketStore::*links)(std::uint32_t) noexcept>
class LinkedTickets {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == kNoIndex; }
  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }
  [[nodiscard]] std::uint32_t first() const noexcept { return first_; }
  [[nodiscard]] std::uint32_t last() const noexcept { return last_; }

  void push_back(TicketStore& tickets, std::uint32_t at) noexcept { insert(tickets, at, kNoIndex); }

  /// Before `next`, which is in the list; `kNoIndex`: at its end.
  void insert(TicketStore& tickets, std::uint32_t at, std::uint32_t next) noexcept {
    TicketLinks& place = (tickets.*links)(at);
    place.next = next;
    std::uint32_t& back = next == kNoIndex ? last_ : (tickets.*links)(next).previous;
    place.previous = back;
    back = at;
    (place.previous == kNoIndex ? first_ : (tickets.*links)(place.previous).next) = at;
    ++size_;
  }

  void erase(TicketStore& tickets, std::uint32_t at) noexcept {
    TicketLinks& place = (tickets.*links)(at);
    (place.previous == kNoIndex ? first_ : (tickets.*links)(place.previous).next) = place.next;
    (place.next == kNoIndex ? last_ : (tickets.*links)(place.next).previous) = place.previous;
    place = {};
    --size_;
  }

 private:
  std::uint32_t first_ = kNoIndex;
  std::uint32_t last_ = kNoIndex;
  std::uint32_t size_ = 0;
};

using TicketList = LinkedTickets<&TicketStore::line>;
using TicketsByAge = LinkedTickets<&TicketStore::age>;

/// In the order of their keys. Who comes in order is put to the end of a list; the others, which only priorities,
/// deadlines, shares and requests that go back bring about, are in a pairing heap.
///
/// Threads: none of its own. Cost: O(1) in order, else O(log n) amortised, but for `first_at_or_behind`.
class ModelQueue {
 public:
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] std::uint32_t size() const noexcept { return list_.size() + others_; }
  /// The one with the smallest key, or `kNoIndex`.
  [[nodiscard]] std::uint32_t first(const TicketStore& tickets) const noexcept;
  /// The one with the smallest key that is not below `key`, or `kNoIndex`. Cost: O(n).
  [[nodiscard]] std::uint32_t first_at_or_behind(const TicketStore& tickets, const OrderKey& key) const noexcept;

  void push(TicketStore& tickets, std::uint32_t at) noexcept;
  void erase(TicketStore& tickets, std::uint32_t at) noexcept;

  /// Calls `visit(at)` for all that came in order.
  template <class Visit>
  void each_in_order(const TicketStore& tickets, Visit&& visit) const {
    for (std::uint32_t at = list_.first(); at != kNoIndex; at = tickets[at].line.next) visit(at);
  }

 private:
  TicketList list_;
  std::uint32_t root_ = kNoIndex;
  std::uint32_t others_ = 0;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
