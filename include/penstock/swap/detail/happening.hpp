// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Something that happens once, and those who wait for it: threads and coroutines.

#include <coroutine>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/detail/spin_lock.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Threads: any member, from any thread. Order: what was done before `happen` is visible to who has seen it.
class Happening {
 public:
  Happening() = default;
  Happening(const Happening&) = delete;
  Happening& operator=(const Happening&) = delete;

  [[nodiscard]] bool has_happened() const noexcept { return happened_.load(std::memory_order_acquire); }  // H1 acquire
  /// Wakes all who wait. Further calls do nothing. Not to be gone before this returns.
  void happen() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// The same, unless a coroutine waits, which may run on within such a call, or has waited: then it does nothing, and
  /// returns false.
  [[nodiscard]] bool happen_to_threads() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// Returns: kServed, or how `ctx` ended before. Throws: as `Waiter`.
  Waiter::Outcome wait(const Context& ctx) ABSL_LOCKS_EXCLUDED(lock_);

  enum class Who : std::uint8_t { kThread, kCoroutine };
  /// False, and it is not listed, if it has happened.
  [[nodiscard]] bool list(WaitNode& node, Who who) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  void unlist(WaitNode& node) noexcept ABSL_LOCKS_EXCLUDED(lock_);

 private:
  mutable SpinLock lock_;
  WaitList waiters_ ABSL_GUARDED_BY(lock_);
  bool has_coroutines_ ABSL_GUARDED_BY(lock_) = false;  // or has had
  // Written under the lock, so that nobody is listed after it.
  //   H1  release in happen() -> acquire in has_happened(): what was done before is there.
  world::Atomic<bool> happened_{false};
};

/// One wait of a coroutine, kept in its awaiter. The happening outlives it.
class HappeningWait {
 public:
  explicit HappeningWait(Context ctx) : ctx_(std::move(ctx)) {}
  HappeningWait(const HappeningWait&) = delete;
  HappeningWait& operator=(const HappeningWait&) = delete;
  ~HappeningWait() {
    // The coroutine is being destroyed where it is suspended.
    if (suspended_.has_value()) settle(suspended_->call_off());
  }

  /// Whether there is nothing to wait for.
  [[nodiscard]] bool ready(const Happening& happening) noexcept;

  /// Returns whether the coroutine stays suspended; from then on it may be gone.
  template <class Promise>
  [[nodiscard]] bool suspend(Happening& happening, std::coroutine_handle<Promise> coroutine) {
    happening_ = &happening;
    suspended_.emplace(ctx_, coroutine, nullptr);
    bool is_listed = true;
    const bool is_suspended = suspended_->suspend([this, &is_listed] {
      if (happening_->list(suspended_->node(), Happening::Who::kCoroutine)) return true;  // it may be gone
      is_listed = false;
      return false;
    });
    if (!is_listed) {
      suspended_.reset();
      outcome_ = Waiter::kServed;
    }
    return is_suspended;
  }

  /// How the wait ended.
  Waiter::Outcome finish() {
    if (suspended_.has_value()) settle(suspended_->resume());
    return outcome_;
  }

  [[nodiscard]] const Context& context() const noexcept { return ctx_; }

 private:
  void settle(Waiter::Outcome outcome) {
    outcome_ = outcome;
    if (outcome < Waiter::kServed) happening_->unlist(suspended_->node());
    suspended_.reset();
  }

  const Context ctx_;
  Happening* happening_ = nullptr;
  Waiter::Outcome outcome_ = Waiter::kServed;
  std::optional<CoroutineWait> suspended_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
