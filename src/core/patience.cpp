// SPDX-License-Identifier: MIT
#include "penstock/core/detail/patience.hpp"

#include <algorithm>
#include <chrono>

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

struct VainLooks {};

constexpr std::uint32_t kYields = 12;
constexpr std::uint32_t kFinePauses = 64;  // then the steps grow
constexpr std::uint32_t kLongestStep = 32;
constexpr std::uint32_t kVainInARow = 32;

}  // namespace

Patience::Patience(bool coarse, bool gives_way) noexcept
    : vain_in_a_row_(world::thread_local_value<VainLooks, std::uint32_t>()),
      pauses_(world::spin_limit()),
      yields_(world::kMayYield ? kYields : 0),
      step_(coarse ? kLongestStep : 1),
      gives_way_(gives_way && world::kMayYield) {
  if (vain_in_a_row_ < kVainInARow || vain_in_a_row_ % 8 == 0) return;
  pauses_ /= 8;
  yields_ = 0;
}

bool Patience::has_more() noexcept {
  if (pauses_ != 0) {
    if (gives_way_) world::yield();
    const std::uint32_t now = std::min(step_, pauses_);
    for (std::uint32_t i = 0; i != now; ++i) world::pause();
    pauses_ -= now;
    if (pauses_ + kFinePauses < world::spin_limit()) step_ = std::min(step_ * 2, kLongestStep);
    return true;
  }
  if (yields_ != 0) {
    --yields_;
    // Somebody else had work to do for long: the processor is wanted, and sleeping is the better way to ask for it.
    constexpr std::chrono::microseconds kTooLong(50);
    const world::TimePoint before = world::now();
    world::yield();
    if (world::now() - before > kTooLong) yields_ = 0;
    return true;
  }
  ++vain_in_a_row_;
  return false;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
