// SPDX-License-Identifier: MIT
#include "penstock/exec/detail/pool_core.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "penstock/exec/detail/pool_text.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

// A pool that resumes coroutines all the time still starts a job now and then.
constexpr std::size_t kMaxPostedInARow = 16;

struct InnermostTag {};

const Activation*& innermost() noexcept { return world::thread_local_value<InnermostTag, const Activation*>(); }

}  // namespace

void JobList::push(JobState& job) noexcept {
  job.next_ = nullptr;
  job.previous_ = last_;
  (last_ == nullptr ? first_ : last_->next_) = &job;
  last_ = &job;
  ++size_;
}

void JobList::remove(JobState& job) noexcept {
  (job.previous_ == nullptr ? first_ : job.previous_->next_) = job.next_;
  (job.next_ == nullptr ? last_ : job.next_->previous_) = job.previous_;
  --size_;
}

void EndedJobs::push(JobState& job) noexcept {
  job.ended_next_ = nullptr;
  (last_ == nullptr ? first_ : last_->ended_next_) = &job;
  last_ = &job;
  ++size_;
}

JobState* EndedJobs::pop() noexcept {
  JobState* const job = first_;
  if (job != nullptr) {
    first_ = job->ended_next_;
    if (first_ == nullptr) last_ = nullptr;
    --size_;
  }
  return job;
}

Activation::Activation(const PoolCore& doing_for, bool is_worker, std::size_t counts) noexcept
    : pool(&doing_for), worker(is_worker), weight(counts), outer(innermost()) {
  innermost() = this;
}

Activation::~Activation() { innermost() = outer; }

const Activation* Activation::current() noexcept { return innermost(); }

PoolCore::PoolCore(WorkerPoolOptions options)
    : options_(std::move(options)), clock_(*options_.clock), overflow_(options_.overflow) {}

bool PoolCore::on_worker_thread() const noexcept {
  for (const Activation* at = innermost(); at != nullptr; at = at->outer) {
    if (at->pool == this && at->worker) return true;
  }
  return false;
}

bool PoolCore::is_inside() const noexcept {
  for (const Activation* at = innermost(); at != nullptr; at = at->outer) {
    if (at->pool == this && (at->worker || at->weight != 0)) return true;
  }
  return false;
}

void PoolCore::set_overflow(OverflowPolicy policy) {
  MutexLock lock(mutex_);
  overflow_ = policy;
}

// --- jobs ---

JobState::Stop PoolCore::take_back(JobState& job, EndedJobs& ended, WakeList& wake) noexcept {
  MutexLock lock(mutex_);
  if (job.phase_ == JobState::Phase::kQueued) {
    end_queued(job, Ending::kCancelled, clock_.now(), ended);
    grant_places(wake);
    return JobState::Stop::kEnded;
  }
  if (job.phase_ == JobState::Phase::kDecided) return JobState::Stop::kDone;
  return std::exchange(job.stop_asked_, true) ? JobState::Stop::kAskedBefore : JobState::Stop::kAsked;
}

void PoolCore::end_queued(JobState& job, Ending ending, TimePoint now, EndedJobs& ended) noexcept {
  queue_.remove(job);
  decide(job, ending, now, ended);
}

void PoolCore::decide(JobState& job, Ending ending, TimePoint now, EndedJobs& ended) noexcept {
  job.phase_ = JobState::Phase::kDecided;
  job.ending_ = ending;
  job.ended_at_ = now;
  switch (ending) {
    case Ending::kCancelled:
      ++counts_.cancelled;
      break;
    case Ending::kQueueExpired:
      ++counts_.queue_expired;
      break;
    case Ending::kEvicted:
      ++counts_.dropped_oldest;
      break;
    case Ending::kAbandoned:
      ++counts_.abandoned;
      break;
    case Ending::kRunExpired:
      ++counts_.processing_timeouts;
      --counts_.running;
      ++counts_.overdue;
      job.retain();  // the pool's share stays with the thread that runs it
      break;
    case Ending::kNone:
      break;
  }
  ++settling_;
  ended.push(job);
}

TimePoint PoolCore::expire(TimePoint now, EndedJobs& ended) noexcept {
  TimePoint earliest = TimePoint::max();
  for (JobState* job = queue_.front(); job != nullptr;) {
    JobState* const next = JobList::next(*job);
    if (job->expires_at_ <= now) {
      end_queued(*job, Ending::kQueueExpired, now, ended);
    } else {
      earliest = std::min(earliest, job->expires_at_);
    }
    job = next;
  }
  for (JobState* job = executing_jobs_.front(); job != nullptr; job = JobList::next(*job)) {
    if (job->phase_ != JobState::Phase::kRunning) continue;
    if (job->expires_at_ <= now) {
      decide(*job, Ending::kRunExpired, now, ended);
    } else {
      earliest = std::min(earliest, job->expires_at_);
    }
  }
  return earliest;
}

