// SPDX-License-Identifier: MIT
#include "chat.hpp"

#include <memory>
#include <utility>
#include <variant>

#include "call.hpp"
#include "chat_request.hpp"
#include "connection.hpp"
#include "errors.hpp"
#include "event_stream.hpp"
#include "local_stream.hpp"

namespace gateway {
namespace {

using penstock::Context;

void respond(httplib::Response& response, const Answer& answer) {
  response.status = answer.status;
  if (!answer.provider.empty()) response.set_header("X-Provider", answer.provider);
  if (!answer.retry_after.empty()) response.set_header("Retry-After", answer.retry_after);
  response.set_content(answer.body, answer.content_type.empty() ? "application/json" : answer.content_type);
}

}  // namespace

void Chat::handle(std::string body, httplib::Response& response) {
  std::variant<ChatRequest, Failure> parsed = ChatRequest::parse(std::move(body));
  if (const auto* failure = std::get_if<Failure>(&parsed)) return gateway::respond(response, *failure);
  const auto request = std::make_shared<const ChatRequest>(std::get<ChatRequest>(std::move(parsed)));
  LocalModel* const local = local_ == nullptr ? nullptr : local_->find(request->model);
  if (local != nullptr) return ask_local(*local, request, response);
  const ProviderPtr provider = providers_.find(request->model);
  if (provider == nullptr) return gateway::respond(response, unknown_model(request->model));

  // The work ends with the provider's time, or when the client leaves, whichever is first: in the queue, in the middle
  // of a call, and between two attempts.
  Context::Cancellable scope = accepting_.with_timeout(deadline_of(providers_, *provider)).with_cancel();
  ClientWatch::Guard watched = watch_.watch(Connection::current().socket(), scope.source);

  absl::StatusOr<Answer> answer;
  if (request->streams) {
    auto events = std::make_unique<EventStream>(provider->name(), scope, std::move(watched));
    answer = ask(providers_, *provider, request, scope.context, *events);
    // The status of the response could be chosen until the first event was there.
    if (events->has_begun()) return EventStream::serve(std::move(events), response);
    if (!answer.ok()) return gateway::respond(response, explain(answer.status(), scope.context, *provider));
    return respond(response, *answer);
  }
  answer = ask(providers_, *provider, request, scope.context);
  if (!answer.ok()) return gateway::respond(response, explain(answer.status(), scope.context, *provider));
  respond(response, *answer);
}

void Chat::ask_local(LocalModel& model, std::shared_ptr<const ChatRequest> request, httplib::Response& response) {
  // Each wait for the model has its own time, as has each call.
  Context::Cancellable scope = accepting_.with_cancel();
  ClientWatch::Guard watched = watch_.watch(Connection::current().socket(), scope.source);
  std::unique_ptr<LocalStream> stream;
  absl::StatusOr<Answer> answer;
  if (request->streams) {
    stream = std::make_unique<LocalStream>(*local_, model, std::move(request), providers_.pieces(), scope,
                                           std::move(watched));
    // Nothing has been sent as long as it has not begun: who is refused is told so by the status of the response.
    if (stream->begin()) return LocalStream::serve(std::move(stream), response);
    answer = stream->answer();
  } else {
    answer = local_->ask(model, request->body, scope.context);
  }
  if (!answer.ok()) {
    return gateway::respond(response, LocalModels::explain(answer.status(), scope.context, model));
  }
  respond(response, *answer);
}

}  // namespace gateway
