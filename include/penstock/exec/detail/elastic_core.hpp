// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What an elastic pool is made of: one short lock, a stack of idle workers, a queue, and a thread that keeps it going.
///
/// A worker's life:
///
///   made --its thread begins--> looks --finds a task--> busy --done--> looks ...
///                                 |                      ^
///                                 +--nothing--> idle ----+ handed a task by who brings one
///                                 |               |
///                                 +--leaves <-----+ told to go: trimmed, too many, or the pool is closed
///
/// Every step is made under `mutex_`, but for the hand-over itself: who takes an idle worker from the stack owns it,
/// writes the task into it and leaves a token in its parker. So at most one party ever has a worker, a task handed over
/// cannot be lost, and a worker that was told to go is no longer on the stack when a task comes. There is never both an
/// idle worker and a task in the queue.
///
/// A submission has two steps, since making the task may fail: `admit` counts a place, and takes an idle worker if
/// there is one; `enter` hands the task over. With a worker in hand that needs no lock for a plain task.
///
/// The keeper is a thread that makes workers when the queue makes no progress (GrowthMachine), and sleeps while there
/// is no queue. The trim policy is asked in the callback of a timer on the pool's clock, so that on a ManualClock
/// nothing is left to come when `advance` returns; its decision and the choice of who goes are one step under the lock.
/// Workers that go wake each other one by one, so that the callback does not last, and each joins the one that went
/// before it.
///
/// Ends. A shutdown waits until
///
///     live + leaving + settling + reserved + errands <= inside, and nothing is queued or posted
///
/// where `settling` counts tasks that were decided without being run and are being destroyed, `reserved` submissions
/// between their two steps without a worker, `errands` threads that still have to do something for the pool after they
/// let go of the lock, and `inside` what the threads in shutdown() themselves are of all that: they do not wait for
/// each other. A thread that is none of the pool's waits for all, since it may go on to destroy it; for it `inside` is
/// 0. Who brings one of these down wakes the closers under the same lock, and touches the pool no more.
///
/// Locks: an answered job's lock before mutex_, in AnsweredJob::stop() alone; crew_mutex_ is taken without mutex_, and
/// guards the handles of threads; nothing is locked while mutex_ is held.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string_view>

#include "absl/status/status.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/cache_padded.hpp"
#include "penstock/core/detail/fork.hpp"
#include "penstock/core/detail/parker.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/executor.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/exec/detail/elastic_admission.hpp"
#include "penstock/exec/detail/job_home.hpp"
#include "penstock/exec/detail/job_state.hpp"
#include "penstock/exec/elastic_pool_options.hpp"
#include "penstock/exec/growth_policy.hpp"
#include "penstock/exec/trim_policy.hpp"
#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// What a worker is to do next: one of these, or nothing, and then it is on the stack of the idle.
struct ElasticOrder {
  JobState* job = nullptr;
  Work* work = nullptr;
  bool leaves = false;
  [[nodiscard]] explicit operator bool() const noexcept { return job != nullptr || work != nullptr || leaves; }
};

/// A thread of the pool.
struct alignas(kCachePadding) ElasticWorker {
  explicit ElasticWorker(std::uint64_t number) noexcept : id(number) {}

  Parker parker;
  // Written by who took it from the stack, then its own: the parker's token carries it over.
  ElasticOrder order;
  ElasticWorker* next_to_leave = nullptr;
  // Guarded by the pool's lock.
  ElasticWorker* above = nullptr;  // on the stack of the idle
  ElasticWorker* below = nullptr;
  ElasticWorker* next = nullptr;  // of all that have begun
  ElasticWorker* previous = nullptr;
  JobState* runs = nullptr;  // a job with a handle
  TimePoint idle_since{};
  bool is_new = true;  // it has not had a task
  const std::uint64_t id;
  world::Thread thread;  // guarded by crew_mutex_
};

class ElasticCore final : public JobHome {
 public:
  explicit ElasticCore(ElasticPoolOptions options);
  ~ElasticCore() = default;

  [[nodiscard]] const ElasticPoolOptions& options() const noexcept { return options_; }
  [[nodiscard]] std::string_view kind() const noexcept override { return "elastic pool"; }
  [[nodiscard]] std::string_view name() const noexcept override { return options_.name; }
  [[nodiscard]] Clock& clock() const noexcept override { return clock_; }
  /// Whether this is a copy in a forked child, which has none of the threads.
  [[nodiscard]] bool is_forked() const noexcept { return process_ != fork_generation(); }
  /// Whether the calling thread does something for the pool, as one of its workers or otherwise.
  [[nodiscard]] bool is_inside() const noexcept;
  [[nodiscard]] bool on_worker_thread() const noexcept;

