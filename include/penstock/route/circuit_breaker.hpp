// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Stops calling what keeps failing, and finds out when it works again.
///
///            too many calls failed or were slow
///   kClosed ------------------------------------> kOpen <---------------------.
///      ^                                            | a call, after the wait   | the probes failed,
///      |                 the probes passed          v                          | or did not come back in time
///      '--------------------------------------- kHalfOpen --------------------'
///
/// Closed, every call is let through and its outcome goes into a window. Once enough calls are in it and the part of
/// them that failed, or was slow, reaches its threshold, the breaker opens and refuses all calls for `open_for`. Then
/// the next few callers are let through as probes, and their outcomes decide. An operator can also set kForcedOpen
/// (refuse all), kDisabled (let all through, record nothing) and kMetricsOnly (let all through, record, never open).
///
/// Each change of state begins a new generation. A permit carries the generation it was given in, and what it reports
/// counts in no other: a call from before the trouble says nothing about whether the trouble is over.

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/cache_padded.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/retry_after.hpp"
#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI {

enum class BreakerState : std::uint8_t { kClosed, kOpen, kHalfOpen, kDisabled, kForcedOpen, kMetricsOnly };
inline constexpr std::size_t kBreakerStates = 6;

/// The name of `state` in lower case with underscores, such as "half_open".
std::string_view to_string(BreakerState state) noexcept;

/// What a finished call says about the other side.
enum class CallOutcome : std::uint8_t {
  kSuccess,
  kFailure,
  kIgnored,  ///< Nothing: it was called off, or it could not have worked. Not recorded.
};

/// OK is a success; Cancelled and InvalidArgument are ignored; everything else is a failure.
CallOutcome classify_call(const absl::Status& status) noexcept;

struct CircuitBreakerOptions {
  enum class Window : std::uint8_t {
    kCount,  ///< The last `window_size` calls.
    kTime,   ///< The calls of the last `window_size` buckets, the current one not yet over.
  };

  std::string name = "unnamed";  ///< For messages and metrics; at most 256 bytes.
  Window window = Window::kCount;
  std::size_t window_size = 100;  ///< [1, 1000000] calls, or [1, 10000] buckets.
  Duration bucket = std::chrono::seconds(1);

  /// The rates mean nothing, and do not open the breaker, before so many calls are in the window (or fill it).
  std::size_t minimum_calls = 100;
  double failure_rate_pct = 50;                   ///< (0, 100]; opens when reached.
  double slow_rate_pct = 100;                     ///< (0, 100]; opens when reached.
  Duration slow_call = std::chrono::seconds(60);  ///< A call that takes longer is slow, failed or not.

  /// How long the breaker stays open: open_for * open_backoff^(n - 1) for the n-th time in a row, at most open_for_max.
  Duration open_for = std::chrono::seconds(60);
  double open_backoff = 1.0;  ///< [1, inf)
  Duration open_for_max = std::chrono::minutes(10);
  /// Each wait is shorter by a random part up to this one, so that many processes do not probe at once. [0, 1)
  double open_jitter = 0.0;

  std::size_t half_open_permits = 10;  ///< [1, 1000000] probes; min(minimum_calls, half_open_permits) outcomes decide.
  /// Probes that do not report within this time, from the first one on, count as failed: the breaker opens again.
  /// Duration::max() waits for ever, and one lost probe can then keep all callers out.
  Duration half_open_max_wait = std::chrono::seconds(60);
  /// Become half open when the wait is over, without waiting for a call; for the sake of who listens.
  bool auto_half_open = false;

  /// What a status that is given to `Permit::settle` means; `classify_call` if empty. May be called by many threads.
  std::function<CallOutcome(const absl::Status&)> classify = {};
  Clock* clock = &Clock::steady();  ///< Must outlive the breaker.

  /// OK, or InvalidArgument with every violation.
  [[nodiscard]] absl::Status validate() const;
};

/// Why a breaker changed its state.
enum class BreakerReason : std::uint8_t {
  kFailureRate,   ///< Too many calls of the window, or probes, failed.
  kSlowRate,      ///< Too many of them were slow.
  kWaitOver,      ///< It was open for long enough.
  kProbesPassed,  ///< The probes were below both thresholds.
  kProbesLost,    ///< The probes did not come back within `half_open_max_wait`.
  kOperator,      ///< `reset`, `force_open`, `disable` or `metrics_only` was called.
};

