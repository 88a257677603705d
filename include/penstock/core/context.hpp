// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How long an operation may take, and who may call it off.

#include <memory>
#include <stop_token>

#include "absl/functional/any_invocable.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/cancel_hook.hpp"
#include "penstock/core/detail/status_fwd.hpp"
#include "penstock/core/op_status.hpp"

namespace penstock::inline PENSTOCK_ABI {

class CancelSource;
class DoneCallback;

/// A deadline and a wish to stop, handed down from caller to callee. A context made from another can only end sooner:
/// its deadline is the earlier of the two, and cancelling a parent cancels every child.
///
///     auto [ctx, source] = Context::background().with_timeout(2s).with_cancel();
///     ... source.cancel() from anywhere ...
///     if (channel.receive(value, ctx) != OpStatus::kOk) ...
///
/// A value of 24 bytes, cheap to copy; one with a deadline alone owns no memory.
///
/// Threads: distinct copies may be used from any threads at once.
class Context {
 public:
  struct Cancellable;

  /// Never ends; on the machine's clock.
  static const Context& background() noexcept;

  /// Never ends; `with_timeout` and deadlines are on `clock`, which must outlive the context and all made from it.
  explicit Context(Clock& clock) noexcept : clock_(&clock) {}

  /// This context, but ending once `timeout` has passed. Zero or less has ended already, a NaN is zero, and what
  /// reaches past the end of time is for ever.
  template <class Rep, class Period>
  [[nodiscard]] Context with_timeout(std::chrono::duration<Rep, Period> timeout) const {
    return with_deadline(saturated_add(clock_->now(), saturated(timeout)));
  }

  /// This context, but ending at `deadline` on its clock if that comes sooner.
  [[nodiscard]] Context with_deadline(TimePoint deadline) const;

  /// A child of this context, and the source that cancels it. Cost: one allocation.
  [[nodiscard]] Cancellable with_cancel() const;

  /// A child of this context that is cancelled when `token` is asked to stop. Cost: two allocations.
  [[nodiscard]] Context with_stop_token(std::stop_token token) const;

  /// kOk while it goes on; kCancelled or kTimedOut, whichever came first. Cost: reads the clock if there is a deadline.
  OpStatus status() const noexcept;
  [[nodiscard]] bool is_done() const noexcept { return status() != OpStatus::kOk; }

  /// OK while it goes on; then what `cancel` was given, or DeadlineExceeded.
  [[nodiscard]] absl::Status cause() const;

  /// `TimePoint::max()` if there is none.
  [[nodiscard]] TimePoint deadline() const noexcept { return deadline_; }
  [[nodiscard]] Clock& clock() const noexcept { return *clock_; }
  /// Whether it may ever end.
  [[nodiscard]] bool can_end() const noexcept { return state_ || deadline_ != TimePoint::max(); }

  /// Has `function` called once when this context ends: by the thread that cancels, by a thread of the clock, or, if it
  /// has ended already, by this call. Destroying what is returned takes the call back.
  ///
  /// Throws: std::bad_alloc; std::system_error if a timer thread is needed and cannot start; std::invalid_argument if
  /// `function` is empty. Cost: one allocation.
  [[nodiscard]] DoneCallback on_done(absl::AnyInvocable<void() && noexcept> function) const;

 private:
  friend class detail::ContextAccess;

  detail::ContextStatePtr state_;  // null: cannot be cancelled
  Clock* clock_;
  TimePoint deadline_ = TimePoint::max();
};

/// Cancels the context it came with, and every context made from that one.
///
/// Threads: any copy, from any thread.
class CancelSource {
 public:
  // Copied, never moved, so that no source is empty. Dropping all of them cancels nothing.
  CancelSource(const CancelSource&) = default;
  CancelSource& operator=(const CancelSource&) = default;

  /// Ends the context: waits under it return kCancelled, and its callbacks run before this returns. `cause` says why;
  /// unsaid, it is `absl::CancelledError()`.
  ///
  /// Returns: false if it had been cancelled before; the first cause stays.
  /// Cost: O(waits and callbacks under the context).
  bool cancel() const noexcept;
  bool cancel(absl::Status cause) const noexcept;

 private:
  friend class Context;
  explicit CancelSource(detail::ContextStatePtr state) noexcept : state_(std::move(state)) {}

  detail::ContextStatePtr state_;
};

struct Context::Cancellable {
  Context context;
  CancelSource source;
};

/// Takes back a callback of `Context::on_done` when it is destroyed.
///
/// Blocks: the destructor waits while another thread runs the callback; from within the callback it does not.
class [[nodiscard]] DoneCallback {
 public:
  DoneCallback(DoneCallback&&) noexcept;
  DoneCallback& operator=(DoneCallback&&) noexcept;
  ~DoneCallback();

 private:
  friend class Context;
  struct Registration;
  explicit DoneCallback(std::unique_ptr<Registration> registration) noexcept;

  std::unique_ptr<Registration> registration_;
};

/// A `std::stop_token` that is asked to stop when a context ends, for code that knows only stop tokens.
class StopBridge {
 public:
  explicit StopBridge(const Context& ctx);

  [[nodiscard]] std::stop_token token() const noexcept { return source_.get_token(); }

 private:
  std::stop_source source_;
  DoneCallback on_done_;
};

}  // namespace penstock::inline PENSTOCK_ABI
