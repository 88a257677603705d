// SPDX-License-Identifier: MIT
#include "routes.hpp"

#include <algorithm>
#include <exception>
#include <optional>
#include <utility>

#include <fmt/core.h>
#include <netinet/in.h>
#include <strings.h>
#include <sys/socket.h>

#include "connection.hpp"
#include "errors.hpp"

#include "penstock/metrics/json_writer.hpp"
#include "penstock/metrics/prometheus_writer.hpp"

namespace gateway {
namespace {

constexpr char kChatPath[] = "/v1/chat/completions";
constexpr char kBatchPath[] = "/v1/batch";
constexpr std::array kGetPaths = {"/v1/models", "/metrics", "/api/state", "/healthz"};

bool takes_body(const std::string& path) { return path == kChatPath || path == kBatchPath || Admin::takes_body(path); }

/// The methods of a route; empty if there is none.
std::string_view allowed_methods(const std::string& path) {
  if (path == kChatPath || path == kBatchPath) return "POST";
  if (const std::string_view methods = Admin::allowed_methods(path); !methods.empty()) return methods;
  return std::find(kGetPaths.begin(), kGetPaths.end(), path) != kGetPaths.end() ? "GET, HEAD" : "";
}

std::optional<Failure> check_route(const httplib::Request& request) {
  const std::string_view allowed = allowed_methods(request.path);
  if (allowed.empty()) {
    return Failure{.status = 404,
                   .type = "unknown_route",
                   .message = fmt::format("there is no route {} {}", request.method, request.path.substr(0, 200)),
                   .stage = Stage::kRequest};
  }
  if (allowed.find(request.method) != allowed.npos) return std::nullopt;
  return Failure{.status = 405,
                 .type = "method_not_allowed",
                 .message = fmt::format("{} takes {}, not {}", request.path, allowed, request.method),
                 .stage = Stage::kRequest};
}

/// Administration is for who is on the same machine.
std::optional<Failure> check_is_local() {
  sockaddr_storage peer{};
  socklen_t size = sizeof(peer);
  bool is_local = false;
  if (::getpeername(Connection::current().socket(), reinterpret_cast<sockaddr*>(&peer), &size) == 0) {
    const auto* const v4 = reinterpret_cast<const sockaddr_in*>(&peer);
    const auto* const v6 = reinterpret_cast<const sockaddr_in6*>(&peer);
    is_local = (peer.ss_family == AF_INET && (ntohl(v4->sin_addr.s_addr) >> 24) == 127) ||
               (peer.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr));
  }
  if (is_local) return std::nullopt;
  return Failure{.status = 403,
                 .type = "not_local",
                 .message = "administration is only for clients on the gateway's own machine",
                 .stage = Stage::kRequest};
}

/// What is wrong with the way in which a request says where its body ends. cpp-httplib would read on, or take the body
/// for the next request.
std::optional<Failure> check_framing(const httplib::Request& request, std::size_t max_body_bytes) {
  const std::size_t lengths = request.get_header_value_count("Content-Length");
  const std::string length = request.get_header_value("Content-Length");
  const std::string encoding = request.get_header_value("Transfer-Encoding");
  const bool is_number = !length.empty() && length.size() <= 18 &&
                         std::all_of(length.begin(), length.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (lengths > 1 || (lengths == 1 && (!is_number || !encoding.empty()))) {
    return invalid_request("", "Content-Length: must be one number of bytes, and stand alone");
  }
  if (!encoding.empty() && ::strcasecmp(encoding.c_str(), "chunked") != 0) {
    return invalid_request("", "Transfer-Encoding: must be 'chunked', got '" + encoding + "'");
  }
  if (is_number && std::stoull(length) > max_body_bytes) return body_too_large(max_body_bytes);
  if (takes_body(request.path) && lengths == 0 && encoding.empty()) return invalid_request("", "there is no body");
  return std::nullopt;
}

/// The answer to a request of which not all has been read, so that nothing can follow it.
void respond_and_close(httplib::Response& response, const Failure& failure) {
  Connection::current().close_after_response();
  respond(response, failure);
}

/// Gives a body to the responses that cpp-httplib makes by itself, before it asks us.
void explain(const httplib::Request&, httplib::Response& response) {
  if (!response.body.empty() || response.content_provider_) return;
  Failure failure{.status = response.status, .type = "invalid_request", .stage = Stage::kRequest};
  if (response.status == 414) {
    failure.message = "the request line is too long";
  } else if (response.status == 416) {
    failure.message = "the Range header is not understood";
  } else {
    failure.message = "the request is not understood: its first line or its headers are not HTTP";
  }
  respond_and_close(response, failure);
}

}  // namespace

Routes::Routes(HttpServer& server, Providers& providers, LocalModels* local, ClientWatch& watch, std::string file,
               const penstock::Context& accepting)
    : server_(server),
      providers_(providers),
      local_(local),
      chat_(providers, local, watch, accepting),
      batch_(providers, local, watch, accepting),
      admin_(providers, local, std::move(file), accepting) {}

void Routes::install() {
  server_.set_pre_routing_handler(
      [this](const httplib::Request& request, httplib::Response& response) { return admit(request, response); });
  // A client that asks before it sends its body is told at once.
  server_.set_expect_100_continue_handler([this](const httplib::Request& request, httplib::Response& response) {
    return admit(request, response) == Handled::Handled ? response.status : 100;
  });
  server_.Post(kChatPath,
               [this](const httplib::Request&, httplib::Response& response, const httplib::ContentReader& read) {
                 post(response, read, [&](std::string body) { chat_.handle(std::move(body), response); });
               });
  server_.Post(kBatchPath,
               [this](const httplib::Request&, httplib::Response& response, const httplib::ContentReader& read) {
                 post(response, read, [&](const std::string& body) { batch_.handle(body, response); });
               });
  const auto administer = [this](const httplib::Request& request, httplib::Response& response,
                                 const httplib::ContentReader& read) {
    if (takes_body(request.path)) {
      return post(response, read, [&](const std::string& body) { admin_.handle(request.path, body, response); });
    }
    // What a body would say is not read.
    if (request.has_header("Content-Length") && request.get_header_value("Content-Length") != "0") {
      Connection::current().close_after_response();
    }
    admin_.handle(request.path, "", response);
  };
  server_.Put("/admin/.*", administer);
  server_.Post("/admin/.*", administer);
  server_.Post("/api/models/unload.*", administer);
  const auto get = [this](const char* path, const char* type, auto text) {
    server_.Get(path, [type, text](const httplib::Request&, httplib::Response& response) {
      response.set_content(text(), type);
    });
  };
  get("/v1/models", "application/json", [this] { return models(); });
  get("/metrics", penstock::PrometheusWriter::kContentType.data(), [this] { return metrics(); });
  get("/api/state", "application/json", [this] { return state(); });
  server_.Get("/healthz", [this](const httplib::Request&, httplib::Response& response) {
    const bool draining = server_.is_draining();
    if (draining) response.status = 503;  // tells a load balancer to go elsewhere
    response.set_content(draining ? R"({"status":"draining"})" : R"({"status":"ok"})", "application/json");
  });

  server_.set_error_handler(httplib::Server::Handler(explain));
  server_.set_exception_handler([](const httplib::Request&, httplib::Response& response, std::exception_ptr thrown) {
    Failure failure;
    try {
      std::rethrow_exception(std::move(thrown));
    } catch (const std::exception& error) {
      failure.message = error.what();
    } catch (...) {
      failure.message = "an exception without a text";
    }
    respond_and_close(response, failure);
  });
  // Called once for each response, when it has been sent.
  server_.set_logger([this](const httplib::Request&, const httplib::Response& response) {
    responses_.add(std::find(kStatuses.begin(), kStatuses.end(), response.status) - kStatuses.begin());
  });
}

/// Answers what can be answered without reading the request's body.
Routes::Handled Routes::admit(const httplib::Request& request, httplib::Response& response) {
  std::optional<Failure> failure = check_route(request);
  if (failure && failure->status == 405) response.set_header("Allow", std::string(allowed_methods(request.path)));
  if (!failure && !Admin::allowed_methods(request.path).empty()) failure = check_is_local();
  if (!failure) failure = check_framing(request, server_.options().max_body_bytes);
  if (!failure && takes_body(request.path) && server_.is_draining()) failure = shutting_down();
  if (!failure) return Handled::Unhandled;
  const bool has_body = request.has_header("Content-Length") || request.has_header("Transfer-Encoding");
  if (has_body) Connection::current().close_after_response();
  respond(response, *failure);
  return Handled::Handled;
}

template <class Handle>
void Routes::post(httplib::Response& response, const httplib::ContentReader& read, const Handle& handle) {
  const std::size_t limit = server_.options().max_body_bytes;
  std::string body;
  bool too_large = false;  // known only now, if the body comes in chunks
  const bool complete = read([&](const char* data, std::size_t size) {
    too_large = size > limit - body.size();
    if (!too_large) body.append(data, size);
    return !too_large;
  });
  response.status = -1;  // the reader leaves its own opinion here
  if (complete) return handle(std::move(body));
  if (too_large) return respond_and_close(response, body_too_large(limit));
  Failure failure = invalid_request("", fmt::format("the body broke off after {} bytes", body.size()));
  if (Connection::current().is_overdue()) {
    failure.status = 408;
    failure.type = "request_timeout";
    failure.message += fmt::format(", and the time for a request is {} ms", server_.options().receive_timeout.count());
  }
  respond_and_close(response, failure);
}

void Routes::collect(penstock::MetricSink& sink) const {
  constexpr std::string_view kName = "gateway_responses_total";
  constexpr std::string_view kHelp = "Responses to clients, by status.";
  for (std::size_t i = 0; i < kStatuses.size(); ++i) {
    const std::string status = std::to_string(kStatuses[i]);
    sink.counter(kName, kHelp, {{"status", status}}, responses_.value(i));
  }
  sink.counter(kName, kHelp, {{"status", "other"}}, responses_.value(kStatuses.size()));
  server_.threads().collect(sink);
  providers_.collect(sink);
  if (local_ != nullptr) local_->collect(sink);
}

std::string Routes::models() const {
  penstock::JsonWriter json;
  json.begin_object().key("object").value("list").key("data").begin_array();
  providers_.write_models(json);
  if (local_ != nullptr) local_->write_models(json);
  json.end_array().end_object();
  return json.take();
}

std::string Routes::metrics() const {
  penstock::PrometheusWriter writer;
  collect(writer);
  return writer.text();
}

std::string Routes::state() const {
  const std::chrono::duration<double> up = penstock::Clock::steady().now() - started_;
  penstock::JsonWriter json;
  json.begin_object().key("gateway").begin_object();
  json.key("draining").value(server_.is_draining()).key("uptime_seconds").value(up.count());
  const penstock::ElasticPoolStats threads = server_.threads().stats();
  json.key("connection_threads").begin_object().key("live").value(threads.live).key("idle").value(threads.idle);
  json.key("peak").value(threads.peak).key("trimmed").value(threads.trimmed).end_object();
  json.key("responses").begin_object();
  for (std::size_t i = 0; i < kStatuses.size(); ++i) json.key(std::to_string(kStatuses[i])).value(responses_.value(i));
  json.key("other").value(responses_.value(kStatuses.size())).end_object().end_object();
  providers_.write_state(json);
  if (local_ != nullptr) local_->write_state(json);
  json.end_object();
  return json.take();
}

}  // namespace gateway
