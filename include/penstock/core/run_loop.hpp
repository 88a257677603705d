// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// An executor for a thread of the caller's.

#include <cstddef>

#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/executor.hpp"
#include "penstock/core/mutex.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// An executor whose thread is the one that calls `run`: for a main thread, for tests, for a simulation.
///
/// Threads: one at a time runs it; `post` and `stop` from any thread.
class RunLoop final : public Executor {
 public:
  using Executor::post;

  RunLoop() = default;
  RunLoop(const RunLoop&) = delete;
  RunLoop& operator=(const RunLoop&) = delete;

  void post(Work& work) noexcept override ABSL_LOCKS_EXCLUDED(mutex_);
  bool revoke(Work& work) noexcept override ABSL_LOCKS_EXCLUDED(mutex_);

  /// Runs work as it comes, until `stop` was called and nothing is left. Afterwards the loop can run again.
  /// Blocks: while there is nothing to do.
  void run() ABSL_LOCKS_EXCLUDED(mutex_);

  /// Runs what is there, and what that posts, and returns how many pieces that were. Never waits.
  std::size_t run_ready() ABSL_LOCKS_EXCLUDED(mutex_);

  /// Lets `run` return once nothing is left.
  void stop() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  Work* take() ABSL_LOCKS_EXCLUDED(mutex_);

  Mutex mutex_;  // leaf
  // The posting thread claims a waiter under the mutex and wakes it afterwards through the waiter alone: the work it
  // posted may be what ends the loop's life.
  detail::WaitList idle_ ABSL_GUARDED_BY(mutex_);
  WorkQueue queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace penstock::inline PENSTOCK_ABI