/// The name of `reason` in lower case with spaces.
std::string_view to_string(BreakerReason reason) noexcept;

/// How many calls were recorded, and how many of these failed or were slow.
struct CallTally {
  std::uint64_t calls = 0;
  std::uint64_t failed = 0;
  std::uint64_t slow = 0;

  friend bool operator==(const CallTally&, const CallTally&) = default;
};

struct BreakerTransition {
  BreakerState from = BreakerState::kClosed;
  BreakerState to = BreakerState::kClosed;
  BreakerReason reason = BreakerReason::kOperator;
  TimePoint at{};                ///< When it was due, which may be before it was noticed.
  std::uint64_t generation = 0;  ///< The one it began.
  CallTally tally;               ///< What the state it left had recorded.
  Duration wait{};               ///< How long it will be open, if `to` is kOpen.
};

/// Why a call was not let through.
struct BreakerRefusal {
  BreakerState state = BreakerState::kClosed;
  BreakerReason reason = BreakerReason::kOperator;  ///< Why the breaker has opened.
  Duration retry_after{};  ///< Zero: not known. Duration::max(): not before an operator lets it.
  CallTally tally;         ///< Open: what had been recorded when it opened. Half open: what the probes say so far.
  std::size_t probes = 0;  ///< Half open: how many are on their way.
};

/// Unavailable, with a text such as "circuit breaker 'bedrock': open for another 4.2 s (12 of 20 calls failed)", and
/// with a payload that `retry_after(status)` reads.
absl::Status to_status(const BreakerRefusal& refusal, std::string_view name);

struct CircuitBreakerStats {
  BreakerState state = BreakerState::kClosed;
  std::uint64_t generation = 0;
  Duration time_in_state{};
  Duration retry_after{};
  std::uint32_t attempts = 0;    ///< How often it has opened since it was last closed.
  std::size_t probes = 0;        ///< Half open: how many are on their way.
  CallTally window;              ///< In a state that does not record: what had been recorded when it began.
  double failure_rate_pct = -1;  ///< Of `window`; -1 while there are too few calls.
  double slow_rate_pct = -1;

  // Since the breaker was made.
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;
  std::uint64_t slow = 0;                       ///< Of these two.
  std::array<std::uint64_t, 17> failed_with{};  ///< `failed`, by the code of the status; kUnknown if there was none.
  std::uint64_t ignored = 0;
  std::uint64_t abandoned = 0;        ///< Permits that were destroyed without a report.
  std::uint64_t late_results = 0;     ///< Permits settled or abandoned after their generation had ended.
  std::uint64_t doubled_reports = 0;  ///< Reports on a permit that was settled.
  std::uint64_t not_permitted = 0;
  std::uint64_t caught_exceptions = 0;   ///< Of listeners and of `classify`.
  std::uint64_t missed_transitions = 0;  ///< That listeners were too slow to be told.
  std::array<std::array<std::uint64_t, kBreakerStates>, kBreakerStates> transitions{};

  [[nodiscard]] std::uint64_t count(BreakerState from, BreakerState to) const noexcept {
    return transitions[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)];
  }
};

/// Decides for each call whether it may go, from how the calls before it went.
///
///     if (auto permit = breaker.try_acquire()) {
///       const absl::Status status = call(...);
///       permit->settle(status, took);
///     }                                              // however it is left, the permit is settled or given back
///
/// Memory: 4 KiB, and the window: a byte for each call, or 24 for each bucket. The first listener adds 4 KiB.
///
/// Threads: any member, from any thread. The breaker must outlive its permits.
class CircuitBreaker {
 public:
  class Permit;

  /// Called after a change of state, with no lock held, by the thread that caused or noticed it (a timer thread, with
  /// `auto_half_open`): in the order of the changes, one at a time. It may call anything on the breaker; changes that
  /// it causes are told after it has returned. What it throws is counted. At most 64 changes wait for a slow listener.
  /// One that does not return keeps the thread that called it, and nobody else: calls go on, and changes are no longer
  /// told. But a timer thread is that of all timers of the clock.
  using Listener = absl::AnyInvocable<void(const BreakerTransition&)>;

