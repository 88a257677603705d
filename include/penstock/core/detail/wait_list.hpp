// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The one way to wait: every operation that waits, of a thread or of a coroutine, is a node on a list and is woken
/// through a claim that exactly one party wins.
///
/// A waiting operation is a `Waiter`, with one `WaitNode` on each list that may serve it (a receive has one, a select
/// one for each case). Its life:
///
///   1. The operation finds, under the list's lock, that it has to wait, and puts its node at the end of the list.
///   2. It lets go of the lock, registers with its context (cancellation, deadline) and parks or suspends.
///   3. A claim ends the wait. Whoever can serve it takes nodes from the front of the list, under the lock, until one
///      claim succeeds; hands the value over through `WaitNode::slot`; lets go of the lock; and calls `wake`. The
///      deadline and the cancellation claim without the lock. One of them wins, and only the winner wakes.
///   4. The operation takes its registrations back. If it was not served by a list it locks and unlinks its nodes.
///
/// So a node is on its list only while its operation lives; a claim that fails costs the claimer one step; and the
/// value of a hand-over is written and published before the waiter can run on.

#include <cstdint>
#include <utility>

#include "penstock/core/context.hpp"
#include "penstock/core/detail/cancel_hook.hpp"
#include "penstock/core/detail/parker.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/executor.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// One waiting operation that only a list ends, the one it is on. What every waiter has: the claim, and the way to wake
/// it.
///
/// Threads: one owner waits; anybody may claim, and the one whose claim succeeded wakes.
class EndlessWaiter {
 public:
  /// How a wait ended. A list serves with kServed, or kServed + n for the n-th case of a select.
  using Outcome = std::uint32_t;
  static constexpr Outcome kPending = 0;
  static constexpr Outcome kTimedOut = 1;
  static constexpr Outcome kCancelled = 2;
  static constexpr Outcome kAbandoned = 3;  // the waiting coroutine was destroyed
  static constexpr Outcome kClosed = 4;     // whatever it waited for is closed for good
  static constexpr Outcome kServed = 5;

  /// A waiting thread, the calling one.
  EndlessWaiter() noexcept : EndlessWaiter(nullptr, nullptr, false, true) {}
  /// A waiting coroutine: `work` resumes it, on `executor`.
  EndlessWaiter(Executor& executor, Work& work) noexcept : EndlessWaiter(&executor, &work, false, true) {}
  EndlessWaiter(const EndlessWaiter&) = delete;
  EndlessWaiter& operator=(const EndlessWaiter&) = delete;

  /// Ends the wait with `outcome`; false if another claim came first. The winner calls `wake` once it holds no lock.
  bool claim(Outcome outcome) noexcept {
    if (has_one_claimer_) {
      // A node claims once, and a thread waits for nothing else; a coroutine may be destroyed meanwhile. Then the
      // destroyer was first, and does not look here again.
      if (executor_ == nullptr) {
        outcome_.store(outcome, std::memory_order_relaxed);
        return true;
      }
      return outcome_.exchange(outcome, std::memory_order_relaxed) == kPending;
    }
    return try_claim(outcome);
  }

  /// The same for who is not a list. An exchange costs half of this.
  bool try_claim(Outcome outcome) noexcept {
    Outcome pending = kPending;
    return outcome_.compare_exchange_strong(pending, outcome, std::memory_order_relaxed, std::memory_order_relaxed);
  }

  /// Lets the owner run on. The waiter may be gone when this returns.
  void wake() noexcept {
    if (executor_ == nullptr) return parker_.unpark();
    // An endless wait is complete once it is listed: there is nobody to meet at the gate.
    if (!opens_later_ || gate_.exchange(Gate::kWoken, std::memory_order_acq_rel) == Gate::kOpen) {  // W1
      executor_->post(*work_);
    }
  }

  /// Parks the calling thread, the owner, until a claim wins and its winner has called `wake`.
  Outcome wait() noexcept;

  /// Instead of `wait`, without sleeping: kPending if it has not come to that yet.
  Outcome try_wait() noexcept { return parker_.try_park() ? outcome() : kPending; }

  /// For a coroutine that has listed its nodes and unlocked: it may be resumed, and be gone, from then on.
  [[nodiscard]] static constexpr bool is_endless() noexcept { return true; }
  [[nodiscard]] static constexpr bool suspend() noexcept { return true; }
  /// Of a coroutine: where it resumes.
  [[nodiscard]] Executor& executor() const noexcept { return *executor_; }
  /// For a coroutine that runs again.
  Outcome resume() noexcept { return outcome(); }

 protected:
  EndlessWaiter(Executor* executor, Work* work, bool opens_later, bool has_one_claimer) noexcept
      : gate_(opens_later ? Gate::kOpening : Gate::kOpen),
        opens_later_(opens_later),
        has_one_claimer_(has_one_claimer),
        executor_(executor),
        work_(work) {}

  enum class Gate : std::uint8_t { kOpening, kOpen, kWoken };

  [[nodiscard]] Outcome outcome() const noexcept { return outcome_.load(std::memory_order_relaxed); }

  // Decides who wins and nothing else: what the winner did is published by wake() (the parker's token, the executor's
  // queue), and a loser does not touch the waiter. So its order is relaxed.
  world::Atomic<Outcome> outcome_{kPending};
  Parker parker_;
  // A coroutine could be claimed and resumed, and its frame be gone, while suspend() is still registering with the
  // context. So of suspend() and wake() the second one lets it run.
  //   W1  release by the first -> acquire by the second: registrations and hand-over are both done.
  world::Atomic<Gate> gate_;
  const bool opens_later_;      // suspend() opens the gate
  const bool has_one_claimer_;  // the one list it is on
  Executor* const executor_;    // null: a thread, which parks

 private:
  Work* const work_;
};

