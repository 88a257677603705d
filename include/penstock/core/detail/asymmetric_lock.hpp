// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A lock that costs its owner nothing: two plain stores and a load.
///
/// One thread, the owner, takes it all the time; others, the visitors, once in a while. The owner says that it is busy,
/// and then looks whether it may be; a visitor shuts the gate, and then waits until the owner is not busy. Each writes
/// before it reads what the other one writes, so one of them at least sees the other, if there is a full barrier in
/// between on both sides. The visitor brings it for both (world::heavy_barrier). This is how biased locks, hazard
/// pointers and user-space RCU do it (Dice, Huang and Yang, "Asymmetric Dekker synchronization", 2001).
///
/// A visitor that has many locks to take shuts all of them, and pays for one barrier:
///
///     for (Cache& cache : caches) cache.lock.revoke();
///     AsymmetricLock::publish_revocations();
///     for (Cache& cache : caches) cache.lock.await();      // from here on none of the owners is inside
///     ...
///     for (Cache& cache : caches) cache.lock.restore();
///
/// Where the system has no such barrier (before Linux 4.14, in some sandboxes, elsewhere), the owner's first store is
/// an atomic exchange, as in an ordinary lock.

#include <cstdint>

#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Threads: `enter` and `leave` by the owner, which may change while nobody is inside and the change is seen by both;
/// the rest by one visitor at a time, which is not the owner while that is inside.
class AsymmetricLock {
 public:
  AsymmetricLock() noexcept : gate_(world::has_heavy_barriers() ? kOpen : kGuarded) {}
  AsymmetricLock(const AsymmetricLock&) = delete;
  AsymmetricLock& operator=(const AsymmetricLock&) = delete;

  /// The owner goes in. Not again before it has left.
  /// Blocks: while a visitor is inside. Cost: less than a nanosecond.
  void enter() noexcept {
    busy_.store(1, std::memory_order_relaxed);  // A3
    world::light_barrier();
    if (gate_.load(std::memory_order_acquire) != kOpen) [[unlikely]]
      enter_slowly();  // A1 acquire
  }
  void leave() noexcept { busy_.store(0, std::memory_order_release); }  // A2 release

  /// Shuts the gate.
  void revoke() noexcept {
    gate_.store(gate_.load(std::memory_order_relaxed) | kRevoked, std::memory_order_seq_cst);  // A3
  }
  /// Between `revoke` and `await`, once for all locks.
  static void publish_revocations() noexcept {
    if (world::has_heavy_barriers()) world::heavy_barrier();
  }
  /// Blocks: while the owner is inside; it is not, then, until `restore`.
  void await() const noexcept {
    for (std::uint32_t round = 0; busy_.load(std::memory_order_seq_cst) != 0; ++round) {  // A2 acquire, A3
      world::back_off(round);
    }
  }
  /// Opens the gate again.
  void restore() noexcept {
    gate_.store(gate_.load(std::memory_order_relaxed) & ~kRevoked, std::memory_order_release);  // A1 release
  }

 private:
  static constexpr std::uint32_t kOpen = 0;
  static constexpr std::uint32_t kRevoked = 1;
  static constexpr std::uint32_t kGuarded = 2;  // there are no heavy barriers; set at the start, and stays

  void enter_slowly() noexcept;

  //   A1  release in restore() -> acquire in enter(): the owner sees what the visitor did.
  //   A2  release in leave() -> acquire in await(): the visitor sees what the owner did.
  //   A3  busy_ is written before gate_ is read, and gate_ before busy_: by the heavy barrier, or, where there is none,
  //       since all four are sequentially consistent.
  world::Atomic<std::uint32_t> busy_{0};
  world::Atomic<std::uint32_t> gate_;  // written by visitors only
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
