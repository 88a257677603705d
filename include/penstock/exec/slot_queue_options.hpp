// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a `SlotQueue` is set up, and what it tells about itself.

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/exec/launch_policy.hpp"
#include "penstock/metrics/histogram.hpp"

namespace penstock::inline PENSTOCK_ABI {

template <class T>
class LaunchTicket;

/// What is counted, and timed, to decide about starts.
enum class SlotPhase : std::uint8_t {
  kRunner,   ///< something that runs and offers slots
  kStarter,  ///< a start that is under way
  kWaiter,   ///< somebody who wants a slot
};
inline constexpr std::size_t kSlotPhases = 3;

/// The name of `phase`, such as "runner".
std::string_view to_string(SlotPhase phase) noexcept;

/// Where an offered slot is.
enum class SlotState : std::uint8_t {
  kIdle,    ///< in the queue
  kLeased,  ///< somebody has it
  kGone,    ///< taken out, or ended
};

/// The name of `state`, such as "idle".
std::string_view to_string(SlotState state) noexcept;

/// Why the queue has let go of a slot that nobody took out.
enum class SlotEnd : std::uint8_t {
  kRetired,  ///< it was asked to: `SlotToken::retire`, `SlotLease::discard`
  kExpired,  ///< it was idle for `idle_timeout`
  kClosed,   ///< the queue was closed
};

/// The name of `end`, such as "expired".
std::string_view to_string(SlotEnd end) noexcept;

/// Why `eject` gave nothing.
enum class EjectRefusal : std::uint8_t {
  kNone,     ///< it gave the slot
  kLeased,   ///< somebody has it, or has just been given it
  kGone,     ///< it has left the queue
  kForeign,  ///< it was offered to another queue, or the token is empty; counted
};

namespace detail {
/// The options that do not depend on the type of the slots.
struct SlotSettings {
  std::string name;
  Duration idle_timeout{};
  std::size_t min_idle = 0;
  LaunchPolicy policy;
  bool has_launch = false;
  bool time_leases = false;
  Clock* clock = nullptr;

  [[nodiscard]] absl::Status validate() const;
};
}  // namespace detail

template <class T>
struct SlotQueueOptions {
  /// Names the queue in texts and metrics; 1 to 256 bytes.
  std::string name = {};

  /// A slot that was idle for so long is retired, the one that was idle longest first, as long as more than `min_idle`
  /// are idle; positive, max(): never.
  Duration idle_timeout = Duration::max();
  std::size_t min_idle = 0;

  /// Has one more slot started; the ticket says how that ended. Called without a lock by whoever's call showed that one
  /// is needed: an acquire that goes to wait, in its thread and before it waits; the end of a start, of a lease or of a
  /// wait; a thread of `clock`. Never two at once for a queue, so it should hand the work on rather than do it. It may
  /// settle the ticket at once, and call, and even destroy, the queue; but must not wait in it for a slot, as nobody
  /// else launches meanwhile. What it throws is caught and counted. Empty: nothing is launched.
  std::function<void(LaunchTicket<T>)> launch = {};
  /// When to call `launch`; a `CombinedLaunch` unless said otherwise.
  LaunchPolicy launch_policy = detail::default_launch_policy();

  /// Given each slot that the queue lets go of, to end it; else it is just destroyed. Called without a lock, by who
  /// caused it: the end of the lease, `close`, `retire`, a thread of `clock`. May call, and even destroy, the queue. A
  /// lease that outlives the queue calls it, too. What it throws is caught and counted.
  std::function<void(T&&, SlotEnd)> on_retired = {};

  /// The time from an acquire to the end of its lease is a latency of `SlotPhase::kRunner`, in the few milliseconds'
  /// precision of `Clock::recent()`. With a `launch` it always is.
  bool time_leases = false;

  /// Decides all these times; outlives the queue, though not its leases.
  Clock* clock = &Clock::steady();

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const { return settings().validate(); }

  /// For the queue.
  [[nodiscard]] detail::SlotSettings settings() const {
    return {.name = name,
            .idle_timeout = idle_timeout,
            .min_idle = min_idle,
            .policy = launch_policy,
            .has_launch = static_cast<bool>(launch),
            .time_leases = time_leases,
            .clock = clock};
  }
};

/// One phase at one moment.
struct SlotPhaseStats {
  std::size_t now = 0;            ///< how many are in it
  std::uint64_t entered = 0;      ///< so far
  std::uint64_t samples = 0;      ///< latencies so far
  std::uint64_t document_ms = 0;  ///< their `IntegerEwma`
  Duration mean{};                ///< their `Ewma`; 0 without samples
};

/// A queue at one moment. `offered == idle + leased + ejected + taken + retired + expired + closed`.
struct SlotQueueStats {
  std::size_t idle = 0;
  std::size_t leased = 0;
  std::size_t waiting = 0;   ///< acquires that stand in line
  std::size_t starting = 0;  ///< launch tickets that are out
  Duration oldest_wait{};    ///< of the first in line; 0 if there is none

  std::uint64_t offered = 0;      ///< slots, each counted once
  std::uint64_t acquired = 0;     ///< leases given
  std::uint64_t handed_over = 0;  ///< of these, to somebody who stood in line: as many were woken
  std::uint64_t returned = 0;     ///< leases whose slot went back

  // How slots left.
  std::uint64_t ejected = 0;  ///< by `eject`
  std::uint64_t taken = 0;    ///< by `SlotLease::retire`
  std::uint64_t retired = 0;  ///< as they had been asked to
  std::uint64_t expired = 0;  ///< idle for too long
  std::uint64_t closed = 0;   ///< with the queue, or after it was closed

  // What came to nothing.
  std::uint64_t eject_misses = 0;    ///< ejects of a slot that was leased or gone
  std::uint64_t foreign_tokens = 0;  ///< ejects with a token of another queue
  std::uint64_t waits = 0;           ///< how often somebody had to stand in line, whatever came of it
  std::uint64_t exhausted = 0;       ///< no slot, and it was not to wait
  std::uint64_t timed_out = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t unavailable = 0;   ///< the queue was closed
  std::uint64_t failed = 0;        ///< got the error of the start they had asked for, or there was no memory for it
  std::uint64_t phase_faults = 0;  ///< a phase was left that had not been entered

  std::uint64_t launches = 0;           ///< tickets given out: == starting + started + start_failures
  std::uint64_t started = 0;            ///< tickets that brought a slot
  std::uint64_t start_failures = 0;     ///< tickets that failed, or were dropped
  std::uint64_t errors_dropped = 0;     ///< of these, errors that nobody was there for
  std::uint64_t launch_shortages = 0;   ///< starts that were wanted and not made, as memory was out: so one has failed
  std::uint64_t caught_exceptions = 0;  ///< of `launch`, `on_retired` and the policy

  std::array<SlotPhaseStats, kSlotPhases> phases{};  ///< by `SlotPhase`
  LatencyHistogram::Snapshot wait;                   ///< how long leases were waited for; zero for those at once
};

}  // namespace penstock::inline PENSTOCK_ABI
