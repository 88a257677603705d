// SPDX-License-Identifier: MIT
#include "penstock/route/provider_options.hpp"

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
  if (complete.retry) add(violations, complete.retry->validate());
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
  if (options.retry) options.retry->name = name;
  return options;
}

}  // namespace detail

}  // namespace penstock::inline PENSTOCK_ABI
