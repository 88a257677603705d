// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Calls functions at intervals, each in nobody else's way.
///
///              due: a thread of its own               the call has ended
///   waiting ---------------------------> running ----------------------------> waiting
///      ^                                    | due meanwhile: counted as overrun, and skipped
///      '-- run_now: due at once             '-- run_now: due again as soon as the call has ended
///
/// Each call has a thread for as long as it runs. So one that blocks, or never returns, delays none of the others; it
/// keeps its own thread, and its task has no other call meanwhile. A runner has one thread that starts calls, and as
/// many more as there were calls at once; those end when they have had nothing to do for a while.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/detail/empty_function.hpp"
#include "penstock/core/op_status.hpp"

namespace penstock::inline PENSTOCK_ABI {

class MetricSink;
class PeriodicTask;

namespace detail {
class PeriodicCore;
struct PeriodicState;
using PeriodicCall = absl::AnyInvocable<void(const Context&)>;
}  // namespace detail

struct PeriodicTaskOptions {
  /// Names the task in texts, metrics and `top -H`; 1 to 256 bytes.
  std::string name = "unnamed";
  /// From one call's due time to the next one's; positive. What time has passed over is skipped, in step.
  Duration interval = std::chrono::seconds(30);
  /// Each interval is longer or shorter by up to this part of it, at random: so tasks that began together spread. In
  /// [0, 1]; the mean stays the interval.
  double jitter = 0;
  /// Until the first call; at least 0. Duration::max(): there is none before `run_now`.
  Duration initial_delay = Duration::zero();
  /// How long a call may take before its context ends; positive. The call is not ended by that, nor is it given up.
  Duration timeout = Duration::max();

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const;
};

struct PeriodicRunnerOptions {
  /// Names the runner in texts and metrics; 1 to 256 bytes.
  std::string name = "unnamed";
  /// Decides when calls are due, and their time-outs; outlives the runner and its tasks.
  Clock* clock = &Clock::steady();
  /// How long a thread without a call waits for one before it ends, in machine time; 0: not at all.
  Duration thread_idle_timeout = std::chrono::seconds(60);

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const;
};

/// One task at one moment.
///
///   times it was due = calls + overruns + missed + start_failures
struct PeriodicTaskStats {
  bool is_running = false;           ///< or about to
  Duration running_for{};            ///< the present call
  TimePoint next_due{};              ///< while it runs, without regard to that
  std::uint64_t calls = 0;           ///< begun
  std::uint64_t overruns = 0;        ///< skipped, since a call was running
  std::uint64_t missed = 0;          ///< skipped, since nobody could look in time
  std::uint64_t exceptions = 0;      ///< calls that threw
  std::uint64_t timeouts = 0;        ///< calls that have ended, after their time-out
  std::uint64_t start_failures = 0;  ///< skipped, since the system had no thread
  Duration last_took{};              ///< the last call that has ended
  Duration longest{};                ///< of all that have ended
  std::string last_exception;        ///< "std::runtime_error: connection reset"; limited in length

  friend bool operator==(const PeriodicTaskStats&, const PeriodicTaskStats&) = default;
};

/// A runner at one moment. Totals are over all tasks, also those that have ended.
struct PeriodicRunnerStats {
  std::size_t tasks = 0;
  std::size_t running = 0;  ///< calls
  std::size_t threads = 0;  ///< the one that starts calls, those in a call, and idle ones
  std::size_t idle_threads = 0;
  std::uint64_t calls = 0;
  std::uint64_t overruns = 0;
  std::uint64_t missed = 0;
  std::uint64_t exceptions = 0;
  std::uint64_t timeouts = 0;
  std::uint64_t start_failures = 0;

  friend bool operator==(const PeriodicRunnerStats&, const PeriodicRunnerStats&) = default;
};

/// Calls functions at intervals.
///
///     PeriodicRunner runner({.name = "gateway"});
///     absl::StatusOr<PeriodicTask> purge = runner.every({.name = "purge", .interval = 10s, .jitter = 0.1},
///                                                       [&](const Context& ctx) { cache.purge(ctx); });
///     ...
///     purge->set_interval(1s);
///     purge->run_now();
///                                                        // its destructor ends the task, and waits for a running call
///
/// Exceptions of the functions are contained and counted. Where the system has no thread for a call, that is counted,
/// and it is tried again an interval later.
///
/// Forked children have none of the threads: there `every` returns FailedPrecondition, nothing is called, `stop` has
/// nothing to wait for, statistics are empty, and destructors leave the memory alone.
///
/// Threads: any member, from any thread, also from calls.
class PeriodicRunner {
 public:
  /// Throws: std::invalid_argument with the text of `options.validate()`; std::system_error if the clock needs a thread
  /// and cannot start it.
  explicit PeriodicRunner(PeriodicRunnerOptions options = {});

