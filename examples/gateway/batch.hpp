// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// POST /v1/batch.

#include <string>

#include <httplib.h>

#include "client_watch.hpp"
#include "local_models.hpp"
#include "providers.hpp"

#include "penstock/core/context.hpp"

namespace gateway {

/// Many requests for completions in one: of one provider, or the same question to several.
///
///     {"requests": [{"model": ..., "messages": [...]}, ...], "stop_on_error": false}
///  -> {"object": "list", "answers": [{"status": 200, "body": {...}}, {"status": 429, "body": {"error": {...}}}, ...]}
///
/// The answers are in the order of the requests, and each is what the request would have been answered alone. With
/// "stop_on_error" the first request without an answer calls off those that have none yet ("called_off").
///
/// Each provider has a small pool for the requests of batches, so that however large, they leave workers and queue to
/// those who wait for a single answer. Those for local models wait for their turns like any other.
///
/// Threads: `handle` from any.
class Batch {
 public:
  /// Requests end when `accepting` does. `local` may be null.
  Batch(Providers& providers, LocalModels* local, ClientWatch& watch, penstock::Context accepting)
      : providers_(providers), local_(local), watch_(watch), accepting_(std::move(accepting)) {}

  /// Answers the batch with `body`. Blocks: until all answers are there, or the client has left.
  void handle(const std::string& body, httplib::Response& response);

 private:
  Providers& providers_;
  LocalModels* const local_;
  ClientWatch& watch_;
  const penstock::Context accepting_;
};

}  // namespace gateway