void PoolCore::settle(EndedJobs& ended) noexcept {
  const std::size_t count = ended.size();
  const Activation here(*this, false, count);
  while (JobState* const job = ended.pop()) {
    absl::Status answer = describe(*job);
    if (job->ending_ != Ending::kRunExpired) {
      job->unhook();
      try {
        job->destroy_function();
      } catch (...) {
        report(std::current_exception(), job);
      }
    }
    job->publish(std::move(answer));
    job->release();
  }
  WakeList wake;
  {
    MutexLock lock(mutex_);
    settling_ -= count;
    claim_closers(wake);
  }
  wake.wake_all();
}

absl::Status PoolCore::describe(const JobState& job) const noexcept {
  absl::StatusCode code = absl::StatusCode::kInternal;
  try {
    const std::string subject = fmt::format("worker pool '{}': job {}", options_.name, job.id_);
    const std::string waited = duration_text(job.ended_at_ - job.enqueued_at_);
    switch (job.ending_) {
      case Ending::kCancelled: {
        const absl::Status cause = job.context_.cause();
        code = absl::IsDeadlineExceeded(cause) ? cause.code() : absl::StatusCode::kCancelled;
        return with_stage(
            absl::Status(code, fmt::format("{} cancelled in the queue after {}{}{}", subject, waited,
                                           cause.message().empty() ? "" : ": ",
                                           fmt::string_view(cause.message().data(), cause.message().size()))),
            "queue");
      }
      case Ending::kQueueExpired:
        code = absl::StatusCode::kDeadlineExceeded;
        return with_stage(absl::Status(code, fmt::format("{} expired in the queue after {} ({})", subject, waited,
                                                         job.expires_at_ == job.context_.deadline()
                                                             ? std::string("the caller's deadline")
                                                             : "limit " + duration_text(options_.queue_wait_limit))),
                          "queue");
      case Ending::kEvicted:
        code = absl::StatusCode::kAborted;
        return with_stage(absl::Status(code, fmt::format("{} dropped for a newer one after {} in the queue "
                                                         "(capacity {})",
                                                         subject, waited, options_.queue_capacity)),
                          "queue");
      case Ending::kAbandoned:
        code = absl::StatusCode::kCancelled;
        return with_stage(
            absl::Status(code, fmt::format("{} cancelled by shutdown after {} in the queue", subject, waited)),
            "shutdown");
      case Ending::kRunExpired:
        code = absl::StatusCode::kDeadlineExceeded;
        return with_stage(absl::Status(code, fmt::format("{} not finished after running for {} ({})", subject,
                                                         duration_text(job.ended_at_ - job.started_at_),
                                                         job.expires_at_ == job.context_.deadline()
                                                             ? std::string("the caller's deadline")
                                                             : "limit " + duration_text(job.processing_timeout_))),
                          "run");
      case Ending::kNone:
        break;
    }
    return absl::InternalError(subject + ": ended for no reason");
  } catch (...) {
    return absl::Status(code, {});  // no memory for the text
  }
}

// --- what follows from a change ---

bool PoolCore::job_is_next() const noexcept {
  if (queue_.front() == nullptr) return false;
  return posted_.empty() || posted_in_a_row_ >= kMaxPostedInARow || is_promised();
}

void PoolCore::grant_places(WakeList& wake) noexcept {
  while (!blocked_.empty() && has_place()) {
    WaitNode* const node = blocked_.claim_first();
    if (node == nullptr) return;
    ++reserved_;
    wake.push(*node);
  }
}

void PoolCore::claim_idle(WakeList& wake) noexcept {
  if (WaitNode* const node = idle_.claim_first()) wake.push(*node);
}

void PoolCore::watch_from(TimePoint when, WakeList& wake) noexcept {
  if (when >= watched_until_) return;
  watched_until_ = when;
  if (WaitNode* const node = watching_.claim_first()) wake.push(*node);
}

void PoolCore::claim_closers(WakeList& wake) noexcept {
  if (closed_ && executing_ + settling_ + submitting_ <= inside_weight_) closers_.claim_all(Waiter::kServed, wake);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