  /// Ends all tasks. Handles may outlive it. Not called from one of its calls.
  ///
  /// Blocks: while a call runs that ignores the end of its context: a thread cannot be stopped from outside.
  ~PeriodicRunner();
  PeriodicRunner(const PeriodicRunner&) = delete;
  PeriodicRunner& operator=(const PeriodicRunner&) = delete;

  /// Has `function(const Context&)` or `function()` called from now on, until the handle ends it. Calls of one task
  /// never overlap. The context ends at the call's time-out, and when the task or the runner ends.
  ///
  /// Returns: the handle; or, with nothing begun, InvalidArgument (options, nothing to call), ResourceExhausted (no
  ///          thread to start calls with), FailedPrecondition (a forked child).
  /// Throws:  std::bad_alloc.
  /// Cost:    some five allocations; a new thread for the first task of a runner.
  template <class F>
  [[nodiscard]] absl::StatusOr<PeriodicTask> every(PeriodicTaskOptions options, F&& function);

  [[nodiscard]] const std::string& name() const noexcept;
  [[nodiscard]] Clock& clock() const noexcept;
  [[nodiscard]] PeriodicRunnerStats stats() const;
  /// Writes the metrics `penstock_periodic_...`, with the labels runner = name() and task = its name; tasks of one
  /// name are added up.
  void collect(MetricSink& sink) const;

 private:
  absl::StatusOr<PeriodicTask> begin(PeriodicTaskOptions options, detail::PeriodicCall call);

  std::shared_ptr<detail::PeriodicCore> core_;
};

/// A function that is called at intervals, for as long as this lives. One that was moved from, or default-constructed,
/// has no task: nothing it is asked has an effect.
///
/// Threads: any member but moves, `abandon` and the destructor, from any thread at once, also from within the call.
class [[nodiscard]] PeriodicTask {
 public:
  PeriodicTask() noexcept = default;
  PeriodicTask(PeriodicTask&&) noexcept = default;
  PeriodicTask& operator=(PeriodicTask&& other) noexcept;
  /// As `stop()`.
  ~PeriodicTask();

  /// Ends the task: no call begins any more, and the context of one that is running ends.
  ///
  /// Blocks: until a call that is running has returned, and the function is destroyed; from within the call, or the
  ///         function's destructor, not at all: then its thread destroys it after the return.
  void stop() noexcept;
  /// The same, but waits only until `ctx` ends.
  ///
  /// Returns: kOk; or kTimedOut or kCancelled while a call is still running. It may be called again.
  /// Throws:  std::system_error if the clock of `ctx` needs a thread and cannot start it; the task is ending then.
  OpStatus stop(const Context& ctx);

  /// The same, without waiting; the destructor still does.
  void end() noexcept;
  /// Ends the task and lets go of it: from then on it is the runner's destructor that waits for a running call.
  void abandon() noexcept;

  /// Makes the task due now; while a call is running, as soon as that has ended. So a call begins after this, unless
  /// the task ends; several of these may be for the same call. The next one is due an interval later.
  void run_now() noexcept;

  /// The next call is due one new interval after the last one was, or at once if that has passed. While the first is
  /// still to come, that one stays as it is.
  ///
  /// Returns: InvalidArgument, with nothing changed, if it is not positive.
  absl::Status set_interval(Duration interval);
  /// The same for all options; a running call keeps its time-out, and the name and the initial delay stay as they were.
  absl::Status set_options(const PeriodicTaskOptions& options);

  /// Whether there is a task that has not been stopped or abandoned, and whose runner lives.
  [[nodiscard]] bool is_active() const noexcept;
  /// Empty if there is no task.
  [[nodiscard]] PeriodicTaskOptions options() const;
  [[nodiscard]] PeriodicTaskStats stats() const;

 private:
  friend class PeriodicRunner;
  explicit PeriodicTask(std::shared_ptr<detail::PeriodicState> state) noexcept : state_(std::move(state)) {}

  std::shared_ptr<detail::PeriodicState> state_;
};

// --- implementation ---

template <class F>
absl::StatusOr<PeriodicTask> PeriodicRunner::every(PeriodicTaskOptions options, F&& function) {
  using Function = std::decay_t<F>;
  constexpr bool kTakesContext = std::is_invocable_v<Function&, const Context&>;
  static_assert(kTakesContext || std::is_invocable_v<Function&>,
                "a task's function is one of nothing or of a const Context&, and can be called again");
  if (detail::is_empty_function(function)) return begin(std::move(options), nullptr);
  return begin(std::move(options),
               [held = Function(std::forward<F>(function))]([[maybe_unused]] const Context& ctx) mutable {
                 if constexpr (kTakesContext) {
                   static_cast<void>(std::invoke(held, ctx));
                 } else {
                   static_cast<void>(std::invoke(held));
                 }
               });
}

}  // namespace penstock::inline PENSTOCK_ABI