  // Life (elastic_shutdown.cpp).
  /// Throws what a thread throws that cannot be made; then `stop()`.
  void start();
  void close() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  ElasticShutdownReport shutdown(const Context& ctx, ElasticEnd end) ABSL_LOCKS_EXCLUDED(mutex_);
  /// Ends the keeper and the timer, and joins. After a shutdown that was in time.
  void stop() noexcept ABSL_LOCKS_EXCLUDED(mutex_, crew_mutex_);

  // Tasks (elastic_core.cpp).
  OpStatus admit(const Context* ctx, absl::Status* refusal, ElasticPlace& place) ABSL_LOCKS_EXCLUDED(mutex_);
  void enter(JobState& job, const ElasticPlace& place) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void give_back(const ElasticPlace& place) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void post(Work& work) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  bool revoke(Work& work) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  AnsweredJob::Stop take_back(AnsweredJob& job, EndedJobs& ended, WakeList& wake) noexcept override
      ABSL_LOCKS_EXCLUDED(mutex_);
  void settle_taken(EndedJobs& ended, WakeList& wake) noexcept override ABSL_LOCKS_EXCLUDED(mutex_);
  /// Counts what was caught, and tells the hook.
  void report(const std::exception_ptr& exception, const JobState* job) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  // The crew (elastic_crew.cpp, elastic_trim.cpp).
  absl::Status resize(std::size_t least, std::size_t most) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status set_trim(const TrimPolicy& policy) ABSL_LOCKS_EXCLUDED(mutex_, trim_mutex_);

