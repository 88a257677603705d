// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// An executor for coroutines, with threads of its own.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "penstock/core/executor.hpp"

namespace penstock::inline PENSTOCK_ABI {

namespace detail {
class StealingPool;
}

/// Runs work in a fixed number of threads, for many coroutines that wake each other.
///
/// Each thread has a queue of its own, and runs what it makes ready itself: coroutines that talk to each other end up
/// in one thread, where a hand-over costs some nanoseconds and not a cache miss or a wake-up. A thread that has nothing
/// to do helps another one only where that pays: if more waits there than a wake-up costs, or if that thread is held up
/// by what it runs. So work waits for a thread that computes or blocks for a millisecond or two, not until that is
/// over, as long as another thread is idle.
///
///     WorkStealingExecutor executor(4, "gateway");
///     JoinHandle<int> answer = spawn(executor, ask(provider));
///
/// Threads: `post` and `revoke` from any thread, and from its own work.
/// Order:   a thread runs first what it has made ready last, and after a few of those in a row what has waited longest.
/// Cost:    idle threads sleep, and a few milliseconds after the last work no timer wakes them either.
class WorkStealingExecutor final : public Executor {
 public:
  using Executor::post;

  /// Starts `threads` threads, called `<name>/0`, `<name>/1` and so on.
  /// Throws: std::invalid_argument if `threads` is 0; std::system_error if one cannot be started, and std::bad_alloc:
  ///         then none is left.
  WorkStealingExecutor(std::size_t threads, std::string_view name);
  WorkStealingExecutor(const WorkStealingExecutor&) = delete;
  WorkStealingExecutor& operator=(const WorkStealingExecutor&) = delete;

  /// Runs everything that was posted, and what that posts, and joins the threads. Coroutines that wait for something
  /// else stay suspended. Not from its own work.
  /// Blocks: until all that has run.
  ~WorkStealingExecutor() override;

  /// Runs `work` in one of the threads: in that of the caller, if it is one of them, unless another one helps.
  /// Cost: no allocation. From its own work one atomic operation, and a lock of that thread's own if something is ready
  ///       there already; from elsewhere a lock that all share, and a wake-up if no thread is awake and looking.
  void post(Work& work) noexcept override;

  /// As `Executor::revoke`. Cost: O(threads).
  bool revoke(Work& work) noexcept override;

  [[nodiscard]] const std::string& name() const noexcept;
  [[nodiscard]] std::size_t threads() const noexcept;
  /// Whether the calling thread is one of its own.
  [[nodiscard]] bool on_own_thread() const noexcept;

 private:
  const std::unique_ptr<detail::StealingPool> pool_;
};

}  // namespace penstock::inline PENSTOCK_ABI
