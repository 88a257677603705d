// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// POST /v1/chat/completions.

#include <memory>
#include <string>

#include <httplib.h>

#include "chat_request.hpp"
#include "client_watch.hpp"
#include "local_models.hpp"
#include "providers.hpp"

#include "penstock/core/context.hpp"

namespace gateway {

/// Takes a request for a completion to the provider of its model, or to the process of a local one, and brings back the
/// answer, as a whole or as a stream of events, or the reason why there is none.
///
/// Threads: `handle` from any.
class Chat {
 public:
  /// Requests end when `accepting` does. `local` may be null.
  Chat(Providers& providers, LocalModels* local, ClientWatch& watch, penstock::Context accepting)
      : providers_(providers), local_(local), watch_(watch), accepting_(std::move(accepting)) {}

  /// Answers the request with `body`. Blocks: until the answer is there, or has begun to stream; until the provider's
  /// time is up, or the client has left.
  void handle(std::string body, httplib::Response& response);

 private:
  void ask_local(LocalModel& model, std::shared_ptr<const ChatRequest> request, httplib::Response& response);

  Providers& providers_;
  LocalModels* const local_;
  ClientWatch& watch_;
  const penstock::Context accepting_;
};

}  // namespace gateway
