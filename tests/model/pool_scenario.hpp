// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the scenarios of worker pools share.

#include <memory>
#include <utility>

#include "penstock/exec/worker_pool.hpp"

#include "model/planted.hpp"

namespace penstock::checker {

/// A pool is many steps: its schedules with two preemptions are for the long runs.
inline void must_pass_with_pool(Options options, const Scenario& scenario) {
  options.preemptions = 1;
  options.executions = 20'000;
  must_pass(options, scenario);
}

/// A pool as the options say, but without limits of time.
inline std::unique_ptr<WorkerPool> make_endless_pool(WorkerPoolOptions options) {
  options.name = "p";
  options.measure = false;  // histograms are many steps, and have scenarios of their own
  options.enqueue_timeout = options.queue_wait_limit = Duration::max();
  options.processing_timeout = options.shutdown_timeout = Duration::max();
  const Calm calm;  // the start has scenarios of its own
  auto pool = WorkerPool::create(std::move(options));
  MODEL_ASSERT(pool.ok());
  return *std::move(pool);
}

}  // namespace penstock::checker
