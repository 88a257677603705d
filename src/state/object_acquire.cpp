// SPDX-License-Identifier: MIT

// How an object pool serves who comes: from the depot, with a new object, from others' caches, or in line.

#include <algorithm>
#include <utility>

#include "penstock/state/detail/object_acquire.hpp"

#include "object_visit.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

ObjectCore::Look ObjectCore::look(ObjectGrant& grant) noexcept {
  if (is_forked()) return Look::kForked;
  ObjectCache* const cache = own_cache();
  if (cache == nullptr) {
    const SpinLockGuard lock(mutex_);
    return look_into_depot(grant, nullptr, false);
  }
  Look seen = Look::kGot;
  cache->lock.enter();
  if (const std::uint32_t size = cache->size(); size != 0) {
    grant.slot = cache->slots[size - 1];
    cache->set_size(size - 1);
    if (size > cache->floor) {
      ++cache->hits_local;
    } else {
      ++cache->hits_victim;
      cache->floor = size - 1;
    }
    if (weighs_) cache->saved_bytes += grant.slot->weight;
  } else {
    const SpinLockGuard lock(mutex_);
    seen = look_into_depot(grant, cache, false);
  }
  cache->lock.leave();
  return seen;
}

ObjectCore::Look ObjectCore::look_into_depot(ObjectGrant& grant, ObjectCache* cache, bool was_stolen) noexcept {
  if (closed_) return Look::kClosed;
  ObjectDepot::Generation generation{};
  if (depot_.size() == 0) {
    if (live_ == options_.max_live) return Look::kFull;
    ++live_;
    return Look::kMayMake;
  }
  if (cache == nullptr || pending_ != 0) {
    grant.slot = depot_.take(generation);
    ++places_;
  } else {
    // The places come along; of what the cache has then, one is free at once.
    const std::uint32_t count = depot_.take(cache->slots.data(), generation);
    grant.slot = cache->slots[count - 1];
    cache->set_size(count - 1);
    cache->floor = generation == ObjectDepot::kVictims ? count - 1 : 0;
    places_ += count;
    set_places(*cache, std::min(cache->places() + count, ObjectCache::kSlots));
  }
  ++(was_stolen ? counts_.hits_stolen : generation == ObjectDepot::kVictims ? counts_.hits_victim : counts_.hits_depot);
  if (weighs_) counts_.bytes_saved += grant.slot->weight;
  return Look::kGot;
}

void ObjectCore::set_places(ObjectCache& cache, std::uint32_t places) noexcept {
  leased_ += places;
  leased_ -= cache.places();
  places_ += cache.places();
  places_ -= places;
  cache.set_places(places);
}

absl::StatusOr<ObjectSlot*> ObjectCore::take(const Context* ctx) {
  if (is_forked()) return forked();
  const TimePoint began = options_.timestamps ? now() : TimePoint();
  ObjectGrant grant;
  const Look seen = look(grant);
  return seen == Look::kFull ? wait(ctx, began) : finish(seen, grant, began);
}

absl::StatusOr<ObjectSlot*> ObjectCore::wait(const Context* ctx, TimePoint began) {
  ObjectGrant grant;
  const OpStatus status = ctx == nullptr ? OpStatus::kOk : ctx->status();
  if (ctx == nullptr || status != OpStatus::kOk) {
    Look seen = join_line(grant, nullptr);
    if (seen == Look::kFull && ctx != nullptr) {
      seen = status == OpStatus::kTimedOut ? Look::kTimedOut : Look::kCancelled;
    }
    return finish(seen, grant, began);
  }
  return ctx->can_end() ? wait_as<Waiter>(grant, began, *ctx) : wait_as<EndlessWaiter>(grant, began);
}

