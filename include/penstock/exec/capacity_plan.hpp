// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How large a pool should be, how long to wait and how often to try again, from what is known about a provider before
/// the first call: its rate limit, how long it takes, and how often it fails.
///
/// By Little's law `rate_limit` calls a second of `avg_latency` each keep rate_limit * avg_latency workers busy, and
/// the calls that fail and are made again as many more. While the pool runs, an `AdaptiveScaler` knows better.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/clock.hpp"
#include "penstock/exec/retry.hpp"
#include "penstock/exec/worker_pool_options.hpp"

namespace penstock::inline PENSTOCK_ABI {

class JsonWriter;

/// What is known about a provider.
struct ProviderProfile {
  std::string provider_name = {};
  double rate_limit = 0;                     ///< Calls per second, at least 0; 0: not known.
  Duration avg_latency{};                    ///< At least 0; 0: not known.
  double error_rate = 0;                     ///< The part of the calls that fails, at least 0; more than 1 counts as 1.
  std::optional<Duration> p99_latency = {};  ///< At least `avg_latency`.

  /// OK, or InvalidArgument with every violation.
  [[nodiscard]] absl::Status validate() const;
};

/// What a plan keeps to.
struct CapacityBounds {
  std::size_t min_workers = 10;  ///< [1, max_workers]
  std::size_t max_workers = 100;
  std::size_t min_buffer = 100;  ///< [0, max_buffer]; but there are never fewer places than workers.
  std::size_t max_buffer = 1000;
  double buffer_factor = 3;  ///< Places in the queue for each worker; [0, 1000].
  Duration min_timeout = std::chrono::seconds(30);
  Duration max_timeout = std::chrono::seconds(300);
  Duration min_queue_wait = std::chrono::seconds(1);
  Duration max_queue_wait = std::chrono::seconds(10);
  bool clamp = true;        ///< Whether the bounds count at all; without it, a plan may be more than a pool can be.
  RetryOptions retry = {};  ///< What the plan's is made from; so it is the place for `classify` and the like.

  /// OK, or InvalidArgument with every violation.
  [[nodiscard]] absl::Status validate() const;
};

struct CapacityPlan {
  ProviderProfile profile;
  double load = 0;  ///< Busy workers, on average.

  // 0: there is nothing to go by; what there is should stay.
  std::size_t workers = 0;
  std::size_t buffer = 0;
  Duration processing_timeout{};  ///< The 99th percentile of the latency, or twice its mean.
  Duration queue_wait_limit{};    ///< For as long as a full queue takes.

  /// Its budget lets through as many retries as the workers are enough for.
  RetryOptions retry;
};

/// Returns: the plan; or InvalidArgument with all that is wrong with the profile and the bounds.
[[nodiscard]] absl::StatusOr<CapacityPlan> plan_capacity(const ProviderProfile& profile,
                                                         const CapacityBounds& bounds = {});

/// `options`, but as the plan says, within what a pool can be: workers, capacity and time-outs. Its own limits on the
/// number of workers give way, and a name it has none of is the provider's.
[[nodiscard]] WorkerPoolOptions apply(const CapacityPlan& plan, WorkerPoolOptions options = {});

/// What the "Concurrency" document of the Bifrost gateway computes, truncations included, to be shown beside a plan: a
/// latency of less than a second is none, so that there is no worker at all.
struct DocumentCapacity {
  std::int64_t workers = 0;
  std::int64_t buffer = 0;
  Duration timeout{};

  friend bool operator==(const DocumentCapacity&, const DocumentCapacity&) = default;
};
[[nodiscard]] DocumentCapacity document_capacity_plan(const ProviderProfile& profile) noexcept;

/// The plan as the next value of `json`, in the names of that document: provider_name, rate_limit, avg_latency,
/// error_rate, optimal_workers, optimal_buffer, timeout_config, retry_strategy. Durations are whole nanoseconds, with a
/// `..._text` beside them. What stays as it is is `null`.
void write(JsonWriter& json, const CapacityPlan& plan);

/// A retry strategy as the next value of `json`. Durations are texts such as "500ms", which everybody reads alike; the
/// same programs often take a bare number for milliseconds. `max_retries` is `max_attempts` - 1.
void write(JsonWriter& json, const RetryOptions& options);

}  // namespace penstock::inline PENSTOCK_ABI
