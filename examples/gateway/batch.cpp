// SPDX-License-Identifier: MIT
#include "batch.hpp"

#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "call.hpp"
#include "chat_request.hpp"
#include "connection.hpp"
#include "errors.hpp"

#include "penstock/exec/job_group.hpp"
#include "penstock/metrics/json_writer.hpp"

namespace gateway {
namespace {

using nlohmann::json;
using penstock::Context;
using penstock::JobContext;

constexpr std::size_t kMostRequests = 64;

struct Item {
  std::shared_ptr<const ChatRequest> request;
  ProviderPtr provider;         // or
  LocalModel* local = nullptr;  // who serves its model
};

struct BatchRequest {
  std::vector<Item> items = {};
  bool stop_on_error = false;
};

std::variant<Item, Failure> parse_item(const json& document, const Providers& providers, const LocalModels* local) {
  std::variant<ChatRequest, Failure> parsed = ChatRequest::parse(document.dump());
  if (auto* const failure = std::get_if<Failure>(&parsed)) return std::move(*failure);
  auto request = std::make_shared<const ChatRequest>(std::get<ChatRequest>(std::move(parsed)));
  if (request->streams) return invalid_request("stream", "a request of a batch cannot stream");
  if (LocalModel* const model = local == nullptr ? nullptr : local->find(request->model)) {
    return Item{std::move(request), nullptr, model};
  }
  ProviderPtr provider = providers.find(request->model);
  if (provider == nullptr) return unknown_model(request->model);
  return Item{std::move(request), std::move(provider)};
}

std::variant<BatchRequest, Failure> parse(const std::string& body, const Providers& providers,
                                          const LocalModels* local) {
  const json document = json::parse(body, nullptr, false);
  if (!document.is_object()) return invalid_request("", "the body must be a JSON object");
  const json requests = document.value("requests", json());
  if (!requests.is_array() || requests.empty() || requests.size() > kMostRequests) {
    return invalid_request("requests", fmt::format("must be a list of 1 to {} requests", kMostRequests));
  }
  const json stop = document.value("stop_on_error", json(false));
  if (!stop.is_boolean()) return invalid_request("stop_on_error", "must be true or false");
  BatchRequest batch{.stop_on_error = stop.get<bool>()};
  for (std::size_t i = 0; i < requests.size(); ++i) {
    std::variant<Item, Failure> item = parse_item(requests[i], providers, local);
    if (auto* const failure = std::get_if<Failure>(&item)) {
      const std::string place = fmt::format("requests[{}]", i);
      failure->parameter = place + (failure->parameter.empty() ? "" : "." + failure->parameter);
      return std::move(*failure);
    }
    batch.items.push_back(std::get<Item>(std::move(item)));
  }
  return batch;
}

Failure called_off(const Item& item) {
  const std::string owner = item.local != nullptr ? "local" : item.provider->name();
  return {.status = 424,  // "failed dependency"
          .type = "called_off",
          .message = fmt::format("provider '{}': another request of the batch got no answer", owner),
          .stage = Stage::kRequest,
          .provider = owner};
}

Failure explain(const absl::Status& status, const Item& item, const Context& ctx) {
  return item.local != nullptr ? LocalModels::explain(status, ctx, *item.local)
                               : to_failure(status, item.provider->name());
}

}  // namespace

void Batch::handle(const std::string& body, httplib::Response& response) {
  const std::variant<BatchRequest, Failure> parsed = parse(body, providers_, local_);
  if (const auto* failure = std::get_if<Failure>(&parsed)) return respond(response, *failure);
  const auto& batch = std::get<BatchRequest>(parsed);

  Context::Cancellable scope = accepting_.with_cancel();
  const ClientWatch::Guard watched = watch_.watch(Connection::current().socket(), scope.source);

  penstock::JobGroup<absl::StatusOr<Answer>> group;
  for (const Item& item : batch.items) {
    if (item.local != nullptr) {
      group.add(local_->calls().submit(
          [local = local_, item](const JobContext& running) {
            return local->ask(*item.local, item.request->body, running.context);
          },
          scope.context));
      continue;
    }
    // One that finds the queue full has its answer as well.
    group.submit(*item.provider->batch,
                 [&providers = providers_, item](const JobContext& running) {
                   return ask(providers, *item.provider, item.request, running.context);
                 },
                 {.context = scope.context, .tag = item.request->model});
  }
  // Calls off the others, whose answers say so; what the first error is stands among the answers.
  if (batch.stop_on_error) static_cast<void>(group.first_error(scope.context));
  const auto answers = group.wait_all(scope.context);
  if (!answers.ok()) {
    const bool has_left = absl::IsCancelled(scope.context.cause());
    return respond(response, has_left ? client_closed() : shutting_down());
  }

  penstock::JsonWriter json;
  json.begin_object().key("object").value("list").key("answers").begin_array();
  for (std::size_t i = 0; i < answers->size(); ++i) {
    const absl::StatusOr<Answer>& answer = (*answers)[i];
    const Item& item = batch.items[i];
    json.begin_object();
    if (answer.ok()) {
      json.key("status").value(answer->status).key("body");
      // A success is known to be JSON; what a provider says besides may be anything.
      nlohmann::json::accept(answer->body) ? json.raw(answer->body) : json.value(answer->body);
    } else {
      const bool is_called_off = batch.stop_on_error && absl::IsCancelled(answer.status());
      const Failure failure = is_called_off ? called_off(item) : explain(answer.status(), item, scope.context);
      json.key("status").value(failure.status).key("body").raw(to_json(failure));
    }
    json.end_object();
  }
  json.end_array().end_object();
  response.status = 200;
  response.set_content(json.take(), "application/json");
}

}  // namespace gateway
