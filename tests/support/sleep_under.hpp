// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A function that minds its context and nothing else.

#include "penstock/core/context.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/core/op_status.hpp"

namespace penstock::testing {

/// Sleeps until `ctx` ends.
inline void sleep_under(const Context& ctx) {
  Mutex mutex;
  CondVar never;
  const MutexLock lock(mutex);
  while (never.wait(mutex, ctx) == OpStatus::kOk) {
  }
}

}  // namespace penstock::testing
