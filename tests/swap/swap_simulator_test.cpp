// SPDX-License-Identifier: MIT
#include "penstock/swap/swap_simulator.hpp"

#include <chrono>
#include <string>
#include <vector>

#include "penstock/swap/decision_log.hpp"
#include "penstock/swap/decision_reader.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"

namespace {

using namespace penstock;
using namespace penstock::testing;
using namespace std::chrono_literals;
using Shape = RandomDuration::Shape;

SwapWorkload poisson(std::string model, double per_second, RandomDuration service) {
  return {.model = std::move(model), .arrivals = PoissonArrivals{.per_second = per_second}, .service = service};
}

/// Two models, of which one runs at a time; a swap takes 10 s.
SwapSimulation two_models() {
  SwapSimulation simulation;
  simulation.scheduler.models = {{.name = "a"}, {.name = "b"}};
  simulation.scheduler.limit_at = LimitAt::kGrant;
  for (SwapModel& model : simulation.scheduler.models) model.concurrency_limit = 1'000'000;
  simulation.workloads = {poisson("a", 0.5, {2s, Shape::kExponential}), poisson("b", 0.05, {2s, Shape::kLogNormal, 1})};
  return simulation;
}

SimulatedRequests everything_of(const SwapSimulationReport& report) { return report.all; }

std::uint64_t refused(const SimulatedRequests& requests) {
  std::uint64_t sum = 0;
  for (const std::uint64_t count : requests.refused) sum += count;
  return sum;
}

std::uint64_t refused(const SimulatedRequests& requests, SwapReason reason) {
  return requests.refused[static_cast<std::size_t>(reason)];
}

}  // namespace

TEST_CASE("SwapSimulator: the same seed gives the same report, another one another", "[swap][swap_simulator]") {
  SwapSimulation simulation = two_models();
  simulation.models = {{.name = "a", .start = RandomDuration{10s, Shape::kLogNormal, 1}, .mean_time_to_crash = 10min}};
  const SwapSimulationReport first = simulate(simulation);
  CHECK(simulate(simulation) == first);
  simulation.seed = 2;
  CHECK(!(simulate(simulation) == first));
}

TEST_CASE("SwapSimulator: whatever decides, the same requests come", "[swap][swap_simulator]") {
  SwapSimulation simulation = two_models();
  const SwapSimulationReport plain = simulate(simulation);
  simulation.scheduler.batching.min_residency = 60s;
  simulation.scheduler.conduct = SwapConduct::kPublished;
  simulation.models = {{.name = "b", .start_failure = 0.5}};
  const SwapSimulationReport other = simulate(simulation);
  for (std::size_t i = 0; i != 2; ++i) CHECK(plain.models[i].arrived == other.models[i].arrived);
  CHECK(!(plain == other));
}

