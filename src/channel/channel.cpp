// SPDX-License-Identifier: MIT
#include "penstock/channel/channel.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <stdexcept>

#include <fmt/format.h>

#include "penstock/channel/detail/channel_core.hpp"
#include "penstock/core/detail/check.hpp"
#include "penstock/core/detail/patience.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::size_t kDenseCapacity = 8;
constexpr std::uint64_t kDenseRun = 4;

std::size_t checked_capacity(std::size_t slot_count, std::size_t slot_size, std::size_t value_size) {
  constexpr std::size_t kMostSlots = std::size_t{1} << 31;
  constexpr std::size_t kMostBytes = std::numeric_limits<std::ptrdiff_t>::max();
  const std::size_t most = std::min(kMostSlots, kMostBytes / slot_size);
  if (slot_count > most) {
    throw std::invalid_argument(fmt::format("channel: capacity must be in [0, {}] for values of {} bytes, got {}", most,
                                            value_size, slot_count));
  }
  return slot_count;
}

/// In a dense stream, who runs out of values (or places) after a run of them looks less often at first: the other side
/// then gets ahead by a batch, instead of passing the line of each slot to and fro.
bool is_dense(ChannelEnd& end) noexcept {
  const std::uint64_t passed = end.passed.load(std::memory_order_relaxed);
  const std::uint64_t run = passed - end.last_shortage.exchange(passed, std::memory_order_relaxed);
  return end.capacity >= kDenseCapacity && run >= kDenseRun;
}

template <class Wait>
OpStatus list_and_wait(ChannelOp& op, Wait& waiter) {
  WaitNode node(waiter, &op);
  const bool is_rendezvous = op.end.capacity == 0;
  bool listed = false;
  const OpStatus status = attempt_or_list(op, node, listed);
  if (!listed) return status;
  Waiter::Outcome outcome = Waiter::kPending;
  if (is_rendezvous) {  // with a buffer, the others have been given their chance before
    Patience patience;
    while (outcome == Waiter::kPending && patience.has_more()) outcome = waiter.try_wait();
    if (outcome != Waiter::kPending) patience.paid();
  }
  if (outcome == Waiter::kPending) outcome = waiter.wait();
  if (outcome >= Waiter::kServed) return op.served_status();
  op.channel.leave(op.end, node);
  return to_op_status(outcome);
}

}  // namespace

ChannelCore::ChannelCore(std::size_t slot_count, std::size_t slot_size, std::size_t value_size)
    : tx(checked_capacity(slot_count, slot_size, value_size)), rx(slot_count) {}

WaitNode* ChannelCore::claim_first(ChannelEnd& end) noexcept {
  WaitNode* const node = end.waiting.claim_first();
  if (node != nullptr) --end.count;
  if (end.waiting.empty()) peer_of(end).set_notice(kPeersWait, false);
  return node;
}

bool ChannelCore::close() noexcept {
  WakeList wake;
  {
    const BothLocks locks(*this);
    ++tx.closes;
    if (tx.has(kChannelClosed)) return false;
    tx.set_notice(kChannelClosed, true);
    rx.set_notice(kChannelClosed, true);
    while (WaitNode* const node = claim_first(rx)) wake.push(*node);
    while (WaitNode* const node = claim_first(tx)) wake.push(*node);
  }
  wake.wake_all();
  return true;
}

void ChannelCore::leave(ChannelEnd& end, WaitNode& node) noexcept {
  WaitNode* waiting = nullptr;
  {
    const BothLocks locks(*this);
    end.waiting.remove(node);
    --end.count;
    if (end.waiting.empty()) peer_of(end).set_notice(kPeersWait, false);
    if (is_quiet()) waiting = rx.destroyer.claim_first();
  }
  if (waiting != nullptr) waiting->waiter->wake();
}

void ChannelCore::enter() noexcept {
  const BothLocks locks(*this);
  ++rx.visits;
}

void ChannelCore::exit() noexcept {
  WaitNode* waiting = nullptr;
  {
    const BothLocks locks(*this);
    --rx.visits;
    if (is_quiet()) waiting = rx.destroyer.claim_first();
  }
  if (waiting != nullptr) waiting->waiter->wake();
}

void ChannelCore::let_go() noexcept {
  close();
  EndlessWaiter waiter;
  WaitNode node(waiter, nullptr);
  {
    const BothLocks locks(*this);
    PENSTOCK_CHECK(tx.reserved.load(std::memory_order_relaxed) == 0,
                   "a channel was destroyed before a permit to send on it");
    if (is_quiet()) return;
    rx.destroyer.push(node);
  }
  waiter.wait();
}

void refuse_to_reserve() {
  throw std::invalid_argument("channel: a place can be reserved only in a buffer, and the capacity is 0");
}

OpStatus attempt_or_list(ChannelOp& op, WaitNode& node, bool& listed) noexcept {
  WakeList wake;
  OpStatus status = OpStatus::kOk;
  {
    const BothLocks locks(op.channel);
    status = op.attempt(wake);
    if (must_wait(status)) {
      listed = true;
      op.channel.enlist(op.end, node);
      return status;
    }
  }
  wake.wake_all();
  return status;
}

OpStatus wait_for(ChannelOp& op, const Context& ctx) {
  if (const OpStatus ended = ctx.status(); ended != OpStatus::kOk) return ended;
  if (op.end.capacity != 0) {
    Patience patience(is_dense(op.end));
    while (patience.has_more()) {
      if (!op.looks_ready()) continue;
      const OpStatus status = op.try_now();
      if (must_wait(status)) continue;
      patience.paid();
      return status;
    }
  }
  if (!ctx.can_end()) {
    EndlessWaiter waiter;
    return list_and_wait(op, waiter);
  }
  Waiter waiter(ctx);
  return list_and_wait(op, waiter);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
