// SPDX-License-Identifier: MIT

// What becomes of an object that comes back: made ready, and put where somebody will find it; or destroyed.

#include <memory>
#include <new>
#include <utility>

#include "object_visit.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::uint32_t kLease = 16;  // places at a time

}  // namespace

void ObjectCore::give_back_with_care(ObjectSlot& slot) noexcept {
  if ((slot.care & ObjectSlot::kCheck) != 0 && (is_forked() || !end_use(slot))) return;
  if ((slot.care & ObjectSlot::kTime) != 0) {
    slot.returned = now();
    times_->hold.record(slot.returned - slot.acquired);
  }
  if ((slot.care & ObjectSlot::kDiscard) != 0) return discard(slot, Cause::kNonReusable, false);
  // What reset and weight refer to may have gone with the pool. While that is there, so is the thread's cache, mostly.
  if (!has_quick_cache() && is_closed()) return discard(slot, Cause::kClosed, false);
  bool was_reset = false;
  try {
    if ((slot.care & ObjectSlot::kReset) != 0) {
      constexpr std::uint64_t kSample = 16;
      const bool is_timed = (slot.care & ObjectSlot::kTime) != 0 && slot.uses % kSample == 0;
      if (!kind_->reset(slot.object)) return discard(slot, Cause::kReset, false);
      was_reset = true;
      if (is_timed) times_->reset.record(now() - slot.returned);
    }
  } catch (...) {
    count_exception();
    return discard(slot, Cause::kReset, false);
  }
  if ((slot.care & ObjectSlot::kWeigh) != 0) {
    try {
      slot.weight = weighs_ ? kind_->weigh(slot.object) : options_.object_bytes;
    } catch (...) {
      count_exception();
      return discard(slot, Cause::kOversize, was_reset);
    }
    if (slot.weight > options_.max_weight) return discard(slot, Cause::kOversize, was_reset);
  }
  if ((slot.care & ObjectSlot::kCheck) != 0) conceal(slot);
  kind_->hide(slot.object);
  ObjectCache* const cache = own_cache();
  if (cache == nullptr || !cache->push(slot, was_reset ? 1 : 0)) keep(slot, was_reset);
}

void ObjectCore::keep(ObjectSlot& slot, bool was_reset) noexcept {
  if (is_forked()) return;
  bool has_reclaimed = false;
  bool may_chain = false;
  for (;;) {
    Effects effects;
    ObjectCache* const cache = own_cache();
    Put put{};
    if (cache != nullptr) cache->lock.enter();
    {
      const SpinLockGuard lock(mutex_);
      put = put_away(slot, cache, may_chain, effects);
      if (put == Put::kKept && was_reset) ++counts_.resets;
    }
    if (cache != nullptr) cache->lock.leave();
    switch (put) {
      case Put::kKept:
        return effects.wake.wake_all();
      case Put::kClosed:
        return discard(slot, Cause::kClosed, was_reset);
      case Put::kNoPlace:
        if (has_reclaimed || !reclaim_places()) return discard(slot, Cause::kFull, was_reset);
        has_reclaimed = true;
        break;
      case Put::kNoMagazine:
        if (auto* const magazine = new (std::nothrow) ObjectMagazine) {
          const SpinLockGuard lock(mutex_);
          depot_.add_empty(*magazine);
        } else {
          may_chain = true;
        }
        break;
    }
  }
}

