// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A fixed crew of threads behind a bounded queue: the pool of one provider.

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/executor.hpp"
#include "penstock/core/op_status.hpp"
#include "penstock/exec/detail/typed_job.hpp"
#include "penstock/exec/job.hpp"
#include "penstock/exec/overflow.hpp"
#include "penstock/metrics/histogram.hpp"

namespace penstock::inline PENSTOCK_ABI {

class MetricSink;

/// An exception that a pool has caught.
struct CaughtException {
  std::string_view pool;
  std::uint64_t job_id;   ///< 0: it came from a posted function or a spawned task.
  std::string_view tag;   ///< The job's.
  std::string_view text;  ///< "std::runtime_error: connection reset", limited in length.
  std::exception_ptr exception;
};

struct WorkerPoolOptions {
  /// Names the pool in texts, metrics and thread names; 1 to 256 bytes.
  std::string name = {};
  /// Threads that run jobs, from the first moment on; 1 to 4096. One more watches over deadlines.
  std::size_t workers = 10;
  /// Jobs that may wait while all workers are busy. With 0 a job is accepted only if a worker is free for it.
  std::size_t queue_capacity = 100;
  OverflowPolicy overflow = OverflowPolicy::kBlock;
  /// How long kBlock waits for a place; 0: not at all.
  Duration enqueue_timeout = std::chrono::seconds(1);
  /// How long a job may wait for its start. One that waits longer is answered and never runs.
  Duration queue_wait_limit = std::chrono::seconds(10);
  /// How long a job may run before its caller is answered.
  Duration processing_timeout = std::chrono::seconds(30);
  /// How long the destructor drains the queue before it calls off what is left.
  Duration shutdown_timeout = std::chrono::seconds(5);
  /// Decides all these times; outlives the pool.
  Clock* clock = &Clock::steady();
  /// Called once in each worker before the first job. If one fails, no pool is made.
  std::function<absl::Status(std::size_t worker_id)> on_worker_start = {};
  /// Called for each exception that a job, or work posted to the pool, lets escape; by several threads at once. A job's
  /// caller is answered afterwards.
  std::function<void(const CaughtException&)> on_exception = {};

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const;
};

/// The state of a pool at one moment.
///
///   submitted = accepted + rejected + dropped_newest + enqueue_timeouts + enqueue_cancelled + refused_closed
///               + enqueue_failures + submitting
///   accepted  = starting + queue_depth + running + succeeded + failed + panicked + cancelled + queue_expired
///               + dropped_oldest + processing_timeouts + abandoned
///   configured = live = idle + busy
struct WorkerPoolStats {
  std::size_t configured = 0;  ///< workers asked for
  std::size_t live = 0;        ///< workers there
  std::size_t idle = 0;        ///< workers that wait for work or are on their way to it
  std::size_t busy = 0;        ///< workers that run a job or posted work

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
  std::uint64_t caller_runs = 0;        ///< accepted, and run by their submitter
  std::size_t submitting = 0;           ///< inside `submit` now

  // Outcomes of accepted jobs.
  std::uint64_t started = 0;
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;               ///< returned a status other than OK
  std::uint64_t panicked = 0;             ///< threw
  std::uint64_t cancelled = 0;            ///< in the queue; or while running, and returned Cancelled
  std::uint64_t queue_expired = 0;        ///< waited too long for their start, or past the caller's deadline
  std::uint64_t dropped_oldest = 0;       ///< made room for a newer one
  std::uint64_t processing_timeouts = 0;  ///< ran too long, or past the caller's deadline
  std::uint64_t abandoned = 0;            ///< queued when a shutdown ran out of time

  std::uint64_t late_results = 0;  ///< functions that returned or threw after their caller had been answered
  std::uint64_t exceptions = 0;    ///< caught from jobs and posted work

