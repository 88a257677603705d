// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a job is, to its pool and to its handle.
///
/// A job belongs to two: the pool, until nothing of it runs any more, and the handle, until that is dropped. The later
/// of the two frees it. Its phases, which only the pool changes, under the pool's mutex:
///
///   kNew --accepted--> kQueued --a worker takes it--> kRunning --its function returned--> kDecided
///                         |                              |
///                         +-- cancelled, expired,        +-- its time is up: the caller is answered,
///                         |   evicted, pool shut down        the function runs on, its result is discarded
///                         +--> kDecided                  +--> kDecided
///
/// Whoever makes the step to kDecided, and nobody else, answers the job afterwards, without that mutex: destroys the
/// function unless it still runs, writes the answer, and publishes it under the job's own mutex. So every accepted job
/// is answered exactly once, and the counts of a job are visible before its answer.
///
/// A job that is not answered keeps its pool alive (the pool's destructor waits for it), and answering takes the job's
/// mutex. So a handle may reach the pool while it holds that mutex and has seen no answer.

#include <coroutine>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/check.hpp"
#include "penstock/core/detail/context_state.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/core/op_status.hpp"

namespace penstock::inline PENSTOCK_ABI {
struct JobContext;
}

namespace penstock::inline PENSTOCK_ABI::detail {

class PoolCore;

/// `ctx`, as seen from `clock`: the same context if it is on that clock or cannot end; otherwise one on `clock` that is
/// cancelled when `ctx` ends, for as long as `bridge` lives. That takes three allocations.
struct ClockedContext {
  ClockedContext(const Context& ctx, Clock& clock);

  Context context;
  std::optional<DoneCallback> bridge;
};

/// How a job ended that the pool answers in its function's place.
enum class Ending : std::uint8_t { kNone, kCancelled, kQueueExpired, kEvicted, kAbandoned, kRunExpired };

/// A job without its types.
class JobState {
 public:
  JobState(const JobState&) = delete;
  JobState& operator=(const JobState&) = delete;

  // The handle's side.

  /// Waits for the answer.
  OpStatus wait(const Context& ctx) ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] bool is_done() const noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  bool cancel() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }

  /// Lists `node` to be served with the answer; false if that is there already.
  bool enlist(WaitNode& node) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void delist(WaitNode& node) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  /// What a wait for the answer returns that ended with `status`.
  [[nodiscard]] absl::Status unfinished(OpStatus status) const ABSL_LOCKS_EXCLUDED(mutex_);

  /// The answer, once it is there: OK if the function has left a value.
  [[nodiscard]] const absl::Status& answer() const noexcept { return answer_; }

  /// Gives up one of the two shares; the last one frees the job. Called without a lock.
  void release() noexcept;

 protected:
  /// `with_context`: the function takes a context of its own, which the pool can cancel.
  JobState(PoolCore& pool, const Context& caller, std::string tag, Duration processing_timeout, bool with_context);
  virtual ~JobState();

 private:
  friend class PoolCore;
  friend class JobList;
  friend class EndedJobs;

  enum class Phase : std::uint8_t { kNew, kQueued, kRunning, kDecided };

  struct CallerHook : CancelHook {
    CallerHook(Fire fire, JobState& self) noexcept : CancelHook(fire), job(self) {}
    JobState& job;
  };

  /// Calls the function; a value it returns is kept, a status is returned. Throws what the function throws.
  virtual absl::Status invoke(const JobContext& ctx) = 0;
  /// Throws what the destructor of the function throws.
  virtual void destroy_function() = 0;
  /// Destroys a value that came too late.
  virtual void discard_value() noexcept = 0;

  /// Follows the caller's context from here on; false if it has ended already.
  bool hook() noexcept;
  /// Follows it no more. Blocks: while another thread is in the hook.
  void unhook() noexcept;
  /// Ends the job if it is queued; otherwise says whether this is the first wish to stop it.
  enum class Stop : std::uint8_t { kDone, kEnded, kAsked, kAskedBefore };
  Stop stop() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// Cancels the function's own context, if it has one. Runs callbacks of the user.
  void ask_to_stop(absl::Status cause) noexcept;
  /// Publishes the answer and wakes who waits for it.
  void publish(absl::Status answer) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }

  // R1  release by the first owner to go -> acquire by the last, who frees the job.
  world::Atomic<std::uint32_t> references_{2};
  PoolCore& pool_;
  // On the pool's clock. Set up before the job is accepted, constant afterwards, as are the members down to tag_.
  const ClockedContext caller_;
  std::optional<CancelSource> source_;
  Context context_;
  const Duration processing_timeout_;
  const std::string tag_;
  CallerHook caller_hook_;

  // Guarded by the pool's mutex until the job is decided, then the deciding thread's.
  std::uint64_t id_ = 0;  // set with the acceptance, before the handle is given out
  Phase phase_ = Phase::kNew;
  Ending ending_ = Ending::kNone;
  bool stop_asked_ = false;  // guarded by the pool's mutex to the end, as all below down to stop_next_
  TimePoint enqueued_at_{};
  TimePoint started_at_{};
  TimePoint ended_at_{};
  TimePoint expires_at_{};    // while queued: latest start; while running: when the caller is answered
  JobState* next_ = nullptr;  // in the queue, then among the running ones
  JobState* previous_ = nullptr;
  JobState* ended_next_ = nullptr;  // in the list of the thread that decided it
  JobState* stop_next_ = nullptr;   // in the list of a shutdown that asks it to stop

  mutable Mutex mutex_;  // before the pool's; no other is taken with it
  WaitList waiting_ ABSL_GUARDED_BY(mutex_);
  bool answered_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status answer_;  // written by the deciding thread before answered_, constant afterwards
};

