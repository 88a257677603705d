// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the jobs of a pool are told when it ends before them.

#include <string_view>

#include <fmt/format.h>

#include "absl/status/status.h"

#include "penstock/core/failure_stage.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// "<pool>: shutting down", of the stage "shutdown". Without memory for the text, the bare cause.
inline absl::Status shutdown_cause(std::string_view pool, std::string_view name) noexcept {
  try {
    return with_failure_stage(absl::CancelledError(fmt::format("{} '{}': shutting down", pool, name)), "shutdown");
  } catch (...) {
    return absl::CancelledError();
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
