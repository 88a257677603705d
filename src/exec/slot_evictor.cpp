// SPDX-License-Identifier: MIT
#include "penstock/exec/slot_evictor.hpp"

#include <algorithm>

namespace penstock::inline PENSTOCK_ABI {

std::vector<std::size_t> plan_eviction(std::span<const EvictionCandidate> candidates, std::uint64_t owner,
                                       SlotFootprint need) {
  std::vector<std::size_t> chosen;
  // What is still needed counts down, so that no sum has to be made.
  for (std::size_t at = 0; at != candidates.size() && need != SlotFootprint{}; ++at) {
    const EvictionCandidate& each = candidates[at];
    if (!each.is_evictable || each.owner == owner) continue;
    chosen.push_back(at);
    need.cpu -= std::min(need.cpu, each.footprint.cpu);
    need.memory -= std::min(need.memory, each.footprint.memory);
  }
  if (need != SlotFootprint{}) chosen.clear();
  return chosen;
}

}  // namespace penstock::inline PENSTOCK_ABI
