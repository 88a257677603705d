// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A value on cache lines of its own.

#include <cstddef>
#include <utility>

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Two lines of 64 bytes: processors prefetch the neighbour of a line, so values 64 bytes apart still disturb each
/// other.
inline constexpr std::size_t kCachePadding = 128;

/// Keeps `value` away from everything its owner's other members share a line with.
template <class T>
struct alignas(kCachePadding) CachePadded {
  T value{};
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
