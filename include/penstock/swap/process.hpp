// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A child process that serves: started when it is wanted, stopped when it is not, and never left behind.
///
///                ensure_ready           its probe says so           stop
///     kStopped --------------> kStarting ----------------> kReady --------> kStopping --.
///       ^  ^                   |  | stop, or not ready in time                ^         | all of its group has ended
///       |  '-------------------'  '-------------------------------------------'         |
///       |     cannot start, or ends                                                     |
///       '------------------- ends by itself (from kReady) ------------------------------'   or kShutdown, for good
///
/// A child is the leader of a session and a process group of its own, so a signal that is meant for it reaches all that
/// it has started, but for what has left the group; and none that is meant for the host's group reaches it. To stop one
/// is to send `stop_signal` to the group, and SIGKILL to what is left of it after `graceful_timeout`; it has stopped
/// when nobody of the group runs any more. When it ends by itself the rest of its group is killed, and until that has
/// gone it is kStopping: a successor never meets what its predecessor has left behind. A host that is killed leaves its
/// children running: they find out when their output has no reader any more.

#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/swap/detail/process_wait.hpp"
#include "penstock/swap/process_options.hpp"
#include "penstock/swap/process_supervisor.hpp"
#include "penstock/swap/swap_model.hpp"

namespace penstock::inline PENSTOCK_ABI {

class MetricSink;

/// One child process after the other, of one program.
///
///     ProcessSupervisor supervisor;
///     Process llama(supervisor, {.name = "llama",
///                                .arguments = {"llama-server", "--port", "8101"},
///                                .ready = ReadyOnHttp{.port = 8101},
///                                .on_line = [&](const ProcessLine& line) { log << line.text << '\n'; }});
///     if (absl::Status status = llama.ensure_ready(ctx); !status.ok()) return status;
///     ...
///     llama.stop();                                  // or leave it to the destructor
///
/// A child inherits standard input, which is empty, and output and errors, which are pipes that the supervisor reads;
/// no other descriptor (with a GNU C library before 2.34, or another one: what the host has left inheritable), no
/// blocked signal, no ignored one. A program named by a relative path is looked for in
/// `working_directory`.
///
/// Of those who want it ready and those who want it stopped, the last one who comes has his way: a stop ends a start,
/// and who wants it ready while it stops has it started again after that. Everybody gets an answer.
///
/// Threads: any member, from any thread, also from its own callbacks.
class Process {
 public:
  /// Starts nothing yet. Throws: std::invalid_argument with the text of `options.validate()`; std::system_error if
  /// there is no thread for its callbacks; std::bad_alloc.
  Process(ProcessSupervisor& supervisor, ProcessOptions options);
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  /// Shuts down. Who waits gets its answer. What callbacks have not been told yet they are told here; but if it is one
  /// of them that destroys it, they are not called any more.
  /// Blocks: as `shutdown`, and while a callback runs, but for the one it is called from; for a child that the system
  ///         does not end, until `kill_timeout` has passed; the supervisor reaps it when it ends. Not called on the
  ///         supervisor's thread.
  ~Process();

  /// Starts it unless it has, and waits until it is ready.
  ///
  /// Blocks:  until then, until the start fails or is stopped, or `ctx` ends: the start goes on then.
  /// Returns: OK; Aborted (stopped meanwhile), FailedPrecondition (shut down), DeadlineExceeded (`ctx`; not ready
  ///          within `start_timeout`; or its predecessor is not ended by the system within `kill_timeout`, and as long
  ///          as that lasts), Cancelled (`ctx`), Unavailable (ended before it was ready, with its last lines),
  ///          NotFound, PermissionDenied and the like (the system could not start it).
  /// Throws:  std::bad_alloc; std::system_error if the clock of `ctx` needs a timer thread and cannot start it.
  /// Cost:    one lock if it is ready.
  absl::Status ensure_ready(const Context& ctx = Context::background());
  /// `co_await process.async_ensure_ready(ctx)`: the same, for a coroutine. The process may go meanwhile.
  [[nodiscard]] detail::ProcessAwaiter async_ensure_ready(Context ctx = Context::background());
  /// The same without waiting: Unavailable while it is not ready yet.
  absl::Status try_ensure_ready();

  /// Stops it, and waits until it has stopped. A start that is under way is aborted. Several stops are one; the
  /// earliest time at which one of them would kill counts.
  ///
  /// Blocks:  until then, or until `ctx` ends: the stop goes on then.
  /// Returns: OK, also if it had stopped before; DeadlineExceeded (`ctx`, or something that the system does not end:
  ///          `kill_timeout`), Cancelled (`ctx`), FailedPrecondition (a forked child).
  absl::Status stop(const Context& ctx = Context::background());
  /// The same with another `graceful_timeout`; zero, or less: killed at once.
  absl::Status stop(Duration graceful_timeout, const Context& ctx = Context::background());
  [[nodiscard]] detail::ProcessAwaiter async_stop(Context ctx = Context::background());
  [[nodiscard]] detail::ProcessAwaiter async_stop(Duration graceful_timeout, Context ctx = Context::background());
  /// Without waiting: Unavailable while it has not stopped yet.
  absl::Status try_stop();
  absl::Status try_stop(Duration graceful_timeout);

  /// Stops it for good: from now on it cannot be started.
  absl::Status shutdown(const Context& ctx = Context::background());
  [[nodiscard]] detail::ProcessAwaiter async_shutdown(Context ctx = Context::background());
  absl::Status try_shutdown();

  /// `co_await process.async_abort_start()`, for who has waited for a start and does not want it any more: stops it if
  /// it is starting, or is to be started after a stop. Leaves it alone if it is ready, or somebody else waits for that
  /// start; so of several who have waited, the last one to go aborts it. (Who only tries does not wait.) Waits until it
  /// has stopped, if it is stopping, and brings no kill forward.
  [[nodiscard]] detail::ProcessAwaiter async_abort_start(Context ctx = Context::background());

  [[nodiscard]] ModelState state() const;
  /// Of the child that runs; 0: there is none.
  [[nodiscard]] int pid() const;
  /// The last lines that its children have written, oldest first; at most `most`, and as many as `log_bytes` hold.
  [[nodiscard]] std::vector<ProcessLine> log(std::size_t most = std::numeric_limits<std::size_t>::max()) const;
  [[nodiscard]] const std::string& name() const noexcept;
  [[nodiscard]] const ProcessOptions& options() const noexcept;
  /// All at one moment. In a forked child, nothing.
  [[nodiscard]] ProcessStats stats() const;
  /// Writes the metrics `penstock_process_...`, with the label process = name().
  void collect(MetricSink& sink) const;

 private:
  friend class ProcessBackend;
  void report_to(std::function<void(ModelState)> report);
  void begin_shutdown() noexcept;

  std::shared_ptr<detail::ProcessCore> core_;
};

}  // namespace penstock::inline PENSTOCK_ABI
