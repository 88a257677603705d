// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A job whose answer somebody may wait for, and what its submitter has asked for.
///
/// It belongs to two: the pool, until nothing of it runs any more, and the handle, until that is dropped. The later of
/// the two frees it. A job that is not answered keeps its pool alive (the pool's destructor waits for it), and
/// answering takes the job's lock. So a handle may reach the pool while it holds that lock and has seen no answer.
/// Where the job is handed over to another pool meanwhile, the handle finds that out under the first one's locks; who
/// hands it over takes the job's lock once afterwards, and the first pool waits for that.

#include <algorithm>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/cancel_hook.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/detail/pairing_heap.hpp"
#include "penstock/core/detail/spin_lock.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/op_status.hpp"
#include "penstock/exec/detail/job_state.hpp"

namespace penstock::inline PENSTOCK_ABI {
struct SubmitOptions;
}

namespace penstock::inline PENSTOCK_ABI::detail {

class AnsweredJob;
class ElasticCore;
class JobHome;
class PoolCore;

/// `ctx`, as seen from `clock`: the same context if it is on that clock or cannot end; otherwise one on `clock` that is
/// cancelled when `ctx` ends, for as long as `bridge` lives. That takes three allocations.
struct ClockedContext {
  ClockedContext(const Context& ctx, Clock& clock);

  Context context;
  std::optional<DoneCallback> bridge;
};

/// What a job's submitter has asked for beyond the pool's own terms. Set up before the job is accepted.
struct JobTerms {
  /// `with_context`: the function takes a context of its own, which the pool can cancel.
  JobTerms(AnsweredJob& owner, const JobHome& pool, SubmitOptions&& options, bool with_context);
  JobTerms(const JobTerms&) = delete;
  JobTerms& operator=(const JobTerms&) = delete;

  static void* operator new(std::size_t bytes) { return allocate_block(bytes); }
  static void operator delete(void* block, std::size_t bytes) noexcept { free_block(block, bytes); }

  /// In a pool with that limit.
  [[nodiscard]] Duration run_limit(Duration pools) const noexcept {
    return own_run_limit == Duration::zero() ? pools : own_run_limit;
  }
  [[nodiscard]] Duration wait_limit(Duration pools) const noexcept { return std::min(own_wait_limit, pools); }

  struct CallerHook : CancelHook {
    CallerHook(Fire fire, AnsweredJob& self) noexcept : CancelHook(fire), job(self) {}
    AnsweredJob& job;
  };

  AnsweredJob& job;
  const ClockedContext caller;  // on the pool's clock
  std::optional<CancelSource> source;
  Context context;                // the caller's, or a child of it that `source` cancels
  const Duration own_run_limit;   // zero: that of the pool which runs it
  const Duration own_wait_limit;  // if shorter than that of the pool it is in
  const std::string tag;
  const std::uint32_t attempt;
  const std::uint64_t call_id;  // 0: the job's own id
  CallerHook hook;
  HeapLinks<JobTerms> deadline;  // guarded by the pool's locks: among the queued jobs with limits of their own
};

class AnsweredJob : public JobState {
 public:
  /// Waits for the answer; kFull: refused, as the calling thread is a worker of the job's pool.
  OpStatus wait(const Context& ctx) ABSL_LOCKS_EXCLUDED(lock_);
  /// Whether the calling thread may wait for the answer, in a way of its own; false in a worker of the job's pool. If
  /// that helps, the job is run first, if nobody else does.
  [[nodiscard]] bool may_wait() ABSL_LOCKS_EXCLUDED(lock_);
  [[nodiscard]] bool is_done() const noexcept { return answered_.load(std::memory_order_acquire); }  // J2 acquire
  bool cancel() noexcept ABSL_LOCKS_EXCLUDED(lock_);

  /// Lists `node` to be served with the answer; false if that is there already.
  bool enlist(WaitNode& node) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  void delist(WaitNode& node) noexcept ABSL_LOCKS_EXCLUDED(lock_);

  /// What a wait for the answer returns that ended with `status`.
  [[nodiscard]] absl::Status unfinished(OpStatus status) const ABSL_LOCKS_EXCLUDED(lock_);

  /// The answer, once it is there: OK if the function has left a value.
  [[nodiscard]] const absl::Status& answer() const noexcept { return answer_; }

  void release() noexcept final;

