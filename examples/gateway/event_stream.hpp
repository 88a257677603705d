// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Server-sent events, passed from a provider to a client.

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <httplib.h>

#include "absl/status/statusor.h"

#include "client_watch.hpp"
#include "upstream.hpp"

#include "penstock/channel/channel.hpp"
#include "penstock/core/context.hpp"
#include "penstock/exec/job.hpp"

namespace gateway {

/// A short channel between the worker that reads from the provider and the thread that writes to the client. A client
/// that reads slowly fills it, and the worker waits: nothing piles up here.
///
/// The job owns the sending end, so that the channel closes when the job is over, whatever became of it: the pool
/// destroys the function of a job that never ran, too.
///
/// Threads: the client's; the sink is the job's.
class EventStream {
  using Pieces = penstock::Channel<std::string>;

 public:
  class Sink {
   public:
    explicit Sink(std::shared_ptr<Pieces> pieces) : pieces_(std::move(pieces)) {}
    Sink(Sink&&) = default;
    Sink& operator=(Sink&&) = delete;
    ~Sink() {
      if (pieces_ != nullptr) pieces_->close();
    }

    /// Blocks: while the client has too much to read already.
    penstock::OpStatus send(std::string_view piece, const penstock::Context& ctx) const {
      return pieces_->send(std::string(piece), ctx);
    }

   private:
    std::shared_ptr<Pieces> pieces_;
  };

  EventStream(std::string provider, penstock::Context::Cancellable scope, ClientWatch::Guard watched);
  /// Calls off what is still going on.
  ~EventStream();
  EventStream(const EventStream&) = delete;
  EventStream& operator=(const EventStream&) = delete;

  /// The sending end for a new attempt, with a channel of its own: whatever an earlier one still sends goes nowhere.
  [[nodiscard]] Sink make_sink() {
    pieces_ = std::make_shared<Pieces>(16);
    return Sink(pieces_);
  }

  /// Waits for the first piece of the attempt that is made by `job`. Returns false if there is none: `answer` says why.
  bool begin(penstock::Job<absl::StatusOr<Answer>> job);

  [[nodiscard]] bool has_begun() const noexcept { return has_begun_; }

  /// What the job came to, when there are no more pieces.
  [[nodiscard]] const absl::StatusOr<Answer>& answer() const noexcept { return answer_; }

  /// Makes `events`, which have begun, the content of `response`. If they break off, the last one is an error event,
  /// with the data that a failed response would have as its body.
  static void serve(std::unique_ptr<EventStream> events, httplib::Response& response);

 private:
  bool receive();
  bool write_next(httplib::DataSink& sink);

  const std::string provider_;
  const penstock::Context::Cancellable scope_;
  const ClientWatch::Guard watched_;
  std::shared_ptr<Pieces> pieces_;
  bool has_begun_ = false;
  penstock::Job<absl::StatusOr<Answer>> job_;
  std::string piece_;  // received, and not written
  absl::StatusOr<Answer> answer_;
};

}  // namespace gateway
