// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the tests of `hand_over` share.

#include <stdexcept>

#include "exec/pool_support.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"

namespace penstock::testing {

/// Throws, and so fails the test, if the hand-over is refused.
inline HandOverReport hand_over(WorkerPool& from, WorkerPool& to) {
  const auto report = from.hand_over(to);
  if (!report.ok()) throw std::runtime_error(text_of(report.status()));
  return *report;
}

inline void check_books(WorkerPool& pool) { CHECK(discrepancies(pool.stats()) == ""); }

}  // namespace penstock::testing