template <class Kind, class... Ctx>
absl::StatusOr<ObjectSlot*> ObjectCore::wait_as(ObjectGrant& grant, TimePoint began, const Ctx&... ctx) {
  Kind waiter(ctx...);
  WaitNode node(waiter, &grant);
  Look seen = join_line(grant, &node);
  if (seen != Look::kParked) return finish(seen, grant, began);
  const Share share(*this);  // the pool may go meanwhile
  seen = leave_line(node, waiter.wait());
  return finish(seen, grant, began);
}

ObjectCore::Look ObjectCore::join_line(ObjectGrant& grant, WaitNode* node) noexcept {
  bool must_gather = false;
  {
    const SpinLockGuard lock(mutex_);
    ++pending_;  // from here on nothing that comes back hides in a cache
    ++shares_;
    must_gather = leased_ != 0;
  }
  if (must_gather) gather();
  const SpinLockGuard lock(mutex_);
  const Look seen = look_into_depot(grant, nullptr, must_gather);
  if (seen == Look::kFull && node != nullptr) {
    line_.push(*node);
    ++counts_.waits;
    ++counts_.waiting;
    return Look::kParked;
  }
  --pending_;
  --shares_;  // the caller is inside: the pool is there
  return seen;
}

ObjectCore::Look ObjectCore::leave_line(WaitNode& node, Waiter::Outcome outcome) noexcept {
  const SpinLockGuard lock(mutex_);
  line_.remove(node);
  --pending_;
  --counts_.waiting;
  switch (outcome) {
    case Waiter::kServed:
      return static_cast<const ObjectGrant*>(node.slot)->slot != nullptr ? Look::kGot : Look::kMayMake;
    case Waiter::kClosed:
      return Look::kClosed;
    case Waiter::kTimedOut:
      return Look::kTimedOut;
    default:
      return Look::kCancelled;
  }
}

absl::StatusOr<ObjectSlot*> ObjectCore::finish(Look look, ObjectGrant grant, TimePoint began) {
  if (look == Look::kForked) return forked();
  if (look == Look::kMayMake && options_.steals && steal()) {
    Effects effects;
    {
      const SpinLockGuard lock(mutex_);
      if (depot_.size() != 0 && look_into_depot(grant, nullptr, true) == Look::kGot) {
        look = Look::kGot;
        drop_live(1, effects);
      }
    }
    apply(effects);
  }
  ObjectSlot* slot = grant.slot;
  if (look == Look::kGot && slot->trace != nullptr && !reveal(*slot)) {
    // Another one takes its place.
    report(ObjectMisuse::Kind::kUseAfterReturn, slot->id);
    destroy_object(*slot);
    const SpinLockGuard lock(mutex_);
    count(Cause::kMisused, 1);
    look = Look::kMayMake;
  }
  if (look == Look::kMayMake) {
    absl::StatusOr<ObjectSlot*> made = make_object(true);
    if (!made.ok()) return made;
    slot = *made;
  } else if (look != Look::kGot) {
    return refusal(look, began);
  }
  if (cares_) {
    begin_use(*slot);
    if (times_ != nullptr) times_->acquire.record(slot->acquired - began);
  }
  return slot;
}

ObjectSlot* ObjectCore::checked(ObjectSlot& slot) noexcept {
  if (slot.trace != nullptr && !reveal(slot)) {
    report(ObjectMisuse::Kind::kUseAfterReturn, slot.id);
    discard(slot, Cause::kMisused, false);
    return nullptr;
  }
  begin_use(slot);
  return &slot;
}

void ObjectCore::give_back(Look look, ObjectGrant grant) noexcept {
  if (look == Look::kGot) return keep(*grant.slot, false);
  if (look != Look::kMayMake) return;
  Effects effects;
  {
    const SpinLockGuard lock(mutex_);
    drop_live(1, effects);
  }
  apply(effects);
}

ObjectTake::~ObjectTake() {
  if (seen_ == ObjectCore::Look::kParked) {
    // The coroutine is being destroyed where it is suspended.
    seen_ = core_.leave_line(wait_->node(), wait_->call_off());
    core_.give_back(seen_, grant_);
    core_.drop_share();
  } else if (is_ready_) {
    core_.give_back(*grant_.slot);
  } else {
    core_.give_back(seen_, grant_);
  }
}

