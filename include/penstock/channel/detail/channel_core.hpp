// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The part of a channel that does not depend on its elements: who waits, how a wait goes, and how it ends.
///
/// An operation (`ChannelOp`) is tried under the channel's mutex. If it cannot be completed it is listed, in the same
/// critical section, and from then on somebody else completes it:
///
///   * a peer takes it off the list by winning its claim, moves the value from or to it, sets `moved`, unlocks, wakes;
///   * `close` takes it off in the same way and leaves `moved` false;
///   * its context ends, or its coroutine is destroyed: then it locks the channel once more to take itself off.
///
/// In the first two cases the operation does not touch the channel again, so whoever completed it may let the channel
/// go. Those of the third kind are counted by their side until they have left, and the destructor waits for them.
///
/// Two facts follow, and all code here relies on them: while a receiver waits nothing is buffered, and while a sender
/// waits the buffer is full. So who comes new and can go ahead overtakes nobody.

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "penstock/core/context.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/core/op_status.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// The operations that wait on one side of a channel, first come, first served, and how many they are. One whose wait
/// has ended otherwise counts until it has taken itself off. Threads: guarded by the channel's mutex.
class WaitSide {
 public:
  [[nodiscard]] bool empty() const noexcept { return waiting_.empty(); }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }

  void push(WaitNode& node) noexcept {
    waiting_.push(node);
    ++count_;
  }

  /// Takes off the first that can be claimed; null if there is none. The caller completes it, unlocks, and wakes it.
  WaitNode* claim_first() noexcept {
    WaitNode* const node = waiting_.claim_first();
    if (node != nullptr) --count_;
    return node;
  }

  /// For one that was pushed and has not been claimed through its node.
  void remove(WaitNode& node) noexcept {
    waiting_.remove(node);
    --count_;
  }

 private:
  WaitList waiting_;
  std::size_t count_ = 0;
};

/// What every channel has, whatever its elements.
struct ChannelCore {
  /// Throws: std::invalid_argument unless `capacity` elements of `element_size` bytes are a size that can be.
  ChannelCore(std::size_t capacity, std::size_t element_size);
  ChannelCore(const ChannelCore&) = delete;
  ChannelCore& operator=(const ChannelCore&) = delete;
  ~ChannelCore() = default;

  /// Before destruction: closes, and waits until every operation that was listed has left.
  void let_go() noexcept ABSL_LOCKS_EXCLUDED(mutex);

  /// Returns whether it was open until now.
  bool close() noexcept ABSL_LOCKS_EXCLUDED(mutex);

  /// Takes off an operation that was pushed and has not been claimed through its node.
  void leave(WaitSide& side, WaitNode& node) noexcept ABSL_LOCKS_EXCLUDED(mutex);

  const std::size_t capacity;
  mutable Mutex mutex;  // select locks several, in the order of their addresses; nothing else is locked under it
  bool closed ABSL_GUARDED_BY(mutex) = false;
  WaitSide senders ABSL_GUARDED_BY(mutex);
  WaitSide receivers ABSL_GUARDED_BY(mutex);
  WaitList destroyer ABSL_GUARDED_BY(mutex);  // the thread in let_go, while it waits
  std::uint64_t sends ABSL_GUARDED_BY(mutex) = 0;
  std::uint64_t receives ABSL_GUARDED_BY(mutex) = 0;
  std::uint64_t drained ABSL_GUARDED_BY(mutex) = 0;
  std::uint64_t closes ABSL_GUARDED_BY(mutex) = 0;
  std::size_t high_water ABSL_GUARDED_BY(mutex) = 0;
};

/// A send or a receive, as its waiter, its peers and select see it. It lives with its caller until it has ended.
class ChannelOp {
 public:
  ChannelOp(ChannelCore& on, WaitSide& from) noexcept : channel(on), side(from) {}
  ChannelOp(const ChannelOp&) = delete;
  ChannelOp& operator=(const ChannelOp&) = delete;

  /// Completes the operation if that can be done now, under the channel's mutex.
  ///
  /// Returns: kOk or kClosed; kFull or kEmpty if it has to wait. With kOk, `peer` is who has to be woken once nothing
  /// is locked, or null as before.
  virtual OpStatus attempt(WaitNode*& peer) noexcept = 0;

  /// How a wait ended that the channel ended.
  [[nodiscard]] OpStatus served_status() const noexcept { return moved ? OpStatus::kOk : OpStatus::kClosed; }

  ChannelCore& channel;
  WaitSide& side;  ///< Where it waits.
  bool moved =
      false;  ///< The value has changed hands. Written under the channel's mutex, read by the owner once woken.

 protected:
  ~ChannelOp() = default;
};

/// Whether `status`, of an attempt, says that the operation has to wait.
inline bool must_wait(OpStatus status) noexcept { return status == OpStatus::kFull || status == OpStatus::kEmpty; }

/// Completes `op`, which could not be completed at once, on the calling thread.
///
/// Blocks:  until a peer or `close` ends it, or `ctx` does.
/// Returns: kOk, kClosed, kTimedOut or kCancelled. Throws: std::system_error as `Waiter` does, before it waits.
OpStatus wait_for(ChannelOp& op, const Context& ctx);

/// The wait of a coroutine for `op`, which is kept beside it and outlives it.
class CoroutineOp {
 public:
  CoroutineOp(ChannelOp& op, Context ctx) noexcept : op_(op), ctx_(std::move(ctx)) {}
  CoroutineOp(const CoroutineOp&) = delete;
  CoroutineOp& operator=(const CoroutineOp&) = delete;
  ~CoroutineOp() {
    if (listed_) abandon();
  }

  /// Whether there is nothing to suspend for, given what a first attempt came to.
  bool ready(OpStatus attempted) noexcept {
    if (must_wait(attempted)) {
      const OpStatus ended = ctx_.status();
      if (ended == OpStatus::kOk) return false;
      attempted = ended;
    }
    status_ = attempted;
    return true;
  }

  template <class Promise>
  bool suspend(std::coroutine_handle<Promise> coroutine) {
    wait_.emplace(ctx_, coroutine, &op_);
    WaitNode* peer = nullptr;
    const bool suspended = wait_->suspend([&] { return list(peer); });
    if (peer != nullptr) peer->waiter->wake();  // only an operation that did not have to be listed has one
    return suspended;
  }

  /// In `await_resume`: how the operation ended.
  OpStatus finish() noexcept { return listed_ ? finish_wait() : status_; }

 private:
  /// Completes the operation if that can be done now after all, and lists it otherwise; returns whether it did that.
  bool list(WaitNode*& peer) noexcept;
  OpStatus finish_wait() noexcept;
  void abandon() noexcept;

  ChannelOp& op_;
  const Context ctx_;
  std::optional<CoroutineWait> wait_;
  OpStatus status_ = OpStatus::kOk;
  bool listed_ = false;  // suspended, or about to be
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
