// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The part of a channel that depends on its elements: how values change hands. See channel_core.hpp for the locks and
/// the waits.
///
/// Every value moves under a lock, and directly: from the sender, or from its slot, to the receiver. A value that
/// somebody still has to see is never destroyed there; what is destroyed is only the shell that a move left behind.

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

#include "penstock/channel/detail/channel_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// A place in the buffer.
template <class T>
struct Slot {
  Slot() noexcept {}
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;
  ~Slot() {}

  // S1  release by who fills it -> acquire by who empties it: the value, and what its sender did before. And back:
  //     the empty place, and what its receiver did before.
  world::Atomic<bool> full{false};
  union {
    T value;  // alive while `full`
  };
};

template <class T>
struct ChannelState : ChannelCore {
  explicit ChannelState(std::size_t capacity);
  ChannelState(const ChannelState&) = delete;
  ChannelState& operator=(const ChannelState&) = delete;
  ~ChannelState();

  // Whole attempts: lock, try, unlock, wake.
  OpStatus try_put(T& value) noexcept;
  OpStatus try_take(std::optional<T>& into) noexcept;
  OpStatus try_reserve() noexcept {
    const BothLocks locks(*this);
    return reserve();
  }
  /// Gives a reserved place up, for `value` if that is not null: kClosed if it cannot be sent any more.
  OpStatus release_place(T* value) noexcept;

  // Under both locks: the attempts of channel_core.hpp.
  OpStatus put(T& value, WakeList& wake) noexcept;
  OpStatus reserve() noexcept;
  /// `sink` is called with a `T&&` if there is a value.
  template <class Sink>
  OpStatus take(Sink sink, WakeList& wake) noexcept;
  /// Lets senders go ahead for whom there is room now.
  void admit(WakeList& wake) noexcept;

  // Under the lock of the end; whether it was possible.
  bool push(T& value) noexcept;
  template <class Sink>
  bool pop(Sink sink) noexcept;

  static Slot<T>& next_slot(const ChannelEnd& end) noexcept {
    return static_cast<Slot<T>*>(end.slots)[end.index.load(std::memory_order_relaxed)];
  }

 private:
  OpStatus put_on_detour(T& value) noexcept;
  OpStatus take_on_detour(std::optional<T>& into) noexcept;
};

/// An operation of the sending end, as who serves it sees it.
template <class T>
class SendingOp : public ChannelOp {
 public:
  explicit SendingOp(ChannelState<T>& state) noexcept : ChannelOp(state, state.tx) {}

  /// What it sends; null if it reserves a place.
  T* value = nullptr;

 protected:
  ~SendingOp() = default;
  [[nodiscard]] ChannelState<T>& state() const noexcept { return static_cast<ChannelState<T>&>(channel); }
};

/// A send of `from`, which is moved from only when the send completes.
template <class T>
class Sending final : public SendingOp<T> {
 public:
  Sending(ChannelState<T>& state, T& from) noexcept : SendingOp<T>(state) { this->value = std::addressof(from); }

  OpStatus attempt(WakeList& wake) noexcept override { return this->state().put(*this->value, wake); }
  OpStatus try_now() noexcept override { return this->state().try_put(*this->value); }
  [[nodiscard]] bool looks_ready() const noexcept override {
    const Notice notice = this->end.notice.load(std::memory_order_relaxed);
    if ((notice & kChannelClosed) != 0) return true;
    if ((notice & kReserved) != 0) return this->channel.has_room();
    if ((notice & (kPeersWait | kRendezvous)) != 0) return (notice & kPeersWait) != 0;
    return !ChannelState<T>::next_slot(this->end).full.load(std::memory_order_acquire);  // Q1 of select.cpp
  }
};

/// A place for a value that is sent later.
template <class T>
class Reserving final : public SendingOp<T> {
 public:
  using SendingOp<T>::SendingOp;

  OpStatus attempt(WakeList& /*wake*/) noexcept override { return this->state().reserve(); }
  OpStatus try_now() noexcept override { return this->state().try_reserve(); }
  [[nodiscard]] bool looks_ready() const noexcept override {
    return this->end.has(kChannelClosed) || this->channel.has_room();
  }
};

