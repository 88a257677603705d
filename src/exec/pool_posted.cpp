// SPDX-License-Identifier: MIT

// Posted work, which is never refused: the pool as an executor.

#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/exec/detail/pool_locks.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void PoolCore::post(Work& work) noexcept {
  WakeList wake;
  {
    SpinLockGuard lock(intake_);
    posted_incoming_.push(work);
    if (!has_posted_.load(std::memory_order_relaxed)) has_posted_.store(true, std::memory_order_relaxed);
    wake_seeker(wake);
  }
  wake.wake_all();
}

// The worker that was woken for it, if there is one, finds nothing and goes back to sleep.
bool PoolCore::revoke(Work& work) noexcept {
  work.wait_until_posted();
  Both lock(*this);
  return posted_incoming_.remove(work) || posted_.remove(work);
}

void PoolCore::run_deserted() noexcept {
  for (;;) {
    Work* work = nullptr;
    {
      Both lock(*this);
      if (live_ != 0) return;
      take_in();
      work = posted_.pop();
    }
    if (work == nullptr) return;
    work->run(*work);
  }
}

/// For a busy worker, which is promised to no job.
Work* PoolCore::next_posted() noexcept {
  const bool enough = posted_in_a_row_ >= kMaxPostedInARow;
  if (enough || posted_.empty()) {
    SpinLockGuard lock(intake_);
    take_in();
    if (enough && !queue_.empty()) return nullptr;
    if (enough) posted_in_a_row_ = 0;  // it kept nobody waiting
  }
  Work* const work = posted_.pop();
  if (work != nullptr) ++posted_in_a_row_;
  return work;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
