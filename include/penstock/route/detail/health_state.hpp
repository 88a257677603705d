// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the machine of a health watch lacks: a lock, a clock, a timer, the check, and listeners.
///
/// Two periodic tasks: one runs the check, one the listeners. The second is never due by itself; it is asked for when
/// there is something to tell. So neither a check nor a listener that hangs holds up anything but itself; nor does it
/// keep a time-out from being noticed, since that is the timer's business. The timer belongs to the call of the check:
/// armed at its beginning, taken back at its end, armed again by its own callback in between.
///
/// The functions of both tasks share the state, and the state has both tasks; it is the end of the tasks that destroys
/// their functions, and so parts them.
///
/// Locks: mutex_ is a leaf. Checks, listeners and tasks are called, and statuses freed, without it.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/exec/periodic_runner.hpp"
#include "penstock/route/detail/health_machine.hpp"
#include "penstock/route/health_monitor.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// The watches of a monitor.
class HealthRegistry {
 public:
  using StatePtr = std::shared_ptr<HealthState>;

  explicit HealthRegistry(std::string name);

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// Whether this is a copy in a forked child: a lock may be held by a thread that is not there.
  [[nodiscard]] bool is_forked() const noexcept;

  void add(const StatePtr& state) ABSL_LOCKS_EXCLUDED(mutex_);
  void remove(const HealthState& state) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] std::vector<StatePtr> watches() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const std::string name_;
  const std::uint32_t process_;  // that made it
  mutable Mutex mutex_;          // leaf
  std::vector<StatePtr> watches_ ABSL_GUARDED_BY(mutex_);
};

class HealthState {
 public:
  HealthState(std::shared_ptr<HealthRegistry> registry, std::string name, HealthCheckOptions options,
              HealthListener listener, Clock& clock);
  HealthState(const HealthState&) = delete;
  HealthState& operator=(const HealthState&) = delete;

  /// Begins both tasks; on failure neither. `self` is this.
  static absl::Status begin(const std::shared_ptr<HealthState>& self, PeriodicRunner& runner);

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] bool is_forked() const noexcept { return registry_->is_forked(); }

  void set_options(HealthCheckOptions options) ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] HealthCheckOptions options() const ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] HealthStats stats() const ABSL_LOCKS_EXCLUDED(mutex_);

  void check_now() noexcept { checks_.run_now(); }
  /// How many checks have begun: the next one has a higher number.
  [[nodiscard]] std::uint64_t begun() const noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// Waits for the result of a check whose number is above `number`, and leaves it in `result`. kClosed: stopped.
  OpStatus await(std::uint64_t number, const Context& ctx, absl::Status& result) ABSL_LOCKS_EXCLUDED(mutex_);

  /// Ends both tasks, and waits for neither.
  void end() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// Waits until both have ended; from within one of them, not at all.
  OpStatus await_end(const Context& ctx) ABSL_LOCKS_EXCLUDED(mutex_);
  /// Whether the calling thread runs the check or the listener.
  [[nodiscard]] bool is_inside() const noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  // Written under mutex_, read without it: what is told of a change has its own way. A stale value sends one more call
  // the way of the last one.
  world::Atomic<Health> health;

 private:
  static constexpr std::size_t kMaxQueued = 64;

  /// A report without the name.
  struct Entry {
    HealthVerdict verdict;
    absl::Status status;
    Duration took{};
    std::uint64_t in_a_row = 0;
  };

  struct CheckTimer : Timer {
    explicit CheckTimer(HealthState& owner)
        : Timer([](Timer& timer) noexcept { static_cast<CheckTimer&>(timer).state.look(); }), state(owner) {}
    HealthState& state;
  };

  void check(const Context& ctx) ABSL_LOCKS_EXCLUDED(mutex_);
  /// Runs the check of `options`, whatever it does.
  absl::Status ask(const HealthCheckOptions& options, const Context& ctx) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void count_exception() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// Lets the machine see what time has brought about, until that is nothing; then the timer is armed.
  void look() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void tell() ABSL_LOCKS_EXCLUDED(mutex_);
  /// Takes note of a verdict. Leaves in `status` and `entry` what is freed after unlocking.
  void note(const HealthVerdict& verdict, absl::Status& status, Entry& entry, WakeList& wake) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::Status timed_out() const noexcept;

  const std::shared_ptr<HealthRegistry> registry_;
  const std::string name_;
  const HealthListener listener_;
  Clock& clock_;
  PeriodicTask checks_;
  PeriodicTask tells_;  // none, if there is no listener
  CheckTimer timer_;

  mutable Mutex mutex_;  // leaf
  std::shared_ptr<const HealthCheckOptions> options_ ABSL_GUARDED_BY(mutex_);
  HealthMachine machine_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  world::ThreadId checker_ ABSL_GUARDED_BY(mutex_){};
  world::ThreadId teller_ ABSL_GUARDED_BY(mutex_){};
  WaitList waiters_ ABSL_GUARDED_BY(mutex_);
  absl::Status last_status_ ABSL_GUARDED_BY(mutex_);
  TimePoint last_at_ ABSL_GUARDED_BY(mutex_) = TimePoint::min();
  Duration last_took_ ABSL_GUARDED_BY(mutex_){};
  std::uint64_t exceptions_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t listener_exceptions_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t missed_reports_ ABSL_GUARDED_BY(mutex_) = 0;
  decltype(HealthStats::changes) changes_ ABSL_GUARDED_BY(mutex_){};
  LatencyHistogram::Snapshot durations_ ABSL_GUARDED_BY(mutex_);
  // Those that are to be told: a ring of what was seen but not yet told.
  std::array<Entry, kMaxQueued> queue_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t seen_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t told_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