TEST_CASE("SwapSimulator: a lone model is loaded once, and serves at once", "[swap][swap_simulator]") {
  SwapSimulation simulation = two_models();
  simulation.workloads.pop_back();
  simulation.duration = 10h;
  simulation.warm_up = 10min;
  const SwapSimulationReport report = simulate(simulation);
  CHECK(report.swaps == 1);
  CHECK(report.all.waits.max == 0s);
  CHECK(report.all.unserved == 0);
  CHECK(static_cast<double>(report.all.arrived) == Approx(0.5 * 35'400).epsilon(0.03));
  CHECK(report.swap_time_share == Approx(10.0 / 36'000));
}

TEST_CASE("SwapSimulator: every request is counted in one way", "[swap][swap_simulator]") {
  SwapSimulation simulation = two_models();
  simulation.scheduler.limit_at = LimitAt::kArrival;
  for (SwapModel& model : simulation.scheduler.models) model.concurrency_limit = 4;
  simulation.models = {{.name = "a", .start_failure = 0.2, .mean_time_to_crash = 3min}};
  for (SwapWorkload& workload : simulation.workloads) {
    workload.patience = {30s, Shape::kUniform};
    workload.gone_at_grant = 0.1;
  }
  const SwapSimulationReport report = simulate(simulation);
  const SimulatedRequests all = everything_of(report);
  const std::uint64_t in_service = all.granted - all.served - all.broken - all.gone;
  CHECK(in_service <= 8);
  CHECK(all.arrived == all.granted + refused(all) + all.cancelled + all.unserved);
  CHECK(all.waits.count == all.granted);
  CHECK(all.broken > 0);
  CHECK(all.gone > 0);
  CHECK(all.cancelled > 0);
  CHECK(refused(all, SwapReason::kSwapFailed) > 0);
  CHECK(refused(all, SwapReason::kConcurrencyLimit) > 0);
  CHECK(report.crashes > 0);
  CHECK(all.waits.p50 <= all.waits.p99);
  CHECK(all.waits.p99 <= all.waits.max);
}

TEST_CASE("SwapSimulator: six requests A B C A B C take three swaps", "[swap][swap_simulator]") {
  SwapSimulation simulation;
  simulation.scheduler.models = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
  simulation.models = {{.name = "a", .start = RandomDuration{20s}, .stop = {3s}}};
  for (int i = 0; i != 6; ++i) {
    simulation.trace.push_back(
        {.at = i * 10ms, .model = std::string(1, static_cast<char>('a' + i % 3)), .service = 5s});
  }
  const SwapSimulationReport report = simulate(simulation);
  CHECK(report.swaps == 3);
  CHECK(report.evictions == 2);
  CHECK(report.all.served == 6);
  CHECK(report.models[0].waits.max == 20s);
  // a's service, its stop, and b's start, which takes 10 s as it was not said otherwise
  CHECK(report.models[1].waits.max == 20s + 5s + 3s + 10s - 10ms);
}

TEST_CASE("SwapSimulator: starts fail in an outage, and hang until they have timed out", "[swap][swap_simulator]") {
  SwapSimulation simulation;
  simulation.scheduler.models = {{.name = "a"}};
  simulation.models = {{.name = "a", .start = RandomDuration{10s}, .outages = {{.from = 1min, .until = 2min}}}};
  simulation.trace = {{.at = 90s, .model = "a", .service = 1s}, {.at = 150s, .model = "a", .service = 1s}};
  SwapSimulationReport report = simulate(simulation);
  CHECK(refused(report.all, SwapReason::kSwapFailed) == 1);
  CHECK(report.all.served == 1);

  simulation.models = {{.name = "a", .start_hang = 1, .start_timeout = 40s}};
  simulation.trace.pop_back();
  report = simulate(simulation);
  CHECK(refused(report.all, SwapReason::kSwapFailed) == 1);
  CHECK(report.swap_time_share == Approx(40.0 / 3600));
}

TEST_CASE("SwapSimulator: a hung start that nobody waits for is called off", "[swap][swap_simulator]") {
  SwapSimulation simulation;
  simulation.scheduler.models = {{.name = "a"}, {.name = "b"}};
  simulation.scheduler.cancel_unwanted = true;
  simulation.models = {{.name = "a", .stop = {1s}, .start_hang = 1}};
  simulation.trace = {{.at = 0s, .model = "a", .patience = 10s}, {.at = 5s, .model = "b", .service = 1s}};
  const SwapSimulationReport report = simulate(simulation);
  CHECK(report.swaps_called_off == 1);
  CHECK(report.models[0].cancelled == 1);
  CHECK(report.models[1].waits.max == 5s + 1s + 10s);
}

TEST_CASE("SwapSimulator: bursts and closed loops make as many requests as they say", "[swap][swap_simulator]") {
  SwapSimulation simulation;
  simulation.scheduler.models = {{.name = "a", .concurrency_limit = 1000}};
  simulation.workloads = {{.model = "a",
                           .arrivals = BurstArrivals{.every = 1min, .size = 7, .within = 2s, .until = 10min},
                           .service = {1s}}};
  CHECK(simulate(simulation).all.arrived == 70);

  simulation.workloads = {{.model = "a", .arrivals = ClosedLoop{.clients = 3, .think = {4s}}, .service = {1s}}};
  simulation.duration = 1014s;
  // Each begins after 4 s, waits 10 s for the start, and then takes 5 s a round.
  CHECK(simulate(simulation).all.served == 3 * 200);
}

TEST_CASE("SwapSimulator: a mix has the rates that it says", "[swap][swap_simulator]") {
  const std::vector<std::string> names{"a", "b", "c", "d"};
  SwapSimulation simulation;
  for (const std::string& name : names)
    simulation.scheduler.models.push_back({.name = name, .concurrency_limit = 1'000'000});
  simulation.workloads = hot_cold_mix(names, 1, 0.9, 2, {1s});
  simulation.duration = 3h;
  const SwapSimulationReport report = simulate(simulation);
  CHECK(static_cast<double>(report.models[0].arrived) == Approx(0.9 * 2 * 10'800).epsilon(0.03));
  CHECK(static_cast<double>(report.models[1].arrived) == Approx(0.1 / 3 * 2 * 10'800).epsilon(0.12));
}

TEST_CASE("SwapSimulator: a recorded simulation is replayed, and its requests simulated again",
          "[swap][swap_simulator]") {
  SwapSimulation simulation = two_models();
  simulation.workloads[0].patience = {20s, Shape::kUniform};
  simulation.models = {{.name = "a", .start = RandomDuration{10s}}, {.name = "b", .start = RandomDuration{10s}}};
  DecisionLog log(simulation.scheduler, {.capacity_bytes = 1 << 22});
  simulation.observer = &log;
  const SwapSimulationReport report = simulate(simulation);
  const std::vector<std::byte> bytes = log.bytes();
  SwapScheduler scheduler(simulation.scheduler);
  const auto replayed = replay(bytes, scheduler);
  REQUIRE(text_of(replayed.status()).empty());
  CHECK(replayed->events == report.events);

  const auto trace = trace_of(bytes);
  REQUIRE(trace.ok());
  CHECK(trace->size() == report.all.arrived);
  SwapSimulation again{.scheduler = simulation.scheduler, .models = simulation.models, .trace = *trace};
  const SwapSimulationReport other = simulate(again);
  CHECK(other.all.arrived == report.all.arrived);
  CHECK(other.all.cancelled == report.all.cancelled);
  CHECK(other.all.waits.p99 == report.all.waits.p99);
  CHECK(other.swaps == report.swaps);
}

TEST_CASE("SwapSimulator: a scheduler of the caller's decides", "[swap][swap_simulator]") {
  SwapSimulation simulation = two_models();
  const SwapSimulationReport report = simulate(simulation);
  SwapScheduler scheduler(simulation.scheduler);
  std::uint64_t events = 0;
  simulation.shut_down = true;
  simulation.decide = [&](const SwapEvent& event, TimePoint now, SwapActions& out) {
    ++events;
    return apply(scheduler, event, now, out);
  };
  CHECK(simulate(simulation) == report);
  CHECK(events > report.events);
  CHECK(scheduler.queued() == 0);
}

TEST_CASE("SwapSimulator: a table for people, and options that are wrong are named", "[swap][swap_simulator]") {
  SwapSimulation simulation = two_models();
  simulation.scheduler.tenants = {{.name = "alice"}};
  const std::string table = to_table(simulate(simulation));
  CHECK_THAT(table, ContainsSubstring("unserved   mean s"));
  CHECK_THAT(table, ContainsSubstring("\na  ") && ContainsSubstring("\nalice ") && ContainsSubstring("\n(others) "));

  simulation.models = {{.name = "x", .start_failure = 2}};
  simulation.workloads[0].arrivals = PoissonArrivals{.per_second = 0};
  CHECK_THROWS_WITH(simulate(simulation),
                    "swap simulation: options.models[0].name must be one of the scheduler's models, got 'x'; "
                    "options.models[0].start_failure must be in [0, 1], got 2; "
                    "options.workloads[0].arrivals.per_second must be positive, got 0");
}
