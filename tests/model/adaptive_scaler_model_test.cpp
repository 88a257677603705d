// SPDX-License-Identifier: MIT

// A scaler under every schedule: looks that meet each other and new options, and a pool that somebody else changes, or
// shuts down, at the same time.

#include <chrono>
#include <cstdint>
#include <memory>

#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/adaptive_scaler.hpp"
#include "penstock/exec/worker_pool.hpp"

#include "model/planted.hpp"
#include "model/pool_scenario.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
namespace world = penstock::detail::world;
using checker::make_endless_pool;
using checker::must_pass;

namespace {

// Where workers come and go even one preemption is too many schedules, unless the run is a long one.
void must_pass_mostly(checker::Options options, const checker::Scenario& scenario) {
  options.preemptions = 0;
  options.executions = 1'000;
  must_pass(options, scenario);
}

/// Finds out whether two threads are in it at once.
class LonelyPool final : public Scalable {
 public:
  [[nodiscard]] PoolFigures figures() const override {
    ++visits;  // the checker sees two at once, which would be a race
    return {.workers = workers, .queue_capacity = 1};
  }
  absl::Status resize(std::size_t to) override {
    ++visits;
    workers = to;
    return absl::OkStatus();
  }

  mutable int visits = 0;
  std::size_t workers = 1;
};

ScalingOptions at_least(std::size_t workers, ManualClock& clock) {
  ScalingOptions options;
  options.min_workers = workers;
  options.max_workers = 3;
  options.up_cooldown = options.down_cooldown = 0s;
  options.clock = &clock;
  return options;
}

}  // namespace

TEST_CASE("AdaptiveScaler: looks of two threads and new options", "[model][scaler]") {
  must_pass({.name = "scaler, two looks and options"}, [] {
    ManualClock clock;
    LonelyPool pool;
    AdaptiveScaler scaler(pool, at_least(2, clock));
    world::Thread other([&] { static_cast<void>(scaler.evaluate()); });
    world::Thread setter([&] { MODEL_ASSERT(scaler.set_options(at_least(3, clock)).ok()); });
    static_cast<void>(scaler.evaluate());
    const AdaptiveScalerStats during = scaler.stats();
    MODEL_ASSERT(during.evaluations + during.skipped >= 1 && during.evaluations + during.skipped <= 2);
    other.join();
    setter.join();
    const AdaptiveScalerStats stats = scaler.stats();
    MODEL_ASSERT(stats.evaluations + stats.skipped == 2 && stats.evaluations >= 1);
    MODEL_ASSERT(pool.workers == 1 + stats.workers_added && stats.workers_added >= 1);
    std::uint64_t reasons = 0;
    for (const std::uint64_t count : stats.reasons) reasons += count;
    MODEL_ASSERT(reasons == stats.evaluations);
  });
}

TEST_CASE("AdaptiveScaler: a look while the pool is shut down", "[model][scaler]") {
  must_pass_mostly({.name = "scaler, look against shutdown"}, [] {
    ManualClock clock;
    auto pool = make_endless_pool({.workers = 1, .queue_capacity = 1, .max_workers = 2, .grow_when_busy = false});
    {
      ScalableWorkerPool scalable(*pool);
      AdaptiveScaler scaler(scalable, at_least(2, clock));
      world::Thread closer([&] { static_cast<void>(pool->shutdown(Context::background())); });
      MODEL_ASSERT(scaler.evaluate()->delta == 1);
      closer.join();
      const AdaptiveScalerStats stats = scaler.stats();
      MODEL_ASSERT(stats.failures + stats.scale_ups == 1);
      MODEL_ASSERT(stats.failures == 0 || stats.last_failure.code() == absl::StatusCode::kUnavailable);
    }
    pool.reset();
  });
}

TEST_CASE("AdaptiveScaler: a look while somebody else changes the pool", "[model][scaler]") {
  must_pass_mostly({.name = "scaler, look against resize"}, [] {
    ManualClock clock;
    auto pool = make_endless_pool(
        {.workers = 2, .queue_capacity = 1, .min_workers = 1, .max_workers = 3, .grow_when_busy = false});
    ScalableWorkerPool scalable(*pool);
    AdaptiveScaler scaler(scalable, at_least(3, clock));
    world::Thread operator_thread([&] { MODEL_ASSERT(pool->resize(1).ok()); });
    MODEL_ASSERT(pool->execute([] {}) == OpStatus::kOk);
    const ScalingDecision decision = *scaler.evaluate();
    MODEL_ASSERT(decision.delta == 1 || decision.delta == 2);  // to three, from what it saw
    operator_thread.join();
    const WorkerPoolStats stats = pool->stats();
    MODEL_ASSERT(stats.configured == 3 || stats.configured == 1);  // who came last
    const checker::Calm calm;
    MODEL_ASSERT(pool->shutdown(Context::background()).is_drained());
    pool.reset();
  });
}
