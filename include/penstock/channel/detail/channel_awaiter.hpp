// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What `co_await` works with on a channel. In each awaiter the wait stands after the operation, and the operation
/// after its value, so that a coroutine that is destroyed while it is suspended leaves the channel first.

#include <coroutine>
#include <optional>
#include <utility>

#include "penstock/channel/detail/channel_core.hpp"
#include "penstock/channel/detail/channel_state.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/op_status.hpp"

namespace penstock::inline PENSTOCK_ABI {
template <class T>
struct Received;
}

namespace penstock::inline PENSTOCK_ABI::detail {

/// `Value` is `T&`, the caller's value, or `T`, a copy of it.
template <class T, class Value>
class [[nodiscard]] SendAwaiter {
 public:
  template <class V>
  SendAwaiter(ChannelState<T>& state, V& value, Context ctx)
      : state_(state), value_(value), op_(state, value_), wait_(op_, std::move(ctx)) {}

  bool await_ready() noexcept { return wait_.ready(state_.try_put(value_)); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    return wait_.suspend(coroutine);
  }
  OpStatus await_resume() noexcept { return wait_.finish(); }

 private:
  ChannelState<T>& state_;
  Value value_;
  Sending<T> op_;
  CoroutineOp wait_;
};

template <class T>
class [[nodiscard]] ReceiveAwaiter {
 public:
  ReceiveAwaiter(ChannelState<T>& state, Context ctx) noexcept
      : state_(state), op_(state, value_), wait_(op_, std::move(ctx)) {}

  bool await_ready() noexcept { return wait_.ready(state_.try_take(value_)); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    return wait_.suspend(coroutine);
  }
  Received<T> await_resume() noexcept {
    const OpStatus status = wait_.finish();
    return {status, std::move(value_)};
  }

 private:
  ChannelState<T>& state_;
  std::optional<T> value_;
  Receiving<T> op_;
  CoroutineOp wait_;
};

template <class T>
class [[nodiscard]] ReceiveIntoAwaiter {
 public:
  ReceiveIntoAwaiter(ChannelState<T>& state, T& out, Context ctx) noexcept
      : state_(state), out_(out), op_(state, value_), wait_(op_, std::move(ctx)) {}

  bool await_ready() noexcept { return wait_.ready(state_.try_take(value_)); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    return wait_.suspend(coroutine);
  }
  OpStatus await_resume() noexcept {
    const OpStatus status = wait_.finish();
    if (status == OpStatus::kOk) out_ = std::move(*value_);
    return status;
  }

 private:
  ChannelState<T>& state_;
  T& out_;
  std::optional<T> value_;
  Receiving<T> op_;
  CoroutineOp wait_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
