// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Everything, for quick starts. A project that grows includes the headers it uses.

#include "penstock/core/clock.hpp"                 // IWYU pragma: export
#include "penstock/core/context.hpp"               // IWYU pragma: export
#include "penstock/core/executor.hpp"              // IWYU pragma: export
#include "penstock/core/manual_clock.hpp"          // IWYU pragma: export
#include "penstock/core/mutex.hpp"                 // IWYU pragma: export
#include "penstock/core/op_status.hpp"             // IWYU pragma: export
#include "penstock/core/run_loop.hpp"              // IWYU pragma: export
#include "penstock/core/task.hpp"                  // IWYU pragma: export
#include "penstock/metrics/counter.hpp"            // IWYU pragma: export
#include "penstock/metrics/histogram.hpp"          // IWYU pragma: export
#include "penstock/metrics/json_writer.hpp"        // IWYU pragma: export
#include "penstock/metrics/prometheus_writer.hpp"  // IWYU pragma: export
#include "penstock/metrics/registry.hpp"           // IWYU pragma: export
#include "penstock/metrics/sink.hpp"               // IWYU pragma: export
#include "penstock/version.hpp"                    // IWYU pragma: export
