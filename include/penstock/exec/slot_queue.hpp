// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Things that are ready to serve, handed to those who need one: warm containers, model processes, connections. The
/// newest one first, to whoever has waited longest.

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/exec/detail/slot_acquire.hpp"
#include "penstock/exec/detail/slot_core.hpp"
#include "penstock/exec/detail/typed_slot.hpp"
#include "penstock/exec/slot_handles.hpp"
#include "penstock/exec/slot_queue_options.hpp"

namespace penstock::inline PENSTOCK_ABI {

namespace detail {
struct SlotQueueAccess;
}

/// A stack of slots that are idle, and a line of those who wait for one.
///
///     SlotQueue<Container> queue({.name = "resize",
///                                 .idle_timeout = 30s,
///                                 .launch = [&](LaunchTicket<Container> ticket) { starters.post(std::move(ticket));
///                                 }});
///
///     auto container = queue.acquire(ctx);          // the warmest; or waits, and has one started if need be
///     if (!container.ok()) return container.status();
///     (*container)->run(request);                   // back on top at the end of the scope
///
///     absl::StatusOr<SlotToken> token = queue.offer(Container(...));   // who makes them
///     if (std::optional<Container> mine = queue.eject(*token)) ...     // and wants one back: it is idle, and now mine
///
/// Slots are last in, first out, so those that are not needed grow old at the bottom, where `idle_timeout` ends them.
/// Who waits is served first come, first served, threads and coroutines in one line. A slot that comes is handed to the
/// first in line, and only that one is woken; nobody overtakes. A slot is acquired, ejected or ended by exactly one,
/// and who stops waiting takes none along.
///
/// With `options.launch` the queue asks for slots: each time that somebody comes to wait, or stops, that a start or a
/// lease ends, the policy (launch_policy.hpp) decides whether one more is needed.
///
/// The queue may be destroyed while leases, tokens and tickets are out and while somebody waits: who waits gets
/// Unavailable, leases stay good, and their slots are retired when they end. Waiting or not, it must not be destroyed
/// while a call is on its way in.
///
/// Memory: a node for each of the most slots that there were at a time, which are used again: in the long run, no
/// allocation.
///
/// Threads: any member, from any thread. Order: what was done to a slot before it was offered, or its lease ended, is
/// visible to who gets it next.
template <class T>
class SlotQueue {
 public:
  /// Throws: std::invalid_argument with the text of `options.validate()`; std::bad_alloc; std::system_error if the
  /// clock
  ///         needs a timer thread, for `idle_timeout` or a policy that names times, and cannot start it.
  explicit SlotQueue(SlotQueueOptions<T> options) : core_(new detail::TypedSlotCore<T>(std::move(options))) {}
  SlotQueue(const SlotQueue&) = delete;
  SlotQueue& operator=(const SlotQueue&) = delete;
  /// Closes. Blocks: while other threads launch or set a timer, or a thread of the clock ends slots.
  ~SlotQueue() { core_->destroy(); }

  // Who has slots.

  /// Queues `T(std::forward<U>(slot))`, as the newest, or hands it to the first in line.
  ///
  /// Returns: its token; Unavailable if the queue is closed, with `slot` untouched. Throws: what the constructor
  /// throws,
  ///          std::bad_alloc.
  /// Cost: O(1), whatever waits; two locks of a few nanoseconds.
  template <class U = T>
  requires std::constructible_from<T, U&&> absl::StatusOr<SlotToken> offer(U&& slot);

  /// Takes a slot back that is idle. Of this and an acquire exactly one gets it.
  ///
  /// Returns: the slot; or nothing, and `why` says what it is: leased, gone, or of another queue.
  /// Cost: O(1), wherever in the stack it is.
  [[nodiscard]] std::optional<T> eject(const SlotToken& token, EjectRefusal& why) noexcept;
  [[nodiscard]] std::optional<T> eject(const SlotToken& token) noexcept {
    EjectRefusal why{};
    return eject(token, why);
  }
  /// Takes the slot that has been idle for longest, if there is one.
  [[nodiscard]] std::optional<T> eject_oldest() noexcept;

  // Who needs one.

  /// Takes the newest slot, waiting in line while there is none. A context that has ended already makes it look once.
  ///
  /// Blocks:  until a slot is handed over, the start that this one has asked for fails, the queue closes, or `ctx`
  ///          ends; before that it may run `options.launch`.
  /// Returns: a lease; DeadlineExceeded, Cancelled or Unavailable (closed), with the `failure_stage` "slot" and a text
  ///          that gives the numbers; the error that the start has failed of; ResourceExhausted if there was no memory
  ///          to ask for one.
  /// Throws:  std::bad_alloc for the text of a refusal; std::system_error if the clock of `ctx` needs a timer thread
  ///          and cannot start it. Then nothing is held, and nobody is left in line.
  /// Cost:    one lock and no clock, if there is one; else O(1), and allocates nothing.
  absl::StatusOr<SlotLease<T>> acquire(const Context& ctx = Context::background());

  /// The same without waiting: ResourceExhausted where that would.
  absl::StatusOr<SlotLease<T>> try_acquire();

  /// `co_await queue.async_acquire(ctx)`: what `acquire` does, returns and throws, for a coroutine. It may be destroyed
  /// while it waits here, until its executor resumes it. A wait with a deadline needs timers.
  [[nodiscard]] SlotAwaiter<T> async_acquire(Context ctx = Context::background()) {
    return SlotAwaiter<T>(*core_, std::move(ctx));
  }

  // Who starts them.

  /// Whether the policy would have one more started now. Asks a `CustomLaunch`.
  [[nodiscard]] bool needs_slot() noexcept { return core_->needs_slot(); }

