// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Many jobs that are waited for together.

#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/op_status.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/detail/job_group_core.hpp"
#include "penstock/exec/job.hpp"
#include "penstock/exec/worker_pool.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// Jobs with one type of result, in one pool or several, that are waited for together: for all of them, or for the
/// first that fails.
///
///     JobGroup<Response> group;
///     for (const Request& request : batch) group.submit(pool, [&request] { return call(request); });
///     absl::StatusOr<std::vector<absl::StatusOr<Response>>> answers = group.wait_all(ctx);
///
/// A refusal is an answer, too: whatever is submitted has a place among the answers. No thread polls: each job that is
/// answered counts itself down, and the one that matters wakes who waits.
///
/// Threads: one owner; waiting and the ends of the jobs may race. A job does not use the group it is in.
template <class R>
class JobGroup {
 public:
  using Answer = typename Job<R>::Answer;

  struct Options {
    /// Whether `first_error` cancels the jobs that are not answered when one has failed.
    bool cancel_on_error = true;
    /// Whether the destructor waits for the answers of the jobs that it cancels. Those that a function still gives to
    /// what the group's owner is about to destroy need that. A worker of such a job's pool does not wait, unless that
    /// helps.
    bool wait_at_end = false;
  };

  JobGroup() : JobGroup(Options()) {}
  explicit JobGroup(Options options) : options_(options), core_(new detail::JobGroupCore) {}
  /// Cancels what is not answered; that may still run when this returns.
  ~JobGroup();
  JobGroup(const JobGroup&) = delete;
  JobGroup& operator=(const JobGroup&) = delete;

  /// `pool.submit(function, options)`, whose job joins the group. The function returns an `R`.
  ///
  /// Blocks:  as that does. Returns: whether the job was accepted; if not, why is its answer.
  /// Throws:  as that does; nothing was submitted then. Cost: one allocation more than that.
  template <class F>
  bool submit(WorkerPool& pool, F&& function, SubmitOptions options = {});

  /// Lets a job join that was submitted elsewhere, or the refusal of one. Returns whether it is a job.
  /// Throws: std::bad_alloc; the job runs on without a handle then.
  bool add(absl::StatusOr<Job<R>> job);

  /// Waits for all answers and takes them, in the order of the submissions. The group is as new afterwards.
  ///
  /// Blocks:  until the last job is answered or `ctx` ends; in that case nothing is taken, and all goes on.
  /// Returns: the answers; DeadlineExceeded or Cancelled; FailedPrecondition in a worker of the pool of one of the
  ///          jobs, unless that helps (`InsideWait`).
  absl::StatusOr<std::vector<Answer>> wait_all(const Context& ctx = Context::background());

  /// `co_await group.async_wait_all(ctx)`: what `wait_all` does, for a coroutine. The group must stay where it is.
  Task<absl::StatusOr<std::vector<Answer>>> async_wait_all(Context ctx = Context::background());

  /// Waits until one job has failed or all have succeeded. Then cancels the others, unless the options say otherwise.
  /// All answers stay where they are, for `wait_all`.
  ///
  /// Blocks:  until then, or until `ctx` ends; in that case all goes on.
  /// Returns: OK, or the answer of the job that has failed first, in time; refusals count. If `ctx` has ended first or
  ///          the wait is refused, as `wait_all`, with a text that begins with "job group:".
  absl::Status first_error(const Context& ctx = Context::background());

  /// `co_await group.async_first_error(ctx)`: what `first_error` does, for a coroutine; one that runs on the pool of a
  /// job is not refused, since it holds no worker. The group must stay where it is.
  Task<absl::Status> async_first_error(Context ctx = Context::background());

  /// Cancels the jobs that are not answered, and returns for how many of them that came in time (`Job::cancel`). The
  /// newest first: so one that is queued behind others of the group does not start in their place meanwhile.
  std::size_t cancel() noexcept;

  /// Jobs and refusals since the last `wait_all`.
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  /// Jobs of them that are not answered.
  [[nodiscard]] std::size_t pending() const noexcept { return core_->pending(); }

 private:
  using Event = detail::JobGroupCore::Event;

  struct Entry {
    Job<R> job;  // of none if it was refused
    absl::Status refusal;
    detail::GroupMember* member;
  };

  /// A place at the end, which goes again unless it is filled.
  class Place {
   public:
    explicit Place(JobGroup& group) : group_(group) {
      group.entries_.push_back({Job<R>(), absl::OkStatus(), nullptr});
      try {
        group.entries_.back().member = new detail::GroupMember(*group.core_, group.entries_.size() - 1);
      } catch (...) {
        group.entries_.pop_back();
        throw;
      }
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() {
      if (filled_) return;
      group_.entries_.back().member->discard();
      group_.entries_.pop_back();
    }
    bool fill(absl::StatusOr<Job<R>> job) noexcept;

   private:
    JobGroup& group_;
    bool filled_ = false;
  };

