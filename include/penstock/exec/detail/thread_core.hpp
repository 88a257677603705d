// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a thread manager is made of: one mutex, a crew of threads, a list of the functions that they run.
///
/// A thread of the crew:
///
///     being made --> at work <--> idle --> ending --> leaving --> buried
///
/// `live` counts it up to idle, `ending` from then on, `leaving_` from where it runs no hook any more. One is made only
/// while `live + ending` is below the limit, counted first; and it is counted until somebody has joined it. So the
/// system never has more of them.
///
/// Burials. A thread's last deed is to put itself into `retired_`; the one it finds there it joins. So there is at most
/// one that nobody has joined yet and nobody is joining, and its stack is all that is left over. Who needs its place
/// joins it; who finds that others are leaving waits for that on `room_`.
///
/// Reservations. A spawn first reserves a thread, an idle one or a new one; then it makes the function, which runs the
/// caller's code, without the lock; then it hands it over. A reserved thread is on no list, and cannot end. An idle one
/// whose time is up when it is reserved wakes, sees that, and waits on.
///
/// Waits. An idle thread waits under its deadline. Whoever gives it something to do, or has it end, says so under the
/// mutex and then claims its wait, if it is in one; what it wakes up to is what it finds under the mutex. So it does
/// not matter whether the deadline won the claim.
///
/// Ends. `active_` counts reservations and functions, until the end of the function has been told to subscribers. A
/// shutdown waits for it. Who lowers it wakes those through their waiters.
///
/// Locks: nothing is locked while mutex_ is held.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "penstock/channel/broadcaster.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/detail/parker.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/exec/detail/thread_record.hpp"
#include "penstock/exec/thread_manager.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// A thread of a crew. Guarded by the core's mutex, unless said otherwise.
struct CrewThread {
  world::Thread thread;  // the maker's; from the first `unpark` on the one's who joins
  Parker begin;          // holds the thread until the maker has let go of it
  bool is_new = false;   // held by `begin`
  std::size_t slot = 0;  // the thread's own

  std::unique_ptr<ThreadRecord> record;  // what it runs, or has been given to run; while it runs, the thread's own
  bool has_task = false;                 // given, and not begun
  bool reserved = false;
  bool idle = false;         // on the stack
  WaitNode* node = nullptr;  // the wait that it is in, or about to be in
  CrewThread* below = nullptr;
  CrewThread* above = nullptr;
};

class ThreadCore {
 public:
  /// Makes the thread that runs `ThreadCore::work(me)`. May throw. Tests put one that fails in its place.
  using MakeThread = world::Thread (*)(ThreadCore& core, CrewThread& me);
  static world::Thread make_thread(ThreadCore& core, CrewThread& me);

  explicit ThreadCore(ThreadManagerOptions options, MakeThread thread_maker = make_thread);
  ThreadCore(const ThreadCore&) = delete;
  ThreadCore& operator=(const ThreadCore&) = delete;

  [[nodiscard]] const ThreadManagerOptions& options() const noexcept { return options_; }
  /// Whether this is a copy in a forked child: its mutex may be locked by a thread that is not there.
  [[nodiscard]] bool is_forked() const noexcept;
  [[nodiscard]] bool is_own_thread() const noexcept { return ManagedThread::current().core == this; }

