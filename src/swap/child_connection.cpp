// SPDX-License-Identifier: MIT

// What asks a child whether it answers: connections that never wait.

#include "child_system.hpp"

#include <cerrno>
#include <cstdint>

#if defined(__linux__)
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#endif

namespace penstock::inline PENSTOCK_ABI::detail {

#if defined(__linux__)

namespace {

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

Address parsed(const std::string& address, unsigned port) noexcept {
  Address made;
  const auto number = htons(static_cast<std::uint16_t>(port));
  sockaddr_in four{};
  sockaddr_in6 six{};
  if (inet_pton(AF_INET, address.c_str(), &four.sin_addr) == 1) {
    four.sin_family = AF_INET;
    four.sin_port = number;
    made.size = sizeof(four);
    std::memcpy(&made.storage, &four, sizeof(four));
  } else if (inet_pton(AF_INET6, address.c_str(), &six.sin6_addr) == 1) {
    six.sin6_family = AF_INET6;
    six.sin6_port = number;
    made.size = sizeof(six);
    std::memcpy(&made.storage, &six, sizeof(six));
  }
  return made;
}

/// A port where nobody listens may be the one that the system gives to who connects to it: that succeeds, too.
bool has_met_itself(const Descriptor& socket) noexcept {
  Address own;
  Address peer;
  own.size = peer.size = sizeof(sockaddr_storage);
  return getsockname(socket.number(), reinterpret_cast<sockaddr*>(&own.storage), &own.size) == 0 &&
         getpeername(socket.number(), reinterpret_cast<sockaddr*>(&peer.storage), &peer.size) == 0 &&
         own.size == peer.size && std::memcmp(&own.storage, &peer.storage, own.size) == 0;
}

}  // namespace

bool is_numeric_address(const std::string& address) noexcept { return parsed(address, 1).size != 0; }

int begin_connect(const std::string& address, unsigned port, Descriptor& made) noexcept {
  const Address to = parsed(address, port);
  made = Descriptor(socket(to.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made) return errno;
  if (connect(made.number(), reinterpret_cast<const sockaddr*>(&to.storage), to.size) == 0) return 0;
  return errno == EINPROGRESS || errno == EINTR ? 0 : errno;
}

int connect_error(const Descriptor& socket) noexcept {
  if (has_met_itself(socket)) {
    // Reset, so that the port is free at once for who is to listen there.
    const linger none{1, 0};
    setsockopt(socket.number(), SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    return ECONNREFUSED;
  }
  int error = 0;
  socklen_t size = sizeof(error);
  return getsockopt(socket.number(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

int send_some(const Descriptor& socket, std::string_view bytes) noexcept {
  const ssize_t size = send(socket.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (size >= 0) return static_cast<int>(size);
  return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

#else

bool is_numeric_address(const std::string& /*address*/) noexcept { return true; }
int begin_connect(const std::string& /*address*/, unsigned /*port*/, Descriptor& /*socket*/) noexcept { return ENOSYS; }
int connect_error(const Descriptor& /*socket*/) noexcept { return ENOSYS; }
int send_some(const Descriptor& /*socket*/, std::string_view /*bytes*/) noexcept { return -1; }

#endif

}  // namespace penstock::inline PENSTOCK_ABI::detail
