// SPDX-License-Identifier: MIT
#include "verdicts.hpp"

#include <charconv>
#include <utility>

#include <fmt/core.h>

#include "absl/strings/cord.h"

#include "errors.hpp"

#include "penstock/core/failure_stage.hpp"
#include "penstock/core/retry_after.hpp"

namespace gateway {

using absl::StatusCode;
using penstock::RetryVerdict;

namespace {

constexpr char kWithoutRetry[] = "type.gateway/without_retry";
constexpr char kPassedOn[] = "type.gateway/passed_on";

}  // namespace

std::optional<penstock::Duration> parse_retry_after(std::string_view header) {
  std::uint32_t seconds = 0;
  const auto [end, error] = std::from_chars(header.data(), header.data() + header.size(), seconds);
  if (error != std::errc() || end != header.data() + header.size()) return std::nullopt;
  return std::chrono::seconds(seconds);
}

absl::Status to_status(const Answer& answer, std::string_view provider) {
  if (answer.status == 429) {
    absl::Status limited = upstream_fault(StatusCode::kResourceExhausted, Stage::kUpstream, "rate_limited",
                                          fmt::format("provider '{}': it answered with status 429", provider));
    const auto wait = parse_retry_after(answer.retry_after);
    return wait ? penstock::with_retry_after(std::move(limited), *wait) : limited;
  }
  if (answer.key_id.empty() || answer.status < 401 || answer.status > 403) return absl::OkStatus();
  return upstream_fault(
      StatusCode::kPermissionDenied, Stage::kUpstream, "key_refused",
      fmt::format("provider '{}': it refused the key '{}' with status {}", provider, answer.key_id, answer.status));
}

RetryVerdict retry_verdict(const absl::Status& status, bool rotates) {
  if (status.GetPayload(kWithoutRetry) || status.GetPayload(kPassedOn)) return RetryVerdict::kStop;
  const std::optional<Stage> stage = fault_stage(status);
  if (!stage) {
    // A full queue, an open breaker, the end; or all keys rest.
    const bool will_have_key = penstock::failure_stage(status) == "lease" && absl::IsUnavailable(status) &&
                               penstock::retry_after(status).has_value();
    return will_have_key ? RetryVerdict::kRetry : RetryVerdict::kStop;
  }
  switch (status.code()) {
    case StatusCode::kUnavailable:  // cannot connect
    case StatusCode::kInternal:     // failed
    case StatusCode::kDataLoss:     // broke off
      return RetryVerdict::kRetry;
    case StatusCode::kResourceExhausted:
      return rotates ? RetryVerdict::kRetryOtherResource : RetryVerdict::kRetry;
    case StatusCode::kPermissionDenied:
      return rotates ? RetryVerdict::kRetryResourceDead : RetryVerdict::kStop;
    default:
      return RetryVerdict::kStop;
  }
}

absl::Status without_retry(absl::Status status) {
  status.SetPayload(kWithoutRetry, absl::Cord("true"));
  return status;
}

absl::Status passed_on(absl::Status status) {
  status.SetPayload(kPassedOn, absl::Cord("true"));
  return status;
}

bool may_fall_back(const absl::Status& status) {
  return !absl::IsCancelled(status) && !status.GetPayload(kPassedOn).has_value();
}

penstock::CallOutcome breaker_verdict(const absl::Status& status) noexcept {
  const bool about_key = absl::IsResourceExhausted(status) || absl::IsPermissionDenied(status);
  if (about_key && fault_stage(status) == Stage::kUpstream) return penstock::CallOutcome::kSuccess;
  return penstock::classify_call(status);
}

}  // namespace gateway
