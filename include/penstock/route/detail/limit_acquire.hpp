// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a coroutine waits for a permit of a concurrency limiter.

#include <coroutine>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "penstock/core/context.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/route/detail/limit_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

class CoroutineTake {
 public:
  CoroutineTake(LimitCore& core, Context ctx, std::string_view partition)
      : core_(core), ctx_(std::move(ctx)), partition_(partition) {}
  CoroutineTake(const CoroutineTake&) = delete;
  CoroutineTake& operator=(const CoroutineTake&) = delete;
  ~CoroutineTake() {
    if (wait_.has_value()) call_off();
    if (is_granted_) core_.release(grant_.share);
  }

  /// Whether there is nothing to wait for.
  [[nodiscard]] bool ready() {
    if (core_.try_take_quickly(grant_)) return is_granted_ = true;
    ctx_ = core_.bounded(ctx_);
    const LimitCore::Look seen = core_.look(grant_, partition_, ctx_, why_);
    is_granted_ = seen == LimitCore::Look::kGranted;
    return seen != LimitCore::Look::kMayWait;
  }

  /// Returns whether the coroutine stays suspended; from then on it may be gone.
  template <class Promise>
  [[nodiscard]] bool suspend(std::coroutine_handle<Promise> coroutine) {
    wait_.emplace(ctx_, coroutine, &grant_);
    LimitCore::Join joined = LimitCore::Join::kInLine;
    const bool is_suspended = wait_->suspend([this, &joined] {
      const LimitCore::Join result = core_.join(grant_, wait_->node(), partition_, why_);
      if (result == LimitCore::Join::kInLine) return true;  // it may be gone
      joined = result;
      return false;
    });
    if (joined != LimitCore::Join::kInLine) {
      wait_.reset();
      is_granted_ = joined == LimitCore::Join::kGranted;
    }
    return is_suspended;
  }

  /// The permit, which is the caller's from here on; or null, and `refusal()` says why.
  [[nodiscard]] const LimitGrant* finish() {
    if (wait_.has_value()) {
      is_granted_ = core_.leave(grant_, wait_->node(), ctx_.clock(), wait_->resume(), why_);
      wait_.reset();
    }
    return std::exchange(is_granted_, false) ? &grant_ : nullptr;
  }
  [[nodiscard]] const LimitRefusal& refusal() const noexcept { return why_; }

 private:
  /// The coroutine is being destroyed where it is suspended.
  void call_off() {
    const Waiter::Outcome outcome = wait_->call_off();
    is_granted_ = core_.leave(grant_, wait_->node(), ctx_.clock(), outcome, why_);
  }

  LimitCore& core_;
  Context ctx_;
  const std::string partition_;
  LimitGrant grant_;
  LimitRefusal why_;
  std::optional<CoroutineWait> wait_;
  bool is_granted_ = false;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
