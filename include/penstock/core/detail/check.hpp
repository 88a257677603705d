// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Checks of our own invariants, alive in every build.

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Prints what was broken and where to standard error, and aborts.
[[noreturn]] void check_failed(const char* condition, const char* text, const char* file, int line) noexcept;

}  // namespace penstock::inline PENSTOCK_ABI::detail

/// Aborts with `text` when `condition` is false, in every build. For invariants of ours and contracts whose breach
/// would corrupt memory; never for what a caller may try and a status can refuse.
#define PENSTOCK_CHECK(condition, text) \
  ((condition) ? void(0) : ::penstock::detail::check_failed(#condition, text, __FILE__, __LINE__))
