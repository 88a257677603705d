// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the files of ours share.

#include <chrono>
#include <memory>

#include "penstock/exec/worker_pool.hpp"

#include "measure.hpp"

namespace versus {

/// A pool as its defaults are, but for the bounds of the comparison: who finds it full waits as long as it takes.
inline std::unique_ptr<penstock::WorkerPool> make_pool(std::size_t workers, std::size_t capacity) {
  auto pool = penstock::WorkerPool::create(
      {.name = "versus", .workers = workers, .queue_capacity = capacity, .enqueue_timeout = std::chrono::hours(1)});
  check(pool.ok(), "create failed");
  return *std::move(pool);
}

Workloads coroutine_workloads();  ///< coroutines, coroutines_schedule

}  // namespace versus
