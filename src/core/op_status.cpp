// SPDX-License-Identifier: MIT
#include "penstock/core/op_status.hpp"

#include <string>

#include <fmt/format.h>

#include "absl/status/status.h"

namespace penstock::inline PENSTOCK_ABI {

std::string_view to_string(OpStatus status) noexcept {
  switch (status) {
    case OpStatus::kOk:
      return "ok";
    case OpStatus::kFull:
      return "full";
    case OpStatus::kEmpty:
      return "empty";
    case OpStatus::kClosed:
      return "closed";
    case OpStatus::kTimedOut:
      return "timed out";
    case OpStatus::kCancelled:
      return "cancelled";
  }
  return "unknown status";
}

absl::Status to_status(OpStatus status, std::string_view subject) {
  if (status == OpStatus::kOk) return absl::OkStatus();
  const std::string message = fmt::format("{}: {}", subject, to_string(status));
  switch (status) {
    case OpStatus::kFull:
      return absl::ResourceExhaustedError(message);
    case OpStatus::kEmpty:
      return absl::UnavailableError(message);
    case OpStatus::kClosed:
      return absl::FailedPreconditionError(message);
    case OpStatus::kTimedOut:
      return absl::DeadlineExceededError(message);
    case OpStatus::kCancelled:
      return absl::CancelledError(message);
    case OpStatus::kOk:
      break;
  }
  return absl::InternalError(fmt::format("{}: {} {}", subject, to_string(status), static_cast<int>(status)));
}

}  // namespace penstock::inline PENSTOCK_ABI