/// One waiting operation that its context may end.
class Waiter : public EndlessWaiter {
 public:
  /// A waiting thread, the calling one, for at most as long as `ctx` lasts; `ctx` outlives the waiter.
  ///
  /// Throws: std::system_error if the clock of `ctx` needs a timer thread and cannot start it. So this comes before the
  /// first node is listed. A thread that waits in machine time needs none.
  explicit Waiter(const Context& ctx);
  /// A waiting coroutine: `work` resumes it, on `executor`. Throws: as above, and any deadline needs timers here.
  Waiter(const Context& ctx, Executor& executor, Work& work);

  /// As `EndlessWaiter::wait`; the deadline and the cancellation of the context are among the claimers.
  Outcome wait() noexcept;

  /// Whether the context can never end, so that there is nothing to register with.
  [[nodiscard]] bool is_endless() const noexcept { return !ctx_.can_end(); }

  /// For a coroutine that has listed its nodes and unlocked, and is not endless: lets the end of the context claim the
  /// wait, and returns whether the coroutine stays suspended. Until this returns nobody resumes it; from then on touch
  /// nothing of it. An endless one may be resumed, and be gone, as soon as its list is unlocked.
  [[nodiscard]] bool suspend() noexcept;

  /// For a coroutine that runs again: takes back the registrations. Returns the outcome.
  Outcome resume() noexcept;

 private:
  struct Hook : CancelHook {
    Hook(Fire fire, Waiter& waiter) noexcept : CancelHook(fire), self(waiter) {}
    Waiter& self;
  };
  struct Deadline : Timer {
    Deadline(Fire fire, Waiter& waiter) noexcept : Timer(fire), self(waiter) {}
    Waiter& self;
  };

  Waiter(const Context& ctx, Executor* executor, Work* work, bool needs_timer);
  void withdraw() noexcept;

  /// For a context that was cancelled.
  void end_with_context() noexcept;

  void claim_and_wake(Outcome outcome) noexcept {
    if (claim(outcome)) wake();
  }

  const bool needs_timer_;
  const Context& ctx_;
  Hook hook_;
  Deadline deadline_;
};

/// The place of a waiting operation on one list.
struct WaitNode {
  WaitNode(EndlessWaiter& waiting, void* value, Waiter::Outcome outcome_when_served = Waiter::kServed) noexcept
      : waiter(&waiting), slot(value), served(outcome_when_served) {}
  WaitNode(const WaitNode&) = delete;
  WaitNode& operator=(const WaitNode&) = delete;

  EndlessWaiter* const waiter;
  void* const slot;              ///< Where the value is taken from, or put.
  const Waiter::Outcome served;  ///< What a claim through this node says.
  bool listed = false;           // guarded by the list's lock, as all below
  WaitNode* next = nullptr;      // on the list, then on a WakeList
  WaitNode* previous = nullptr;
};

/// Waiters that have been claimed under a lock, to be woken after it.
class WakeList {
 public:
  WakeList() = default;
  WakeList(const WakeList&) = delete;
  WakeList& operator=(const WakeList&) = delete;

  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }

  void push(WaitNode& node) noexcept {
    node.next = nullptr;
    (last_ == nullptr ? first_ : last_->next) = &node;
    last_ = &node;
  }

  /// Wakes them in the order in which they were claimed. Called without a lock.
  void wake_all() noexcept {
    if (first_ == nullptr) return;
    if (first_ != last_) return wake_several();
    std::exchange(first_, nullptr)->waiter->wake();
    last_ = nullptr;
  }

 private:
  void wake_several() noexcept;

  WaitNode* first_ = nullptr;
  WaitNode* last_ = nullptr;
};

/// First come, first served. Threads: guarded by the owner's lock.
class WaitList {
 public:
  WaitList() = default;
  WaitList(const WaitList&) = delete;
  WaitList& operator=(const WaitList&) = delete;

  /// No operation is on the list. False does not promise that one can still be claimed.
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }

  /// Who came first, or null.
  [[nodiscard]] WaitNode* front() const noexcept { return first_; }

  void push(WaitNode& node) noexcept {
    node.next = nullptr;
    node.previous = last_;
    node.listed = true;
    (last_ == nullptr ? first_ : last_->next) = &node;
    last_ = &node;
  }

  /// For lists that serve last the one who came first.
  void push_front(WaitNode& node) noexcept {
    node.previous = nullptr;
    node.next = first_;
    node.listed = true;
    (first_ == nullptr ? last_ : first_->previous) = &node;
    first_ = &node;
  }

  /// Takes `node` off, if it is still on.
  void remove(WaitNode& node) noexcept {
    if (!node.listed) return;
    (node.previous == nullptr ? first_ : node.previous->next) = node.next;
    (node.next == nullptr ? last_ : node.next->previous) = node.previous;
    node.listed = false;
  }

  /// Takes nodes off the front until one can be claimed, and returns that one, or null. The caller hands over, unlocks,
  /// and wakes it.
  WaitNode* claim_first() noexcept {
    while (WaitNode* const node = pop()) {
      if (node->waiter->claim(node->served)) return node;
    }
    return nullptr;
  }

  /// Claims everybody with `outcome` and leaves the list empty.
  void claim_all(Waiter::Outcome outcome, WakeList& wake) noexcept;

 private:
  WaitNode* pop() noexcept {
    WaitNode* const node = first_;
    if (node != nullptr) remove(*node);
    return node;
  }

  WaitNode* first_ = nullptr;
  WaitNode* last_ = nullptr;
};

/// kTimedOut and kCancelled as a status; kClosed as kClosed; anything served as kOk.
OpStatus to_op_status(Waiter::Outcome outcome) noexcept;

}  // namespace penstock::inline PENSTOCK_ABI::detail
