// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How an `ElasticPool` is set up, and what it tells about itself.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/exec/desired_size.hpp"
#include "penstock/exec/growth_policy.hpp"
#include "penstock/exec/trim_policy.hpp"
#include "penstock/exec/worker_pool_options.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// As a number of workers or tasks: no limit.
inline constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();

struct ElasticPoolOptions {
  /// Names the pool in texts, metrics and thread names; 1 to 256 bytes.
  std::string name = {};
  /// Workers that are there from the first moment on, and stay; [0, 4096], at most `max_workers`.
  std::size_t min_workers = 0;
  /// The most workers at any time; at least 1. With a limit tasks may have to wait for each other.
  std::size_t max_workers = kUnlimited;
  /// Tasks that may wait when there are as many workers as there may be; others are refused. With 0 a task is accepted
  /// only if there is a worker for it. To be limited only together with `max_workers`.
  std::size_t queue_capacity = kUnlimited;
  /// Which idle workers go, and when. None of the `min_workers` goes, whatever its floor is.
  TrimPolicy trim = PoisonPill{};
  /// When workers are made.
  GrowthPolicy growth = {};
  /// If it is not none: how many workers the load asks for, every `size_interval`. Idle ones that are more go; fewer
  /// are made up for. Needs `max_workers`. Tasks that make no progress get their workers without it.
  SizePolicy size = {};
  Duration size_interval = std::chrono::seconds(10);  ///< Positive.
  /// Tasks, waiting or running, that are a load of 1; 0: `queue_capacity`, which is limited then. [0, 1000000]
  std::size_t size_buffer = 0;
  /// How long the destructor waits before it drops what waits and asks what runs to stop; at least 0 s.
  Duration shutdown_timeout = std::chrono::seconds(30);
  /// Called with each exception that the pool has caught, without a lock, by the thread that caught it. May be called
  /// by many threads at once. What it throws itself is counted.
  std::function<void(const CaughtException&)> on_exception = {};
  /// Decides when workers go; outlives the pool. (Workers are made in time of the machine.)
  Clock* clock = &Clock::steady();

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const;
};

/// What becomes of tasks that wait when a pool ends.
enum class ElasticEnd : std::uint8_t {
  kDrain,   ///< They run.
  kCancel,  ///< They are dropped, and what runs is asked to stop.
};

/// What became of a pool's tasks at its end: `ran + dropped + running + waiting` were there when it began, or came
/// until then; but for those that were cancelled by others meanwhile.
struct ElasticShutdownReport {
  bool in_time = true;        ///< All has ended: no task waits or runs, and the workers are gone.
  std::uint64_t ran = 0;      ///< Tasks that ended after they were called, during the shutdown.
  std::uint64_t dropped = 0;  ///< Accepted tasks that were never called. Those with a handle were answered Cancelled.
  std::size_t running = 0;    ///< Tasks, and posted work, that still run; not the one this was called from.
  /// Posted work that still waits, and tasks: those that are being submitted, which the pool drops once they are made;
  /// and in a task of the pool those for which no worker was left.
  std::size_t waiting = 0;
  Duration took{};  ///< On the pool's clock.
};

/// A pool at one moment: `live == idle + busy + starting`,
/// `accepted == queued + running + succeeded + failed + threw + cancelled + dropped +
/// unmade`.
struct ElasticPoolStats {
  std::size_t min_workers = 0;
  std::size_t max_workers = 0;
  bool is_closed = false;

  // Workers.
  std::size_t live = 0;            ///< all of them
  std::size_t idle = 0;            ///< wait for a task
  std::size_t busy = 0;            ///< run a task or posted work, or are about to
  std::size_t starting = 0;        ///< were made, and have not begun
  std::size_t peak = 0;            ///< the most that ever were there
  std::size_t idle_low_water = 0;  ///< the fewest that were idle at any time since the last decision of the trim policy

  std::uint64_t created = 0;            ///< workers that were made, and have begun
  std::uint64_t creation_failures = 0;  ///< workers for which there was no thread or no memory
  std::uint64_t trimmed = 0;            ///< workers that have gone because they were not needed, for any reason
  std::uint64_t pills = 0;              ///< of these, by `PoisonPill`
  std::uint64_t reused = 0;             ///< tasks and posted work that a worker did after another one

  // Tasks: what was given to `execute` and `submit`.
  std::size_t queued = 0;   ///< wait, with those that are being submitted
  std::size_t running = 0;  ///< run, or are about to
  std::size_t deepest = 0;  ///< the most that ever waited, with posted work
  std::uint64_t accepted = 0;
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;     ///< returned a status that is not OK
  std::uint64_t threw = 0;      ///< ended with an exception
  std::uint64_t cancelled = 0;  ///< never called: cancelled, or their context had ended
  std::uint64_t dropped = 0;    ///< never called: the pool ended
  std::uint64_t unmade = 0;     ///< never called: their submission threw

  // Who was refused, and why.
  std::uint64_t refused_closed = 0;
  std::uint64_t refused_full = 0;       ///< no place in the queue
  std::uint64_t refused_no_worker = 0;  ///< there is no worker, and none could be made
  std::uint64_t refused_ended = 0;      ///< the context had ended

  std::size_t posted_waiting = 0;  ///< posted work that waits
  std::uint64_t posted = 0;        ///< posted work that has run, or runs
  std::uint64_t exceptions = 0;    ///< caught: of tasks, their destructors, posted functions and `on_exception`
};

}  // namespace penstock::inline PENSTOCK_ABI
