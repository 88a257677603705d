// SPDX-License-Identifier: MIT
#include "penstock/exec/detail/pool_hand_over.hpp"

#include <array>
#include <functional>
#include <utility>

#include <fmt/format.h>

#include "penstock/exec/detail/pool_locks.hpp"
#include "penstock/exec/worker_pool.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace detail {

/// Holds the locks of both pools for a scope.
class ABSL_SCOPED_LOCKABLE PoolCore::HandOver::AllFour {
 public:
  explicit AllFour(const HandOver& both)
      ABSL_EXCLUSIVE_LOCK_FUNCTION(both.from_.serve_, both.to_.serve_, both.from_.intake_,
                                   both.to_.intake_) ABSL_NO_THREAD_SAFETY_ANALYSIS
      : first_(std::less<>()(&both.from_, &both.to_) ? both.from_ : both.to_),
        second_(&first_ == &both.from_ ? both.to_ : both.from_) {
    first_.serve_.lock();
    second_.serve_.lock();
    first_.intake_.lock();
    second_.intake_.lock();
  }
  ~AllFour() ABSL_UNLOCK_FUNCTION() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    second_.intake_.unlock();
    first_.intake_.unlock();
    second_.serve_.unlock();
    first_.serve_.unlock();
  }
  AllFour(const AllFour&) = delete;
  AllFour& operator=(const AllFour&) = delete;

 private:
  const PoolCore& first_;
  const PoolCore& second_;
};

absl::StatusOr<HandOverReport> PoolCore::HandOver::run() {
  const std::string& name = from_.options_.name;
  const std::string& successor = to_.options_.name;
  if (from_.is_forked()) return from_.forked();
  if (to_.is_forked()) return to_.forked();
  if (&from_ == &to_) {
    return absl::InvalidArgumentError(fmt::format("worker pool '{}': cannot hand over to itself", name));
  }
  if (&from_.clock_ != &to_.clock_) {
    return absl::InvalidArgumentError(fmt::format(
        "worker pool '{}': cannot hand over to worker pool '{}', which is on another clock", name, successor));
  }
  // What this call has in both pools to bring to its end.
  const Activation in_old(from_, kCallerThread, 1);
  const Activation in_new(to_, kCallerThread, 1);
  if (!begin()) {
    return absl::UnavailableError(
        fmt::format("worker pool '{}': cannot hand over to worker pool '{}', which is shut down", name, successor));
  }
  while (move_some()) {
  }
  finish();
  return report_;
}

bool PoolCore::HandOver::begin() noexcept {
  const TimePoint now = from_.time();
  bool first = false;
  WakeList wake;
  {
    AllFour lock(*this);
    if (to_.is(kClosed)) return false;
    first = !from_.is(kClosed);
    from_.set_detour(kClosed, true);
    ++from_.settling_;
    ++to_.settling_;
    ++to_.taking_over_;
    to_.set_detour(kTakingOver, true);
    clear_line(now, wake);
  }
  wake.wake_all();
  if (first) from_.tell_state(PoolState::kDraining);
  return true;
}

/// Threads in line are refused; coroutines are given places, for a refusal would cost them their functions.
void PoolCore::HandOver::clear_line(TimePoint now, WakeList& wake) noexcept {
  while (WaitNode* const node = from_.blocked_.front()) {
    from_.blocked_.remove(*node);
    auto* const job = static_cast<AnsweredJob*>(node->slot);
    if (job != nullptr && job->stop_asked_) continue;  // as in grant_places()
    if (!node->waiter->claim(job == nullptr ? Waiter::kClosed : node->served)) continue;
    if (job == nullptr) {
      ++report_.refused;
    } else {
      from_.put_from_line(*job, now, wake);
    }
    wake.push(*node);
  }
  from_.set_detour(kBlocked, false);
}

bool PoolCore::HandOver::move_some() noexcept {
  const TimePoint now = to_.time();
  PoolObserver* const observer = from_.options_.observer;
  const bool has_same_observer = observer == to_.options_.observer;
  struct Moved {
    AnsweredJob* job;
    bool announce;  // to the old pool's observer
  };
  std::array<Moved, kMostEnded> watched;
  std::size_t watched_count = 0;
  bool is_more = true;
  WakeList wake;
  {
    AllFour lock(*this);
    if (to_.is(kClosed)) return false;
    from_.take_in();
    to_.take_in();
    JobQueue::Merge merge(to_.queue_);
    for (std::size_t count = 0; count != kMostEnded && is_more; ++count) {
      JobState* const job = from_.queue_.newest();
      is_more = job != nullptr;
      if (!is_more) break;
      const bool announce = job->unannounced_ && !has_same_observer;
      if (!has_same_observer) job->unannounced_ = to_.options_.observer != nullptr;
      move(*job);
      merge.add(*job);
      if (job->plain_) continue;
      auto* const answered = static_cast<AnsweredJob*>(job);
      answered->retain();
      watched[watched_count++] = {answered, announce};
    }
    to_.note_depth();
    to_.watch_from(to_.queue_.next_expiry(), wake);
  }
  for (std::size_t i = 0; i != watched_count; ++i) {
    const auto& [job, announce] = watched[i];
    if (observer != nullptr) {
      if (announce) from_.observe_submit(*job);
      from_.tell_observer([&, moved = job](PoolObserver& told) {
        told.on_hand_over(from_.event(*moved, kCallerThread, now, moved->enqueued_at_), to_.options_.name);
      });
    }
    job->settle_in(wake);
  }
  wake.wake_all();
  for (std::size_t i = 0; i != watched_count; ++i) watched[i].job->release();
  return is_more;
}

void PoolCore::HandOver::move(JobState& job) noexcept {
  from_.take_out(job);
  ++from_.counts_.handed_over;
  ++to_.entered_;
  ++to_.counts_.taken_over;
  to_.entered_steps_ += job.block_steps_;
  if (!job.plain_) {
    auto& answered = static_cast<AnsweredJob&>(job);
    answered.pool_.store(&to_, std::memory_order_release);  // J3 release
    to_.limit_wait(answered);
  }
  ++report_.moved;
}

void PoolCore::HandOver::finish() noexcept {
  WakeList wake;
  {
    Both lock(to_);
    --to_.settling_;
    --to_.taking_over_;
    to_.set_detour(kTakingOver, to_.taking_over_ != 0);
    to_.pass_on(wake);
    to_.claim_closers(wake);
  }
  wake.wake_all();
  WakeList others;
  {
    Both lock(from_);
    --from_.settling_;
    from_.set_detour(kPaused, false);  // what was accepted is to be run
    report_.left = from_.queued();
    from_.pass_on(others);
    from_.claim_closers(others);
  }
  others.wake_all();
}

void AnsweredJob::settle_in(WakeList& wake) noexcept {
  SpinLockGuard lock(lock_);
  const JobHome* const pool = &this->pool();
  for (WaitNode* node = waiting_.front(); node != nullptr;) {
    WaitNode* const next = node->next;
    const auto* at = static_cast<const Activation*>(node->slot);
    while (at != nullptr && (at->pool != pool || at->worker_id == kCallerThread)) at = at->outer;
    if (at != nullptr) {
      waiting_.remove(*node);
      if (node->waiter->claim(kMoved)) wake.push(*node);
    }
    node = next;
  }
}

}  // namespace detail

absl::StatusOr<HandOverReport> WorkerPool::hand_over(WorkerPool& successor) {
  return detail::PoolCore::HandOver(*core_, *successor.core_).run();
}

}  // namespace penstock::inline PENSTOCK_ABI
