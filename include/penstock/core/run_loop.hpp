// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// An executor for a thread of the caller's.

#include <cstddef>

#include "penstock/core/detail/parker.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/executor.hpp"
#include "penstock/core/mutex.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// An executor whose thread is the one that calls `run`: for a main thread, for tests, for a simulation.
///
/// What happened before comes first: work runs in the order in which it was posted, wherever the order of two posts can
/// be told. Work that is left when the loop is destroyed never runs.
///
/// Threads: one at a time runs it; `post` and `stop` from any thread.
/// Cost:    work that posts to its own loop takes no lock; others take one, and wake the loop if it sleeps.
class RunLoop final : public Executor {
 public:
  using Executor::post;

  RunLoop() = default;
  RunLoop(const RunLoop&) = delete;
  RunLoop& operator=(const RunLoop&) = delete;

  void post(Work& work) noexcept override ABSL_LOCKS_EXCLUDED(mutex_);

  /// As `Executor::revoke`. True for certain in the thread that runs the loop, or while none does.
  bool revoke(Work& work) noexcept override ABSL_LOCKS_EXCLUDED(mutex_);

  /// Runs work as it comes, until `stop` was called and nothing is left. Afterwards the loop can run again.
  /// Blocks: while there is nothing to do, asleep.
  void run() ABSL_LOCKS_EXCLUDED(mutex_);

  /// Runs what is there, and what that posts, and returns how many pieces that were. Never waits.
  std::size_t run_ready() ABSL_LOCKS_EXCLUDED(mutex_);

  /// Lets `run` return once nothing is left.
  void stop() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Turn;

  Work* take() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void take_mail() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  bool wait_for_mail() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  Mutex mutex_;                             // leaf
  WorkQueue mail_ ABSL_GUARDED_BY(mutex_);  // what other threads have posted
  // The sleeping thread's, on its stack: whoever takes the pointer wakes it, after unlocking, and through that alone.
  // The work it posted may be what ends the loop's life.
  detail::Parker* sleeper_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // Whether there may be mail, to be asked without the mutex. Relaxed: it is written under the mutex, and nobody sleeps
  // without having looked there. Who posts after another thread's post, in an order that can be told, sees its flag.
  detail::world::Atomic<bool> has_mail_{false};
  // Which thread runs the loop: the address of a value of that thread's own, or null.
  const void* runner_ ABSL_GUARDED_BY(mutex_) = nullptr;
  // The running thread's, who needs no mutex for it; while none runs, of whoever holds the mutex. What is in here came
  // before the mail.
  WorkQueue queue_;
};

}  // namespace penstock::inline PENSTOCK_ABI
