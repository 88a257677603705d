// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a manager knows of one function: what it is called, what its thread does, and for how long it has.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/sleep_observer.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/exec/detail/thread_call.hpp"
#include "penstock/exec/thread_manager.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// The state of one thread, when it entered it, and how long it was in each of them: written by that thread without a
/// lock, read by anybody as a whole.
///
/// A sequence lock (Boehm, "Can seqlocks get along with programming language memory models?", 2012) without fences:
/// `version_` is odd while the owner writes.
///   Q1  release of each value -> acquire in read(): who sees a value of a write sees its odd version, or a later one.
///   Q2  release of the even version -> acquire at the begin of read(): who sees it sees all values of its write.
/// So a reader that finds the same even version before and after has the values of that version. A stale version is a
/// state that was left a moment ago.
class ThreadTimes {
 public:
  struct Reading {
    ThreadState state = ThreadState::kCreated;
    TimePoint since{};
    std::array<Duration, kThreadStates> spent{};  ///< without the present stay
    std::uint64_t version = 0;                    ///< another one for each stay
  };

  explicit ThreadTimes(TimePoint now) noexcept : since_(now.time_since_epoch().count()) {}

  /// Threads: the owner.
  void enter(ThreadState state, TimePoint now) noexcept;
  [[nodiscard]] ThreadState state() const noexcept { return state_.load(std::memory_order_relaxed); }

  /// Threads: any. Waits while the owner is in between: for the time of a few stores.
  [[nodiscard]] Reading read() const noexcept;

 private:
  world::Atomic<std::uint64_t> version_{0};
  world::Atomic<ThreadState> state_{ThreadState::kCreated};
  world::Atomic<Duration::rep> since_;
  std::array<world::Atomic<Duration::rep>, kThreadStates> spent_{};
};

/// One function and its books. Made by who spawns; then its thread's. Others read it while it is listed, under the
/// manager's mutex.
struct ThreadRecord {
  /// Throws: std::bad_alloc. After that nothing about the record can fail.
  ThreadRecord(std::string_view called, TimePoint now);

  /// What `reading` comes to at `now`.
  [[nodiscard]] ThreadInfo info(const ThreadTimes::Reading& reading, TimePoint now) const;

  std::uint64_t id = 0;
  const std::string name;
  const TimePoint started;
  ThreadTimes times;
  ThreadCall call;
  // Made beforehand, so that they cannot fail; of the begin and the end.
  std::shared_ptr<ThreadEvent> begun;
  std::shared_ptr<ThreadEvent> ended;

  ThreadRecord* next = nullptr;  // guarded by the manager's mutex, as all below
  ThreadRecord* previous = nullptr;
  std::uint64_t reported = 0;  // the version of the stay that `on_stuck` was told of
};

/// What a thread is for its manager; the calling thread's own.
struct ManagedThread {
  enum class Phase : std::uint8_t {
    kOutside,     ///< Runs no function; is no part of what a shutdown waits for.
    kInFunction,  ///< Runs one, which a shutdown waits for.
    kBetween,     ///< May be given a function meanwhile: must not wait for a shutdown.
  };

  ThreadCore* core = nullptr;
  CrewThread* thread = nullptr;
  ThreadRecord* record = nullptr;  // the function that runs
  Clock* clock = nullptr;          // of the core
  Phase phase = Phase::kOutside;
  bool is_asleep = false;  // and counted as waiting for that
  bool is_leaving = false;
  bool is_shutting_down = false;

  static ManagedThread& current() noexcept;
};

/// For a thread while it runs a function: it waits when it sleeps, unless it has said what else it does.
extern const SleepObserver kManagedSleep;

}  // namespace penstock::inline PENSTOCK_ABI::detail
