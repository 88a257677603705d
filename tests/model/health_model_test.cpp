// SPDX-License-Identifier: MIT

// Health watches under every schedule: each check has one result, what a stop has silenced stays silent, and nobody
// waits for ever, whatever races.

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "penstock/core/detail/parker.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/periodic_runner.hpp"
#include "penstock/route/health_monitor.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
namespace world = penstock::detail::world;

namespace {

void must_pass(checker::Options options, const checker::Scenario& scenario) {
  options.executions = 1'000;
  checker::must_pass(options, scenario);
}

struct Bench {
  HealthWatch watch(HealthCheckOptions options, HealthListener listener = {}) {
    options.jitter = 0;
    auto made = monitor.watch("w", std::move(options), std::move(listener));
    MODEL_ASSERT(made.ok());
    return *std::move(made);
  }

  ManualClock clock;
  PeriodicRunner runner{PeriodicRunnerOptions{.name = "r", .clock = &clock, .thread_idle_timeout = Duration::max()}};
  HealthMonitor monitor{runner, "m"};
};

}  // namespace

TEST_CASE("HealthWatch: the end of a check against its time-out", "[model][health_monitor]") {
  must_pass({.name = "health, end against time-out", .preemptions = 1}, [] {
    detail::Parker told;
    Bench bench;
    HealthWatch watch = bench.watch({.check = [](const Context&) { return absl::OkStatus(); },
                                     .interval = 10s,
                                     .timeout = 5s,
                                     .unhealthy_after = 1},
                                    {.on_result = [&](const HealthReport&) { told.unpark(); }});
    world::Thread advancer([&] { bench.clock.advance(5s); });
    told.park();
    const HealthStats stats = watch.stats();
    MODEL_ASSERT(stats.checks == 1 && stats.passed + stats.timed_out == 1);
    MODEL_ASSERT(watch.health() == (stats.passed == 1 ? Health::kHealthy : Health::kUnhealthy));
    advancer.join();
    watch.stop();
  });
}

TEST_CASE("HealthWatch: a stop against a check and its listener", "[model][health_monitor]") {
  must_pass({.name = "health, stop against listener", .preemptions = 1}, [] {
    int told = 0;
    Bench bench;
    HealthWatch watch = bench.watch({.check = [](const Context&) { return absl::OkStatus(); }, .timeout = 5s},
                                    {.on_change = [&](const HealthReport&) { ++told; }});
    world::Thread stopper([&] { watch.stop(); });
    watch.stop();
    const int told_by_then = told;
    stopper.join();
    MODEL_ASSERT(told == told_by_then && told <= 1);
  });
}

TEST_CASE("HealthWatch: destroyed by its listener", "[model][health_monitor]") {
  must_pass({.name = "health, destroyed by its listener", .preemptions = 1}, [] {
    detail::Parker may_go;
    detail::Parker is_gone;
    std::optional<HealthWatch> watch;
    Bench bench;
    const HealthListener listener{.on_change = [&](const HealthReport&) {
      may_go.park();
      watch.reset();
      is_gone.unpark();
    }};
    watch.emplace(bench.watch({.check = [](const Context&) { return absl::OkStatus(); }}, listener));
    may_go.unpark();
    is_gone.park();
  });
}

TEST_CASE("HealthWatch: who waits for a check against a stop", "[model][health_monitor]") {
  must_pass({.name = "health, check_now against stop", .preemptions = 1}, [] {
    Bench bench;
    HealthWatch watch = bench.watch({.check = [](const Context&) { return absl::OkStatus(); }});
    world::Thread stopper([&] { watch.stop(); });
    const absl::Status status = watch.check_now(Context::background());
    MODEL_ASSERT(status.ok() || absl::IsUnavailable(status));
    stopper.join();
  });
}

TEST_CASE("HealthMonitor: a start that waits for its first check against a cancellation", "[model][health_monitor]") {
  must_pass({.name = "health, start against cancellation", .preemptions = 1}, [] {
    Bench bench;
    auto [ctx, source] = Context::background().with_cancel();
    world::Thread canceller([source = source] { source.cancel(); });
    {
      const auto watch = bench.monitor.watch(
          "w", {.check = [](const Context&) { return absl::OkStatus(); }, .start = HealthStart::kRequired}, {}, ctx);
      MODEL_ASSERT(watch.ok() || absl::IsCancelled(watch.status()));
      if (watch.ok()) MODEL_ASSERT(watch->health() == Health::kHealthy);
    }
    canceller.join();
  });
}