 protected:
  /// `options` are read, and moved from, only if they say more than the pool does. `steps`: as of JobState.
  AnsweredJob(JobHome& pool, SubmitOptions&& options, bool with_context, std::uint16_t steps);
  AnsweredJob(PoolCore& pool, SubmitOptions&& options, bool with_context, std::uint16_t steps);
  ~AnsweredJob() override = default;

  /// Whether this is the first call; the handle's.
  bool take_once() noexcept { return !std::exchange(taken_, true); }

 private:
  friend class ElasticCore;
  friend class JobHome;
  friend class JobQueue;
  friend class JobState;
  friend class PoolCore;
  friend struct JobTerms;

  /// Destroys a value that came too late.
  virtual void discard_value() noexcept = 0;

  /// Follows the caller's context from here on; false if it has ended already.
  bool hook() noexcept;
  /// Follows it no more. Blocks: while another thread is in the hook.
  void unhook() noexcept;
  /// Ends the job if it is queued; otherwise says whether this is the first wish to stop it.
  enum class Stop : std::uint8_t { kDone, kEnded, kAsked, kAskedBefore, kElsewhere };
  Stop stop() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// Cancels the function's own context, if it has one. Runs callbacks of the user.
  void ask_to_stop(absl::Status cause) noexcept;
  /// Publishes the answer and wakes who waits for it.
  void publish(absl::Status answer) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// For who has changed the pool: waits until nobody uses the old one for this job, and has threads of the new one
  /// that wait for the job look once more whether they may.
  void settle_in(WakeList& wake) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }

  static constexpr Waiter::Outcome kMoved = Waiter::kServed + 1;

  [[nodiscard]] JobHome& pool() const noexcept { return *pool_.load(std::memory_order_acquire); }  // J3 acquire

  // The one that is to answer it. Written under the locks of both pools.
  //   J3  release by who hands the job over -> acquire by who asks for it: that pool is whole.
  world::Atomic<JobHome*> pool_;
  TimePoint expires_at_ = TimePoint::max();  // the latest start; of one that has overrun its time, when it started
  std::unique_ptr<JobTerms> terms_;          // null: those of the pool
  // R1  release by the first owner to go -> acquire by the last, who frees the job.
  world::Atomic<std::uint32_t> references_{2};
  mutable SpinLock lock_;  // before the pool's; no other is taken with it
  bool taken_ = false;     // the value has been
  // Written under lock_; read without it too.
  //   J2  release in publish() -> acquire in is_done(): the answer, the value and all the job did are visible.
  world::Atomic<bool> answered_{false};
  WaitList waiting_ ABSL_GUARDED_BY(lock_);  // the slot of a thread's node: its Activation, if it has one
  absl::Status answer_;                      // written by the deciding thread before answered_, constant afterwards
};

inline JobTerms* JobState::terms() const noexcept {
  return plain_ ? nullptr : static_cast<const AnsweredJob&>(*this).terms_.get();
}

inline TimePoint JobState::expires_at(Duration wait_limit) const noexcept {
  return plain_ ? saturated_add(enqueued_at_, wait_limit) : static_cast<const AnsweredJob&>(*this).expires_at_;
}

/// A job with its value, as its handle sees it.
template <class Value>
class ResultJob : public AnsweredJob {
 public:
  /// Hands the value out, once.
  absl::StatusOr<Value> take() {
    if (!answer().ok()) return answer();
    if (!take_once()) return absl::FailedPreconditionError("job: its value has been taken before");
    return std::move(*value_);
  }

 protected:
  using AnsweredJob::AnsweredJob;

  template <class U>
  void keep(U&& value) {
    value_.emplace(std::forward<U>(value));
  }

 private:
  void discard_value() noexcept override { value_.reset(); }

  std::optional<Value> value_;  // the function's thread's until the answer is published, then the handle's
};

template <>
class ResultJob<void> : public AnsweredJob {
 public:
  absl::Status take() { return answer(); }

 protected:
  using AnsweredJob::AnsweredJob;

 private:
  void discard_value() noexcept override {}
};

/// One coroutine's wait for the answer of a job. `job` may be null: then there is nothing to wait for.
class JobWait {
 public:
  JobWait(AnsweredJob* job, const Context& ctx) noexcept : job_(job), ctx_(ctx) {}
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
  AnsweredJob* const job_;
  const Context ctx_;
  std::optional<CoroutineWait> wait_;
  bool suspended_ = false;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
