// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// As many threads as the tasks need, and no more: a pool that grows while tasks block and shrinks when they are gone.

#include <cstddef>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/schedule_on.hpp"
#include "penstock/core/executor.hpp"
#include "penstock/core/op_status.hpp"
#include "penstock/exec/detail/elastic_admission.hpp"
#include "penstock/exec/detail/typed_job.hpp"
#include "penstock/exec/elastic_pool_options.hpp"
#include "penstock/exec/job.hpp"

namespace penstock::inline PENSTOCK_ABI {

class MetricSink;

/// Threads for tasks that block: for as long as they like, and on each other. What would be a thread for each task,
/// with the threads kept for the next ones.
///
///     ElasticPool pool({.name = "streams"});
///     if (pool.execute([connection] { serve(connection); }) != OpStatus::kOk) refuse();   // it never waits for others
///     absl::StatusOr<Job<Page>> page = pool.submit([&] { return fetch(url); });
///     ...
///     const ElasticShutdownReport report = pool.shutdown(ctx);           // drains; what ran, what did not
///
/// **A task that comes** goes to the worker that became idle last, whose caches are warm, and wakes that one alone; so
/// under a low load it is always the same worker that works, and the others' idle times are true. Idle workers look for
/// some microseconds before they sleep. If none is idle the task waits in a queue, first come, first served, for
/// whoever comes back first.
///
/// **How it grows.** Workers are made as `GrowthPolicy` says: at once up to the number of processors, and beyond that
/// when the queue makes no progress. What is promised, without a limit of workers and while threads can be made: of
/// tasks that wait, the first one starts within two looks and the time that a thread takes to start, under a
/// millisecond on a machine whose processors are not taken, whatever the tasks before it do, even if none of them ever
/// ends. All of n waiting tasks have started after about log2(n) times that, and the time it takes to make n threads,
/// if none of them ends. While tasks do end, the queue moves on with each of them, and no worker is made: a hundred
/// thousand short tasks run on a handful of workers. With `max_workers` tasks wait for each other as in any pool.
///
/// **How it shrinks.** Idle workers go, from the bottom of the stack, as the trim policy says, which is asked at its
/// own times on the pool's clock. The decision and the choice of who goes are one step: a worker that is going gets no
/// task, and no decision is carried out after a worker was made. On a `ManualClock` this has happened when `advance`
/// returns; the threads end soon after.
///
/// As an executor the pool runs posted work (resumed coroutines, functions) in its workers. It never refuses any; what
/// is posted after the end runs on a worker that is made for it, and a pool is destroyed when that has run.
///
/// After a fork, the child's copy of a pool refuses everything, runs nothing that is posted to it, and can be
/// destroyed; the parent's goes on.
///
/// Threads: any member, from any thread, also from tasks. Tasks and posted work may use the pool until it is destroyed.
class ElasticPool final : public Executor {
 public:
  using Executor::post;

  /// Starts `min_workers` workers, and a thread that looks after the queue and sleeps while there is none.
  ///
  /// Throws: std::invalid_argument with all that is wrong with the options; std::system_error or std::bad_alloc if a
  ///         thread cannot be made, with nothing left behind.
  explicit ElasticPool(ElasticPoolOptions options);
  /// Shuts down: drains for `shutdown_timeout`, then cancels, then waits. Not called from a task of the pool.
  ///
  /// Blocks: while a task runs that ignores its cancellation: a thread cannot be stopped from outside.
  ~ElasticPool() override;
  ElasticPool(const ElasticPool&) = delete;
  ElasticPool& operator=(const ElasticPool&) = delete;

  /// Has `function()` called once by a worker, for its effect alone. An exception is counted and reported. It may be
  /// movable only.
  ///
  /// Returns: kOk: it will be called, unless a shutdown drops it and says so; or, with `function` untouched: kClosed;
  ///          kFull: no place in a limited queue, or there is no worker and none could be made.
  /// Throws:  std::invalid_argument if there is nothing to call; std::bad_alloc.
  /// Order:   what the caller did before is visible to `function`.
  /// Cost:    one allocation, from a cache of the thread; one short lock and a wake-up if a worker is idle, else two
  ///          short locks. Makes a thread, some ten microseconds, while there are fewer workers than processors.
  template <class F>
  OpStatus execute(F&& function);

