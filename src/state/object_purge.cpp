// SPDX-License-Identifier: MIT

// The two generations of idle objects, and the clock that moves them on.

#include <algorithm>
#include <cmath>
#include <utility>

#include "object_visit.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void ObjectCore::trim_depot(ObjectDepot::Generation generation, std::size_t& budget, ObjectChain& gone) noexcept {
  while (budget != 0) {
    ObjectSlot* const slot = depot_.take_from(generation);
    if (slot == nullptr) return;
    gone.push(*slot);
    ++places_;
    --budget;
  }
}

void ObjectCore::trim_caches(bool only_victims, std::size_t& budget, ObjectChain& gone) noexcept {
  for (ObjectCache* cache = caches_; cache != nullptr && budget != 0; cache = cache->next_of_pool) {
    const std::uint32_t most = only_victims ? cache->floor : cache->size();
    const auto taken = static_cast<std::uint32_t>(std::min<std::size_t>(most, budget));
    for (std::uint32_t i = 0; i != taken; ++i) gone.push(*cache->slots[i]);
    cache->drop_bottom(taken);
    set_places(*cache, cache->places() - taken);
    budget -= taken;
  }
}

void ObjectCore::trim(double ratio, bool ages, ObjectChain& gone) noexcept {
  const MutexLock visiting(visit_mutex_);
  const Visit visit(caches_);
  const SpinLockGuard lock(mutex_);
  std::size_t idle = depot_.size();
  for (ObjectCache* cache = caches_; cache != nullptr; cache = cache->next_of_pool) idle += cache->size();

  std::size_t budget = 0;
  if (ages) {
    budget = idle > options_.min_idle ? idle - options_.min_idle : 0;
    ++counts_.purges;
  } else {
    // A NaN is nothing.
    budget = ratio >= 1 ? idle : ratio > 0 ? static_cast<std::size_t>(std::ceil(ratio * static_cast<double>(idle))) : 0;
    budget = std::min(budget, idle);
  }
  trim_depot(ObjectDepot::kVictims, budget, gone);
  trim_caches(true, budget, gone);
  if (ages) {
    depot_.age();
    for (ObjectCache* cache = caches_; cache != nullptr; cache = cache->next_of_pool) cache->floor = cache->size();
  } else {
    trim_depot(ObjectDepot::kFresh, budget, gone);
    trim_caches(false, budget, gone);
  }
}

absl::StatusOr<std::size_t> ObjectCore::prewarm(std::size_t count) {
  if (is_forked()) return forked();
  std::size_t made = 0;
  for (; made != count; ++made) {
    {
      const SpinLockGuard lock(mutex_);
      if (closed_ && made == 0) return closed();
      if (closed_ || places_ == 0 || live_ == options_.max_live) break;
      ++live_;
    }
    absl::StatusOr<ObjectSlot*> slot = make_object(false);
    if (!slot.ok()) return slot.status();
    make_idle(**slot);
  }
  return made;
}

void ObjectCore::purge() noexcept {
  if (is_forked()) return;
  ObjectChain gone;
  trim(0, true, gone);
  destroy_all(gone, Cause::kPurged);
}

std::size_t ObjectCore::release_idle(double ratio) noexcept {
  if (is_forked()) return 0;
  ObjectChain gone;
  trim(ratio, false, gone);
  const std::size_t objects = gone.size();
  destroy_all(gone, Cause::kPurged);
  return objects;
}

void ObjectCore::arm_purge() noexcept {
  // A time that has come already is passed over; and more of them each time, as it may be that none is far enough
  // ahead.
  Duration step = options_.purge_every;
  while (!options_.clock->arm(timer_, due_)) {
    due_ = saturated_add(now(), step);
    if (step < std::chrono::hours(1)) step *= 2;
  }
}

void ObjectCore::on_timer() noexcept {
  bool is_posting = false;
  {
    const SpinLockGuard lock(mutex_);
    if (closed_) return;
    ++shares_;  // of this purge: a destructor of the user's may end the pool
    is_posting = options_.executor != nullptr && !std::exchange(is_posted_, true);
    if (is_posting) ++shares_;
  }
  const Share share(*this);
  if (options_.executor == nullptr) tick();
  if (is_posting) options_.executor->post(work_);
  if (is_closed()) return;
  due_ = saturated_add(due_, options_.purge_every);
  arm_purge();
}

void ObjectCore::on_purge_work() noexcept {
  const Share share(*this);
  {
    const SpinLockGuard lock(mutex_);
    is_posted_ = false;  // from here on the timer may post it again
  }
  if (!is_closed()) tick();
}

void ObjectCore::tick() noexcept {
  purge();
  if (!is_closed()) check_alert();  // a destructor may have ended the pool, and what its hook refers to
}

void ObjectCore::end_purge_work() noexcept {
  {
    const SpinLockGuard lock(mutex_);
    if (!is_posted_) return;
  }
  if (options_.executor->revoke(work_)) drop_share();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