  // Life.
  absl::Status start();
  ThreadShutdownReport shutdown(const Context& ctx) ABSL_LOCKS_EXCLUDED(mutex_);
  /// Waits for all threads to be gone. After a shutdown.
  void stop() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  // Spawning.
  /// Reserves a thread; null on refusal.
  CrewThread* admit(std::string_view name, bool nothing_to_call, absl::Status& refusal) ABSL_LOCKS_EXCLUDED(mutex_);
  std::uint64_t enter(CrewThread& thread, std::unique_ptr<ThreadRecord> record) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void give_back(CrewThread& thread) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  // The crew.
  void work(CrewThread& me) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  // Observers.
  [[nodiscard]] Subscription<ThreadEvent> subscribe() noexcept { return events_.subscribe(); }
  [[nodiscard]] std::vector<ThreadEvent> history() const ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] std::vector<ThreadInfo> snapshot() const ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] ThreadManagerStats stats() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  enum class Admitted : std::uint8_t { kIdle, kRoom, kLimit, kClosed };
  enum class Step : std::uint8_t { kRun, kWait, kLeave };

  // Spawning.
  /// kIdle: `thread` is reserved. kRoom: one may be made, once `in_the_way`, if there is one, has been buried.
  Admitted reserve(CrewThread*& thread, CrewThread*& in_the_way) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  CrewThread* make(std::string_view name, absl::Status& refusal) ABSL_LOCKS_EXCLUDED(mutex_);

  // The crew.
  /// What there is to do, waiting while there is nothing; false: end. Ends, first of all, what it did before.
  bool take(CrewThread& me) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  Step next_step(CrewThread& me, bool time_is_up) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void begin(CrewThread& me) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void run(CrewThread& me) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void retire(CrewThread& me) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// Joins a thread that has retired, and frees its place unless somebody has it already.
  void bury(CrewThread* thread, bool place_is_taken) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// Counts `record` as ended. Leaves in `forgotten` what is freed after unlocking.
  void finish(ThreadRecord& record, std::shared_ptr<const ThreadEvent>& forgotten) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Tells subscribers of `event`, and lets a shutdown go on that waits for that.
  void deliver(std::shared_ptr<const ThreadEvent> event) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void push_idle(CrewThread& thread) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void unlist_idle(CrewThread& thread) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Ends the wait of `thread`, if it is in one.
  static void claim(CrewThread& thread, WakeList& wake) noexcept;

  // Hooks.
  void report(std::uint64_t id, std::string_view name, const std::exception_ptr& exception) noexcept
      ABSL_LOCKS_EXCLUDED(mutex_);
  void run_slot_hook(const std::function<void(std::size_t)>& hook, std::string_view name, std::size_t slot) noexcept;

  // The watch.
  void watch() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void tell_of_stuck() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  // Shutdown.
  [[nodiscard]] std::vector<ThreadInfo> list(const ThreadRecord* except) const ABSL_LOCKS_EXCLUDED(mutex_);
  void claim_closers(WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ThreadManagerOptions options_;
  const MakeThread make_;
  Clock& clock_;
  const std::uint32_t process_;  // that made it
  const Context::Cancellable life_;
  world::Thread watcher_;  // the creating and the destroying thread's
  Broadcaster<ThreadEvent> events_;

  mutable Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  CrewThread* idle_top_ ABSL_GUARDED_BY(mutex_) = nullptr;  // who became idle last
  CrewThread* retired_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::vector<bool> slots_ ABSL_GUARDED_BY(mutex_);  // those in use
  ThreadRecord* oldest_ ABSL_GUARDED_BY(mutex_) = nullptr;
  ThreadRecord* newest_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::size_t active_ ABSL_GUARDED_BY(mutex_) = 0;
  std::size_t leaving_ ABSL_GUARDED_BY(mutex_) = 0;
  std::size_t inside_ ABSL_GUARDED_BY(mutex_) = 0;                                   // managed threads in shutdown()
  std::vector<std::shared_ptr<const ThreadEvent>> history_ ABSL_GUARDED_BY(mutex_);  // a ring, once it is full
  std::size_t history_next_ ABSL_GUARDED_BY(mutex_) = 0;

  CondVar room_;                                       // a place may be free, or a burial due
  WaitList closers_ ABSL_GUARDED_BY(mutex_);           // threads in shutdown()
  WaitList watching_ ABSL_GUARDED_BY(mutex_);          // the watching thread
  bool watch_sleeps_ ABSL_GUARDED_BY(mutex_) = false;  // until something is at work
  ThreadManagerStats counts_ ABSL_GUARDED_BY(mutex_);  // all but what is made on demand
};

/// Makes managers for tests.
struct ThreadManagerAccess {
  static absl::StatusOr<std::unique_ptr<ThreadManager>> create(ThreadManagerOptions options,
                                                               ThreadCore::MakeThread make);
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