  /// Has `function()` or `function(const JobContext&)` called once by a worker, and gives a handle on which its answer
  /// is waited for, by a thread or a coroutine: `Job`. It may return a value, nothing, a status, or a value or status.
  ///
  /// A task that has not started when `ctx` is cancelled never does; when the deadline comes, neither, which it is told
  /// once a worker takes it. One that runs is told by its `JobContext`. A task may wait for others of its own pool: in
  /// a pool with `max_workers` for those only that have started (`Job::get` says FailedPrecondition otherwise).
  ///
  /// Returns: the job; or, with a text that gives the numbers and `function` untouched: Unavailable (closed),
  ///          ResourceExhausted (no place, or no worker), Cancelled or DeadlineExceeded (`ctx` has ended),
  ///          InvalidArgument (nothing to call).
  template <class F>
  absl::StatusOr<detail::JobOf<F>> submit(F&& function, const Context& ctx = Context::background());

  /// Runs `work` in a worker. Never refuses. If there is no worker and none can be made, it waits until one can.
  void post(Work& work) noexcept override;
  bool revoke(Work& work) noexcept override;
  /// Counts and reports it.
  void on_exception(std::exception_ptr exception) noexcept override;

  using Schedule = detail::ScheduleOn<ElasticPool>;
  /// `co_await pool.schedule()` goes on in a worker. A later wait resumes on the executor of the coroutine's task.
  [[nodiscard]] Schedule schedule() noexcept { return Schedule(*this); }

  /// Ends the intake for good. What was accepted is run, and workers that find nothing to do go. May be called again.
  void close() noexcept;

  /// Ends the intake for good, and all that was accepted: runs it, or drops what has not started. If `ctx` ends before,
  /// drops the rest, and asks what runs to stop through its `JobContext`. May be called again, and by several threads
  /// at once.
  ///
  /// Blocks:  until no task waits or runs and the workers are gone, or `ctx` ends. From a task it waits for the others,
  ///          but not for that one; where all workers that there may be are in here it leaves the queue to be run
  ///          afterwards.
  /// Returns: what became of the tasks meanwhile.
  ElasticShutdownReport shutdown(const Context& ctx = Context::background(), ElasticEnd end = ElasticEnd::kDrain);

  /// Changes how many workers there are at least and at most, from now on. Missing ones are there when this returns;
  /// of too many, idle ones go at once, busy ones after their task.
  ///
  /// Returns: InvalidArgument if the options would not allow it; ResourceExhausted if a worker cannot be made: then the
  ///          limits hold, and the missing ones are made when tasks need them; Unavailable once it is closed.
  absl::Status resize(std::size_t min_workers, std::size_t max_workers);

  /// Changes the trim policy; its ticks and windows begin now. Returns InvalidArgument if it is not as it says.
  absl::Status set_trim(const TrimPolicy& policy);

  [[nodiscard]] const std::string& name() const noexcept;
  /// That of the options.
  [[nodiscard]] Clock& clock() const noexcept;
  [[nodiscard]] bool is_closed() const noexcept;
  /// Workers that are there now, idle or not.
  [[nodiscard]] std::size_t worker_count() const noexcept;
  /// Whether the calling thread is a worker of this pool.
  [[nodiscard]] bool on_worker_thread() const noexcept;
  /// Cost: one short lock.
  [[nodiscard]] ElasticPoolStats stats() const;
  /// Writes `stats()` to `sink`: metrics `penstock_elastic_pool_...`, with the label `pool`.
  void collect(MetricSink& sink) const;

 private:
  std::unique_ptr<detail::ElasticCore, detail::DeleteElasticCore> core_;  // constant, but left behind in a forked child
};

// --- implementation ---

template <class F>
OpStatus ElasticPool::execute(F&& function) {
  static_assert(std::is_invocable_v<std::decay_t<F>>, "a task is a function of nothing");
  if (detail::is_empty_function(function)) throw std::invalid_argument("elastic pool: there is no function to call");
  detail::ElasticAdmission admission(*core_);
  if (admission.status() != OpStatus::kOk) return admission.status();
  admission.enter(*new detail::PlainJob<std::decay_t<F>>(std::forward<F>(function)));
  return OpStatus::kOk;
}

template <class F>
absl::StatusOr<detail::JobOf<F>> ElasticPool::submit(F&& function, const Context& ctx) {
  using Typed = detail::TypedJob<std::decay_t<F>>;
  absl::Status refusal;
  if (detail::is_empty_function(function)) return absl::InvalidArgumentError("job: there is no function to call");
  detail::ElasticAdmission admission(*core_, ctx, refusal);
  if (admission.status() != OpStatus::kOk) return refusal;
  auto* const typed = new Typed(admission.home(), SubmitOptions{.context = ctx}, std::forward<F>(function));
  detail::JobOf<F> job = detail::JobAccess::handle<typename Typed::Result>(*typed);
  admission.enter(*typed);
  return job;
}

}  // namespace penstock::inline PENSTOCK_ABI