  /// Enters `phase`, until what is returned goes; the time until then is a latency of that phase. Waiters of `acquire`,
  /// tickets and leases are counted without. Of a value that is no phase, nothing is entered.
  PhaseUse track(SlotPhase phase) noexcept;
  /// The same by hand. Returns: OK, or InvalidArgument (no such phase).
  absl::Status enter(SlotPhase phase) { return core_->enter(phase); }
  /// Returns: OK; FailedPrecondition if nobody has entered it who has not left, which is counted; InvalidArgument (no
  ///          such phase, a latency below 0).
  absl::Status leave(SlotPhase phase) { return core_->leave(phase, nullptr); }
  absl::Status leave(SlotPhase phase, Duration latency) { return core_->leave(phase, &latency); }

  /// A guess at how long an acquire would wait that came now: none with an idle slot; else its place in line times the
  /// mean lease, shared among the slots that are out or starting. Nothing if there is nothing to tell it by; leases are
  /// timed with `launch` or `time_leases` only.
  [[nodiscard]] std::optional<Duration> expected_wait() const noexcept {
    const Duration wait = core_->expected_wait();
    return wait == Duration::max() ? std::nullopt : std::optional(wait);
  }

  /// Takes and gives no more slots, for good: who waits or comes gets Unavailable, slots that are idle are retired, and
  /// those that are leased will be when they come back. May be called again. Returns whether this was the call that
  /// closed it.
  bool close() noexcept { return core_->close(); }

  [[nodiscard]] bool is_closed() const noexcept { return core_->is_closed(); }
  /// No slot, lease, start, phase, and nobody who waits.
  [[nodiscard]] bool is_idle() const noexcept { return core_->is_idle(); }
  /// Slots that are idle.
  [[nodiscard]] std::size_t size() const noexcept { return core_->idle(); }
  /// When the slot that has been idle for longest came back, on the queue's clock; nothing if none is.
  [[nodiscard]] std::optional<TimePoint> idle_since() const noexcept {
    const TimePoint since = core_->idle_since();
    return since == TimePoint::max() ? std::nullopt : std::optional(since);
  }
  [[nodiscard]] const std::string& name() const noexcept { return core_->settings().name; }
  /// All at one moment. Cost: one lock, held while some 2.5 KiB are copied.
  [[nodiscard]] SlotQueueStats stats() const noexcept { return core_->stats(); }
  /// Writes the metrics `penstock_slot_queue_...`, with the label queue = name().
  void collect(MetricSink& sink) const { core_->collect(sink); }

 private:
  friend struct detail::SlotQueueAccess;

  [[nodiscard]] T take_from(detail::SlotNode& node) noexcept {
    T slot = detail::typed<T>(node).take();
    core_->recycle(node);
    return slot;
  }

  detail::SlotCore* const core_;  // one share of it is the queue's
};

/// What `SlotQueue::async_acquire` returns, for `co_await`.
template <class T>
class [[nodiscard]] SlotAwaiter {
 public:
  /// For who has a queue's core.
  SlotAwaiter(detail::SlotCore& core, Context ctx) : wait_(core, std::move(ctx)) {}

  bool await_ready() { return wait_.ready(); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    return wait_.suspend(coroutine);
  }
  absl::StatusOr<SlotLease<T>> await_resume() {
    if (detail::SlotNode* const node = wait_.finish()) return SlotLease<T>(*node);
    return wait_.refusal();
  }

 private:
  detail::CoroutineSlotWait wait_;
};

// --- implementation ---

namespace detail {
struct SlotQueueAccess {
  template <class T>
  static SlotCore& core(const SlotQueue<T>& queue) noexcept {
    return *queue.core_;
  }
};
}  // namespace detail

template <class T>
template <class U>
requires std::constructible_from<T, U&&> absl::StatusOr<SlotToken> SlotQueue<T>::offer(U&& slot) {
  detail::SlotNode* const node = core_->reserve();
  if (node == nullptr) return core_->closed_error();
  detail::make_slot<T>(*node, std::forward<U>(slot));
  return SlotToken(*node, core_->publish(*node, nullptr));
}

template <class T>
std::optional<T> SlotQueue<T>::eject(const SlotToken& token, EjectRefusal& why) noexcept {
  if (token.node_ == nullptr || &token.node_->core != core_) {
    core_->count_foreign_token();
    why = EjectRefusal::kForeign;
    return std::nullopt;
  }
  if (!core_->eject(*token.node_, token.id_, why)) return std::nullopt;
  return take_from(*token.node_);
}

template <class T>
std::optional<T> SlotQueue<T>::eject_oldest() noexcept {
  detail::SlotNode* const node = core_->eject_oldest();
  if (node == nullptr) return std::nullopt;
  return take_from(*node);
}

template <class T>
absl::StatusOr<SlotLease<T>> SlotQueue<T>::acquire(const Context& ctx) {
  if (detail::SlotNode* const node = core_->try_take()) return SlotLease<T>(*node);
  detail::SlotWait wait(*core_);
  if (core_->take(wait, ctx)) return SlotLease<T>(*wait.take());
  return wait.refusal();
}

template <class T>
absl::StatusOr<SlotLease<T>> SlotQueue<T>::try_acquire() {
  if (detail::SlotNode* const node = core_->try_take()) return SlotLease<T>(*node);
  detail::SlotWait wait(*core_);
  core_->refuse_exhausted(wait);
  return wait.refusal();
}

template <class T>
PhaseUse SlotQueue<T>::track(SlotPhase phase) noexcept {
  if (static_cast<std::size_t>(phase) >= kSlotPhases) return {};
  static_cast<void>(core_->enter(phase));  // makes no text, as there is nothing wrong
  return PhaseUse(*core_, phase);
}

}  // namespace penstock::inline PENSTOCK_ABI
