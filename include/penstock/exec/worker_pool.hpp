// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A crew of threads behind a bounded queue: the pool of one provider.

#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/schedule_on.hpp"
#include "penstock/core/executor.hpp"
#include "penstock/core/op_status.hpp"
#include "penstock/exec/detail/async_submit.hpp"
#include "penstock/exec/detail/typed_job.hpp"
#include "penstock/exec/job.hpp"
#include "penstock/exec/overflow.hpp"
#include "penstock/exec/pool_observer.hpp"
#include "penstock/exec/worker_pool_options.hpp"
#include "penstock/exec/worker_pool_stats.hpp"

namespace penstock::inline PENSTOCK_ABI {

class MetricSink;

/// Threads that run jobs from a bounded queue; first come, first served, unless the options say otherwise. A pool
/// shares no queue, no worker and no lock under which anything can wait with any other pool: what hangs in one is not
/// felt in the next. (They share a depot of memory, locked for some instructions, and the timer of their clock: a
/// SteadyClock of its own gives a pool its own.)
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
/// After a fork, the child's copy of a pool refuses everything (FailedPrecondition, kClosed), tells nothing, runs
/// nothing that is posted to it, and can be destroyed; the parent's goes on.
///
/// Threads: any member, from any thread, also from jobs. Jobs and posted work may use the pool until it is destroyed.
class WorkerPool final : public Executor {
 public:
  using Executor::post;

  /// Makes a pool whose workers all run: so there is none that a job could be too early for. `report`, if not null,
  /// gets the phases of the start, up to the first that failed.
  ///
  /// Returns: InvalidArgument for options that make no sense, ResourceExhausted if a thread cannot be started, or what
  ///          `on_worker_start` or `health_check` returned; nothing is left behind then.
  /// Blocks:  until every worker has run `on_worker_start`, and for the health check.
  static absl::StatusOr<std::unique_ptr<WorkerPool>> create(WorkerPoolOptions options, StartupReport* report = nullptr);

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
  /// Cost:    one allocation for the job and its function, one for options of its own, and two for a function that
  ///          takes a JobContext; two short locks; moves or copies `function` once.
  template <class F>
  absl::StatusOr<detail::JobOf<F>> submit(F&& function, SubmitOptions options = {});

  /// `co_await pool.async_submit(function, options)`: what `submit` does and returns, for a coroutine. While the queue
  /// is full under kBlock the coroutine is suspended and holds no thread. It stands in the same line as threads do:
  /// places are given first come, first served. Its job is in the queue as soon as there is a place for it, also if the
  /// coroutine is resumed later.
  ///
  ///     SubmitOptions options{.context = ctx};
  ///     absl::StatusOr<Job<Answer>> job = co_await pool.async_submit(ask, options);   // waits for a place
  ///     if (!job.ok()) co_return job.status();
  ///     co_return co_await *job;                                                      // waits for the answer
  ///
  /// It gives the job and not its answer, so that a coroutine may submit several before it waits for one, cancel one,
  /// or drop one. A coroutine that runs on this pool may wait here: it takes no worker away from the jobs ahead of it.
  /// But a job must not block its worker until such a coroutine has come on.
  ///
  /// `function` is taken in any case: after a refusal it is gone. Options have to be in a variable: g++ 12 destroys an
  /// aggregate twice that is written inside of a co_await. They are copied.
  ///
  /// A coroutine may be destroyed while it waits here, until its executor resumes it: then the submission is called
  /// off, or the job, if it was accepted meanwhile. The pool's destructor waits for a coroutine that its own context or
  /// the time-out has taken out of the line, until it has run on: do not destroy the pool from the only thread of its
  /// executor before. It does not wait for others: those are refused, and may run on when the pool is gone.
  ///
  /// Cost: as `submit`; a wait takes no allocation more.
  template <class F>
  detail::SubmitAwaiter<std::decay_t<F>> async_submit(F&& function);
  template <class F>
  detail::SubmitAwaiter<std::decay_t<F>> async_submit(F&& function, const SubmitOptions& options);
  template <class F>
  void async_submit(F&& function, SubmitOptions&& options) = delete;

  /// `submit` for hot paths: never waits, and a refusal costs one lock and no text. kBlock and kCallerRuns refuse a job
  /// when the queue is full. The handle is put into `job`; without one the answer goes nowhere.
  ///
  /// Returns: kOk; kFull, kClosed; kTimedOut or kCancelled if the context has ended, or the time to run is not
  /// positive.
  template <class F>
  OpStatus try_submit(F&& function, detail::JobOf<F>* job = nullptr, SubmitOptions options = {});

  /// Has `function()` called once by a worker, for its effect alone: `submit` without a handle or a text. Waits as that
  /// does.
  ///
  /// Returns: kOk; kFull, kClosed; kTimedOut or kCancelled if there was no place before the context or
  ///          `enqueue_timeout` ended.
  /// Cost:    the least that there is: without options, for a function of up to 16 bytes, 64 bytes of memory.
  template <class F>
  OpStatus execute(F&& function, SubmitOptions options);
  template <class F>
  OpStatus execute(F&& function);

