// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a pool puts durations and exceptions into words.

#include <exception>
#include <string>

#include "penstock/core/detail/duration_text.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Type and text, "std::runtime_error: boom", at most some 600 bytes. Empty if memory is out.
std::string exception_text(const std::exception_ptr& exception) noexcept;

}  // namespace penstock::inline PENSTOCK_ABI::detail
