// SPDX-License-Identifier: MIT

// What stands on the road to a provider, as it is read from JSON.

#include <string>
#include <vector>

#include "config_reader.hpp"

namespace gateway {

using nlohmann::json;

namespace {

bool is_none(const json& value) { return value.is_boolean() && !value.get<bool>(); }

void read_probe(const json& value, const std::string& path, penstock::LimitProbe& probe,
                std::vector<std::string>& violations) {
  if (value.is_boolean()) return;
  Reader reader(value, path, violations);
  reader.number("concurrency", probe.concurrency, 1, 10000);
  reader.number("samples", probe.samples, 1, 10000);
  reader.time_ms("interval_ms", probe.interval, 1, kDayMs);
  reader.refuse_unknown_keys();
}

/// Reads what `limit` has of "initial", "min" and "max".
template <class Limit>
Limit read_bounds(Reader& reader) {
  Limit limit;
  constexpr double kMost = 10000;
  if constexpr (requires { limit.min; }) {
    limit.min = 1;
    reader.number("min", limit.min, 1, kMost);
  }
  reader.number("initial", limit.initial, 1, kMost);
  reader.number("max", limit.max, 1, kMost);
  return limit;
}

}  // namespace

void read_breaker(const json& object, const std::string& path, ProviderConfig& provider,
                  std::vector<std::string>& violations) {
  if (is_none(object)) return provider.breaker.reset();
  penstock::CircuitBreakerOptions& breaker = *provider.breaker;
  Reader reader(object, path, violations);
  reader.number("window", breaker.window_size, 1, 10000);
  reader.number("minimum_calls", breaker.minimum_calls, 1, 10000);
  reader.number("failure_rate_percent", breaker.failure_rate_pct, 1, 100);
  reader.number("slow_rate_percent", breaker.slow_rate_pct, 1, 100);
  reader.time_ms("slow_call_ms", breaker.slow_call, 1, kDayMs);
  reader.time_ms("open_for_ms", breaker.open_for, 1, kDayMs);
  reader.number("half_open_probes", breaker.half_open_permits, 1, 1000);
  reader.refuse_unknown_keys();
}

void read_health(const json& object, const std::string& path, ProviderConfig& provider,
                 std::vector<std::string>& violations) {
  if (is_none(object)) return provider.health.reset();
  HealthConfig& health = *provider.health;
  Reader reader(object, path, violations);
  reader.text("path", health.path);
  if (health.path.front() != '/') reader.complain("path", "must begin with '/'", health.path);
  reader.time_ms("interval_ms", health.options.interval, 1, kDayMs);
  reader.time_ms("timeout_ms", health.options.timeout, 1, kDayMs);
  reader.number("unhealthy_after", health.options.unhealthy_after, 1, 1'000'000);
  reader.number("healthy_after", health.options.healthy_after, 1, 1'000'000);
  std::string start = "unknown";
  reader.text("start", start);
  using penstock::HealthStart;
  if (start == "unknown") {
    health.options.start = HealthStart::kUnknown;
  } else if (start == "isolated") {
    health.options.start = HealthStart::kUnhealthy;
  } else if (start == "checked") {
    health.options.start = HealthStart::kChecked;
  } else if (start == "required") {
    health.options.start = HealthStart::kRequired;
  } else {
    reader.complain("start", "must be one of unknown, isolated, checked, required", start);
  }
  reader.flag("feeds_breaker", health.options.feeds_breaker);
  reader.refuse_unknown_keys();
}

void read_rate_limit(const json& object, const std::string& path, ProviderConfig& provider,
                     std::vector<std::string>& violations) {
  if (is_none(object)) return provider.rate_limit.reset();
  penstock::RateLimiterOptions& limit = provider.rate_limit.emplace();
  Reader reader(object, path, violations);
  reader.number("per_second", limit.rate_per_second, 1e-6, 1e6);
  reader.number("burst", limit.burst, 1, 1e6);
  reader.refuse_unknown_keys();
}

void read_limiter(const json& object, const std::string& path, ProviderConfig& provider,
                  std::vector<std::string>& violations) {
  if (is_none(object)) return provider.limiter.reset();
  penstock::ConcurrencyLimiterOptions& limiter = provider.limiter.emplace();
  Reader reader(object, path, violations);
  std::string algorithm = "aimd";
  reader.text("algorithm", algorithm);
  if (algorithm == "fixed") {
    penstock::FixedLimit fixed;
    reader.number("limit", fixed.limit, 1, 10000);
    limiter.algorithm = fixed;
  } else if (algorithm == "aimd") {
    auto aimd = read_bounds<penstock::AimdLimit>(reader);
    reader.time_ms("slow_ms", aimd.timeout, 1, kDayMs);
    limiter.algorithm = aimd;
  } else if (algorithm == "vegas") {
    limiter.algorithm = read_bounds<penstock::VegasLimit>(reader);
  } else if (algorithm == "gradient") {
    limiter.algorithm = read_bounds<penstock::GradientLimit>(reader);
  } else if (algorithm == "gradient2") {
    limiter.algorithm = read_bounds<penstock::Gradient2Limit>(reader);
  } else {
    return reader.complain("algorithm", "must be one of fixed, aimd, vegas, gradient, gradient2", algorithm);
  }
  const bool can_probe = algorithm != "fixed" && algorithm != "aimd";
  if (const json* const probe = can_probe ? reader.find("probe") : nullptr; probe != nullptr && !is_none(*probe)) {
    read_probe(*probe, path + ".probe", limiter.probe.emplace(), violations);
  }
  reader.refuse_unknown_keys();
}

void read_scaling(const json& object, const std::string& path, ProviderConfig& provider,
                  std::vector<std::string>& violations) {
  if (is_none(object)) return provider.scaling.reset();
  penstock::ScalingOptions& scaling = provider.scaling.emplace();
  scaling.max_workers = 32;
  Reader reader(object, path, violations);
  reader.number("min_workers", scaling.min_workers, 1, 256);
  reader.number("max_workers", scaling.max_workers, 1, 256);
  reader.time_ms("interval_ms", scaling.interval, 1, kDayMs);
  reader.time_ms("up_cooldown_ms", scaling.up_cooldown, 0, kDayMs);
  reader.time_ms("down_cooldown_ms", scaling.down_cooldown, 0, kDayMs);
  reader.number("target_utilization", scaling.target_utilization, 0.01, 1);
  reader.refuse_unknown_keys();
}

}  // namespace gateway
