// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Calls that fail, and a world to make them in, for the tests of retries.

#include <string>
#include <utility>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/exec/retry.hpp"
#include "support/status_text.hpp"

namespace penstock::testing {

inline const absl::Status kRefused = absl::UnavailableError("refused");

inline RetryOptions without_jitter(std::uint32_t max_attempts = 3) {
  return {.max_attempts = max_attempts, .jitter = 0};
}

/// Fails as often as it is told, and then answers with the number of its attempts.
struct Flaky {
  int failures;
  absl::Status failure = kRefused;
  int made = 0;

  absl::StatusOr<int> call() {
    if (++made <= failures) return failure;
    return made;
  }
  Task<absl::StatusOr<int>> async() { co_return call(); }
};

/// A call of async_retry on a loop of the test's thread, with a clock of its own.
struct RetryScenery {
  ManualClock clock;
  RunLoop loop;
  Context::Cancellable call = Context(clock).with_cancel();

  template <class F>
  auto start(Retrier& retrier, F function) {
    auto handle = spawn(loop, async_retry(retrier, std::move(function), call.context));
    loop.run_ready();
    return handle;
  }
  void pass(Duration time) {
    clock.advance(time);
    loop.run_ready();
  }
};

inline auto attempts_of(Flaky& flaky) {
  return [&flaky](const RetryAttempt& /*attempt*/) { return flaky.async(); };
}

}  // namespace penstock::testing
