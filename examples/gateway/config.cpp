// SPDX-License-Identifier: MIT
#include "config.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/core.h>
#include <sys/select.h>

#include "config_reader.hpp"

namespace gateway {
namespace {

using nlohmann::json;

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

std::vector<std::string> Config::violations() const {
  std::vector<std::string> result;
  std::map<std::string, std::string> owners;
  const auto claim = [&](const std::string& kind, const std::string& name, const std::string& path) {
    const auto [owner, is_new] = owners.emplace(kind + name, path);
    if (!is_new) result.push_back(fmt::format("{}: '{}' is taken by {}", path, name, owner->second));
  };
  if (providers.empty() && !local) {
    result.emplace_back("$.providers: must be a list of at least one provider, got none");
  }
  std::size_t held = 0;
  std::size_t workers = 0;
  for (std::size_t i = 0; i < providers.size(); ++i) {
    const ProviderConfig& provider = providers[i];
    const std::string path = fmt::format("$.providers[{}]", i);
    held += provider.most_workers() + provider.pool.queue_capacity + provider.batch.workers +
            provider.batch.queue_capacity + (provider.retry.max_attempts > 1 ? provider.retry_waiting : 0);
    workers += provider.most_workers();
    if (!provider.upstream.name.empty()) claim("provider ", provider.upstream.name, path + ".name");
    for (std::size_t k = 0; k < provider.keys.size(); ++k) {
      if (provider.keys[k].id.empty()) continue;
      claim("key " + provider.upstream.name + " ", provider.keys[k].id, fmt::format("{}.keys[{}].id", path, k));
    }
    for (std::size_t k = 0; k < provider.models.size(); ++k) {
      claim("model ", provider.models[k], fmt::format("{}.models[{}]", path, k));
    }
    for (std::size_t k = 0; k < provider.fallback.size(); ++k) {
      const std::string& other = provider.fallback[k];
      const bool exists = std::any_of(providers.begin(), providers.end(),
                                      [&](const ProviderConfig& each) { return each.upstream.name == other; });
      if (exists && other != provider.upstream.name) continue;
      result.push_back(fmt::format("{}.fallback[{}]: must be the name of another provider, got '{}'", path, k, other));
    }
    const auto check = [&](const char* part, const absl::Status& status) {
      if (!status.ok()) result.push_back(fmt::format("{}{}: {}", path, part, std::string(status.message())));
    };
    if (!provider.upstream.name.empty()) check("", provider.pool.validate());
    check(".retry", provider.retry.validate());
    if (provider.breaker) check(".breaker", provider.breaker->validate());
    if (provider.limiter) check(".limiter", provider.limiter->validate());
    if (provider.rate_limit) check(".rate_limit", provider.rate_limit->validate());
    if (provider.scaling) check(".scaling", provider.scaling->validate());
  }
  if (local) {
    for (std::size_t i = 0; i < local->models.size(); ++i) {
      const std::string& name = local->models[i].name();
      if (!name.empty()) claim("model ", name, fmt::format("$.local.models[{}].name", i));
    }
    held += local->most_requests();
    workers += local->most_calls();
    for (std::string& violation : local->violations()) result.push_back(std::move(violation));
  }
  // A request that a pool has taken, or that is to be tried again, holds the thread of its connection. If these ran
  // out, a provider that hangs would keep requests from reaching the others.
  constexpr std::size_t kSpare = 32;
  if (server.max_connections < held + kSpare) {
    result.push_back(
        fmt::format("$.server.max_connections: must be at least {}, for {} workers, queue places and retries of all "
                    "providers and requests to local models, and {} to spare, got {}",
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

namespace {

json parse_text(const std::string& text, const std::string& place, std::vector<std::string>& violations) {
  try {
    return json::parse(text, nullptr, true, true);  // comments are welcome
  } catch (const json::parse_error& error) {
    const std::string what = error.what();
    violations.push_back(fmt::format("{}: {}", place, what.substr(what.find(']') + 2)));
    return json(json::value_t::discarded);
  }
}

}  // namespace

ProviderConfig parse_provider(const std::string& text, const std::string& name, std::vector<std::string>& violations) {
  const json document = parse_text(text, "$", violations);
  if (document.is_discarded()) return Config::default_provider(name, {});
  return read_provider(document, "$", name, violations);
}

Config parse_config(const std::string& text, const std::string& file, std::vector<std::string>& violations) {
  Config config;
  const json document = parse_text(text, file, violations);
  if (document.is_discarded()) return config;
  std::vector<std::string> found;
  Reader reader(document, "$", found);
  if (const json* const server = reader.find("server")) read_server(*server, config, found);
  const json* const providers = reader.find("providers");
  if (providers != nullptr && providers->is_array()) {
    for (std::size_t i = 0; i < providers->size(); ++i) {
      config.providers.push_back(read_provider((*providers)[i], fmt::format("$.providers[{}]", i), "", found));
    }
  } else if (document.is_object() && (providers != nullptr || !document.contains("local"))) {
    reader.complain("providers", "must be a list", providers == nullptr ? json() : *providers);
  }
  if (const json* const local = reader.find("local")) config.local = read_local(*local, "$.local", found);
  reader.refuse_unknown_keys();
  // What was not understood need not be judged as well; duplicates and sums are found in the rest.
  if (config.local || (providers != nullptr && providers->is_array())) {
    for (std::string& violation : config.violations()) found.push_back(std::move(violation));
  }
  for (const std::string& violation : found) violations.push_back(file + ": " + violation);
  return config;
}

}  // namespace gateway
