// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a `ResourcePool` is set up, and what it tells about itself.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/metrics/histogram.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// Which of the resources that are free is lent. Whatever the strategy, one of weight 0 is a spare: it is lent only if
/// no other is free.
enum class ResourceStrategy : std::uint8_t {
  kWeightedRandom,  ///< By chance, each in proportion to its weight, however small that is.
  kRoundRobin,      ///< Each in turn. Weights do not count.
  kLeastLoaded,     ///< The one with the fewest leases for its weight; among equals each in turn.
};

/// The name of `strategy` in lower case with underscores, such as "round_robin".
std::string_view to_string(ResourceStrategy strategy) noexcept;

/// What the outcome of a call says about the resource it was made with.
enum class ResourceVerdict : std::uint8_t {
  kGood,     ///< It works: its consecutive failures are 0 again.
  kIgnored,  ///< Nothing.
  kFailed,   ///< The call failed, but another resource would hardly have done better. Counted.
  kRest,     ///< It has done too much: counted, and disabled for a while.
  kDead,     ///< It will not work again by itself: counted, and disabled until `enable`.
};

/// OK is kGood; Cancelled and InvalidArgument are kIgnored; ResourceExhausted (HTTP 429) is kRest; Unauthenticated and
/// PermissionDenied (401, 402, 403) are kDead; everything else is kFailed.
ResourceVerdict classify_resource(const absl::Status& status) noexcept;

/// What may be set, and changed, for each resource.
struct ResourceOptions {
  double weight = 1;               ///< [0, 1e12]
  std::size_t max_concurrent = 1;  ///< Leases of it at a time; [1, 1000000].

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const;
};

struct ResourcePoolOptions {
  /// Names the pool in texts and metrics; 1 to 256 bytes.
  std::string name = {};
  ResourceStrategy strategy = ResourceStrategy::kWeightedRandom;
  /// How long a resource is disabled after kRest, if the status names no time itself.
  Duration rest_for = std::chrono::seconds(30);
  /// A sticky key that was not used for so long is forgotten.
  Duration sticky_ttl = std::chrono::minutes(10);
  /// Sticky keys that are remembered, [1, 1048576]; of too many, those are forgotten that were not used for longest
  /// (among the eight or more that share a place). 24 bytes each, from the first sticky key on.
  std::size_t sticky_keys = 1024;
  /// A lease that is dropped while an exception passes through is a `discard`: what was being done with the resource
  /// was left half done. For connections, not for keys.
  bool discard_on_exception = false;
  /// What a status given to `Lease::report` means; `classify_resource` if empty, or if it throws. May be called by many
  /// threads at once, and after the pool has gone, as long as leases are out.
  std::function<ResourceVerdict(const absl::Status&)> classify = {};
  /// Equal seeds and equal calls give equal choices; 0: a different seed for each pool.
  std::uint64_t seed = 0;
  /// Decides all these times; outlives the pool, though not its leases.
  Clock* clock = &Clock::steady();

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const;
};

/// One resource at one moment.
struct ResourceStats {
  std::string id;
  double weight = 0;
  std::size_t max_concurrent = 0;
  std::size_t in_use = 0;                  ///< leases that are out
  std::uint64_t leases = 0;                ///< leases so far
  std::uint64_t errors = 0;                ///< reports of kFailed, kRest and kDead
  std::uint64_t consecutive_failures = 0;  ///< the same since the last kGood
  bool is_disabled = false;
  /// On the pool's clock; `TimePoint::max()`: until `enable`. Has no meaning unless `is_disabled`.
  TimePoint disabled_until{};
};

/// A pool at one moment: `leases == returns + in_use`.
struct ResourcePoolStats {
  std::size_t resources = 0;
  std::size_t disabled = 0;
  std::size_t in_use = 0;   ///< leases that are out, of removed resources, too
  std::size_t leaving = 0;  ///< removed resources with leases that are out
  std::size_t waiting = 0;  ///< in line now

  std::uint64_t leases = 0;        ///< given so far
  std::uint64_t returns = 0;       ///< given back so far
  std::uint64_t late_returns = 0;  ///< of these, after their resource was removed or the pool closed
  std::uint64_t discarded = 0;     ///< of these, by `discard`, or by an exception with `discard_on_exception`
  std::uint64_t waits = 0;         ///< how often somebody had to stand in line, whatever came of it

  // Who got no lease, and why.
  std::uint64_t exhausted = 0;    ///< all were busy, and it was not to wait
  std::uint64_t timed_out = 0;    ///< none in time
  std::uint64_t cancelled = 0;    ///< none before it was called off
  std::uint64_t not_found = 0;    ///< no resource, or none that passes
  std::uint64_t unavailable = 0;  ///< all that pass are disabled, or the pool is closed

  std::uint64_t errors = 0;             ///< reports of kFailed, kRest and kDead
  std::uint64_t late_reports = 0;       ///< of all reports, after their resource was removed or the pool closed
  std::uint64_t rests = 0;              ///< resources disabled for a while by a report
  std::uint64_t deaths = 0;             ///< resources disabled for good by a report
  std::uint64_t caught_exceptions = 0;  ///< of `classify`

  LatencyHistogram::Snapshot lease_wait;   ///< how long each lease was waited for; zero for those at once
  std::vector<ResourceStats> by_resource;  ///< in the order in which they were added
};

}  // namespace penstock::inline PENSTOCK_ABI
