// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a `SlotQueue` gives to those who use it: tokens to producers, leases to consumers, tickets to who starts
/// things.

#include <concepts>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/detail/check.hpp"
#include "penstock/exec/detail/slot_core.hpp"
#include "penstock/exec/detail/typed_slot.hpp"
#include "penstock/exec/slot_queue_options.hpp"

namespace penstock::inline PENSTOCK_ABI {

template <class T>
class SlotQueue;
template <class T>
class SlotAwaiter;

/// Names a slot to who has offered it, for as long as the slot exists, through all its leases. May be copied, and may
/// outlive slot and queue.
///
/// Threads: one at a time, like any value; distinct copies from any threads.
class SlotToken {
 public:
  /// Names nothing: kGone.
  SlotToken() = default;
  SlotToken(const SlotToken& other) noexcept : node_(other.node_), id_(other.id_) {
    if (node_ != nullptr) node_->core.share();
  }
  SlotToken(SlotToken&& other) noexcept : node_(std::exchange(other.node_, nullptr)), id_(other.id_) {}
  SlotToken& operator=(SlotToken other) noexcept {
    std::swap(node_, other.node_);
    std::swap(id_, other.id_);
    return *this;
  }
  ~SlotToken() {
    if (node_ != nullptr) node_->core.unshare();
  }

  /// Where the slot is at this moment.
  [[nodiscard]] SlotState state() const noexcept {
    return node_ == nullptr ? SlotState::kGone : node_->core.state(*node_, id_);
  }

  /// Has the slot go for good: at once if it is idle, else at the end of its lease. `options.on_retired` gets it.
  ///
  /// Returns: where it was.
  SlotState retire() noexcept { return node_ == nullptr ? SlotState::kGone : node_->core.retire(*node_, id_); }

  /// Slots of a queue are counted from 0. No queue lives to see 2^64 of them.
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }

 private:
  template <class>
  friend class SlotQueue;
  template <class>
  friend class LaunchTicket;

  /// Takes a share over.
  SlotToken(detail::SlotNode& node, std::uint64_t id) noexcept : node_(&node), id_(id) {}

  detail::SlotNode* node_ = nullptr;
  std::uint64_t id_ = 0;
};

