// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A client's connection to our server.

#include <chrono>

#include "socket_stream.hpp"

namespace gateway {

/// The stream of one connection for as long as it is open, so that requests that a client has sent ahead survive from
/// one to the next. Handlers reach it, and through it the socket: they can see their client leave.
///
/// Threads: its own; `shut_down` from any thread.
class Connection final : public SocketStream {
 public:
  /// Takes over `socket`.
  explicit Connection(int socket) noexcept;
  ~Connection();  // NOLINT(modernize-use-override)
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// The connection whose request this thread serves. Only for handlers.
  static Connection& current() noexcept { return *current_; }

  /// Waits for the client to send something, or to leave. Returns false if `timeout` has passed or `interrupt` is
  /// readable.
  bool wait_for_request(std::chrono::milliseconds timeout, int interrupt = -1) const;

  void begin_request(const MessageLimits& limits) noexcept;
  void end_request() noexcept { current_ = nullptr; }

  /// Has the server close the connection after this response, also when part of the request has not been read.
  void close_after_response() noexcept { closing_ = true; }
  [[nodiscard]] bool is_closing() const noexcept { return closing_; }

  /// Ends both directions at once: whoever reads or writes here fails.
  void shut_down() noexcept;

 private:
  void linger();

  static thread_local Connection* current_;

  bool closing_ = false;
};

}  // namespace gateway
