// SPDX-License-Identifier: MIT
#include "penstock/exec/launch_policy.hpp"

#include <algorithm>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/option_text.hpp"

namespace penstock::inline PENSTOCK_ABI {

LaunchDecision DocumentLaunch::decide(const LaunchSample& sample) const noexcept {
  const auto one_if = [](bool needed) { return LaunchDecision{.launches = needed ? 1U : 0U}; };
  if (sample.waiters == 0 || sample.starters >= sample.waiters) return one_if(false);
  const std::uint64_t executors = sample.starters + sample.runners;
  if (executors == 0) return one_if(true);
  if (sample.wait_ms == 0) return one_if(false);
  // In this order: the quotient is cut off before it is doubled.
  if (sample.run_ms / executors * 2 < sample.wait_ms) return one_if(true);
  return one_if(sample.run_ms < sample.wait_ms || sample.start_ms < sample.wait_ms);
}

LaunchDecision EffectiveLaunch::decide(const LaunchSample& sample) const noexcept {
  const std::size_t lacking = sample.waiters - std::min(sample.waiters, sample.idle);
  const bool needed = lacking != 0 && (sample.starters == 0 || sample.starters < lacking);
  return {.launches = needed ? 1U : 0U};
}

LaunchDecision CombinedLaunch::decide(const LaunchSample& sample) const noexcept {
  // Each of these may be near the end of its range.
  const auto less = [](std::size_t from, std::size_t what) { return from - std::min(from, what); };
  const std::size_t lacking = less(less(sample.waiters, sample.idle), sample.starters);
  const std::size_t room =
      std::min(less(max_starters, sample.starters), less(less(max_runners, sample.starters), sample.runners));
  const std::size_t burst = interval > Duration::zero() ? at_once : lacking;
  const std::size_t wanted = std::min({lacking, burst, room});
  if (wanted == 0) return {};
  // A wait below zero is that of a clock that has stepped back.
  const Duration waited = std::max(sample.oldest_wait, Duration::zero());
  const Duration passed = std::max(sample.since_last_launch, Duration::zero());
  const Duration rest = std::max(patience - std::min(waited, patience), interval - std::min(passed, interval));
  if (rest > Duration::zero()) return {.look_again_in = rest};
  LaunchDecision decision{.launches = wanted};
  // With those who are left over: when the rate allows more. Starts that end have it look again sooner.
  if (lacking > wanted && interval > Duration::zero()) decision.look_again_in = interval;
  return decision;
}

absl::Status validate(const LaunchPolicy& policy) {
  detail::OptionViolations violations;
  if (const auto* const combined = std::get_if<CombinedLaunch>(&policy)) {
    const auto not_negative = [&](const char* option, Duration value) {
      violations.require(value >= Duration::zero(), option, "at least 0", detail::duration_text(value));
    };
    const auto positive = [&](const char* option, std::size_t value) {
      violations.require(value >= 1, option, "at least 1", value);
    };
    not_negative("patience", combined->patience);
    positive("at_once", combined->at_once);
    not_negative("interval", combined->interval);
    positive("max_starters", combined->max_starters);
    positive("max_runners", combined->max_runners);
  } else if (const auto* const custom = std::get_if<CustomLaunch>(&policy)) {
    violations.require(static_cast<bool>(custom->decide), "decide", "a function", "none");
  }
  return violations.empty() ? absl::OkStatus() : absl::InvalidArgumentError(violations.text());
}

LaunchDecision decide(const LaunchPolicy& policy, const LaunchSample& sample) {
  return std::visit([&](const auto& rule) { return rule.decide(sample); }, policy);
}

}  // namespace penstock::inline PENSTOCK_ABI
