// SPDX-License-Identifier: MIT

// The life of an object pool. Who acquires is in object_acquire.cpp, what comes back in object_return.cpp, the caches
// of threads are in object_cache.cpp, the generations in object_purge.cpp.

#include "penstock/state/detail/object_core.hpp"

#include <array>
#include <stdexcept>
#include <utility>

#include "object_visit.hpp"
#include "penstock/core/detail/fork.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

ObjectCoreOptions validated(ObjectCoreOptions options) {
  if (const absl::Status bad = options.validate(); !bad.ok()) throw std::invalid_argument(std::string(bad.message()));
  return options;
}

/// Which pool has which place in the tables of threads: each a place of its own, as long as there are few.
class Indexes {
 public:
  std::uint32_t take() noexcept {
    const SpinLockGuard lock(mutex_);
    std::uint32_t best = 0;
    for (std::uint32_t index = 1; index != ObjectCacheTable::kIndexes; ++index) {
      if (users_[index] < users_[best]) best = index;
    }
    ++users_[best];
    return best;
  }
  void give_back(std::uint32_t index) noexcept {
    const SpinLockGuard lock(mutex_);
    --users_[index];
  }

 private:
  SpinLock mutex_;
  std::array<std::uint32_t, ObjectCacheTable::kIndexes> users_ ABSL_GUARDED_BY(mutex_){};
};

// Never destroyed: pools may end after everything else has.
constinit Indexes indexes;

std::uint8_t care_of(const ObjectCoreOptions& options) {
  unsigned care = ObjectSlot::kNone;
  if (options.resets) care |= ObjectSlot::kReset;
  if (options.weighs || options.object_bytes > options.max_weight) care |= ObjectSlot::kWeigh;
  if (options.timestamps) care |= ObjectSlot::kTime;
  if (options.detection != ObjectDetection::kOff) care |= ObjectSlot::kCheck;
  return static_cast<std::uint8_t>(care);
}

}  // namespace

ObjectCore* ObjectCore::make(ObjectCoreOptions options, std::unique_ptr<ObjectKind> kind) {
  auto* const core = new ObjectCore(validated(std::move(options)), std::move(kind));
  try {
    if (core->options_.purge_every != Duration::max()) {
      core->options_.clock->start_timers();
      core->due_ = saturated_add(core->now(), core->options_.purge_every);
      core->arm_purge();
    }
    static_cast<void>(core->prewarm(core->options_.prewarm));
  } catch (...) {
    core->destroy();
    throw;
  }
  return core;
}

ObjectCore::ObjectCore(ObjectCoreOptions options, std::unique_ptr<ObjectKind> kind)
    : index_(indexes.take()),
      weighs_(options.weighs),
      cares_(options.timestamps || options.detection != ObjectDetection::kOff),
      care_(care_of(options)),
      options_(std::move(options)),
      process_(fork_generation()),
      kind_(std::move(kind)),
      times_(options_.timestamps ? std::make_unique<ObjectTimes>() : nullptr),
      alert_(options_.alert.has_value() ? std::make_unique<ObjectAlert>(*options_.alert) : nullptr),
      depot_(options_.weighs),
      places_(options_.max_idle),
      timer_([](Timer& timer) noexcept { static_cast<PurgeTimer&>(timer).self.on_timer(); }, *this),
      work_([](Work& work) noexcept { static_cast<PurgeWork&>(work).self.on_purge_work(); }, *this) {}

ObjectCore::~ObjectCore() { indexes.give_back(index_); }

bool ObjectCore::is_forked() const noexcept { return process_ != fork_generation(); }

void ObjectCore::drop_share(Effects& effects) noexcept {
  --shares_;
  if (shares_ == 0 && live_ == 0) effects.ends_core = true;
}

void ObjectCore::drop_live(std::size_t objects, Effects& effects) noexcept {
  live_ -= objects;
  if (shares_ == 0 && live_ == 0) effects.ends_core = true;
  for (; live_ < options_.max_live; ++live_) {
    WaitNode* const node = line_.claim_first();
    if (node == nullptr) return;
    *static_cast<ObjectGrant*>(node->slot) = {};
    effects.wake.push(*node);
  }
}

void ObjectCore::apply(Effects& effects) noexcept {
  // Who is woken may end the pool: from here on the core is used only by who ended it.
  effects.wake.wake_all();
  if (effects.ends_core) delete this;
}

bool ObjectCore::close() noexcept {
  if (is_forked()) return false;
  Effects effects;
  {
    const SpinLockGuard lock(mutex_);
    if (closed_) return false;
    closed_ = true;
    line_.claim_all(Waiter::kClosed, effects.wake);
  }
  gather();
  ObjectChain gone;
  {
    const SpinLockGuard lock(mutex_);
    ObjectDepot::Generation generation{};
    while (ObjectSlot* const slot = depot_.take(generation)) gone.push(*slot);
  }
  effects.wake.wake_all();
  destroy_all(gone, Cause::kClosed);
  return true;
}

void ObjectCore::destroy() noexcept {
  if (is_forked()) return;
  close();
  if (options_.purge_every != Duration::max()) {
    options_.clock->disarm(timer_);
    if (options_.executor != nullptr) end_purge_work();
  }
  {
    const MutexLock visiting(visit_mutex_);
    has_ended_ = true;
    while (ObjectCache* const cache = caches_) unlink(*cache);
  }
  drop_share();
}

void ObjectCore::drop_share() noexcept {
  Effects effects;
  {
    const SpinLockGuard lock(mutex_);
    drop_share(effects);
  }
  apply(effects);
}

bool ObjectCore::is_closed() const noexcept {
  if (is_forked()) return true;
  const SpinLockGuard lock(mutex_);
  return closed_;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
