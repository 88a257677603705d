// SPDX-License-Identifier: MIT

// What a user's program does with an installed or an embedded penstock: it compiles against the headers, and calls code
// of the library that calls Abseil and fmt.

#include <iostream>

#include "absl/status/status.h"

#include "penstock/core/context.hpp"
#include "penstock/core/op_status.hpp"
#include "penstock/version.hpp"

int main() {
  const penstock::Context context = penstock::Context::background().with_timeout(penstock::Duration::zero());
  const absl::Status status = penstock::to_status(context.status(), "consumer");
  std::cout << status << '\n';
  return status.code() == absl::StatusCode::kDeadlineExceeded ? 0 : 1;
}
