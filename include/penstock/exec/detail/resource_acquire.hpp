// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How an acquire is made from a filter with a type, and how a coroutine waits for one.

#include <coroutine>
#include <exception>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/executor.hpp"
#include "penstock/exec/detail/resource_core.hpp"

namespace penstock::inline PENSTOCK_ABI {
template <class R>
class Lease;
}

namespace penstock::inline PENSTOCK_ABI::detail {

/// Refers to `function`, which may be empty.
template <class R>
class TypedFilter final : public ResourceFilter {
 public:
  using Function = std::function<bool(std::string_view, const R&)>;

  explicit TypedFilter(const Function& function) noexcept : function_(function) {}

  [[nodiscard]] const ResourceFilter* get() const noexcept { return function_ ? this : nullptr; }
  [[nodiscard]] bool accepts(const ResourceSlot& slot) const override {
    return function_(slot.id, static_cast<const TypedSlot<R>&>(slot).resource());
  }

 private:
  const Function& function_;
};

/// One acquire of a coroutine. Unlike other waits it may have to go on after it was woken: then it looks again in work
/// on the coroutine's executor, and the coroutine does not notice.
class CoroutineAcquire : private Work {
 public:
  CoroutineAcquire(ResourceCore& core, const ResourceFilter* filter, std::string_view sticky_key, Context ctx);
  CoroutineAcquire(const CoroutineAcquire&) = delete;
  CoroutineAcquire& operator=(const CoroutineAcquire&) = delete;
  ~CoroutineAcquire();

  /// Whether there is nothing to suspend for.
  [[nodiscard]] bool ready() { return core_.try_acquire(wait_) || !ResourceCore::is_hopeful(wait_, ctx_); }

  /// Returns whether the coroutine stays suspended; from then on it may be gone.
  template <class Promise>
  [[nodiscard]] bool suspend(std::coroutine_handle<Promise> coroutine) {
    coroutine_ = coroutine;
    executor_ = &executor_of(coroutine);
    return park();
  }

  /// The end. Throws: what the filter threw while the coroutine was suspended.
  ResourceWait& finish() {
    if (error_ != nullptr) std::rethrow_exception(error_);
    return wait_;
  }

 private:
  bool park();
  bool settle() noexcept;
  void run_on() noexcept;

  ResourceCore& core_;
  const Context ctx_;
  ResourceWait wait_;
  std::coroutine_handle<> coroutine_;
  Executor* executor_ = nullptr;
  std::optional<Waiter> waiter_;  // of the latest wait
  std::optional<WaitNode> node_;
  bool is_suspended_ = false;
  std::exception_ptr error_;
};

template <class R>
class [[nodiscard]] LeaseAwaiter {
 public:
  LeaseAwaiter(ResourceCore& core, typename TypedFilter<R>::Function filter, std::string_view sticky_key, Context ctx)
      : function_(std::move(filter)), filter_(function_), acquire_(core, filter_.get(), sticky_key, std::move(ctx)) {}

  bool await_ready() { return acquire_.ready(); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    return acquire_.suspend(coroutine);
  }
  absl::StatusOr<Lease<R>> await_resume() {
    ResourceWait& wait = acquire_.finish();
    if (!wait.is_lent()) return wait.refusal();
    return Lease<R>(*wait.take());
  }

 private:
  const typename TypedFilter<R>::Function function_;
  const TypedFilter<R> filter_;
  CoroutineAcquire acquire_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
