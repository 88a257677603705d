// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a worker pool is made of: two short locks, one for those who bring work and one for those who take it.
///
/// Two locks. `intake_` is the submitters': they count a place for a job, make it, and put it at the end of
/// `incoming_`. `serve_` is the workers': they take jobs from `queue_`, and when that is empty, with both locks, all
/// that is in `incoming_`. So while the pool is busy submitters and workers meet once in a batch, and each side keeps
/// its lock, its list and its counts in its own cache. Whatever is not everyday business takes both locks, serve_
/// first. What is written under both may be read under either; what a submitter or a worker has to notice on its short
/// way is a bit in `detour_`, which sends it on the long one.
///
/// Places. A job may be accepted while
///
///     queued + reserved < capacity + free
///
/// where `free` counts the workers that are idle or on their way to work, and stay: each will take one job; and
/// `reserved` the places given to submitters that are still making their job. On their short way submitters leave
/// `free` out, and know of the jobs that have left the queue what they saw last: they look again when it seems full.
/// Where the law would not hold with one free worker less, that worker is promised to a job and takes no posted work.
/// Every step that frees a place gives it to the submitter that has been blocked longest, under both locks: so nobody
/// can come in between, and a place is free only if nobody waits for one. A thread makes its job then; a coroutine has
/// made it before, and it goes into the queue in the same step (pool_line.cpp).
///
/// Workers. A worker that finds nothing looks for a while, then it is listed as idle, under both locks, with nothing to
/// do. Whoever brings work wakes an idle worker, unless one is awake and seeking already: `seekers_` counts those that
/// have been woken, or look before they sleep. A seeker that finds work and leaves some wakes the next one. So there is
/// work and an idle worker only while there is a seeker, and no more are woken than there is work for.
///
/// Deadlines, and how the crew changes: pool_watch.cpp. How a pool ends: pool_shutdown.cpp. Locks: crew_mutex_ before
/// serve_; an answered job's lock before serve_, in AnsweredJob::stop() alone; serve_ before intake_; nothing is locked
/// while intake_ is held. Only a hand-over takes the locks of two pools: pool_hand_over.cpp.

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "penstock/core/detail/cache_padded.hpp"
#include "penstock/core/detail/fork.hpp"
#include "penstock/core/detail/spin_lock.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/executor.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/exec/detail/answered_job.hpp"
#include "penstock/exec/detail/job_home.hpp"
#include "penstock/exec/detail/job_queue.hpp"
#include "penstock/exec/detail/job_state.hpp"
#include "penstock/exec/detail/pool_figures.hpp"
#include "penstock/exec/detail/pool_worker.hpp"
#include "penstock/exec/job.hpp"
#include "penstock/exec/pool_observer.hpp"
#include "penstock/exec/worker_pool_options.hpp"
#include "penstock/exec/worker_pool_stats.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

inline constexpr std::size_t kMaxPoolNameBytes = 256;

class PoolCore final : public JobHome {
 public:
  explicit PoolCore(WorkerPoolOptions options);
  PoolCore(const PoolCore&) = delete;
  PoolCore& operator=(const PoolCore&) = delete;

  [[nodiscard]] const WorkerPoolOptions& options() const noexcept { return options_; }
  [[nodiscard]] std::string_view kind() const noexcept override { return "worker pool"; }
  [[nodiscard]] std::string_view name() const noexcept override { return options_.name; }
  [[nodiscard]] Clock& clock() const noexcept override { return clock_; }
  /// Whether this is a copy in a forked child, which has none of the threads.
  [[nodiscard]] bool is_forked() const noexcept { return process_ != fork_generation(); }

