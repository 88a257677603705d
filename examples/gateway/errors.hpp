// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What can go wrong with a request, and what the client is told.

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include <httplib.h>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"

namespace gateway {

/// Where on its way a request failed.
enum class Stage { kRequest, kAdmission, kQueue, kSwap, kConnect, kUpstream, kShutdown, kGateway };
std::string_view to_string(Stage stage) noexcept;

/// An answer that is not the one the client hoped for.
struct Failure {
  int status = 500;               ///< Of HTTP.
  std::string type = "internal";  ///< For programs.
  std::string message = {};       ///< For people.
  Stage stage = Stage::kGateway;
  std::string provider = {};   ///< Empty: none was involved.
  std::string parameter = {};  ///< The part of the request that is wrong, for example "model".
  std::optional<penstock::Duration> retry_after = std::nullopt;
};

/// {"error": {"type", "message", "stage", "provider", "param", "retry_after_seconds"}}; what does not apply is left
/// out.
std::string to_json(const Failure& failure);

/// Makes `failure` the response.
void respond(httplib::Response& response, const Failure& failure);

/// A status that says what an upstream did, or why it could not be asked, and remembers as which failure its client
/// will see it.
absl::Status upstream_fault(absl::StatusCode code, Stage stage, std::string_view type, std::string text);

/// Where a status of `upstream_fault` says that it went wrong; nothing for any other status.
std::optional<Stage> fault_stage(const absl::Status& status);

/// Why a request got no answer, when `status` came from submitting its job or from the job.
Failure to_failure(const absl::Status& status, std::string_view provider);

/// The failures that need no provider.
Failure unknown_model(std::string_view model);
Failure shutting_down();
/// Why the request that `ctx` belongs to was called off, by its client or by the gateway's end; nothing if it was not.
/// Whoever was asked is `provider`, and `subject` in texts.
std::optional<Failure> called_off(const penstock::Context& ctx, std::string_view provider, std::string_view subject);
Failure client_closed();
Failure body_too_large(std::size_t limit_bytes);
Failure invalid_request(std::string parameter, std::string message);

}  // namespace gateway
