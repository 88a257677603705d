// SPDX-License-Identifier: MIT
// What 99 providers that hang or fail do to the hundredth: four clients call the healthy one, whose calls take a
// millisecond each, alone, and while another client calls all the others in turn. Ideal: the same throughput, the same
// tail.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include "penstock/channel/channel.hpp"
#include "penstock/route/provider_router.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::JobContext;
using penstock::ProviderOptions;
using penstock::ProviderRouter;

constexpr std::size_t kOthers = 99;
constexpr std::size_t kClients = 4;
constexpr std::size_t kCalls = 500;  // of each client, in one iteration

std::string name_of(std::size_t provider) { return "other " + std::to_string(provider); }

/// A third never answers and looks at its context, a third never answers until the end, a third fails at once.
class Others {
 public:
  explicit Others(ProviderRouter& router) : router_(router) {
    for (std::size_t provider = 0; provider < kOthers; ++provider) {
      ProviderOptions options;
      options.pool.workers = 2;
      options.pool.queue_capacity = 8;
      options.pool.overflow = penstock::OverflowPolicy::kReject;
      options.pool.processing_timeout = 200ms;
      options.pool.shutdown_timeout = 0s;
      options.breaker.emplace();
      options.breaker->minimum_calls = 10;
      options.breaker->open_for = 100ms;
      if (!router.add(name_of(provider), options).ok()) std::abort();
    }
  }

  /// Calls them in turn, 5000 calls a second, until it is stopped.
  void start() {
    caller_ = std::thread([this] {
      for (std::size_t call = 0; !stopping_; ++call) {
        const std::size_t provider = call % kOthers;
        (void)router_.submit(name_of(provider), [this, provider](const JobContext& job) -> absl::Status {
          if (provider % 3 == 0) return to_status(silence_.receive(job.context).status, "silence");
          if (provider % 3 == 1) return to_status(silence_.receive().status, "silence");
          return absl::UnavailableError("connection refused");
        });
        if (call % 5 == 0) std::this_thread::sleep_for(1ms);
      }
    });
  }
  void stop() {
    stopping_ = true;
    if (caller_.joinable()) caller_.join();
    silence_.close();
  }

 private:
  ProviderRouter& router_;
  penstock::Channel<int> silence_{0};
  std::atomic<bool> stopping_{false};
  std::thread caller_;
};

void healthy(benchmark::State& state, bool with_others) {
  ProviderRouter router;
  ProviderOptions options;
  options.pool.workers = kClients;
  options.breaker.emplace();
  if (!router.add("healthy", options).ok()) return state.SkipWithError("the provider was refused");
  Others others(router);  // they are there in both cases
  if (with_others) others.start();

  std::mutex mutex;
  std::vector<double> latencies;
  std::atomic<std::size_t> failed{0};
  for (auto _ : state) {
    std::vector<std::thread> clients;
    for (std::size_t client = 0; client < kClients; ++client) {
      clients.emplace_back([&] {
        std::vector<double> mine;
        for (std::size_t call = 0; call < kCalls; ++call) {
          const auto begin = std::chrono::steady_clock::now();
          auto job = router.submit("healthy", [] { std::this_thread::sleep_for(1ms); });
          if (!job.ok() || !job->get().ok()) ++failed;
          mine.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
        }
        const std::lock_guard lock(mutex);
        latencies.insert(latencies.end(), mine.begin(), mine.end());
      });
    }
    for (std::thread& client : clients) client.join();
  }
  others.stop();
  if (failed != 0) return state.SkipWithError("a call to the healthy provider failed");
  std::sort(latencies.begin(), latencies.end());
  state.SetItemsProcessed(static_cast<std::int64_t>(latencies.size()));
  state.counters["p50_us"] = latencies[latencies.size() / 2];
  state.counters["p99_us"] = latencies[latencies.size() * 99 / 100];
}

void isolated(benchmark::State& state) { healthy(state, true); }
void alone(benchmark::State& state) { healthy(state, false); }
BENCHMARK(isolated)
    ->Name("provider_router/healthy_of_100")
    ->Iterations(8)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(alone)
    ->Name("provider_router/healthy_of_100@alone")
    ->Iterations(8)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
