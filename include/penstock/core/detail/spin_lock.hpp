// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A lock for critical sections of a few nanoseconds.
///
/// Why not `Mutex`: its unlock is an atomic exchange, since somebody may sleep. Here it is a plain store, which halves
/// the price of an uncontended pair, and nobody ever sleeps on it. Who finds it taken pauses, then gives way to other
/// threads of the processor, and in the end naps, so that even a thread of real-time priority lets a holder of lower
/// priority finish (the progression of folly's MicroSpinLock and Abseil's SpinLock). So it may guard nothing that
/// blocks, and nothing long.

#include <cstdint>

#include "absl/base/thread_annotations.h"

#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

class ABSL_LOCKABLE SpinLock {
 public:
  SpinLock() = default;
  SpinLock(const SpinLock&) = delete;
  SpinLock& operator=(const SpinLock&) = delete;

  void lock() noexcept ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    if (held_.exchange(1, std::memory_order_acquire) != 0) [[unlikely]]
      wait_and_lock();  // L1 acquire
  }
  void unlock() noexcept ABSL_UNLOCK_FUNCTION() { held_.store(0, std::memory_order_release); }  // L1 release

  /// A guess, unless the caller holds it. Order: acquire, as if it had been taken and released (L1).
  [[nodiscard]] bool is_held() const noexcept { return held_.load(std::memory_order_acquire) != 0; }

 private:
  void wait_and_lock() noexcept;

  // L1  release in unlock() -> acquire in lock(): what the last holder wrote is there.
  world::Atomic<std::uint32_t> held_{0};
};

/// Holds a short lock for a scope.
class ABSL_SCOPED_LOCKABLE SpinLockGuard {
 public:
  explicit SpinLockGuard(SpinLock& lock) ABSL_EXCLUSIVE_LOCK_FUNCTION(lock) : lock_(lock) { lock_.lock(); }
  ~SpinLockGuard() ABSL_UNLOCK_FUNCTION() { lock_.unlock(); }
  SpinLockGuard(const SpinLockGuard&) = delete;
  SpinLockGuard& operator=(const SpinLockGuard&) = delete;

 private:
  SpinLock& lock_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
