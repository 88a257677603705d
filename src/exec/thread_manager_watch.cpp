// SPDX-License-Identifier: MIT
#include <exception>
#include <new>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "penstock/exec/detail/thread_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Sleeps until something is at work, and from then on looks once in an interval until nothing is any more.
void ThreadCore::watch() noexcept {
  ManagedThread::current().core = this;
  world::set_thread_name("penstock/watch");
  TimePoint next = TimePoint::max();
  for (;;) {
    const Context ctx = Context(clock_).with_deadline(next);
    Waiter waiter(ctx);
    WaitNode node(waiter, nullptr);
    bool has_work = false;
    {
      MutexLock lock(mutex_);
      if (stopping_) return;
      has_work = oldest_ != nullptr;
      watch_sleeps_ = !has_work && next == TimePoint::max();
      if (has_work == (next != TimePoint::max())) watching_.push(node);
    }
    if (has_work != (next != TimePoint::max())) {
      next = has_work ? saturated_add(clock_.now(), options_.health_interval) : TimePoint::max();
      continue;
    }
    const Waiter::Outcome outcome = waiter.wait();
    if (outcome == Waiter::kServed) continue;
    {
      MutexLock lock(mutex_);
      watching_.remove(node);
    }
    tell_of_stuck();
    next = saturated_add(clock_.now(), options_.health_interval);
  }
}

void ThreadCore::tell_of_stuck() noexcept {
  std::vector<ThreadInfo> stuck;
  try {
    MutexLock lock(mutex_);
    for (ThreadRecord* record = oldest_; record != nullptr; record = record->next) {
      const ThreadTimes::Reading reading = record->times.read();
      const Duration limit = options_.stuck_after.of(reading.state);
      const TimePoint now = clock_.now();
      if (limit == Duration::max() || now - reading.since < limit || record->reported == reading.version) continue;
      stuck.push_back(record->info(reading, now));
      record->reported = reading.version;
      ++counts_.stuck_episodes;
    }
  } catch (const std::bad_alloc&) {
    // Who is not on the list is found again at the next look.
  }
  for (const ThreadInfo& thread : stuck) {
    std::exception_ptr escaped;
    try {
      options_.on_stuck(thread);
    } catch (...) {
      escaped = std::current_exception();
    }
    if (escaped != nullptr) report(0, "on_stuck", escaped);
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
