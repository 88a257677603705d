// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Where threads sleep: one waiter, one token. `Parker` is the futex form on Linux and the portable form elsewhere.
///
/// States of the futex word:
///
///   kEmpty --park--> kParked --unpark--> kNotified --park returns--> kEmpty
///   kEmpty --unpark--> kNotified            (the next park returns at once)
///
/// `unpark` changes the word in one exchange and afterwards uses nothing but its address. So a waiter whose node lives
/// in its own frame may leave, and the frame vanish, as soon as it has seen the token: a wake that comes late hits a
/// stranger as a spurious wake-up, which every futex wait has to bear.
///
/// Why not the standard's means: `std::counting_semaphore` of g++ 12 can sleep for ever with a token there (GCC PR
/// 98033), and glibc 2.36's condition variable can lose a signal (sourceware 25847); the portable form lives with the
/// latter.

#include <cstdint>
#include <utility>

#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

#if defined(__linux__) || defined(PENSTOCK_MODEL)
#define PENSTOCK_HAS_FUTEX 1

/// Threads: one thread parks; any thread unparks.
class FutexParker {
 public:
  FutexParker() = default;
  FutexParker(const FutexParker&) = delete;
  FutexParker& operator=(const FutexParker&) = delete;

  /// Sleeps until a token is there, and takes it.
  ///
  /// Order: what the thread that called `unpark` did before is visible when this returns.
  void park() noexcept {
    std::uint32_t expected = kEmpty;
    if (state_.compare_exchange_strong(expected, kParked, std::memory_order_relaxed, std::memory_order_relaxed)) {
      do {
        world::futex_wait(state_, kParked);
      } while (state_.load(std::memory_order_relaxed) == kParked);
    }
    // An exchange, not a store: a second unpark may have come meanwhile, and its token is merged into the one taken
    // here, so what was done before it must be visible too.
    state_.exchange(kEmpty, std::memory_order_acquire);  // P1 acquire
  }

  /// Takes a token if one is there. Cost: one load if there is none.
  bool try_park() noexcept {
    if (state_.load(std::memory_order_relaxed) != kNotified) return false;
    state_.exchange(kEmpty, std::memory_order_acquire);  // P1 acquire
    return true;
  }

  /// Like `park`, but returns false once `deadline` has passed without a token.
  bool park_until(world::TimePoint deadline) noexcept {
    std::uint32_t expected = kEmpty;
    if (state_.compare_exchange_strong(expected, kParked, std::memory_order_relaxed, std::memory_order_relaxed)) {
      while (world::futex_wait_until(state_, kParked, deadline) && state_.load(std::memory_order_relaxed) == kParked) {
      }
    }
    return state_.exchange(kEmpty, std::memory_order_acquire) == kNotified;  // P1 acquire
  }

  /// Leaves a token, and wakes the thread that waits for it. Tokens do not add up.
  ///
  /// Cost: one exchange; a system call only if a thread sleeps. The parker may be destroyed once its owner has the
  /// token.
  void unpark() noexcept {
    const void* const address = &state_;
    if (state_.exchange(kNotified, std::memory_order_release) == kParked) {  // P1 release
      world::futex_wake_one(address);
    }
  }

 private:
  static constexpr std::uint32_t kEmpty = 0;
  static constexpr std::uint32_t kParked = 1;
  static constexpr std::uint32_t kNotified = 2;

  // P1  release in unpark() -> acquire in park(): the token carries what was done before it was left. The steps to
  //     kParked order nothing and are relaxed: the kernel compares the word again before it lets a thread sleep.
  world::Atomic<std::uint32_t> state_{kEmpty};
};
#endif

/// The same contract from a mutex and a condition variable, for systems without a futex.
class PortableParker {
 public:
  PortableParker() = default;
  PortableParker(const PortableParker&) = delete;
  PortableParker& operator=(const PortableParker&) = delete;

  void park() noexcept {
    std::unique_lock lock(mutex_);
    while (!notified_) wake_.wait(lock);
    notified_ = false;
  }

  bool try_park() noexcept {
    std::lock_guard lock(mutex_);
    return std::exchange(notified_, false);
  }

  bool park_until(world::TimePoint deadline) noexcept {
    if (deadline == world::TimePoint::max()) {
      park();
      return true;
    }
    std::unique_lock lock(mutex_);
    while (!notified_) {
      if (wake_.wait_until(lock, deadline) == std::cv_status::timeout) break;
    }
    const bool notified = notified_;
    notified_ = false;
    return notified;
  }

  void unpark() noexcept {
    // Notified under the mutex: the waiter cannot leave, and destroy us, before this thread has let go of everything.
    std::lock_guard lock(mutex_);
    notified_ = true;
    wake_.notify_one();
  }

 private:
  world::Mutex mutex_;
  world::CondVar wake_;
  bool notified_ = false;  // guarded by mutex_
};

#if defined(PENSTOCK_HAS_FUTEX) && !defined(PENSTOCK_PORTABLE_PARKER)
using Parker = FutexParker;
#else
using Parker = PortableParker;
#endif

}  // namespace penstock::inline PENSTOCK_ABI::detail
