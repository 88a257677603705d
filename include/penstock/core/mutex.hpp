// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A mutex that clang can check, and a condition variable that knows deadlines and cancellation.

#include "absl/base/thread_annotations.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/op_status.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// `std::mutex` with annotations: `-Wthread-safety` proves which lock guards what. For short critical sections: it
/// waits without a deadline. Cost: that of `std::mutex`.
class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }
  bool try_lock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) { return mutex_.try_lock(); }

 private:
  detail::world::Mutex mutex_;
};

/// Holds a mutex for a scope.
class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

/// A place to wait for a condition on what a mutex guards. Waiters are woken first come, first served; there are no
/// spurious wake-ups, but the condition may have changed again before the waiter has the mutex: wait in a loop.
///
///     MutexLock lock(mutex_);
///     while (queue_.empty()) {
///       if (const OpStatus status = ready_.wait(mutex_, ctx); status != OpStatus::kOk) return status;
///     }
///
/// Threads: any number; all waiters of one condition variable use the same mutex. It may be destroyed once everybody
/// has been woken, even before they have all returned.
class CondVar {
 public:
  CondVar() = default;
  CondVar(const CondVar&) = delete;
  CondVar& operator=(const CondVar&) = delete;

  /// Lets go of `mutex`, waits to be notified, and takes `mutex` again.
  ///
  /// Blocks:  until notified or `ctx` ends; then for `mutex`.
  /// Returns: kOk, kTimedOut or kCancelled. A notification is never lost on a wait that ends otherwise.
  OpStatus wait(Mutex& mutex, const Context& ctx = Context::background()) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  /// Wakes the one that has waited longest. Best called without the mutex, which the woken one takes next.
  void notify_one() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  /// Wakes all that wait now.
  void notify_all() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  Mutex mutex_;  // locked while the caller's mutex may be held; nothing else is locked while it is held
  detail::WaitList waiters_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace penstock::inline PENSTOCK_ABI