  /// Throws: std::invalid_argument with the text of `options.validate()`.
  explicit CircuitBreaker(CircuitBreakerOptions options);
  ~CircuitBreaker();
  CircuitBreaker(const CircuitBreaker&) = delete;
  CircuitBreaker& operator=(const CircuitBreaker&) = delete;

  /// Lets one call through, or not.
  ///
  /// Cost: closed, one atomic load; otherwise reads the clock and takes one lock.
  [[nodiscard]] std::optional<Permit> try_acquire() noexcept;

  /// The same; a refusal is explained in `why`. Made into text only where somebody will read it.
  [[nodiscard]] std::optional<Permit> try_acquire(BreakerRefusal& why) noexcept;

  // What an operator may do, in any state. Permits that are out become late.
  void reset() noexcept;         ///< Closed, as when new; totals stay.
  void force_open() noexcept;    ///< Refuses all calls until told otherwise.
  void disable() noexcept;       ///< Lets all calls through and records nothing.
  void metrics_only() noexcept;  ///< Lets all calls through and records them, but does not open.

  /// From now on `options` count; name and clock stay as they are, whatever it says there. Nothing is lost:
  ///
  /// - State and generation stay, and so permits that are out stay valid, probes too.
  /// - The window keeps its newest calls, by count, or its newest buckets, by time.
  ///   It begins anew only where it changes from the one to the other, or the buckets change their length.
  ///   Closed, it is judged at once, and may open the breaker:
  ///   a threshold that has been reached is reached.
  /// - Open, the wait goes on as if it had begun with these options: it ends earlier or later, but not before now.
  /// - Half open, so does the wait for the probes. With more permits, more probes are let through; with fewer, none
  ///   until enough have come back. If the outcomes that are there are enough now, they decide at once.
  /// - A call that is being judged, by `classify` or by how long it took, is judged by the options before or after.
  ///
  /// Returns: OK, or InvalidArgument with every violation, and then nothing has changed.
  /// Throws:  std::bad_alloc, and with `auto_half_open` what the clock's `start_timers` throws. Nothing has changed.
  /// Cost:    O(window) under the lock. May call listeners.
  [[nodiscard]] absl::Status set_options(CircuitBreakerOptions options);

  /// Has `listener` called for each change of state from now on. Throws: std::invalid_argument if it is empty.
  void on_transition(Listener listener);

  // Observers never run a listener, so they change nothing: they tell what is due by now, noticed or not.
  [[nodiscard]] BreakerState state() const noexcept;
  /// How long calls will be refused: zero if one may be let through now or that is not known.
  [[nodiscard]] Duration retry_after() const noexcept;
  [[nodiscard]] const std::string& name() const noexcept;
  /// As they are now. Throws: what copying the name and the classifier throws.
  [[nodiscard]] CircuitBreakerOptions options() const;
  [[nodiscard]] CircuitBreakerStats stats() const noexcept;
  /// Writes the metrics `penstock_breaker_...`, with the label breaker = name().
  void collect(MetricSink& sink) const;

 private:
  class Driver;

  // A state in the low 3 bits, its generation above. Written under the driver's mutex; here it is only read: it orders
  // nothing, since a permit carries the generation and nothing else. A stale kClosed lets one more call reach a failing
  // provider, and its report will be late. On lines of its own: in a healthy system it is never written.
  detail::CachePadded<detail::world::Atomic<std::uint64_t>> word_;
  std::unique_ptr<Driver> driver_;

  static constexpr std::uint64_t word_of(BreakerState state, std::uint64_t generation) noexcept {
    return generation << 3U | static_cast<std::uint64_t>(state);
  }
  static constexpr bool lets_all_through(std::uint64_t word) noexcept {
    const auto state = static_cast<BreakerState>(word & 7U);
    return state == BreakerState::kClosed || state == BreakerState::kDisabled || state == BreakerState::kMetricsOnly;
  }

