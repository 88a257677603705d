// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a coroutine waits: the node it lists, and the work that resumes it.

#include <concepts>
#include <coroutine>

#include "penstock/core/context.hpp"
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

/// One wait of a coroutine, kept in its awaiter. `ctx` and `value` outlive it.
class CoroutineWait : private Work {
 public:
  template <class Promise>
  CoroutineWait(const Context& ctx, std::coroutine_handle<Promise> coroutine, void* value)
      : Work([](Work& work) noexcept { static_cast<CoroutineWait&>(work).coroutine_.resume(); }),
        coroutine_(coroutine),
        waiter_(ctx, executor_of(coroutine), *this),
        node_(waiter_, value) {}

  /// What to put on the list, under its lock.
  [[nodiscard]] WaitNode& node() noexcept { return node_; }

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

  /// When the suspended coroutine is being destroyed: true if the wait ended by that, and the node has to be taken off
  /// its list; false if it had ended before, and the coroutine has been posted to its executor.
  [[nodiscard]] bool abandon() noexcept {
    const bool won = waiter_.claim(Waiter::kAbandoned);
    waiter_.resume();
    return won;
  }

 private:
  const std::coroutine_handle<> coroutine_;
  Waiter waiter_;
  WaitNode node_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
