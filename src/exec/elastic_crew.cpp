// SPDX-License-Identifier: MIT

// How an elastic pool makes workers: at once, or by its keeper when the queue makes no progress.

#include <algorithm>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/thread_name.hpp"
#include "penstock/exec/detail/elastic_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void ElasticCore::reserve_worker() noexcept {
  ++live_;
  ++starting_;
  ++errands_;
  counts_.peak = std::max(counts_.peak, live_);
}

bool ElasticCore::hire() noexcept {
  std::uint64_t id = 0;
  {
    MutexLock lock(mutex_);
    id = ++last_id_;
  }
  bool is_made = false;
  try {
    auto worker = std::make_unique<ElasticWorker>(id);
    MutexLock lock(crew_mutex_);
    worker->thread = world::Thread([this, me = worker.get()] { serve(*me); });
    static_cast<void>(worker.release());  // its own, until it has left
    is_made = true;
  } catch (...) {  // no thread, or no memory for one
  }
  if (is_made) return true;
  bool wakes_keeper = false;
  {
    MutexLock lock(mutex_);
    ++counts_.creation_failures;
    --live_;
    --starting_;
    growth_.failed(world::now());
    // What waits might have no worker at all now, and only the keeper tries again.
    wakes_keeper = std::exchange(keeper_sleeps_, false);
  }
  if (wakes_keeper) keeper_.unpark();
  return false;
}

bool ElasticCore::hire_for(Need need, std::uint64_t progress) noexcept {
  {
    MutexLock lock(mutex_);
    if (live_ >= most_) return false;
    if (need == Need::kTasks && (queued_ + posted_queued_ <= starting_ || progress_ != progress)) return false;
    if (need == Need::kSize && closed_) return false;
    if (need == Need::kLeast && (closed_ || live_ >= least_)) return false;
    reserve_worker();
  }
  const bool hired = hire();
  WakeList wake;
  {
    MutexLock lock(mutex_);
    --errands_;
    claim_closers(wake);
  }
  wake.wake_all();
  return hired;
}

GrowthSample ElasticCore::growth_sample(TimePoint now) const noexcept {
  const std::uint64_t awake = awake_.load(std::memory_order_relaxed);
  const std::uint64_t woken = woken_.load(std::memory_order_relaxed);
  // One that is awake may be seen before it is seen to have been woken.
  const std::size_t waking = woken > awake ? static_cast<std::size_t>(woken - awake) : 0;
  return {now, live_, starting_, queued_ + posted_queued_, most_, progress_, waking};
}

void ElasticCore::keep() noexcept {
  name_thread(options_.name, "/keeper");
  for (;;) {
    GrowthDecision decision;
    std::size_t wanted = 0;
    std::uint64_t progress = 0;
    {
      MutexLock lock(mutex_);
      if (keeper_stops_) return;
      decision = growth_.look(growth_sample(world::now()));
      progress = progress_;
      wanted = std::exchange(wanted_, 0);
      keeper_sleeps_ = decision.next == TimePoint::max() && decision.create == 0 && wanted == 0;
    }
    for (; decision.create != 0 && hire_for(Need::kTasks, progress); --decision.create) {
    }
    if (wanted != 0) {
      while (hire_for(Need::kSize, 0) && --wanted != 0) {
      }
      continue;  // it is not known to sleep: so it looks again before it does
    }
    if (decision.next == TimePoint::max()) {
      keeper_.park();
    } else {
      keeper_.park_until(decision.next);
    }
  }
}

absl::Status ElasticCore::resize(std::size_t least, std::size_t most) {
  if (is_forked()) return describe(Refusal::kForked, nullptr);
  ElasticPoolOptions changed;
  changed.name = options_.name;
  changed.min_workers = least;
  changed.max_workers = most;
  changed.queue_capacity = options_.queue_capacity;
  changed.size = options_.size;
  changed.size_buffer = options_.size_buffer;
  if (absl::Status bad = changed.validate(); !bad.ok()) return bad;
  Errand errand;
  bool is_closed = false;
  bool sets_timer = false;
  {
    MutexLock lock(mutex_);
    is_closed = closed_;
    if (!is_closed) {
      least_ = least;
      most_ = most;
      const std::size_t before = idle_;
      if (live_ > most_) dismiss(live_ - most_, errand);
      counts_.trimmed += before - idle_;
      // There may be room for workers now that nobody was looking out for.
      errand.wakes_keeper = std::exchange(keeper_sleeps_, false);
      if (errand.wakes_keeper) ++errands_;
      sets_timer = trim_timer_ == TrimTimer::kOff;  // workers that were held may go now
      ++errands_;
    }
  }
  run_errand(errand);
  if (is_closed) return absl::UnavailableError(fmt::format("elastic pool '{}': closed", options_.name));
  if (sets_timer) begin_trim();
  while (hire_for(Need::kLeast, 0)) {
  }
  std::size_t there = 0;
  WakeList wake;
  {
    MutexLock lock(mutex_);
    there = closed_ ? least : live_;
    --errands_;
    claim_closers(wake);
  }
  wake.wake_all();
  if (there >= least) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("elastic pool '{}': only {} of {} workers could be made", options_.name, there, least));
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