  /// Ends the intake for good and drains the queue; a pause ends. If `ctx` ends before all is done, answers what is
  /// queued with Cancelled and cancels the contexts of what runs. The workers stay for posted work until the pool is
  /// destroyed. May be called again, and by several threads at once.
  ///
  /// Blocks:  until all accepted jobs are answered and no function runs any more, or `ctx` ends. From a job it does not
  ///          wait for that job; where all workers are in here it leaves the queue to be run afterwards.
  /// Returns: what became of the jobs meanwhile, and which ones it gave up on.
  ShutdownReport shutdown(const Context& ctx);

  /// Ends the intake for good and moves the jobs that wait here to `successor`: for a change that cannot be made in
  /// place. No accepted job is lost, and none runs twice.
  ///
  ///     auto next = WorkerPool::create(changed_options);  // its workers run
  ///     publish(**next);                                  // new jobs go there
  ///     auto moved = old->hand_over(**next);              // those that wait, too
  ///     old->shutdown(ctx);                               // waits for what still runs
  ///
  /// A job that has moved is one of the successor's. It keeps its id, its age, and what its submitter has asked for:
  /// context, limits, priority, tag. Its handle works as before. For the rest the successor's options hold, as if it
  /// had been submitted there at the same time: discipline, CoDel, `processing_timeout`, and `queue_wait_limit`,
  /// counted from its acceptance. Jobs of the same age keep their order and come before the successor's own. How full
  /// the successor's queue is does not matter to them; it accepts no other jobs while it is too full.
  ///
  /// A thread that waits for a place here is refused as after a shutdown, and keeps its function for a submission to
  /// the successor. A coroutine that waits for one gets it, and its job moves. A submission that has its place but is
  /// still making its job ends here, and the job is run here. What runs goes on, posted work and coroutines stay. A
  /// pause ends.
  ///
  /// May be called again; by several threads at once; by jobs of either pool; while either is being shut down; and to
  /// hand on what this pool has taken over. The successor, which starts no job meanwhile, outlives the call.
  ///
  /// Returns: what has moved. If the successor's intake ends meanwhile, the rest is left and run here. Or, with nothing
  ///          changed, InvalidArgument (the successor is this pool, or on another clock) or Unavailable (the
  ///          successor's intake has ended).
  /// Cost:    O(jobs that move), some 100 ns each, if not many of the successor's are older;
  ///          the locks of both pools for 64 of them at a time.
  ///          Allocates nothing.
  absl::StatusOr<HandOverReport> hand_over(WorkerPool& successor);

  /// Runs `work` in a worker. Never refuses, also after shutdown.
  void post(Work& work) noexcept override;
  bool revoke(Work& work) noexcept override;
  /// Counts and reports it.
  void on_exception(std::exception_ptr exception) noexcept override;

  using Schedule = detail::ScheduleOn<WorkerPool>;
  /// `co_await pool.schedule()` goes on in a worker. A later wait resumes on the executor of the coroutine's task.
  [[nodiscard]] Schedule schedule() noexcept { return Schedule(*this); }

  /// Changes what a full queue does, from the next submission on. Returns InvalidArgument for a value without a name.
  absl::Status set_overflow(OverflowPolicy policy);

  /// Changes how many jobs may wait. Those that wait already stay, even if they are more. Returns InvalidArgument above
  /// the limit of the option.
  absl::Status set_queue_capacity(std::size_t capacity);

  /// Starts no job until `resume`; jobs are accepted, expire and are cancelled as ever, those that run go on, and
  /// posted work runs. Nothing happens if it is paused, or shut down.
  void pause() noexcept;
  void resume() noexcept;

  /// Changes the number of workers, within `min_workers` and `max_workers`. More are there when this returns, those too
  /// with which the pool had begun to grow by itself; or none of them if one could not start. Of fewer, idle ones go
  /// first, busy ones after their job. Not called from `on_worker_start` or `on_worker_stop`.
  ///
  /// Returns: InvalidArgument outside of these limits; Unavailable after a shutdown; as `create` for workers that do
  ///          not start.
  /// Blocks:  while new ones run `on_worker_start`.
  absl::Status resize(std::size_t workers);
  absl::Status add_workers(std::size_t count);
  absl::Status remove_workers(std::size_t count);

