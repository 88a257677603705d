// SPDX-License-Identifier: MIT

// What the road of a provider is made of, and what is kept of it when it is made anew.

#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "penstock/route/detail/router_upkeep.hpp"
#include "penstock/route/provider_router.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using detail::Provider;
using detail::ProviderRoad;
using detail::RoadParts;

/// Checks count as calls in `breaker`: also as probes, while that is half open.
HealthListener listener_for(const std::shared_ptr<CircuitBreaker>& breaker, bool feeds_breaker) {
  HealthListener listener;
  if (feeds_breaker && breaker != nullptr) {
    listener.on_result = [breaker](const HealthReport& report) {
      if (auto permit = breaker->try_acquire()) permit->settle(report.status, report.took);
    };
  }
  return listener;
}

}  // namespace

absl::Status ProviderRouter::make_parts(const ProviderOptions& options, RoadParts& parts) {
  if (options.breaker && parts.breaker == nullptr) parts.breaker = std::make_shared<CircuitBreaker>(*options.breaker);
  if (options.rate_limit && parts.rate_limit == nullptr) {
    parts.rate_limit = std::make_shared<RateLimiter>(*options.rate_limit);
  }
  if (options.limiter && parts.limiter == nullptr) {
    try {
      parts.limiter = std::make_shared<ConcurrencyLimiter>(*options.limiter);
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& exception) {
      return absl::InternalError(
          fmt::format("provider '{}': no limit algorithm could be made: {}", options.pool.name, exception.what()));
    } catch (...) {
      return absl::InternalError(fmt::format("provider '{}': no limit algorithm could be made", options.pool.name));
    }
  }
  if (options.health && parts.health == nullptr) {
    absl::StatusOr<HealthWatch> watch = upkeep(*options.pool.clock)
                                            .monitor.watch(options.pool.name, *options.health,
                                                           listener_for(parts.breaker, options.health->feeds_breaker));
    if (!watch.ok()) return std::move(watch).status();
    // The last call that has the road lets go of it, and must not wait for a check that hangs.
    parts.health = std::shared_ptr<HealthWatch>(new HealthWatch(*std::move(watch)), [](HealthWatch* mine) {
      mine->abandon();
      delete mine;
    });
  }
  return absl::OkStatus();
}

/// Has what there is, and is to stay, go by other options: all of it, or none.
absl::Status ProviderRouter::change_parts(const ProviderOptions& options, const RoadParts& former,
                                          const RoadParts& parts) {
  // Only the user's own algorithm can fail here: all options are valid.
  if (parts.limiter != nullptr && parts.limiter == former.limiter) {
    if (absl::Status changed = parts.limiter->set_options(*options.limiter); !changed.ok()) return changed;
  }
  if (parts.breaker != nullptr && parts.breaker == former.breaker) (void)parts.breaker->set_options(*options.breaker);
  if (parts.rate_limit != nullptr && parts.rate_limit == former.rate_limit) {
    (void)parts.rate_limit->set_options(*options.rate_limit);
  }
  if (parts.health != nullptr && parts.health == former.health) (void)parts.health->set_options(*options.health);
  return absl::OkStatus();
}

/// A provider with a pool whose workers run. What `former` has is kept; until all has been made, it is left as it is.
absl::StatusOr<ProviderRouter::ProviderPtr> ProviderRouter::make_provider(const ProviderOptions& options,
                                                                          std::shared_ptr<detail::ProviderLife> life,
                                                                          const RoadParts* former) {
  absl::StatusOr<std::unique_ptr<WorkerPool>> pool = WorkerPool::create(options.pool);
  if (!pool.ok()) return pool.status();
  RoadParts parts;
  if (former != nullptr) {
    if (options.breaker) parts.breaker = former->breaker;
    if (options.rate_limit) parts.rate_limit = former->rate_limit;
    if (options.limiter) parts.limiter = former->limiter;
    // A watch tells its results to one breaker, from the beginning to the end.
    const bool same_breaker = parts.breaker == former->breaker && (parts.breaker != nullptr || !options.breaker);
    const bool fed = former->health != nullptr && former->health->options().feeds_breaker;
    if (options.health && fed == options.health->feeds_breaker && (!fed || same_breaker)) parts.health = former->health;
  }
  if (absl::Status made = make_parts(options, parts); !made.ok()) return made;
  auto provider = std::make_shared<Provider>(
      std::make_shared<const ProviderRoad>(options, options_.interceptors, std::move(life), std::move(parts)),
      *std::move(pool), options.pool);
  if (options.scaling) {
    absl::Status scaled = provider->scale(*options.scaling, upkeep(*options.pool.clock).runner);
    if (!scaled.ok()) return scaled;
  }
  if (former != nullptr) {
    if (absl::Status changed = change_parts(options, *former, provider->road()->parts()); !changed.ok()) return changed;
  }
  return provider;
}

ProviderRouter::Upkeep& ProviderRouter::upkeep(Clock& clock) {
  {
    const MutexLock lock(mutex_);
    if (const auto found = upkeep_.find(&clock); found != upkeep_.end()) return *found->second;
  }
  auto made = std::make_unique<Upkeep>(clock);  // without the lock; another thread may be faster
  const MutexLock lock(mutex_);
  return *upkeep_.try_emplace(&clock, std::move(made)).first->second;
}

}  // namespace penstock::inline PENSTOCK_ABI
