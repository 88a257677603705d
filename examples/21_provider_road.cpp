// SPDX-License-Identifier: MIT
// All that can stand on a provider's road: leased keys, retries, a limit of calls under way, an interceptor, and a
// second provider to fall back on. Then the first one gets more workers while it serves, and no call notices.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "penstock/route/provider_router.hpp"

using namespace std::chrono_literals;
using penstock::InterceptedCall;
using penstock::ProviderCall;

struct Key {
  std::string secret;
};

/// Counts what is asked of all providers.
class Ledger : public penstock::Interceptor {
 public:
  std::string_view name() const noexcept override { return "ledger"; }
  void before(InterceptedCall& /*call*/) override { ++attempts_; }
  void after(InterceptedCall& call) override {
    if (!call.status().ok()) ++failures_;
  }

  std::atomic<int> attempts_{0};
  std::atomic<int> failures_{0};
};

int main() {
  const auto ledger = std::make_shared<Ledger>();
  penstock::ProviderRouter router({.interceptors = {ledger}});

  const auto keys = std::make_shared<penstock::ResourcePool<Key>>(penstock::ResourcePoolOptions{.name = "openai keys"});
  bool ready = keys->add("eu", Key{"secret 1"}, {.max_concurrent = 8}).ok();

  penstock::ProviderOptions options;
  options.pool.workers = 2;
  options.breaker = penstock::CircuitBreakerOptions{};
  options.lease = lease_from(keys);
  options.retry = penstock::RetryOptions{.max_attempts = 3, .initial = 1ms};
  options.limiter = penstock::ConcurrencyLimiterOptions{.algorithm = penstock::AimdLimit{.initial = 4, .min = 1}};
  ready = ready && router.add("openai", options).ok();
  ready = ready && router.add("local", {.pool = {.workers = 2}}).ok();
  if (!ready) return 1;

  // Every third question fails at first; the one about the weather always does, there.
  const auto ask = [](const ProviderCall& call, int question) -> absl::StatusOr<std::string> {
    if (call.provider() == "openai") {
      if (question == 7) return absl::UnavailableError("no weather today");
      if (question % 3 == 0 && call.attempt() == 1) return absl::UnavailableError("connection reset");
      if (call.resource<Key>().secret.empty()) return absl::UnauthenticatedError("no key");
    }
    return std::string(call.provider());
  };

  int by_openai = 0;
  int by_local = 0;
  for (int question = 0; question < 10; ++question) {
    const auto answer = router.call({"openai", "local"}, [&](const ProviderCall& call) { return ask(call, question); });
    if (!answer.ok()) return 1;
    ++(*answer == "openai" ? by_openai : by_local);
  }
  std::printf("10 questions: %d answered by openai, %d by local, in %d attempts, of which %d failed\n", by_openai,
              by_local, ledger->attempts_.load(), ledger->failures_.load());

  // Clients call all the time while the provider gets other options.
  std::atomic<bool> done{false};
  std::atomic<int> answered{0};
  std::atomic<int> lost{0};
  std::vector<std::thread> clients;
  for (int client = 0; client < 4; ++client) {
    clients.emplace_back([&] {
      while (!done || answered < 1000) {
        auto job = router.submit("openai", [](const ProviderCall&) { return 1; });
        const bool served = job.ok() && job->get().ok();
        ++(served ? answered : lost);
      }
    });
  }
  bool updated = true;
  for (std::size_t workers = 3; workers <= 8; ++workers) {
    options.pool.workers = workers;
    updated = updated && router.update("openai", options).ok();
  }
  done = true;
  for (std::thread& client : clients) client.join();
  std::printf("6 updates under load: %d calls lost, %zu workers now\n", lost.load(),
              router.stats().at("openai").pool.configured);
  return by_openai == 9 && by_local == 1 && updated && lost == 0 ? 0 : 1;
}
