// SPDX-License-Identifier: MIT
// What holds of the scheduler among simulated models and clients, with any planner and policy.
#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "penstock/swap/swap_simulator.hpp"
#include "support/catch.hpp"
#include "swap/swap_invariants.hpp"
#include "swap/swap_world.hpp"

namespace {

using namespace penstock;
using namespace penstock::testing;
using namespace std::chrono_literals;
using Shape = RandomDuration::Shape;

/// The times of a random world are microseconds; of a simulated one, seconds.
SwapSchedulerOptions slowed(SwapSchedulerOptions options) {
  std::vector<Duration*> times = {&options.aging_step, &options.max_wait, &options.back_off.first,
                                  &options.back_off.longest, &options.batching.min_residency};
  for (SwapModel& model : options.models) {
    times.push_back(&model.start_time);
    times.push_back(&model.idle_unload);
  }
  for (Duration* const time : times) {
    if (*time != Duration::max()) *time *= 20'000;
  }
  return options;
}

/// Clients and processes of all sorts, for the models of these options.
SwapSimulation random_simulation(const SwapSchedulerOptions& options, std::uint64_t seed) {
  Random random(seed);
  SwapSimulation simulation{.scheduler = options, .duration = 20min, .seed = seed, .shut_down = true};
  const auto seconds = [&](std::size_t most) { return std::chrono::seconds(random.between(1, most)); };
  const auto shape = [&] { return static_cast<Shape>(random.below(4)); };
  for (const SwapModel& model : options.models) {
    SimulatedModel process{
        .name = model.name, .start = RandomDuration{seconds(30), shape()}, .stop = {seconds(4), shape()}};
    if (random.chance(30)) process.start_failure = 0.3;
    if (random.chance(20)) process.start_hang = 0.2;
    process.start_timeout = 60s;
    if (random.chance(30)) process.mean_time_to_crash = 90s;
    if (random.chance(20)) process.outages = {{.from = 5min, .until = 8min}};
    simulation.models.push_back(std::move(process));

    SwapWorkload load{.model = model.name, .service = {seconds(8), shape()}};
    load.arrivals = PoissonArrivals{.per_second = 0.01 * static_cast<double>(random.between(1, 60))};
    if (random.chance(25)) load.arrivals = BurstArrivals{.every = seconds(120), .size = random.between(1, 20)};
    if (random.chance(25)) load.arrivals = ClosedLoop{.clients = random.between(1, 6)};
    load.priority = static_cast<std::int32_t>(random.below(4)) - 1;
    load.tenant = TenantId{static_cast<std::uint32_t>(random.below(4))};
    if (random.chance(30)) load.patience = {seconds(60), shape()};
    if (random.chance(30)) load.deadline = seconds(90);
    if (random.chance(30)) load.gone_at_grant = 0.2;
    simulation.workloads.push_back(std::move(load));
  }
  return simulation;
}

struct Seen {
  std::uint64_t events = 0;
  std::uint64_t backed_off = 0;
  std::uint64_t expired = 0;
  std::uint64_t idle_unloads = 0;
  std::uint64_t called_off = 0;
};

/// Simulates with the invariants looking on; adds what there was.
void simulate_watched(SwapSimulation simulation, Seen& seen) {
  SwapScheduler scheduler(simulation.scheduler);
  SwapInvariants invariants(simulation.scheduler);
  simulation.decide = [&](const SwapEvent& event, TimePoint now, SwapActions& out) {
    const std::size_t first = out.size();
    const std::uint64_t result = apply(scheduler, event, now, out);
    invariants.saw(event, result, out, first, scheduler);
    if (++seen.events % 64 == 0) invariants.look_at_queue(scheduler);
    return result;
  };
  static_cast<void>(simulate(simulation));
  invariants.finish();
  if (!invariants.violations().empty()) FAIL(invariants.violations().front());
  const SwapStats& stats = scheduler.stats();
  seen.backed_off += stats.refused[static_cast<std::size_t>(SwapReason::kBackingOff)];
  seen.expired += stats.refused[static_cast<std::size_t>(SwapReason::kExpired)];
  seen.idle_unloads += stats.idle_unloads;
  seen.called_off += stats.swaps_cancelled;
}

}  // namespace

TEST_CASE("SwapSimulator: the laws of a scheduler hold with every planner and policy", "[swap][swap_simulator]") {
  Seen seen;
  for (const WorldKind kind :
       {WorldKind::kPairwise, WorldKind::kGeneral, WorldKind::kPolicy, WorldKind::kIdle, WorldKind::kClaim}) {
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
      const World world = make_world(kind, seed);
      INFO(to_text(world) << ", kind " << static_cast<int>(kind));
      simulate_watched(random_simulation(slowed(world.options), seed), seen);
    }
  }
  CHECK(seen.events > 200'000);
  CHECK(seen.backed_off > 100);
  CHECK(seen.expired > 100);
  CHECK(seen.idle_unloads > 20);
  CHECK(seen.called_off > 20);
}

namespace {

/// A hot model with requests all the time, and two that are asked for seldom; one of them runs.
SwapSimulation hot_and_cold(std::uint64_t seed) {
  SwapSimulation simulation{.duration = 3h, .seed = seed};
  simulation.scheduler.models = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
  simulation.scheduler.limit_at = LimitAt::kService;
  for (SwapModel& model : simulation.scheduler.models) {
    model.concurrency_limit = 1'000'000;
    model.start_time = 20s;
  }
  const RandomDuration service{6s, Shape::kUniform};
  simulation.workloads = {{.model = "a", .arrivals = PoissonArrivals{.per_second = 1}, .service = service},
                          {.model = "b", .arrivals = PoissonArrivals{.per_second = 0.05}, .service = service},
                          {.model = "c", .arrivals = PoissonArrivals{.per_second = 0.01}, .service = service}};
  return simulation;
}

}  // namespace

TEST_CASE("SwapSimulator: nobody waits for longer than max_wait promises", "[swap][swap_simulator]") {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    SwapSimulation simulation = hot_and_cold(seed);
    const SwapSimulationReport published = simulate(simulation);
    simulation.scheduler.max_wait = 60s;
    const SwapSimulationReport bounded = simulate(simulation);
    // The first to wait for its time, the longest service, its own swap; and before it, in its three models, two that
    // have waited for longer: a service and a swap each. Who joins none of these three waits for its own.
    const Duration one = bounded.longest_service + 20s;
    CHECK(bounded.all.waits.max <= 60s + 3 * one);
    CHECK(bounded.all.longest_unserved <= 60s + 3 * one);
    CHECK(published.all.waits.max > 60s + 3 * one);
    CHECK(bounded.models[1].waits.p99 * 5 < published.models[1].waits.p99);
  }
}
