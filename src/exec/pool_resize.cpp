// SPDX-License-Identifier: MIT
#include <algorithm>

#include <fmt/format.h>

#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/exec/detail/pool_locks.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

absl::Status PoolCore::resize(std::size_t workers) {
  MutexLock control(control_mutex_);
  return change_to([workers](std::size_t /*now*/) { return workers; });
}

absl::Status PoolCore::add_workers(std::size_t count) {
  MutexLock control(control_mutex_);
  const std::size_t most = options_.largest();
  return change_to([=](std::size_t now) { return count > most ? most + 1 : now + count; });
}

absl::Status PoolCore::remove_workers(std::size_t count) {
  MutexLock control(control_mutex_);
  return change_to([count](std::size_t now) { return count > now ? 0 : now - count; });
}

/// `target(now)`: how many there are to be, where there are so many.
template <class Target>
absl::Status PoolCore::change_to(Target target) {
  std::size_t workers = 0;
  bool possible = true;
  // Who asks for more finds all of them there, also those with which the pool had begun to grow by itself. Nobody may
  // have started these yet, and the watching thread, which would, may be the one that calls.
  std::size_t more = 0;
  bool closed = false;
  for (bool settled = false; !settled;) {
    const TimePoint now = clock_.now();
    const Context forever(clock_);
    Waiter waiter(forever);
    WaitNode node(waiter, nullptr);
    std::size_t starting = 0;
    WakeList wake;
    {
      Both lock(*this);
      closed = is(kClosed);
      workers = target(configured_);
      possible = workers >= options_.smallest() && workers <= options_.largest();
      const bool may_grow = !closed && possible && workers >= configured_;
      if (may_grow && now >= grow_not_before_) starting = missing();
      joining_ += starting;
      settled = !may_grow || joining_ == 0;
      if (!settled && starting == 0) arrivals_.push(node);
      // Of those that did not start, too, this one says why.
      if (settled && may_grow) configured_ -= std::min(missing(), configured_ - options_.smallest());
      if (settled && !closed && possible) more = set_configured(workers, wake);
    }
    wake.wake_all();
    if (starting != 0) {
      Worker* leavers = nullptr;
      grow(starting, now, leavers);
    } else if (!settled) {
      static_cast<void>(waiter.wait());
    }
  }
  if (!possible) {
    return absl::InvalidArgumentError(fmt::format("worker pool '{}': the number of workers must be in [{}, {}], got {}",
                                                  options_.name, options_.smallest(), options_.largest(), workers));
  }
  if (closed) return absl::UnavailableError(fmt::format("worker pool '{}': shut down", options_.name));
  if (more == 0) return absl::OkStatus();
  absl::Status status = hire(more, nullptr);
  WakeList wake;
  {
    Both lock(*this);
    if (status.ok()) counts_.workers_added += more;
    pass_on(wake);  // a job may have been waiting for one of them
  }
  wake.wake_all();
  return status;
}

/// Returns how many are to be hired.
std::size_t PoolCore::set_configured(std::size_t workers, WakeList& wake) noexcept {
  if (workers > configured_) return hiring_ = workers - configured_;
  counts_.workers_removed += configured_ - workers;
  configured_ = workers;
  note_crew();
  for (std::size_t surplus = live_ > wanted() ? live_ - wanted() : 0; surplus != 0; --surplus) {
    WaitNode* const node = idle_.claim_first();
    if (node == nullptr) break;
    ++seekers_;
    wake.push(*node);
  }
  return 0;
}

/// For a job that waits while nobody is free to take it. The watching thread starts the worker; if that fails, not
/// before a while.
void PoolCore::grow_by_one(WakeList& wake) noexcept {
  if (!options_.grow_when_busy || is(kStopping | kPaused | kTakingOver)) return;
  if (configured_ + hiring_ >= options_.largest() || joining_ != 0 || missing() != 0) return;
  ++configured_;
  ++counts_.workers_added;
  note_crew();
  watch_from(TimePoint::min(), wake);
}

// --- the rest ---

void PoolCore::set_overflow(OverflowPolicy policy) noexcept { overflow_.store(policy, std::memory_order_relaxed); }

std::size_t PoolCore::capacity() const noexcept {
  SpinLockGuard lock(intake_);
  return capacity_;
}

void PoolCore::set_capacity(std::size_t capacity) noexcept {
  const TimePoint now = time();
  WakeList wake;
  {
    Both lock(*this);
    capacity_ = capacity;
    grant_places(now, wake);
    pass_on(wake);  // posted work that was left alone for a promised job
  }
  wake.wake_all();
}

void PoolCore::pause() noexcept {
  {
    Both lock(*this);
    if (is(kClosed | kPaused)) return;
    set_detour(kPaused, true);
  }
  tell_state(PoolState::kPaused);
}

void PoolCore::resume() noexcept {
  WakeList wake;
  {
    Both lock(*this);
    if (!is(kPaused)) return;
    set_detour(kPaused, false);
    pass_on(wake);
  }
  wake.wake_all();
  tell_state(PoolState::kRunning);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
