// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a coroutine waits: the node it lists, and the work that resumes it.

#include <concepts>
#include <coroutine>
#include <type_traits>

#include "penstock/core/context.hpp"
#include "penstock/core/detail/check.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/executor.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// The executor on which `coroutine` resumes: that of its task, or the inline one for coroutines of another make.
template <class Promise>
Executor& executor_of(std::coroutine_handle<Promise> coroutine) noexcept {
  if constexpr (requires {
                  { coroutine.promise().executor() } -> std::convertible_to<Executor*>;
                }) {
    return *coroutine.promise().executor();
  } else {
    return Executor::inline_executor();
  }
}

/// One wait of a coroutine, kept in its awaiter: `Kind` is the waiter, with a context or without. What it is made with
/// outlives it.
template <class Kind>
class BasicCoroutineWait : private Work {
 public:
  template <class Promise>
  BasicCoroutineWait(const Context& ctx, std::coroutine_handle<Promise> coroutine, void* value)
      : BasicCoroutineWait(executor_of(coroutine), coroutine, value, ctx) {}
  template <class Promise>
  requires std::is_same_v<Kind, EndlessWaiter> BasicCoroutineWait(std::coroutine_handle<Promise> coroutine, void* value)
      : BasicCoroutineWait(executor_of(coroutine), coroutine, value) {}

  /// What to put on the list, under its lock.
  [[nodiscard]] WaitNode& node() noexcept { return node_; }
  /// For nodes on further lists.
  [[nodiscard]] Kind& waiter() noexcept { return waiter_; }

  /// The end of `await_suspend`, and its result. `list()` locks, lists `node()` and unlocks, or returns false if there
  /// is nothing to wait for any more.
  ///
  /// From the unlocking on another thread may resume the coroutine, and its frame, with the awaiter and this wait in
  /// it, may be gone: `list` and the caller touch nothing of it afterwards.
  template <class List>
  [[nodiscard]] bool suspend(List list) {
    const bool is_endless = waiter_.is_endless();  // looked at before, since nothing can be after
    if (!list()) return false;
    return is_endless || waiter_.suspend();
  }

  /// In `await_resume`. A wait that no list served has to be taken off its list by the caller.
  Waiter::Outcome resume() noexcept { return waiter_.resume(); }

  /// When the suspended coroutine is being destroyed: ends the wait, and returns how it ended, kAbandoned if by this
  /// call. If it had ended before, the work that would resume the coroutine is taken back from its executor; one that
  /// is being resumed at this moment must not be destroyed. A wait that no list served has to be taken off its list.
  ///
  /// Blocks: as `Executor::revoke`.
  Waiter::Outcome call_off() noexcept {
    const bool called_off = waiter_.try_claim(Waiter::kAbandoned);
    const Waiter::Outcome outcome = waiter_.resume();
    if (called_off) return Waiter::kAbandoned;  // a list that comes too late may have written something else
    PENSTOCK_CHECK(waiter_.executor().revoke(*this), "a coroutine was destroyed while its executor was resuming it");
    return outcome;
  }

 private:
  template <class... Ctx>
  BasicCoroutineWait(Executor& executor, std::coroutine_handle<> coroutine, void* value, const Ctx&... ctx)
      : Work([](Work& work) noexcept { static_cast<BasicCoroutineWait&>(work).coroutine_.resume(); }),
        coroutine_(coroutine),
        waiter_(ctx..., executor, *this),
        node_(waiter_, value) {}

  const std::coroutine_handle<> coroutine_;
  Kind waiter_;
  WaitNode node_;
};

using CoroutineWait = BasicCoroutineWait<Waiter>;
using EndlessCoroutineWait = BasicCoroutineWait<EndlessWaiter>;

}  // namespace penstock::inline PENSTOCK_ABI::detail
