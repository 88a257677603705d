// SPDX-License-Identifier: MIT
#include "ticket_store.hpp"

#include <algorithm>
#include <new>

namespace penstock::inline PENSTOCK_ABI::detail {

TicketStore::TicketStore(const TicketStore& other)
    : has_ages_(other.has_ages_), size_(other.size_), free_(other.free_) {
  for (const Slab& slab : other.slabs_) {
    add_slab(slab.capacity());
    slabs_.back().assign(slab.begin(), slab.end());
  }
  for (std::size_t at = 0; at != ages_.size(); ++at) std::copy_n(other.ages_[at].get(), kChunk, ages_[at].get());
}

void TicketStore::add_slab(std::size_t capacity) {
  const std::size_t chunks = chunks_.size() + capacity / kChunk;
  chunks_.reserve(chunks);
  while (has_ages_ && ages_.size() < chunks) ages_.push_back(std::make_unique<TicketLinks[]>(kChunk));
  Slab slab;
  slab.reserve(capacity);
  slabs_.push_back(std::move(slab));
  Ticket* chunk = slabs_.back().data();
  for (; chunks_.size() != chunks; chunk += kChunk) chunks_.push_back(chunk);
}

void TicketStore::reserve_one() {
  const std::size_t capacity = chunks_.size() * kChunk;
  if (free_ != kNoIndex || size_ < capacity) return;
  if (size_ > kNoIndex - kLargestSlab) throw std::bad_alloc();  // numbers have 32 bits
  add_slab(std::clamp(capacity / 2 / kChunk * kChunk, kChunk, kLargestSlab));
}

std::uint32_t TicketStore::take() noexcept {
  if (free_ == kNoIndex) {
    slabs_.back().emplace_back();
    return size_++;
  }
  const std::uint32_t at = free_;
  free_ = (*this)[at].line.next;
  return at;
}

void TicketStore::give(std::uint32_t at) noexcept {
  Ticket& ticket = (*this)[at];
  const std::uint32_t generation = ticket.generation + 1;
  ticket = Ticket();
  ticket.generation = generation;
  ticket.line.next = free_;
  // A number whose generations are used up is never taken again: no id is ever given twice.
  if (generation != 0) free_ = at;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
