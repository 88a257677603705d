// SPDX-License-Identifier: MIT
#include "penstock/route/detail/provider.hpp"

#include "penstock/route/provider_options.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

ProviderState Provider::state() const noexcept {
  life().notice_overdue();
  switch (life().phase()) {
    case Phase::kStarting:
      return ProviderState::kStarting;
    case Phase::kDraining:
      return ProviderState::kDraining;
    case Phase::kStopped:
      return ProviderState::kStopped;
    case Phase::kServing:
      break;
  }
  const auto& breaker = road_->breaker();
  if (breaker == nullptr) return ProviderState::kReady;
  switch (breaker->state()) {
    case BreakerState::kHalfOpen:
      return ProviderState::kDegraded;
    case BreakerState::kOpen:
      // Once the wait is over the next job is a probe.
      return breaker->retry_after() > Duration::zero() ? ProviderState::kIsolated : ProviderState::kDegraded;
    case BreakerState::kForcedOpen:
      return ProviderState::kIsolated;
    case BreakerState::kClosed:
    case BreakerState::kDisabled:
    case BreakerState::kMetricsOnly:
      break;
  }
  return ProviderState::kReady;
}

ProviderStats Provider::stats() const {
  ProviderStats stats;
  stats.state = state();
  if (pool_ != nullptr) stats.pool = pool_->stats();
  if (road_->breaker() != nullptr) stats.breaker = road_->breaker()->stats();
  if (road_->lease() != nullptr) stats.lease = road_->lease()->stats();
  if (road_->retrier() != nullptr) stats.retry = road_->retrier()->stats();
  stats.updates = life().updates();
  stats.interceptor_exceptions = life().interceptor_exceptions();
  return stats;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
