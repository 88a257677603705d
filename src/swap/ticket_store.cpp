// SPDX-License-Identifier: MIT
#include "ticket_store.hpp"

#include <algorithm>
#include <new>

namespace penstock::inline PENSTOCK_ABI::detail {

TicketStore::TicketStore(const TicketStore& other) : size_(other.size_), free_(other.free_) {
  chunks_.reserve(other.chunks_.size());
  for (const auto& chunk : other.chunks_) {
    chunks_.push_back(std::make_unique<Ticket[]>(kChunk));
    std::copy_n(chunk.get(), kChunk, chunks_.back().get());
  }
}

void TicketStore::reserve_one() {
  if (free_ != kNoIndex || size_ < chunks_.size() * kChunk) return;
  if (size_ > kNoIndex - kChunk) throw std::bad_alloc();  // numbers have 32 bits
  chunks_.reserve(chunks_.size() + 1);
  chunks_.push_back(std::make_unique<Ticket[]>(kChunk));
}

std::uint32_t TicketStore::take() noexcept {
  if (free_ == kNoIndex) return size_++;
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
