// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What an upstream's answer means: for the key it was asked with, for another attempt, and for the breaker.

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "upstream.hpp"

#include "penstock/core/clock.hpp"
#include "penstock/exec/retry.hpp"
#include "penstock/route/circuit_breaker.hpp"

namespace gateway {

/// The header Retry-After, if it is a number of seconds. What is left of a date depends on whose clock is right.
std::optional<penstock::Duration> parse_retry_after(std::string_view header);

/// OK for an answer that is for the client, whatever it says. ResourceExhausted for 429, with the time that the
/// upstream asks for; PermissionDenied if it refused our key (401, 402 and 403): what it says about the key is not for
/// the client.
absl::Status to_status(const Answer& answer, std::string_view provider);

/// Whether another attempt makes sense: with the same key if the upstream could not be reached, failed or broke off;
/// with another one, where there is one (`rotates`), if this one has reached its limit or was refused; when the first
/// key comes back, if all rest. Not if we have refused the request ourselves, or its time was up.
penstock::RetryVerdict retry_verdict(const absl::Status& status, bool rotates);

/// `status`, for which `retry_verdict` will be that no other attempt makes sense.
absl::Status without_retry(absl::Status status);

/// `status`, after which no other provider is asked, either: the client has a part of the answer.
absl::Status passed_on(absl::Status status);

/// Whether another provider may do better: not if the request was called off, or its client has a part of an answer.
bool may_fall_back(const absl::Status& status);

/// What a call tells the breaker: as `penstock::classify_call`, but who says something about a key has answered.
penstock::CallOutcome breaker_verdict(const absl::Status& status) noexcept;

}  // namespace gateway