/// The right to use a slot, alone, until it is destroyed; then the slot is the newest in its queue. May outlive the
/// queue: then the slot is retired.
///
/// Threads: one at a time, not necessarily the one that acquired it. One that was moved from holds nothing; `*`, `->`
/// and `retire` of it end the process.
template <class T>
class [[nodiscard]] SlotLease {
 public:
  SlotLease() = default;
  SlotLease(SlotLease&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  SlotLease& operator=(SlotLease other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~SlotLease() { reset(); }

  /// Whether it holds a slot.
  explicit operator bool() const noexcept { return node_ != nullptr; }
  T& operator*() const noexcept { return held().slot(); }
  T* operator->() const noexcept { return &held().slot(); }

  /// Puts the slot back now.
  void reset() noexcept {
    if (node_ != nullptr) give_back(false);
  }
  /// Ends the slot instead: it is of no use any more. `options.on_retired` gets it.
  void discard() noexcept {
    if (node_ != nullptr) give_back(true);
  }
  /// Takes the slot out of the queue for good.
  [[nodiscard]] T retire() noexcept {
    detail::TypedSlotNode<T>& node = held();
    node_ = nullptr;
    node.core.take_out(node);
    T slot = node.take();
    node.core.end_take_out(node);
    return slot;
  }

 private:
  template <class>
  friend class SlotQueue;
  template <class>
  friend class SlotAwaiter;

  explicit SlotLease(detail::SlotNode& node) noexcept : node_(&detail::typed<T>(node)) {}

  [[nodiscard]] detail::TypedSlotNode<T>& held() const noexcept {
    PENSTOCK_CHECK(node_ != nullptr, "a slot lease was used that holds nothing");
    return *node_;
  }
  void give_back(bool retires) noexcept {
    detail::SlotNode& node = *std::exchange(node_, nullptr);
    node.core.give_back(node, retires);
  }

  detail::TypedSlotNode<T>* node_ = nullptr;
};

/// A start that is under way, and the duty to say how it ends. One that is destroyed without a word has failed.
///
/// A start is asked for by the first in line who has asked for none yet. Its error is for that one alone: if that one
/// waits no longer, the error is counted, and nobody gets it. Its slot goes to whoever is first.
///
/// Threads: one at a time. May outlive the queue. One that is settled or was moved from does nothing.
template <class T>
class [[nodiscard]] LaunchTicket {
 public:
  LaunchTicket(LaunchTicket&& other) noexcept : start_(std::exchange(other.start_, nullptr)) {}
  LaunchTicket& operator=(LaunchTicket other) noexcept {
    std::swap(start_, other.start_);
    return *this;
  }
  ~LaunchTicket() {
    if (start_ == nullptr) return;
    start_->core.drop(*start_);
    delete start_;
  }

  /// Offers `T(std::forward<U>(slot))`.
  ///
  /// Returns: the slot's token; with `slot` untouched, Unavailable (the queue is closed; the ticket is settled) or
  ///          FailedPrecondition (it had been). Throws: what the constructor throws, and std::bad_alloc; then the
  ///          ticket is not settled.
  template <class U = T>
  requires std::constructible_from<T, U&&> absl::StatusOr<SlotToken> succeed(U&& slot);

  /// The start has failed, of `error`; an OK is Unknown. Returns: whether somebody was there to get the error.
  bool fail(absl::Status error) noexcept;

  /// Whether it can still be settled.
  [[nodiscard]] bool is_pending() const noexcept { return start_ != nullptr; }

 private:
  friend class detail::TypedSlotCore<T>;

  explicit LaunchTicket(detail::SlotStart& start) noexcept : start_(&start) {}

  detail::SlotStart* start_;
};

/// Is in a phase until it is destroyed, and says then how long that took. Does not outlive the queue.
class [[nodiscard]] PhaseUse {
 public:
  PhaseUse() = default;
  PhaseUse(PhaseUse&& other) noexcept
      : core_(std::exchange(other.core_, nullptr)), phase_(other.phase_), since_(other.since_) {}
  PhaseUse& operator=(PhaseUse other) noexcept {
    std::swap(core_, other.core_);
    std::swap(phase_, other.phase_);
    std::swap(since_, other.since_);
    return *this;
  }
  ~PhaseUse() { stop(); }

  /// Leaves now.
  void stop() noexcept;
  /// Leaves now, and nothing is learnt from how long it took.
  void cancel() noexcept;

 private:
  template <class>
  friend class SlotQueue;

  PhaseUse(detail::SlotCore& core, SlotPhase phase) noexcept
      : core_(&core), phase_(phase), since_(core.settings().clock->now()) {}

  void leave(const Duration* latency) noexcept;

  detail::SlotCore* core_ = nullptr;
  SlotPhase phase_ = SlotPhase::kRunner;
  TimePoint since_{};
};

// --- implementation ---

template <class T>
template <class U>
requires std::constructible_from<T, U&&> absl::StatusOr<SlotToken> LaunchTicket<T>::succeed(U&& slot) {
  if (start_ == nullptr) return detail::SlotCore::settled_error();
  detail::SlotCore& core = start_->core;
  detail::SlotNode* const node = core.reserve();
  if (node == nullptr) {
    absl::Status closed = core.closed_error();
    static_cast<void>(fail(closed));
    return closed;
  }
  detail::make_slot<T>(*node, std::forward<U>(slot));
  detail::SlotStart* const start = std::exchange(start_, nullptr);
  SlotToken token(*node, core.publish(*node, start));
  delete start;
  return token;
}

template <class T>
bool LaunchTicket<T>::fail(absl::Status error) noexcept {
  if (start_ == nullptr) return false;
  if (error.ok()) error = absl::Status(absl::StatusCode::kUnknown, "");
  detail::SlotStart* const start = std::exchange(start_, nullptr);
  const bool reached = start->core.fail(*start, std::move(error));
  delete start;
  return reached;
}

}  // namespace penstock::inline PENSTOCK_ABI
