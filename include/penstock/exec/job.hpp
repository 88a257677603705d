// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A job that was handed to a pool: what its function learns, and the handle on which its answer is waited for.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/executor.hpp"
#include "penstock/core/op_status.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/detail/answered_job.hpp"
#include "penstock/exec/detail/job_activity.hpp"
#include "penstock/exec/overflow.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// `JobContext::worker_id` of a job that its submitter runs itself (`OverflowPolicy::kCallerRuns`).
inline constexpr std::size_t kCallerThread = static_cast<std::size_t>(-1);

/// What a function is told that runs as a job. Valid during the call; the context may be copied.
struct JobContext {
  /// A child of the submitter's context. It ends with that one, when the job's time is up, when the job is cancelled
  /// and when its pool stops waiting for it at shutdown. A function that waits or loops should look at it.
  const Context& context;
  std::uint64_t job_id;
  std::size_t worker_id;
  Duration queue_wait;        ///< From acceptance to start.
  std::uint32_t attempt = 1;  ///< As its submitter says.
  std::uint64_t call_id = 0;  ///< What it has in common with the other attempts of its call; else its own id.

  /// Says that the job waits for its back end, until what this returns is destroyed, which is before the function
  /// returns: `WorkerPool::workers` shows its worker as kCalling meanwhile.
  ///
  ///     { const auto calling = job.calling();  response = client.call(request, job.context); }
  ///
  /// May be nested: the outermost one counts. Does nothing that is seen where no worker runs the job.
  ///
  /// Threads: that of the function. Cost: two readings of `Clock::recent`, together about 10 ns; no lock.
  [[nodiscard]] detail::CallScope calling() const noexcept { return {activity, context.clock()}; }

  detail::JobActivity* activity = nullptr;  ///< The pool's own.
};

namespace detail {

template <class R>
struct JobTraits {
  static_assert(std::is_object_v<R> && std::is_move_constructible_v<R> && std::is_nothrow_destructible_v<R>,
                "a job returns void or a movable value, whose destructor does not throw");
  using Value = R;
  using Answer = absl::StatusOr<R>;
};
template <class T>
struct JobTraits<absl::StatusOr<T>> : JobTraits<T> {};
template <>
struct JobTraits<void> {
  using Value = void;
  using Answer = absl::Status;
};
template <>
struct JobTraits<absl::Status> : JobTraits<void> {};

struct JobAccess;

}  // namespace detail

/// A job whose function returns an `R`: a value, nothing, a status, or a value or status.
///
/// An accepted job is answered exactly once, whatever happens: with what its function returned; with Internal if it
/// threw; with DeadlineExceeded if its time was up, in the queue or while it ran; with Cancelled if it was cancelled
/// before it started, or its pool shut down; with Aborted if it made room for a newer one; with ResourceExhausted if
/// `CodelOptions` let the pool shed it. A function that returns just when its time is up may still be heard. When the
/// answer is there, the pool has counted it, and the function is destroyed unless it still runs past its time.
///
/// An answer that the pool gives in place of a function's says in a payload `type.penstock/stage` how far the job had
/// come: "queue", "run" or "shutdown". "enqueue" is that of a submission for which there was no place.
///
/// Dropping the handle lets the job run on. The handle may outlive the pool.
///
/// Threads: one owner; waiting and the job's end may race.
template <class R>
class [[nodiscard]] Job {
 public:
  /// `absl::StatusOr<T>` where `R` is `T` or `absl::StatusOr<T>`; `absl::Status` where it is that or void.
  using Answer = typename detail::JobTraits<R>::Answer;

  /// Refers to no job: it is done, its id is 0, and its answer is InvalidArgument.
  Job() noexcept = default;
  Job(Job&& other) noexcept : job_(std::exchange(other.job_, nullptr)) {}
  Job& operator=(Job&& other) noexcept {
    std::swap(job_, other.job_);
    return *this;
  }
  ~Job() {
    if (job_ != nullptr) job_->release();
  }

  /// Waits for the answer and takes it. A value can be taken once, afterwards this returns FailedPrecondition.
  ///
  /// Blocks:  until the job is answered or `ctx` ends; in that case the job goes on, and so may a later wait.
  /// Returns: the answer; DeadlineExceeded or Cancelled with a text that says that the job was not finished;
  ///          FailedPrecondition in a worker of the job's own pool, unless that helps (`InsideWait`).
  /// Order:   what the function did is visible, unless it still runs past its time.
  Answer get(const Context& ctx = Context::background()) { return take(wait(ctx)); }

  /// Waits for the answer and leaves it where it is.
  ///
  /// Returns: kOk, kTimedOut or kCancelled; kFull in a worker of the job's own pool, unless that helps: all of them
  ///          could be in such waits.
  OpStatus wait(const Context& ctx = Context::background()) {
    return job_ == nullptr ? OpStatus::kOk : job_->wait(ctx);
  }

