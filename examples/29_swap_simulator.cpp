// SPDX-License-Identifier: MIT
// How long would my clients wait? One model is asked for all the time, another one now and then, and there is room for
// one of them. An hour of that takes a blink, in virtual time; then again, with a bound on the waiting time, and with
// the model kept for a while once it is there.
#include <chrono>
#include <cstdio>

#include "penstock/swap/swap_simulator.hpp"

using namespace std::chrono_literals;
using penstock::PoissonArrivals;
using penstock::SwapSimulationReport;

int main() {
  penstock::SwapSimulation simulation;
  simulation.scheduler.models = {{.name = "chat", .start_time = 10s}, {.name = "code", .start_time = 20s}};
  simulation.workloads = {{.model = "chat", .arrivals = PoissonArrivals{.per_second = 1}, .service = {6s}},
                          {.model = "code", .arrivals = PoissonArrivals{.per_second = 0.02}, .service = {6s}}};
  simulation.scheduler.limit_at = penstock::LimitAt::kService;

  const auto run = [&](const char* policy) {
    const SwapSimulationReport report = simulate(simulation);
    std::printf("--- %s ---\n%s\n", policy, to_table(report).c_str());
    return report.models[1].waits.max;  // of "code"
  };
  const penstock::Duration unbounded = run("as it comes");
  simulation.scheduler.max_wait = 60s;
  const penstock::Duration bounded = run("nobody is overtaken who has waited for 60 s");
  simulation.scheduler.batching.min_residency = 45s;
  run("and a model stays for 45 s");
  return bounded < unbounded ? 0 : 1;
}
