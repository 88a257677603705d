// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The part of a channel that depends on its elements: how values change hands. See channel_core.hpp for the waits.
///
/// Every value moves under the mutex, and directly: from the sender, or from the buffer, to the receiver. A value that
/// somebody still has to see is never destroyed there; what is destroyed is only the shell that a move left behind.

#include <cstddef>
#include <optional>
#include <utility>

#include "penstock/channel/detail/channel_core.hpp"
#include "penstock/channel/detail/ring.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

template <class T>
class Sending;
template <class T>
class Receiving;

template <class T>
struct ChannelState : ChannelCore {
  explicit ChannelState(std::size_t slots) : ChannelCore(slots, sizeof(T)), ring(slots) {}
  ChannelState(const ChannelState&) = delete;
  ChannelState& operator=(const ChannelState&) = delete;
  ~ChannelState() { let_go(); }

  // Inside a critical section of the caller: the two attempts of channel_core.hpp.
  OpStatus put(T& value, WaitNode*& peer) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  OpStatus take(std::optional<T>& into, WaitNode*& peer) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  // A whole attempt: locks, tries, unlocks, wakes.
  OpStatus try_put(T& value) noexcept ABSL_LOCKS_EXCLUDED(mutex);
  OpStatus try_take(std::optional<T>& into) noexcept ABSL_LOCKS_EXCLUDED(mutex);

  Ring<T> ring ABSL_GUARDED_BY(mutex);
};

/// A send of `value`, which is moved from only when the send completes.
template <class T>
class Sending final : public ChannelOp {
 public:
  Sending(ChannelState<T>& state, T& value) noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS  // only names the side
      : ChannelOp(state, state.senders),
        state_(state),
        value_(value) {}

  OpStatus attempt(WaitNode*& peer) noexcept override ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_.mutex) {
    return state_.put(value_, peer);
  }

  /// For the peer that has claimed it.
  T&& give() noexcept {
    moved = true;
    return std::move(value_);
  }

 private:
  ChannelState<T>& state_;
  T& value_;
};

/// A receive into `into`, which is empty until it has completed.
template <class T>
class Receiving final : public ChannelOp {
 public:
  Receiving(ChannelState<T>& state, std::optional<T>& into) noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS  // as above
      : ChannelOp(state, state.receivers),
        state_(state),
        into_(into) {}

  OpStatus attempt(WaitNode*& peer) noexcept override ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_.mutex) {
    return state_.take(into_, peer);
  }

  /// For the peer that has claimed it.
  void accept(T&& value) noexcept {
    into_.emplace(std::move(value));
    moved = true;
  }

 private:
  ChannelState<T>& state_;
  std::optional<T>& into_;
};

/// The operation of a node on a channel's list.
template <class Op>
Op& op_of(WaitNode& node) noexcept {
  return static_cast<Op&>(*static_cast<ChannelOp*>(node.slot));
}

// --- implementation ---

template <class T>
OpStatus ChannelState<T>::put(T& value, WaitNode*& peer) noexcept {
  if (closed) return OpStatus::kClosed;
  if (!receivers.empty()) {
    if (WaitNode* const receiver = receivers.claim_first()) {
      op_of<Receiving<T>>(*receiver).accept(std::move(value));
      peer = receiver;
      ++sends;
      ++receives;
      return OpStatus::kOk;
    }
  }
  if (ring.is_full()) return OpStatus::kFull;
  ring.push(std::move(value));
  ++sends;
  if (ring.size() > high_water) high_water = ring.size();
  return OpStatus::kOk;
}

template <class T>
OpStatus ChannelState<T>::take(std::optional<T>& into, WaitNode*& peer) noexcept {
  const bool buffered = ring.size() != 0;
  if (buffered) ring.pop(into);
  if (!senders.empty()) {
    if (WaitNode* const sender = senders.claim_first()) {
      T&& value = op_of<Sending<T>>(*sender).give();
      if (buffered) {
        ring.push(std::move(value));
      } else {
        into.emplace(std::move(value));
      }
      peer = sender;
      ++sends;
      ++receives;
      return OpStatus::kOk;
    }
  }
  if (buffered) {
    ++receives;
    return OpStatus::kOk;
  }
  return closed ? OpStatus::kClosed : OpStatus::kEmpty;
}

template <class T>
OpStatus ChannelState<T>::try_put(T& value) noexcept {
  WaitNode* peer = nullptr;
  OpStatus status = OpStatus::kOk;
  {
    MutexLock lock(mutex);
    status = put(value, peer);
  }
  if (peer != nullptr) peer->waiter->wake();
  return status;
}

template <class T>
OpStatus ChannelState<T>::try_take(std::optional<T>& into) noexcept {
  WaitNode* peer = nullptr;
  OpStatus status = OpStatus::kOk;
  {
    MutexLock lock(mutex);
    status = take(into, peer);
  }
  if (peer != nullptr) peer->waiter->wake();
  return status;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
