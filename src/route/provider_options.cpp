// SPDX-License-Identifier: MIT
#include "penstock/route/provider_options.hpp"

#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "penstock/core/detail/option_text.hpp"
#include "penstock/route/detail/named_options.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

/// Adds what is wrong, if anything is, to what is.
void add(std::string& violations, const absl::Status& status) {
  if (status.ok()) return;
  if (!violations.empty()) violations += "; ";
  violations += detail::text_of(status);
}

}  // namespace

absl::Status ProviderOptions::validate() const {
  const ProviderOptions complete = detail::named(*this, pool.name.empty() ? "unnamed" : pool.name);
  std::string violations;
  add(violations, complete.pool.validate());
  if (complete.breaker) add(violations, complete.breaker->validate());
  if (complete.health) add(violations, complete.health->validate());
  if (complete.rate_limit) add(violations, complete.rate_limit->validate());
  if (complete.limiter) add(violations, complete.limiter->validate());
  if (complete.retry) add(violations, complete.retry->validate());
  if (complete.scaling) add(violations, complete.scaling->validate());
  return violations.empty() ? absl::OkStatus() : absl::InvalidArgumentError(violations);
}

std::string_view to_string(ProviderState state) noexcept {
  switch (state) {
    case ProviderState::kStarting:
      return "starting";
    case ProviderState::kReady:
      return "ready";
    case ProviderState::kDegraded:
      return "degraded";
    case ProviderState::kIsolated:
      return "isolated";
    case ProviderState::kDraining:
      return "draining";
    case ProviderState::kStopped:
      return "stopped";
  }
  return "unknown";
}

namespace detail {

std::string shown_name(std::string_view name) {
  constexpr std::size_t kBytesShown = 64;
  if (name.size() <= kBytesShown) return fmt::format("'{}'", name);
  return fmt::format("'{}...' ({} bytes)", name.substr(0, kBytesShown), name.size());
}

ProviderOptions named(ProviderOptions options, const std::string& name) {
  options.pool.name = name;
  Clock* const clock = options.pool.clock != nullptr ? options.pool.clock : &Clock::steady();
  if (options.breaker) {
    options.breaker->name = name;
    options.breaker->clock = clock;
  }
  if (options.rate_limit) {
    options.rate_limit->name = name;
    options.rate_limit->clock = clock;
  }
  if (options.limiter) {
    options.limiter->name = name;
    options.limiter->clock = clock;
    options.limiter->timing = ConcurrencyLimiterOptions::Timing::kByCaller;  // the road takes the time, for all parts
  }
  if (options.retry) options.retry->name = name;
  if (options.scaling) {
    options.scaling->name = name;
    options.scaling->clock = clock;
    WorkerPoolOptions& pool = options.pool;
    pool.grow_when_busy = false;
    if (pool.min_workers == 0) pool.min_workers = std::min(pool.workers, options.scaling->min_workers);
    if (pool.max_workers == 0) pool.max_workers = std::max(pool.workers, options.scaling->max_workers);
  }
  return options;
}

}  // namespace detail

}  // namespace penstock::inline PENSTOCK_ABI
