// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the gateway answers to which request.

#include <array>
#include <string>

#include <httplib.h>

#include "chat.hpp"
#include "http_server.hpp"
#include "providers.hpp"

#include "penstock/core/clock.hpp"
#include "penstock/metrics/counter.hpp"
#include "penstock/metrics/sink.hpp"

namespace gateway {

/// POST /v1/chat/completions, GET /v1/models, /metrics, /api/state and /healthz; and a JSON body for whatever else a
/// client may come up with.
///
/// Threads: installed by one; serves any.
class Routes {
 public:
  Routes(HttpServer& server, Providers& providers, ClientWatch& watch);

  /// Has the server use these routes, which have to outlive it.
  void install();

 private:
  using Handled = httplib::Server::HandlerResponse;

  Handled admit(const httplib::Request& request, httplib::Response& response);
  void chat(const httplib::Request& request, httplib::Response& response, const httplib::ContentReader& read);
  [[nodiscard]] std::string metrics() const;
  [[nodiscard]] std::string state() const;
  void collect(penstock::MetricSink& sink) const;

  static constexpr std::array kStatuses = {200, 400, 404, 405, 408, 413, 429, 499, 500, 502, 503, 504};

  HttpServer& server_;
  Providers& providers_;
  Chat chat_;
  const penstock::TimePoint started_ = penstock::Clock::steady().now();
  penstock::Counters<kStatuses.size() + 1> responses_;  // by status; the last one counts all others
};

}  // namespace gateway
