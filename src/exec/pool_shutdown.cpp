// SPDX-License-Identifier: MIT
#include <utility>

#include <fmt/format.h>

#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/exec/detail/pool_text.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

ShutdownReport PoolCore::shutdown(const Context& ctx) {
  // What the calling thread does for the pool itself ends after this call, so it is not waited for.
  std::size_t weight = 0;
  std::size_t worker = 0;
  for (const Activation* at = Activation::current(); at != nullptr; at = at->outer) {
    if (at->pool != this) continue;
    weight += at->weight;
    worker |= at->worker ? 1U : 0U;
  }
  const bool inside = weight + worker != 0;

  std::uint64_t answered_before = 0;
  std::uint64_t abandoned_before = 0;
  WakeList wake;
  {
    MutexLock lock(mutex_);
    closed_ = true;
    answered_before = answered();
    abandoned_before = counts_.abandoned;
    blocked_.claim_all(Waiter::kClosed, wake);
    inside_weight_ += weight;
    inside_workers_ += worker;
    if (inside) closers_.claim_all(Waiter::kServed, wake);  // what the others wait for may be true with us in here
  }
  wake.wake_all();

  bool in_time = true;
  for (bool quiet = false; !quiet && in_time;) {
    Waiter waiter(ctx);
    WaitNode node(waiter, nullptr);
    {
      MutexLock lock(mutex_);
      quiet = is_quiet(inside);
      if (!quiet) closers_.push(node);
    }
    if (!quiet && waiter.wait() < Waiter::kServed) {
      MutexLock lock(mutex_);
      closers_.remove(node);
      in_time = false;
    }
  }
  EndedJobs ended;
  JobState* to_stop = nullptr;
  ShutdownReport report;
  {
    MutexLock lock(mutex_);
    inside_weight_ -= weight;
    inside_workers_ -= worker;
    if (!in_time) {
      list_running(report);
      to_stop = call_off_everything(ended);
    }
    report.in_time = in_time;
    report.cancelled_in_queue = counts_.abandoned - abandoned_before;
    report.completed = answered() - answered_before - report.cancelled_in_queue;
    report.queued = queue_.size();
  }
  if (to_stop != nullptr) ask_to_stop(to_stop);
  if (ended.size() != 0) settle(ended);
  return report;
}

bool PoolCore::is_quiet(bool inside) const noexcept {
  if (!inside) return queue_.front() == nullptr && executing_ + settling_ + submitting_ == 0;
  // A queue that only workers in here could serve is left to them.
  const bool can_drain = inside_workers_ < options_.workers;
  return executing_ + settling_ + submitting_ <= inside_weight_ && (queue_.front() == nullptr || !can_drain);
}

JobState* PoolCore::call_off_everything(EndedJobs& ended) noexcept {
  const TimePoint now = clock_.now();
  while (queue_.front() != nullptr) end_queued(*queue_.front(), Ending::kAbandoned, now, ended);
  JobState* to_stop = nullptr;
  for (JobState* job = executing_jobs_.front(); job != nullptr; job = JobList::next(*job)) {
    if (std::exchange(job->stop_asked_, true)) continue;
    job->retain();
    job->stop_next_ = std::exchange(to_stop, job);
  }
  return to_stop;
}

void PoolCore::ask_to_stop(JobState* jobs) const noexcept {
  absl::Status cause = absl::CancelledError();
  try {
    cause = with_stage(absl::CancelledError(fmt::format("worker pool '{}': shutting down", options_.name)), "shutdown");
  } catch (...) {  // no memory for the text: the bare cause will do
  }
  while (jobs != nullptr) {
    JobState* const job = std::exchange(jobs, jobs->stop_next_);
    job->ask_to_stop(cause);
    job->release();
  }
}

void PoolCore::list_running(ShutdownReport& report) const noexcept {
  const TimePoint now = clock_.now();
  try {
    for (const JobState* job = executing_jobs_.front(); job != nullptr; job = JobList::next(*job)) {
      bool is_callers_own = false;
      for (const Activation* at = Activation::current(); at != nullptr; at = at->outer) {
        is_callers_own = is_callers_own || at->job == job;
      }
      if (!is_callers_own) report.running.push_back({job->id_, job->tag_, now - job->started_at_});
    }
  } catch (...) {  // no memory for all of them: the shutdown goes on, which matters more
  }
}

std::uint64_t PoolCore::answered() const noexcept {
  return counts_.succeeded + counts_.failed + counts_.panicked + counts_.cancelled + counts_.queue_expired +
         counts_.dropped_oldest + counts_.processing_timeouts + counts_.abandoned;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