  [[nodiscard]] const std::string& name() const noexcept;
  /// That of the options.
  [[nodiscard]] Clock& clock() const noexcept;
  /// How many workers `resize` allows.
  [[nodiscard]] std::size_t min_workers() const noexcept;
  [[nodiscard]] std::size_t max_workers() const noexcept;
  /// Whether the calling thread is a worker of this pool.
  [[nodiscard]] bool on_worker_thread() const noexcept;
  /// Cost: some microseconds; both locks, for as long as the counts of the workers are added up.
  [[nodiscard]] WorkerPoolStats stats() const;
  /// What each worker is doing, by id: those that are there, and those that are starting. A worker that waits for
  /// another job of the pool and runs that meanwhile (`InsideWait::kHelp`) is shown with the job that waits.
  ///
  ///     for (const WorkerInfo& one : pool->workers()) log(one.id, to_string(one.state), one.tag, one.in_state);
  ///
  /// Throws: std::bad_alloc.
  /// Cost:   less than 100 ns for each worker; both locks, once, for a part of that, in which nothing is allocated.
  [[nodiscard]] std::vector<WorkerInfo> workers() const;
  /// Writes `stats()` to `sink`: metrics `penstock_pool_...`, with the label `pool`.
  void collect(MetricSink& sink) const;

 private:
  explicit WorkerPool(WorkerPoolOptions options);

  [[nodiscard]] absl::Status check(bool empty_function, const SubmitOptions& options) const;

  const bool is_observed_;
  std::unique_ptr<detail::PoolCore> core_;  // constant, but left behind in a forked child
};

// --- implementation ---

template <class F>
absl::StatusOr<detail::JobOf<F>> WorkerPool::submit(F&& function, SubmitOptions options) {
  using Typed = detail::TypedJob<std::decay_t<F>>;
  if (absl::Status bad = check(detail::is_empty_function(function), options); !bad.ok()) return bad;
  absl::Status refusal;
  detail::Admission admission(*core_, options, true, &refusal);
  if (admission.status() != OpStatus::kOk) return refusal;
  auto* const typed = new Typed(*core_, std::move(options), std::forward<F>(function));
  detail::JobOf<F> job = detail::JobAccess::handle<typename Typed::Result>(*typed);
  admission.enter(*typed);
  return job;
}

template <class F>
detail::SubmitAwaiter<std::decay_t<F>> WorkerPool::async_submit(F&& function) {
  const SubmitOptions options;
  return async_submit(std::forward<F>(function), options);
}

template <class F>
detail::SubmitAwaiter<std::decay_t<F>> WorkerPool::async_submit(F&& function, const SubmitOptions& options) {
  return {*core_, check(detail::is_empty_function(function), options), std::forward<F>(function), options};
}

template <class F>
OpStatus WorkerPool::try_submit(F&& function, detail::JobOf<F>* job, SubmitOptions options) {
  using Typed = detail::TypedJob<std::decay_t<F>>;
  detail::Admission admission(*core_, options, false, nullptr);
  if (admission.status() != OpStatus::kOk) return admission.status();
  auto* const typed = new Typed(*core_, std::move(options), std::forward<F>(function));
  detail::JobOf<F> handle = detail::JobAccess::handle<typename Typed::Result>(*typed);
  admission.enter(*typed);
  if (job != nullptr) *job = std::move(handle);
  return OpStatus::kOk;
}

template <class F>
OpStatus WorkerPool::execute(F&& function, SubmitOptions options) {
  using Typed = detail::TypedJob<std::decay_t<F>>;
  detail::Admission admission(*core_, options, true, nullptr);
  if (admission.status() != OpStatus::kOk) return admission.status();
  auto* const typed = new Typed(*core_, std::move(options), std::forward<F>(function));
  const auto unused = detail::JobAccess::handle<typename Typed::Result>(*typed);
  admission.enter(*typed);
  return OpStatus::kOk;
}

template <class F>
OpStatus WorkerPool::execute(F&& function) {
  using Function = std::decay_t<F>;
  if constexpr (detail::JobCall<Function>::kTakesContext) {
    return execute(std::forward<F>(function), SubmitOptions());
  } else {
    using Plain = detail::PlainJob<Function>;
    if (is_observed_) return execute(std::forward<F>(function), SubmitOptions());
    if constexpr (std::is_nothrow_constructible_v<Function, F> && std::is_nothrow_move_constructible_v<Function> &&
                  std::is_nothrow_destructible_v<Function> && !std::is_polymorphic_v<Function>) {
      // Nothing can go wrong while the job is made: so it is made first, and the place found together with its entry.
      auto* const plain = new Plain(std::forward<F>(function));
      if (detail::enter_quickly(*core_, *plain)) return OpStatus::kOk;
      detail::Admission admission(*core_);
      if (admission.status() == OpStatus::kOk) {
        admission.enter(*plain);
        return OpStatus::kOk;
      }
      if constexpr (!std::is_lvalue_reference_v<F> && !std::is_const_v<F>) {
        // A refusal leaves the argument as it was. A closure cannot be assigned to, but made anew.
        std::destroy_at(std::addressof(function));
        std::construct_at(std::addressof(function), std::move(plain->function()));
      }
      plain->destroy();
      return admission.status();
    } else {
      detail::Admission admission(*core_);
      if (admission.status() != OpStatus::kOk) return admission.status();
      admission.enter(*new Plain(std::forward<F>(function)));
      return OpStatus::kOk;
    }
  }
}

}  // namespace penstock::inline PENSTOCK_ABI
