// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The way of a request: to its provider, again if it failed and may succeed, and then to those that stand in for it.

#include <memory>

#include "absl/status/statusor.h"

#include "chat_request.hpp"
#include "event_stream.hpp"
#include "providers.hpp"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"

namespace gateway {

/// Asks `provider`, and its fall-backs. Each attempt is a job; between two attempts it is only this thread that waits,
/// so that those who could be served meanwhile find the workers free.
///
/// Blocks:  until there is an answer or no more reason to try again, or `ctx` ends.
/// Returns: the answer; that of the last attempt, if it was a 429; or why there is none.
absl::StatusOr<Answer> ask(Providers& providers, const Provider& provider, std::shared_ptr<const ChatRequest> request,
                           const penstock::Context& ctx);

/// The same for a stream: waits only until the first event is there. What has been passed on cannot be taken back, so
/// from there on nothing is tried again. If `events.has_begun()`, the rest comes from there.
absl::StatusOr<Answer> ask(Providers& providers, const Provider& provider, std::shared_ptr<const ChatRequest> request,
                           const penstock::Context& ctx, EventStream& events);

/// After what time a request to `provider` has been answered, come what may.
penstock::Duration deadline_of(const Providers& providers, const Provider& provider);

/// What the client of a request is told that `ctx` belongs to and that got no answer.
Failure explain(const absl::Status& status, const penstock::Context& ctx, const Provider& provider);

}  // namespace gateway
