// SPDX-License-Identifier: MIT
// How many workers? First planned, from what a provider says of itself, beside a formula that cuts every fraction; then
// by what happens: a scaler follows a rush of calls. Time is a clock that the program moves.
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <iterator>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/adaptive_scaler.hpp"
#include "penstock/exec/capacity_plan.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "penstock/metrics/json_writer.hpp"

using namespace std::chrono_literals;
namespace {

/// A provider that takes half a second for each call, by the program's clock.
class Provider {
 public:
  explicit Provider(penstock::ManualClock& clock) : clock_(clock) {}
  void call() {
    std::unique_lock lock(mutex_);
    const penstock::TimePoint due = clock_.now() + 500ms;
    ends_.insert(due);
    answered_.wait(lock, [&] { return clock_.now() >= due; });
  }

  /// Moves time on until all that is due has been answered, and all that can be has begun.
  void advance(penstock::Duration time, const penstock::WorkerPool& pool) {
    clock_.advance(time);
    {
      const std::lock_guard lock(mutex_);
      const auto due = ends_.upper_bound(clock_.now());
      ended_ += static_cast<std::size_t>(std::distance(ends_.begin(), due));
      ends_.erase(ends_.begin(), due);
    }
    answered_.notify_all();
    for (bool settled = false; !settled; std::this_thread::yield()) {
      const penstock::WorkerPoolStats stats = pool.stats();
      const std::lock_guard lock(mutex_);
      settled = stats.succeeded == ended_ && ends_.size() == stats.running &&
                (stats.queue_depth + stats.starting == 0 || stats.running >= stats.configured);
    }
  }

 private:
  penstock::ManualClock& clock_;
  std::mutex mutex_;
  std::condition_variable answered_;
  std::multiset<penstock::TimePoint> ends_;
  std::size_t ended_ = 0;
};
}  // namespace

int main() {
  const penstock::ProviderProfile profile{
      .provider_name = "openai", .rate_limit = 100, .avg_latency = 800ms, .error_rate = 0.02};
  const auto plan = penstock::plan_capacity(profile);
  if (!plan.ok()) return 1;
  const penstock::DocumentCapacity cut = penstock::document_capacity_plan(profile);
  penstock::JsonWriter json;
  write(json, *plan);
  std::printf("planned: %zu workers, %zu places (with fractions cut: %d workers, %d places)\n%s\n\n", plan->workers,
              plan->buffer, static_cast<int>(cut.workers), static_cast<int>(cut.buffer), json.text().c_str());

  penstock::ManualClock clock;
  Provider provider(clock);
  penstock::WorkerPoolOptions options = apply(*plan, {.clock = &clock});
  options.workers = options.min_workers = 2;
  options.max_workers = 100;
  options.queue_capacity = 1000;
  options.grow_when_busy = false;  // the scaler does that
  const auto pool = penstock::WorkerPool::create(options);
  if (!pool.ok()) return 1;
  penstock::ScalableWorkerPool scalable(**pool);
  penstock::AdaptiveScaler scaler(scalable, {.name = "openai", .min_workers = 2, .max_workers = 60, .clock = &clock});
  for (int tenth = 0; tenth < 900; ++tenth) {
    const int calls = tenth >= 100 && tenth < 250 ? 8 : 1;  // 80 a second in place of 10
    for (int call = 0; call < calls; ++call) {
      if (!(*pool)->submit([&] { provider.call(); }).ok()) return 1;
    }
    provider.advance(100ms, **pool);
    if (tenth % 10 != 9) continue;
    const std::size_t waiting = (*pool)->stats().queue_depth;
    const auto decision = scaler.evaluate();  // once a second
    if (decision->delta == 0) continue;
    std::printf("%3d s  %3zu jobs wait  %+3d workers, now %2zu  (%s)\n", (tenth + 1) / 10, waiting,
                static_cast<int>(decision->delta), (*pool)->stats().configured,
                std::string(to_string(decision->reason)).c_str());
  }
  provider.advance(1s, **pool);  // what still runs
  const penstock::AdaptiveScalerStats stats = scaler.stats();
  return stats.workers_added > 30 && stats.workers_removed > 30 && stats.failures == 0 ? 0 : 1;
}
