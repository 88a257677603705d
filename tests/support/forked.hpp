// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Runs code in a forked child, which has the objects of the test and none of its other threads.
///
/// PENSTOCK_TEST_FORKS is 0 under ThreadSanitizer, which does not take a fork of a process with threads;
/// PENSTOCK_TEST_BUSY_FORKS also under AddressSanitizer, whose allocator of g++ 12 leaves its locks to the child as
/// they are: with another thread in it at the fork, the child's next allocation waits for ever.

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/sanitized.hpp"

#if PENSTOCK_HAS_TSAN
#define PENSTOCK_TEST_FORKS 0
#else
#define PENSTOCK_TEST_FORKS 1
#endif

#if PENSTOCK_HAS_ASAN
#define PENSTOCK_TEST_BUSY_FORKS 0
#else
#define PENSTOCK_TEST_BUSY_FORKS PENSTOCK_TEST_FORKS
#endif

namespace penstock::testing {

/// Calls `action` in a forked child and returns what it returned, from 0 to 255; -1 if the child did not come to that.
/// One that waits for what is not there is ended after 20 seconds.
template <class Action>
[[nodiscard]] int answer_of_child(Action action) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(action());
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

}  // namespace penstock::testing
