// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What would end the process, std::terminate, abort and signals, ends the execution with a violation instead; and an
/// execution that takes no step for a long time ends the process, but says at which schedule.

#include <csignal>
#include <exception>

namespace penstock::checker {

/// Active while it lives.
class CrashGuard {
 public:
  CrashGuard();
  ~CrashGuard();
  CrashGuard(const CrashGuard&) = delete;
  CrashGuard& operator=(const CrashGuard&) = delete;

 private:
  static constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM};
  static constexpr int kCount = sizeof(kSignals) / sizeof(kSignals[0]);

  struct sigaction before_[kCount];
  stack_t stack_before_;
  std::terminate_handler terminate_before_;
};

}  // namespace penstock::checker
