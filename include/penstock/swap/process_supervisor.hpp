// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Who watches child processes: starts them, reads what they write, sees them end and reaps them.

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"

namespace penstock::inline PENSTOCK_ABI {

class Process;

namespace detail {
class SupervisorCore;
}

struct ProcessSupervisorOptions {
  /// Names the supervisor in texts, and its thread; 1 to 256 bytes.
  std::string name = "processes";
  /// Decides all time-outs of its processes; outlives the supervisor.
  Clock* clock = &Clock::steady();
  /// Whether to watch children by a descriptor of the process, where the system has that (Linux 5.3). Otherwise the
  /// supervisor looks every 20 ms whether one has ended.
  bool uses_pidfd = true;
  /// Makes this program, all of it, the one that orphans of its descendants come to, instead of the system's first
  /// process (PR_SET_CHILD_SUBREAPER). Those that stay in their group are reaped here; others are left to the host.
  bool adopts_orphans = false;

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const;
};

/// The thread that all processes of it share. It sleeps until something happens.
///
/// The supervisor only ever waits for children of its own, one by one: a host may have others, and wait for them, but
/// had better not wait for any child, `wait(nullptr)`, nor ignore SIGCHLD. If it does, nothing hangs and nothing is
/// left behind, but the exit status of a child may be unknown.
///
/// A start runs on this thread until the system has loaded the program, and so does a coroutine that has waited for a
/// process and has no executor of its own: it must not wait there, nor destroy a process.
///
/// In a forked child its processes, also those that are made there, refuse everything, and destructors leave all as it
/// is.
///
/// Linux only. Elsewhere, also on other systems of POSIX, all of this compiles and links, and the constructor throws
/// std::system_error with `std::errc::function_not_supported`.
///
/// Threads: any member, from any thread. It outlives its processes.
class ProcessSupervisor {
 public:
  /// Throws: std::invalid_argument with the text of `options.validate()`; std::system_error without a thread or
  /// descriptors.
  explicit ProcessSupervisor(ProcessSupervisorOptions options = {});
  ProcessSupervisor(const ProcessSupervisor&) = delete;
  ProcessSupervisor& operator=(const ProcessSupervisor&) = delete;
  /// Ends the thread. All its processes have been destroyed. Not called on that thread, nor by a callback of a process.
  /// A child that the system has not ended by then, though it was killed, is left to the host.
  /// Blocks: while a callback runs that has destroyed its process.
  ~ProcessSupervisor();

  [[nodiscard]] const std::string& name() const noexcept;
  [[nodiscard]] Clock& clock() const noexcept;
  /// How many processes there are of it, running or not.
  [[nodiscard]] std::size_t size() const;

 private:
  friend class Process;

  std::shared_ptr<detail::SupervisorCore> core_;
};

}  // namespace penstock::inline PENSTOCK_ABI
