// SPDX-License-Identifier: MIT
#include "connection.hpp"

#include <array>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace gateway {

thread_local Connection* Connection::current_ = nullptr;

Connection::Connection(int socket) noexcept : SocketStream(socket) {
  // cpp-httplib accepts without it: a child process would keep the client's connection open.
  ::fcntl(socket, F_SETFD, FD_CLOEXEC);
}

Connection::~Connection() {
  ::shutdown(socket(), SHUT_WR);
  if (closing_) linger();
  ::close(socket());
}

// A socket closed with unread input resets the connection, and a reset can overtake the response. So the rest of a
// request that was answered early is read and thrown away, for a while.
void Connection::linger() {
  const auto until = Clock::now() + std::chrono::seconds(1);
  std::array<char, 16384> ignored;
  while (wait_until(until, kInput, -1)) {
    if (::recv(socket(), ignored.data(), ignored.size(), MSG_DONTWAIT) <= 0) return;
  }
}

bool Connection::wait_for_request(std::chrono::milliseconds timeout, int interrupt) const {
  return has_leftover() || wait_until(Clock::now() + timeout, kInput, interrupt);
}

void Connection::begin_request(const MessageLimits& limits) noexcept {
  current_ = this;
  begin_message(limits);
}

void Connection::shut_down() noexcept { ::shutdown(socket(), SHUT_RDWR); }

}  // namespace gateway
