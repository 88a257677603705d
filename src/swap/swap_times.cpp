// SPDX-License-Identifier: MIT

// What times bring about: models that nobody uses go, and those that have just come may stay; and how long starts and
// services take.

#include <algorithm>

#include "swap_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void SwapCore::became_ready(std::uint32_t number) noexcept {
  ModelRecord& model = models_[number];
  model.pause = Duration::zero();
  model.backs_off_until = TimePoint::min();
  model.used = now_;
  last_used_[number] = ++uses_;
  if (residents_.has_room()) {
    residents_.put(number, {saturated_add(now_, options().batching.min_residency), number});
  }
}

/// A swap has brought it up. In whole nanoseconds, so that all who repeat it come to the same.
void SwapCore::has_come(std::uint32_t number, TimePoint began) noexcept {
  const Duration taken = time_between(began, now_);
  Duration& known = start_times_[number];
  known = std::exchange(models_[number].has_come_once, true) ? known + (taken - known) / 2 : taken;
}

void SwapCore::has_served(std::uint32_t at) noexcept {
  const Duration taken = time_between(tickets_[at].since, now_);
  Duration& known = models_[tickets_[at].model].serve_time;
  known = known == Duration::zero() ? taken : known + (taken - known) / 8;
}

void SwapCore::watch_idle(std::uint32_t number) noexcept {
  const ModelRecord& model = models_[number];
  const Duration patience = setup_->table[ModelId{number}].idle_unload;
  const bool is_idle = patience != Duration::max() && model.state == ModelState::kReady && model.in_flight == 0 &&
                       model.stoppers == 0 && model.swap == SwapId{} && model.queue.empty();
  if (!is_idle) {
    idle_.erase(number);
  } else if (!idle_.contains(number)) {
    idle_.put(number, {saturated_add(model.used, patience), number});
  }
}

/// Those whose time has come, one stop each: each ends when its own process does.
void SwapCore::unload_idle() {
  while (!idle_.empty(0) && idle_.first(0).key.first <= now_) {
    targets_.assign(1, ModelId{idle_.first(0).item});
    room(1, 1);
    const StopId id = begin_stop(targets_);
    ++stats_.idle_unloads;
    out_->add(StopModels{.stop = id, .models = out_->keep(targets_), .reason = SwapReason::kIdle});
    claim(targets_);
  }
}

void SwapCore::end_residencies() noexcept {
  while (!residents_.empty(0) && residents_.first(0).key.first <= now_) {
    const std::uint32_t model = residents_.first(0).item;
    residents_.erase(model);
    refresh(model);
    must_drain_ = true;
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
