// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Who wants to follow each job of a pool: for traces, logs and tests.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// How a job ended: a word for each of the outcomes that `WorkerPoolCounts` counts. `absl::StatusCode` does not tell
/// them apart: a function may return any.
enum class JobOutcome : std::uint8_t {
  kNone,  ///< It has not ended.
  // Of functions that were called.
  kSucceeded,
  kFailed,             ///< Returned a status other than OK.
  kPanicked,           ///< Threw.
  kProcessingTimeout,  ///< Outran its time, so that its caller had been answered; whatever it returned then.
  // Of functions that were never called; or kCancelled.
  kCancelled,      ///< In the queue; or while it ran, and it returned Cancelled.
  kQueueExpired,   ///< Waited too long for its start, or past the caller's deadline.
  kDroppedOldest,  ///< Made room for a newer one.
  kShed,           ///< Was taken out by CoDel.
  kAbandoned,      ///< Was queued when a shutdown ran out of time.
};

/// Such as "dropped_oldest": the label `outcome` of the metric `penstock_pool_jobs_total`.
std::string_view to_string(JobOutcome outcome) noexcept;

/// What happened to a job, and when. The views are valid during the call.
struct JobEvent {
  std::string_view pool;
  std::uint64_t job_id;
  std::string_view tag;
  TimePoint at;           ///< On the pool's clock.
  std::size_t worker_id;  ///< kCallerThread: not in a worker.
  /// Since when it was in the state that ends with this event: at the start, since its acceptance; at the end, since
  /// its start; when it is dropped, since its acceptance.
  TimePoint since;
  /// At the end: what its function came to, which after a kProcessingTimeout its caller is not told any more. When it
  /// is dropped: what its caller is told.
  absl::StatusCode code = absl::StatusCode::kOk;
  /// At the end and when it is dropped. One whose time is up while the observer is being told of its end is still
  /// answered, and counted, as one that outran it.
  JobOutcome outcome = JobOutcome::kNone;
  // As in JobContext.
  std::uint32_t attempt = 1;
  std::uint64_t call_id = 0;
};

/// What a pool goes through.
enum class PoolState : std::uint8_t { kRunning, kPaused, kDraining, kStopped };

/// "running", "paused", "draining" or "stopped".
std::string_view to_string(PoolState state) noexcept;

/// Gets a call for each step of each job of the pools that it is given to; overrides what it is interested in.
///
/// The calls come from the threads in which things happen, several at once, without a lock of the pool. Those of one
/// job may overtake each other, but for those of its worker; their times are in order. A slow observer slows the jobs
/// down. What it throws is caught and counted.
class PoolObserver {
 public:
  virtual ~PoolObserver() = default;

  /// The job was accepted. Of one that a coroutine had in line for a place it is told before it starts, or ends.
  virtual void on_submit(const JobEvent& /*event*/) {}
  /// Its function is about to be called.
  virtual void on_start(const JobEvent& /*event*/) {}
  /// Its function has returned or thrown; its caller is answered next, or was answered when its time was up.
  virtual void on_finish(const JobEvent& /*event*/) {}
  /// Its function will not be called: cancelled, expired, evicted, shed or abandoned.
  virtual void on_drop(const JobEvent& /*event*/) {}
  /// It was moved to another pool, `successor` by name, whose observer is told the rest: first that it was submitted,
  /// unless that is this one.
  virtual void on_hand_over(const JobEvent& /*event*/, std::string_view /*successor*/) {}
  virtual void on_state(std::string_view /*pool*/, PoolState /*state*/, TimePoint /*at*/) {}
};

}  // namespace penstock::inline PENSTOCK_ABI
