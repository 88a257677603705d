// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a pool puts durations and exceptions into words.

#include <exception>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// In the largest unit that fits, with up to four digits: "250 ms", "1.5 s", "30 s".
std::string duration_text(Duration duration);

/// Type and text, "std::runtime_error: boom", at most some 600 bytes. Empty if memory is out.
std::string exception_text(const std::exception_ptr& exception) noexcept;

}  // namespace penstock::inline PENSTOCK_ABI::detail
