// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What an `ObjectPool` tells about itself.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "penstock/core/clock.hpp"
#include "penstock/metrics/alert.hpp"
#include "penstock/metrics/histogram.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// One pool at one moment. Within one snapshot
///
///   requests = hits() + misses        live = idle + out        misses = creates + failed creations that threw nothing
///
/// and, once nothing is under way,
///
///   requests = returns + out + released + discarded_misused + failed creations that threw nothing
///   live = creates + prewarmed - discarded() - purged - released
struct ObjectPoolStats {
  std::string name;
  bool closed = false;
  std::size_t live = 0;     ///< Objects that there are, idle or out, and those just being made.
  std::size_t out = 0;      ///< Held by somebody, just being made, reset or checked.
  std::size_t idle = 0;     ///< In the pool, those of the victim generation included.
  std::size_t victim = 0;   ///< Idle since before the last purge: the next one drops them.
  std::size_t waiting = 0;  ///< Acquires that stand in line.
  std::size_t threads = 0;  ///< That have objects of their own here, or had.
  std::size_t bytes_idle = 0;

  // Since the pool was made.
  std::uint64_t requests = 0;     ///< Acquires that got an object, and those whose factory returned none.
  std::uint64_t hits_local = 0;   ///< Served from what the thread had given back itself,
  std::uint64_t hits_depot = 0;   ///< from what other threads had left over,
  std::uint64_t hits_stolen = 0;  ///< from another thread's own,
  std::uint64_t hits_victim = 0;  ///< from what the next purge would have dropped,
  std::uint64_t hits_handed = 0;  ///< by somebody who gave back while this one waited.
  std::uint64_t misses = 0;       ///< The factory was called.
  std::uint64_t creates = 0;      ///< Objects that it made for an acquire,
  std::uint64_t prewarmed = 0;    ///< and for `prewarm`.
  std::uint64_t create_failures = 0;
  std::uint64_t returns = 0;   ///< Objects that came back, whatever became of them.
  std::uint64_t resets = 0;    ///< Calls of `reset` that returned true.
  std::uint64_t released = 0;  ///< Objects that were taken out for good.
  std::uint64_t discarded_non_reusable = 0;
  std::uint64_t discarded_reset = 0;     ///< `reset` returned false, or threw.
  std::uint64_t discarded_full = 0;      ///< `max_idle` were idle.
  std::uint64_t discarded_oversize = 0;  ///< Heavier than `max_weight`, or `weight` threw.
  std::uint64_t discarded_closed = 0;    ///< Idle at the close, or came back later.
  std::uint64_t discarded_misused = 0;   ///< Changed while idle: a hit that was none, whose acquire counts once more.
  std::uint64_t purged = 0;              ///< Dropped by the purge, or by `release_idle`.
  std::uint64_t purges = 0;
  std::uint64_t exhausted = 0;  ///< Acquires refused since all objects were out.
  std::uint64_t waits = 0;      ///< Acquires that have stood in line.
  std::uint64_t timed_out = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t refused_closed = 0;
  std::uint64_t double_returns = 0;  ///< With detection, as the next two.
  std::uint64_t foreign_returns = 0;
  std::uint64_t uses_after_return = 0;
  std::uint64_t caught_exceptions = 0;  ///< Of `reset`, `weight` and the hooks.
  std::uint64_t bytes_saved = 0;        ///< The weights of all hits.

  AlertStats alert;  ///< If there is one.

  // With time stamps.
  LatencyHistogram::Snapshot acquire_time;  ///< Of acquires that the thread's own objects could not serve.
  LatencyHistogram::Snapshot reset_time;    ///< Of every 16th reset.
  LatencyHistogram::Snapshot hold_time;

  [[nodiscard]] std::uint64_t hits() const noexcept {
    return hits_local + hits_depot + hits_stolen + hits_victim + hits_handed;
  }
  [[nodiscard]] std::uint64_t discarded() const noexcept {
    return discarded_non_reusable + discarded_reset + discarded_full + discarded_oversize + discarded_closed +
           discarded_misused;
  }
  /// In [0, 1]; 0 without requests.
  [[nodiscard]] double hit_ratio() const noexcept {
    return requests == 0 ? 0.0 : static_cast<double>(hits()) / static_cast<double>(requests);
  }
};

}  // namespace penstock::inline PENSTOCK_ABI
