// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The thread of a supervisor: it has each process do what is due, and sleeps until something happens to one.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "child_system.hpp"
#include "penstock/core/clock.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/exec/periodic_runner.hpp"
#include "penstock/swap/process_supervisor.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

class ProcessCore;

/// What a process wants of the next sleep of the thread.
class Sleep {
 public:
  /// It is to end when this happens. Returns where to look for it afterwards. Throws: std::bad_alloc.
  std::size_t until(const Interest& interest) {
    interests_.push_back(interest);
    return interests_.size() - 1;
  }
  /// It is to end at `when`, on the supervisor's clock.
  void until(TimePoint when) noexcept { due_ = std::min(due_, when); }
  /// It is to last no longer than this, in machine time.
  void at_most(Duration duration) noexcept { limit_ = std::min(limit_, duration); }

  [[nodiscard]] bool happened(std::size_t place) const noexcept { return interests_[place].happened; }

 private:
  friend class SupervisorCore;

  void clear() noexcept {
    interests_.clear();
    due_ = TimePoint::max();
    limit_ = Duration::max();
  }

  std::vector<Interest> interests_;
  TimePoint due_ = TimePoint::max();
  Duration limit_ = Duration::max();
};

class SupervisorCore {
 public:
  explicit SupervisorCore(ProcessSupervisorOptions options);
  SupervisorCore(const SupervisorCore&) = delete;
  SupervisorCore& operator=(const SupervisorCore&) = delete;
  /// Ends the thread, and waits for calls of listeners that have destroyed their process.
  void stop() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  /// Throws: std::bad_alloc.
  void add(std::shared_ptr<ProcessCore> process) ABSL_LOCKS_EXCLUDED(mutex_);
  void remove(const ProcessCore& process) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// The thread's: reaps a child that its process has given up, once it ends. Throws: std::bad_alloc.
  void leave(RunningChild&& child);
  /// Has the thread look at all of them.
  void wake() noexcept { ring(bell_); }

  [[nodiscard]] const ProcessSupervisorOptions& options() const noexcept { return options_; }
  [[nodiscard]] Clock& clock() const noexcept { return *options_.clock; }
  /// Where callbacks and checks of the user's run.
  [[nodiscard]] PeriodicRunner& callers() noexcept { return *callers_; }
  [[nodiscard]] std::size_t size() const ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] bool is_forked() const noexcept;
  [[nodiscard]] bool is_own_thread() const noexcept { return thread_.get_id() == world::this_thread_id(); }

 private:
  using ProcessPtr = std::shared_ptr<ProcessCore>;

  struct Alarm : Timer {
    Alarm(Fire fire, SupervisorCore& core) noexcept : Timer(fire), self(core) {}
    SupervisorCore& self;
  };

  void run() noexcept;
  /// Returns false at the end.
  [[nodiscard]] bool turn() ABSL_LOCKS_EXCLUDED(mutex_);
  void reap_left() noexcept;
  void set_alarm(TimePoint when) noexcept;

  const ProcessSupervisorOptions options_;
  const std::uint32_t process_;  // the fork generation
  const Descriptor bell_;
  std::optional<PeriodicRunner> callers_;  // until stop(): the last user of this may be one of its calls

  mutable Mutex mutex_;  // nothing else is locked while it is held
  std::vector<ProcessPtr> processes_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::uint64_t version_ ABSL_GUARDED_BY(mutex_) = 0;  // of processes_

  // The thread's own.
  std::vector<ProcessPtr> seen_;
  std::uint64_t seen_version_ = 0;
  std::vector<RunningChild> left_;  // given up, and not reaped
  Sleep sleep_;
  Alarm alarm_;
  TimePoint alarm_at_ = TimePoint::max();

  world::Thread thread_;  // last: it uses all of this
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
