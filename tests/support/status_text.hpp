// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a status says, as a string that can be compared and matched.

#include <string>

#include "absl/status/status.h"

namespace penstock::testing {

inline std::string text_of(const absl::Status& status) { return std::string(status.message()); }

}  // namespace penstock::testing
