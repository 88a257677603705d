// SPDX-License-Identifier: MIT
#include "penstock/core/detail/spin_lock.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void SpinLock::wait_and_lock() noexcept {
  std::uint32_t round = 0;
  do {
    // Looks before it tries, so that the line stays with the holder.
    do {
      world::back_off(round++);
    } while (held_.load(std::memory_order_relaxed) != 0);
  } while (held_.exchange(1, std::memory_order_acquire) != 0);  // L1 acquire
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
