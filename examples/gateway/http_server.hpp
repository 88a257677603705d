// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// cpp-httplib's server, tuned for a gateway: a thread for each connection, no polling, and a stop that loses no
/// response.

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <set>
#include <string>

#include <httplib.h>

#include "penstock/exec/elastic_pool.hpp"

namespace gateway {

class Connection;

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  int port = 0;                                       ///< 0: the kernel chooses one.
  std::size_t max_connections = 512;                  ///< Served at once; more wait for their turn.
  std::size_t max_body_bytes = 1 << 20;               ///< Of a request.
  std::chrono::milliseconds receive_timeout{10'000};  ///< For a whole request, from its first byte.
  std::chrono::milliseconds send_timeout{10'000};     ///< For a client that does not read.
  std::chrono::milliseconds keep_alive{60'000};       ///< How long a connection may wait for its next request.
};

/// Routes, handlers and the format of messages are cpp-httplib's; the life of a connection is ours.
///
/// A thread belongs to a connection for as long as that is open. cpp-httplib's own pool has eight: eight clients of a
/// provider that hangs would take all of them, and nobody could ask a healthy provider any more. The providers would be
/// coupled in front of the pools that keep them apart. So threads are made as connections come, and go when they have
/// gone, and `max_connections` has to exceed what all providers together can hold (the sum of workers and queue places:
/// whoever comes beyond is refused at once) with room for idle connections.
///
/// Threads: set up by one, then `run` by one; `begin_drain`, `wait_until_idle` and `stop` from any.
class HttpServer final : public httplib::Server {
 public:
  /// Throws: std::system_error.
  explicit HttpServer(HttpServerOptions options);
  ~HttpServer() override;

  /// Returns the port. Throws: std::system_error.
  int bind();

  /// Serves until `stop`.
  void run();

  /// From now on every response closes its connection, and connections on which no request comes are closed soon. New
  /// ones are still accepted, so that a client gets an answer that names the reason and not a reset.
  void begin_drain();
  [[nodiscard]] bool is_draining() const;

  /// Waits until no request is being served, or until `deadline`. Returns whether none is.
  bool wait_until_idle(std::chrono::steady_clock::time_point deadline);

  /// Stops accepting, ends all connections, and has `run` return. May come before `run`, which then returns at once.
  void stop();

  [[nodiscard]] const HttpServerOptions& options() const noexcept { return options_; }
  /// What serves the connections.
  [[nodiscard]] const penstock::ElasticPool& threads() const noexcept { return threads_; }

 private:
  bool process_and_close_socket(socket_t socket) override;
  bool serve_one(Connection& connection, bool last);
  void finish_response(httplib::Response& response) const;

  const HttpServerOptions options_;
  penstock::ElasticPool threads_;
  const int drain_;  // an eventfd; readable from `begin_drain` on, so that it wakes all who wait for a request

  mutable std::mutex mutex_;
  std::condition_variable idle_;
  bool draining_ = false;
  bool stopped_ = false;
  std::set<Connection*> connections_;
  std::size_t serving_ = 0;  // how many of them have a request
};

}  // namespace gateway
