// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Whether this process is a copy: after a fork the child has the objects of its parent but none of their threads, and
/// locks that one of those held are held for ever.

#include <cstdint>

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// How often this process has come out of a fork since the library was loaded. For who has threads: keep what it says
/// at the start, and touch nothing of your own once it says something else.
///
/// Cost: one load. Where there is no fork it is always 0.
std::uint32_t fork_generation() noexcept;

}  // namespace penstock::inline PENSTOCK_ABI::detail
