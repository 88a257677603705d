// SPDX-License-Identifier: MIT
#include "config.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "absl/time/time.h"

namespace gateway {
namespace {

using nlohmann::json;
using penstock::Duration;
using std::chrono::milliseconds;

/// Reads the members of one JSON object, and says all that is wrong with them.
class Reader {
 public:
  Reader(const json& object, std::string path, std::vector<std::string>& violations)
      : object_(object), path_(std::move(path)), violations_(violations) {
    if (!object_.is_object()) complain("", "must be an object", object_);
  }

  void complain(const std::string& key, const std::string& expected, const json& got) {
    violations_.push_back(fmt::format("{}{}: {}, got {}", path_, key.empty() ? "" : "." + key, expected, brief(got)));
  }

  /// The value of `key`; null if there is none.
  const json* find(const std::string& key) {
    known_.push_back(key);
    if (!object_.is_object()) return nullptr;
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }

  template <class Number>
  void number(const std::string& key, Number& value, double least, double most) {
    const json* const found = find(key);
    if (found == nullptr) return;
    const bool whole = std::is_integral_v<Number>;
    const double got = found->is_number() ? found->get<double>() : std::nan("");
    if (!(got >= least && got <= most) || (whole && got != std::floor(got))) {
      return complain(key, fmt::format("must be a {}number in [{}, {}]", whole ? "whole " : "", least, most), *found);
    }
    value = static_cast<Number>(got);
  }

  template <class Rep, class Period>
  void time_ms(const std::string& key, std::chrono::duration<Rep, Period>& value, double least, double most) {
    auto count = static_cast<double>(std::chrono::duration_cast<milliseconds>(value).count());
    number(key, count, least, most);
    value = std::chrono::duration_cast<std::chrono::duration<Rep, Period>>(
        std::chrono::duration<double, std::milli>(count));
  }

  /// "500ms", "1.5s", or a number of milliseconds.
  void time(const std::string& key, Duration& value, double least_ms, double most_ms) {
    const json* const found = find(key);
    if (found == nullptr) return;
    absl::Duration got = absl::ZeroDuration();
    const bool is_time =
        found->is_string() ? absl::ParseDuration(found->get_ref<const std::string&>(), &got) : found->is_number();
    if (found->is_number()) got = absl::Milliseconds(found->get<double>());
    if (!is_time || got < absl::Milliseconds(least_ms) || got > absl::Milliseconds(most_ms)) {
      return complain(key,
                      fmt::format("must be a time such as \"500ms\", or milliseconds, in [{}, {}]", least_ms, most_ms),
                      *found);
    }
    value = absl::ToChronoNanoseconds(got);
  }

  void text(const std::string& key, std::string& value, bool required = false) {
    const json* const found = find(key);
    if (found == nullptr && !required) return;
    if (found != nullptr && found->is_string() && !found->get_ref<const std::string&>().empty()) {
      value = *found;
    } else {
      complain(key, "must be a text that is not empty", found == nullptr ? json() : *found);
    }
  }

  /// To be called last: what nobody has asked for is a mistake, most likely in its spelling.
  void refuse_unknown_keys() {
    if (!object_.is_object()) return;
    for (const auto& [key, value] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
      std::string names;
      for (const std::string& name : known_) names += (names.empty() ? "" : ", ") + name;
      violations_.push_back(fmt::format("{}.{}: there is no such key, expected one of {}", path_, key, names));
    }
  }

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  static std::string brief(const json& value) {
    const std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
    return value.is_null() ? "nothing" : text.size() <= 60 ? text : text.substr(0, 57) + "...";
  }

