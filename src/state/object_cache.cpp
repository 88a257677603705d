// SPDX-License-Identifier: MIT

// The caches of threads: how a thread finds its own, what becomes of it when the thread ends or the pool does, and how
// others get at what lies in it.

#include <new>
#include <utility>

#include "object_visit.hpp"

#if (defined(__unix__) || defined(__APPLE__)) && !defined(PENSTOCK_MODEL)
#include <pthread.h>
#define PENSTOCK_HAS_FORK 1
#endif

namespace penstock::inline PENSTOCK_ABI::detail {

/// All caches of a thread, of all pools.
class ObjectThread {
 public:
  ObjectThread() = default;
  ObjectThread(const ObjectThread&) = delete;
  ObjectThread& operator=(const ObjectThread&) = delete;
  ~ObjectThread();

  /// In a forked child: leaves the caches alone, which others may have been changing.
  void forget() noexcept { first_ = nullptr; }

  /// The thread's cache for `core`; null if there is no memory for one.
  ObjectCache* find(ObjectCore& core) noexcept;

 private:
  ObjectCache* first_ = nullptr;
};

namespace {

struct ThreadTag {};
struct GoneTag {};
struct CurrentTag {};

/// Whether the calling thread's caches have been destroyed: thread-local objects of the user may end later, and give
/// objects back. Trivial, so it stays readable.
bool& thread_is_gone() noexcept { return world::thread_local_value<GoneTag, bool>(); }

ObjectCacheTable& table() noexcept { return world::thread_local_value<ObjectCacheTag, ObjectCacheTable>(); }

/// The calling thread's, if it has been made and is not gone. Trivial, too.
ObjectThread*& current_thread() noexcept { return world::thread_local_value<CurrentTag, ObjectThread*>(); }

#if defined(PENSTOCK_HAS_FORK)

void forget_all() noexcept {
  table() = {};
  if (ObjectThread* const thread = current_thread()) thread->forget();
}

// Registered when the library is loaded. A system without memory for it leaves it out: a child is then as lost as
// without us.
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, forget_all);

#endif

}  // namespace

ObjectThread::~ObjectThread() {
  thread_is_gone() = true;
  current_thread() = nullptr;
  table() = {};
  while (ObjectCache* const cache = first_) {
    first_ = cache->next_of_thread;
    ObjectCore* core = nullptr;
    {
      // The pool may be ending at this moment, by another thread.
      const SpinLockGuard alive(cache->life);
      core = cache->core.load(std::memory_order_relaxed);
      if (core != nullptr) {
        const SpinLockGuard lock(core->mutex_);
        ++core->shares_;
      }
    }
    if (core != nullptr) core->retire_cache(*cache);
    delete cache;
  }
}

ObjectCache* ObjectThread::find(ObjectCore& core) noexcept {
  current_thread() = this;
  ObjectCache* free = nullptr;
  ObjectCache* found = nullptr;
  for (ObjectCache* cache = first_; cache != nullptr && found == nullptr; cache = cache->next_of_thread) {
    ObjectCore* const its = cache->core.load(std::memory_order_acquire);  // C1
    if (its == &core) found = cache;
    if (its == nullptr) free = cache;
  }
  if (found == nullptr) {
    if (free == nullptr) {
      free = new (std::nothrow) ObjectCache;
      if (free == nullptr) return nullptr;
      free->next_of_thread = first_;
      first_ = free;
    }
    if (!core.add_cache(*free)) return nullptr;
    found = free;
  }
  table().at[core.index_] = found;
  return found;
}

ObjectCache* ObjectCore::own_cache() noexcept {
  ObjectCache* const cache = quick_cache(index_);
  if (cache != nullptr && cache->core.load(std::memory_order_relaxed) == this) return cache;
  if (thread_is_gone()) return nullptr;
  return world::thread_local_value<ThreadTag, ObjectThread>().find(*this);
}

bool ObjectCore::add_cache(ObjectCache& cache) noexcept {
  const MutexLock visiting(visit_mutex_);
  if (has_ended_) return false;  // an object that has outlived its pool comes back
  cache.hits_local = cache.hits_victim = cache.kept = cache.resets = cache.saved_bytes = 0;
  cache.core.store(this, std::memory_order_relaxed);
  cache.previous_of_pool = nullptr;
  cache.next_of_pool = caches_;
  if (caches_ != nullptr) caches_->previous_of_pool = &cache;
  caches_ = &cache;
  return true;
}

