// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What processes ask of the system: the one place of the room that calls it.
///
/// Descriptors are all closed on exec, so a program that the host starts by itself gets none of them. Where there is no
/// `pidfd_open` a child has no descriptor to watch it by, and who waits for its end has to look.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "penstock/core/clock.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Owns a file descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) noexcept : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    other.reset();
    return *this;
  }
  ~Descriptor() { reset(); }

  explicit operator bool() const noexcept { return number_ >= 0; }
  [[nodiscard]] int number() const noexcept { return number_; }
  void reset() noexcept;

 private:
  int number_ = -1;
};

/// What a thread that polls is woken by. Throws: std::system_error.
Descriptor make_bell();
void ring(const Descriptor& bell) noexcept;
void silence(const Descriptor& bell) noexcept;

/// One thing to poll for.
struct Interest {
  int descriptor = -1;
  bool to_write = false;
  bool happened = false;  ///< set by `poll_all`; also by errors, and by the other end's being closed
};

/// Sleeps until something happens, or `timeout` has passed; max(): for ever. A signal may end it early, and so may a
/// system that cannot look at all of them at once.
void poll_all(std::vector<Interest>& interests, Duration timeout);

/// Reads what is there, up to the size of `into`. Returns how much; 0: nothing now; -1: nothing will ever come.
int read_some(const Descriptor& from, std::span<char> into) noexcept;

struct ChildCommand {
  const std::vector<std::string>& arguments;
  const std::vector<std::string>& environment;
  bool inherits_environment;
  const std::string& working_directory;
  bool wants_watch;
};

/// A child that runs, as the leader of a session and a group of its own. Its number is nobody else's, nor is that of
/// its group, until it was reaped: so that is done last, when nobody else of the group runs any more.
struct RunningChild {
  int pid = 0;
  bool is_reaped = false;  ///< by somebody else, perhaps: the number may be a stranger's, once the group has ended
  Descriptor watch;        ///< can be read from once it has ended; may be none
  Descriptor output;
  Descriptor errors;
};

/// Starts a child: its standard input is empty, its output and errors are pipes, and it has no other descriptor, the
/// default action for each signal and none of them blocked. Returns 0, or the error number.
/// Blocks: until the system has loaded the program. Throws: std::bad_alloc.
int spawn_child(const ChildCommand& command, RunningChild& child);

enum class ChildEnd : unsigned char { kNotYet, kExited, kSignalled, kUnknown };

struct ChildExit {
  ChildEnd end = ChildEnd::kNotYet;
  int code = 0;  ///< exit status or signal
};

/// Whether `child` has ended, and how. It is not reaped by that. kUnknown: somebody else has done so.
ChildExit end_of(RunningChild& child) noexcept;

/// Sends `signal` to the group of the child, unless that has certainly ended.
void signal_group(const RunningChild& child, int signal) noexcept;

/// For a child that has ended: whether another process of its group still runs. Those that have ended and whose parent
/// has not looked do not count. Where /proc cannot be read, for want of descriptors, say, the child is reaped and every
/// process counts.
bool group_runs(RunningChild& child) noexcept;

/// Reaps orphans of the group that have come to us, while the child has not ended.
void reap_orphans(const RunningChild& child) noexcept;

/// Reaps the child, if it has ended, and those orphans of its group that have come to us.
void reap_group(RunningChild& child) noexcept;

/// Reaps the child alone, if it has ended.
void reap_child(RunningChild& child) noexcept;

/// Makes this process the one that orphans of its descendants come to. Whether the system can do that.
bool adopt_orphans() noexcept;

/// "signal 9 (Killed)".
std::string signal_text(int signal);
/// "No such file or directory".
std::string error_text(int error);

/// Whether `address` is one of IPv4 or IPv6, in digits.
bool is_numeric_address(const std::string& address) noexcept;
/// Begins a connection, without waiting. Returns 0, or the error number.
int begin_connect(const std::string& address, unsigned port, Descriptor& socket) noexcept;
/// For one that can be written to: 0, or the error that it has failed of; also that it is connected to itself.
int connect_error(const Descriptor& socket) noexcept;
/// Sends as much as fits. Returns how much, or -1.
int send_some(const Descriptor& socket, std::string_view bytes) noexcept;

}  // namespace penstock::inline PENSTOCK_ABI::detail
