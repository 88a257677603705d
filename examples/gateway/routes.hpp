// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the gateway answers to which request.

#include <array>
#include <string>

#include <httplib.h>

#include "admin.hpp"
#include "batch.hpp"
#include "chat.hpp"
#include "http_server.hpp"
#include "local_models.hpp"
#include "providers.hpp"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/metrics/counter.hpp"
#include "penstock/metrics/sink.hpp"

namespace gateway {

/// POST /v1/chat/completions and /v1/batch, GET /v1/models, /metrics, /api/state and /healthz, /admin/... and
/// /api/models/unload for clients on the same machine; and a JSON body for whatever else a client may come up with.
///
/// Threads: installed by one; serves any.
class Routes {
 public:
  /// Requests to providers end when `accepting` does. `local` may be null. `file`: of the configuration, to be read
  /// again.
  Routes(HttpServer& server, Providers& providers, LocalModels* local, ClientWatch& watch, std::string file,
         const penstock::Context& accepting);

  /// Has the server use these routes, which have to outlive it.
  void install();

 private:
  using Handled = httplib::Server::HandlerResponse;

  Handled admit(const httplib::Request& request, httplib::Response& response);
  /// Reads the body of a request and has `handle(body)` answer it.
  template <class Handle>
  void post(httplib::Response& response, const httplib::ContentReader& read, const Handle& handle);
  [[nodiscard]] std::string models() const;
  [[nodiscard]] std::string metrics() const;
  [[nodiscard]] std::string state() const;
  void collect(penstock::MetricSink& sink) const;

  static constexpr std::array kStatuses = {200, 400, 403, 404, 405, 408, 409, 413, 429, 499, 500, 502, 503, 504};

  HttpServer& server_;
  Providers& providers_;
  LocalModels* const local_;
  Chat chat_;
  Batch batch_;
  Admin admin_;
  const penstock::TimePoint started_ = penstock::Clock::steady().now();
  penstock::Counters<kStatuses.size() + 1> responses_;  // by status; the last one counts all others
};

}  // namespace gateway
