// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a gateway is made of: its providers, the models that it serves itself, and the limits of its server.

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config_local.hpp"
#include "http_server.hpp"
#include "upstream.hpp"

#include "penstock/exec/resource_options.hpp"
#include "penstock/exec/retry.hpp"
#include "penstock/exec/scaling_policy.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "penstock/route/circuit_breaker.hpp"
#include "penstock/route/concurrency_limiter_options.hpp"
#include "penstock/route/health_monitor.hpp"
#include "penstock/route/rate_limiter_options.hpp"

namespace gateway {

struct KeyConfig {
  std::string id;      ///< For texts and metrics.
  std::string secret;  ///< Appears in neither.
  penstock::ResourceOptions limits = {};
};

struct HealthConfig {
  std::string path = "/v1/models";            ///< What is asked for: any answer but a 5xx says that the provider works.
  penstock::HealthCheckOptions options = {};  ///< But for the check itself.
};

struct ProviderConfig {
  UpstreamOptions upstream;  ///< With the provider's name.
  std::vector<std::string> models;
  penstock::WorkerPoolOptions pool;
  std::optional<penstock::CircuitBreakerOptions> breaker;
  std::optional<HealthConfig> health;
  std::optional<penstock::RateLimiterOptions> rate_limit;
  std::optional<penstock::ConcurrencyLimiterOptions> limiter;
  std::optional<penstock::ScalingOptions> scaling;
  std::vector<std::string> fallback;  ///< Who is asked when this one refuses, or fails as another one may not.
  std::vector<KeyConfig> keys;        ///< None: the provider needs none.
  penstock::ResourcePoolOptions key_pool;
  std::chrono::milliseconds key_wait{1'000};  ///< For a key, while holding a worker.
  penstock::RetryOptions retry;
  std::size_t retry_waiting = 16;     ///< Requests that may be tried again at a time.
  penstock::WorkerPoolOptions batch;  ///< For the requests of batches.

  [[nodiscard]] std::size_t most_workers() const;
  /// After what time a request to it has been answered, come what may.
  [[nodiscard]] penstock::Duration deadline() const;
};

struct Config {
  HttpServerOptions server;
  std::chrono::milliseconds drain_timeout{10'000};
  std::vector<ProviderConfig> providers;
  std::optional<LocalConfig> local;

  /// A provider as it is if nothing else is said: few workers, a short queue that refuses what does not fit, a
  /// breaker and a health check.
  static ProviderConfig default_provider(const std::string& name, Url url);

  /// All that does not fit together, one line each, such as "$.providers[1].name: 'alpha' is taken by $.providers[0]".
  [[nodiscard]] std::vector<std::string> violations() const;
};

/// Reads a configuration, the text of `file`. Whatever is wrong is added to `violations`, one line each, with the file
/// and the line of a syntax error or the path of a value: "gateway.json: $.providers[0].workers: must be a whole number
/// in [1, 256], got 0".
Config parse_config(const std::string& text, const std::string& file, std::vector<std::string>& violations);

/// Reads one provider in the same way; paths begin with "$". It is called `name`, unless it says another name.
ProviderConfig parse_provider(const std::string& text, const std::string& name, std::vector<std::string>& violations);

}  // namespace gateway
