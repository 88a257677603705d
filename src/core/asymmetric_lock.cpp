// SPDX-License-Identifier: MIT
#include "penstock/core/detail/asymmetric_lock.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void AsymmetricLock::enter_slowly() noexcept {
  for (;;) {
    if ((gate_.load(std::memory_order_acquire) & kRevoked) != 0) {
      busy_.store(0, std::memory_order_release);  // A2 release
      for (std::uint32_t round = 0; (gate_.load(std::memory_order_acquire) & kRevoked) != 0; ++round) {
        world::back_off(round);
      }
    }
    if (world::has_heavy_barriers()) {
      busy_.store(1, std::memory_order_relaxed);  // A3
      world::light_barrier();
      if (gate_.load(std::memory_order_acquire) == kOpen) return;  // A1 acquire
    } else {
      busy_.exchange(1, std::memory_order_seq_cst);                         // A3
      if ((gate_.load(std::memory_order_seq_cst) & kRevoked) == 0) return;  // A1 acquire, A3
    }
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
