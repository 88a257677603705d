// SPDX-License-Identifier: MIT
#include "penstock/exec/detail/resource_choice.hpp"

#include <algorithm>
#include <bit>

namespace penstock::inline PENSTOCK_ABI::detail {

StickyTable::StickyTable(std::size_t keys)
    : places_(std::bit_floor(std::max<std::size_t>(keys / kWays, 1))),
      ways_(std::max<std::size_t>(keys / places_, 1)),
      entries_(std::make_unique<Entry[]>(places_ * ways_)) {}

std::span<StickyTable::Entry> StickyTable::place_of(std::uint64_t key) const noexcept {
  // Keys are hashes, but perhaps of a weak kind: the high half of a product has seen all bits.
  const std::uint64_t mixed = (key * 0x9E3779B97F4A7C15U) >> 32U;
  return {entries_.get() + (mixed & (places_ - 1)) * ways_, ways_};
}

std::uint64_t StickyTable::find(std::uint64_t key, TimePoint now) const noexcept {
  for (const Entry& entry : place_of(key)) {
    if (entry.serial != 0 && entry.key == key) return now < entry.expires ? entry.serial : 0;
  }
  return 0;
}

void StickyTable::bind(std::uint64_t key, std::uint64_t serial, TimePoint expires) noexcept {
  Entry* oldest = nullptr;
  for (Entry& entry : place_of(key)) {
    if (entry.serial != 0 && entry.key == key) {
      oldest = &entry;
      break;
    }
    // All are kept for the same time after their last use, so what expires first was not used for longest.
    const bool better = oldest == nullptr || (oldest->serial != 0 && entry.expires < oldest->expires);
    if (better || (entry.serial == 0 && oldest->serial != 0)) oldest = &entry;
  }
  *oldest = {key, serial, expires};
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
