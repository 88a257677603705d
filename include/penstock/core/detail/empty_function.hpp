// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Functions that users hand in, whatever their shape.

#include <type_traits>

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Whether a function wrapper or pointer holds nothing to call. (A lambda without captures converts to a pointer too,
/// but is never empty; only such a one can be promoted by `+`.)
template <class F>
bool is_empty_function([[maybe_unused]] const F& function) noexcept {
  if constexpr (std::is_function_v<F>) {
    return false;
  } else if constexpr (std::is_pointer_v<F> || std::is_member_pointer_v<F>) {
    return function == nullptr;
  } else if constexpr (std::is_class_v<F> && requires { +function; }) {
    return false;
  } else if constexpr (requires { static_cast<bool>(function == nullptr); }) {
    return function == nullptr;
  } else {
    return false;
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
