// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the tests of elastic pools share.

#include <string>
#include <utility>

#include "penstock/exec/elastic_pool.hpp"
#include "support/eventually.hpp"
#include "support/sanitized.hpp"

/// Sanitizers have no room for ten thousand threads.
#if PENSTOCK_HAS_ASAN || PENSTOCK_HAS_TSAN
#define PENSTOCK_TEST_MANY_THREADS 500
#else
#define PENSTOCK_TEST_MANY_THREADS 10'000
#endif

namespace penstock::testing {

/// What does not add up in `stats`; nothing if all is well.
inline std::string discrepancies(const ElasticPoolStats& stats) {
  std::string text;
  const auto expect = [&text](bool holds, const char* what) {
    if (!holds) text += std::string(what) + "; ";
  };
  expect(stats.live == stats.idle + stats.busy + stats.starting, "live");
  expect(stats.accepted == stats.queued + stats.running + stats.succeeded + stats.failed + stats.threw +
                               stats.cancelled + stats.dropped + stats.unmade,
         "accepted");
  expect(stats.live <= stats.max_workers, "max_workers");
  expect(stats.live <= stats.peak, "peak");
  expect(stats.created <= stats.live + stats.trimmed + (stats.is_closed ? stats.created : 0), "created");
  expect(stats.pills <= stats.trimmed, "pills");
  expect(stats.idle_low_water <= stats.idle || stats.idle_low_water <= stats.peak, "idle_low_water");
  return text;
}

/// Waits until nothing is queued and all workers are idle, and returns whether it came to that.
inline bool is_at_rest(const ElasticPool& pool) {
  return eventually([&] {
    const ElasticPoolStats stats = pool.stats();
    return stats.queued == 0 && stats.posted_waiting == 0 && stats.idle == stats.live;
  });
}

}  // namespace penstock::testing