bool ObjectTake::ready() {
  using Look = ObjectCore::Look;
  grant_.slot = core_.take_quickly();
  is_ready_ = grant_.slot != nullptr;
  if (is_ready_) return true;
  if (core_.options().timestamps) began_ = core_.now();
  seen_ = core_.look(grant_);
  if (seen_ != Look::kFull) return true;
  const OpStatus status = ctx_.status();
  if (status == OpStatus::kOk) return false;
  seen_ = core_.join_line(grant_, nullptr);
  if (seen_ == Look::kFull) seen_ = status == OpStatus::kTimedOut ? Look::kTimedOut : Look::kCancelled;
  return true;
}

bool ObjectTake::join() noexcept {
  seen_ = ObjectCore::Look::kParked;  // once it is, nothing of this may be touched
  const ObjectCore::Look seen = core_.join_line(grant_, &wait_->node());
  if (seen == ObjectCore::Look::kParked) return true;
  seen_ = seen;
  return false;
}

absl::StatusOr<ObjectSlot*> ObjectTake::finish() {
  if (std::exchange(is_ready_, false)) return std::exchange(grant_.slot, nullptr);
  if (seen_ != ObjectCore::Look::kParked) {
    return core_.finish(std::exchange(seen_, ObjectCore::Look::kFull), grant_, began_);
  }
  const ObjectCore::Share share(core_);
  const ObjectCore::Look seen = core_.leave_line(wait_->node(), wait_->resume());
  wait_.reset();
  seen_ = ObjectCore::Look::kFull;
  return core_.finish(seen, grant_, began_);
}

void ObjectCore::serve_from_depot(Effects& effects) noexcept {
  while (depot_.size() != 0) {
    WaitNode* const node = line_.claim_first();
    if (node == nullptr) return;
    ObjectDepot::Generation generation{};
    ObjectSlot* const slot = depot_.take(generation);
    ++places_;
    ++counts_.hits_stolen;
    if (weighs_) counts_.bytes_saved += slot->weight;
    static_cast<ObjectGrant*>(node->slot)->slot = slot;
    effects.wake.push(*node);
  }
}

namespace {

/// What is reserved for an object that is being made, unless it comes to be.
template <class Undo>
class Reserved {
 public:
  explicit Reserved(Undo undo) : undo_(std::move(undo)) {}
  Reserved(const Reserved&) = delete;
  Reserved& operator=(const Reserved&) = delete;
  ~Reserved() {
    if (is_held_) undo_();
  }
  void keep() noexcept { is_held_ = false; }

 private:
  Undo undo_;
  bool is_held_ = true;
};

}  // namespace

absl::StatusOr<ObjectSlot*> ObjectCore::make_object(bool is_miss) {
  bool was_called = false;
  bool has_thrown = true;
  Reserved reserved([&] {
    Effects effects;
    {
      const SpinLockGuard lock(mutex_);
      if (was_called) ++counts_.create_failures;
      if (is_miss && !has_thrown) ++counts_.misses;
      drop_live(1, effects);
    }
    apply(effects);
  });
  auto slot = make_slot();
  was_called = true;
  absl::StatusOr<void*> object = kind_->make();
  has_thrown = false;
  if (!object.ok()) return object.status();
  if (*object == nullptr) return made_nothing();
  slot->object = *object;
  {
    const SpinLockGuard lock(mutex_);
    slot->id = ++last_id_;  // before others can see the trace
  }
  try {
    trace(*slot);
  } catch (...) {
    kind_->destroy(slot->object);
    was_called = false;
    has_thrown = true;
    throw;
  }
  if (options_.timestamps) slot->created = now();
  {
    const SpinLockGuard lock(mutex_);
    ++(is_miss ? counts_.creates : counts_.prewarmed);
    if (is_miss) ++counts_.misses;
  }
  reserved.keep();
  return slot.release();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
