// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a broadcaster does whatever its values are: one ring for all subscribers, and who waits for the next value.
///
/// Values are numbered as they are stored. The ring has the last `capacity` of them; a subscriber is a cursor, the
/// number that it gets next. So a value is stored once for all. A cursor that the ring has left behind is moved up to
/// the oldest value that is still there when its subscriber comes next: the distance is what it has missed.
///
/// A slot knows how many subscribers have still to get its value, so the last one takes it out, and what nobody will
/// ever see is not stored.
///
/// Who waits has got everything: its cursor is at the end. It is woken by the next value, or by `close`, and then takes
/// from the ring like anybody else: nothing is handed over, so a wait that is called off after it was served, by the
/// destruction of its coroutine, has lost nothing.
///
/// Values are behind pointers, which are copied under the mutex and let go outside: no code of theirs runs under it,
/// but for the move into a value that is published (see broadcaster.hpp).

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "penstock/core/context.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/core/op_status.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// A value, whose type the template around knows.
using BroadcastValue = std::shared_ptr<const void>;

/// What a receive takes out.
struct BroadcastParcel {
  std::uint64_t missed = 0;  ///< Values that the subscriber has missed right before this one.
  BroadcastValue value;
};

/// A subscriber. Threads: one at a time.
struct BroadcastCursor {
  std::uint64_t next = 0;    ///< The number of the value that it gets next.
  std::uint64_t missed = 0;  ///< In all.
};

/// Whether a wait was ended by the list it was on, which has taken it off: by a value or by `close`.
inline bool ended_by_list(Waiter::Outcome outcome) noexcept {
  return outcome == Waiter::kServed || outcome == Waiter::kClosed;
}

class BroadcastCore {
 public:
  /// Throws: std::invalid_argument if `slots` is zero or more than 2^31; std::bad_alloc.
  explicit BroadcastCore(std::size_t slots);
  BroadcastCore(const BroadcastCore&) = delete;
  BroadcastCore& operator=(const BroadcastCore&) = delete;

  /// Inside a critical section of the caller, which has found it open: stores `value`, and leaves in it what the caller
  /// lets go after unlocking. Then it wakes `wake`, and touches nothing of this any more.
  void push(BroadcastValue& value, WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  /// Returns: kOk or kClosed. Throws: std::invalid_argument if `value` is null.
  OpStatus publish(BroadcastValue value) ABSL_LOCKS_EXCLUDED(mutex);

  bool close() noexcept ABSL_LOCKS_EXCLUDED(mutex);

  BroadcastCursor enter() noexcept ABSL_LOCKS_EXCLUDED(mutex);
  void leave(BroadcastCursor cursor) noexcept ABSL_LOCKS_EXCLUDED(mutex);

  /// Takes the next value for `cursor`, into an empty `parcel`. Returns: kOk, kEmpty or kClosed.
  OpStatus take(BroadcastCursor& cursor, BroadcastParcel& parcel) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  OpStatus try_receive(BroadcastCursor& cursor, BroadcastParcel& parcel) noexcept ABSL_LOCKS_EXCLUDED(mutex);
  OpStatus receive(BroadcastCursor& cursor, BroadcastParcel& parcel, const Context& ctx) ABSL_LOCKS_EXCLUDED(mutex);

  /// Whether `node` has to wait for a value for `cursor`, and has been listed. If not, `status` and `parcel` are set.
  bool list(WaitNode& node, BroadcastCursor& cursor, BroadcastParcel& parcel, OpStatus& status) noexcept
      ABSL_LOCKS_EXCLUDED(mutex);

  /// Takes off a node whose wait ended otherwise than through its list.
  void unlist(WaitNode& node) noexcept ABSL_LOCKS_EXCLUDED(mutex);

  const std::size_t capacity;
  mutable Mutex mutex;  // leaf: nothing else is locked while it is held
  bool closed ABSL_GUARDED_BY(mutex) = false;
  std::size_t subscribers ABSL_GUARDED_BY(mutex) = 0;
  std::uint64_t published ABSL_GUARDED_BY(mutex) = 0;
  std::uint64_t lost ABSL_GUARDED_BY(mutex) = 0;
  std::uint64_t closes ABSL_GUARDED_BY(mutex) = 0;

 private:
  struct Slot {
    BroadcastValue value;         // null once everybody has it
    std::size_t outstanding = 0;  // subscribers that have still to get it
  };

  [[nodiscard]] std::uint64_t oldest() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  Slot& slot(std::uint64_t number) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  std::vector<Slot> slots_ ABSL_GUARDED_BY(mutex);
  std::uint64_t stored_ ABSL_GUARDED_BY(mutex) =
      0;  // the number of the next value; those without a subscriber have none
  WaitList waiting_ ABSL_GUARDED_BY(mutex);
};

/// Stands where a context might, for a receive that has none, and needs less room.
struct EndlessReceive {
  static constexpr OpStatus status() noexcept { return OpStatus::kOk; }
};

/// A receive of a coroutine. `core` and `cursor` outlive it; a null core is a closed one. `Ctx` is Context or
/// EndlessReceive.
template <class Ctx>
class BroadcastWait {
 public:
  BroadcastWait(BroadcastCore* core, BroadcastCursor& cursor, Ctx ctx) noexcept
      : core_(core), cursor_(cursor), ctx_(std::move(ctx)) {}
  BroadcastWait(const BroadcastWait&) = delete;
  BroadcastWait& operator=(const BroadcastWait&) = delete;
  ~BroadcastWait() {
    if (listed_ && !ended_by_list(wait_->call_off())) core_->unlist(wait_->node());
  }

  /// Whether there is nothing to suspend for.
  bool ready() noexcept {
    if (core_ == nullptr) return true;
    status_ = core_->try_receive(cursor_, parcel_);
    if (status_ != OpStatus::kEmpty) return true;
    if (const OpStatus ended = ctx_.status(); ended != OpStatus::kOk) status_ = ended;
    return status_ != OpStatus::kEmpty;
  }

  template <class Promise>
  bool suspend(std::coroutine_handle<Promise> coroutine) {
    if constexpr (std::is_same_v<Ctx, EndlessReceive>) {
      wait_.emplace(coroutine, nullptr);
    } else {
      wait_.emplace(ctx_, coroutine, nullptr);
    }
    return wait_->suspend([this] {
      listed_ = true;  // before it is: nothing of this may be touched afterwards
      if (core_->list(wait_->node(), cursor_, parcel_, status_)) return true;
      listed_ = false;
      return false;
    });
  }

  /// In `await_resume`: how it ended. With kOk, the value is in `parcel`.
  OpStatus finish(BroadcastParcel& parcel) noexcept {
    if (!listed_) {
      parcel = std::move(parcel_);
      return status_;
    }
    listed_ = false;
    const Waiter::Outcome outcome = wait_->resume();
    if (ended_by_list(outcome)) return core_->try_receive(cursor_, parcel);
    core_->unlist(wait_->node());
    return to_op_status(outcome);
  }

 private:
  using Wait = std::conditional_t<std::is_same_v<Ctx, EndlessReceive>, EndlessCoroutineWait, CoroutineWait>;

  BroadcastCore* const core_;
  BroadcastCursor& cursor_;
  [[no_unique_address]] const Ctx ctx_;
  BroadcastParcel parcel_;
  OpStatus status_ = OpStatus::kClosed;
  bool listed_ = false;  // suspended, or about to be
  std::optional<Wait> wait_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
