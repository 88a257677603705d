// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a worker pool tells about itself.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/metrics/histogram.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// What has happened in a pool since it was made.
struct WorkerPoolCounts {
  // Submissions.
  std::uint64_t submitted = 0;
  std::uint64_t accepted = 0;
  std::uint64_t rejected = 0;           ///< refused because the queue was full
  std::uint64_t dropped_newest = 0;     ///< the same, under kDropNewest
  std::uint64_t enqueue_timeouts = 0;   ///< waited too long for a place, or came after their deadline
  std::uint64_t enqueue_cancelled = 0;  ///< called off before there was a place
  std::uint64_t refused_closed = 0;     ///< came during or after shutdown
  std::uint64_t enqueue_failures = 0;   ///< out of memory, or the move of the function threw
  std::uint64_t blocked = 0;            ///< had to wait for a place, whatever came of it
  std::uint64_t caller_runs = 0;        ///< accepted, and run by their submitter, or by who waited for them
  std::uint64_t taken_over = 0;         ///< moved here by the `hand_over` of another pool; not among the accepted

  // Outcomes of jobs that were accepted or taken over.
  std::uint64_t started = 0;  ///< taken by a worker, which calls it unless its caller has just left
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;               ///< returned a status other than OK
  std::uint64_t panicked = 0;             ///< threw
  std::uint64_t cancelled = 0;            ///< in the queue; or while running, and returned Cancelled
  std::uint64_t queue_expired = 0;        ///< waited too long for their start, or past the caller's deadline
  std::uint64_t dropped_oldest = 0;       ///< made room for a newer one
  std::uint64_t shed = 0;                 ///< taken out by CoDel
  std::uint64_t processing_timeouts = 0;  ///< ran too long, or past the caller's deadline
  std::uint64_t abandoned = 0;            ///< queued when a shutdown ran out of time
  std::uint64_t handed_over = 0;          ///< moved to another pool, whose counts tell what became of them
  std::uint64_t late_results = 0;         ///< functions that returned or threw after their caller had been answered
  std::uint64_t exceptions = 0;           ///< caught from jobs, posted work and hooks

  // Workers over time.
  std::uint64_t workers_added = 0;     ///< beyond the first crew, if only by the attempt to grow
  std::uint64_t workers_removed = 0;   ///< asked to go, or idle for too long
  std::uint64_t workers_replaced = 0;  ///< replacements started for stuck workers
  std::uint64_t workers_retired = 0;   ///< workers that went since their job had thrown
  std::uint64_t worker_failures = 0;   ///< workers that could not start

  std::size_t queue_high_water = 0;  ///< the deepest that was seen: by who takes in what has come, is refused, or asks
};

/// How many jobs waited for how long and ran for how long: whether those that wait long are those that run long.
struct WaitRunTable {
  static constexpr std::size_t kBuckets = 8;

  /// The longest time that bucket `bucket` counts: 10 us, 100 us and so on to 10 s; Duration::max() for the last one.
  static Duration upper_bound(std::size_t bucket) noexcept;

  /// By the bucket of the wait, and then that of the run.
  std::array<std::array<std::uint64_t, kBuckets>, kBuckets> jobs{};
};

/// What a worker is doing.
enum class WorkerState : std::uint8_t {
  kStarting,    ///< Runs `on_worker_start`, or waits for others that start together with it.
  kListening,   ///< Waits for work, or is on its way to it.
  kProcessing,  ///< Runs the function of a job.
  kCalling,     ///< The same, and that waits for its back end: it is in a `JobContext::calling`.
  kResponding,  ///< The function has returned: tells the observer, answers, and runs what goes on from that at once.
  kPosted,      ///< Runs posted work, or answers jobs that have been given up in the queue.
};
inline constexpr std::size_t kWorkerStates = 6;

/// Such as "listening".
std::string_view to_string(WorkerState state) noexcept;

/// One worker at one moment.
struct WorkerInfo {
  std::size_t id = 0;  ///< as in `JobContext::worker_id`; that of one that has left is given to the next one
  WorkerState state = WorkerState::kStarting;
  TimePoint since{};         ///< when it entered `state`, on the machine's clock to some milliseconds
  Duration in_state{};       ///< since then
  bool stuck = false;        ///< its job has outrun its time
  std::uint64_t job_id = 0;  ///< of the job that it runs, or answers; 0: it has none
  std::string tag;           ///< the same one's
  Duration job_age{};        ///< since that was started
  // Of its own time.
  std::uint64_t jobs = 0;      ///< functions that have returned or thrown
  std::uint64_t panicked = 0;  ///< of these, threw before their time was up

  friend bool operator==(const WorkerInfo&, const WorkerInfo&) = default;
};

