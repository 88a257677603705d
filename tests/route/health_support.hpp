// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the tests of the health monitor share: a check that answers as it is told, and a monitor on a clock that stands
/// still.

#include <atomic>
#include <list>
#include <stdexcept>
#include <string>
#include <utility>

#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/periodic_runner.hpp"
#include "penstock/route/health_monitor.hpp"

#include "support/eventually.hpp"
#include "support/gate.hpp"
#include "support/recorder.hpp"

namespace penstock::testing {

struct HealthBench {
  HealthBench() = default;
  HealthBench(const HealthBench&) = delete;
  HealthBench& operator=(const HealthBench&) = delete;
  ~HealthBench() { gate.open(); }

  /// A watch that lives until the checks that hang have been let go.
  HealthWatch& watch(std::string name, HealthCheckOptions options, HealthListener listener = {},
                     const Context& ctx = Context::background()) {
    auto made = monitor.watch(std::move(name), std::move(options), std::move(listener), ctx);
    if (!made.ok()) throw std::runtime_error(std::string(made.status().message()));
    watches.push_back(*std::move(made));
    return watches.back();
  }

  /// A check that passes or not, as `passes` says.
  auto answering() {
    return
        [this](const Context& /*ctx*/) { return passes.load() ? absl::OkStatus() : absl::UnavailableError("refused"); };
  }
  /// A check that hangs at the gate while `hangs`.
  auto hanging() {
    return [this](const Context& /*ctx*/) {
      if (hangs) gate.pass();
      return passes.load() ? absl::OkStatus() : absl::UnavailableError("refused");
    };
  }
  HealthListener recording() {
    return {.on_change = [this](const HealthReport& report) { changes.record(report); },
            .on_result = [this](const HealthReport& report) { results.record(report); }};
  }

  ManualClock clock;
  Gate gate;
  std::atomic<bool> passes{true};
  std::atomic<bool> hangs{true};
  Recorder<HealthReport> changes;
  Recorder<HealthReport> results;
  PeriodicRunner runner{PeriodicRunnerOptions{.name = "r", .clock = &clock}};
  HealthMonitor monitor{runner, "m"};
  std::list<HealthWatch> watches;
};

/// Waits until that many checks have begun, and none is on its way.
inline bool settle(const HealthWatch& watch, std::uint64_t checks) {
  return eventually([&] {
    const HealthStats stats = watch.stats();
    return stats.checks >= checks && !stats.is_checking;
  });
}

}  // namespace penstock::testing
