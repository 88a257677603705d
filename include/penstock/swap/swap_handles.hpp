// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a `SwapRunner` gives to those who want a model: tickets to wait with, leases to be served under.

#include <coroutine>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/swap/detail/happening.hpp"
#include "penstock/swap/swap_model.hpp"
#include "penstock/swap/swap_scheduler.hpp"
#include "penstock/swap/swap_stats.hpp"

namespace penstock::inline PENSTOCK_ABI {

class SwapLease;

namespace detail {
struct SwapTicketState;

/// What ends the wait for a ticket: its grant, refusal or cancellation.
[[nodiscard]] Happening& decision_of(SwapTicketState& ticket) noexcept;
}  // namespace detail

/// The right to use a model, until it is destroyed: as long as one is out, its model is not evicted. (An unload stops
/// it nevertheless.) May outlive the runner; then it ends without a word.
///
/// Threads: one at a time, not necessarily the one that acquired it. One that was moved from holds nothing.
class [[nodiscard]] SwapLease {
 public:
  SwapLease() noexcept = default;
  SwapLease(SwapLease&&) noexcept = default;
  SwapLease& operator=(SwapLease&& other) noexcept;
  ~SwapLease() { reset(); }

  /// Whether it holds anything.
  explicit operator bool() const noexcept { return state_ != nullptr; }
  /// `kNoModel` if it holds nothing; so with the name, which is "(unknown)".
  [[nodiscard]] ModelId model() const noexcept;
  /// Valid as long as the lease.
  [[nodiscard]] const std::string& model_name() const noexcept;
  /// From the request to its grant.
  [[nodiscard]] Duration waited() const noexcept;

  /// Ends it now. Needs no memory. Cost: the decision of what follows from it (with claims that are due, or batches by
  /// cost, a look at those who wait), or one short lock if somebody else decides.
  void reset() noexcept;

 private:
  friend struct detail::SwapTicketState;
  explicit SwapLease(std::shared_ptr<detail::SwapTicketState> state) noexcept : state_(std::move(state)) {}

  std::shared_ptr<detail::SwapTicketState> state_;
};

class SwapTicketAwaiter;

/// A request for a model: what waits for its grant, tells where it stands, and takes it back. Destroyed before its
/// lease was taken, it is cancelled.
///
///     absl::StatusOr<SwapTicket> ticket = runner.submit("qwen-30b");
///     if (!ticket.ok()) return ticket.status();
///     for (;;) {
///       absl::StatusOr<SwapLease> lease = ticket->wait(ctx.with_timeout(1s));
///       if (lease.ok()) return serve(*lease);
///       if (ticket->is_decided() || ctx.is_done()) return lease.status();
///       show(ticket->position(), ticket->eta());
///     }
///
/// A grant waits for who takes it, and its model with it: who stops waiting should drop the ticket.
///
/// Threads: moves and the destructor one at a time; all else from any thread, also while another one waits. The runner
/// may go first. One that was moved from, or default-constructed, has no request.
class [[nodiscard]] SwapTicket {
 public:
  SwapTicket() noexcept = default;
  SwapTicket(SwapTicket&&) noexcept = default;
  SwapTicket& operator=(SwapTicket&& other) noexcept;
  ~SwapTicket() { cancel(); }

  explicit operator bool() const noexcept { return state_ != nullptr; }

  /// Waits until it is decided, and takes the lease. The end of `ctx` ends this wait, and not the request.
  ///
  /// Blocks:  until the grant, a refusal, `cancel`, or the end of `ctx`; one that has ended makes it look once.
  /// Returns: the lease; DeadlineExceeded or Cancelled (by `ctx`, or `cancel`); why it was refused (`SwapRunner`);
  ///          FailedPrecondition: its lease was taken before, there is no request, or it is called on the runner's
  ///          thread and would wait. All with the `failure_stage` "swap".
  /// Throws:  std::bad_alloc for the text of a refusal; std::system_error if the clock of `ctx` needs a timer thread
  ///          and cannot start it. Then the request goes on.
  absl::StatusOr<SwapLease> wait(const Context& ctx = Context::background());

  /// `co_await ticket.async_wait(ctx)`: the same for a coroutine, which may be destroyed while it waits here. That ends
  /// the wait, and not the request.
  [[nodiscard]] SwapTicketAwaiter async_wait(Context ctx = Context::background());

  /// Takes the request back; who waits gets Cancelled. Of this and a grant exactly one wins: then a lease that nobody
  /// has taken yet ends unused. Returns: whether this has ended it. Never waits, needs no memory.
  bool cancel() noexcept;

  /// Whether `wait` would not have to wait.
  [[nodiscard]] bool is_decided() const noexcept;
  [[nodiscard]] ModelId model() const noexcept;
  /// Its number with the scheduler, as in a decision log; zero until that has been told, a moment after the submit.
  [[nodiscard]] TicketId id() const noexcept;

  // What the scheduler says of it; called by the planner, or before the scheduler was told, nothing.

  [[nodiscard]] TicketState state() const noexcept;
  /// Its place in the queue, from 1 on; nothing unless it is queued. Cost: one lock; O(log of the queue's length).
  [[nodiscard]] std::optional<std::size_t> position() const noexcept;
  /// What it waits for. `to_text` puts it into words.
  [[nodiscard]] SwapExplanation explain() const;
  /// A guess at how long it still waits, as `SwapScheduler::eta`.
  [[nodiscard]] std::optional<Duration> eta() const;

 private:
  friend struct detail::SwapTicketState;
  explicit SwapTicket(std::shared_ptr<detail::SwapTicketState> state) noexcept : state_(std::move(state)) {}

  std::shared_ptr<detail::SwapTicketState> state_;
};

/// What `SwapTicket::async_wait` returns, for `co_await`.
class [[nodiscard]] SwapTicketAwaiter {
 public:
  /// For who has a ticket's state.
  SwapTicketAwaiter(std::shared_ptr<detail::SwapTicketState> ticket, Context ctx)
      : state_(std::move(ticket)), wait_(std::move(ctx)) {}

  bool await_ready() noexcept { return state_ == nullptr || wait_.ready(detail::decision_of(*state_)); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    return wait_.suspend(detail::decision_of(*state_), coroutine);
  }
  absl::StatusOr<SwapLease> await_resume();

 private:
  std::shared_ptr<detail::SwapTicketState> state_;  // outlives the wait
  detail::HappeningWait wait_;
};

}  // namespace penstock::inline PENSTOCK_ABI
