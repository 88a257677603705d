// SPDX-License-Identifier: MIT
#include "penstock/metrics/detail/thread_index.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

ThreadIndexSlot& slot() noexcept { return world::thread_local_value<ThreadIndexTag, ThreadIndexSlot>(); }

#if !defined(PENSTOCK_MODEL)

constinit IndexPool index_pool;  // trivially destructible: threads may end after static objects are gone

/// Holds the number of a thread for as long as the thread runs.
struct ThreadIndexLease {
  ThreadIndexLease() noexcept { slot().index = index_pool.claim(); }
  ThreadIndexLease(const ThreadIndexLease&) = delete;
  ThreadIndexLease& operator=(const ThreadIndexLease&) = delete;

  ~ThreadIndexLease() {
    const ThreadIndex index = slot().index;
    // First, because other thread-local values may be destroyed after this one and still count: they share from now on.
    slot().index = IndexPool::kNone;
    if (index != IndexPool::kNone) index_pool.release(index);
  }
};

#endif

}  // namespace

ThreadIndex assign_thread_index() noexcept {
  // Looked at first, because the lease must not be touched again once it has been destroyed.
  if (slot().index == kUnassigned) {
#if defined(PENSTOCK_MODEL)
    // Nothing may be left behind by one execution for the next, as a pool for all threads would be. So threads have no
    // numbers, unless a scenario gives them some.
    slot().index = IndexPool::kNone;
#else
    world::thread_local_value<ThreadIndexTag, ThreadIndexLease>();
#endif
  }
  return slot().index;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
