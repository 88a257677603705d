// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a worker pool is made of: one mutex, a queue of jobs, a lane of posted work, idle workers, blocked submitters.
///
/// Places. A job may be accepted while
///
///     queued + reserved < capacity + free
///
/// where `free` counts the workers that are idle or on their way to work, each of which will take one job, and
/// `reserved` the places given to submitters that are still making their job. Test and reservation are one step. Where
/// the law would not hold with one free worker less, that worker is promised to a job and takes no posted work. Every
/// step that frees a place gives it to the submitter that has been blocked longest, in the same critical section: so
/// nobody can come in between, and a place is free only if nobody waits for one.
///
/// Workers. Whoever adds a job or a piece of work claims one idle worker, if there is one, and wakes it without the
/// lock. A worker becomes idle only if it finds nothing, in the critical section that lists it. The job is taken by the
/// first worker that comes, which may be one that has just finished; then the woken one goes back to sleep. So at most
/// one worker is woken for each job, and none is needed while all are busy.
///
/// Deadlines. The watching thread sleeps until the earliest time at which a job may expire, as known when it fell
/// asleep. A job with an earlier one wakes it. Jobs that end in time do not: with even limits it wakes once in a limit.
///
/// Ends. `executing_` counts functions that run, until their worker has answered the job; `settling_` jobs that
/// somebody else has decided and not yet answered; `submitting_` submissions. A shutdown waits until these and the
/// queue are empty. Whoever lowers one of them does so as its last use of the pool, and wakes the shutdown through that
/// one's waiter alone: the pool may be gone by then.
///
/// Locks: a job's mutex before mutex_, in JobState::stop() alone; nothing is locked while mutex_ is held.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/executor.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/exec/detail/job_state.hpp"
#include "penstock/exec/job.hpp"
#include "penstock/exec/worker_pool.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Jobs in the order in which they came. Threads: guarded by the pool's mutex.
class JobList {
 public:
  [[nodiscard]] JobState* front() const noexcept { return first_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  static JobState* next(const JobState& job) noexcept { return job.next_; }

  void push(JobState& job) noexcept;
  void remove(JobState& job) noexcept;

 private:
  JobState* first_ = nullptr;
  JobState* last_ = nullptr;
  std::size_t size_ = 0;
};

/// Jobs that a thread has decided and will answer. Threads: one.
class EndedJobs {
 public:
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  void push(JobState& job) noexcept;
  JobState* pop() noexcept;

 private:
  JobState* first_ = nullptr;
  JobState* last_ = nullptr;
  std::size_t size_ = 0;
};

/// What a thread does for a pool at the moment, on a stack of such: a job may submit to other pools, and run their
/// jobs.
struct Activation {
  Activation(const PoolCore& doing_for, bool is_worker, std::size_t counts) noexcept;
  Activation(const Activation&) = delete;
  Activation& operator=(const Activation&) = delete;
  ~Activation();

  /// The innermost one of the calling thread, or null.
  static const Activation* current() noexcept;

  const PoolCore* const pool;
  const bool worker;
  std::size_t weight;             // its part in executing_ + settling_ + submitting_
  const JobState* job = nullptr;  // that runs
  const Activation* const outer;
};

class PoolCore {
 public:
  explicit PoolCore(WorkerPoolOptions options);
  PoolCore(const PoolCore&) = delete;
  PoolCore& operator=(const PoolCore&) = delete;

  [[nodiscard]] const WorkerPoolOptions& options() const noexcept { return options_; }

  // Life.
  /// Starts the threads and waits for them; on failure they are gone again.
  absl::Status start() ABSL_LOCKS_EXCLUDED(mutex_);
  ShutdownReport shutdown(const Context& ctx) ABSL_LOCKS_EXCLUDED(mutex_);
  /// Joins the threads. After a shutdown.
  void stop() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  // Submitting.
  struct Admitted {
    OpStatus status = OpStatus::kOk;
    bool runs_here = false;
  };
  Admitted admit(const SubmitOptions& options, bool may_wait, absl::Status* refusal) ABSL_LOCKS_EXCLUDED(mutex_);
  void give_back(bool runs_here) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void enqueue(JobState& job) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void run_here(JobState& job) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void set_overflow(OverflowPolicy policy) ABSL_LOCKS_EXCLUDED(mutex_);

