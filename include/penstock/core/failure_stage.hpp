// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a status says how far things had come when the library refused or gave up: "enqueue", "queue", "lease", "limit",
/// "run" and others. A failure without a stage is one of the caller's own code, or of the other side.

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// `status` with the payload `type.penstock/stage`. An OK status stays as it is.
absl::Status with_failure_stage(absl::Status status, std::string_view stage);

/// The stage of `status`; nothing if it has none.
std::optional<std::string> failure_stage(const absl::Status& status);

}  // namespace penstock::inline PENSTOCK_ABI
