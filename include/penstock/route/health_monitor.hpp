// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Finds out, by checks at intervals, which of many things work.
///
///               healthy_after checks in a row passed
///   kUnknown ---------------------------------------> kHealthy
///      |                                               |    ^
///      | unhealthy_after in a row     unhealthy_after  |    |  healthy_after
///      | failed                       in a row failed  v    |  in a row passed
///      '--------------------------------------------> kUnhealthy
///
/// A check fails if it returns anything but OK, throws, or does not return within its time-out. Then it has failed at
/// its time-out, whenever it returns; what it says later is counted and does not matter. While one does not come back
/// no other is begun, and each further interval counts as one more that has failed: what hangs for ever is found as
/// fast as what refuses.
///
/// Each check runs in a thread of its own, and so does each listener: whichever hangs, holds up only itself.

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/op_status.hpp"
#include "penstock/exec/periodic_runner.hpp"
#include "penstock/metrics/histogram.hpp"

namespace penstock::inline PENSTOCK_ABI {

class JsonWriter;
class MetricSink;

enum class Health : std::uint8_t { kUnknown, kHealthy, kUnhealthy };
inline constexpr std::size_t kHealths = 3;

/// Such as "unhealthy".
std::string_view to_string(Health health) noexcept;

/// What is assumed before the first check, which begins at once.
enum class HealthStart : std::uint8_t {
  kUnknown,    ///< Nothing: whatever depends on it goes ahead.
  kUnhealthy,  ///< That it does not work: it begins isolated. The first check that passes says that it does.
  kChecked,    ///< The same, and `watch` waits for the first check.
  kRequired,   ///< The same, and if that fails, so does `watch`.
};

struct HealthCheckOptions {
  /// Returns OK if it works. Its context ends at the time-out, and when the watch ends.
  std::function<absl::Status(const Context&)> check = {};
  /// From the beginning of one check to that of the next; positive.
  Duration interval = std::chrono::seconds(30);
  /// How long a check may take; positive.
  Duration timeout = std::chrono::seconds(5);
  /// Each interval is longer or shorter by up to this part of it, at random, so that checks spread; in [0, 1].
  double jitter = 0.1;
  HealthStart start = HealthStart::kUnknown;
  /// So many failures in a row make it unhealthy; 1 to a million.
  std::uint32_t unhealthy_after = 3;
  /// So many successes in a row make it healthy; 1 to a million.
  std::uint32_t healthy_after = 1;
  /// Whether results also count as calls in the circuit breaker of what is checked. For a router: the monitor has none.
  bool feeds_breaker = false;

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const;
};

/// What one check came to.
struct HealthReport {
  std::string watch;
  Health from = Health::kUnknown;
  Health to = Health::kUnknown;  ///< The same as `from`, unless this check made the difference.
  absl::Status status;           ///< The check's, DeadlineExceeded for a time-out, Internal for an exception.
  TimePoint at{};                ///< When it ended, or its time was up.
  Duration took{};
  std::uint64_t in_a_row = 0;  ///< Failures, or successes, up to and with this one.
};

/// What a watch calls, in the order of the checks, one call at a time, in a thread that does nothing else meanwhile.
/// Either may be empty. What they throw is counted. Up to 64 reports wait for a slow one; then it misses the oldest.
struct HealthListener {
  /// A check made the difference: `from` and `to` are not the same.
  std::function<void(const HealthReport&)> on_change = {};
  /// A check has ended. Comes before `on_change`.
  std::function<void(const HealthReport&)> on_result = {};
};

/// A watch at one moment.
///
///   checks = passed + failed + timed_out + (1 while one is on its way, and in time)
struct HealthStats {
  std::string name;
  Health health = Health::kUnknown;
  Duration in_state{};  ///< since health changed, or the watch began
  absl::Status last_status;
  TimePoint last_at{};  ///< when the last check ended; TimePoint::min() if there was none
  Duration last_took{};
  std::uint64_t failures_in_a_row = 0;
  std::uint64_t successes_in_a_row = 0;
  bool is_checking = false;  ///< or about to
  Duration checking_for{};

  std::uint64_t checks = 0;  ///< begun
  std::uint64_t passed = 0;
  std::uint64_t failed = 0;     ///< returned, or thrown, in time
  std::uint64_t timed_out = 0;  ///< failed for want of an answer
  std::uint64_t overdue = 0;    ///< what else these made fail: each further interval
  std::uint64_t late_results = 0;
  std::uint64_t skipped = 0;     ///< not begun when due: another one was running, or the system had no thread
  std::uint64_t exceptions = 0;  ///< of the check
  std::uint64_t listener_exceptions = 0;
  std::uint64_t missed_reports = 0;                                     ///< that listeners were too slow to be told
  std::array<std::array<std::uint64_t, kHealths>, kHealths> changes{};  ///< by `from` and `to`
  LatencyHistogram::Snapshot durations;                                 ///< of all that have ended or timed out

  [[nodiscard]] std::uint64_t count(Health from, Health to) const noexcept {
    return changes[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)];
  }
};

struct HealthMonitorStats {
  std::size_t watches = 0;
  std::array<std::size_t, kHealths> by_health{};
  std::size_t checking = 0;  ///< checks on their way

  friend bool operator==(const HealthMonitorStats&, const HealthMonitorStats&) = default;
};

/// Writes `stats` as the next value of `json`, an object.
void write_json(JsonWriter& json, const HealthStats& stats);

namespace detail {
class HealthRegistry;
class HealthState;
}  // namespace detail

class HealthWatch;

