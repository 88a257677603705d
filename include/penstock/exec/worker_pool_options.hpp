// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a worker pool is to be: its workers, its queue, its limits, its hooks.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/exec/overflow.hpp"

namespace penstock::inline PENSTOCK_ABI {

class PoolObserver;
struct ShutdownReport;

/// Which of the jobs that wait is started next.
enum class QueueDiscipline : std::uint8_t {
  kFifo,          ///< The one that has waited longest.
  kLifo,          ///< The newest one.
  kAdaptiveLifo,  ///< As kFifo, but the newest one while more than half of the queue is taken: with a backlog the
                  ///< newest one is most likely to have a caller who still waits for it (Maurer, "Fail at Scale",
                  ///< 2015).
  kPriority,      ///< The most urgent one, and of those the one that has waited longest.
};

/// Which of several idle workers gets a job.
enum class DispatchMode : std::uint8_t {
  kSharedQueue,  ///< The one that fell idle last: its caches are warm, and the others stay idle for long.
  kRoundRobin,   ///< The one that has been idle longest: all get as many.
};

/// What a job of a pool gets that waits for the answer of another job of the same pool.
enum class InsideWait : std::uint8_t {
  kRefuse,  ///< FailedPrecondition at once: with all workers in such waits nobody would be left to run the jobs.
  kHelp,    ///< If that job has not started, the waiting worker runs it at once, also while the pool is paused: what a
            ///< running job waits for is a part of it. Else somebody runs it already.
};

/// The least and the most urgent job; who says nothing is in the middle.
inline constexpr int kLowestPriority = -8;
inline constexpr int kHighestPriority = 7;

/// Sheds load while even the luckiest jobs wait too long: if none of those started in an `interval` has waited for
/// less than `target`, then until the end of the next interval in which one has, jobs that have waited for more than
/// twice `target` are answered with ResourceExhausted instead of being run. A burst that is gone after an interval
/// loses nothing. (Nichols and Jacobson, "Controlling Queue Delay", 2012, in the form for servers of "Fail at Scale".)
struct CodelOptions {
  // Both are positive.
  Duration target = std::chrono::milliseconds(5);
  Duration interval = std::chrono::milliseconds(100);
};

/// An exception that a pool has caught.
struct CaughtException {
  std::string_view pool;
  std::uint64_t job_id;   ///< 0: it came from a posted function, a spawned task or a hook.
  std::string_view tag;   ///< The job's.
  std::string_view text;  ///< "std::runtime_error: connection reset", limited in length.
  std::exception_ptr exception;
  std::size_t worker_id;  ///< kCallerThread: not in a worker.
};

struct WorkerPoolOptions {
  /// Names the pool in texts, metrics and thread names; 1 to 256 bytes.
  std::string name = {};
  /// Threads that run jobs, from the first moment on; 1 to 4096. One more watches over deadlines.
  std::size_t workers = 10;
  /// Jobs that may wait while all workers are busy, up to 1 000 000. With 0 a job is accepted only if a worker is free
  /// for it.
  std::size_t queue_capacity = 100;
  OverflowPolicy overflow = OverflowPolicy::kBlock;
  /// How long kBlock waits for a place, at least 0, which is not at all.
  Duration enqueue_timeout = std::chrono::seconds(1);
  /// How long a job may wait for its start; positive. One that waits longer is answered and never runs.
  Duration queue_wait_limit = std::chrono::seconds(10);
  /// How long a job may run before its caller is answered; positive.
  Duration processing_timeout = std::chrono::seconds(30);
  /// How long the destructor drains the queue before it calls off what is left, at least 0.
  Duration shutdown_timeout = std::chrono::seconds(5);
  /// Called by the destructor for each second that it has waited, after all was called off, for functions that do not
  /// end: `report.running` says which. There is no way to leave them behind: they may use what goes with the pool.
  std::function<void(const ShutdownReport& report)> on_slow_shutdown = {};
  /// Decides all these times; outlives the pool.
  Clock* clock = &Clock::steady();
  /// Called once in each worker before the first job. If one fails, no pool is made, or no worker added.
  std::function<absl::Status(std::size_t worker_id)> on_worker_start = {};
  /// Called for each exception that a job, or work posted to the pool, lets escape; by several threads at once. A job's
  /// caller is answered afterwards.
  std::function<void(const CaughtException&)> on_exception = {};