  /// `co_await job.async_get(ctx)`: what `get(ctx)` does, for a coroutine. The handle must stay where it is.
  auto async_get(const Context& ctx = Context::background()) noexcept { return Awaiter(*this, ctx); }
  auto operator co_await() noexcept { return Awaiter(*this, Context::background()); }

  /// Has `function(answer)` called on `executor`, for example a pool, once the job is answered, and returns the end of
  /// that call: its value or its exception. The handle is used up. `job.then(pool, f)` needs no coroutine and holds no
  /// thread; where there is one, `co_await job` says the same.
  ///
  /// It happens whatever becomes of the job, which may be refused its start by a shutdown: then that is the answer.
  /// Dropping what is returned changes nothing, but an exception of `function` that nobody can see any more goes to
  /// `executor.on_exception`. So the executor outlives the call and its end; a pool is destroyed after its jobs and
  /// those of other pools that continue on it.
  ///
  /// Throws: std::bad_alloc; the job runs on without a handle then. Cost: two allocations, two posts to `executor`.
  template <class F>
  auto then(Executor& executor, F function) && {
    using Result = std::invoke_result_t<F, Answer>;
    return spawn(executor, run_then<Result>(std::move(*this), std::move(function)));
  }

  /// Calls the job off. One that has not started never will, and is answered when this returns. One that runs is asked
  /// to stop through its `JobContext`, if its function takes one, and is answered when it has returned.
  ///
  /// Returns: whether this was the first wish to stop it, and came in time.
  bool cancel() noexcept { return job_ != nullptr && job_->cancel(); }

  /// The number of the job among those its pool has accepted, from `WorkerPoolOptions::first_job_id`. It stays the same
  /// in a pool that takes the job over.
  [[nodiscard]] std::uint64_t id() const noexcept { return job_ == nullptr ? 0 : job_->id(); }

  /// Whether the answer is there.
  [[nodiscard]] bool is_done() const noexcept { return job_ == nullptr || job_->is_done(); }

 private:
  friend struct detail::JobAccess;
  using State = detail::ResultJob<typename detail::JobTraits<R>::Value>;

  class Awaiter : public detail::JobWait {
   public:
    Awaiter(Job& job, const Context& ctx) noexcept : JobWait(job.job_, ctx), owner_(job) {}
    Answer await_resume() { return owner_.take(end()); }

   private:
    Job& owner_;
  };

  template <class Result, class F>
  static Task<Result> run_then(Job job, F function) {
    Answer answer = co_await job;
    co_return std::invoke(std::move(function), std::move(answer));
  }

  explicit Job(State& job) noexcept : job_(&job) {}

  Answer take(OpStatus waited) {
    if (job_ == nullptr) return absl::InvalidArgumentError("job: the handle refers to no job");
    if (waited != OpStatus::kOk) return job_->unfinished(waited);
    return job_->take();
  }

  State* job_ = nullptr;
};

/// How a job is to be treated.
struct SubmitOptions {
  /// Until when the caller waits, for a place, for the start and for the answer; and who may call that off. A context
  /// on another clock than the pool's works, but costs allocations unless it is one that never ends.
  Context context = Context::background();
  /// In place of the pool's policy.
  std::optional<OverflowPolicy> overflow = std::nullopt;
  /// What the job is called in reports; for example its route or model.
  std::string tag = {};
  /// In place of the pool's. Counted from the start of the job; positive.
  std::optional<Duration> processing_timeout = std::nullopt;
  /// In place of the pool's, if shorter. Counted from the acceptance; positive.
  std::optional<Duration> queue_wait_limit = std::nullopt;
  /// In place of the pool's, for kBlock; at least 0.
  std::optional<Duration> enqueue_timeout = std::nullopt;
  /// The larger, the more urgent, from kLowestPriority to kHighestPriority; for QueueDiscipline::kPriority. `submit`
  /// refuses others; `try_submit` and `execute`, which give no reasons, take the nearest one.
  int priority = 0;
  /// In front of all queued jobs of its priority that were submitted without this, under every discipline; of several
  /// such jobs the discipline chooses. For another attempt of what has waited before. It waits for its place behind
  /// whoever waits for one already, and is given up for a newer one (kDropOldest) when no other of its priority is
  /// left.
  bool front = false;
  /// Which attempt of a call this job is, from 1, and what all attempts of the call have in common: 0 for the job's own
  /// id. Told to the function and to observers; nothing else depends on it.
  std::uint32_t attempt = 1;
  std::uint64_t call_id = 0;

  /// Whether anything but the order of the jobs and what matters before the acceptance differs from the defaults.
  [[nodiscard]] bool has_terms() const noexcept {
    return context.can_end() || !tag.empty() || processing_timeout || queue_wait_limit || attempt != 1 || call_id != 0;
  }
};

}  // namespace penstock::inline PENSTOCK_ABI
