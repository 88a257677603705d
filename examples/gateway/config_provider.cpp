// SPDX-License-Identifier: MIT

// How a provider is read from JSON.

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "config_reader.hpp"

namespace gateway {
namespace {

using nlohmann::json;
using penstock::Duration;

void read_retry(const json& object, const std::string& path, ProviderConfig& provider,
                std::vector<std::string>& violations) {
  if (object.is_boolean() && !object.get<bool>()) {
    provider.retry.max_attempts = 1;
    return;
  }
  Reader reader(object, path, violations);
  reader.number("attempts", provider.retry.max_attempts, 1, 100);
  reader.time_ms("initial_ms", provider.retry.initial, 0, kDayMs);
  reader.time_ms("max_ms", provider.retry.max, 0, kDayMs);
  reader.time_ms("max_retry_after_ms", provider.retry.max_retry_after, 0, kDayMs);
  reader.number("budget_ratio", provider.retry.budget.ratio, 0, 100);
  reader.number("budget_capacity", provider.retry.budget.capacity, 1, 1'000'000);
  reader.number("waiting", provider.retry_waiting, 0, 4096);
  // The same in the words of a retry strategy as the library and other gateways write it.
  reader.time("initial", provider.retry.initial, 0, kDayMs);
  reader.time("max", provider.retry.max, 0, kDayMs);
  reader.time("max_retry_after", provider.retry.max_retry_after, 0, kDayMs);
  if (const json* const retries = reader.find("max_retries")) {
    std::uint32_t number = 0;
    reader.number("max_retries", number, 0, 99);
    if (object.contains("attempts")) reader.complain("max_retries", "must not stand beside attempts", *retries);
    provider.retry.max_attempts = number + 1;
  }
  reader.refuse_unknown_keys();
}

void read_batch(const json& object, const std::string& path, ProviderConfig& provider,
                std::vector<std::string>& violations) {
  penstock::WorkerPoolOptions& batch = provider.batch;
  Reader reader(object, path, violations);
  reader.number("workers", batch.workers, 1, 256);
  reader.number("queue", batch.queue_capacity, 0, 4096);
  reader.time_ms("queue_wait_ms", batch.queue_wait_limit, 1, kDayMs);
  reader.refuse_unknown_keys();
}

/// The value of the environment variable that the member `name` names; empty, with a complaint, if there is none.
std::string read_secret(Reader& reader, const std::string& name, std::string& variable) {
  reader.text(name, variable);
  if (variable.empty()) return "";
  const char* const secret = std::getenv(variable.c_str());
  if (secret != nullptr && *secret != '\0') return secret;
  reader.complain(name, "must be the name of an environment variable that holds the key", variable);
  return "";
}

KeyConfig read_key(const json& object, const std::string& path, std::size_t workers,
                   std::vector<std::string>& violations) {
  KeyConfig key;
  key.limits.max_concurrent = workers;
  Reader reader(object, path, violations);
  if (!object.is_object()) return key;
  key.secret = read_secret(reader, "env", key.id);
  if (key.id.empty()) reader.complain("env", "must be the name of an environment variable that holds the key", json());
  reader.text("id", key.id);
  reader.number("weight", key.limits.weight, 0, 1e12);
  reader.number("max_concurrent", key.limits.max_concurrent, 1, 1'000'000);
  reader.refuse_unknown_keys();
  return key;
}

void read_keys(Reader& reader, ProviderConfig& provider, std::vector<std::string>& violations) {
  KeyConfig only;
  only.limits.max_concurrent = provider.most_workers();
  only.secret = read_secret(reader, "api_key_env", only.id);
  if (!only.secret.empty()) provider.keys.push_back(only);
  if (const json* const keys = reader.find("keys")) {
    if (!keys->is_array()) return reader.complain("keys", "must be a list", *keys);
    for (std::size_t i = 0; i < keys->size(); ++i) {
      const std::string path = fmt::format("{}.keys[{}]", reader.path(), i);
      provider.keys.push_back(read_key((*keys)[i], path, provider.most_workers(), violations));
    }
  }
  reader.time_ms("key_rest_ms", provider.key_pool.rest_for, 1, kDayMs);
  reader.time_ms("key_wait_ms", provider.key_wait, 0, kDayMs);
}

void read_overflow(Reader& reader, ProviderConfig& provider) {
  std::string overflow;
  reader.text("overflow", overflow);
  if (!overflow.empty()) {
    // Not caller_runs: the caller is the thread of a connection, and would hang with the provider.
    const auto policy = penstock::parse_overflow_policy(overflow);
    if (policy && *policy != penstock::OverflowPolicy::kCallerRuns) {
      provider.pool.overflow = *policy;
    } else {
      reader.complain("overflow", "must be one of block, reject, drop_newest, drop_oldest", overflow);
    }
  }
}

}  // namespace

ProviderConfig read_provider(const json& object, const std::string& path, const std::string& name,
                             std::vector<std::string>& violations) {
  ProviderConfig provider = Config::default_provider("", {});
  provider.models.clear();
  Reader reader(object, path, violations);
  if (!object.is_object()) return provider;
  provider.upstream.name = name;
  reader.text("name", provider.upstream.name, name.empty());
  std::string url;
  reader.text("url", url, true);
  if (!url.empty()) {
    if (const auto parsed = Url::parse(url)) {
      provider.upstream.url = *parsed;
    } else {
      reader.complain("url", "must look like http://host:port or https://host/path", url);
    }
  }
  provider.models = reader.texts("models", "names", true);
  provider.fallback = reader.texts("fallback", "names");
  reader.number("workers", provider.pool.workers, 1, 256);
  reader.number("queue", provider.pool.queue_capacity, 0, 4096);
  read_overflow(reader, provider);
  reader.time_ms("enqueue_timeout_ms", provider.pool.enqueue_timeout, 0, kDayMs);
  reader.time_ms("queue_wait_ms", provider.pool.queue_wait_limit, 1, kDayMs);
  reader.time_ms("processing_timeout_ms", provider.pool.processing_timeout, 1, kDayMs);
  reader.time_ms("connect_timeout_ms", provider.upstream.connect_timeout, 1, kDayMs);
  reader.time_ms("keep_idle_ms", provider.upstream.keep_idle, 1, kDayMs);
  reader.number("max_answer_bytes", provider.upstream.max_answer_bytes, 1, 1 << 30);
  const auto part = [&](const char* key, auto read) {
    if (const json* const found = reader.find(key)) read(*found, path + "." + key, provider, violations);
  };
  part("breaker", read_breaker);
  part("health", read_health);
  part("rate_limit", read_rate_limit);
  part("limiter", read_limiter);
  part("scaling", read_scaling);
  read_keys(reader, provider, violations);
  part("retry", read_retry);
  part("batch", read_batch);
  reader.refuse_unknown_keys();
  provider.pool.name = provider.upstream.name;
  return provider;
}

Duration ProviderConfig::deadline() const {
  const Duration enqueue = pool.overflow == penstock::OverflowPolicy::kBlock ? pool.enqueue_timeout : Duration::zero();
  return enqueue + pool.queue_wait_limit + pool.processing_timeout + std::chrono::seconds(1);
}

std::size_t ProviderConfig::most_workers() const {
  return scaling ? std::max(pool.workers, scaling->max_workers) : pool.workers;
}

ProviderConfig Config::default_provider(const std::string& name, Url url) {
  ProviderConfig provider;
  provider.upstream.name = name;
  provider.upstream.url = std::move(url);
  provider.models = {name + "-1"};
  provider.pool.name = name;
  provider.pool.workers = 8;
  provider.pool.queue_capacity = 16;
  provider.pool.overflow = penstock::OverflowPolicy::kReject;
  provider.pool.queue_wait_limit = std::chrono::seconds(10);
  provider.pool.processing_timeout = std::chrono::seconds(30);
  penstock::CircuitBreakerOptions& breaker = provider.breaker.emplace();
  breaker.window_size = 50;
  breaker.minimum_calls = 20;
  breaker.failure_rate_pct = 50;
  breaker.open_for = std::chrono::seconds(5);
  breaker.half_open_permits = 3;
  penstock::HealthCheckOptions& health = provider.health.emplace().options;
  health.interval = std::chrono::seconds(10);
  health.timeout = std::chrono::seconds(2);
  // Who would have to wait for longer is told for how long, and holds no connection meanwhile.
  provider.retry.max_retry_after = std::chrono::seconds(5);
  provider.batch.workers = 2;
  provider.batch.queue_capacity = 64;
  provider.batch.overflow = penstock::OverflowPolicy::kReject;
  provider.batch.queue_wait_limit = std::chrono::minutes(5);
  return provider;
}

}  // namespace gateway
