// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The providers behind the gateway, each with its own pool, breaker and connections.

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config.hpp"
#include "upstream.hpp"

#include "penstock/route/provider_router.hpp"

namespace gateway {

/// A provider, as requests to it see it.
struct Provider {
  explicit Provider(const ProviderConfig& provider) : config(provider), upstream(provider.upstream) {}

  const ProviderConfig config;
  Upstream upstream;
};

/// Which provider serves which model, and the router that isolates the providers from each other.
///
/// Threads: any member, from any thread, once made.
class Providers {
 public:
  /// Starts the pools. Throws: std::runtime_error if one cannot be started.
  explicit Providers(const std::vector<ProviderConfig>& providers);

  /// The provider of a model; null if there is none.
  [[nodiscard]] Provider* find(std::string_view model) const;

  /// {"object": "list", "data": [{"id": model, "object": "model", "owned_by": provider}]}
  [[nodiscard]] std::string models_json() const;

  [[nodiscard]] penstock::ProviderRouter& router() noexcept { return router_; }

 private:
  // Jobs use the upstreams: these are destroyed after the router, which waits for its jobs.
  std::vector<std::unique_ptr<Provider>> providers_;
  std::map<std::string, Provider*, std::less<>> by_model_;
  penstock::ProviderRouter router_;
};

}  // namespace gateway
