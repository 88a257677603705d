// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// `absl::Status` by name only. Its header is half of what a program that includes a channel would otherwise compile,
/// and most of those never look at a status; who does includes "absl/status/status.h".

#include "absl/base/config.h"

namespace absl {
ABSL_NAMESPACE_BEGIN
class Status;
ABSL_NAMESPACE_END
}  // namespace absl