  const json& object_;
  const std::string path_;
  std::vector<std::string>& violations_;
  std::vector<std::string> known_;
};

constexpr double kDayMs = 24 * 3600 * 1000.0;

void read_breaker(const json& object, const std::string& path, penstock::CircuitBreakerOptions& breaker,
                  std::vector<std::string>& violations) {
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

void read_retry(const json& object, const std::string& path, ProviderConfig& provider,
                std::vector<std::string>& violations) {
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

void read_batch(const json& object, const std::string& path, penstock::WorkerPoolOptions& batch,
                std::vector<std::string>& violations) {
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
  only.limits.max_concurrent = provider.pool.workers;
  only.secret = read_secret(reader, "api_key_env", only.id);
  if (!only.secret.empty()) provider.keys.push_back(only);
  if (const json* const keys = reader.find("keys")) {
    if (!keys->is_array()) return reader.complain("keys", "must be a list", *keys);
    for (std::size_t i = 0; i < keys->size(); ++i) {
      const std::string path = fmt::format("{}.keys[{}]", reader.path(), i);
      provider.keys.push_back(read_key((*keys)[i], path, provider.pool.workers, violations));
    }
  }
  reader.time_ms("key_rest_ms", provider.key_pool.rest_for, 1, kDayMs);
  reader.time_ms("key_wait_ms", provider.key_wait, 0, kDayMs);
}

ProviderConfig read_provider(const json& object, const std::string& path, std::vector<std::string>& violations) {
  ProviderConfig provider = Config::default_provider("", {});
  provider.models.clear();
  Reader reader(object, path, violations);
  if (!object.is_object()) return provider;
  reader.text("name", provider.upstream.name, true);
  std::string url;
  reader.text("url", url, true);
  if (!url.empty()) {
    if (const auto parsed = Url::parse(url)) {
      provider.upstream.url = *parsed;
    } else {
      reader.complain("url", "must look like http://host:port or https://host/path", url);
    }
  }
  const json* const models = reader.find("models");
  const auto is_name = [](const json& model) {
    return model.is_string() && !model.get_ref<const std::string&>().empty();
  };
  if (models == nullptr || !models->is_array() || models->empty() ||
      !std::all_of(models->begin(), models->end(), is_name)) {
    reader.complain("models", "must be a list of names that is not empty", models == nullptr ? json() : *models);
  } else {
    provider.models = models->get<std::vector<std::string>>();
  }
  reader.number("workers", provider.pool.workers, 1, 256);
  reader.number("queue", provider.pool.queue_capacity, 0, 4096);
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
  reader.time_ms("enqueue_timeout_ms", provider.pool.enqueue_timeout, 0, kDayMs);
  reader.time_ms("queue_wait_ms", provider.pool.queue_wait_limit, 1, kDayMs);
  reader.time_ms("processing_timeout_ms", provider.pool.processing_timeout, 1, kDayMs);
  reader.time_ms("connect_timeout_ms", provider.upstream.connect_timeout, 1, kDayMs);
  reader.number("max_answer_bytes", provider.upstream.max_answer_bytes, 1, 1 << 30);
  if (const json* const breaker = reader.find("breaker")) {
    if (breaker->is_boolean() && !breaker->get<bool>()) {
      provider.breaker.reset();
    } else {
      read_breaker(*breaker, path + ".breaker", *provider.breaker, violations);
    }
  }
  read_keys(reader, provider, violations);
  if (const json* const retry = reader.find("retry")) {
    if (retry->is_boolean() && !retry->get<bool>()) {
      provider.retry.max_attempts = 1;
    } else {
      read_retry(*retry, path + ".retry", provider, violations);
    }
  }
  if (const json* const batch = reader.find("batch")) read_batch(*batch, path + ".batch", provider.batch, violations);
  reader.refuse_unknown_keys();
  provider.pool.name = provider.upstream.name;
  if (provider.breaker) provider.breaker->name = provider.upstream.name;
  return provider;
}

void read_server(const json& object, Config& config, std::vector<std::string>& violations) {
  Reader reader(object, "$.server", violations);
  HttpServerOptions& server = config.server;
  reader.text("host", server.host);
  reader.number("port", server.port, 0, 65535);
  reader.number("max_connections", server.max_connections, 1, 100'000);
  reader.number("max_body_bytes", server.max_body_bytes, 1, 1 << 30);
  reader.time_ms("receive_timeout_ms", server.receive_timeout, 1, kDayMs);
  reader.time_ms("send_timeout_ms", server.send_timeout, 1, kDayMs);
  reader.time_ms("keep_alive_ms", server.keep_alive, 1, kDayMs);
  reader.time_ms("drain_timeout_ms", config.drain_timeout, 1, kDayMs);
  reader.refuse_unknown_keys();
}

}  // namespace

Duration ProviderConfig::deadline() const {
  const Duration enqueue = pool.overflow == penstock::OverflowPolicy::kBlock ? pool.enqueue_timeout : Duration::zero();
  return enqueue + pool.queue_wait_limit + pool.processing_timeout + std::chrono::seconds(1);
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
  breaker.name = name;
  breaker.window_size = 50;
  breaker.minimum_calls = 20;
  breaker.failure_rate_pct = 50;
  breaker.open_for = std::chrono::seconds(5);
  breaker.half_open_permits = 3;
  // Who would have to wait for longer is told for how long, and holds no connection meanwhile.
  provider.retry.max_retry_after = std::chrono::seconds(5);
  provider.batch.workers = 2;
  provider.batch.queue_capacity = 64;
  provider.batch.overflow = penstock::OverflowPolicy::kReject;
  provider.batch.queue_wait_limit = std::chrono::minutes(5);
  return provider;
}

std::vector<std::string> Config::violations() const {
  std::vector<std::string> result;
  std::map<std::string, std::string> owners;
  const auto claim = [&](const std::string& kind, const std::string& name, const std::string& path) {
    const auto [owner, is_new] = owners.emplace(kind + name, path);
    if (!is_new) result.push_back(fmt::format("{}: '{}' is taken by {}", path, name, owner->second));
  };
  if (providers.empty()) result.emplace_back("$.providers: must be a list of at least one provider, got none");
  std::size_t held = 0;
  std::size_t workers = 0;
  for (std::size_t i = 0; i < providers.size(); ++i) {
    const ProviderConfig& provider = providers[i];
    const std::string path = fmt::format("$.providers[{}]", i);
    held += provider.pool.workers + provider.pool.queue_capacity + provider.batch.workers +
            provider.batch.queue_capacity + (provider.retry.max_attempts > 1 ? provider.retry_waiting : 0);
    workers += provider.pool.workers;
    if (!provider.upstream.name.empty()) claim("provider ", provider.upstream.name, path + ".name");
    for (std::size_t k = 0; k < provider.keys.size(); ++k) {
      if (provider.keys[k].id.empty()) continue;
      claim("key " + provider.upstream.name + " ", provider.keys[k].id, fmt::format("{}.keys[{}].id", path, k));
    }
    for (std::size_t k = 0; k < provider.models.size(); ++k) {
      claim("model ", provider.models[k], fmt::format("{}.models[{}]", path, k));
    }
    if (const absl::Status status = provider.pool.validate(); !status.ok() && !provider.upstream.name.empty()) {
      result.push_back(fmt::format("{}: {}", path, std::string(status.message())));
    }
    if (const absl::Status status = provider.retry.validate(); !status.ok()) {
      result.push_back(fmt::format("{}.retry: {}", path, std::string(status.message())));
    }
    if (!provider.breaker) continue;
    if (const absl::Status status = provider.breaker->validate(); !status.ok()) {
      result.push_back(fmt::format("{}.breaker: {}", path, std::string(status.message())));
    }
  }
  // A request that a pool has taken, or that is to be tried again, holds the thread of its connection. If these ran
  // out, a provider that hangs would keep requests from reaching the others.
  constexpr std::size_t kSpare = 32;
  if (server.max_connections < held + kSpare) {
    result.push_back(
        fmt::format("$.server.max_connections: must be at least {}, for {} workers, queue places and retries of all "
                    "providers and {} to spare, got {}",
                    held + kSpare, held, kSpare, server.max_connections));
  }
  // cpp-httplib waits with select(), which knows only so many descriptors.
  const std::size_t most = FD_SETSIZE - 64 - std::min<std::size_t>(2 * workers, FD_SETSIZE - 64);
  if (server.max_connections > most) {
    result.push_back(
        fmt::format("$.server.max_connections: must be at most {}, since a process can use {} descriptors "
                    "here and each worker needs 2, got {}",
                    most, FD_SETSIZE, server.max_connections));
  }
  return result;
}

Config parse_config(const std::string& text, const std::string& file, std::vector<std::string>& violations) {
  Config config;
  json document;
  try {
    document = json::parse(text, nullptr, true, true);  // comments are welcome
  } catch (const json::parse_error& error) {
    std::string what = error.what();
    violations.push_back(fmt::format("{}: {}", file, what.substr(what.find(']') + 2)));
    return config;
  }

  std::vector<std::string> found;
  Reader reader(document, "$", found);
  if (const json* const server = reader.find("server")) read_server(*server, config, found);
  const json* const providers = reader.find("providers");
  if (providers != nullptr && providers->is_array()) {
    for (std::size_t i = 0; i < providers->size(); ++i) {
      config.providers.push_back(read_provider((*providers)[i], fmt::format("$.providers[{}]", i), found));
    }
  } else if (document.is_object()) {
    reader.complain("providers", "must be a list", providers == nullptr ? json() : *providers);
  }
  reader.refuse_unknown_keys();
  // What was not understood need not be judged as well; duplicates and sums are found in the rest.
  if (providers != nullptr && providers->is_array()) {
    for (std::string& violation : config.violations()) found.push_back(std::move(violation));
  }
  for (const std::string& violation : found) violations.push_back(file + ": " + violation);
  return config;
}

}  // namespace gateway
