// SPDX-License-Identifier: MIT

// How an elastic pool gets smaller, and how it follows its load: decisions at points in time of its clock.

#include <algorithm>
#include <chrono>
#include <utility>

#include "penstock/exec/detail/elastic_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void ElasticCore::tick() noexcept { trim(); }

void ElasticCore::begin_trim() noexcept {
  MutexLock setting(trim_mutex_);  // until it is set: else two could set it, where the policy is changed meanwhile
  {
    MutexLock lock(mutex_);
    if (trim_timer_ != TrimTimer::kOff || closed_) return;
    trim_timer_ = TrimTimer::kSet;
  }
  trim();
}

void ElasticCore::trim() noexcept {
  for (;;) {
    Errand errand;
    TimePoint next = TimePoint::max();
    {
      MutexLock lock(mutex_);
      if (trim_timer_ == TrimTimer::kChanging) return;  // who changes the policy goes on here
      const TimePoint now = clock_.now();
      if (!closed_) {
        do {
          next = trim_step(now, errand);
        } while (next <= now);
      }
      trim_timer_ = next == TimePoint::max() ? TrimTimer::kOff : TrimTimer::kSet;
    }
    // Not by run_errand(): the destructor waits for the timer, and so for this.
    if (errand.leavers != nullptr) errand.leavers->parker.unpark();
    if (errand.wakes_keeper) keeper_.unpark();
    if (next == TimePoint::max() || clock_.arm(tick_timer_, next)) return;
  }
}

std::size_t ElasticCore::spare(std::size_t floor) const noexcept {
  // A submission that was given a place without a worker counts on one.
  const std::size_t stay = std::max(floor, std::size_t{reserved_ + seeking_ == 0 ? 0U : 1U});
  return live_ > stay ? live_ - stay : 0;
}

TimePoint ElasticCore::trim_step(TimePoint now, Errand& errand) noexcept {
  TrimSample sample;
  sample.now = now;
  sample.live = live_;
  sample.idle = idle_;
  sample.idle_low_water = low_water_;
  sample.created = counts_.created;
  if (bottom_ != nullptr) sample.longest_idle = std::max(now - bottom_->idle_since, Duration::zero());
  const TrimDecision decision = trim_.step(sample);
  const std::size_t before = idle_;
  const std::size_t wanted = std::min(decision.retire, spare(least_));
  dismiss(wanted, errand);
  const std::size_t gone = before - idle_;
  counts_.trimmed += gone;
  if (std::holds_alternative<PoisonPill>(trim_.policy())) counts_.pills += gone;
  low_water_ = idle_;
  follow_size(now, errand);
  TimePoint next = decision.next;
  if (gone < decision.retire) {
    // The pool keeps more than the policy would: because of a submission, for a moment; or because of its own least
    // number, and then nothing changes until a worker is made, or that number.
    constexpr Duration kMoment = std::chrono::milliseconds(1);
    if (live_ > least_) {
      next = saturated_add(now, kMoment);
    } else if (next <= now) {
      next = TimePoint::max();
    }
  }
  return std::min(next, size_due_);
}

void ElasticCore::follow_size(TimePoint now, Errand& errand) noexcept {
  if (now < size_due_) return;
  do {
    size_due_ = saturated_add(size_due_, options_.size_interval);
  } while (size_due_ <= now);
  SizeSample sample;
  sample.live = live_;
  sample.idle = idle_;
  sample.busy = running_;
  sample.queued = queued_;
  sample.min = least_;
  sample.max = most_;
  sample.buffer_length = options_.size_buffer == 0 ? options_.queue_capacity : options_.size_buffer;
  const std::size_t size = desired_size(options_.size, sample);
  if (size < live_) {
    const std::size_t before = idle_;
    dismiss(std::min(live_ - size, spare(least_)), errand);
    counts_.trimmed += before - idle_;
    low_water_ = idle_;
  } else if (size > live_) {
    wanted_ = size - live_;
    keeper_sleeps_ = false;
    errand.wakes_keeper = true;
  }
}

absl::Status ElasticCore::set_trim(const TrimPolicy& policy) {
  if (is_forked()) return describe(Refusal::kForked, nullptr);
  TrimMachine changed(policy, clock_.now());
  MutexLock change(trim_mutex_);
  {
    MutexLock lock(mutex_);
    trim_ = std::move(changed);
    trim_timer_ = TrimTimer::kChanging;
    ++errands_;
  }
  clock_.disarm(tick_timer_);
  {
    MutexLock lock(mutex_);
    trim_timer_ = TrimTimer::kSet;
  }
  trim();
  WakeList wake;
  {
    MutexLock lock(mutex_);
    --errands_;
    claim_closers(wake);
  }
  wake.wake_all();
  return absl::OkStatus();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
