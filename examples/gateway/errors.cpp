// SPDX-License-Identifier: MIT
#include "errors.hpp"

#include <utility>

#include <fmt/core.h>

#include "absl/strings/cord.h"

#include "penstock/core/failure_stage.hpp"
#include "penstock/core/retry_after.hpp"
#include "penstock/metrics/json_writer.hpp"
#include "penstock/route/circuit_breaker.hpp"

namespace gateway {
namespace {

// Payloads of a status that comes from an upstream.
constexpr char kTypePayload[] = "penstock.example/type";
constexpr char kStagePayload[] = "penstock.example/stage";

constexpr std::string_view kStages[] = {"request", "admission", "queue",    "swap",
                                        "connect", "upstream",  "shutdown", "gateway"};

int status_of_fault(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kFailedPrecondition:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 502;
  }
}

long whole_seconds(penstock::Duration time) {
  return static_cast<long>(std::max<std::int64_t>(1, std::chrono::ceil<std::chrono::seconds>(time).count()));
}

}  // namespace

std::string_view to_string(Stage stage) noexcept { return kStages[static_cast<std::size_t>(stage)]; }

std::string to_json(const Failure& failure) {
  penstock::JsonWriter json;
  json.begin_object().key("error").begin_object();
  json.key("type").value(failure.type).key("message").value(failure.message);
  json.key("stage").value(to_string(failure.stage));
  if (!failure.provider.empty()) json.key("provider").value(failure.provider);
  if (!failure.parameter.empty()) json.key("param").value(failure.parameter);
  if (failure.retry_after) json.key("retry_after_seconds").value(whole_seconds(*failure.retry_after));
  json.end_object().end_object();
  return json.take();
}

void respond(httplib::Response& response, const Failure& failure) {
  response.status = failure.status;
  if (failure.retry_after) response.set_header("Retry-After", std::to_string(whole_seconds(*failure.retry_after)));
  response.set_content(to_json(failure), "application/json");
}

absl::Status upstream_fault(absl::StatusCode code, Stage stage, std::string_view type, std::string text) {
  absl::Status status(code, text);
  status.SetPayload(kTypePayload, absl::Cord(std::string(type)));
  status.SetPayload(kStagePayload, absl::Cord(std::string(1, static_cast<char>(stage))));
  return status;
}

std::optional<Stage> fault_stage(const absl::Status& status) {
  const auto payload = status.GetPayload(kStagePayload);
  return payload ? std::optional(static_cast<Stage>(std::string(*payload)[0])) : std::nullopt;
}

Failure to_failure(const absl::Status& status, std::string_view provider) {
  Failure failure{.message = std::string(status.message()), .provider = std::string(provider)};
  const auto classify = [&failure](int http_status, std::string type, Stage stage) {
    failure.status = http_status;
    failure.type = std::move(type);
    failure.stage = stage;
  };
  failure.retry_after = penstock::retry_after(status);
  if (const auto stage = fault_stage(status)) {
    classify(status_of_fault(status.code()), std::string(*status.GetPayload(kTypePayload)), *stage);
    return failure;
  }
  // Where on the provider's road it was given up.
  const std::string stage = penstock::failure_stage(status).value_or("");
  if (stage == "lease" && !absl::IsCancelled(status)) {
    const bool are_busy = absl::IsDeadlineExceeded(status);
    classify(are_busy ? 429 : 503, are_busy ? "keys_busy" : "no_key", Stage::kAdmission);
    return failure;
  }
  if (stage == "route" && failure.retry_after) {
    classify(503, "unhealthy", Stage::kAdmission);
    return failure;
  }
  if ((stage == "rate_limit" || stage == "limit") && absl::IsResourceExhausted(status)) {
    classify(429, stage == "limit" ? "too_many_at_once" : "rate_limit", Stage::kAdmission);
    failure.retry_after = failure.retry_after.value_or(std::chrono::seconds(1));
    return failure;
  }
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      if (stage == "breaker") {
        classify(503, "circuit_open", Stage::kAdmission);
        break;
      }
      [[fallthrough]];
    case absl::StatusCode::kCancelled:
      classify(503, "shutting_down", Stage::kShutdown);
      break;
    case absl::StatusCode::kDeadlineExceeded:
      if (stage != "enqueue") {
        classify(504, "deadline_exceeded", stage == "queue" ? Stage::kQueue : Stage::kUpstream);
        break;
      }
      [[fallthrough]];
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:  // it made room for a newer one
      classify(429, "queue_full", Stage::kAdmission);
      failure.retry_after = failure.retry_after.value_or(std::chrono::seconds(1));
      break;
    default:
      classify(500, "internal", Stage::kGateway);
  }
  return failure;
}

Failure unknown_model(std::string_view model) {
  return {.status = 404,
          .type = "unknown_model",
          .message = fmt::format("nobody serves the model '{}'; GET /v1/models lists those that are served",
                                 model.substr(0, 100)),
          .stage = Stage::kRequest,
          .parameter = "model"};
}

Failure shutting_down() {
  return {.status = 503,
          .type = "shutting_down",
          .message = "the gateway is shutting down and takes no more requests",
          .stage = Stage::kShutdown,
          .retry_after = std::chrono::seconds(1)};
}

std::optional<Failure> called_off(const penstock::Context& ctx, std::string_view provider, std::string_view subject) {
  if (ctx.status() != penstock::OpStatus::kCancelled) return std::nullopt;
  if (absl::IsCancelled(ctx.cause())) return client_closed();
  // The gateway has waited for it for as long as it could.
  Failure ended = shutting_down();
  ended.provider = provider;
  ended.message = fmt::format("{}: no answer before the gateway has shut down", subject);
  return ended;
}

Failure client_closed() {
  // Nobody reads it: the status is for the metrics, and is the one that other gateways use.
  return {.status = 499,
          .type = "client_closed",
          .message = "the client has closed the connection",
          .stage = Stage::kRequest};
}

Failure body_too_large(std::size_t limit_bytes) {
  return {.status = 413,
          .type = "body_too_large",
          .message = fmt::format("the body is larger than {} bytes", limit_bytes),
          .stage = Stage::kRequest};
}

Failure invalid_request(std::string parameter, std::string message) {
  return {.status = 400,
          .type = "invalid_request",
          .message = std::move(message),
          .stage = Stage::kRequest,
          .parameter = std::move(parameter)};
}

}  // namespace gateway
