// SPDX-License-Identifier: MIT

// What a circuit breaker says of itself, and of the options it is given: texts and metrics.

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/core/failure_stage.hpp"
#include "penstock/route/circuit_breaker.hpp"
#include "rounded_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;
constexpr std::array kAllStates = {BreakerState::kClosed,   BreakerState::kOpen,       BreakerState::kHalfOpen,
                                   BreakerState::kDisabled, BreakerState::kForcedOpen, BreakerState::kMetricsOnly};
static_assert(kAllStates.size() == kBreakerStates);

/// What the breaker has to say for itself: "12 of 20 calls failed".
std::string evidence(const BreakerRefusal& refusal) {
  switch (refusal.reason) {
    case BreakerReason::kSlowRate:
      return fmt::format("{} of {} calls were slow", refusal.tally.slow, refusal.tally.calls);
    case BreakerReason::kProbesLost:
      return "its probes did not come back";
    case BreakerReason::kFailureRate:
    case BreakerReason::kWaitOver:
    case BreakerReason::kProbesPassed:
    case BreakerReason::kOperator:
      break;
  }
  return fmt::format("{} of {} calls failed", refusal.tally.failed, refusal.tally.calls);
}

}  // namespace

std::string_view to_string(BreakerState state) noexcept {
  switch (state) {
    case BreakerState::kClosed:
      return "closed";
    case BreakerState::kOpen:
      return "open";
    case BreakerState::kHalfOpen:
      return "half_open";
    case BreakerState::kDisabled:
      return "disabled";
    case BreakerState::kForcedOpen:
      return "forced_open";
    case BreakerState::kMetricsOnly:
      return "metrics_only";
  }
  return "unknown";
}

std::string_view to_string(BreakerReason reason) noexcept {
  switch (reason) {
    case BreakerReason::kFailureRate:
      return "failure rate";
    case BreakerReason::kSlowRate:
      return "slow rate";
    case BreakerReason::kWaitOver:
      return "wait over";
    case BreakerReason::kProbesPassed:
      return "probes passed";
    case BreakerReason::kProbesLost:
      return "probes lost";
    case BreakerReason::kOperator:
      return "operator";
  }
  return "unknown";
}

CallOutcome classify_call(const absl::Status& status) noexcept {
  if (status.ok()) return CallOutcome::kSuccess;
  const bool ignored =
      status.code() == absl::StatusCode::kCancelled || status.code() == absl::StatusCode::kInvalidArgument;
  return ignored ? CallOutcome::kIgnored : CallOutcome::kFailure;
}

absl::Status CircuitBreakerOptions::validate() const {
  detail::OptionViolations violations;
  const auto require = [&](bool holds, const char* option, const std::string& rule, const auto& got) {
    violations.require(holds, option, rule, got);
  };
  const auto require_percentage = [&](const char* option, double value) {
    require(value > 0 && value <= 100, option, "in (0, 100]", value);  // a NaN is neither
  };
  const auto require_positive = [&](const char* option, Duration value) {
    require(value > Duration::zero(), option, "positive", detail::rounded_text(value));
  };

  require(name.size() <= kMaxNameBytes, "name", "at most 256 bytes long", name.size());
  const bool known_window = window == Window::kCount || window == Window::kTime;
  require(known_window, "window", "kCount or kTime", static_cast<int>(window));
  const std::size_t max_size = window == Window::kTime ? 10'000 : 1'000'000;
  require(window_size >= 1 && window_size <= max_size, "window_size", fmt::format("in [1, {}]", max_size), window_size);
  require_positive("bucket", bucket);
  require(minimum_calls >= 1, "minimum_calls", "at least 1", minimum_calls);
  require_percentage("failure_rate_pct", failure_rate_pct);
  require_percentage("slow_rate_pct", slow_rate_pct);
  require_positive("slow_call", slow_call);
  require_positive("open_for", open_for);
  require(open_backoff >= 1 && std::isfinite(open_backoff), "open_backoff", "a number of at least 1", open_backoff);
  require(open_for_max >= open_for, "open_for_max",
          fmt::format("at least open_for ({})", detail::rounded_text(open_for)), detail::rounded_text(open_for_max));
  require(open_jitter >= 0 && open_jitter < 1, "open_jitter", "in [0, 1)", open_jitter);
  require(half_open_permits >= 1 && half_open_permits <= 1'000'000, "half_open_permits", "in [1, 1000000]",
          half_open_permits);
  require_positive("half_open_max_wait", half_open_max_wait);
  require(clock != nullptr, "clock", "a clock", "null");

  return violations.status(fmt::format("circuit breaker '{}'", detail::shortened(name, kMaxNameBytes)));
}

