// SPDX-License-Identifier: MIT
#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/core/failure_stage.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/option_text.hpp"
#include "penstock/exec/detail/pool_locks.hpp"
#include "penstock/exec/detail/pool_text.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

struct InnermostTag {};

const Activation*& innermost() noexcept { return world::thread_local_value<InnermostTag, const Activation*>(); }

bool is_choosy(const WorkerPoolOptions& options) noexcept {
  return options.codel || options.dispatch == DispatchMode::kRoundRobin;
}

JobOutcome outcome_of(Count count) noexcept {
  switch (count) {
    case Count::kSucceeded:
      return JobOutcome::kSucceeded;
    case Count::kFailed:
      return JobOutcome::kFailed;
    case Count::kPanicked:
      return JobOutcome::kPanicked;
    case Count::kCancelled:
      return JobOutcome::kCancelled;
    case Count::kLate:
      return JobOutcome::kProcessingTimeout;
    case Count::kReturned:
      break;
  }
  return JobOutcome::kNone;
}

JobOutcome outcome_of(Ending ending) noexcept {
  switch (ending) {
    case Ending::kCancelled:
      return JobOutcome::kCancelled;
    case Ending::kQueueExpired:
      return JobOutcome::kQueueExpired;
    case Ending::kEvicted:
      return JobOutcome::kDroppedOldest;
    case Ending::kShed:
      return JobOutcome::kShed;
    case Ending::kAbandoned:
      return JobOutcome::kAbandoned;
    case Ending::kRunExpired:
      return JobOutcome::kProcessingTimeout;
    case Ending::kRefused:
    case Ending::kNone:
      break;
  }
  return JobOutcome::kNone;
}

}  // namespace

Activation::Activation(const PoolCore& doing_for, std::size_t id, std::size_t counts) noexcept
    : pool(&doing_for), worker_id(id), weight(counts), outer(innermost()) {
  innermost() = this;
}

Activation::~Activation() { innermost() = outer; }

const Activation* Activation::current() noexcept { return innermost(); }

PoolCore::PoolCore(WorkerPoolOptions options)
    : options_(std::move(options)),
      clock_(*options_.clock),
      lag_(is_timed() || options_.codel ? Duration::zero() : clock_.recent_lag()),
      wait_limit_(lagged(options_.queue_wait_limit)),
      run_limit_(lagged(options_.processing_timeout)),
      process_(fork_generation()),
      detour_(is_choosy(options_) ? std::uint32_t{kChoosy} : 0),
      overflow_(options_.overflow),
      capacity_(options_.queue_capacity),
      queue_(options_.discipline, wait_limit_),
      throughput_(clock_.now()) {
  entered_ = left_seen_ = entered_when_full_ = options_.first_job_id - 1;
  left_.store(entered_, std::memory_order_relaxed);
  if (options_.codel) codel_.emplace(*options_.codel);
  if (options_.measure) times_.emplace();
}

Duration PoolCore::lagged(Duration limit) const noexcept {
  return limit > Duration::max() - lag_ ? Duration::max() : limit + lag_;
}

/// The calling thread's; kCallerThread if it is no worker of this pool. Looks at the pool's address alone.
std::size_t PoolCore::own_worker_id() const noexcept {
  for (const Activation* at = innermost(); at != nullptr; at = at->outer) {
    if (at->pool == this && at->worker_id != kCallerThread) return at->worker_id;
  }
  return kCallerThread;
}

bool PoolCore::is_inside() const noexcept {
  for (const Activation* at = innermost(); at != nullptr; at = at->outer) {
    if (at->pool == this && (at->worker_id != kCallerThread || at->weight != 0)) return true;
  }
  return false;
}

// --- endings ---

AnsweredJob::Stop PoolCore::take_back(AnsweredJob& job, EndedJobs& ended, WakeList& wake) noexcept {
  if (is_forked()) return AnsweredJob::Stop::kDone;
  const TimePoint now = time();
  Both lock(*this);
  if (!is_mine(job)) return AnsweredJob::Stop::kElsewhere;
  switch (job.state_.load(std::memory_order_relaxed)) {
    case JobState::State::kQueued:
      take_in();
      end_queued(job, Ending::kCancelled, ended);
      grant_places(now, wake);
      return AnsweredJob::Stop::kEnded;
    case JobState::State::kOverdue:
    case JobState::State::kDecided:
      return AnsweredJob::Stop::kDone;
    case JobState::State::kNew:
    case JobState::State::kRunning:
      break;
  }
  return std::exchange(job.stop_asked_, true) ? AnsweredJob::Stop::kAskedBefore : AnsweredJob::Stop::kAsked;
}