  // Life.
  /// Starts the threads and waits for them; on failure they are gone again.
  absl::Status start(StartupReport* report) ABSL_LOCKS_EXCLUDED(serve_, intake_);
  ShutdownReport shutdown(const Context& ctx) ABSL_LOCKS_EXCLUDED(serve_, intake_);
  class HandOver;
  /// Joins the threads. After a shutdown.
  void stop() noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);

  // Submitting.
  /// How a submission waits that finds no place.
  enum class Wait : std::uint8_t { kNot, kThread, kCoroutine };
  struct Admitted {
    OpStatus status = OpStatus::kOk;
    bool runs_here = false;
    bool must_wait = false;      // a coroutine, which is counted as submitting
    TimePoint since{}, until{};  // the time that it has
  };
  /// The everyday case: there is a place, and nobody waits for one.
  bool admit_quickly() noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  Admitted admit(const SubmitOptions& options, Wait wait, absl::Status* refusal) ABSL_LOCKS_EXCLUDED(serve_, intake_);
  void give_back(bool runs_here) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  /// The everyday case of a plain job, in one step. Where it is not, nothing has happened.
  bool enqueue_quickly(JobState& job) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  void enqueue(JobState& job) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  void run_here(JobState& job) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);

  // Submissions of coroutines that wait (pool_line.cpp).
  [[nodiscard]] Context line_context(const AnsweredJob& job, TimePoint until) const;
  /// Returns how it ends, or kPending: `node` is in line, and may be gone, with the job.
  Waiter::Outcome line_up(AnsweredJob& job, WaitNode& node) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  /// For one that its context or its destruction has ended, as the last use of the pool. Destroys the job; says why.
  absl::Status leave_line(AnsweredJob& job, WaitNode& node, Waiter::Outcome outcome, TimePoint since) noexcept
      ABSL_LOCKS_EXCLUDED(serve_, intake_);
  void discard(AnsweredJob& job) noexcept;
  [[nodiscard]] absl::Status forked() const;

  // Live changes.
  void set_overflow(OverflowPolicy policy) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  [[nodiscard]] std::size_t capacity() const noexcept ABSL_LOCKS_EXCLUDED(intake_);
  void set_capacity(std::size_t capacity) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  void pause() noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  void resume() noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  absl::Status resize(std::size_t workers) ABSL_LOCKS_EXCLUDED(serve_, intake_, crew_mutex_);
  absl::Status add_workers(std::size_t count) ABSL_LOCKS_EXCLUDED(serve_, intake_, crew_mutex_);
  absl::Status remove_workers(std::size_t count) ABSL_LOCKS_EXCLUDED(serve_, intake_, crew_mutex_);

  // Jobs.
  AnsweredJob::Stop take_back(AnsweredJob& job, EndedJobs& ended, WakeList& wake) noexcept override
      ABSL_LOCKS_EXCLUDED(serve_, intake_);
  void settle_taken(EndedJobs& ended, WakeList& wake) noexcept override ABSL_LOCKS_EXCLUDED(serve_, intake_);
  bool may_wait_inside(AnsweredJob& job) noexcept override ABSL_LOCKS_EXCLUDED(serve_, intake_);
  /// Wakes, while the calling thread has still so many of the counted things to bring to an end, of them `job`: for
  /// coroutines that run at once, inside the call, and wait for the pool.
  void wake_all(WakeList& list, std::size_t owed, const JobState* job = nullptr) const noexcept
      ABSL_LOCKS_EXCLUDED(serve_, intake_);
  /// Answers jobs that have been decided, as the last use of the pool.
  void settle(EndedJobs& ended) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  void post(Work& work) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  /// Runs what was posted if there is no worker to do it.
  void run_deserted() noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  bool revoke(Work& work) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  void report(const std::exception_ptr& exception, const JobState* job) noexcept;

  // Observers.
  [[nodiscard]] std::size_t own_worker_id() const noexcept;
  /// Whether the calling thread runs, or answers, a job of this pool.
  [[nodiscard]] bool is_inside() const noexcept;
  [[nodiscard]] WorkerPoolStats stats() const ABSL_LOCKS_EXCLUDED(serve_, intake_);
  [[nodiscard]] std::vector<WorkerInfo> workers() const ABSL_LOCKS_EXCLUDED(serve_, intake_);

 private:
  class Both;
  class Survey;

  /// Why submitters and workers have to take the long way.
  enum Detour : std::uint32_t {
    kBlocked = 1,       // submitters wait for places
    kClosed = 2,        // no more intake
    kStopping = 4,      // the workers go
    kPaused = 8,        // no job is started
    kCrowded = 16,      // more workers than wanted
    kChoosy = 32,       // a job may be shed, or it matters who takes it
    kGrowing = 64,      // there may be more workers
    kCalledOff = 128,   // a shutdown has run out of time
    kTakingOver = 256,  // jobs are coming from another pool: none is started until they are in their order
  };
  static constexpr std::size_t kMostEnded = 64;        // jobs that are decided under the locks at once
  static constexpr std::size_t kMaxPostedInARow = 16;  // then a job is started, if there is one
  static constexpr std::uint32_t kSubmittersDetour = kBlocked | kClosed;
  static constexpr std::uint32_t kWorkersDetour = ~std::uint32_t{kGrowing};

  /// How a submission that is refused is called, and what it was like.
  enum class Refusal : std::uint8_t { kClosed, kFull, kDropped, kWaited, kCancelled, kLate, kOwnWorker };

  // The crew (pool_crew.cpp).
  /// Adds so many workers, or none if one of them fails. The first ones are made with a report, and go to work only if
  /// the health check passes.
  absl::Status hire(std::size_t count, StartupReport* report) ABSL_LOCKS_EXCLUDED(serve_, intake_, crew_mutex_);
  /// Returns how many have been started; if not all, `failure` says why.
  std::size_t start_threads(std::size_t count, Hiring* hiring, std::string& failure, Worker*& leavers) noexcept
      ABSL_LOCKS_EXCLUDED(serve_, intake_, crew_mutex_);
  void conclude(Hiring& hiring, std::size_t started, bool stay) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  [[nodiscard]] absl::Status check_health() const noexcept;
  WorkerList take_leaver(Worker*& leavers) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(crew_mutex_);
  void join_leavers(Worker* leavers) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_, crew_mutex_);
  /// With control_mutex_ held.
  template <class Target>
  absl::Status change_to(Target target) ABSL_LOCKS_EXCLUDED(serve_, intake_, crew_mutex_);
  std::size_t set_configured(std::size_t workers, WakeList& wake) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void grow(std::size_t count, TimePoint now, Worker*& leavers) noexcept
      ABSL_LOCKS_EXCLUDED(serve_, intake_, crew_mutex_);
  void give_up_growth() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void grow_by_one(WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  [[nodiscard]] absl::Status run_start_hook(std::size_t id) noexcept;
  void run_stop_hook(std::size_t id) noexcept;
  bool join_crew(Worker& me) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  void leave_crew(Worker& me) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  [[nodiscard]] std::size_t wanted() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  /// How many are wanted that nobody has started yet.
  [[nodiscard]] std::size_t missing() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void set_stuck(std::size_t workers) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void note_crew() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void list_runner(Runner& runner) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void unlist_runner(Runner& runner) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);

  // Workers (pool_serve.cpp).
  void work(Worker& me) noexcept;
  Found next(Worker& me) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  Found next_quickly(Worker& me, TimePoint now, JobState*& done) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  Work* next_posted() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_) ABSL_LOCKS_EXCLUDED(intake_);
  JobState* next_of_all() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_) ABSL_LOCKS_EXCLUDED(intake_);
  void look_for_work() const noexcept;
  Found pick(TimePoint now, EndedJobs& ended) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void come_back(Worker& me, JobState*& done) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void count_end(Tally& tally, Count outcome, int code) noexcept;
  void retire_job(Runner& runner, JobState*& done) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_);
  void take_in() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  /// Starts `job` in the runner's thread. Returns when its time is up.
  void start_job(JobState& job, Runner& runner, TimePoint now) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_);
  /// Runs and answers the job of `runner`; returns the time if it had to know.
  Ran run(Runner& runner) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  void observe_submit(const JobState& job) noexcept;
  void observe_end(const Runner& runner, const absl::Status& status, Count outcome, TimePoint now) noexcept;
  [[nodiscard]] JobEvent event(const JobState& job, std::size_t worker_id, TimePoint at,
                               TimePoint since) const noexcept;
  [[nodiscard]] absl::Status describe_exception(const JobState& job,
                                                const std::exception_ptr& exception) const noexcept;
  [[nodiscard]] bool is_timed() const noexcept { return options_.measure || options_.observer != nullptr; }
  [[nodiscard]] TimePoint time() const noexcept {
    return is_timed() || options_.codel ? clock_.now() : clock_.recent();
  }

  // The watching thread (pool_watch.cpp).
  void watch() noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  TimePoint expire(TimePoint now, EndedJobs& ended) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void overrun(Runner& runner, EndedJobs& ended) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void watch_from(TimePoint when, WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void watch_from(TimePoint when) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  [[nodiscard]] bool is_watched_too_late(TimePoint when) const noexcept;

  /// What to allow for a limit of so much, so that nothing ends too early.
  [[nodiscard]] Duration lagged(Duration limit) const noexcept;

  // Endings.
  /// Takes `job` out of the queue.
  void take_out(JobState& job) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_);
  void end_queued(JobState& job, Ending ending, EndedJobs& ended) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void end_expired(TimePoint now, EndedJobs& ended) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void decide(JobState& job, Ending ending, EndedJobs& ended) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  [[nodiscard]] absl::Status describe(const JobState& job, TimePoint now) const noexcept;
  [[nodiscard]] static std::string_view tag_of(const JobState& job) noexcept;
  [[nodiscard]] static std::uint64_t call_of(const JobState& job) noexcept;
  /// With both locks: whether it was not handed over to another pool.
  [[nodiscard]] bool is_mine(const AnsweredJob& job) const noexcept;
  /// Calls `call(observer)`, whatever that throws.
  template <class Call>
  void tell_observer(Call call) noexcept;
  void tell_state(PoolState state) noexcept;

  // Steps of a submission.
  [[nodiscard]] bool places_trickle() noexcept ABSL_LOCKS_EXCLUDED(intake_);
  [[nodiscard]] bool has_place_quickly() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(intake_);
  Admitted admit_slowly(const SubmitOptions& options, Wait wait, OpStatus ended, absl::Status* refusal)
      ABSL_LOCKS_EXCLUDED(serve_, intake_);
  Admitted wait_for_place(const SubmitOptions& options, TimePoint start, Duration timeout, absl::Status* refusal)
      ABSL_LOCKS_EXCLUDED(serve_, intake_);
  [[nodiscard]] absl::Status describe(Refusal refusal, const Context& ctx, Duration waited) const;
  void put(JobState& job, WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(intake_);
  void put_first(JobState& job, WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  static bool is_in_front(const JobState& job) noexcept { return job.level_ % 2 != 0; }
  [[nodiscard]] bool is_everyday(TimePoint expires_at) const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(intake_);
  void put_from_line(AnsweredJob& job, TimePoint now, WakeList& wake) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void refuse_waiting(AnsweredJob& job, EndedJobs& ended) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void leave(std::uint64_t WorkerPoolCounts::*count) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  void accept_past_queue(JobState& job) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void end_new(JobState& job, Ending ending) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  void set_limits(JobState& job, TimePoint now) const noexcept;
  void limit_wait(AnsweredJob& job) const noexcept;
  void run_in(Activation& here, Runner& runner) noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);

  // Steps of a shutdown.
  /// Answers what is queued and asks what runs to stop.
  void call_off_everything() noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  AnsweredJob* next_to_stop() noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  void list_running(ShutdownReport& report) const noexcept ABSL_LOCKS_EXCLUDED(serve_, intake_);
  [[nodiscard]] bool is_quiet(bool inside) const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  [[nodiscard]] std::uint64_t answered() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  [[nodiscard]] std::uint64_t tallied(Count which) const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_);

  // What follows from a change.
  [[nodiscard]] std::size_t queued() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  [[nodiscard]] std::size_t free_workers() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  [[nodiscard]] bool has_place() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  /// Jobs that wait, without those that free workers, and `more` of them, will take.
  [[nodiscard]] std::size_t depth(std::size_t more = 0) const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  /// Whether a worker that comes now is owed to a job: one in the queue, or one that is still being made.
  [[nodiscard]] bool is_promised() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  [[nodiscard]] bool is(std::uint32_t detours) const noexcept {
    return (detour_.load(std::memory_order_relaxed) & detours) != 0;
  }
  void set_detour(Detour why, bool on) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void note_depth() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void grant_places(TimePoint now, WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void wake_seeker(WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(intake_);
  void pass_on(WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);
  void claim_closers(WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(serve_, intake_);

  const WorkerPoolOptions options_;
  Clock& clock_;
  const Duration lag_;         // how far time() may be behind
  const Duration wait_limit_;  // lagged(options_.queue_wait_limit)
  const Duration run_limit_;   // lagged(options_.processing_timeout)
  const std::uint32_t process_;

  // --- read by everybody, written under both locks ---
  // Read without a lock by who looks before it sleeps, else under one of them: orders nothing.
  alignas(kCachePadding) world::Atomic<std::uint32_t> detour_{0};
  world::Atomic<OverflowPolicy> overflow_;
  world::Atomic<Duration::rep> watched_until_{Duration::max().count()};  // when the watch looks next
  // That there is something for who looks before it sleeps, which reads it without a lock. Written under intake_, and
  // cleared under both by who looks properly. A stale one costs a look.
  world::Atomic<bool> hint_{false};
  // That there is posted work, written under intake_, and cleared under both; read by workers under serve_.
  world::Atomic<bool> has_posted_{false};

  // --- the submitters' side ---
  alignas(kCachePadding) mutable SpinLock intake_ ABSL_ACQUIRED_AFTER(serve_);
  std::size_t capacity_ ABSL_GUARDED_BY(intake_);  // written under both
  std::uint64_t entered_ ABSL_GUARDED_BY(intake_) = 0;
  std::uint64_t left_seen_ ABSL_GUARDED_BY(intake_) = 0;
  std::uint64_t entered_when_full_ ABSL_GUARDED_BY(intake_) = 0;  // the last time it was
  std::size_t reserved_ ABSL_GUARDED_BY(intake_) = 0;
  std::size_t submitting_ ABSL_GUARDED_BY(intake_) = 0;  // the reserved ones too
  std::size_t announcing_ ABSL_GUARDED_BY(intake_) = 0;  // of them: accepted, and the observer is being told
  std::uint64_t submitted_ ABSL_GUARDED_BY(intake_) = 0;
  std::uint64_t entered_steps_ ABSL_GUARDED_BY(intake_) = 0;  // of memory, of the jobs that have come into the queue
  JobList incoming_ ABSL_GUARDED_BY(intake_);
  bool incoming_is_plain_ ABSL_GUARDED_BY(intake_) = true;  // no limits of their own among them
  std::size_t seekers_ ABSL_GUARDED_BY(intake_) = 0;
  WaitList idle_ ABSL_GUARDED_BY(intake_);
  WorkQueue posted_incoming_ ABSL_GUARDED_BY(intake_);

  // --- the workers' side ---
  alignas(kCachePadding) mutable SpinLock serve_;
  JobQueue queue_ ABSL_GUARDED_BY(serve_);
  WorkQueue posted_ ABSL_GUARDED_BY(serve_){&posted_incoming_};
  std::size_t posted_in_a_row_ ABSL_GUARDED_BY(serve_) = 0;
  // How many jobs have left the queue.
  //   Q1  release under serve_ -> acquire by a submitter: the place is free.
  world::Atomic<std::uint64_t> left_{0};
  std::uint64_t left_steps_ ABSL_GUARDED_BY(serve_) = 0;  // of memory, of the jobs that have left it
  std::uint64_t started_ ABSL_GUARDED_BY(serve_) = 0;
  std::size_t busy_ ABSL_GUARDED_BY(serve_) = 0;
  std::size_t executing_ ABSL_GUARDED_BY(serve_) = 0;  // not beside started_: counted as a pair, they wait for a store
  std::optional<Codel> codel_ ABSL_GUARDED_BY(serve_);
  Runner* runners_ ABSL_GUARDED_BY(serve_) = nullptr;  // workers, and who runs a job in between

  // --- written under both locks ---
  alignas(kCachePadding) WaitList blocked_ ABSL_GUARDED_BY(serve_);  // submitters under kBlock
  WaitList closers_ ABSL_GUARDED_BY(serve_);                         // threads in shutdown()
  WaitList watching_ ABSL_GUARDED_BY(serve_);                        // the watching thread
  WaitList arrivals_ ABSL_GUARDED_BY(serve_);                        // who waits for the workers that join
  std::size_t settling_ ABSL_GUARDED_BY(serve_) = 0;        // and pieces of other business that a shutdown waits for
  std::size_t taking_over_ ABSL_GUARDED_BY(serve_) = 0;     // from so many pools at once
  std::size_t lined_up_ ABSL_GUARDED_BY(serve_) = 0;        // coroutines, of those that are submitting
  std::size_t inside_weight_ ABSL_GUARDED_BY(serve_) = 0;   // of the threads in shutdown() that are ours
  std::size_t inside_workers_ ABSL_GUARDED_BY(serve_) = 0;  // how many of them are workers
  std::size_t live_ ABSL_GUARDED_BY(serve_) = 0;
  std::size_t configured_ ABSL_GUARDED_BY(serve_) = 0;
  std::size_t stuck_ ABSL_GUARDED_BY(serve_) = 0;         // workers
  std::size_t replacements_ ABSL_GUARDED_BY(serve_) = 0;  // the smaller one of stuck_ and max_replacements
  std::size_t joining_ ABSL_GUARDED_BY(serve_) = 0;
  std::size_t hiring_ ABSL_GUARDED_BY(serve_) = 0;  // to be configured, if all of them start
  TimePoint grow_not_before_ ABSL_GUARDED_BY(serve_) = TimePoint::min();
  Worker* leavers_ ABSL_GUARDED_BY(serve_) = nullptr;
  // Its counts of submissions and of jobs that never ran or ran out of time; the rest is made on demand.
  mutable WorkerPoolCounts counts_ ABSL_GUARDED_BY(serve_);  // who looks notes how deep the queue is
  mutable Throughput throughput_ ABSL_GUARDED_BY(serve_);

  // --- without a lock ---
  Tally others_{true};  // of who is no worker
  Tally gone_{true};    // of workers that have left; added to under both locks
  world::Atomic<std::uint64_t> exceptions_{0};
  std::array<world::Atomic<std::uint64_t>, 17> failed_with_{};
  std::optional<PoolTimes> times_;  // if the pool measures

  // --- threads ---
  Mutex control_mutex_;  // one change of the crew at a time; before crew_mutex_
  Mutex crew_mutex_ ABSL_ACQUIRED_BEFORE(serve_);
  WorkerList crew_ ABSL_GUARDED_BY(crew_mutex_);
  world::Thread watch_;  // the creating and the destroying thread's
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
