// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the tests of resource pools share.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/resource_pool.hpp"
#include "support/eventually.hpp"
#include "support/status_text.hpp"

namespace penstock::testing {

using IntPool = ResourcePool<std::unique_ptr<int>>;
using IntLease = absl::StatusOr<Lease<std::unique_ptr<int>>>;

inline std::unique_ptr<int> number(int value) { return std::make_unique<int>(value); }

inline std::string payload_of(const absl::Status& status, const char* name) {
  const auto payload = status.GetPayload(std::string("type.penstock/") + name);
  return payload.has_value() ? std::string(*payload) : std::string();
}

/// Takes what is free at once; "" if nothing is.
inline std::string id_of(const IntLease& lease) { return lease.ok() ? lease->id() : std::string(); }

/// Whether so many stand in line, soon.
template <class Pool>
bool in_line(const Pool& pool, std::size_t count) {
  return eventually([&] { return pool.stats().waiting == count; });
}

/// What does not add up; empty if all does.
inline std::string discrepancies(const ResourcePoolStats& s) {
  std::string wrong;
  if (s.leases != s.returns + s.in_use) wrong += "leases; ";
  if (s.lease_wait.count() != s.leases) wrong += "lease_wait; ";
  std::size_t in_use = 0;
  for (const ResourceStats& each : s.by_resource) in_use += each.in_use;
  if (in_use > s.in_use) wrong += "in_use; ";
  if (s.by_resource.size() != s.resources) wrong += "resources; ";
  return wrong;
}

inline Task<IntLease> acquire_in(IntPool& pool, AcquireOptions<std::unique_ptr<int>> options, Context ctx) {
  co_return co_await pool.async_acquire(options, std::move(ctx));
}

}  // namespace penstock::testing
