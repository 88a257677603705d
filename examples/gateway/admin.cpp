// SPDX-License-Identifier: MIT
#include "admin.hpp"

#include <fstream>
#include <iterator>
#include <set>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "config.hpp"
#include "errors.hpp"

#include "penstock/metrics/json_writer.hpp"

namespace gateway {
namespace {

constexpr std::string_view kProviders = "/admin/providers/";
constexpr std::string_view kReload = "/admin/reload";
constexpr std::string_view kUnload = "/api/models/unload";

struct Target {
  std::string name;
  std::string action;  // empty: the provider itself
};

Target target_of(std::string_view path) {
  const std::string_view rest = path.substr(kProviders.size());
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  return {std::string(rest.substr(0, slash)), std::string(rest.substr(std::min(slash + 1, rest.size())))};
}

Failure refused(const absl::Status& status, std::string_view provider) {
  Failure failure{.status = 500, .message = std::string(status.message()), .stage = Stage::kRequest};
  failure.provider = provider;
  if (absl::IsNotFound(status)) {
    failure.status = 404;
    failure.type = "unknown_provider";
  } else if (absl::IsInvalidArgument(status)) {
    failure.status = 400;
    failure.type = "invalid_request";
  } else if (absl::IsFailedPrecondition(status)) {
    failure.status = 409;
    failure.type = "conflict";
  }
  return failure;
}

void write(penstock::JsonWriter& json, std::string_view provider, const penstock::UpdateReport& report) {
  json.begin_object().key("provider").value(provider).key("moved").value(report.moved);
  json.key("finished").value(report.retired.completed).key("called_off").value(report.retired.running.size());
  json.end_object();
}

/// Of all local models, or of one, whose name may have slashes in it.
bool is_unload(std::string_view path) {
  return path == kUnload ||
         (path.substr(0, kUnload.size()) == kUnload && path.size() > kUnload.size() + 1 && path[kUnload.size()] == '/');
}

void answer(httplib::Response& response, penstock::JsonWriter& json) {
  response.status = 200;
  response.set_content(json.take(), "application/json");
}

}  // namespace

std::string_view Admin::allowed_methods(std::string_view path) {
  if (path == kReload || is_unload(path)) return "POST";
  if (path.substr(0, kProviders.size()) != kProviders) return "";
  const Target target = target_of(path);
  if (target.name.empty()) return "";
  if (target.action.empty()) return "PUT";
  return target.action == "check" || target.action == "breaker" ? "POST" : "";
}

bool Admin::takes_body(std::string_view path) {
  if (allowed_methods(path) == "PUT") return true;
  return !allowed_methods(path).empty() && path != kReload && !is_unload(path) && target_of(path).action == "breaker";
}

void Admin::handle(std::string_view path, const std::string& body, httplib::Response& response) {
  if (path == kReload) return reload(response);
  if (is_unload(path)) return unload(std::string(path.substr(std::min(kUnload.size() + 1, path.size()))), response);
  const Target target = target_of(path);
  if (providers_.named(target.name) == nullptr) {
    return respond(response, refused(absl::NotFoundError(fmt::format("there is no provider '{}'", target.name)), ""));
  }
  if (target.action.empty()) return update(target.name, body, response);
  if (target.action == "check") return check(target.name, response);
  set_breaker(target.name, body, response);
}

void Admin::update(const std::string& name, const std::string& body, httplib::Response& response) {
  std::vector<std::string> violations;
  ProviderConfig config = parse_provider(body, name, violations);
  if (violations.empty() && config.upstream.name != name) {
    violations.push_back(fmt::format("$.name: must be '{}', as the path says, got '{}'", name, config.upstream.name));
  }
  if (!violations.empty()) {
    return respond(response, refused(absl::InvalidArgumentError(fmt::format("{}", fmt::join(violations, "\n"))), name));
  }
  const absl::StatusOr<penstock::UpdateReport> report = providers_.update(std::move(config));
  if (!report.ok()) return respond(response, refused(report.status(), name));
  penstock::JsonWriter json;
  write(json, name, *report);
  answer(response, json);
}

void Admin::check(const std::string& name, httplib::Response& response) {
  const auto health = providers_.router().health(name);
  if (health == nullptr) {
    return respond(
        response, refused(absl::FailedPreconditionError(fmt::format("provider '{}' has no health check", name)), name));
  }
  const absl::Status status = health->check_now(accepting_);
  penstock::JsonWriter json;
  json.begin_object().key("provider").value(name).key("health").value(to_string(health->health()));
  json.key("check").value(status.ToString()).end_object();
  answer(response, json);
}

void Admin::set_breaker(const std::string& name, const std::string& body, httplib::Response& response) {
  const auto breaker = providers_.router().breaker(name);
  if (breaker == nullptr) {
    return respond(response,
                   refused(absl::FailedPreconditionError(fmt::format("provider '{}' has no breaker", name)), name));
  }
  const auto document = nlohmann::json::parse(body, nullptr, false);
  const auto wanted = document.is_object() ? document.value("state", nlohmann::json()) : nlohmann::json();
  if (wanted == "open") {
    breaker->force_open();
  } else if (wanted == "reset") {
    breaker->reset();
  } else if (wanted == "disabled") {
    breaker->disable();
  } else if (wanted == "metrics_only") {
    breaker->metrics_only();
  } else {
    return respond(response, invalid_request("state", "must be one of open, reset, disabled, metrics_only"));
  }
  penstock::JsonWriter json;
  json.begin_object().key("provider").value(name).key("breaker").value(to_string(breaker->state())).end_object();
  answer(response, json);
}

void Admin::unload(const std::string& model, httplib::Response& response) {
  const LocalModel* const one = local_ == nullptr || model.empty() ? nullptr : local_->find(model);
  if (one == nullptr && !model.empty()) {
    Failure unknown = unknown_model(model);
    unknown.message = fmt::format("there is no local model '{}'", model.substr(0, 100));
    return respond(response, unknown);
  }
  const absl::Status status = local_ == nullptr ? absl::OkStatus() : local_->unload(one, accepting_);
  if (!status.ok()) return respond(response, refused(status, "local"));
  penstock::JsonWriter json;
  json.begin_object().key("unloaded").value(model.empty() ? "all" : model).end_object();
  answer(response, json);
}

void Admin::reload(httplib::Response& response) {
  std::ifstream file(file_);
  std::vector<std::string> violations;
  Config config;
  if (file) {
    config = parse_config(std::string(std::istreambuf_iterator<char>(file), {}), file_, violations);
  } else {
    violations.push_back(file_.empty() ? "the gateway was started without a file" : file_ + ": cannot be read");
  }
  std::set<std::string> names;
  for (const ProviderConfig& each : config.providers) names.insert(each.upstream.name);
  const std::vector<std::string> served = providers_.router().providers();
  if (violations.empty() && names != std::set<std::string>(served.begin(), served.end())) {
    violations.push_back("$.providers: none can be added or removed while the gateway runs");
  }
  const std::string served_local = local_ == nullptr ? "" : local_->config().text;
  if (violations.empty() && (config.local ? config.local->text : "") != served_local) {
    violations.push_back("$.local: local models cannot be changed while the gateway runs");
  }
  if (!violations.empty()) {
    return respond(response, refused(absl::InvalidArgumentError(fmt::format("{}", fmt::join(violations, "\n"))), ""));
  }
  penstock::JsonWriter json;
  json.begin_object().key("updated").begin_array();
  for (ProviderConfig& each : config.providers) {
    const std::string name = each.upstream.name;
    const absl::StatusOr<penstock::UpdateReport> report = providers_.update(std::move(each));
    if (!report.ok()) return respond(response, refused(report.status(), name));
    write(json, name, *report);
  }
  json.end_array().end_object();
  answer(response, json);
}

}  // namespace gateway
