// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Lets so many calls at a time through to another system as that bears, and finds out how many that are.
///
/// A call takes a slot, and says in the end how it went. An algorithm (limit_algorithm.hpp) learns from that, and moves
/// the limit. A limit that falls interrupts nobody: until enough calls have ended more are in flight than it says. One
/// that rises wakes as many of those who wait as may go now.

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/route/concurrency_limiter_options.hpp"
#include "penstock/route/detail/limit_acquire.hpp"
#include "penstock/route/detail/limit_core.hpp"

namespace penstock::inline PENSTOCK_ABI {

class MetricSink;

/// Limits how many calls are under way.
///
///     ConcurrencyLimiter limiter({.name = "bedrock", .algorithm = Gradient2Limit{.min = 1}});
///
///     auto slot = limiter.acquire(ctx);               // or try_acquire(), or co_await async_acquire(ctx)
///     if (!slot.ok()) return slot.status();
///     const absl::Status status = call(...);
///     slot->settle(status);                           // however it is left, the slot is given back
///
/// Who waits stands in one line, threads and coroutines alike, first come first served or last come first served. A
/// slot that comes free is handed to one of them; nobody who comes later overtakes. With partitions, each has its part
/// of the line; while there is room for anybody it goes to the first of all, and at the limit to the first of those
/// whose guarantee is not used up.
///
/// Threads: any member, from any thread. The limiter must outlive its slots, and the calls of its members. Order: what
/// the holder of a slot did before it was given back is visible to who gets it next.
class ConcurrencyLimiter {
 public:
  class Slot;
  class Awaiter;

  /// Throws: std::invalid_argument with the text of `options.validate()`; std::bad_alloc; what `make_algorithm` throws.
  explicit ConcurrencyLimiter(ConcurrencyLimiterOptions options) : core_(std::move(options)) {}
  ConcurrencyLimiter(const ConcurrencyLimiter&) = delete;
  ConcurrencyLimiter& operator=(const ConcurrencyLimiter&) = delete;

  /// Takes a slot, if there is one. Without partitions, `partition` means nothing.
  ///
  /// Cost: one compare-and-swap, while nobody waits and there are no partitions; else one lock. With `Timing::kExact`
  ///       and an algorithm that learns it reads the clock.
  [[nodiscard]] std::optional<Slot> try_acquire(std::string_view partition = {}) noexcept;
  /// The same; a refusal is explained in `why`. Made into text only where somebody will read it.
  [[nodiscard]] std::optional<Slot> try_acquire(std::string_view partition, LimitRefusal& why) noexcept;

  /// The same for who else waits: a refusal is not counted. Only while nobody waits and there are no partitions.
  [[nodiscard]] std::optional<Slot> try_acquire_uncounted() noexcept;

  /// Takes a slot, waiting in line while there is none. A context that has ended already makes it look once.
  ///
  /// Blocks:  until a slot is handed over, the limiter closes, or `ctx` or `wait_timeout` ends. That time is on the
  ///          clock of `ctx`, or of the limiter if `ctx` cannot end.
  /// Returns: a slot; ResourceExhausted (`max_waiting` stand in line), DeadlineExceeded, Cancelled or Unavailable (the
  ///          limiter is closed), with the `failure_stage` "limit" and a text that gives the numbers.
  /// Throws:  std::bad_alloc for the text of a refusal; std::system_error if a clock needs a timer thread and cannot
  ///          start it. Then nothing is held, and nobody is left in line.
  absl::StatusOr<Slot> acquire(const Context& ctx = Context::background(), std::string_view partition = {});

  /// `co_await limiter.async_acquire(...)`: what `acquire` does, returns and throws, for a coroutine. It may be
  /// destroyed while it waits here, until its executor resumes it. A wait with a deadline needs timers.
  [[nodiscard]] Awaiter async_acquire(Context ctx = Context::background(), std::string_view partition = {});

  /// Changes everything but name, clock and seed, which stay as they were. Slots that are out and calls that wait stay
  /// where they are: who is in line stays there, also beyond a smaller `max_waiting`, for as long as it had been told.
  /// If algorithm, window, probe or timing are others than before, or there is a `make_algorithm`, a new algorithm
  /// takes over, from its own beginning; else it goes on.
  ///
  /// Returns: OK; InvalidArgument with the text of `validate()`, or if `make_algorithm` makes nothing;
  ///          Internal if it throws. Then nothing has changed.
  /// Throws:  std::bad_alloc, and then nothing has changed.
  absl::Status set_options(ConcurrencyLimiterOptions options) { return core_.set_options(std::move(options)); }

  /// Gives no more slots, for good: who waits or comes gets Unavailable. Slots that are out stay good. May be called
  /// again. Returns whether this was the call that closed it.
  bool close() noexcept { return core_.close(); }

  [[nodiscard]] bool is_closed() const noexcept { return core_.is_closed(); }
  /// Cost: one load.
  [[nodiscard]] std::size_t limit() const noexcept { return core_.limit(); }
  /// How many slots are out. May be more than the limit. Cost: one load.
  [[nodiscard]] std::size_t in_flight() const noexcept { return core_.in_flight(); }
  [[nodiscard]] const std::string& name() const noexcept { return core_.name(); }
  [[nodiscard]] ConcurrencyLimiterOptions options() const { return core_.options(); }
  /// Limit, slots and lines as they are at one moment.
  [[nodiscard]] ConcurrencyLimiterStats stats() const { return core_.stats(); }
  /// Writes the metrics `penstock_limiter_...`, with the label limiter = name().
  void collect(MetricSink& sink) const { core_.collect(sink); }

