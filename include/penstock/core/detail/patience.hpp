// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a thread waits for what another one is about to do, before it sleeps.
///
/// To sleep and be woken costs both sides some microseconds, so first it looks for about as long as that: at first
/// pausing between the looks, then giving way to other threads of its processor, one of which may be the one it waits
/// for. The second part has to outlast a wake-up: else two threads that have just woken each other go to sleep again
/// before the other one is up, for ever.

#include <cstdint>

#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// The looks of one wait of the calling thread:
///
///     Patience patience;
///     while (patience.has_more()) { if (looks good) return patience.paid(); }
///
/// Where a thread's looks have been in vain many times in a row the others are idle, or the processors are taken: then
/// only every eighth wait goes to the end, to notice when it pays again. That is remembered for the thread, not in
/// what it waits for, which may be gone when a wait has ended.
class Patience {
 public:
  /// With `coarse`, the first looks are further apart. With `gives_way`, the thread lets others have the processor
  /// before each of them: for who would take it from those it waits for.
  explicit Patience(bool coarse = false, bool gives_way = false) noexcept;
  Patience(const Patience&) = delete;
  Patience& operator=(const Patience&) = delete;

  /// Pauses or gives way; false if it is time to sleep.
  bool has_more() noexcept;

  /// It has not been in vain.
  void paid() noexcept { vain_in_a_row_ = 0; }

 private:
  std::uint32_t& vain_in_a_row_;  // of the thread
  std::uint32_t pauses_;
  std::uint32_t yields_;
  std::uint32_t step_;
  bool gives_way_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
