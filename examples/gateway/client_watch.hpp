// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Ends the work for clients that have gone away.

#include <cstdint>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "penstock/core/context.hpp"

namespace gateway {

/// Cancels a request's context when its client closes the connection. The thread that serves the request cannot notice:
/// it waits for the answer. Without this, clients who gave up on a provider that hangs would fill its queue with work
/// that nobody wants.
///
/// One thread waits for all connections at once; it sleeps until a client leaves.
///
/// Threads: any member, from any thread. Outlives its guards.
class ClientWatch {
 public:
  class Guard;

  /// Throws: std::system_error.
  ClientWatch();
  ~ClientWatch();
  ClientWatch(const ClientWatch&) = delete;
  ClientWatch& operator=(const ClientWatch&) = delete;

  /// Watches the connected `socket` until the guard is destroyed, which has to come before the socket is closed.
  Guard watch(int socket, penstock::CancelSource source);

 private:
  void run();
  void forget(int socket, std::uint64_t id);

  const int epoll_;
  const int stop_;  // an eventfd
  std::mutex mutex_;
  std::uint64_t last_id_ = 0;  // 0 stands for stop_
  std::map<std::uint64_t, penstock::CancelSource> sources_;
  std::thread thread_;
};

class [[nodiscard]] ClientWatch::Guard {
 public:
  Guard(Guard&& other) noexcept
      : watch_(std::exchange(other.watch_, nullptr)), socket_(other.socket_), id_(other.id_) {}
  Guard& operator=(Guard&&) = delete;
  ~Guard() {
    if (watch_ != nullptr) watch_->forget(socket_, id_);
  }

 private:
  friend class ClientWatch;
  Guard(ClientWatch& watch, int socket, std::uint64_t id) noexcept : watch_(&watch), socket_(socket), id_(id) {}

  ClientWatch* watch_;
  const int socket_;
  const std::uint64_t id_;
};

}  // namespace gateway
