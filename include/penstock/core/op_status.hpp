// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The outcome of an operation that waits or may be refused.

#include <cstdint>
#include <string_view>

#include "penstock/core/detail/status_fwd.hpp"
#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI {

// Not formatted: clang-format 14 takes an attributed enumeration for a block of statements.

/// What became of an operation on a hot path. An enum, because a refusal comes when we are overloaded: a status with a
/// text costs about a hundred times as much. `to_status` makes one where a text is wanted.
// clang-format off
enum class [[nodiscard]] OpStatus : std::uint8_t {
  kOk,  ///< Done.
  kFull,  ///< Refused: no room now.
  kEmpty,  ///< Nothing there now.
  kClosed,  ///< The object takes no more of these, for good.
  kTimedOut,  ///< The deadline passed first.
  kCancelled,  ///< The context was cancelled first.
};
// clang-format on

/// The name of `status` in lower case with spaces, such as "timed out".
std::string_view to_string(OpStatus status) noexcept;

/// The same outcome as a status whose message reads "`subject`: timed out".
///
/// kOk is OK, kFull ResourceExhausted, kEmpty Unavailable, kClosed FailedPrecondition, kTimedOut DeadlineExceeded and
/// kCancelled Cancelled. Cost: allocates the message, but for kOk.
absl::Status to_status(OpStatus status, std::string_view subject);

}  // namespace penstock::inline PENSTOCK_ABI
