// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The cases of a select: as its core sees them, and the four kinds with their handlers.

#include <concepts>
#include <cstddef>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include "penstock/channel/channel.hpp"
#include "penstock/channel/detail/channel_core.hpp"
#include "penstock/channel/detail/channel_state.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/op_status.hpp"

namespace penstock::inline PENSTOCK_ABI {
enum class SelectOrder : unsigned char;

/// What on_receive, on_send, on_done and otherwise return. It stands in this namespace so that a plain `select(...)`
/// finds ours among its arguments' names, and not only the system's.
class SelectArgument {};
}

namespace penstock::inline PENSTOCK_ABI::detail {

/// One case. It lives until the end of the expression that selects.
class SelectCase : public SelectArgument {
 public:
  SelectCase() = default;
  SelectCase(const SelectCase&) = delete;
  SelectCase& operator=(const SelectCase&) = delete;

  /// Calls the handler, after `status` has been set and every lock been released.
  virtual void run() = 0;

  ChannelOp* op = nullptr;           ///< What it does on a channel; null for other cases and for null channels.
  const Context* context = nullptr;  ///< Whose end it waits for; null for other cases.
  bool is_otherwise = false;         ///< Taken if no other case is ready.
  std::size_t index = 0;             ///< Its place among the arguments.
  OpStatus status = OpStatus::kOk;   ///< How it went. Of a context at first: how that stood when the select began.
  std::optional<WaitNode> node;      ///< Its place on its channel's list, if the select has to wait.

 protected:
  ~SelectCase() = default;
};

/// Picks a case, waits until there is one to pick, and completes it up to its handler. Both lists hold all cases, and
/// are put into the orders that select needs.
///
/// Throws: std::invalid_argument if no case can ever become ready; std::bad_alloc and std::system_error before it
/// waits, and then nothing has happened.
SelectCase& pick(std::span<SelectCase*> poll_order, std::span<SelectCase*> lock_order, SelectOrder order);

template <class F>
concept StatusHandler = std::invocable<F&, OpStatus> || std::invocable<F&>;
template <class F, class T>
concept ValueHandler = std::invocable<F&, T&&> || std::invocable<F&, Received<T> &&>;

/// Calls a handler that may or may not want to know the status.
template <StatusHandler F>
void call_with_status(F& handler, OpStatus status) {
  if constexpr (std::invocable<F&, OpStatus>) {
    handler(status);
  } else {
    handler();
  }
}

// In all cases `F` is a handler, or a reference to the caller's.

template <class T, class F>
class ReceiveCase final : public SelectCase {
 public:
  ReceiveCase(Channel<T>* channel, F&& handler) : handler_(std::forward<F>(handler)) {
    if (channel != nullptr) op = &op_.emplace(ChannelAccess::state(*channel), value_);
  }

  void run() override {
    if constexpr (!std::invocable<F&, T&&>) {
      handler_(Received<T>{status, std::move(value_)});
    } else if (status == OpStatus::kOk) {
      handler_(std::move(*value_));
    }
  }

 private:
  std::optional<T> value_;
  std::optional<Receiving<T>> op_;
  F handler_;
};

/// `Value` is `T&`, the caller's value, or `T`, a copy of it.
template <class T, class Value, class F>
class SendCase final : public SelectCase {
 public:
  template <class V>
  SendCase(Channel<T>* channel, V& value, F&& handler) : value_(value), handler_(std::forward<F>(handler)) {
    if (channel != nullptr) op = &op_.emplace(ChannelAccess::state(*channel), value_);
  }

  void run() override { call_with_status(handler_, status); }

 private:
  Value value_;
  std::optional<Sending<T>> op_;
  F handler_;
};

template <class F>
class DoneCase final : public SelectCase {
 public:
  DoneCase(Context ctx, F&& handler) : ctx_(std::move(ctx)), handler_(std::forward<F>(handler)) { context = &ctx_; }

  void run() override { call_with_status(handler_, status); }

 private:
  const Context ctx_;
  F handler_;
};

template <class F>
class OtherwiseCase final : public SelectCase {
 public:
  explicit OtherwiseCase(F&& handler) : handler_(std::forward<F>(handler)) { is_otherwise = true; }

  void run() override { handler_(); }

 private:
  F handler_;
};

template <class Case>
inline constexpr bool kIsOtherwise = false;
template <class F>
inline constexpr bool kIsOtherwise<OtherwiseCase<F>> = true;

}  // namespace penstock::inline PENSTOCK_ABI::detail
