// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a status says when to come again: open circuit breakers, busy resources and rate limits of other sides do.

#include <optional>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// `status`, asking whoever sees it to wait for `wait`, at least 0, before they try again. The payload
/// `type.penstock/retry-after` holds it in nanoseconds. An OK status stays as it is.
absl::Status with_retry_after(absl::Status status, Duration wait);

/// How long `status` asks to wait; nothing if it names no time.
std::optional<Duration> retry_after(const absl::Status& status);

}  // namespace penstock::inline PENSTOCK_ABI