  std::size_t starting = 0;     ///< accepted jobs for which a free worker is on its way
  std::size_t queue_depth = 0;  ///< jobs that wait for a worker, at most queue_capacity
  std::size_t running = 0;      ///< jobs that run, in time
  std::size_t overdue = 0;      ///< functions that run although their caller has been answered
  std::size_t queue_capacity = 0;
  std::size_t queue_high_water = 0;
  Duration oldest_queued_age{};

  LatencyHistogram::Snapshot queue_wait;  ///< of all started jobs
  LatencyHistogram::Snapshot run;         ///< of all functions that have returned or thrown
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

/// A fixed number of threads that run jobs from a bounded queue, first come, first served. A pool shares no lock, queue
/// or thread with any other pool: what hangs in one is not felt in the next.
///
///     auto pool = WorkerPool::create({.name = "openai", .workers = 10, .queue_capacity = 100});
///     absl::StatusOr<Job<Response>> job = (*pool)->submit([&](const JobContext& job) { return call(job.context); });
///     if (!job.ok()) return job.status();                 // refused: the text says why
///     absl::StatusOr<Response> response = job->get(ctx);  // always comes: the answer, or why there is none
///
/// As an executor the pool runs posted work (resumed coroutines, functions) in its workers: it never refuses any, and
/// serves it before new jobs, but after 16 pieces in a row, and where a job was promised a free worker, a job comes
/// first.
///
/// The function of a job is destroyed by the thread that decides the job, without a lock and before its answer can be
/// seen: a worker, the pool's watching thread, who cancels, who submits under kDropOldest, or who shuts the pool down.
///
/// Threads: any member, from any thread, also from jobs. Jobs and posted work may use the pool until it is destroyed.
class WorkerPool final : public Executor {
 public:
  using Executor::post;

  /// Makes a pool whose workers all run.
  ///
  /// Returns: InvalidArgument for options that make no sense, ResourceExhausted if a thread cannot be started, or what
  ///          `on_worker_start` returned; nothing is left behind then.
  /// Blocks:  until every worker has run `on_worker_start`.
  static absl::StatusOr<std::unique_ptr<WorkerPool>> create(WorkerPoolOptions options);

  /// `shutdown` with `options.shutdown_timeout`, then waits for the threads. Not called from one of them.
  ///
  /// Blocks: while a function runs that ignores its cancellation: a thread cannot be stopped from outside.
  ~WorkerPool() override;
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  /// Has `function()` or `function(const JobContext&)` called once by a worker. It may return a value, nothing, a
  /// status or a value or status, and may be movable only.
  ///
  /// Blocks:  under kBlock, while the queue is full: at most `options.enqueue_timeout` of the pool, and until the
  ///          context ends. Places are given first come, first served. A job of this pool must not wait for a place in
  ///          it and is refused. Under kCallerRuns, while the job runs, if the queue is full.
  /// Returns: the job; or, with a text that gives the numbers and `function` untouched: ResourceExhausted (full),
  ///          DeadlineExceeded (no place in time), Cancelled, Unavailable (shut down), FailedPrecondition (full, and
  ///          called from a job of this pool), InvalidArgument (nothing to call, bad options).
  /// Cost:    one allocation for the job and its function, and one for a function that takes a JobContext; two locks;
  ///          moves or copies `function` once.
  template <class F>
  absl::StatusOr<detail::JobOf<F>> submit(F&& function, SubmitOptions options = {});

  /// `submit` for hot paths: never waits, and a refusal costs one lock and no text. kBlock and kCallerRuns refuse a job
  /// when the queue is full. The handle is put into `job`; without one the answer goes nowhere.
  ///
  /// Returns: kOk; kFull, kClosed; kTimedOut or kCancelled if the context has ended, or the time to run is not
  /// positive.
  template <class F>
  OpStatus try_submit(F&& function, detail::JobOf<F>* job = nullptr, SubmitOptions options = {});

