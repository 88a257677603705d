// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What retries take for a function, and how a coroutine waits between two attempts.

#include <coroutine>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/task.hpp"

namespace penstock::inline PENSTOCK_ABI {
struct RetryAttempt;
}

namespace penstock::inline PENSTOCK_ABI::detail {

template <class T>
inline constexpr bool kIsRetryResult = std::is_same_v<T, absl::Status>;
template <class T>
inline constexpr bool kIsRetryResult<absl::StatusOr<T>> = true;
template <class T>
inline constexpr bool kIsRetryTask = false;
template <class T>
inline constexpr bool kIsRetryTask<Task<T>> = kIsRetryResult<T>;

template <class F>
struct RetryCallable {
  using Returned = std::invoke_result_t<F&, const RetryAttempt&>;
};

template <class F>
struct AsyncRetryable : RetryCallable<F> {
  static_assert(kIsRetryTask<typename RetryCallable<F>::Returned>,
                "the function of async_retry takes a const RetryAttempt& and returns a Task of Status or StatusOr");
};
template <class F>
struct Retryable : RetryCallable<F> {
  static_assert(kIsRetryResult<typename RetryCallable<F>::Returned>,
                "the function of retry takes a const RetryAttempt& and returns a Status or a StatusOr");
};

template <class F>
using RetryTask = typename AsyncRetryable<F>::Returned;
template <class F>
using RetryResult = typename Retryable<F>::Returned;

/// Suspends a coroutine until `ctx` ends. It is on no list: nobody but the context ends the wait.
class [[nodiscard]] RetryWait {
 public:
  explicit RetryWait(Context ctx) noexcept : ctx_(std::move(ctx)) {}
  RetryWait(const RetryWait&) = delete;
  RetryWait& operator=(const RetryWait&) = delete;
  ~RetryWait() {
    if (suspended_) static_cast<void>(wait_->call_off());
  }

  bool await_ready() const noexcept { return ctx_.is_done(); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    wait_.emplace(ctx_, coroutine, nullptr);
    suspended_ = true;  // before the context is told: from then on the frame may be gone
    return wait_->suspend([] { return true; });
  }
  void await_resume() noexcept {
    if (std::exchange(suspended_, false)) static_cast<void>(wait_->resume());
  }

 private:
  const Context ctx_;
  std::optional<CoroutineWait> wait_;
  bool suspended_ = false;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
