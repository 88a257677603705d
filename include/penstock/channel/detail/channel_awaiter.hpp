// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What `co_await` works with on a channel. In each awaiter the wait stands after the operation, and the operation
/// after its value, so that a coroutine that is destroyed while it is suspended leaves the channel first. `Ctx` is
/// Context, or NoContext for a wait that needs less room.

#include <coroutine>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "penstock/channel/detail/channel_batch.hpp"
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
template <class T, class Value, class Ctx>
class [[nodiscard]] SendAwaiter {
 public:
  template <class V>
  SendAwaiter(ChannelState<T>& state, V& value, Ctx ctx)
      : value_(value), op_(state, value_), wait_(op_, std::move(ctx)) {}

  bool await_ready() noexcept { return wait_.ready(op_); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    return wait_.suspend(coroutine);
  }
  OpStatus await_resume() noexcept { return wait_.finish(); }

 private:
  Value value_;
  Sending<T> op_;
  CoroutineOp<Ctx> wait_;
};

/// What the awaiters that receive have in common.
template <class T, class Ctx>
class ReceiveAwaiterBase {
 public:
  bool await_ready() noexcept { return wait_.ready(op_); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    return wait_.suspend(coroutine);
  }

 protected:
  ReceiveAwaiterBase(ChannelState<T>& state, Ctx ctx) noexcept : op_(state, value_), wait_(op_, std::move(ctx)) {}

  std::optional<T> value_;
  Receiving<T> op_;
  CoroutineOp<Ctx> wait_;
};

template <class T, class Ctx>
class [[nodiscard]] ReceiveAwaiter : public ReceiveAwaiterBase<T, Ctx> {
 public:
  ReceiveAwaiter(ChannelState<T>& state, Ctx ctx) noexcept : ReceiveAwaiterBase<T, Ctx>(state, std::move(ctx)) {}

  Received<T> await_resume() noexcept {
    const OpStatus status = this->wait_.finish();
    return {status, std::move(this->value_)};
  }
};

template <class T, class Ctx>
class [[nodiscard]] ReceiveIntoAwaiter : public ReceiveAwaiterBase<T, Ctx> {
 public:
  ReceiveIntoAwaiter(ChannelState<T>& state, T& out, Ctx ctx) noexcept
      : ReceiveAwaiterBase<T, Ctx>(state, std::move(ctx)), out_(out) {}

  OpStatus await_resume() noexcept {
    const OpStatus status = this->wait_.finish();
    if (status == OpStatus::kOk) out_ = std::move(*this->value_);
    return status;
  }

 private:
  T& out_;
};

/// `out` has the capacity for `most` more values.
template <class T, class Result, class Ctx>
class [[nodiscard]] ReceiveManyAwaiter : public ReceiveAwaiterBase<T, Ctx> {
 public:
  ReceiveManyAwaiter(ChannelState<T>& state, std::vector<T>& out, std::size_t most, Ctx ctx) noexcept
      : ReceiveAwaiterBase<T, Ctx>(state, std::move(ctx)), state_(state), out_(out), most_(most) {}

  bool await_ready() noexcept {
    if (most_ == 0) return this->wait_.ready(OpStatus::kOk);
    return ReceiveAwaiterBase<T, Ctx>::await_ready();
  }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    visit_.emplace(state_);
    return ReceiveAwaiterBase<T, Ctx>::await_suspend(coroutine);
  }
  Result await_resume() noexcept {
    const std::size_t before = out_.size();
    const OpStatus status = this->wait_.finish();
    if (this->value_.has_value()) {
      out_.push_back(std::move(*this->value_));
      (void)try_take_many(state_, out_, most_ - 1);
    }
    visit_.reset();
    return {status, out_.size() - before};
  }

 private:
  ChannelState<T>& state_;
  std::vector<T>& out_;
  const std::size_t most_;
  std::optional<Visit> visit_;
};

template <class T, class Result, class Ctx>
class [[nodiscard]] ReserveAwaiter {
 public:
  ReserveAwaiter(ChannelState<T>& state, Ctx ctx) noexcept
      : op_(state), unused_(state, op_), wait_(op_, std::move(ctx)) {}

  bool await_ready() noexcept { return wait_.ready(op_); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    return wait_.suspend(coroutine);
  }
  Result await_resume() noexcept {
    const OpStatus status = wait_.finish();
    unused_.taken = true;
    return {status, decltype(Result::permit)(status == OpStatus::kOk ? &unused_.state : nullptr)};
  }

 private:
  /// Gives the place back when the coroutine is destroyed after it was reserved, and before it got it. Goes after the
  /// wait, which decides that.
  struct Unused {
    Unused(ChannelState<T>& channel, const Reserving<T>& op) noexcept : state(channel), reserving(op) {}
    Unused(const Unused&) = delete;
    Unused& operator=(const Unused&) = delete;
    ~Unused() {
      if (!taken && reserving.moved) (void)state.release_place(nullptr);
    }

    ChannelState<T>& state;
    const Reserving<T>& reserving;
    bool taken = false;
  };

  Reserving<T> op_;
  Unused unused_;
  CoroutineOp<Ctx> wait_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