  /// Ends the intake for good and drains the queue. If `ctx` ends before all is done, answers what is queued with
  /// Cancelled and cancels the contexts of what runs. The workers stay for posted work until the pool is destroyed.
  /// May be called again, and by several threads at once.
  ///
  /// Blocks:  until all accepted jobs are answered and no function runs any more, or `ctx` ends. From a job it does not
  ///          wait for that job; where all workers are in here it leaves the queue to be run afterwards.
  /// Returns: what became of the jobs meanwhile, and which ones it gave up on.
  ShutdownReport shutdown(const Context& ctx);

  /// Runs `work` in a worker. Never refuses, also after shutdown.
  void post(Work& work) noexcept override;
  bool revoke(Work& work) noexcept override;
  /// Counts and reports it.
  void on_exception(std::exception_ptr exception) noexcept override;

  class Schedule;
  /// `co_await pool.schedule()` goes on in a worker. A later wait resumes on the executor of the coroutine's task.
  [[nodiscard]] Schedule schedule() noexcept;

  /// Changes what a full queue does, from the next submission on. Returns InvalidArgument for a value without a name.
  absl::Status set_overflow(OverflowPolicy policy);

  [[nodiscard]] const std::string& name() const noexcept;
  /// Whether the calling thread is a worker of this pool.
  [[nodiscard]] bool on_worker_thread() const noexcept;
  /// Cost: one lock, held while some 5 KiB are copied.
  [[nodiscard]] WorkerPoolStats stats() const;
  /// Writes `stats()` to `sink`: metrics `penstock_pool_...`, with the label `pool`.
  void collect(MetricSink& sink) const;

 private:
  explicit WorkerPool(WorkerPoolOptions options);

  [[nodiscard]] absl::Status check(bool empty_function, const SubmitOptions& options) const;

  const std::unique_ptr<detail::PoolCore> core_;
};

/// Resumes the coroutine that awaits it in a worker.
class [[nodiscard]] WorkerPool::Schedule : private Work {
 public:
  explicit Schedule(WorkerPool& pool) noexcept
      : Work([](Work& work) noexcept { static_cast<Schedule&>(work).coroutine_.resume(); }), pool_(pool) {}

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> coroutine) noexcept {
    coroutine_ = coroutine;
    pool_.post(*this);
  }
  void await_resume() const noexcept {}

 private:
  WorkerPool& pool_;
  std::coroutine_handle<> coroutine_;
};

// --- implementation ---

inline WorkerPool::Schedule WorkerPool::schedule() noexcept { return Schedule(*this); }

template <class F>
absl::StatusOr<detail::JobOf<F>> WorkerPool::submit(F&& function, SubmitOptions options) {
  using Typed = detail::TypedJob<std::decay_t<F>>;
  if (absl::Status bad = check(detail::is_empty_function(function), options); !bad.ok()) return bad;
  absl::Status refusal;
  detail::Admission admission(*core_, options, true, &refusal);
  if (admission.status() != OpStatus::kOk) return refusal;
  auto* const typed = new Typed(*core_, std::move(options), admission.processing_timeout(), std::forward<F>(function));
  detail::JobOf<F> job = detail::JobAccess::handle<typename Typed::Result>(*typed);
  admission.enter(*typed);
  return job;
}

template <class F>
OpStatus WorkerPool::try_submit(F&& function, detail::JobOf<F>* job, SubmitOptions options) {
  using Typed = detail::TypedJob<std::decay_t<F>>;
  detail::Admission admission(*core_, options, false, nullptr);
  if (admission.status() != OpStatus::kOk) return admission.status();
  auto* const typed = new Typed(*core_, std::move(options), admission.processing_timeout(), std::forward<F>(function));
  detail::JobOf<F> handle = detail::JobAccess::handle<typename Typed::Result>(*typed);
  admission.enter(*typed);
  if (job != nullptr) *job = std::move(handle);
  return OpStatus::kOk;
}

}  // namespace penstock::inline PENSTOCK_ABI
