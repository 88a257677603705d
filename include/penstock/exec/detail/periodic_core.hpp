// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a periodic runner is made of: a heap of the tasks that wait, by when they are due; a thread that starts their
/// calls; and a manager for the threads that the calls run in.
///
/// A task:
///
///     waiting (in the heap) <--> running --> dying --> gone
///              '---------- stopped ----------^
///
/// running is counted from the moment at which a thread is asked for. A stopped task is brought to its end by whoever
/// finds it so: the one who stops it, or the thread of its last call. It destroys the function, which is the caller's
/// code, without a lock, and then says that the task is gone. `thread` is who calls or destroys the function: it must
/// not wait for itself.
///
/// While a call runs nobody looks at the clock for it: what fell due meanwhile is counted from the times, at its end.
///
/// Locks: start_mutex_, held while the first thread starts; nothing of the runner is locked while mutex_ is held.
/// Threads are started, functions called, contexts ended and memory freed without it.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/pairing_heap.hpp"
#include "penstock/core/detail/periodic_due.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/exec/periodic_runner.hpp"
#include "penstock/exec/thread_manager.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// A task. Guarded by the core's mutex, unless said otherwise.
struct PeriodicState {
  PeriodicState(std::shared_ptr<PeriodicCore> owner, PeriodicTaskOptions given, PeriodicCall function, TimePoint now);
  PeriodicState(const PeriodicState&) = delete;
  PeriodicState& operator=(const PeriodicState&) = delete;

  /// What of it has fallen due: nothing, while that is still to come.
  [[nodiscard]] PeriodicDue due_by(TimePoint now) const noexcept;

  const std::shared_ptr<PeriodicCore> core;
  const Context::Cancellable life;
  PeriodicCall call;  // the running call's; then the one's who brings the task to its end

  PeriodicTaskOptions options;            // the name never changes
  TimePoint due;                          // of the next call; while one runs, as if none did
  TimePoint last_due = TimePoint::max();  // of the last call; max: there was none
  std::uint64_t sequence = 0;             // first in, first out, among those due at once
  HeapLinks<PeriodicState> links;
  std::size_t index = 0;  // in tasks_

  bool stopped = false;
  bool running = false;
  bool asked = false;  // run_now came, and no call has begun since
  bool dying = false;
  bool gone = false;
  world::ThreadId thread{};
  TimePoint began{};
  WaitList stoppers;

  PeriodicTaskStats counts;  // but for what depends on now
};

class PeriodicCore : public std::enable_shared_from_this<PeriodicCore> {
 public:
  using StatePtr = std::shared_ptr<PeriodicState>;

  explicit PeriodicCore(PeriodicRunnerOptions given);

  [[nodiscard]] const PeriodicRunnerOptions& options() const noexcept { return options_; }
  /// Whether this is a copy in a forked child: its mutex may be locked by a thread that is not there.
  [[nodiscard]] bool is_forked() const noexcept;

  absl::StatusOr<StatePtr> begin(PeriodicTaskOptions options, PeriodicCall call) ABSL_LOCKS_EXCLUDED(mutex_);
  /// Ends the task; waits for nothing.
  void end(PeriodicState& state) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  OpStatus await_end(PeriodicState& state, const Context& ctx) ABSL_LOCKS_EXCLUDED(mutex_);
  void run_now(PeriodicState& state) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void set_options(PeriodicState& state, const PeriodicTaskOptions& options) ABSL_LOCKS_EXCLUDED(mutex_);
  /// Ends all tasks, waits for their calls, and for all threads.
  void shutdown() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  [[nodiscard]] bool is_active(const PeriodicState& state) const noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] PeriodicTaskOptions options_of(const PeriodicState& state) const ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] PeriodicTaskStats stats_of(const PeriodicState& state) const ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] PeriodicRunnerStats stats() const ABSL_LOCKS_EXCLUDED(mutex_);
  /// All tasks that have not ended.
  [[nodiscard]] std::vector<StatePtr> tasks() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Sooner {
    bool operator()(const PeriodicState& a, const PeriodicState& b) const noexcept {
      return a.due != b.due ? a.due < b.due : a.sequence < b.sequence;
    }
  };

  absl::Status start_scheduler() ABSL_LOCKS_EXCLUDED(start_mutex_);
  void schedule() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// The next task whose call is due, as running; or null, and when to look again.
  StatePtr take_due(TimePoint now, TimePoint& look_again) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void start_call(StatePtr state) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void run_call(const StatePtr& state) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// Has a task that runs no more wait for its next call; false if it is to be brought to its end, by the caller.
  bool rest(PeriodicState& state, TimePoint now, WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void enqueue(PeriodicState& state, WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// For who has set `dying`.
  void bury(PeriodicState& state) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  const PeriodicRunnerOptions options_;
  Clock& clock_;
  const std::uint32_t process_;             // that made it
  std::unique_ptr<ThreadManager> threads_;  // the destroying thread's, once all tasks are gone
  Mutex start_mutex_;                       // only one starts the scheduler; the manager's locks come after it
  bool has_scheduler_ ABSL_GUARDED_BY(start_mutex_) = false;

  mutable Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  PairingHeap<PeriodicState, &PeriodicState::links, Sooner> waiting_ ABSL_GUARDED_BY(mutex_);
  TimePoint looks_at_ ABSL_GUARDED_BY(mutex_) = TimePoint::max();  // when the scheduler will, by itself
  WaitList scheduler_ ABSL_GUARDED_BY(mutex_);
  std::vector<StatePtr> tasks_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  PeriodicRunnerStats counts_ ABSL_GUARDED_BY(mutex_);  // but for what is made on demand
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
