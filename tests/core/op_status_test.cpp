// SPDX-License-Identifier: MIT
#include "penstock/core/op_status.hpp"

#include <string>

#include "absl/status/status.h"

#include "support/catch.hpp"

namespace penstock {
namespace {

TEST_CASE("OpStatus: each value has its own name", "[core][op_status]") {
  CHECK(to_string(OpStatus::kOk) == "ok");
  CHECK(to_string(OpStatus::kFull) == "full");
  CHECK(to_string(OpStatus::kEmpty) == "empty");
  CHECK(to_string(OpStatus::kClosed) == "closed");
  CHECK(to_string(OpStatus::kTimedOut) == "timed out");
  CHECK(to_string(OpStatus::kCancelled) == "cancelled");
  CHECK(to_string(static_cast<OpStatus>(99)) == "unknown status");
}

TEST_CASE("OpStatus: to_status names the subject and keeps the meaning", "[core][op_status]") {
  CHECK(to_status(OpStatus::kOk, "channel 'a'").ok());
  const auto code = [](OpStatus status) { return to_status(status, "channel 'a'").code(); };
  CHECK(code(OpStatus::kFull) == absl::StatusCode::kResourceExhausted);
  CHECK(code(OpStatus::kEmpty) == absl::StatusCode::kUnavailable);
  CHECK(code(OpStatus::kClosed) == absl::StatusCode::kFailedPrecondition);
  CHECK(code(OpStatus::kTimedOut) == absl::StatusCode::kDeadlineExceeded);
  CHECK(code(OpStatus::kCancelled) == absl::StatusCode::kCancelled);
  CHECK(code(static_cast<OpStatus>(99)) == absl::StatusCode::kInternal);
  CHECK(to_status(OpStatus::kTimedOut, "channel 'a'").message() == "channel 'a': timed out");
  CHECK(to_status(static_cast<OpStatus>(99), "channel 'a'").message() == "channel 'a': unknown status 99");
}

}  // namespace
}  // namespace penstock
