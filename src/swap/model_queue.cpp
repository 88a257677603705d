// SPDX-License-Identifier: MIT
#include "model_queue.hpp"

#include <utility>

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

// A pairing heap (Fredman, Sedgewick, Sleator and Tarjan, 1986) of numbers instead of pointers, so that it can be
// copied with its tickets. `previous` is the elder sibling, or the parent of the eldest.

std::uint32_t meld(TicketStore& tickets, std::uint32_t a, std::uint32_t b) noexcept {
  if (a == kNoIndex) return b;
  if (b == kNoIndex) return a;
  if (tickets[b].key < tickets[a].key) std::swap(a, b);
  Ticket& parent = tickets[a];
  tickets[b].line.next = parent.child;
  tickets[b].line.previous = a;
  if (parent.child != kNoIndex) tickets[parent.child].line.previous = b;
  parent.child = b;
  return a;
}

std::uint32_t meld_siblings(TicketStore& tickets, std::uint32_t first) noexcept {
  // The two passes that give the heap its bound: pairs from left to right, then the pairs from right to left.
  std::uint32_t pairs = kNoIndex;  // a stack through `next`
  while (first != kNoIndex) {
    const std::uint32_t a = first;
    const std::uint32_t b = tickets[a].line.next;
    first = b == kNoIndex ? kNoIndex : tickets[b].line.next;
    tickets[a].line.next = tickets[a].line.previous = kNoIndex;
    if (b != kNoIndex) tickets[b].line.next = tickets[b].line.previous = kNoIndex;
    const std::uint32_t pair = meld(tickets, a, b);
    tickets[pair].line.next = pairs;
    pairs = pair;
  }
  std::uint32_t root = kNoIndex;
  while (pairs != kNoIndex) {
    const std::uint32_t pair = pairs;
    pairs = tickets[pair].line.next;
    tickets[pair].line.next = kNoIndex;
    root = meld(tickets, root, pair);
  }
  return root;
}

}  // namespace

std::uint32_t ModelQueue::first(const TicketStore& tickets) const noexcept {
  if (root_ == kNoIndex) return list_.first();
  if (list_.empty()) return root_;
  return tickets[root_].key < tickets[list_.first()].key ? root_ : list_.first();
}

std::uint32_t ModelQueue::first_at_or_behind(const TicketStore& tickets, const OrderKey& key) const noexcept {
  std::uint32_t best = list_.first();
  while (best != kNoIndex && tickets[best].key < key) best = tickets[best].line.next;
  // Through the whole heap: down to a child, else on to a sibling, else up until there is one.
  std::uint32_t at = root_;
  while (at != kNoIndex) {
    const Ticket& ticket = tickets[at];
    const bool behind = !(ticket.key < key);
    if (behind && (best == kNoIndex || ticket.key < tickets[best].key)) best = at;
    // Below one that is behind, all come later than it.
    if (!behind && ticket.child != kNoIndex) {
      at = ticket.child;
      continue;
    }
    while (at != kNoIndex && tickets[at].line.next == kNoIndex) {
      // Back to the eldest sibling, and from it to the parent.
      while (tickets[at].line.previous != kNoIndex && tickets[tickets[at].line.previous].child != at)
        at = tickets[at].line.previous;
      at = tickets[at].line.previous;
    }
    if (at != kNoIndex) at = tickets[at].line.next;
  }
  return best;
}

void ModelQueue::push(TicketStore& tickets, std::uint32_t at) noexcept {
  Ticket& ticket = tickets[at];
  ticket.out_of_order = !list_.empty() && ticket.key < tickets[list_.last()].key;
  if (!ticket.out_of_order) {
    list_.push_back(tickets, at);
    return;
  }
  ticket.line.next = ticket.line.previous = ticket.child = kNoIndex;
  root_ = meld(tickets, root_, at);
  ++others_;
}

void ModelQueue::erase(TicketStore& tickets, std::uint32_t at) noexcept {
  Ticket& ticket = tickets[at];
  if (!ticket.out_of_order) {
    list_.erase(tickets, at);
    return;
  }
  const std::uint32_t orphans = meld_siblings(tickets, ticket.child);
  if (at == root_) {
    root_ = orphans;
  } else {
    Ticket& before = tickets[ticket.line.previous];
    (before.child == at ? before.child : before.line.next) = ticket.line.next;
    if (ticket.line.next != kNoIndex) tickets[ticket.line.next].line.previous = ticket.line.previous;
    root_ = meld(tickets, root_, orphans);
  }
  ticket.line.next = ticket.line.previous = ticket.child = kNoIndex;
  ticket.out_of_order = false;
  --others_;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
