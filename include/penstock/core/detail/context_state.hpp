// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The shared part of cancellable contexts: a flag, its cause, and who wants to be told.

#include <cstdint>
#include <mutex>
#include <optional>
#include <stop_token>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/callback_gate.hpp"
#include "penstock/core/detail/cancel_hook.hpp"
#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

class ContextState {
 public:
  /// Cancelled when `parent` is (null: has none).
  ContextState(ContextStatePtr parent, Clock& clock);
  ContextState(const ContextState&) = delete;
  ContextState& operator=(const ContextState&) = delete;

  /// Cancels also when `token` is asked to stop. Throws: std::bad_alloc.
  void follow(std::stop_token token);

  /// Cancels for `cause` as of `when`; returns false, and changes nothing, if it was cancelled before.
  bool cancel(absl::Status cause, TimePoint when) noexcept;

  [[nodiscard]] Clock& clock() const noexcept { return clock_; }

  /// When it was cancelled on its clock; `TimePoint::max()` if it was not.
  [[nodiscard]] TimePoint cancelled_at() const noexcept {
    return TimePoint(Duration(cancelled_at_.load(std::memory_order_acquire)));  // C1 acquire
  }

  /// OK if it was not cancelled.
  [[nodiscard]] absl::Status cause() const;

  /// Lists `hook`, unless the state was cancelled already: then it returns false and will not call.
  bool add(CancelHook& hook) noexcept;

  /// Takes `hook` back; waits while another thread runs it.
  void remove(CancelHook& hook) noexcept;

 private:
  friend class ContextStatePtr;
  struct ParentHook : CancelHook {
    ParentHook(Fire fire, ContextState& self) noexcept : CancelHook(fire), state(self) {}
    ContextState& state;
  };
  struct StopRequested {
    ContextState* state;
    absl::Status cause;  // made beforehand: whoever asks to stop cannot be told that there was no memory for it
    void operator()() const noexcept;
  };

  ~ContextState();
  void retain() noexcept;
  /// A reference for one who has only the address: fails once the last reference is gone.
  bool try_retain() noexcept;
  void release() noexcept;

  // The count of references. R1  release in release() -> acquire by the last one: what the others did to the state is
  // visible to its destructor.
  world::Atomic<std::uint32_t> references_{1};
  // Time of cancellation in nanoseconds, or that of TimePoint::max().
  //   C1  release in cancel() -> acquire in cancelled_at(): who sees the time sees what led to the cancellation.
  // A stale value lets an operation that was about to end run on until its next look: allowed.
  world::Atomic<Duration::rep> cancelled_at_{TimePoint::max().time_since_epoch().count()};
  Clock& clock_;
  mutable world::Mutex mutex_;  // leaf: hooks run, and causes are destroyed, without it
  absl::Status cause_;          // guarded by mutex_, as all below
  CancelHook* first_ = nullptr;
  CancelHook* last_ = nullptr;
  CallbackGate gate_;
  const ContextStatePtr parent_;
  ParentHook parent_hook_;
  std::optional<std::stop_callback<StopRequested>> stop_callback_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