void PoolCore::end_queued(JobState& job, Ending ending, EndedJobs& ended) noexcept {
  take_out(job);
  decide(job, ending, ended);
}

void PoolCore::end_expired(TimePoint now, EndedJobs& ended) noexcept {
  while (ended.size() != kMostEnded) {
    JobState* const job = queue_.expired(now);
    if (job == nullptr) return;
    end_queued(*job, Ending::kQueueExpired, ended);
  }
}

void PoolCore::decide(JobState& job, Ending ending, EndedJobs& ended) noexcept {
  job.state_.store(JobState::State::kDecided, std::memory_order_relaxed);
  job.ending_ = ending;
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
    case Ending::kShed:
      ++counts_.shed;
      break;
    case Ending::kAbandoned:
      ++counts_.abandoned;
      break;
    case Ending::kRefused:
      ++counts_.refused_closed;
      break;
    case Ending::kRunExpired:
    case Ending::kNone:
      break;
  }
  ++settling_;
  ended.push(job);
}

void PoolCore::wake_all(WakeList& list, std::size_t owed, const JobState* job) const noexcept {
  Activation here(*this, kCallerThread, owed);
  here.job = job;
  list.wake_all();
}

void PoolCore::settle_taken(EndedJobs& ended, WakeList& wake) noexcept {
  wake_all(wake, ended.size());
  settle(ended);
}

void PoolCore::settle(EndedJobs& ended) noexcept {
  const std::size_t count = ended.size();
  const Activation here(*this, kCallerThread, count);
  const TimePoint now = clock_.now();
  while (JobState* const job = ended.pop()) {
    absl::Status answer;
    const bool runs_on = job->ending_ == Ending::kRunExpired;
    if (!job->plain_ || options_.observer != nullptr) answer = describe(*job, now);
    if (!runs_on) {
      if (!job->plain_) static_cast<AnsweredJob*>(job)->unhook();
      try {
        job->destroy_function();
      } catch (...) {
        report(std::current_exception(), job);
      }
      if (options_.observer != nullptr && job->ending_ != Ending::kRefused) {
        if (job->unannounced_) observe_submit(*job);
        tell_observer([&](PoolObserver& observer) {
          JobEvent dropped = event(*job, kCallerThread, now, job->enqueued_at_);
          dropped.code = answer.code();
          dropped.outcome = outcome_of(job->ending_);
          observer.on_drop(dropped);
        });
      }
    }
    if (!job->plain_) static_cast<AnsweredJob*>(job)->publish(std::move(answer));
    job->release();
  }
  WakeList wake;
  {
    Both lock(*this);
    settling_ -= count;
    claim_closers(wake);
  }
  wake.wake_all();
}

