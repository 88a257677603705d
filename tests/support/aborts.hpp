// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Runs what must end the process in a process of its own.

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <string>

namespace penstock::testing {

/// Calls `action` in a child process. Call it while the test has no other thread.
///
/// Returns: what the child printed to standard error, if it was ended by SIGABRT; else an empty string.
template <class Action>
[[nodiscard]] std::string message_of_abort(Action action) {
  int ends[2] = {};
  if (pipe(ends) != 0) return {};
  const pid_t child = fork();
  if (child == 0) {
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    std::signal(SIGABRT, SIG_DFL);  // the test runner's handler would report a failed test
    dup2(ends[1], STDERR_FILENO);
    action();
    _exit(0);
  }
  close(ends[1]);
  std::string message;
  char buffer[256];
  for (ssize_t size = 0; child > 0 && (size = read(ends[0], buffer, sizeof(buffer))) > 0;) {
    message.append(buffer, static_cast<std::size_t>(size));
  }
  close(ends[0]);
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return {};
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT ? message : std::string();
}

}  // namespace penstock::testing