  // Reports (elastic_report.cpp).
  [[nodiscard]] ElasticPoolStats stats() const ABSL_LOCKS_EXCLUDED(mutex_);
  void collect(MetricSink& sink) const ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] std::size_t live() const noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] bool is_closed() const noexcept ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  enum class Refusal : std::uint8_t { kClosed, kFull, kNoWorker, kEnded, kForked };
  enum class Outcome : std::uint8_t { kSucceeded, kFailed, kThrew, kCancelled };
  enum class TrimTimer : std::uint8_t { kOff, kSet, kChanging };

  struct TickTimer : Timer {
    explicit TickTimer(ElasticCore& pool) noexcept
        : Timer([](Timer& timer) noexcept { static_cast<TickTimer&>(timer).core.tick(); }), core(pool) {}
    ElasticCore& core;
  };

  /// What is left to do once the lock is free.
  struct Errand {
    ElasticWorker* woken = nullptr;    // has its order
    ElasticWorker* leavers = nullptr;  // linked by next_to_leave
    bool hires = false;                // one worker; it is counted already
    bool wakes_keeper = false;
    [[nodiscard]] bool is_counted() const noexcept { return hires || wakes_keeper; }
  };
  void run_errand(const Errand& errand) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  [[nodiscard]] bool may_wait_inside(AnsweredJob& job) noexcept override ABSL_LOCKS_EXCLUDED(mutex_);

  // Steps of a task.
  [[nodiscard]] bool is_full() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status describe(Refusal why, const Context* ctx) const ABSL_LOCKS_EXCLUDED(mutex_);
  /// For what has just been queued: hands it to an idle worker, or sees to it that one will come.
  void dispatch(Errand& errand) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void decide(JobState& job, Ending ending, EndedJobs& ended) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Answers jobs that have been decided, as the last use of the pool.
  void settle(EndedJobs& ended) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] absl::Status describe_ending(const JobState& job) const noexcept;

  // Steps of a worker (elastic_worker.cpp).
  void serve(ElasticWorker& me) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  ElasticOrder begin(ElasticWorker& me) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  ElasticOrder await(ElasticWorker& me) noexcept;
  /// Takes a task, or has `me` leave, or lists it as idle.
  ElasticOrder look(ElasticWorker& me) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  ElasticOrder take() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Outcome run(ElasticWorker& me, JobState& job) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status call(ElasticWorker& me, JobState& job, bool& is_called);
  void count(Outcome outcome) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void leave(ElasticWorker& me) noexcept ABSL_LOCKS_EXCLUDED(mutex_, crew_mutex_);
  void join(ElasticWorker* leaver) noexcept ABSL_LOCKS_EXCLUDED(mutex_, crew_mutex_);

  // The stack of the idle.
  void push_idle(ElasticWorker& worker) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Takes `worker` off.
  void take_idle(ElasticWorker& worker) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Takes the one at the top, for a task; null if there is none.
  ElasticWorker* claim_idle() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Gives one back for which there is no task after all.
  void unclaim(ElasticWorker& worker, Errand& errand) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Tells so many of the idle to go, from the bottom.
  void dismiss(std::size_t count, Errand& errand) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Making workers.
  enum class Need : std::uint8_t { kTasks, kSize, kLeast };
  void reserve_worker() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Makes a worker that was reserved.
  bool hire() noexcept ABSL_LOCKS_EXCLUDED(mutex_, crew_mutex_);
  /// Makes one, if there still is the need. Returns whether it has.
  bool hire_for(Need need, std::uint64_t progress) noexcept ABSL_LOCKS_EXCLUDED(mutex_, crew_mutex_);
  void keep() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] GrowthSample growth_sample(TimePoint now) const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Trimming.
  void tick() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// Asks, and sets the timer, if it is off.
  void begin_trim() noexcept ABSL_LOCKS_EXCLUDED(mutex_, trim_mutex_);
  /// Asks until the next time has not come yet, and sets the timer for it. It is not set, and nobody else sets it.
  void trim() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  TimePoint trim_step(TimePoint now, Errand& errand) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void follow_size(TimePoint now, Errand& errand) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] std::size_t spare(std::size_t floor) const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Steps of a shutdown.
  void call_off() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  AnsweredJob* next_to_stop() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] std::size_t own_weight() const noexcept;
  /// To a thread in shutdown() that is `weight` of what it waits for.
  [[nodiscard]] bool is_quiet(std::size_t weight) const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void claim_closers(WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ElasticPoolOptions options_;
  Clock& clock_;
  const std::uint32_t process_;

  mutable Mutex mutex_;
  // Workers.
  ElasticWorker* top_ ABSL_GUARDED_BY(mutex_) = nullptr;
  ElasticWorker* bottom_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::size_t idle_ ABSL_GUARDED_BY(mutex_) = 0;
  std::size_t low_water_ ABSL_GUARDED_BY(mutex_) = 0;  // the least idle_ since the trim policy was asked
  std::size_t live_ ABSL_GUARDED_BY(mutex_) = 0;       // with those that are starting, without those that leave
  std::size_t starting_ ABSL_GUARDED_BY(mutex_) = 0;
  std::size_t leaving_ ABSL_GUARDED_BY(mutex_) = 0;
  std::size_t least_ ABSL_GUARDED_BY(mutex_);
  std::size_t most_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  ElasticWorker* crew_ ABSL_GUARDED_BY(mutex_) = nullptr;
  ElasticWorker* leaver_ ABSL_GUARDED_BY(mutex_) = nullptr;  // the last one that has gone, to be joined
  // Tasks.
  JobList queue_ ABSL_GUARDED_BY(mutex_);
  std::size_t queued_ ABSL_GUARDED_BY(mutex_) = 0;
  WorkQueue posted_ ABSL_GUARDED_BY(mutex_);
  std::size_t posted_queued_ ABSL_GUARDED_BY(mutex_) = 0;
  std::size_t posted_in_a_row_ ABSL_GUARDED_BY(mutex_) = 0;
  std::size_t running_ ABSL_GUARDED_BY(mutex_) = 0;   // tasks, with those a worker was claimed for
  std::size_t reserved_ ABSL_GUARDED_BY(mutex_) = 0;  // submissions without a worker, between their two steps
  std::size_t seeking_ ABSL_GUARDED_BY(mutex_) = 0;   // submissions that make the only worker before they are accepted
  std::uint64_t progress_ ABSL_GUARDED_BY(mutex_) = 0;
  // Idle workers that were handed a task, and of those that have run since. Nothing follows from the difference but
  // when the keeper looks again, so they order nothing.
  world::Atomic<std::uint64_t> woken_{0};
  world::Atomic<std::uint64_t> awake_{0};
  // Ends.
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool called_off_ ABSL_GUARDED_BY(mutex_) = false;
  std::size_t settling_ ABSL_GUARDED_BY(mutex_) = 0;
  std::size_t errands_ ABSL_GUARDED_BY(mutex_) = 0;
  std::size_t inside_ ABSL_GUARDED_BY(mutex_) = 0;
  WaitList closers_ ABSL_GUARDED_BY(mutex_);
  // Growing and trimming.
  GrowthMachine growth_ ABSL_GUARDED_BY(mutex_);
  TrimMachine trim_ ABSL_GUARDED_BY(mutex_);
  TrimTimer trim_timer_ ABSL_GUARDED_BY(mutex_) = TrimTimer::kOff;
  TimePoint size_due_ ABSL_GUARDED_BY(mutex_) = TimePoint::max();
  std::size_t wanted_ ABSL_GUARDED_BY(mutex_) = 0;  // workers that the keeper is to make for the size policy
  bool keeper_sleeps_ ABSL_GUARDED_BY(mutex_) = false;
  bool keeper_stops_ ABSL_GUARDED_BY(mutex_) = false;
  // Counts; what is kept elsewhere is filled in by stats().
  ElasticPoolStats counts_ ABSL_GUARDED_BY(mutex_);

  Mutex trim_mutex_;  // held by who sets the timer that is off, or changes the policy; before mutex_
  Mutex crew_mutex_;
  TickTimer tick_timer_{*this};
  Parker keeper_;
  world::Thread keeper_thread_;  // the creating and the destroying thread's
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
