// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a child process is, when it counts as ready, and who hears of it.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/swap/swap_model.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// Ready as soon as it runs.
struct ReadyAtOnce {};

/// Ready once it has written a line with `text` in it, to standard output or standard error.
struct ReadyOnLine {
  std::string text = {};  ///< 1 to `line_bytes` bytes, without a newline
};

/// Ready once it accepts a TCP connection, which is closed again.
struct ReadyOnConnect {
  std::string address = "127.0.0.1";  ///< numeric, of IPv4 or IPv6
  std::uint16_t port = 0;             ///< at least 1
};

/// Ready once it answers `GET path` with a status of 200 to 299.
struct ReadyOnHttp {
  std::string address = "127.0.0.1";  ///< numeric, of IPv4 or IPv6
  std::uint16_t port = 0;             ///< at least 1
  std::string path = "/health";       ///< begins with a "/", and holds no white space
};

/// Ready once `check` returns true. Called in a thread of its own, never twice at once; its context ends as soon as the
/// child does, or nobody wants it any more. A check that ignores that holds up the next start, and the destructor. What
/// it throws is counted, and means no.
struct ReadyWhen {
  std::function<bool(const Context&)> check = {};
};

using ReadinessProbe = std::variant<ReadyAtOnce, ReadyOnLine, ReadyOnConnect, ReadyOnHttp, ReadyWhen>;

/// Such as "http GET 127.0.0.1:8080/health".
std::string to_string(const ReadinessProbe& probe);

enum class ProcessStream : std::uint8_t { kOutput, kErrors };

/// A line that a child has written, without its end.
struct ProcessLine {
  ProcessStream stream = ProcessStream::kOutput;
  std::string text = {};

  friend bool operator==(const ProcessLine&, const ProcessLine&) = default;
};

/// A step from one state to another; they never are the same.
struct ProcessTransition {
  ModelState from = ModelState::kStopped;
  ModelState to = ModelState::kStopped;
  TimePoint at{};
  /// OK, or why: how a start has failed, or what has become of a child that was not asked to stop.
  absl::Status cause = {};
};

struct ProcessOptions {
  /// Names the process in texts, metrics and threads; 1 to 256 bytes. In a `ProcessBackend`: its model.
  std::string name = {};
  /// The program, and what it is given; at least one, and no NUL in any. A program without a "/" is looked for in the
  /// PATH of this process. There is no shell.
  std::vector<std::string> arguments = {};
  /// "NAME=value" each: added to the environment of this process at the time of the start, in place of what it has of
  /// the same name.
  std::vector<std::string> environment = {};
  bool inherits_environment = true;
  /// Where it starts; empty: where this process is.
  std::string working_directory = {};

  ReadinessProbe ready = ReadyAtOnce{};
  /// How long it may take to be ready once it runs; positive. Then it is stopped, and the start has failed. A stop that
  /// a start has to wait for has a limit of its own: `graceful_timeout` and `kill_timeout`.
  Duration start_timeout = std::chrono::seconds(120);
  /// From the beginning of one check to that of the next one; positive. The first ones come faster: after 1/32 of this,
  /// 1/16, and so on.
  Duration probe_interval = std::chrono::milliseconds(250);
  /// How long one check may take; positive. Not for `ReadyWhen`.
  Duration probe_timeout = std::chrono::seconds(2);

  /// The signal that asks it to end; 1 to 64.
  int stop_signal = 15;
  /// How long it, and what it has started, may take to end after that, before all of it is killed; at least 0.
  Duration graceful_timeout = std::chrono::seconds(10);
  /// How long the system may take to end what was killed before a stop says that it has failed, and whoever waits for a
  /// start after it, too; positive. Nothing is started as long as something of the group runs.
  Duration kill_timeout = std::chrono::seconds(10);

  /// How much of what it has written last is kept; 1 KiB to 1 GiB.
  std::size_t log_bytes = 64 * 1024;
  /// A longer line is cut into several; [16, log_bytes / 4].
  std::size_t line_bytes = 4096;

  /// Called with each line, in order. What it has no time for, and what is no longer kept then, it misses, which is
  /// counted: a child never waits for who reads. May be empty.
  std::function<void(const ProcessLine&)> on_line = {};
  /// Called with each transition, in order. The oldest of more than 64 that wait for it are missed, and counted. May be
  /// empty.
  ///
  /// Both are called in a thread that does nothing else meanwhile, one call at a time, without a lock; may call the
  /// process, and wait in it. What they throw is counted.
  std::function<void(const ProcessTransition&)> on_transition = {};

  /// When this ends, the process shuts down, as by `Process::try_shutdown`.
  Context lifetime = Context::background();

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const;
};

/// A process at one moment.
///
///   starts = ready + start_failures + aborted + (1 while it starts)
struct ProcessStats {
  ModelState state = ModelState::kStopped;
  int pid = 0;           ///< of the child; 0: there is none
  Duration in_state{};   ///< since its state has changed, or it was made
  Duration took_last{};  ///< the last start that came to be ready

  std::uint64_t starts = 0;          ///< asked for, and begun
  std::uint64_t ready = 0;           ///< starts that came to be
  std::uint64_t start_failures = 0;  ///< no such program, ended before it was ready, not ready in time
  std::uint64_t aborted = 0;         ///< starts that were stopped
  std::uint64_t crashes = 0;         ///< children that ended by themselves while they were ready
  std::uint64_t stops = 0;           ///< of a child, for whatever reason
  std::uint64_t kills = 0;           ///< of these, after the graceful time-out

  std::uint64_t log_bytes = 0;           ///< written by its children so far
  std::uint64_t log_lines = 0;           ///< lines of that
  std::uint64_t missed_lines = 0;        ///< that `on_line` was too slow for
  std::uint64_t missed_transitions = 0;  ///< that `on_transition` was too slow for
  std::uint64_t caught_exceptions = 0;   ///< of the check and the listeners
  std::string last_exit = {};            ///< "exit status 3", "signal 9 (Killed)"; empty: none has ended
};

/// "output" or "errors".
std::string_view to_string(ProcessStream stream) noexcept;

}  // namespace penstock::inline PENSTOCK_ABI