/// Watches many things, and knows how they are.
///
///     PeriodicRunner runner;
///     HealthMonitor monitor(runner, "gateway");
///     absl::StatusOr<HealthWatch> watch = monitor.watch(
///         "bedrock", {.check = [&](const Context& ctx) { return client.ping(ctx); }, .interval = 10s},
///         {.on_change = [](const HealthReport& r) { log(r.watch, to_string(r.to), r.status); }});
///     ...
///     if (!watch->is_healthy()) return next_provider();
///
/// Forked children run no checks: there `watch` returns FailedPrecondition, health stays what it was, statistics are
/// empty, and destructors leave the memory alone.
///
/// Threads: any member, from any thread.
class HealthMonitor {
 public:
  /// `runner` runs the checks on its clock, and outlives the monitor.
  /// Throws: std::invalid_argument if the name is not of 1 to 256 bytes.
  explicit HealthMonitor(PeriodicRunner& runner, std::string name = "unnamed");
  /// Watches may outlive it: their checks go on until they are stopped, or the runner ends.
  ~HealthMonitor();
  HealthMonitor(const HealthMonitor&) = delete;
  HealthMonitor& operator=(const HealthMonitor&) = delete;

  /// Begins to check. Two watches may have the same name.
  ///
  /// Blocks:  with HealthStart::kChecked or kRequired, until the first check has ended, its time is up, or `ctx` ends.
  /// Returns: the watch; or, with nothing begun, InvalidArgument (options; a name that is not of 1 to 240 bytes),
  ///          ResourceExhausted (no thread), FailedPrecondition (a forked child); or, with kRequired, what the first
  ///          check returned, or DeadlineExceeded or Cancelled if it has not. It is not waited for then.
  /// Throws:  std::bad_alloc.
  [[nodiscard]] absl::StatusOr<HealthWatch> watch(std::string name, HealthCheckOptions options,
                                                  HealthListener listener = {},
                                                  const Context& ctx = Context::background());

  [[nodiscard]] const std::string& name() const noexcept;
  [[nodiscard]] HealthMonitorStats stats() const;
  /// Of each watch, those that began first in front.
  [[nodiscard]] std::vector<HealthStats> watches() const;
  /// Writes the metrics `penstock_health_...`, with the labels monitor = name() and watch = its name; of watches of one
  /// name, those of the one that began last.
  void collect(MetricSink& sink) const;
  /// {"monitor": "gateway", "watches": [{"name": "bedrock", "health": "healthy", ...}]}
  [[nodiscard]] std::string json() const;

 private:
  PeriodicRunner& runner_;
  std::shared_ptr<detail::HealthRegistry> registry_;
};

/// Something whose health is checked for as long as this lives. One that was moved from, or default-constructed, checks
/// nothing: it is kUnknown, and nothing it is asked has an effect.
///
/// Threads: any member but moves, `abandon` and the destructor, from any thread at once, also from the check and from
/// listeners.
class [[nodiscard]] HealthWatch {
 public:
  HealthWatch() noexcept = default;
  HealthWatch(HealthWatch&& other) noexcept;
  HealthWatch& operator=(HealthWatch&& other) noexcept;
  /// As `stop()`.
  ~HealthWatch();

  [[nodiscard]] Health health() const noexcept {
    // A stale value sends one more call the way of the last: allowed. It orders nothing.
    return health_ == nullptr ? Health::kUnknown : health_->load(std::memory_order_relaxed);
  }
  /// Whether it is not known to be unhealthy. Cost: one load.
  [[nodiscard]] bool is_healthy() const noexcept { return health() != Health::kUnhealthy; }

  /// Has a check begin now; while one is running, as soon as that has ended.
  void check_now() noexcept;
  /// The same, and waits for the result of a check that began after this.
  ///
  /// Blocks:  until it has ended, its time is up, the watch is stopped, or `ctx` ends.
  /// Returns: the check's status, or DeadlineExceeded for its time-out; Unavailable if the watch is stopped;
  ///          DeadlineExceeded or Cancelled if `ctx` ends.
  /// Throws:  std::bad_alloc; std::system_error if the clock of `ctx` needs a thread and cannot start it.
  absl::Status check_now(const Context& ctx);

  /// All changes but that of `start` take effect: a new function and time-out with the next check, which is due one new
  /// interval after the last; new thresholds when that has ended. Nothing that was counted is lost.
  ///
  /// Returns: InvalidArgument, with nothing changed.
  absl::Status set_options(HealthCheckOptions options);
  [[nodiscard]] HealthCheckOptions options() const;

  /// Ends the watch: no check begins any more, the context of one that is running ends, its result is discarded, and no
  /// listener is called any more. Health stays what it is.
  ///
  /// Blocks: until the check or listener that is running has returned; from within one of these, not at all.
  void stop() noexcept;
  /// The same, but waits only until `ctx` ends. Returns: kOk; or kTimedOut or kCancelled while one is still running.
  OpStatus stop(const Context& ctx);
  /// Ends the watch and lets go of it: from then on it is the runner's destructor that waits for what is running.
  void abandon() noexcept;

  /// Empty if there is no watch.
  [[nodiscard]] std::string name() const;
  [[nodiscard]] HealthStats stats() const;

 private:
  friend class HealthMonitor;
  explicit HealthWatch(std::shared_ptr<detail::HealthState> state) noexcept;

  std::shared_ptr<detail::HealthState> state_;
  const detail::world::Atomic<Health>* health_ = nullptr;  // in state_
};

}  // namespace penstock::inline PENSTOCK_ABI
