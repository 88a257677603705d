// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Everything, for quick starts. A project that grows includes the headers it uses.

#include "penstock/channel/broadcaster.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "penstock/channel/ticker.hpp"
#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/executor.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/core/op_status.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/core/work_stealing_executor.hpp"
#include "penstock/exec/job.hpp"
#include "penstock/exec/overflow.hpp"
#include "penstock/exec/retry.hpp"
#include "penstock/exec/retry_budget.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "penstock/metrics/counter.hpp"
#include "penstock/metrics/histogram.hpp"
#include "penstock/metrics/json_writer.hpp"
#include "penstock/metrics/prometheus_writer.hpp"
#include "penstock/metrics/registry.hpp"
#include "penstock/metrics/sink.hpp"
#include "penstock/route/circuit_breaker.hpp"
#include "penstock/route/provider_router.hpp"
#include "penstock/version.hpp"
