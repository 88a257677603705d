// SPDX-License-Identifier: MIT
// What the router adds to its pools: finding the provider, and carrying the permit of its breaker. Ideal: nothing.
#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include <benchmark/benchmark.h>

#include "penstock/exec/worker_pool.hpp"
#include "penstock/route/provider_router.hpp"

namespace {

using penstock::CircuitBreakerOptions;
using penstock::Job;
using penstock::ProviderOptions;
using penstock::ProviderRouter;
using penstock::WorkerPool;

constexpr std::size_t kBatch = 64;

ProviderOptions options() {
  ProviderOptions options;
  options.pool.name = "openai";
  options.pool.workers = 1;
  options.pool.queue_capacity = kBatch;
  return options;
}

/// Submits a batch of empty jobs, and waits for all.
template <class Submit>
void submit_batches(benchmark::State& state, const Submit& submit) {
  std::array<Job<void>, kBatch> jobs;
  while (state.KeepRunningBatch(kBatch)) {
    for (Job<void>& job : jobs) job = *submit([] {});
    for (Job<void>& job : jobs) benchmark::DoNotOptimize(job.get());
  }
  state.SetItemsProcessed(state.iterations());
}

void router_submit(benchmark::State& state) {
  ProviderRouter router;
  ProviderOptions plain = options();
  if (state.range(0) != 0) plain.breaker = CircuitBreakerOptions{};
  if (!router.add("openai", plain).ok()) return state.SkipWithError("the provider was refused");
  submit_batches(state, [&](auto function) { return router.submit("openai", function); });
}
BENCHMARK(router_submit)->Name("provider_router/submit")->ArgName("breaker")->Arg(0)->Arg(1)->UseRealTime();

void router_submit_pool(benchmark::State& state) {
  const auto pool = WorkerPool::create(options().pool);
  if (!pool.ok()) return state.SkipWithError("the pool was refused");
  submit_batches(state, [&](auto function) { return (*pool)->submit(function); });
}
BENCHMARK(router_submit_pool)->Name("provider_router/submit@pool")->UseRealTime();

// A look-up, and the state of what was found. With several threads the ideal is the time of one.
void router_state(benchmark::State& state) {
  static ProviderRouter router;
  if (state.thread_index() == 0) (void)router.add("openai", options());
  for (auto _ : state) benchmark::DoNotOptimize(router.state("openai"));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(router_state)->Name("provider_router/look_up")->ThreadRange(1, 4)->UseRealTime();

// One map for all behind one mutex, whose entries are shared.
void router_state_mutex(benchmark::State& state) {
  static std::mutex mutex;
  static std::unordered_map<std::string, std::shared_ptr<int>> map = {{"openai", std::make_shared<int>(1)}};
  const std::string name = "openai";
  for (auto _ : state) {
    std::shared_ptr<int> found;
    {
      const std::lock_guard lock(mutex);
      found = map.find(name)->second;
    }
    benchmark::DoNotOptimize(found);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(router_state_mutex)->Name("provider_router/look_up@one_mutex")->ThreadRange(1, 4)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