  // How many workers, when it is not always the same number.

  /// The pool is never smaller, nor larger; 0: `workers`. From 1 to `workers`, and from there to 4096. Where
  /// `max_workers` is larger, a worker is added whenever a job has to wait because all are busy, with `grow_when_busy`.
  std::size_t min_workers = 0;
  std::size_t max_workers = 0;
  /// Whether it is so; else only `resize`, `add_workers` and who calls them, such as an `AdaptiveScaler`, add workers.
  bool grow_when_busy = true;
  /// A worker that has had nothing to do for this long goes, down to `min_workers`; positive.
  Duration idle_timeout = Duration::max();
  /// Called in each worker that goes, after its last job; also in one that has run `on_worker_start` but does not stay
  /// since another one or the health check failed.
  std::function<void(std::size_t worker_id)> on_worker_stop = {};
  /// So many workers whose job has outrun its processing time may be replaced at once, until that job ends; up to 4096.
  std::size_t max_replacements = 0;
  /// A worker whose job has thrown goes, and another one comes in its place: for jobs that keep state in their thread
  /// which an exception may leave broken. The thread of the first one ends before the second calls `on_worker_start`.
  /// Until then, and while none can start, which is tried each second, there is one worker less; beyond `min_workers`
  /// only if a job waits for it.
  bool retire_worker_after_panic = false;

  // Which job is next, and where.

  QueueDiscipline discipline = QueueDiscipline::kFifo;
  std::optional<CodelOptions> codel = std::nullopt;
  DispatchMode dispatch = DispatchMode::kSharedQueue;
  InsideWait inside_wait = InsideWait::kRefuse;
  /// How long an idle worker looks for work before it sleeps, at the price of a processor: a job then starts within a
  /// microsecond instead of the five to ten that waking a thread takes. 0: for no longer than a wake-up costs.
  Duration idle_spin = Duration::zero();

  // Start and measurement.

  /// Asked before the pool is made, in the calling thread: whether what the jobs will need is there. If it is not, no
  /// pool is made. The context ends after `health_check_timeout`, which is positive.
  std::function<absl::Status(const Context&)> health_check = {};
  Duration health_check_timeout = std::chrono::seconds(5);
  /// Whether to record how long each job waits and runs. Costs two reads of the clock for each job, and less than 10 ns
  /// besides. Without it, limits are kept to within some ticks of the system's timer: they end about 12 ms late, and
  /// not early unless the timer itself is held up for longer than that.
  bool measure = true;
  /// The id of the first job that the pool accepts; 1 to 2^62. For a successor (`WorkerPool::hand_over`) whose own jobs
  /// are not to be taken for those it takes over, which keep their ids.
  std::uint64_t first_job_id = 1;
  /// Told about each job's way through the pool, if not null; outlives the pool. Not called under a lock.
  PoolObserver* observer = nullptr;

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const;
  /// What is valid but unusual, each with the range that most servers keep to: a queue of 100 to 1000 jobs and no
  /// shorter than the crew is large, 10 to 100 workers, queue_wait_limit 1 to 10 s, processing_timeout 30 to 300 s,
  /// shutdown_timeout 5 to 30 s. Nothing else looks at it; for a log when a server starts.
  [[nodiscard]] std::vector<std::string> warnings() const;
  /// With 0 replaced: what the pool goes by.
  [[nodiscard]] std::size_t smallest() const noexcept { return min_workers == 0 ? workers : min_workers; }
  [[nodiscard]] std::size_t largest() const noexcept { return max_workers == 0 ? workers : max_workers; }
};

}  // namespace penstock::inline PENSTOCK_ABI
