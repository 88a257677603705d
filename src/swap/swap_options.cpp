// SPDX-License-Identifier: MIT
#include "penstock/swap/swap_options.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/option_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using detail::duration_text;
using detail::OptionViolations;

constexpr std::size_t kLongestName = 256;
constexpr std::size_t kMostTenants = 65535;
constexpr std::uint32_t kMostWeight = 1'000'000;

void check_tenants(const std::vector<SwapTenant>& tenants, OptionViolations& violations) {
  violations.require(tenants.size() <= kMostTenants, "tenants", "at most 65535", tenants.size());
  std::vector<std::string_view> names;
  names.reserve(tenants.size());
  for (std::size_t at = 0; at != tenants.size(); ++at) {
    const SwapTenant& tenant = tenants[at];
    const std::string option = "tenants[" + std::to_string(at) + "]";
    violations.require(!tenant.name.empty() && tenant.name.size() <= kLongestName, option + ".name", "1 to 256 bytes",
                       tenant.name.size());
    violations.require(tenant.weight >= 1 && tenant.weight <= kMostWeight, option + ".weight", "in [1, 1000000]",
                       tenant.weight);
    names.push_back(tenant.name);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  violations.require(twice == names.end(), "tenants", "of different names",
                     twice == names.end() ? std::string() : fmt::format("'{}' twice", detail::shortened(*twice, 64)));
}

}  // namespace

absl::Status SwapSchedulerOptions::validate() const {
  OptionViolations violations;
  const auto at_least_0 = [&](std::string_view option, Duration value) {
    violations.require(value >= Duration::zero(), option, "at least 0", duration_text(value));
  };
  violations.require(!name.empty() && name.size() <= kLongestName, "name", "1 to 256 bytes", name.size());
  if (const absl::Status status = ModelTable::validate(models); !status.ok()) {
    violations.require(false, "models", "valid", detail::text_of(status));
  }
  violations.require(planner != nullptr, "planner", "a function", "an empty one");
  violations.require(limit_at <= LimitAt::kService, "limit_at", "a LimitAt", static_cast<int>(limit_at));
  violations.require(conduct <= SwapConduct::kPublished, "conduct", "a SwapConduct", static_cast<int>(conduct));
  violations.require(order <= QueueOrder::kFairShare, "order", "a QueueOrder", static_cast<int>(order));
  violations.require(aging_step == Duration::zero() || aging_step >= std::chrono::microseconds(1), "aging_step",
                     "0 or at least 1 us", duration_text(aging_step));
  check_tenants(tenants, violations);
  violations.require(max_wait > Duration::zero(), "max_wait", "positive", duration_text(max_wait));
  at_least_0("back_off.first", back_off.first);
  violations.require(back_off.factor >= 1 && back_off.factor <= 10, "back_off.factor", "in [1, 10]", back_off.factor);
  violations.require(back_off.longest >= back_off.first, "back_off.longest", "at least back_off.first",
                     duration_text(back_off.longest));
  at_least_0("batching.min_residency", batching.min_residency);
  violations.require(max_queued != 0, "max_queued", "at least 1", max_queued);
  violations.require(max_queued_per_model != 0, "max_queued_per_model", "at least 1", max_queued_per_model);
  violations.require(max_queued_per_tenant != 0, "max_queued_per_tenant", "at least 1", max_queued_per_tenant);
  return violations.status("swap scheduler '" + detail::shortened(name, 64) + "'");
}

}  // namespace penstock::inline PENSTOCK_ABI
