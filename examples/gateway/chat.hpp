// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// POST /v1/chat/completions.

#include <httplib.h>

#include "client_watch.hpp"
#include "providers.hpp"

namespace gateway {

/// Takes a request for a completion to the provider of its model, through that provider's pool, and brings back the
/// answer, as a whole or as a stream of events, or the reason why there is none.
///
/// Threads: `handle` from any.
class Chat {
 public:
  Chat(Providers& providers, ClientWatch& watch) : providers_(providers), watch_(watch) {}

  /// Answers the request with `body`. Blocks: until the answer is there, or has begun to stream; until the provider's
  /// time is up, or the client has left.
  void handle(std::string body, httplib::Response& response);

 private:
  Providers& providers_;
  ClientWatch& watch_;
};

}  // namespace gateway
