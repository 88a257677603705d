// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// One look at whether a child answers, over a connection that never waits.

#include <string>

#include "child_system.hpp"
#include "penstock/swap/process_options.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// A `ReadyOnConnect` or `ReadyOnHttp` under way:
///
///     begin --> connecting --> [sending --> receiving] --> kReady or kNotReady
class ProbeAttempt {
 public:
  enum class Result : unsigned char { kPending, kReady, kNotReady };

  /// Begins a look; one that was under way is over. Throws: std::bad_alloc.
  Result begin(const ReadyOnConnect& probe);
  Result begin(const ReadyOnHttp& probe);

  /// While it is pending: what to poll for.
  [[nodiscard]] Interest interest() const noexcept { return {socket_.number(), phase_ != Phase::kReceiving, false}; }
  /// Once that has happened.
  Result advance();

  /// Ends it.
  void reset() noexcept { socket_.reset(); }
  [[nodiscard]] bool is_pending() const noexcept { return static_cast<bool>(socket_); }

 private:
  enum class Phase : unsigned char { kConnecting, kSending, kReceiving };

  Result end(Result result) noexcept {
    socket_.reset();
    return result;
  }

  Descriptor socket_;
  Phase phase_ = Phase::kConnecting;
  std::string request_;  // what is left to send; empty from the start: connecting is enough
  std::string answer_;   // its beginning
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
