// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a router does now and then: health checks and scaling.

#include "penstock/core/clock.hpp"
#include "penstock/exec/periodic_runner.hpp"
#include "penstock/route/health_monitor.hpp"
#include "penstock/route/provider_router.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// By one clock. A function that hangs keeps a thread of its own, and nothing else.
struct ProviderRouter::Upkeep {
  explicit Upkeep(Clock& clock) : runner({.name = "provider router", .clock = &clock}), monitor(runner, "providers") {}

  PeriodicRunner runner;
  HealthMonitor monitor;
};

}  // namespace penstock::inline PENSTOCK_ABI
