// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What an object pool keeps about one of its objects.

#include <cstddef>
#include <cstdint>

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

class ObjectCore;
struct ObjectTrace;

/// One object, idle or out. While nothing is asked for but the objects themselves (care is 0), nobody writes here after
/// the object was made: so a slot stays in the caches of all processors however the object travels.
struct ObjectSlot {
  /// What there is to do when the object comes back.
  enum Care : std::uint8_t {
    kNone = 0,
    kDiscard = 1,  // it is not to be used again
    kReset = 2,
    kWeigh = 4,
    kTime = 8,
    kCheck = 16,
  };

  void* object = nullptr;
  ObjectCore* core = nullptr;
  std::uint64_t id = 0;
  std::size_t weight = 0;
  std::uint8_t care = kNone;
  ObjectSlot* next = nullptr;  // in a chain

  // With time stamps. Written by the holder.
  TimePoint created{};
  TimePoint acquired{};
  TimePoint returned{};
  std::uint64_t uses = 0;

  ObjectTrace* trace = nullptr;  // with detection
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