/// A job with its value, as its handle sees it.
template <class Value>
class ResultJob : public JobState {
 public:
  /// Hands the value out, once.
  absl::StatusOr<Value> take() {
    if (!answer().ok()) return answer();
    if (std::exchange(taken_, true)) return absl::FailedPreconditionError("job: its value has been taken before");
    return std::move(*value_);
  }

 protected:
  using JobState::JobState;

  template <class U>
  void keep(U&& value) {
    value_.emplace(std::forward<U>(value));
  }

 private:
  void discard_value() noexcept override { value_.reset(); }

  std::optional<Value> value_;  // the function's thread's until the answer is published, then the handle's
  bool taken_ = false;          // the handle's
};

template <>
class ResultJob<void> : public JobState {
 public:
  absl::Status take() { return answer(); }

 protected:
  using JobState::JobState;

 private:
  void discard_value() noexcept override {}
};

/// One coroutine's wait for the answer of a job. `job` may be null: then there is nothing to wait for.
class JobWait {
 public:
  JobWait(JobState* job, const Context& ctx) noexcept : job_(job), ctx_(ctx) {}
  JobWait(const JobWait&) = delete;
  JobWait& operator=(const JobWait&) = delete;
  ~JobWait() {
    if (!suspended_) return;
    // The coroutine is being destroyed where it is suspended.
    if (wait_->call_off() < Waiter::kServed) job_->delist(wait_->node());
  }

  [[nodiscard]] bool await_ready() const noexcept { return job_ == nullptr || job_->is_done(); }

  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    wait_.emplace(ctx_, coroutine, nullptr);
    suspended_ = true;  // before it is listed: from then on the frame may be gone
    return wait_->suspend([this] {
      if (job_->enlist(wait_->node())) return true;
      suspended_ = false;
      return false;
    });
  }

 protected:
  OpStatus end() noexcept {
    if (!std::exchange(suspended_, false)) return OpStatus::kOk;
    const Waiter::Outcome outcome = wait_->resume();
    if (outcome < Waiter::kServed) job_->delist(wait_->node());
    return to_op_status(outcome);
  }

 private:
  JobState* const job_;
  const Context ctx_;
  std::optional<CoroutineWait> wait_;
  bool suspended_ = false;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