/// A receive into `into`, which is empty until it has completed.
template <class T>
class Receiving final : public ChannelOp {
 public:
  Receiving(ChannelState<T>& state, std::optional<T>& into) noexcept : ChannelOp(state, state.rx), into_(into) {}

  OpStatus attempt(WakeList& wake) noexcept override {
    return state().take([this](T&& value) { into_.emplace(std::move(value)); }, wake);
  }
  OpStatus try_now() noexcept override { return state().try_take(into_); }
  [[nodiscard]] bool looks_ready() const noexcept override {
    const Notice notice = end.notice.load(std::memory_order_relaxed);
    if ((notice & kChannelClosed) != 0) return true;
    if ((notice & kRendezvous) != 0) return (notice & kPeersWait) != 0;
    return ChannelState<T>::next_slot(end).full.load(std::memory_order_acquire);  // Q1 of select.cpp
  }

  /// For the peer that has claimed it.
  void accept(T&& value) noexcept {
    into_.emplace(std::move(value));
    moved = true;
  }

 private:
  [[nodiscard]] ChannelState<T>& state() const noexcept { return static_cast<ChannelState<T>&>(channel); }

  std::optional<T>& into_;
};

/// `state`, if it has places to reserve. Throws: std::invalid_argument.
template <class T>
ChannelState<T>& buffered(ChannelState<T>& state) {
  if (state.tx.capacity == 0) refuse_to_reserve();
  return state;
}

/// The operation of a node on a channel's list.
template <class Op>
Op& op_of(WaitNode& node) noexcept {
  return static_cast<Op&>(*static_cast<ChannelOp*>(node.slot));
}

// --- implementation ---

template <class T>
ChannelState<T>::ChannelState(std::size_t capacity) : ChannelCore(capacity, sizeof(Slot<T>), sizeof(T)) {
  if (capacity == 0) return;
  Slot<T>* const slots = std::allocator<Slot<T>>().allocate(capacity);
  std::uninitialized_default_construct_n(slots, capacity);
  tx.slots = rx.slots = slots;
}

template <class T>
ChannelState<T>::~ChannelState() {
  let_go();
  if (tx.slots == nullptr) return;
  while (pop([](T&&) {})) {
  }
  std::allocator<Slot<T>>().deallocate(static_cast<Slot<T>*>(tx.slots), tx.capacity);
}

template <class T>
bool ChannelState<T>::push(T& value) noexcept {
  Slot<T>& slot = next_slot(tx);
  if (slot.full.load(std::memory_order_acquire)) return false;  // S1 acquire
  std::construct_at(std::addressof(slot.value), std::move(value));
  slot.full.store(true, std::memory_order_release);  // S1 release
  tx.advance();
  const std::uint64_t sent = tx.passed.load(std::memory_order_relaxed);
  if (sent - tx.received_at_least > tx.high_water) {  // perhaps: look how far the receivers are
    tx.received_at_least = rx.passed.load(std::memory_order_relaxed);
    if (sent - tx.received_at_least > tx.high_water) tx.high_water = sent - tx.received_at_least;
  }
  return true;
}

template <class T>
template <class Sink>
bool ChannelState<T>::pop(Sink sink) noexcept {
  Slot<T>& slot = next_slot(rx);
  if (!slot.full.load(std::memory_order_acquire)) return false;  // S1 acquire
  sink(std::move(slot.value));
  std::destroy_at(std::addressof(slot.value));
  rx.advance();
  slot.full.store(false, std::memory_order_release);  // S1 release; after `passed`, so that high_water is no guess
  return true;
}

template <class T>
void ChannelState<T>::admit(WakeList& wake) noexcept {
  while (!tx.waiting.empty() && has_room()) {
    WaitNode* const node = claim_first(tx);
    if (node == nullptr) return;
    SendingOp<T>& sender = op_of<SendingOp<T>>(*node);
    if (sender.value == nullptr) {
      add_reserved(1);
    } else if (WaitNode* const receiver = claim_first(rx)) {  // the place was reserved, and nothing is buffered
      op_of<Receiving<T>>(*receiver).accept(std::move(*sender.value));
      wake.push(*receiver);
      ++tx.handed;
    } else {
      push(*sender.value);
    }
    sender.moved = true;
    wake.push(*node);
  }
}