absl::Status PoolCore::describe(const JobState& job, TimePoint now) const noexcept {
  absl::StatusCode code = absl::StatusCode::kInternal;
  try {
    const std::string subject = fmt::format("worker pool '{}': job {}", options_.name, job.id_);
    const std::string waited = duration_text(std::max(now - job.enqueued_at_, Duration::zero()));
    const JobTerms* const terms = job.terms();
    const bool is_callers = terms != nullptr && job.expires_at(wait_limit_) == terms->context.deadline();
    switch (job.ending_) {
      case Ending::kCancelled: {
        const absl::Status cause = terms == nullptr ? absl::CancelledError() : terms->context.cause();
        code = absl::IsDeadlineExceeded(cause) ? cause.code() : absl::StatusCode::kCancelled;
        return with_failure_stage(
            absl::Status(code, fmt::format("{} cancelled in the queue after {}{}{}", subject, waited,
                                           cause.message().empty() ? "" : ": ", text_of(cause))),
            "queue");
      }
      case Ending::kQueueExpired: {
        code = absl::StatusCode::kDeadlineExceeded;
        const Duration limit =
            terms == nullptr ? options_.queue_wait_limit : terms->wait_limit(options_.queue_wait_limit);
        return with_failure_stage(
            absl::Status(
                code, fmt::format("{} expired in the queue after {} ({})", subject, waited,
                                  is_callers ? std::string("the caller's deadline") : "limit " + duration_text(limit))),
            "queue");
      }
      case Ending::kEvicted:
        code = absl::StatusCode::kAborted;
        return with_failure_stage(absl::Status(code, fmt::format("{} dropped for a newer one after {} in the queue "
                                                                 "(capacity {})",
                                                                 subject, waited, capacity())),
                                  "queue");
      case Ending::kShed:
        code = absl::StatusCode::kResourceExhausted;
        return with_failure_stage(absl::Status(code, fmt::format("{} shed after {} in the queue (target {})", subject,
                                                                 waited, duration_text(options_.codel->target))),
                                  "queue");
      case Ending::kAbandoned:
        code = absl::StatusCode::kCancelled;
        return with_failure_stage(
            absl::Status(code, fmt::format("{} cancelled by shutdown after {} in the queue", subject, waited)),
            "shutdown");
      case Ending::kRunExpired: {
        code = absl::StatusCode::kDeadlineExceeded;
        const Duration limit =
            terms == nullptr ? options_.processing_timeout : terms->run_limit(options_.processing_timeout);
        const bool is_past_callers = terms != nullptr && terms->context.deadline() <= now;
        return with_failure_stage(
            absl::Status(code, fmt::format("{} not finished after running for {} ({})", subject,
                                           duration_text(now - static_cast<const AnsweredJob&>(job).expires_at_),
                                           is_past_callers ? std::string("the caller's deadline")
                                                           : "limit " + duration_text(limit))),
            "run");
      }
      case Ending::kRefused:
        code = absl::StatusCode::kUnavailable;
        return describe(Refusal::kClosed, Context::background(), Duration::zero());
      case Ending::kNone:
        break;
    }
    return absl::InternalError(subject + ": ended for no reason");
  } catch (...) {
    return absl::Status(code, {});  // no memory for the text
  }
}

absl::Status PoolCore::describe_exception(const JobState& job, const std::exception_ptr& exception) const noexcept {
  try {
    return absl::InternalError(
        fmt::format("worker pool '{}': job {} threw {}", options_.name, job.id_, exception_text(exception)));
  } catch (...) {
    return absl::InternalError({});  // no memory for the text
  }
}

// --- who is told ---

void PoolCore::report(const std::exception_ptr& exception, const JobState* job) noexcept {
  exceptions_.fetch_add(1, std::memory_order_relaxed);
  if (!options_.on_exception) return;
  try {
    const std::string text = exception_text(exception);
    options_.on_exception(CaughtException{options_.name, job == nullptr ? 0 : job->id_,
                                          job == nullptr ? std::string_view() : tag_of(*job), text, exception,
                                          own_worker_id()});
  } catch (...) {
    // The hook is the last one to tell: there is nobody left to hear about its own failure.
    exceptions_.fetch_add(1, std::memory_order_relaxed);
  }
}

std::string_view PoolCore::tag_of(const JobState& job) noexcept {
  const JobTerms* const terms = job.terms();
  return terms == nullptr ? std::string_view() : std::string_view(terms->tag);
}

std::uint64_t PoolCore::call_of(const JobState& job) noexcept {
  const JobTerms* const terms = job.terms();
  return terms == nullptr || terms->call_id == 0 ? job.id_ : terms->call_id;
}

JobEvent PoolCore::event(const JobState& job, std::size_t worker_id, TimePoint at, TimePoint since) const noexcept {
  JobEvent event{options_.name, job.id_, tag_of(job), at, worker_id, since};
  if (const JobTerms* const terms = job.terms()) event.attempt = terms->attempt;
  event.call_id = call_of(job);
  return event;
}

void PoolCore::observe_submit(const JobState& job) noexcept {
  if (options_.observer == nullptr) return;
  tell_observer([&](PoolObserver& observer) {
    observer.on_submit(event(job, kCallerThread, job.enqueued_at_, job.enqueued_at_));
  });
}

void PoolCore::observe_end(const Runner& runner, const absl::Status& status, Count outcome, TimePoint now) noexcept {
  // Looked at, not decided: while the observer takes its time, that of the job goes on.
  const bool late = runner.job->state_.load(std::memory_order_relaxed) == JobState::State::kOverdue;
  tell_observer([&](PoolObserver& observer) {
    JobEvent ended = event(*runner.job, runner.worker_id, now, runner.started_at);
    ended.code = status.code();
    ended.outcome = outcome_of(late ? Count::kLate : outcome);
    observer.on_finish(ended);
  });
}

void PoolCore::tell_state(PoolState state) noexcept {
  if (options_.observer == nullptr) return;
  tell_observer([&](PoolObserver& observer) { observer.on_state(options_.name, state, clock_.now()); });
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