/// The state of a pool at one moment.
///
///   submitted = accepted + rejected + dropped_newest + enqueue_timeouts + enqueue_cancelled + refused_closed
///               + enqueue_failures + submitting
///   accepted + taken_over
///             = starting + queue_depth + running + succeeded + failed + panicked + cancelled + queue_expired
///               + dropped_oldest + shed + processing_timeouts + abandoned + handed_over
///   live      = idle + busy = configured + replacements + retiring - joining
///             = all of workers_by_state but kStarting
struct WorkerPoolStats : WorkerPoolCounts {
  // Workers.
  std::size_t configured = 0;    ///< workers asked for, or grown to
  std::size_t live = 0;          ///< workers there
  std::size_t idle = 0;          ///< workers that wait for work or are on their way to it
  std::size_t busy = 0;          ///< workers that run a job or posted work
  std::size_t stuck = 0;         ///< busy workers whose job has outrun its time
  std::size_t replacements = 0;  ///< workers there in place of stuck ones
  std::size_t retiring = 0;      ///< workers that go after their job
  std::size_t joining = 0;       ///< workers that are about to be there
  bool paused = false;
  std::uint64_t jobs_per_worker_min = 0;  ///< among those that are there
  std::uint64_t jobs_per_worker_max = 0;
  /// By WorkerState.
  std::array<std::size_t, kWorkerStates> workers_by_state{};

  // Jobs.
  std::size_t submitting = 0;   ///< submissions inside `submit` now, and coroutines in line
  std::size_t starting = 0;     ///< accepted jobs for which a free worker is on its way
  std::size_t queue_depth = 0;  ///< jobs that wait for a worker, at most queue_capacity but for those taken over
  std::size_t running = 0;      ///< jobs that run, in time
  std::size_t overdue = 0;      ///< functions that run although their caller has been answered
  std::size_t queue_capacity = 0;
  /// Memory of the jobs that wait, `starting` and `queue_depth` of them: their blocks with the functions in them and
  /// their options, as they are allocated, but not what the functions own or the options refer to.
  std::size_t queue_bytes = 0;
  Duration oldest_queued_age{};
  bool codel_dropping = false;

  /// `failed`, by the code of the status. Those of jobs that end meanwhile may be in it already.
  std::array<std::uint64_t, 17> failed_with{};

  LatencyHistogram::Snapshot queue_wait;  ///< of started jobs, if the pool measures
  LatencyHistogram::Snapshot run;         ///< of functions that have returned or thrown, if it measures
  /// Of the same functions: Pearson's r of the times that they waited and ran, in [-1, 1]; 0 while there are no two
  /// that differ in both. Near 1, what is slow stands in a long queue; near 0, waiting is chance.
  double wait_run_correlation = 0;
  WaitRunTable wait_run;

  /// Functions that returned or threw, per second, over the last second, ten seconds and minute. They are counted back
  /// to an earlier `stats` or `collect`: the latest that the time has passed since, so longer by up to
  /// an eighth of it, or by the time between two who asked if that is more; from the start of the pool on at first.
  double throughput_1s = 0;
  double throughput_10s = 0;
  double throughput_60s = 0;

  /// How full the queue is, in [0, 1]; without a queue, how many of the workers are busy.
  [[nodiscard]] double queue_utilization() const noexcept;
  /// How many of the workers are busy, in [0, 1].
  [[nodiscard]] double worker_utilization() const noexcept;
  /// Of the jobs that have ended: how many failed, threw or ran out of their processing time, in [0, 1].
  [[nodiscard]] double error_rate() const noexcept;
};

/// What a shutdown came to.
struct ShutdownReport {
  struct Running {
    std::uint64_t id = 0;
    std::string tag;
    Duration age{};  ///< since its start
  };

  bool in_time = true;                   ///< nothing had to be called off
  std::uint64_t completed = 0;           ///< jobs answered meanwhile, but for those cancelled in the queue
  std::uint64_t cancelled_in_queue = 0;  ///< jobs that never ran because the time was up
  std::size_t queued = 0;                ///< jobs left to run: only where each worker itself waits in a shutdown
  std::vector<Running> running;          ///< functions that ran when the time was up, but for the caller's own

  /// Whether all accepted jobs have ended, but for the one that the calling thread runs.
  [[nodiscard]] bool is_drained() const noexcept { return in_time && queued == 0; }
};

/// What `WorkerPool::hand_over` came to.
struct HandOverReport {
  std::uint64_t moved = 0;    ///< jobs that wait, or have waited, in the successor now
  std::uint64_t refused = 0;  ///< threads that waited for a place, and submit once more
  std::size_t left = 0;       ///< jobs that wait here still, to be run here
};

/// How a pool came up, phase by phase, up to the first that failed.
struct StartupReport {
  enum class Phase : std::uint8_t {
    kOptions,      ///< are valid
    kThreads,      ///< were started
    kWorkers,      ///< have run `on_worker_start`
    kHealthCheck,  ///< has passed
    kReady,        ///< workers take jobs
  };
  struct Step {
    Phase phase;
    Duration took{};
    absl::Status status;
  };
  std::vector<Step> steps;
};

/// "options", "threads", "workers", "health check" or "ready".
std::string_view to_string(StartupReport::Phase phase) noexcept;

}  // namespace penstock::inline PENSTOCK_ABI
