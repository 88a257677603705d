// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A port for a child process to listen on.

namespace gateway {

/// A port of 127.0.0.1 that nobody else is given as long as this exists. A socket is bound to it, and does not listen:
/// so whoever sets SO_REUSEADDR or SO_REUSEPORT, as servers do, can bind another one, and listen.
class ReservedPort {
 public:
  /// `port`, which may be in use already; 0: one that is free. Throws: std::system_error if there is none.
  explicit ReservedPort(int port);
  ~ReservedPort();
  ReservedPort(const ReservedPort&) = delete;
  ReservedPort& operator=(const ReservedPort&) = delete;

  [[nodiscard]] int number() const noexcept { return port_; }

 private:
  int socket_ = -1;
  int port_;
};

}  // namespace gateway
