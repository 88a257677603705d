// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A stream of events from a local model, for a client that may have to wait for its turn.

#include <memory>
#include <string>

#include <httplib.h>

#include "absl/status/statusor.h"

#include "chat_request.hpp"
#include "client_watch.hpp"
#include "event_stream.hpp"
#include "local_models.hpp"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/state/buffer_pool.hpp"
#include "penstock/swap/swap_runner.hpp"

namespace gateway {

/// Brings a request to its model and the events back, on the thread of its client, which is told meanwhile where it
/// stands: a comment, or an event, now and then. A thread that reads from the model is there while it answers only.
///
/// Threads: the client's.
class LocalStream {
 public:
  LocalStream(LocalModels& models, LocalModel& model, std::shared_ptr<const ChatRequest> request,
              penstock::BufferPool& memory, penstock::Context::Cancellable scope, ClientWatch::Guard watched);
  /// Calls off what is still going on.
  ~LocalStream();
  LocalStream(const LocalStream&) = delete;
  LocalStream& operator=(const LocalStream&) = delete;

  /// Asks for the model's turn. Waits for the first event; or until it is time to tell the client that it has to wait.
  /// Returns false if there will be no events: `answer` says what there is instead.
  bool begin();

  /// What it came to, when there are no more events.
  [[nodiscard]] const absl::StatusOr<Answer>& answer() const noexcept { return answer_; }

  /// Makes `stream`, which has begun, the content of `response`. If it breaks off, the last event is an error event,
  /// with the data that a failed response would have as its body.
  static void serve(std::unique_ptr<LocalStream> stream, httplib::Response& response);

 private:
  /// What there is for the client.
  enum class Next { kStatus, kPiece, kEnd };
  struct Call;

  /// Goes on for at most `patience` while it waits for its turn, and then as long as it takes.
  Next advance(penstock::Duration patience);
  Next wait_for_turn(penstock::Duration patience);
  void call(penstock::SwapLease lease);
  bool write_next(httplib::DataSink& sink);
  [[nodiscard]] std::string status_text() const;
  /// What there is to say at its end; mostly nothing.
  [[nodiscard]] std::string end_text() const;

  LocalModels& models_;
  LocalModel& model_;
  const std::shared_ptr<const ChatRequest> request_;
  penstock::BufferPool& memory_;
  const penstock::Context::Cancellable scope_;
  const ClientWatch::Guard watched_;
  LocalModels::Turns turns_;
  penstock::SwapTicket ticket_;
  std::shared_ptr<Call> call_;  // null while it waits for its turn
  Next next_ = Next::kEnd;
  bool has_piece_ = false;  // the client has, or is about to have, a part of the answer
  penstock::Buffer piece_;
  absl::StatusOr<Answer> answer_;
};

}  // namespace gateway
