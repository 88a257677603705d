// SPDX-License-Identifier: MIT

// Ends. `executing_` counts functions that run, until their thread has come back; `settling_` jobs that somebody else
// has decided and not yet answered; `submitting_` submissions. A shutdown waits until these and the queue are empty.
// Whoever lowers one of them does so as its last use of the pool, and wakes the shutdown through that one's waiter
// alone: the pool may be gone by then.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/exec/detail/pool_locks.hpp"
#include "penstock/exec/detail/pool_survey.hpp"
#include "penstock/exec/detail/pool_text.hpp"
#include "shutdown_cause.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

ShutdownReport PoolCore::shutdown(const Context& ctx) {
  static_cast<void>(Waiter(ctx));  // throws, if waiting is to throw, before anything has happened
  // What the calling thread does for the pool itself ends after this call, so it is not waited for.
  std::size_t weight = 0;
  std::size_t worker = 0;
  for (const Activation* at = Activation::current(); at != nullptr; at = at->outer) {
    if (at->pool != this) continue;
    weight += at->weight;
    worker |= at->worker_id != kCallerThread && at->serves ? 1U : 0U;
  }
  const bool inside = weight + worker != 0;

  std::uint64_t answered_before = 0;
  std::uint64_t abandoned_before = 0;
  bool first = false;
  EndedJobs refused;
  WakeList wake;
  WakeList refused_coroutines;
  {
    Both lock(*this);
    first = !is(kClosed);
    set_detour(kClosed, true);
    set_detour(kPaused, false);  // what was accepted is to be run
    answered_before = answered();
    abandoned_before = counts_.abandoned;
    while (WaitNode* const node = blocked_.front()) {
      blocked_.remove(*node);
      if (!node->waiter->claim(Waiter::kClosed)) continue;
      (node->slot == nullptr ? wake : refused_coroutines).push(*node);
      if (node->slot != nullptr) refuse_waiting(*static_cast<AnsweredJob*>(node->slot), refused);
    }
    set_detour(kBlocked, false);
    inside_weight_ += weight;
    inside_workers_ += worker;
    if (inside) closers_.claim_all(Waiter::kServed, wake);  // what the others wait for may be true with us in here
    pass_on(wake);
  }
  wake.wake_all();
  if (refused.size() != 0) {
    settle(refused);
    refused_coroutines.wake_all();  // they find the answer there
  }
  if (first) tell_state(PoolState::kDraining);

  bool in_time = true;
  for (bool quiet = false; !quiet && in_time;) {
    Waiter waiter(ctx);
    WaitNode node(waiter, nullptr);
    {
      Both lock(*this);
      quiet = is_quiet(inside);
      if (!quiet) closers_.push(node);
    }
    if (!quiet && waiter.wait() < Waiter::kServed) {
      Both lock(*this);
      closers_.remove(node);
      in_time = false;
    }
  }
  ShutdownReport report;
  if (!in_time) {
    list_running(report);
    call_off_everything();
  }
  {
    Both lock(*this);
    inside_weight_ -= weight;
    inside_workers_ -= worker;
    report.in_time = in_time;
    report.cancelled_in_queue = counts_.abandoned - abandoned_before;
    report.completed = answered() - answered_before - report.cancelled_in_queue;
    report.queued = queued();
  }
  return report;
}

bool PoolCore::is_quiet(bool inside) const noexcept {
  if (!inside) return queued() == 0 && executing_ + settling_ + submitting_ == 0;
  const bool can_drain = inside_workers_ < live_ + joining_ + missing();
  if (can_drain) return queued() == 0 && executing_ + settling_ + submitting_ <= inside_weight_;
  // What only workers in here could serve is left to them: the queue, and coroutines that have given up their
  // submission, but may have to be resumed by the pool to say so.
  return executing_ + settling_ + submitting_ - lined_up_ <= inside_weight_;
}

void PoolCore::call_off_everything() noexcept {
  EndedJobs ended;
  for (bool is_more = true; is_more;) {
    Both lock(*this);
    set_detour(kCalledOff, true);  // so that what is being submitted ends, too
    take_in();
    for (std::size_t i = 0; i != kMostEnded && is_more; ++i) {
      JobState* const job = queue_.oldest();
      is_more = job != nullptr;
      if (is_more) end_queued(*job, Ending::kAbandoned, ended);
    }
  }
  const absl::Status cause = shutdown_cause("worker pool", options_.name);
  while (AnsweredJob* const job = next_to_stop()) {
    job->ask_to_stop(cause);
    job->release();
  }
  // The queued ones hear of it last: whoever learns from one that the time is up finds the running ones asked to stop.
  if (ended.size() != 0) settle(ended);
}

/// A running job that has not been asked to stop, and is now; retained for that.
AnsweredJob* PoolCore::next_to_stop() noexcept {
  Both lock(*this);
  for (Runner* runner = runners_; runner != nullptr; runner = runner->next) {
    if (runner->job == nullptr || runner->job->plain_ || std::exchange(runner->job->stop_asked_, true)) continue;
    auto* const job = static_cast<AnsweredJob*>(runner->job);
    job->retain();
    return job;
  }
  return nullptr;
}

void PoolCore::list_running(ShutdownReport& report) const noexcept {
  const auto is_callers_own = [](const JobState* job) {
    for (const Activation* at = Activation::current(); at != nullptr; at = at->outer) {
      if (at->job == job) return true;
    }
    return false;
  };
  try {
    const Survey survey(*this);
    const TimePoint now = clock_.now();
    std::vector<const Survey::Entry*> left;
    for (const Survey::Entry& entry : survey.entries()) {
      if (entry.job != nullptr && !entry.decided && !is_callers_own(entry.job)) left.push_back(&entry);
    }
    std::sort(left.begin(), left.end(), [](const Survey::Entry* a, const Survey::Entry* b) {
      return std::pair(a->started_at, a->job_id) < std::pair(b->started_at, b->job_id);
    });
    report.running.reserve(left.size());
    for (const Survey::Entry* one : left) {
      report.running.push_back({one->job_id, std::string(Survey::tag_of(*one)), now - one->started_at});
    }
  } catch (...) {  // no memory for all of them: the shutdown goes on, which matters more
  }
}

std::uint64_t PoolCore::tallied(Count which) const noexcept {
  std::uint64_t sum = others_.value(which) + gone_.value(which);
  for (const Runner* runner = runners_; runner != nullptr; runner = runner->next) {
    if (runner->is_worker) sum += runner->tally.value(which);
  }
  return sum;
}

std::uint64_t PoolCore::answered() const noexcept {
  return tallied(Count::kSucceeded) + tallied(Count::kFailed) + tallied(Count::kPanicked) + tallied(Count::kCancelled) +
         counts_.cancelled + counts_.queue_expired + counts_.dropped_oldest + counts_.shed +
         counts_.processing_timeouts + counts_.abandoned;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