  std::uint64_t acquire_slowly(BreakerRefusal* why) noexcept;
  void report(std::uint64_t generation, CallOutcome outcome, Duration took) noexcept;
  void report(std::uint64_t generation, const absl::Status& status, Duration took) noexcept;
  void abandon(std::uint64_t generation) noexcept;
  void count_doubled_report() noexcept;
};

/// The right to make one call, and the duty to say how it went. One that is destroyed without a report is given back,
/// and counted as abandoned. Reports that come late or twice are counted and change nothing else; a moved-from permit
/// ignores them.
///
/// Threads: one at a time, like any value; not necessarily the one that acquired it.
class [[nodiscard]] CircuitBreaker::Permit {
 public:
  Permit(Permit&& other) noexcept
      : breaker_(std::exchange(other.breaker_, nullptr)), generation_(std::exchange(other.generation_, kSettled)) {}
  Permit& operator=(Permit&& other) noexcept {
    Permit taken(std::move(other));
    std::swap(breaker_, taken.breaker_);
    std::swap(generation_, taken.generation_);
    return *this;
  }
  ~Permit() {
    if (generation_ != kSettled) breaker_->abandon(generation_);
  }

  /// The call worked; it took `took`, which decides whether it was slow.
  ///
  /// Cost: one compare-exchange while the breaker is closed, this call was not slow, and the window holds either enough
  /// calls or none that failed or was slow; with a time window, also a look at the clock (and for a few milliseconds
  /// the call may be counted in the bucket before). Otherwise, as all reports, reads the clock and takes one lock, and
  /// may call listeners.
  void success(Duration took = Duration::zero()) noexcept { report(CallOutcome::kSuccess, took); }
  /// The call failed. (`settle` also says with which code.)
  void failure(Duration took = Duration::zero()) noexcept { report(CallOutcome::kFailure, took); }
  /// The call says nothing about the other side.
  void ignore() noexcept { report(CallOutcome::kIgnored, Duration::zero()); }
  /// The call ended with `status`; `options.classify` decides what that means. If it throws, `classify_call` does.
  void settle(const absl::Status& status, Duration took = Duration::zero()) noexcept;

  /// Whether it can still be settled.
  [[nodiscard]] bool is_pending() const noexcept { return generation_ != kSettled; }

 private:
  friend class CircuitBreaker;

  static constexpr std::uint64_t kSettled = 0;  // generations begin with 1

  Permit(CircuitBreaker& breaker, std::uint64_t generation) noexcept : breaker_(&breaker), generation_(generation) {}

  void report(CallOutcome outcome, Duration took) noexcept;

  CircuitBreaker* breaker_;  // null: moved from
  std::uint64_t generation_;
};

// --- implementation ---

inline std::optional<CircuitBreaker::Permit> CircuitBreaker::try_acquire() noexcept {
  const std::uint64_t word = word_.value.load(std::memory_order_relaxed);
  if (lets_all_through(word)) [[likely]]
    return Permit(*this, word >> 3U);
  const std::uint64_t generation = acquire_slowly(nullptr);
  if (generation == Permit::kSettled) return std::nullopt;
  return Permit(*this, generation);
}

inline std::optional<CircuitBreaker::Permit> CircuitBreaker::try_acquire(BreakerRefusal& why) noexcept {
  const std::uint64_t word = word_.value.load(std::memory_order_relaxed);
  if (lets_all_through(word)) [[likely]]
    return Permit(*this, word >> 3U);
  const std::uint64_t generation = acquire_slowly(&why);
  if (generation == Permit::kSettled) return std::nullopt;
  return Permit(*this, generation);
}

inline void CircuitBreaker::Permit::report(CallOutcome outcome, Duration took) noexcept {
  if (generation_ != kSettled) {
    breaker_->report(std::exchange(generation_, kSettled), outcome, took);
  } else if (breaker_ != nullptr) {
    breaker_->count_doubled_report();
  }
}

inline void CircuitBreaker::Permit::settle(const absl::Status& status, Duration took) noexcept {
  if (generation_ != kSettled) {
    breaker_->report(std::exchange(generation_, kSettled), status, took);
  } else if (breaker_ != nullptr) {
    breaker_->count_doubled_report();
  }
}

}  // namespace penstock::inline PENSTOCK_ABI
