// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// SIGTERM and SIGINT, as something that a thread can wait for.

#include <csignal>
#include <cstdlib>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

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

  /// Has `function` called before a second signal ends the process, as long as what is returned exists.
  [[nodiscard]] std::shared_ptr<void> before_exit(std::function<void()> function) {
    const auto set = [](Termination* self, std::function<void()> value) {
      const std::lock_guard lock(self->mutex_);
      self->before_exit_ = std::move(value);
    };
    set(this, std::move(function));
    return {this, [set](Termination* self) { set(self, {}); }};
  }

 private:
  static constexpr int kStop = SIGUSR1;

  void run() {
    for (int count = 0;; ++count) {
      int number = 0;
      sigwait(&signals_, &number);
      if (number == kStop) return;
      if (count == 0) {
        first_.set_value(number);
        continue;
      }
      const std::lock_guard lock(mutex_);
      if (before_exit_) before_exit_();
      ::_exit(128 + number);
    }
  }

  sigset_t signals_{};
  std::promise<int> first_;
  std::mutex mutex_;
  std::function<void()> before_exit_;
  std::thread thread_;
};

}  // namespace gateway
