// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How what a function returned says that it went.

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Valid as long as the result is.
inline const absl::Status& status_of(const absl::Status& result) noexcept { return result; }
template <class T>
const absl::Status& status_of(const absl::StatusOr<T>& result) noexcept {
  return result.status();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
