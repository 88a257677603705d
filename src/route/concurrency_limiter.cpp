// SPDX-License-Identifier: MIT
#include "penstock/route/concurrency_limiter.hpp"

namespace penstock::inline PENSTOCK_ABI {

absl::StatusOr<ConcurrencyLimiter::Slot> ConcurrencyLimiter::acquire(const Context& ctx, std::string_view partition) {
  detail::LimitGrant grant;
  LimitRefusal why;
  if (!core_.take(grant, partition, ctx, why)) return to_status(why, core_.name());
  return Slot(core_, grant);
}

absl::StatusOr<ConcurrencyLimiter::Slot> ConcurrencyLimiter::Awaiter::await_resume() {
  if (const detail::LimitGrant* const grant = take_.finish()) return Slot(core_, *grant);
  return to_status(take_.refusal(), core_.name());
}

}  // namespace penstock::inline PENSTOCK_ABI
