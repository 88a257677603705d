// SPDX-License-Identifier: MIT
#include "penstock/channel/channel.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <stdexcept>

#include <fmt/format.h>

#include "penstock/channel/detail/channel_core.hpp"
#include "penstock/core/detail/check.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

std::size_t checked_capacity(std::size_t capacity, std::size_t element_size) {
  constexpr std::size_t kMostSlots = std::size_t{1} << 31;
  constexpr std::size_t kMostBytes = std::numeric_limits<std::ptrdiff_t>::max();
  const std::size_t most = std::min(kMostSlots, kMostBytes / element_size);
  if (capacity > most) {
    throw std::invalid_argument(fmt::format("channel: capacity must be in [0, {}] for values of {} bytes, got {}", most,
                                            element_size, capacity));
  }
  return capacity;
}

}  // namespace

ChannelCore::ChannelCore(std::size_t slots, std::size_t element_size)
    : capacity(checked_capacity(slots, element_size)) {}

bool ChannelCore::close() noexcept {
  WakeList wake;
  {
    MutexLock lock(mutex);
    ++closes;
    if (closed) return false;
    closed = true;
    while (WaitNode* const node = receivers.claim_first()) wake.push(*node);
    while (WaitNode* const node = senders.claim_first()) wake.push(*node);
  }
  wake.wake_all();
  return true;
}

void ChannelCore::leave(WaitSide& side, WaitNode& node) noexcept {
  WaitNode* waiting = nullptr;
  {
    MutexLock lock(mutex);
    side.remove(node);
    if (senders.count() + receivers.count() == 0) waiting = destroyer.claim_first();
  }
  if (waiting != nullptr) waiting->waiter->wake();
}

void ChannelCore::let_go() noexcept {
  close();
  Waiter waiter(Context::background());
  WaitNode node(waiter, nullptr);
  {
    MutexLock lock(mutex);
    if (senders.count() + receivers.count() == 0) return;
    destroyer.push(node);
  }
  waiter.wait();
}

OpStatus wait_for(ChannelOp& op, const Context& ctx) {
  if (const OpStatus ended = ctx.status(); ended != OpStatus::kOk) return ended;
  Waiter waiter(ctx);
  WaitNode node(waiter, &op);
  WaitNode* peer = nullptr;
  OpStatus status = OpStatus::kOk;
  {
    MutexLock lock(op.channel.mutex);
    status = op.attempt(peer);
    if (must_wait(status)) op.side.push(node);
  }
  if (!must_wait(status)) {
    if (peer != nullptr) peer->waiter->wake();
    return status;
  }
  const Waiter::Outcome outcome = waiter.wait();
  if (outcome >= Waiter::kServed) return op.served_status();
  op.channel.leave(op.side, node);
  return to_op_status(outcome);
}

bool CoroutineOp::list(WaitNode*& peer) noexcept {
  MutexLock lock(op_.channel.mutex);
  status_ = op_.attempt(peer);
  if (!must_wait(status_)) return false;
  listed_ = true;
  op_.side.push(wait_->node());
  return true;
}

OpStatus CoroutineOp::finish_wait() noexcept {
  listed_ = false;
  const Waiter::Outcome outcome = wait_->resume();
  if (outcome >= Waiter::kServed) return op_.served_status();
  op_.channel.leave(op_.side, wait_->node());
  return to_op_status(outcome);
}

void CoroutineOp::abandon() noexcept {
  const bool called_off = wait_->abandon();
  PENSTOCK_CHECK(called_off,
                 "a coroutine was destroyed while it waited for a channel, after the operation had ended "
                 "and the coroutine had been posted to its executor");
  op_.channel.leave(op_.side, wait_->node());
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
