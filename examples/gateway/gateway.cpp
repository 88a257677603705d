// SPDX-License-Identifier: MIT

// A gateway for language models: clients ask it for completions, and it asks the provider of the model. Each provider
// has its own pool of workers and its own circuit breaker, so that one that hangs or fails is not felt by who uses the
// others; a health check, its own API keys, which rest when they have reached a limit, and its own budget for trying
// again. All of it can be changed while it serves.
//
// Models may be local, too: served by child processes, of which only so many fit into the machine at a time. Requests
// for them wait for their model's turn.

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "client_watch.hpp"
#include "config.hpp"
#include "flags.hpp"
#include "http_server.hpp"
#include "local_models.hpp"
#include "providers.hpp"
#include "routes.hpp"
#include "termination.hpp"
#include "trace_file.hpp"

namespace {

constexpr std::string_view kUsage =
    R"(usage: gateway --config file.json [--host 127.0.0.1] [--port 0]
       gateway --provider name=url... [--config file.json] [--host 127.0.0.1] [--port 0] [--workers 8] [--queue 16]
               [--queue-wait-ms 10000] [--processing-timeout-ms 30000] [--open-for-ms 5000] [--drain-timeout-ms 10000]
               [--attempts 3] [--key name=VARIABLE...]
       either: [--trace trace.json]

Prints its URL when it is ready. A provider from the command line serves the model '<name>-1', beside what the
configuration says. --key: an environment variable that holds one of the provider's API keys. --trace: writes what the
workers do, for ui.perfetto.dev.
SIGTERM and SIGINT end it once all accepted requests are answered, or when the drain timeout is over.
)";

gateway::Config from_file(const std::string& path, std::vector<std::string>& violations) {
  std::ifstream file(path);
  if (!file) {
    violations.push_back(path + ": cannot be read");
    return {};
  }
  return gateway::parse_config(std::string(std::istreambuf_iterator<char>(file), {}), path, violations);
}

void add_key(const std::string& text, gateway::Config& config, gateway::Flags& flags) {
  const std::size_t equals = std::min(text.find('='), text.size());
  const std::string variable = text.substr(std::min(equals + 1, text.size()));
  const char* const secret = std::getenv(variable.c_str());
  const auto provider = std::find_if(config.providers.begin(), config.providers.end(),
                                     [&](const auto& each) { return each.upstream.name == text.substr(0, equals); });
  if (provider == config.providers.end() || secret == nullptr || *secret == '\0') {
    return flags.complain("--key: expected the name of a provider=the name of a variable with its key, got '" + text +
                          "'");
  }
  provider->keys.push_back({.id = variable, .secret = secret});
  provider->keys.back().limits.max_concurrent = provider->pool.workers;
}

void add_from_flags(gateway::Flags& flags, gateway::Config& config) {
  using std::chrono::milliseconds;
  constexpr int kDayMs = 24 * 3600 * 1000;
  const int workers = flags.integer("workers", 8, 1, 256);
  const int queue = flags.integer("queue", 16, 0, 4096);
  const milliseconds queue_wait(flags.integer("queue-wait-ms", 10'000, 1, kDayMs));
  const milliseconds processing(flags.integer("processing-timeout-ms", 30'000, 1, kDayMs));
  const milliseconds open_for(flags.integer("open-for-ms", 5'000, 1, kDayMs));
  const int attempts = flags.integer("attempts", 3, 1, 100);
  config.drain_timeout =
      milliseconds(flags.integer("drain-timeout-ms", static_cast<int>(config.drain_timeout.count()), 1, kDayMs));
  for (const std::string& text : flags.all("provider")) {
    const std::size_t equals = text.find('=');
    const auto url = gateway::Url::parse(equals == std::string::npos ? "" : text.substr(equals + 1));
    if (equals == 0 || !url) {
      flags.complain("--provider: expected name=http://host:port, got '" + text + "'");
      continue;
    }
    auto provider = gateway::Config::default_provider(text.substr(0, equals), *url);
    provider.pool.workers = static_cast<std::size_t>(workers);
    provider.pool.queue_capacity = static_cast<std::size_t>(queue);
    provider.pool.queue_wait_limit = queue_wait;
    provider.pool.processing_timeout = processing;
    provider.breaker->open_for = open_for;
    provider.retry.max_attempts = static_cast<std::uint32_t>(attempts);
    config.providers.push_back(std::move(provider));
  }
  for (const std::string& text : flags.all("key")) add_key(text, config, flags);
  for (std::string& violation : config.violations()) flags.complain(std::move(violation));
}

void serve(const gateway::Config& config, const std::string& file, gateway::Termination& termination,
           penstock::PoolObserver* observer) {
  const auto accepting = penstock::Context::background().with_cancel();
  gateway::ClientWatch watch;
  gateway::Providers providers(config, observer);
  std::optional<gateway::LocalModels> local;
  std::shared_ptr<void> last_will;
  if (config.local) {
    local.emplace(*config.local);
    last_will = termination.before_exit([&local] { local->kill(); });
  }
  gateway::HttpServer server(config.server);
  gateway::Routes routes(server, providers, local ? &*local : nullptr, watch, file, accepting.context);
  routes.install();
  const int port = server.bind();
  std::thread serving([&server] { server.run(); });
  fmt::print("gateway listening on http://{}:{}\n", config.server.host, port);
  std::fflush(stdout);

  const int signal = termination.wait();
  fmt::print(stderr, "gateway: signal {}, draining for up to {} ms\n", signal, config.drain_timeout.count());
  server.begin_drain();
  // Accepted requests go on until the time is up, also those that are to be tried again.
  const auto deadline = std::chrono::steady_clock::now() + config.drain_timeout;
  bool idle = server.wait_until_idle(deadline);
  // Then their jobs are called off, and who waits for another attempt; their clients are told.
  providers.router().shutdown(penstock::Context::background().with_timeout(std::chrono::seconds(0)));
  accepting.source.cancel(absl::UnavailableError("the gateway is shutting down"));
  const auto last = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  if (!idle) idle = server.wait_until_idle(last);
  // Child processes have what is left of the time.
  if (local && !local->shutdown(std::max(deadline, last))) {
    fmt::print(stderr, "gateway: not all processes of local models have ended\n");
  }
  server.stop();
  serving.join();
  fmt::print(stderr, "gateway: {}\n{}", idle ? "all requests are answered" : "closed connections that did not finish",
             providers.books() + (local ? local->books() : ""));
}

int run(int argc, char** argv) {
  gateway::Flags flags(argc, argv);
  const std::string file = flags.text("config", "");
  const std::string host = flags.text("host", "");
  const std::string trace_path = flags.text("trace", "");
  const int port = flags.integer("port", -1, 0, 65535);
  std::vector<std::string> violations;
  gateway::Config config;
  if (!file.empty()) config = from_file(file, violations);
  if (file.empty() || flags.is_set("provider")) add_from_flags(flags, config);
  if (!host.empty()) config.server.host = host;
  if (port >= 0) config.server.port = port;
  if (!violations.empty()) {
    for (const std::string& violation : violations) fmt::print(stderr, "gateway: {}\n", violation);
    return 78;  // EX_CONFIG
  }
  if (const auto misused = flags.violations(); !misused.empty()) return gateway::refuse("gateway", misused, kUsage);

  gateway::Termination termination;
  std::optional<gateway::TraceFile> trace;
  if (!trace_path.empty()) trace.emplace(trace_path);
  serve(config, file, termination, trace ? trace->observer() : nullptr);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "gateway: {}\n", error.what());
    return 1;
  }
}
