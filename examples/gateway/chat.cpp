// SPDX-License-Identifier: MIT
#include "chat.hpp"

#include <optional>
#include <utility>
#include <variant>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "connection.hpp"
#include "errors.hpp"
#include "event_stream.hpp"

#include "penstock/exec/job.hpp"

namespace gateway {
namespace {

using nlohmann::json;
using penstock::Context;
using penstock::JobContext;

/// What the gateway has to know of a request; the rest is between the client and the provider.
struct ChatRequest {
  std::string model;
  bool streams = false;
};

std::variant<ChatRequest, Failure> parse(const std::string& body) {
  json request;
  try {
    request = json::parse(body);
  } catch (const json::parse_error& error) {
    const std::string what = error.what();
    return invalid_request("", "the body is not JSON: " + what.substr(what.find(']') + 2));
  }
  if (!request.is_object()) return invalid_request("", "the body must be a JSON object");
  const auto member = [&request](const char* key) {
    const auto found = request.find(key);
    return found == request.end() ? json() : *found;
  };
  const json model = member("model");
  if (!model.is_string()) return invalid_request("model", "must be the name of a model");
  const json messages = member("messages");
  if (!messages.is_array() || messages.empty()) return invalid_request("messages", "must be a list that is not empty");
  const json stream = member("stream");
  if (!stream.is_null() && !stream.is_boolean()) return invalid_request("stream", "must be true or false");
  return ChatRequest{.model = model, .streams = stream.is_boolean() && stream.get<bool>()};
}

Failure unknown_model(const std::string& model) {
  return {.status = 404,
          .type = "unknown_model",
          .message = fmt::format("no provider serves the model '{}'; GET /v1/models lists those that are served",
                                 model.substr(0, 100)),
          .stage = Stage::kRequest,
          .parameter = "model"};
}

/// Only a client that leaves cancels the context of its request.
Failure explain(const absl::Status& status, const Context& ctx, const std::string& provider) {
  return ctx.status() == penstock::OpStatus::kCancelled ? client_closed() : to_failure(status, provider);
}

void respond(httplib::Response& response, const Answer& answer) {
  response.status = answer.status;
  if (!answer.retry_after.empty()) response.set_header("Retry-After", answer.retry_after);
  response.set_content(answer.body, answer.content_type.empty() ? "application/json" : answer.content_type);
}

}  // namespace

void Chat::handle(std::string body, httplib::Response& response) {
  std::variant<ChatRequest, Failure> parsed = parse(body);
  if (const auto* failure = std::get_if<Failure>(&parsed)) return gateway::respond(response, *failure);
  const auto& request = std::get<ChatRequest>(parsed);
  Provider* const provider = providers_.find(request.model);
  if (provider == nullptr) return gateway::respond(response, unknown_model(request.model));
  const std::string& name = provider->config.upstream.name;

  // The work ends with the provider's time, or when the client leaves, whichever is first: in the queue as in the
  // middle of the call.
  Context::Cancellable scope = Context::background().with_timeout(provider->config.deadline()).with_cancel();
  ClientWatch::Guard watched = watch_.watch(Connection::current().socket(), scope.source);
  penstock::SubmitOptions options{.context = scope.context, .tag = request.model};

  if (!request.streams) {
    // The function may outlive this call, if the upstream ignores its deadline: it owns what it uses.
    auto job = providers_.router().submit(
        name,
        [provider, body = std::move(body)](const JobContext& running) {
          return provider->upstream.complete(body, running.context);
        },
        std::move(options));
    if (!job.ok()) return gateway::respond(response, to_failure(job.status(), name));
    const absl::StatusOr<Answer> answer = job->get(scope.context);
    if (!answer.ok()) return gateway::respond(response, explain(answer.status(), scope.context, name));
    return respond(response, *answer);
  }

  auto events = std::make_unique<EventStream>(name, scope, std::move(watched));
  auto job = providers_.router().submit(
      name,
      [provider, body = std::move(body), sink = events->make_sink()](const JobContext& running) {
        const auto pass_on = [&](std::string_view piece) { return sink.send(piece, running.context); };
        return provider->upstream.complete(body, running.context, pass_on);
      },
      std::move(options));
  if (!job.ok()) return gateway::respond(response, to_failure(job.status(), name));

  // The status of the response can be chosen until the first piece is here.
  if (events->begin(std::move(*job))) return EventStream::serve(std::move(events), response);
  const absl::StatusOr<Answer>& answer = events->answer();
  if (!answer.ok()) return gateway::respond(response, explain(answer.status(), scope.context, name));
  respond(response, *answer);
}

}  // namespace gateway
