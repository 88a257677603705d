// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Handles to one side of a channel, as Go's `chan<-` and `<-chan`: for an interface that says who sends and who
/// receives. Included by channel.hpp.

#include <cstddef>
#include <iterator>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "penstock/channel/channel.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// Sends on a channel, and may close it; every member is that of `Channel`. A pointer in size and cost.
///
/// Threads: as the channel, which outlives it.
template <class T>
class Sender {
 public:
  explicit Sender(Channel<T>& channel) noexcept : channel_(&channel) {}

  OpStatus send(T&& value, const Context& ctx = Context::background()) const {
    return channel_->send(std::move(value), ctx);
  }
  template <detail::Copyable U = T>
  OpStatus send(const std::type_identity_t<U>& value, const Context& ctx = Context::background()) const {
    return channel_->send(value, ctx);
  }
  OpStatus try_send(T&& value) const noexcept { return channel_->try_send(std::move(value)); }
  template <detail::Copyable U = T>
  OpStatus try_send(const std::type_identity_t<U>& value) const {
    return channel_->try_send(value);
  }
  template <class... Ctx>
  auto async_send(T&& value, Ctx... ctx) const noexcept {
    return channel_->async_send(std::move(value), std::move(ctx)...);
  }
  template <detail::Copyable U = T, class... Ctx>
  auto async_send(const std::type_identity_t<U>& value, Ctx... ctx) const {
    return channel_->async_send(value, std::move(ctx)...);
  }

  BatchResult send_many(std::span<T> values, const Context& ctx = Context::background()) const {
    return channel_->send_many(values, ctx);
  }
  BatchResult try_send_many(std::span<T> values) const noexcept { return channel_->try_send_many(values); }
  Task<BatchResult> async_send_many(std::span<T> values, Context ctx = Context::background()) const {
    return channel_->async_send_many(values, std::move(ctx));
  }

  Reserved<T> reserve(const Context& ctx = Context::background()) const { return channel_->reserve(ctx); }
  Reserved<T> try_reserve() const { return channel_->try_reserve(); }
  template <class... Ctx>
  auto async_reserve(Ctx... ctx) const {
    return channel_->async_reserve(std::move(ctx)...);
  }

  bool close() const noexcept { return channel_->close(); }
  [[nodiscard]] bool is_closed() const noexcept { return channel_->is_closed(); }
  [[nodiscard]] std::size_t size() const noexcept { return channel_->size(); }
  [[nodiscard]] std::size_t capacity() const noexcept { return channel_->capacity(); }

 private:
  friend struct detail::ChannelAccess;

  Channel<T>* channel_;
};

/// Receives from a channel; every member is that of `Channel`. A pointer in size and cost.
///
/// Threads: as the channel, which outlives it.
template <class T>
class Receiver {
 public:
  explicit Receiver(Channel<T>& channel) noexcept : channel_(&channel) {}

  template <detail::Assignable U = T>
  OpStatus receive(std::type_identity_t<U>& out, const Context& ctx = Context::background()) const {
    return channel_->receive(out, ctx);
  }
  Received<T> receive(const Context& ctx = Context::background()) const { return channel_->receive(ctx); }
  template <detail::Assignable U = T>
  OpStatus try_receive(std::type_identity_t<U>& out) const noexcept {
    return channel_->try_receive(out);
  }
  Received<T> try_receive() const noexcept { return channel_->try_receive(); }
  template <detail::Assignable U = T, class... Ctx>
  auto async_receive(std::type_identity_t<U>& out, Ctx... ctx) const noexcept {
    return channel_->async_receive(out, std::move(ctx)...);
  }
  auto async_receive() const noexcept { return channel_->async_receive(); }
  auto async_receive(Context ctx) const noexcept { return channel_->async_receive(std::move(ctx)); }

  BatchResult receive_many(std::vector<T>& out, std::size_t most, const Context& ctx = Context::background()) const {
    return channel_->receive_many(out, most, ctx);
  }
  BatchResult try_receive_many(std::vector<T>& out, std::size_t most) const {
    return channel_->try_receive_many(out, most);
  }
  template <class... Ctx>
  auto async_receive_many(std::vector<T>& out, std::size_t most, Ctx... ctx) const {
    return channel_->async_receive_many(out, most, std::move(ctx)...);
  }

  auto begin() const { return channel_->begin(); }
  std::default_sentinel_t end() const noexcept { return {}; }

  [[nodiscard]] bool is_closed() const noexcept { return channel_->is_closed(); }
  [[nodiscard]] std::size_t size() const noexcept { return channel_->size(); }
  [[nodiscard]] std::size_t capacity() const noexcept { return channel_->capacity(); }

 private:
  friend struct detail::ChannelAccess;

  Channel<T>* channel_;
};

// --- implementation ---

template <class T>
Sender<T> Channel<T>::sender() noexcept {
  return Sender<T>(*this);
}

template <class T>
Receiver<T> Channel<T>::receiver() noexcept {
  return Receiver<T>(*this);
}

}  // namespace penstock::inline PENSTOCK_ABI
