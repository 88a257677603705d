// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Who runs a pool's jobs, and what a thread does for a pool at the moment.

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/cache_padded.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/executor.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/exec/detail/job_activity.hpp"
#include "penstock/exec/detail/job_state.hpp"
#include "penstock/exec/detail/pool_figures.hpp"
#include "penstock/exec/worker_pool_stats.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

class PoolCore;

/// What became of functions that were called.
enum class Count : std::uint8_t { kSucceeded, kFailed, kPanicked, kCancelled, kLate, kReturned };

/// Counts of one worker, which alone writes them, or of all threads that run jobs without being workers.
class Tally {
 public:
  explicit Tally(bool shared) noexcept : shared_(shared) {}
  Tally(const Tally&) = delete;
  Tally& operator=(const Tally&) = delete;

  void add(Count which) noexcept {
    world::Atomic<std::uint64_t>& count = counts_[static_cast<std::size_t>(which)];
    if (shared_) {
      count.fetch_add(1, std::memory_order_release);  // T1 release
    } else {
      count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_release);  // T1 release
    }
  }

  [[nodiscard]] std::uint64_t value(Count which) const noexcept {
    return counts_[static_cast<std::size_t>(which)].load(std::memory_order_acquire);  // T1 acquire
  }

  /// Functions that were called and have come to their end.
  [[nodiscard]] std::uint64_t ended() const noexcept {
    return value(Count::kSucceeded) + value(Count::kFailed) + value(Count::kPanicked) + value(Count::kCancelled) +
           value(Count::kLate);
  }

  /// Adds what `other`, which nobody writes any more, has counted.
  void add(const Tally& other) noexcept {
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      counts_[i].fetch_add(other.counts_[i].load(std::memory_order_relaxed), std::memory_order_release);  // T1 release
    }
  }

 private:
  const bool shared_;
  //   T1  release in add() -> acquire in value(): who sees a job counted sees what was counted before it.
  std::array<world::Atomic<std::uint64_t>, 6> counts_{};
};

/// A thread that runs jobs: a worker, or for a while one that submits or waits. Guarded by the pool's locks but for
/// what is its thread's own.
struct Runner {
  Runner(Tally& counted_in, std::size_t id, bool worker) noexcept
      : tally(counted_in), worker_id(id), is_worker(worker) {}
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  struct Doing {
    WorkerState state;
    TimePoint since;
  };
  /// With both locks.
  [[nodiscard]] Doing doing() const noexcept;

  Tally& tally;
  const std::size_t worker_id;
  const bool is_worker;             // else it submits, or waits for a job
  PoolTimes::Row* times = nullptr;  // of a worker, if the pool measures
  // Written by the thread, under the serving lock; so it may read them without. A job stays here, and is not freed,
  // until the thread comes back for more.
  JobState* job = nullptr;
  TimePoint started_at{};
  TimePoint expires_at = TimePoint::max();  // when the caller is answered
  bool stuck = false;                       // that has come to pass; guarded by both locks
  bool threw = false;                       // its last job; the thread's own
  JobActivity activity;                     // of the job
  // Of a worker; guarded by both locks.
  bool joined = false;                // it is one of those that are there
  bool busy = false;                  // counted in busy_
  TimePoint since{};                  // while it has no job: when it began with what it does; serving lock
  Count outcome = Count::kSucceeded;  // of a plain job, which is counted when the thread comes back
  int code = 0;                       // the same one's
  Runner* next = nullptr;
  Runner* previous = nullptr;
};

/// What a worker has found to do: one of these, or nothing.
struct Found {
  JobState* job = nullptr;
  Work* work = nullptr;
  [[nodiscard]] explicit operator bool() const noexcept { return job != nullptr || work != nullptr; }
};

/// When a job ended, if its worker had to know.
struct Ran {
  bool knows_time = false;
  TimePoint time{};
};

/// How several workers that start together learn whether they are to stay.
struct Hiring {
  Mutex mutex;
  CondVar changed;
  std::size_t reported ABSL_GUARDED_BY(mutex) = 0;  // have run on_worker_start
  std::size_t settled ABSL_GUARDED_BY(mutex) = 0;   // have joined the pool, or not
  absl::Status failure ABSL_GUARDED_BY(mutex);
  bool decided ABSL_GUARDED_BY(mutex) = false;
  bool stay ABSL_GUARDED_BY(mutex) = false;
};

struct Worker;
using WorkerList = std::list<std::unique_ptr<Worker>>;

/// A thread of the pool.
struct alignas(kCachePadding) Worker {
  explicit Worker(std::size_t id) noexcept : tally(false), runner(tally, id, true) {}

  Tally tally;
  Runner runner;
  Hiring* hiring = nullptr;  // null: it decides for itself; gone once it has settled
  world::Thread thread;
  // The thread's own.
  bool seeking = false;     // counted in seekers_
  bool retires = false;     // since its last job has thrown
  bool knows_time = false;  // `time` was read at the end of its last job
  TimePoint time{};
  WorkerList predecessor{};       // one whose place it takes, to be joined first; or none
  Worker* next_leaver = nullptr;  // guarded by the pool's locks
};

/// What a thread does for a pool at the moment, on a stack of such: a job may submit to other pools, and run their
/// jobs.
struct Activation {
  /// `id`: of a worker, or kCallerThread.
  Activation(const PoolCore& doing_for, std::size_t id, std::size_t counts) noexcept;
  Activation(const Activation&) = delete;
  Activation& operator=(const Activation&) = delete;
  ~Activation();

  /// The innermost one of the calling thread, or null.
  static const Activation* current() noexcept;

  const PoolCore* const pool;
  const std::size_t worker_id;
  bool serves = true;             // it is a worker, and has not left
  std::size_t weight;             // its part in executing_ + settling_ + submitting_
  const JobState* job = nullptr;  // that runs
  mutable bool helped_one_that_threw = false;
  const Activation* const outer;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