template <class T>
OpStatus ChannelState<T>::put(T& value, WakeList& wake) noexcept {
  if (tx.has(kChannelClosed)) return OpStatus::kClosed;
  // All places may be reserved while receivers wait: then senders wait for a place, in their line.
  if (tx.capacity != 0 && !has_room()) return OpStatus::kFull;
  if (!rx.waiting.empty()) {
    if (WaitNode* const receiver = claim_first(rx)) {
      op_of<Receiving<T>>(*receiver).accept(std::move(value));
      wake.push(*receiver);
      ++tx.handed;
      return OpStatus::kOk;
    }
  }
  if (tx.capacity == 0) return OpStatus::kFull;
  push(value);
  return OpStatus::kOk;
}

template <class T>
OpStatus ChannelState<T>::reserve() noexcept {
  if (tx.has(kChannelClosed)) return OpStatus::kClosed;
  if (!has_room()) return OpStatus::kFull;
  add_reserved(1);
  return OpStatus::kOk;
}

template <class T>
template <class Sink>
OpStatus ChannelState<T>::take(Sink sink, WakeList& wake) noexcept {
  if (rx.capacity != 0) {
    if (pop(sink)) {
      admit(wake);
      return OpStatus::kOk;
    }
  } else if (WaitNode* const sender = claim_first(tx)) {
    SendingOp<T>& op = op_of<SendingOp<T>>(*sender);
    sink(std::move(*op.value));
    op.moved = true;
    wake.push(*sender);
    ++tx.handed;
    return OpStatus::kOk;
  }
  return rx.has(kChannelClosed) ? OpStatus::kClosed : OpStatus::kEmpty;
}

template <class T>
OpStatus ChannelState<T>::try_put(T& value) noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS {
  tx.lock.lock();
  const Notice notice = tx.notice.load(std::memory_order_relaxed);
  if ((notice & (kNoticeChange - 1)) != 0) [[unlikely]]
    return put_on_detour(value);
  const bool done = push(value);
  tx.lock.unlock();
  return done ? OpStatus::kOk : OpStatus::kFull;
}

template <class T>
OpStatus ChannelState<T>::put_on_detour(T& value) noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (tx.capacity != 0) rx.lock.lock();
  WakeList wake;
  const OpStatus status = put(value, wake);
  unlock_both();
  wake.wake_all();
  return status;
}

template <class T>
OpStatus ChannelState<T>::try_take(std::optional<T>& into) noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (rx.has(kRendezvous)) return take_on_detour(into);
  rx.lock.lock();
  const Notice notice = rx.notice.load(std::memory_order_relaxed);
  if ((notice & kPeersWait) != 0) [[unlikely]] {
    rx.lock.unlock();  // the other end's lock comes first
    return take_on_detour(into);
  }
  const bool done = pop([&into](T&& value) { into.emplace(std::move(value)); });
  rx.lock.unlock();
  if (done) return OpStatus::kOk;
  return (notice & kChannelClosed) != 0 ? OpStatus::kClosed : OpStatus::kEmpty;
}

template <class T>
OpStatus ChannelState<T>::take_on_detour(std::optional<T>& into) noexcept {
  WakeList wake;
  OpStatus status = OpStatus::kOk;
  {
    const BothLocks locks(*this);
    status = take([&into](T&& value) { into.emplace(std::move(value)); }, wake);
  }
  wake.wake_all();
  return status;
}

template <class T>
OpStatus ChannelState<T>::release_place(T* value) noexcept {
  WakeList wake;
  OpStatus status = OpStatus::kOk;
  {
    const BothLocks locks(*this);
    add_reserved(-1);
    if (value != nullptr) status = put(*value, wake);
    admit(wake);
  }
  wake.wake_all();
  return status;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
