// SPDX-License-Identifier: MIT
#include "penstock/route/detail/provider.hpp"

#include "penstock/route/provider_options.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

absl::Status Provider::scale(const ScalingOptions& options, PeriodicRunner& runner) {
  // A few probes are no demand either.
  const auto is_open = [road = road_] { return road->parts().state() != ProviderState::kReady; };
  const auto is_limited = [road = road_] {
    const ConcurrencyLimiter* const limiter = road->parts().limiter.get();
    return limiter != nullptr && limiter->in_flight() >= limiter->limit();
  };
  scalable_.emplace(*pool_, ScalableWorkerPool::Surroundings{.breaker_open = is_open, .limited = is_limited});
  scaler_.emplace(*scalable_, options);
  return scaler_->start(runner, 0.1);
}

void Provider::stop_checks() const {
  const auto& health = road_->parts().health;
  if (health != nullptr) (void)health->stop(Context::background().with_timeout(Duration::zero()));
}

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
  return road_->parts().state();
}

ProviderStats Provider::stats() const {
  ProviderStats stats;
  stats.state = state();
  if (pool_ != nullptr) stats.pool = pool_->stats();
  const RoadParts& parts = road_->parts();
  if (parts.breaker != nullptr) stats.breaker = parts.breaker->stats();
  if (parts.health != nullptr) stats.health = parts.health->stats();
  if (parts.rate_limit != nullptr) stats.rate_limit = parts.rate_limit->stats();
  if (parts.limiter != nullptr) stats.limiter = parts.limiter->stats();
  if (scaler_) stats.scaling = scaler_->stats();
  if (road_->lease() != nullptr) stats.lease = road_->lease()->stats();
  if (road_->retrier() != nullptr) stats.retry = road_->retrier()->stats();
  stats.updates = life().updates();
  stats.interceptor_exceptions = life().interceptor_exceptions();
  return stats;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