absl::Status to_status(const BreakerRefusal& refusal, std::string_view name) {
  std::string why;
  switch (refusal.state) {
    case BreakerState::kOpen:
      why = refusal.retry_after == Duration::max()
                ? fmt::format("open until it is reset ({})", evidence(refusal))
                : fmt::format("open for another {} ({})", detail::rounded_text(refusal.retry_after), evidence(refusal));
      break;
    case BreakerState::kHalfOpen:
      why = fmt::format("half open, waits for {} probes ({} came back, {} of them failed)", refusal.probes,
                        refusal.tally.calls, refusal.tally.failed);
      break;
    case BreakerState::kForcedOpen:
      why = "forced open";
      break;
    case BreakerState::kClosed:
    case BreakerState::kDisabled:
    case BreakerState::kMetricsOnly:
      why = fmt::format("refused while {}", to_string(refusal.state));
      break;
  }
  absl::Status status =
      with_failure_stage(absl::UnavailableError(fmt::format("circuit breaker '{}': {}", name, why)), "breaker");
  if (refusal.retry_after > Duration::zero() && refusal.retry_after != Duration::max()) {
    return with_retry_after(std::move(status), refusal.retry_after);
  }
  return status;
}

void CircuitBreaker::collect(MetricSink& sink) const {
  const CircuitBreakerStats now = stats();
  const Label breaker{"breaker", name()};
  for (const BreakerState state : kAllStates) {
    sink.gauge("penstock_breaker_state", "whether the circuit breaker is in this state",
               {breaker, {"state", to_string(state)}}, now.state == state ? 1 : 0);
  }
  const auto calls = [&](std::string_view outcome, std::uint64_t count) {
    sink.counter("penstock_breaker_calls_total", "calls by what the circuit breaker learned from them",
                 {breaker, {"outcome", outcome}}, count);
  };
  calls("success", now.succeeded);
  calls("failure", now.failed);
  calls("ignored", now.ignored);
  for (std::size_t code = 0; code < now.failed_with.size(); ++code) {
    if (now.failed_with[code] == 0) continue;
    const std::string text = absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
    sink.counter("penstock_breaker_failed_total", "calls that failed, by the code of their status",
                 {breaker, {"code", text}}, now.failed_with[code]);
  }
  sink.counter("penstock_breaker_not_permitted_total", "calls that were not let through", {breaker}, now.not_permitted);
  sink.counter("penstock_breaker_late_results_total", "reports on calls from before the last change of state",
               {breaker}, now.late_results);
  sink.counter("penstock_breaker_abandoned_permits_total", "calls that were let through and never reported", {breaker},
               now.abandoned);
  sink.counter("penstock_breaker_slow_calls_total", "calls that took longer than the slow limit", {breaker}, now.slow);
  for (const BreakerState from : kAllStates) {
    for (const BreakerState to : kAllStates) {
      const bool usual =
          (from == BreakerState::kClosed && to == BreakerState::kOpen) ||
          (from == BreakerState::kOpen && to == BreakerState::kHalfOpen) ||
          (from == BreakerState::kHalfOpen && (to == BreakerState::kOpen || to == BreakerState::kClosed));
      if (!usual && now.count(from, to) == 0) continue;
      sink.counter("penstock_breaker_transitions_total", "changes of the circuit breaker's state",
                   {breaker, {"from", to_string(from)}, {"to", to_string(to)}}, now.count(from, to));
    }
  }
  const auto ratio = [](double pct) { return pct < 0 ? pct : pct / 100; };
  sink.gauge("penstock_breaker_failure_rate",
             "part of the calls in the window that failed, from 0 to 1; -1 while there are too few", {breaker},
             ratio(now.failure_rate_pct));
  sink.gauge("penstock_breaker_slow_rate",
             "part of the calls in the window that were slow, from 0 to 1; -1 while there are too few", {breaker},
             ratio(now.slow_rate_pct));
  sink.gauge("penstock_breaker_buffered", "calls in the window, or probes that came back", {breaker},
             static_cast<double>(now.window.calls));
  sink.gauge("penstock_breaker_time_in_state_seconds", "time since the last change of state", {breaker},
             detail::seconds(now.time_in_state));
  sink.counter("penstock_breaker_doubled_reports_total", "reports on calls that had been reported", {breaker},
               now.doubled_reports);
  sink.counter("penstock_breaker_caught_exceptions_total", "exceptions of listeners and of the classifier", {breaker},
               now.caught_exceptions);
  sink.counter("penstock_breaker_missed_transitions_total", "changes of state that slow listeners were not told",
               {breaker}, now.missed_transitions);
}

}  // namespace penstock::inline PENSTOCK_ABI
