// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a provider is to be served, and how it is going.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "penstock/exec/adaptive_scaler.hpp"
#include "penstock/exec/resource_options.hpp"
#include "penstock/exec/retry.hpp"
#include "penstock/exec/scaling_policy.hpp"
#include "penstock/exec/worker_pool_options.hpp"
#include "penstock/exec/worker_pool_stats.hpp"
#include "penstock/route/circuit_breaker.hpp"
#include "penstock/route/concurrency_limiter_options.hpp"
#include "penstock/route/health_monitor.hpp"
#include "penstock/route/interceptor.hpp"
#include "penstock/route/provider_lease.hpp"
#include "penstock/route/rate_limiter_options.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// How one provider is served. All that is named or has a clock is named after the provider, and goes by the clock of
/// the pool.
struct ProviderOptions {
  WorkerPoolOptions pool;
  /// Without one the provider is never isolated for failing.
  std::optional<CircuitBreakerOptions> breaker = std::nullopt;
  /// Whether it is there at all. What is unhealthy is isolated, and may begin so (`HealthStart`). With `feeds_breaker`
  /// each check counts as a call in the breaker, and is a probe while that is half open.
  std::optional<HealthCheckOptions> health = std::nullopt;

  // What a call waits for once it has a worker, which it keeps meanwhile: with the queue in front of them these shape
  // the load instead of refusing it, until the job's time is up. In this order:

  /// What each call leases before its function runs, made by `lease_from`.
  ProviderLease lease = nullptr;
  /// How many calls may begin in a second.
  std::optional<RateLimiterOptions> rate_limit = std::nullopt;
  /// How many may be under way at a time, however many workers there are. A job's tag is the name of its partition.
  std::optional<ConcurrencyLimiterOptions> limiter = std::nullopt;

  /// How `call` and `async_call` try again; without it they do not. It asks the provider's breaker by itself.
  std::optional<RetryOptions> retry = std::nullopt;
  /// How many workers there are: the pool's `min_workers` and `max_workers` bound it, and are as wide as this where
  /// they are not said. The pool does not grow by itself then.
  std::optional<ScalingOptions> scaling = std::nullopt;

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const;
};

/// What a job meets that is submitted now.
enum class ProviderState : std::uint8_t {
  kStarting,  ///< The pool is being made: it is refused.
  kReady,     ///< It is let through.
  kDegraded,  ///< The breaker lets only probes through.
  kIsolated,  ///< The breaker is open, or the provider unhealthy: it is refused.
  kDraining,  ///< The provider is being removed, or the router shut down: it is refused while the others finish.
  kStopped,   ///< The same, and nothing runs any more.
};
inline constexpr std::size_t kProviderStates = 6;

/// The name of `state` in lower case, such as "ready".
std::string_view to_string(ProviderState state) noexcept;

struct ProviderStats {
  ProviderState state = ProviderState::kReady;
  WorkerPoolStats pool;  ///< Since the provider was added or updated; all 0 while it is starting.
  std::optional<CircuitBreakerStats> breaker;
  std::optional<HealthStats> health;
  std::optional<ResourcePoolStats> lease;
  std::optional<RateLimiterStats> rate_limit;
  std::optional<ConcurrencyLimiterStats> limiter;
  std::optional<RetryStats> retry;             ///< Since the provider was added or updated.
  std::optional<AdaptiveScalerStats> scaling;  ///< The same.
  std::uint64_t updates = 0;
  std::uint64_t interceptor_exceptions = 0;
};

struct ProviderRouterOptions {
  /// What is called around the function of each job; see `Interceptor`.
  std::vector<std::shared_ptr<Interceptor>> interceptors = {};
  /// Whether a failed call to one provider is worth another one to the next of its list. Empty: unless the code is
  /// Cancelled (but for a provider that was removed), InvalidArgument, AlreadyExists, OutOfRange or Unimplemented,
  /// which would be the same elsewhere. One that throws has said no. By many threads at once.
  std::function<bool(const absl::Status&)> falls_back = {};
};

}  // namespace penstock::inline PENSTOCK_ABI
