// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a coroutine waits for a slot.

#include <coroutine>
#include <optional>
#include <utility>

#include "penstock/core/context.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/exec/detail/slot_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// One acquire of a coroutine.
class CoroutineSlotWait {
 public:
  CoroutineSlotWait(SlotCore& core, Context ctx) : core_(core), ctx_(std::move(ctx)), wait_(core) {}
  CoroutineSlotWait(const CoroutineSlotWait&) = delete;
  CoroutineSlotWait& operator=(const CoroutineSlotWait&) = delete;
  ~CoroutineSlotWait() {
    // The coroutine is being destroyed where it is suspended. What it was lent meanwhile goes back with `wait_`.
    if (suspended_.has_value()) settle(suspended_->call_off());
    if (slot_ != nullptr) core_.give_back(*slot_, false);
  }

  /// Whether there is nothing to wait for.
  [[nodiscard]] bool ready() {
    slot_ = core_.try_take();
    return slot_ != nullptr || !core_.may_wait(wait_, ctx_);
  }

  /// Returns whether the coroutine stays suspended; from then on it may be gone.
  template <class Promise>
  [[nodiscard]] bool suspend(std::coroutine_handle<Promise> coroutine) {
    suspended_.emplace(ctx_, coroutine, &wait_);
    bool is_in_line = true;
    const bool is_suspended = suspended_->suspend([this, &is_in_line] {
      if (core_.join(wait_, suspended_->node())) return true;  // it may be gone
      is_in_line = false;
      return false;
    });
    if (!is_in_line) suspended_.reset();
    return is_suspended;
  }

  /// The slot, which is the caller's from here on; or null, and `refusal()` says why.
  [[nodiscard]] SlotNode* finish() {
    if (suspended_.has_value()) settle(suspended_->resume());
    return slot_ != nullptr ? std::exchange(slot_, nullptr) : wait_.take();
  }
  [[nodiscard]] absl::Status refusal() { return wait_.refusal(); }

 private:
  void settle(Waiter::Outcome outcome) {
    core_.leave(wait_, suspended_->node(), outcome);
    suspended_.reset();
  }

  SlotCore& core_;
  const Context ctx_;
  SlotWait wait_;
  SlotNode* slot_ = nullptr;
  std::optional<CoroutineWait> suspended_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
