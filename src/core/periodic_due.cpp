// SPDX-License-Identifier: MIT
#include "penstock/core/detail/periodic_due.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

Duration jittered(Duration interval, double jitter, double random) noexcept {
  if (jitter <= 0) return interval;
  using Nanoseconds = std::chrono::duration<double, std::nano>;
  return saturated(Nanoseconds(static_cast<double>(interval.count()) * (1 + jitter * random)));
}

PeriodicDue periodic_due(TimePoint due, TimePoint now, Duration interval, double jitter, double random) noexcept {
  // Unsigned, since they may be further apart than a Duration can say.
  const auto count = [](auto time) { return static_cast<std::uint64_t>(time.count()); };
  const std::uint64_t since = count(now.time_since_epoch()) - count(due.time_since_epoch());
  const TimePoint last = now - Duration(static_cast<Duration::rep>(since % count(interval)));
  TimePoint next = saturated_add(last, jittered(interval, jitter, random));
  if (next <= now) next = saturated_add(next, interval);
  return {.times = since / count(interval) + 1, .last = last, .next = next};
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