 private:
  detail::LimitCore core_;
};

/// The right to have one call under way, and the duty to say how it went. One that is destroyed without a report is
/// given back, teaches nobody anything, and is counted as abandoned. Further reports are counted and change nothing
/// else; a moved-from slot ignores them.
///
/// A report without a time takes that from the limiter's clock, as `options.timing` says. A success that took no time,
/// or less, as when the clock has stepped back, is counted but teaches nothing; a drop does whatever it took.
///
/// Threads: one at a time, like any value; not necessarily the one that acquired it.
class [[nodiscard]] ConcurrencyLimiter::Slot {
 public:
  Slot(Slot&& other) noexcept
      : core_(std::exchange(other.core_, nullptr)),
        share_(other.share_),
        began_(other.began_),
        in_flight_(other.in_flight_),
        is_pending_(std::exchange(other.is_pending_, false)) {}
  Slot& operator=(Slot&& other) noexcept {
    Slot taken(std::move(other));
    std::swap(core_, taken.core_);
    std::swap(share_, taken.share_);
    std::swap(began_, taken.began_);
    std::swap(in_flight_, taken.in_flight_);
    std::swap(is_pending_, taken.is_pending_);
    return *this;
  }
  ~Slot() {
    if (is_pending_) core_->abandon(share_);
  }

  // Each gives the slot back, and may move the limit.

  /// The call was worked on.
  void success() noexcept { report(LimitOutcome::kSuccess, nullptr); }
  void success(Duration rtt) noexcept { report(LimitOutcome::kSuccess, &rtt); }
  /// The other side had too much to do.
  void dropped() noexcept { report(LimitOutcome::kDropped, nullptr); }
  void dropped(Duration rtt) noexcept { report(LimitOutcome::kDropped, &rtt); }
  /// The call says nothing about the other side.
  void ignore() noexcept { report(LimitOutcome::kIgnored, nullptr); }
  /// The call ended with `status`; `options.classify` decides what that means. If it throws, `classify_limit` does.
  void settle(const absl::Status& status) noexcept { report(status, nullptr); }
  void settle(const absl::Status& status, Duration rtt) noexcept { report(status, &rtt); }

  /// Whether it can still be settled.
  [[nodiscard]] bool is_pending() const noexcept { return is_pending_; }
  /// How many slots were out when this one was taken, itself among them.
  [[nodiscard]] std::size_t in_flight() const noexcept { return in_flight_; }

 private:
  friend class ConcurrencyLimiter;

  Slot(detail::LimitCore& core, const detail::LimitGrant& grant) noexcept
      : core_(&core), share_(grant.share), began_(core.begin()), in_flight_(grant.in_flight), is_pending_(true) {}

  void report(LimitOutcome outcome, const Duration* rtt) noexcept {
    if (std::exchange(is_pending_, false)) [[likely]] {
      core_->report(share_, in_flight_, began_, outcome, rtt);
    } else if (core_ != nullptr) {
      core_->count_doubled_report();
    }
  }
  void report(const absl::Status& status, const Duration* rtt) noexcept {
    report(is_pending_ ? core_->classify(status) : LimitOutcome::kIgnored, rtt);
  }

  detail::LimitCore* core_;  // null: moved from
  detail::LimitShare* share_;
  TimePoint began_;
  std::uint32_t in_flight_;
  bool is_pending_;
};

class [[nodiscard]] ConcurrencyLimiter::Awaiter {
 public:
  bool await_ready() { return take_.ready(); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    return take_.suspend(coroutine);
  }
  absl::StatusOr<Slot> await_resume();

 private:
  friend class ConcurrencyLimiter;
  Awaiter(detail::LimitCore& core, Context ctx, std::string_view partition)
      : core_(core), take_(core, std::move(ctx), partition) {}

  detail::LimitCore& core_;
  detail::CoroutineTake take_;
};

// --- implementation ---

inline std::optional<ConcurrencyLimiter::Slot> ConcurrencyLimiter::try_acquire(std::string_view partition) noexcept {
  detail::LimitGrant grant;
  if (!core_.try_take(grant, partition)) return std::nullopt;
  return Slot(core_, grant);
}

inline std::optional<ConcurrencyLimiter::Slot> ConcurrencyLimiter::try_acquire(std::string_view partition,
                                                                               LimitRefusal& why) noexcept {
  detail::LimitGrant grant;
  if (!core_.try_take_quickly(grant) && !core_.try_take_slowly(grant, partition, why, true)) return std::nullopt;
  return Slot(core_, grant);
}

inline std::optional<ConcurrencyLimiter::Slot> ConcurrencyLimiter::try_acquire_uncounted() noexcept {
  detail::LimitGrant grant;
  if (!core_.try_take_quickly(grant)) return std::nullopt;
  return Slot(core_, grant);
}

inline ConcurrencyLimiter::Awaiter ConcurrencyLimiter::async_acquire(Context ctx, std::string_view partition) {
  return Awaiter(core_, std::move(ctx), partition);
}

}  // namespace penstock::inline PENSTOCK_ABI
