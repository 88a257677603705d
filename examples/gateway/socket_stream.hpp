// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How cpp-httplib reads from a socket and writes to it, with limits.

#include <array>
#include <chrono>
#include <cstddef>
#include <string>

#include <httplib.h>

namespace gateway {

/// What a message may take. cpp-httplib's own stream limits only each single read and write: a peer that sends a byte
/// now and then holds a thread for ever, and one that sends a line without an end fills the memory.
struct MessageLimits {
  std::chrono::steady_clock::time_point receive_by = std::chrono::steady_clock::time_point::max();
  std::chrono::milliseconds each_write{10'000};
  std::size_t bytes = 1 << 20;
  /// cpp-httplib reads the first line of an answer with a regular expression, and libstdc++ needs stack for each
  /// character.
  std::size_t first_line_bytes = 8192;
};

/// A connected socket as cpp-httplib's stream; does not own the socket.
///
/// Threads: one at a time.
class SocketStream : public httplib::Stream {
 public:
  using Clock = std::chrono::steady_clock;

  /// Reads and writes fail while the descriptor `interrupt`, if any, is readable.
  explicit SocketStream(int socket, int interrupt = -1) noexcept : socket_(socket), interrupt_(interrupt) {}

  /// Begins to receive a message. What has been received beyond the one before belongs to it.
  void begin_message(const MessageLimits& limits) noexcept;

  /// Whether something has been received that nobody has read.
  [[nodiscard]] bool has_leftover() const noexcept { return begin_ < end_; }

  /// Whether the time to receive the message is over.
  [[nodiscard]] bool is_overdue() const noexcept { return Clock::now() >= limits_.receive_by; }

  // What cpp-httplib calls. Its versions differ in which of these exist, so none says `override`.
  // NOLINTBEGIN(modernize-use-override)
  bool is_readable() const { return has_leftover() || wait_until(limits_.receive_by, kInput, interrupt_); }
  bool is_writable() const { return true; }
  bool wait_readable() const { return is_readable(); }
  bool wait_writable() const { return true; }
  ssize_t read(char* data, std::size_t size);
  ssize_t write(const char* data, std::size_t size);
  using httplib::Stream::write;
  void get_remote_ip_and_port(std::string& ip, int& port) const;
  void get_local_ip_and_port(std::string& ip, int& port) const;
  socket_t socket() const { return socket_; }
  time_t duration() const { return 0; }
  // NOLINTEND(modernize-use-override)

 protected:
  enum Event { kInput, kRoomForOutput };
  /// Returns whether `event` has come before `deadline`, and before `interrupt` was readable.
  bool wait_until(Clock::time_point deadline, Event event, int interrupt) const;

 private:
  bool admit(std::size_t received) noexcept;

  const int socket_;
  const int interrupt_;
  MessageLimits limits_;
  bool in_first_line_ = true;
  std::array<char, 4096> buffer_{};
  std::size_t begin_ = 0;  // buffer_[begin_, end_) has been received and not been read
  std::size_t end_ = 0;
};

}  // namespace gateway