ObjectCore::Put ObjectCore::put_away(ObjectSlot& slot, ObjectCache* cache, bool may_chain, Effects& effects) noexcept {
  if (closed_) return Put::kClosed;
  if (WaitNode* const node = line_.claim_first()) {
    static_cast<ObjectGrant*>(node->slot)->slot = &slot;
    effects.wake.push(*node);
    ++counts_.hits_handed;
    if (weighs_) counts_.bytes_saved += slot.weight;
    ++kept_;
    return Put::kKept;
  }
  if (cache == nullptr || pending_ != 0) {
    if (places_ == 0) return Put::kNoPlace;
    --places_;
    depot_.put(slot, ObjectDepot::kFresh);
    ++kept_;
    return Put::kKept;
  }
  std::uint32_t size = cache->size();
  if (size == ObjectCache::kSlots) {
    if (!depot_.has_empty() && !may_chain) return Put::kNoMagazine;
    // The oldest go, and their places with them. Victims are told apart from others there by the magazine.
    const bool are_victims = cache->floor != 0;
    const std::uint32_t moved = are_victims ? std::min(cache->floor, ObjectCache::kMagazine) : ObjectCache::kMagazine;
    depot_.put(cache->slots.data(), moved, are_victims ? ObjectDepot::kVictims : ObjectDepot::kFresh);
    cache->drop_bottom(moved);
    leased_ -= moved;
    cache->set_places(cache->places() - moved);
    size -= moved;
  }
  if (size == cache->places()) {
    const std::uint32_t wanted = std::min(ObjectCache::kSlots - size, size < kLease ? kLease : ObjectCache::kSlots);
    const auto leased = static_cast<std::uint32_t>(std::min<std::size_t>(places_, wanted));
    if (leased == 0) return Put::kNoPlace;
    set_places(*cache, size + leased);
  }
  cache->slots[size] = &slot;
  cache->set_size(size + 1);
  ++cache->kept;
  return Put::kKept;
}

void ObjectCore::make_idle(ObjectSlot& slot) noexcept {
  if (slot.trace != nullptr) conceal(slot);
  kind_->hide(slot.object);
  Effects effects;
  bool was_kept = false;
  bool is_closed = false;
  {
    const SpinLockGuard lock(mutex_);
    is_closed = closed_;
    was_kept = !is_closed && places_ != 0;
    if (was_kept) {
      --places_;
      depot_.put(slot, ObjectDepot::kFresh);
      serve_from_depot(effects);
    }
  }
  effects.wake.wake_all();
  if (was_kept) return;
  ObjectChain gone;
  gone.push(slot);
  destroy_all(gone, is_closed ? Cause::kClosed : Cause::kFull);
}

void* ObjectCore::release(ObjectSlot& slot) noexcept {
  void* const object = std::exchange(slot.object, nullptr);
  if (is_forked()) return object;
  if ((slot.care & ObjectSlot::kCheck) != 0) static_cast<void>(end_use(slot));
  free_slot(slot);
  Effects effects;
  {
    const SpinLockGuard lock(mutex_);
    ++counts_.released;
    drop_live(1, effects);
  }
  apply(effects);
  return object;
}

void ObjectCore::destroy_object(ObjectSlot& slot) noexcept {
  void* const object = slot.object;
  free_slot(slot);  // first: its memory may at once be that of another object, whose trace takes this one's place
  kind_->destroy(object);
}

void ObjectCore::discard(ObjectSlot& slot, Cause cause, bool was_reset) noexcept {
  if (is_forked()) return;
  destroy_object(slot);
  Effects effects;
  {
    const SpinLockGuard lock(mutex_);
    if (cause != Cause::kMisused) ++counts_.returns;
    if (was_reset) ++counts_.resets;
    count(cause, 1);
    drop_live(1, effects);
  }
  apply(effects);
}

void ObjectCore::destroy_all(ObjectChain& chain, Cause cause) noexcept {
  const std::size_t objects = chain.size();
  if (objects == 0) return;
  while (ObjectSlot* const slot = chain.pop()) destroy_object(*slot);
  Effects effects;
  {
    const SpinLockGuard lock(mutex_);
    count(cause, objects);
    drop_live(objects, effects);
  }
  apply(effects);
}

void ObjectCore::count(Cause cause, std::size_t objects) noexcept {
  switch (cause) {
    case Cause::kNonReusable:
      counts_.discarded_non_reusable += objects;
      break;
    case Cause::kReset:
      counts_.discarded_reset += objects;
      break;
    case Cause::kFull:
      counts_.discarded_full += objects;
      break;
    case Cause::kOversize:
      counts_.discarded_oversize += objects;
      break;
    case Cause::kClosed:
      counts_.discarded_closed += objects;
      break;
    case Cause::kMisused:
      counts_.discarded_misused += objects;
      break;
    case Cause::kPurged:
      counts_.purged += objects;
      break;
  }
}

void ObjectCore::count_exception() noexcept {
  const SpinLockGuard lock(mutex_);
  ++counts_.caught_exceptions;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