  // Jobs.
  /// Decides `job` as cancelled if it is queued. Called with the job's mutex held.
  JobState::Stop take_back(JobState& job, EndedJobs& ended, WakeList& wake) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// Answers jobs that have been decided, as the last use of the pool.
  void settle(EndedJobs& ended) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  // As an executor.
  void post(Work& work) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  bool revoke(Work& work) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void report(const std::exception_ptr& exception, const JobState* job) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  // Observers.
  [[nodiscard]] bool on_worker_thread() const noexcept;
  /// Whether the calling thread runs, or answers, a job of this pool.
  [[nodiscard]] bool is_inside() const noexcept;
  [[nodiscard]] WorkerPoolStats stats() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Task {
    JobState* job = nullptr;
    Work* work = nullptr;
  };
  /// How a submission that is refused is called, and what it was like.
  enum class Refusal : std::uint8_t { kClosed, kFull, kDropped, kWaited, kCancelled, kLate, kOwnWorker };

  // Threads.
  void work(std::size_t id) noexcept;
  [[nodiscard]] absl::Status run_start_hook(std::size_t id) noexcept;
  bool next(Activation& here, bool& busy, Task& task) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void watch() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  // Steps of a job.
  void run(JobState& job, std::size_t worker_id) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  bool finish(JobState& job, const absl::Status& status, bool threw, bool stopped) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void accept(JobState& job, TimePoint now) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void start_job(JobState& job, TimePoint now, WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void end_queued(JobState& job, Ending ending, TimePoint now, EndedJobs& ended) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void decide(JobState& job, Ending ending, TimePoint now, EndedJobs& ended) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  TimePoint expire(TimePoint now, EndedJobs& ended) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::Status describe(const JobState& job) const noexcept;

  // Steps of a submission.
  Admitted wait_for_place(const SubmitOptions& options, TimePoint start, absl::Status* refusal)
      ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] absl::Status describe(Refusal refusal, const SubmitOptions& options, Duration waited) const;

  // Steps of a shutdown.
  /// Decides what is queued, and returns a list of what runs and has to be asked to stop.
  JobState* call_off_everything(EndedJobs& ended) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ask_to_stop(JobState* jobs) const noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void list_running(ShutdownReport& report) const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] bool is_quiet(bool inside) const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] std::uint64_t answered() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // What follows from a change.
  [[nodiscard]] bool has_place() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return queue_.size() + reserved_ < options_.queue_capacity + free_workers();
  }
  [[nodiscard]] std::size_t free_workers() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return options_.workers - busy_;
  }
  [[nodiscard]] std::size_t depth() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return queue_.size() > free_workers() ? queue_.size() - free_workers() : 0;
  }
  /// Whether a worker that comes now is owed to a job: one in the queue, or one that is still being made.
  [[nodiscard]] bool is_promised() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return queue_.size() + reserved_ + 1 > options_.queue_capacity + free_workers();
  }
  [[nodiscard]] bool job_is_next() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void grant_places(WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void claim_idle(WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void watch_from(TimePoint when, WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void claim_closers(WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const WorkerPoolOptions options_;
  Clock& clock_;
  std::vector<world::Thread> threads_;  // the creating and the destroying thread's

  mutable Mutex mutex_;
  OverflowPolicy overflow_ ABSL_GUARDED_BY(mutex_);
  JobList queue_ ABSL_GUARDED_BY(mutex_);
  JobList executing_jobs_ ABSL_GUARDED_BY(mutex_);  // oldest first; those past their time too
  WorkQueue posted_ ABSL_GUARDED_BY(mutex_);
  std::size_t posted_in_a_row_ ABSL_GUARDED_BY(mutex_) = 0;
  WaitList idle_ ABSL_GUARDED_BY(mutex_);                               // workers, longest idle first
  WaitList blocked_ ABSL_GUARDED_BY(mutex_);                            // submitters under kBlock
  WaitList closers_ ABSL_GUARDED_BY(mutex_);                            // threads in shutdown()
  WaitList watching_ ABSL_GUARDED_BY(mutex_);                           // the watching thread
  TimePoint watched_until_ ABSL_GUARDED_BY(mutex_) = TimePoint::max();  // when it looks next

  std::size_t busy_ ABSL_GUARDED_BY(mutex_) = 0;
  std::size_t reserved_ ABSL_GUARDED_BY(mutex_) = 0;
  std::size_t submitting_ ABSL_GUARDED_BY(mutex_) = 0;  // the reserved ones too
  std::size_t executing_ ABSL_GUARDED_BY(mutex_) = 0;
  std::size_t settling_ ABSL_GUARDED_BY(mutex_) = 0;

  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::size_t inside_weight_ ABSL_GUARDED_BY(mutex_) = 0;   // of the threads in shutdown() that are ours
  std::size_t inside_workers_ ABSL_GUARDED_BY(mutex_) = 0;  // how many of them are workers

  std::size_t reported_ ABSL_GUARDED_BY(mutex_) = 0;  // workers that have run on_worker_start
  absl::Status start_failure_ ABSL_GUARDED_BY(mutex_);
  CondVar all_reported_;

  WorkerPoolStats counts_ ABSL_GUARDED_BY(mutex_);  // its counts and histograms; the rest is made on demand
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
