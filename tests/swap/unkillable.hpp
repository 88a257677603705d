// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A process that the system does not end at once, as one that hangs in a driver.

#include <csignal>

#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>

#include "support/eventually.hpp"

namespace penstock::testing {

/// From when it is made a process of this number, a descendant, stays in the middle of its end when it is killed: its
/// tracer, the thread that has made this, lets it go on.
class Unkillable {
 public:
  explicit Unkillable(int pid) : pid_(pid), holds_(ptrace(PTRACE_SEIZE, pid, nullptr, PTRACE_O_TRACEEXIT) == 0) {}
  Unkillable(const Unkillable&) = delete;
  Unkillable& operator=(const Unkillable&) = delete;
  ~Unkillable() { let_go(); }

  /// False where a process may not trace others.
  [[nodiscard]] bool holds() const noexcept { return holds_; }

  /// Ends it.
  void let_go() {
    if (!holds_) return;
    holds_ = false;
    kill(pid_, SIGKILL);
    // Whoever waits for any of its group may have seen it stop: whether it can go on is tried, not waited for.
    static_cast<void>(eventually([this] {
      ptrace(PTRACE_CONT, pid_, nullptr, nullptr);
      int status = 0;
      const pid_t seen = waitpid(pid_, &status, __WALL | WNOHANG);
      return seen < 0 || (seen == pid_ && !WIFSTOPPED(status));
    }));
  }

 private:
  int pid_;
  bool holds_;
};

}  // namespace penstock::testing
