// SPDX-License-Identifier: MIT

// The end of rests in a resource pool, and the timer that sees to it while somebody stands in line.

#include <algorithm>

#include "penstock/exec/detail/resource_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void ResourceCore::end_rests(Effects& effects) noexcept {
  if (resting_ == 0) return;
  const TimePoint time = now();
  if (time < rest_ends_) return;
  rest_ends_ = TimePoint::max();
  for (const SlotPtr& slot : slots_) {
    if (slot->is_enabled || slot->disabled_until_ == TimePoint::max()) continue;
    if (time < slot->disabled_until_) {
      rest_ends_ = std::min(rest_ends_, slot->disabled_until_);
    } else {
      slot->is_enabled = true;
      --resting_;
      serve(*slot, effects);
    }
  }
}

TimePoint ResourceCore::timer_due() const noexcept {
  return closed_ || first_ == nullptr || resting_ == 0 ? TimePoint::max() : rest_ends_;
}

void ResourceCore::want_timer(Effects& effects) noexcept {
  const TimePoint due = timer_due();
  if (has_keeper_ || lacks_timers_ || armed_for_ <= due) return;
  has_keeper_ = true;
  ++shares_;
  effects.keeps_timer = true;
}

bool ResourceCore::start_timers() noexcept {
  {
    ResourceLock lock(mutex_);
    if (has_timers_) return true;
  }
  try {
    options_.clock->start_timers();
  } catch (...) {
    return false;
  }
  ResourceLock lock(mutex_);
  has_timers_ = true;
  return true;
}

void ResourceCore::keep_timer(Effects& effects) noexcept {
  const bool has_timers = start_timers();
  TimePoint due{};
  {
    ResourceLock lock(mutex_);
    due = has_timers ? timer_due() : TimePoint::max();
    armed_for_ = due;
  }
  for (WaitNode* destroyer = nullptr;;) {
    if (has_timers) options_.clock->disarm(timer_);
    const bool is_armed = due == TimePoint::max() || options_.clock->arm(timer_, due);
    {
      ResourceLock lock(mutex_);
      if (!has_timers) {
        lacks_timers_ = true;
        for (ResourceWait* wait = first_; wait != nullptr; wait = wait->next_) nudge(*wait, effects);
      } else if (!is_armed) {
        armed_for_ = TimePoint::max();
        end_rests(effects);
      }
      due = timer_due();
      if (has_timers && due < armed_for_) {
        armed_for_ = due;
        continue;
      }
      has_keeper_ = false;
      destroyer = destroyer_.claim_first();
      drop_share(effects);
    }
    if (destroyer != nullptr) destroyer->waiter->wake();
    return;
  }
}

void ResourceCore::on_timer() noexcept {
  Effects effects;
  {
    ResourceLock lock(mutex_);
    armed_for_ = TimePoint::max();
    end_rests(effects);
    want_timer(effects);
  }
  apply(effects);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
