// SPDX-License-Identifier: MIT

// What retries say of themselves, of the options they are given, and through statuses: texts and metrics.

#include <cmath>
#include <string>

#include <fmt/format.h>

#include "penstock/core/detail/option_text.hpp"
#include "penstock/exec/detail/pool_text.hpp"
#include "penstock/exec/retry.hpp"
#include "penstock/metrics/sink.hpp"
#include "retry_violations.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;
constexpr std::uint32_t kMaxAttempts = 1'000'000;

}  // namespace

std::string_view to_string(RetryVerdict verdict) noexcept {
  switch (verdict) {
    case RetryVerdict::kStop:
      return "stop";
    case RetryVerdict::kRetry:
      return "retry";
    case RetryVerdict::kRetryOtherResource:
      return "other_resource";
    case RetryVerdict::kRetryResourceDead:
      return "resource_dead";
  }
  return "unknown";
}

std::string_view to_string(RetryStop stop) noexcept {
  switch (stop) {
    case RetryStop::kNone:
      return "none";
    case RetryStop::kVerdict:
      return "verdict";
    case RetryStop::kAttempts:
      return "attempts";
    case RetryStop::kNoResource:
      return "no_resource";
    case RetryStop::kBreaker:
      return "breaker";
    case RetryStop::kRetryAfter:
      return "retry_after";
    case RetryStop::kDeadline:
      return "deadline";
    case RetryStop::kBudget:
      return "budget";
    case RetryStop::kCancelled:
      return "cancelled";
    case RetryStop::kAbandoned:
      return "abandoned";
  }
  return "unknown";
}

absl::Status RetryOptions::validate() const {
  using detail::duration_text;
  detail::OptionViolations violations;
  violations.require(name.size() <= kMaxNameBytes, "name", "at most 256 bytes long", name.size());
  violations.require(max_attempts >= 1 && max_attempts <= kMaxAttempts, "max_attempts", "in [1, 1000000]",
                     max_attempts);
  violations.require(initial >= Duration::zero(), "initial", "at least 0 s", duration_text(initial));
  violations.require(max >= initial, "max", fmt::format("at least initial ({})", duration_text(initial)),
                     duration_text(max));
  violations.require(max >= Duration::zero(), "max", "at least 0 s", duration_text(max));
  violations.require(multiplier >= 1 && std::isfinite(multiplier), "multiplier", "a number of at least 1", multiplier);
  violations.require(jitter >= 0 && jitter <= 1, "jitter", "in [0, 1]", jitter);
  violations.require(max_retry_after >= Duration::zero(), "max_retry_after", "at least 0 s",
                     duration_text(max_retry_after));
  detail::add_violations(budget, "budget.", violations);
  return violations.status(fmt::format("retry '{}'", detail::shortened(name, kMaxNameBytes)));
}

absl::Status with_attempts(const absl::Status& status, std::uint32_t attempts) {
  if (status.ok() || attempts <= 1) return status;
  const std::string_view text = detail::text_of(status);
  absl::Status longer(status.code(), text.empty() ? fmt::format("after {} attempts", attempts)
                                                  : fmt::format("{} (after {} attempts)", text, attempts));
  status.ForEachPayload([&longer](auto url, const auto& payload) { longer.SetPayload(url, payload); });
  return longer;
}

void Retrier::collect(MetricSink& sink) const {
  const RetryStats now = stats();
  const Label retry{"retry", name()};
  sink.counter("penstock_retry_calls_total", "calls that may be tried again", {retry}, now.calls);
  sink.counter("penstock_retry_attempts_total", "attempts of all calls, the first ones included", {retry},
               now.attempts);
  sink.counter("penstock_retry_succeeded_first_total", "calls whose first attempt succeeded", {retry},
               now.succeeded_first);
  sink.counter("penstock_retry_succeeded_after_retry_total", "calls that a later attempt saved", {retry},
               now.succeeded_after_retry);
  sink.counter("penstock_retry_exhausted_total", "calls that failed in all their attempts", {retry}, now.exhausted());
  sink.counter("penstock_retry_budget_denied_total", "calls that ended because too many were retried", {retry},
               now.budget_denied());
  for (std::size_t index = 1; index < kRetryStops; ++index) {
    sink.counter("penstock_retry_stops_total", "calls that ended without success, by what kept them from another try",
                 {retry, {"reason", to_string(static_cast<RetryStop>(index))}}, now.stops[index]);
  }
  sink.histogram("penstock_retry_backoff_seconds", "waits between two attempts", {retry}, backoff_.snapshot());
  sink.counter("penstock_retry_caught_exceptions_total", "exceptions of the classifier and of the breaker's question",
               {retry}, now.caught_exceptions);
}

}  // namespace penstock::inline PENSTOCK_ABI