void ObjectCore::unlink(ObjectCache& cache) noexcept {
  (cache.previous_of_pool == nullptr ? caches_ : cache.previous_of_pool->next_of_pool) = cache.next_of_pool;
  if (cache.next_of_pool != nullptr) cache.next_of_pool->previous_of_pool = cache.previous_of_pool;
  const SpinLockGuard alive(cache.life);
  cache.core.store(nullptr, std::memory_order_release);  // C1: its thread may use it for another pool
}

void ObjectCore::retire_cache(ObjectCache& cache) noexcept {
  Effects effects;
  {
    const MutexLock visiting(visit_mutex_);
    const bool is_listed = cache.core.load(std::memory_order_relaxed) == this;  // else the pool has just gone
    if (is_listed) unlink(cache);
    const SpinLockGuard lock(mutex_);
    if (is_listed) {
      empty_into_depot(cache);
      counts_.hits_local += cache.hits_local;
      counts_.hits_victim += cache.hits_victim;
      counts_.resets += cache.resets;
      counts_.bytes_saved += cache.saved_bytes;
      kept_ += cache.kept;
    }
    serve_from_depot(effects);
  }
  effects.wake.wake_all();
  drop_share();  // not before the last mutex is free: with it the core may go
}

void ObjectCore::gather() noexcept {
  Effects effects;
  {
    const MutexLock visiting(visit_mutex_);
    {
      const SpinLockGuard lock(mutex_);
      if (leased_ == 0) return;  // then there is nothing in them, either
    }
    const Visit visit(caches_);
    const SpinLockGuard lock(mutex_);
    for (ObjectCache* cache = caches_; cache != nullptr; cache = cache->next_of_pool) empty_into_depot(*cache);
    serve_from_depot(effects);
  }
  apply(effects);
}

bool ObjectCore::steal() noexcept {
  const MutexLock visiting(visit_mutex_);
  ObjectCache* fullest = nullptr;
  for (ObjectCache* cache = caches_; cache != nullptr; cache = cache->next_of_pool) {
    if (cache->size() > (fullest == nullptr ? 0 : fullest->size())) fullest = cache;
  }
  if (fullest == nullptr) return false;
  fullest->lock.revoke();
  AsymmetricLock::publish_revocations();
  fullest->lock.await();
  std::uint32_t taken = 0;
  {
    const SpinLockGuard lock(mutex_);
    // The older half: its owner will come for the other one first.
    const std::uint32_t size = fullest->size();
    taken = closed_ ? 0 : size - size / 2;
    for (std::uint32_t i = 0; i != taken; ++i) {
      depot_.put(*fullest->slots[i], i < fullest->floor ? ObjectDepot::kVictims : ObjectDepot::kFresh);
    }
    fullest->drop_bottom(taken);
    leased_ -= taken;
    fullest->set_places(fullest->places() - taken);
  }
  fullest->lock.restore();
  return taken != 0;
}

bool ObjectCore::reclaim_places() noexcept {
  const MutexLock visiting(visit_mutex_);
  bool is_worth_it = false;
  for (ObjectCache* cache = caches_; cache != nullptr; cache = cache->next_of_pool) {
    if (cache->size() < cache->places()) is_worth_it = true;
  }
  if (!is_worth_it) return false;
  const Visit visit(caches_);
  const SpinLockGuard lock(mutex_);
  const std::size_t before = places_;
  for (ObjectCache* cache = caches_; cache != nullptr; cache = cache->next_of_pool) {
    const std::uint32_t unused = cache->places() - cache->size();
    cache->set_places(cache->size());
    leased_ -= unused;
    places_ += unused;
  }
  return places_ != before;
}

void ObjectCore::empty_into_depot(ObjectCache& cache) noexcept {
  const std::uint32_t size = cache.size();
  for (std::uint32_t i = 0; i != size; ++i) {
    depot_.put(*cache.slots[i], i < cache.floor ? ObjectDepot::kVictims : ObjectDepot::kFresh);
  }
  cache.set_size(0);
  cache.floor = 0;
  // What it had leased for them is theirs in the depot.
  leased_ -= cache.places();
  places_ += cache.places() - size;
  cache.set_places(0);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
