// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The cases of a select: as its core sees them, and the four kinds with their handlers.

#include <array>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "penstock/channel/channel.hpp"
#include "penstock/channel/detail/channel_core.hpp"
#include "penstock/channel/detail/channel_state.hpp"
#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/op_status.hpp"

namespace penstock::inline PENSTOCK_ABI {
enum class SelectOrder : unsigned char;

/// What on_receive, on_send, on_done and otherwise return. It stands in this namespace so that a plain `select(...)`
/// finds ours among its arguments' names, and not only the system's.
class SelectArgument {};
}

namespace penstock::inline PENSTOCK_ABI::detail {

/// One case. It lives until its select has ended, and may be selected on again after that.
class SelectCase : public SelectArgument {
 public:
  SelectCase() = default;
  SelectCase(const SelectCase&) = delete;
  SelectCase& operator=(const SelectCase&) = delete;

  virtual ~SelectCase() = default;

  /// Calls the handler, after `status` has been set and every lock been released.
  virtual void run() = 0;

  ChannelOp* op = nullptr;           ///< What it does on a channel; null for other cases and for null channels.
  const Context* context = nullptr;  ///< Whose end it waits for; null for other cases.
  std::size_t index = 0;             ///< Its place among the arguments.
  std::uint32_t rank = 0;            ///< Its place among the cases on its channel, when it has to wait.
  OpStatus status = OpStatus::kOk;   ///< How it went.
  std::uint64_t seen_passed = 0;     ///< How its end of the channel looked when it was not ready.
  Notice seen_notice = 0;
  std::optional<WaitNode> node;  ///< Its place on its channel's list, if the select has to wait.
};

using SelectCases = std::span<SelectCase*>;  // put into other orders on the way

/// Takes a case that is ready now, and completes it up to its handler; null if none seems to be. With `exactly`, null
/// says that there was a moment at which none was.
SelectCase* pick_at_once(SelectCases cases, SelectOrder order, bool exactly) noexcept;

/// Takes a case that is ready now, `otherwise` if none is, and where that is null waits until one is. Completes it up
/// to its handler.
///
/// Throws: std::invalid_argument if no case can ever become ready; std::bad_alloc and std::system_error before it
/// waits, and then nothing has happened.
SelectCase& pick(SelectCases cases, SelectOrder order, SelectCase* otherwise = nullptr);

/// The case whose context a waiter of the select should know, at no cost, or null; further ones need callbacks.
/// Throws: std::invalid_argument if no case can ever become ready.
SelectCase* ending_case(SelectCases cases);
inline const Context& context_of(const SelectCase* ending) noexcept {
  return ending != nullptr ? *ending->context : Context::background();
}

/// The wait of a select: one node for each case on its channel's list, all with one waiter, so that one claim is the
/// end of all. No lock is held in between, and every node has left its list when it is over. It goes before the waiter.
class SelectWait {
 public:
  /// Throws: std::bad_alloc, std::system_error.
  SelectWait(SelectCases cases, SelectCase* ending, EndlessWaiter& waiter);
  SelectWait(const SelectWait&) = delete;
  SelectWait& operator=(const SelectWait&) = delete;

  /// Completes a case that is ready after all, and otherwise lists all nodes; `listed` says so before one of them can
  /// be claimed.
  SelectCase* pick_or_list(SelectOrder order, bool& listed) noexcept;

  /// After the wait: the case that was taken, completed; null if the coroutine was destroyed. All others have left
  /// their lists.
  SelectCase* finish(Waiter::Outcome outcome) noexcept;

 private:
  const SelectCases cases_;
  SelectCase* const ending_;
  std::vector<DoneCallback> other_ends_;
};

/// `co_await` of a select over cases that somebody else keeps.
class [[nodiscard]] SelectAwaiter {
 public:
  SelectAwaiter(SelectCases cases, SelectOrder order, SelectCase* otherwise = nullptr) noexcept
      : cases_(cases), order_(order), otherwise_(otherwise) {}
  SelectAwaiter(const SelectAwaiter&) = delete;
  SelectAwaiter& operator=(const SelectAwaiter&) = delete;
  ~SelectAwaiter() {
    if (listed_) wait_->finish(coroutine_->call_off());
  }

  bool await_ready() noexcept {
    taken_ = pick_at_once(cases_, order_, otherwise_ != nullptr);
    if (taken_ == nullptr) taken_ = otherwise_;
    return taken_ != nullptr;
  }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    SelectCase* const ending = ending_case(cases_);
    coroutine_.emplace(context_of(ending), coroutine, nullptr);
    wait_.emplace(cases_, ending, coroutine_->waiter());
    return coroutine_->suspend([this] {
      SelectCase* const taken = wait_->pick_or_list(order_, listed_);
      if (taken == nullptr) return true;
      taken_ = taken;
      return false;
    });
  }
  std::size_t await_resume() {
    if (std::exchange(listed_, false)) taken_ = wait_->finish(coroutine_->resume());
    const std::size_t index = taken_->index;
    taken_->run();
    return index;
  }

 private:
  const SelectCases cases_;
  const SelectOrder order_;
  SelectCase* const otherwise_;
  SelectCase* taken_ = nullptr;
  std::optional<CoroutineWait> coroutine_;
  std::optional<SelectWait> wait_;
  bool listed_ = false;  // suspended, or about to be
};

template <class F>
class OtherwiseCase;
template <class Case>
inline constexpr bool kIsOtherwise = false;
template <class F>
inline constexpr bool kIsOtherwise<OtherwiseCase<F>> = true;

/// The cases of one select, numbered.
template <std::size_t Count>
struct CaseList {
  template <class... Cases>
  explicit CaseList(Cases&... cases) noexcept : list{&cases...} {
    static_assert((kIsOtherwise<Cases> + ...) <= 1, "select: at most one otherwise");
    for (std::size_t index = 0; index != Count; ++index) {
      list[index]->index = index;
      if (std::array{kIsOtherwise<Cases>...}[index]) otherwise = list[index];
    }
  }

  std::array<SelectCase*, Count> list;
  SelectCase* otherwise = nullptr;
};

template <std::size_t Count>
class [[nodiscard]] CaseListAwaiter : private CaseList<Count>, public SelectAwaiter {
 public:
  template <class... Cases>
  explicit CaseListAwaiter(SelectOrder order, Cases&... cases) noexcept
      : CaseList<Count>(cases...), SelectAwaiter(this->list, order, CaseList<Count>::otherwise) {}
};

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
    // Emptied first, since the handler may throw, and the case may be selected on again.
    if constexpr (!std::invocable<F&, T&&>) {
      Received<T> received{status, std::move(value_)};
      value_.reset();
      handler_(std::move(received));
    } else if (status == OpStatus::kOk) {
      T value = std::move(*value_);
      value_.reset();
      handler_(std::move(value));
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

/// A context of its own that ends at a point in time.
template <class F>
class TimeoutCase final : public SelectCase {
 public:
  TimeoutCase(Context ctx, F&& handler) : ctx_(std::move(ctx)), handler_(std::forward<F>(handler)) { context = &ctx_; }

  void run() override { handler_(); }

 private:
  const Context ctx_;
  F handler_;
};

template <class F>
class OtherwiseCase final : public SelectCase {
 public:
  explicit OtherwiseCase(F&& handler) : handler_(std::forward<F>(handler)) {}

  void run() override { handler_(); }

 private:
  F handler_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
