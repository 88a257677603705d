// SPDX-License-Identifier: MIT
#include "socket_stream.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

namespace gateway {
namespace {

void name(const sockaddr_storage& address, std::string& ip, int& port) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof v4);
    inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
    port = ntohs(v4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &address, sizeof v6);
    inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
    port = ntohs(v6.sin6_port);
  }
  ip = text.data();
}

}  // namespace

void SocketStream::begin_message(const MessageLimits& limits) noexcept {
  limits_ = limits;
  in_first_line_ = true;
}

bool SocketStream::wait_until(Clock::time_point deadline, Event event, int interrupt) const {
  std::array<pollfd, 2> watched{
      {{.fd = socket_, .events = static_cast<short>(event == kInput ? POLLIN : POLLOUT), .revents = 0},
       {.fd = interrupt, .events = POLLIN, .revents = 0}}};
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    const int count = ::poll(watched.data(), watched.size(), static_cast<int>(std::min<long>(left, INT_MAX)));
    if (count > 0) return watched[1].revents == 0;
    if (count < 0 && errno != EINTR) return false;
  }
}

bool SocketStream::admit(std::size_t received) noexcept {
  limits_.bytes -= received;
  if (!in_first_line_) return true;
  in_first_line_ = std::memchr(buffer_.data(), '\n', received) == nullptr;
  const bool short_enough = !in_first_line_ || received <= limits_.first_line_bytes;
  limits_.first_line_bytes -= std::min(received, limits_.first_line_bytes);
  return short_enough;
}

ssize_t SocketStream::read(char* data, std::size_t size) {
  if (!has_leftover()) {
    ssize_t received = -1;
    do {
      if (limits_.bytes == 0 || !wait_until(limits_.receive_by, kInput, interrupt_)) return -1;
      received = ::recv(socket_, buffer_.data(), std::min(buffer_.size(), limits_.bytes), MSG_DONTWAIT);
    } while (received < 0 && (errno == EINTR || errno == EAGAIN));
    if (received <= 0) return received;
    if (!admit(static_cast<std::size_t>(received))) return -1;
    begin_ = 0;
    end_ = static_cast<std::size_t>(received);
  }
  const std::size_t count = std::min(size, end_ - begin_);
  std::memcpy(data, buffer_.data() + begin_, count);
  begin_ += count;
  return static_cast<ssize_t>(count);
}

ssize_t SocketStream::write(const char* data, std::size_t size) {
  const auto deadline = Clock::now() + limits_.each_write;
  for (;;) {
    const ssize_t sent = ::send(socket_, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0 || (errno != EAGAIN && errno != EINTR)) return sent;
    if (!wait_until(deadline, kRoomForOutput, interrupt_)) return -1;
  }
}

void SocketStream::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getpeername(socket_, reinterpret_cast<sockaddr*>(&address), &length) == 0) name(address, ip, port);
}

void SocketStream::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &length) == 0) name(address, ip, port);
}

}  // namespace gateway
