// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// SIGTERM and SIGINT, as something that a thread can wait for.

#include <csignal>
#include <cstdlib>
#include <future>
#include <thread>

#include <pthread.h>
#include <unistd.h>

namespace gateway {

/// Waits for the signals on a thread of its own, so that no code has to be safe in a signal handler. A second signal
/// ends the process at once: whoever sends it does not want to wait any longer.
///
/// Made before any other thread, since threads inherit which signals are blocked.
class Termination {
 public:
  Termination() {
    ::signal(SIGPIPE, SIG_IGN);  // a client that has gone is an error of its connection, not the end of the process
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGTERM);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, kStop);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    thread_ = std::thread([this] { run(); });
  }
  ~Termination() {
    pthread_kill(thread_.native_handle(), kStop);
    thread_.join();
  }
  Termination(const Termination&) = delete;
  Termination& operator=(const Termination&) = delete;

  /// Blocks until the first signal; returns its number.
  int wait() { return first_.get_future().get(); }

 private:
  static constexpr int kStop = SIGUSR1;

  void run() {
    for (int count = 0;; ++count) {
      int number = 0;
      sigwait(&signals_, &number);
      if (number == kStop) return;
      if (count > 0) ::_exit(128 + number);
      first_.set_value(number);
    }
  }

  sigset_t signals_{};
  std::promise<int> first_;
  std::thread thread_;
};

}  // namespace gateway