  OpStatus wait(Event event, const Context& ctx);
  absl::Status unfinished(OpStatus status) const {
    return detail::unfinished_group(status, core_->pending(), entries_.size());
  }
  std::vector<Answer> take_all();
  absl::Status tell_first_error();
  void let_go() noexcept;

  const Options options_;
  detail::JobGroupCore* const core_;
  std::vector<Entry> entries_;
};

// --- implementation ---

template <class R>
JobGroup<R>::~JobGroup() {
  cancel();
  if (options_.wait_at_end) static_cast<void>(wait(Event::kAll, Context::background()));
  let_go();
  core_->release();
}

template <class R>
template <class F>
bool JobGroup<R>::submit(WorkerPool& pool, F&& function, SubmitOptions options) {
  static_assert(std::is_same_v<detail::JobOf<F>, Job<R>>, "the jobs of a group have one type of result");
  Place place(*this);
  return place.fill(pool.submit(std::forward<F>(function), std::move(options)));
}

template <class R>
bool JobGroup<R>::add(absl::StatusOr<Job<R>> job) {
  Place place(*this);
  return place.fill(std::move(job));
}

template <class R>
bool JobGroup<R>::Place::fill(absl::StatusOr<Job<R>> job) noexcept {
  filled_ = true;
  Entry& entry = group_.entries_.back();
  detail::AnsweredJob* const state = job.ok() ? detail::JobAccess::state(*job) : nullptr;
  if (state == nullptr) {
    entry.refusal = job.ok() ? absl::InvalidArgumentError("job: the handle refers to no job") : job.status();
    entry.member->refuse();
    return false;
  }
  entry.job = *std::move(job);
  entry.member->listen(*state);
  return true;
}

template <class R>
OpStatus JobGroup<R>::wait(Event event, const Context& ctx) {
  for (Entry& entry : entries_) {
    if (core_->has_come(event)) return OpStatus::kOk;
    detail::AnsweredJob* const job = detail::JobAccess::state(entry.job);
    if (job != nullptr && !job->may_wait()) return OpStatus::kFull;
  }
  return core_->wait(event, ctx);
}

template <class R>
auto JobGroup<R>::wait_all(const Context& ctx) -> absl::StatusOr<std::vector<Answer>> {
  if (const OpStatus status = wait(Event::kAll, ctx); status != OpStatus::kOk) return unfinished(status);
  return take_all();
}

template <class R>
auto JobGroup<R>::async_wait_all(Context ctx) -> Task<absl::StatusOr<std::vector<Answer>>> {
  const OpStatus status = co_await detail::GroupWait(*core_, Event::kAll, ctx);
  if (status != OpStatus::kOk) co_return unfinished(status);
  co_return take_all();
}

template <class R>
absl::Status JobGroup<R>::first_error(const Context& ctx) {
  if (const OpStatus status = wait(Event::kErrorOrAll, ctx); status != OpStatus::kOk) return unfinished(status);
  return tell_first_error();
}

template <class R>
auto JobGroup<R>::async_first_error(Context ctx) -> Task<absl::Status> {
  const OpStatus status = co_await detail::GroupWait(*core_, Event::kErrorOrAll, ctx);
  if (status != OpStatus::kOk) co_return unfinished(status);
  co_return tell_first_error();
}

/// When it has come: cancels the rest.
template <class R>
absl::Status JobGroup<R>::tell_first_error() {
  const std::optional<std::size_t> failed = core_->first_failed();
  if (!failed) return absl::OkStatus();
  if (options_.cancel_on_error) cancel();
  const Entry& entry = entries_[*failed];
  const detail::AnsweredJob* const job = detail::JobAccess::state(entry.job);
  return job == nullptr ? entry.refusal : job->answer();
}

template <class R>
std::size_t JobGroup<R>::cancel() noexcept {
  std::size_t cancelled = 0;
  for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) cancelled += entry->job.cancel() ? 1 : 0;
  return cancelled;
}

template <class R>
auto JobGroup<R>::take_all() -> std::vector<Answer> {
  std::vector<Answer> answers;
  answers.reserve(entries_.size());  // what can fail for lack of memory comes before the first value is taken
  for (Entry& entry : entries_) {
    if (entry.refusal.ok()) {
      answers.push_back(entry.job.get());
    } else {
      answers.push_back(entry.refusal);
    }
  }
  let_go();
  entries_.clear();
  core_->start_anew();
  return answers;
}

template <class R>
void JobGroup<R>::let_go() noexcept {
  for (Entry& entry : entries_) entry.member->let_go();
}

}  // namespace penstock::inline PENSTOCK_ABI
