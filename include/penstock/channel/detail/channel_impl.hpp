// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The members of Channel. Included by channel.hpp.

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "penstock/channel/channel.hpp"
#include "penstock/channel/detail/channel_batch.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// The way from a channel to its state, for select.
struct detail::ChannelAccess {
  template <class T>
  static ChannelState<T>& state(Channel<T>& channel) noexcept {
    return channel.state_;
  }
  template <class End>
  static auto& channel(const End& end) noexcept {
    return *end.channel_;
  }
};

template <class T>
OpStatus Channel<T>::send(T&& value, const Context& ctx) {
  const OpStatus status = state_.try_put(value);
  if (!detail::must_wait(status)) [[likely]]
    return status;
  detail::Sending<T> sending(state_, value);
  return detail::wait_for(sending, ctx);
}

template <class T>
Received<T> Channel<T>::receive(const Context& ctx) {
  Received<T> received{OpStatus::kOk, std::nullopt};
  received.status = state_.try_take(received.value);
  if (!detail::must_wait(received.status)) [[likely]]
    return received;
  detail::Receiving<T> receiving(state_, received.value);
  received.status = detail::wait_for(receiving, ctx);
  return received;
}

template <class T>
Received<T> Channel<T>::try_receive() noexcept {
  Received<T> received{OpStatus::kOk, std::nullopt};
  received.status = state_.try_take(received.value);
  return received;
}

template <class T>
BatchResult Channel<T>::try_send_many(std::span<T> values) noexcept {
  BatchResult result{OpStatus::kOk, 0};
  result.status = detail::try_put_many(state_, values, result.count);
  return result;
}

template <class T>
BatchResult Channel<T>::send_many(std::span<T> values, const Context& ctx) {
  BatchResult result = try_send_many(values);
  if (!detail::must_wait(result.status)) return result;
  const detail::Visit visit(state_);
  while (detail::must_wait(result.status)) {
    detail::Sending<T> next(state_, values[result.count]);
    result.status = detail::wait_for(next, ctx);
    if (result.status != OpStatus::kOk) break;
    ++result.count;
    result.status = detail::try_put_many(state_, values.subspan(result.count), result.count);
  }
  return result;
}

template <class T>
Task<BatchResult> Channel<T>::async_send_many(std::span<T> values, Context ctx) {
  BatchResult result = try_send_many(values);
  if (!detail::must_wait(result.status)) co_return result;
  const detail::Visit visit(state_);
  while (detail::must_wait(result.status)) {
    result.status = co_await async_send(std::move(values[result.count]), ctx);
    if (result.status != OpStatus::kOk) break;
    ++result.count;
    result.status = detail::try_put_many(state_, values.subspan(result.count), result.count);
  }
  co_return result;
}

template <class T>
std::size_t Channel<T>::make_room(std::vector<T>& out, std::size_t most) const {
  const std::size_t count = std::min(most, std::max(capacity(), detail::kLongestBatch));
  // Twice as much at least, so that a loop that appends to one vector does not copy it each time.
  if (out.capacity() - out.size() < count) out.reserve(std::max(out.size() + count, 2 * out.capacity()));
  return count;
}

template <class T>
BatchResult Channel<T>::try_receive_many(std::vector<T>& out, std::size_t most) {
  const std::size_t before = out.size();
  const std::size_t count = make_room(out, most);
  if (count == 0) return {OpStatus::kOk, 0};
  const OpStatus status = detail::try_take_many(state_, out, count);
  return {status, out.size() - before};
}

template <class T>
BatchResult Channel<T>::receive_many(std::vector<T>& out, std::size_t most, const Context& ctx) {
  const BatchResult at_once = try_receive_many(out, most);
  if (!detail::must_wait(at_once.status)) return at_once;
  const detail::Visit visit(state_);
  const std::size_t before = out.size();
  std::optional<T> first;
  detail::Receiving<T> receiving(state_, first);
  const OpStatus status = detail::wait_for(receiving, ctx);
  if (status != OpStatus::kOk) return {status, 0};
  out.push_back(std::move(*first));
  (void)try_receive_many(out, most - 1);
  return {OpStatus::kOk, out.size() - before};
}

template <class T>
Reserved<T> Channel<T>::try_reserve() {
  const OpStatus status = detail::buffered(state_).try_reserve();
  return {status, SendPermit<T>(status == OpStatus::kOk ? &state_ : nullptr)};
}

template <class T>
Reserved<T> Channel<T>::reserve(const Context& ctx) {
  OpStatus status = detail::buffered(state_).try_reserve();
  if (detail::must_wait(status)) {
    detail::Reserving<T> reserving(state_);
    status = detail::wait_for(reserving, ctx);
  }
  return {status, SendPermit<T>(status == OpStatus::kOk ? &state_ : nullptr)};
}

template <class T>
std::vector<T> Channel<T>::close_and_drain() {
  std::vector<T> values;
  close();
  values.reserve(size());  // nothing comes in any more
  const detail::BothLocks locks(state_);
  if (capacity() == 0) return values;
  while (state_.pop([&values](T&& value) { values.push_back(std::move(value)); })) ++state_.rx.drained;
  return values;
}

template <class T>
bool Channel<T>::is_closed() const noexcept {
  const detail::BothLocks locks(state_);
  return state_.tx.closes != 0;
}

template <class T>
std::size_t Channel<T>::size() const noexcept {
  const detail::BothLocks locks(state_);
  return state_.buffered();
}

template <class T>
ChannelStats Channel<T>::stats() const noexcept {
  const detail::BothLocks locks(state_);
  ChannelStats stats;
  stats.sends = state_.tx.passed.load(std::memory_order_relaxed) + state_.tx.handed;
  stats.receives = state_.rx.passed.load(std::memory_order_relaxed) + state_.tx.handed - state_.rx.drained;
  stats.drained = state_.rx.drained;
  stats.reserved = state_.tx.reserved.load(std::memory_order_relaxed);
  stats.closes = state_.tx.closes;
  stats.blocked_senders = state_.tx.count;
  stats.blocked_receivers = state_.rx.count;
  stats.high_water = state_.tx.high_water;
  return stats;
}

}  // namespace penstock::inline PENSTOCK_ABI
