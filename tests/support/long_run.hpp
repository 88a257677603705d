// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Whether tests that hunt by repetition have all the time they want.

#include <cstdlib>

namespace penstock::testing {

/// With PENSTOCK_LONG=1, as in `tests/run --long`.
[[nodiscard]] inline bool runs_long() noexcept { return std::getenv("PENSTOCK_LONG") != nullptr; }

}  // namespace penstock::testing
