// SPDX-License-Identifier: MIT
#include "local_stream.hpp"

#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "errors.hpp"

namespace gateway {

using penstock::Context;
using penstock::Duration;
using penstock::OpStatus;

/// A model's answer on its way from the thread that reads it. Holds the lease: the model stays until all of it has been
/// passed on.
struct LocalStream::Call {
  Call(penstock::SwapLease held, penstock::BufferPool& memory) : lease(std::move(held)), pipe(memory) {}

  penstock::SwapLease lease;
  EventPipe pipe;
  LocalModel::Outcome outcome;  // once the pipe is finished
};

LocalStream::LocalStream(LocalModels& models, LocalModel& model, std::shared_ptr<const ChatRequest> request,
                         penstock::BufferPool& memory, Context::Cancellable scope, ClientWatch::Guard watched)
    : models_(models),
      model_(model),
      request_(std::move(request)),
      memory_(memory),
      scope_(std::move(scope)),
      watched_(std::move(watched)),
      turns_(models) {}

LocalStream::~LocalStream() { scope_.source.cancel(absl::CancelledError("nobody reads the stream any more")); }

bool LocalStream::begin() {
  const LocalConfig& config = models_.config();
  const bool tells = config.status_form != StatusForm::kNone;
  do {
    next_ = advance(tells ? Duration(config.status_after) : Duration(config.queue_wait));
  } while (next_ == Next::kStatus && !tells);
  return next_ != Next::kEnd;
}

LocalStream::Next LocalStream::wait_for_turn(Duration patience) {
  if (!ticket_) {
    absl::StatusOr<penstock::SwapTicket> ticket = models_.submit(model_);
    if (!ticket.ok()) {
      answer_ = ticket.status();
      return Next::kEnd;
    }
    ticket_ = *std::move(ticket);
  }
  absl::StatusOr<penstock::SwapLease> lease = ticket_.wait(scope_.context.with_timeout(patience));
  if (lease.ok()) {
    ticket_ = {};
    call(*std::move(lease));
    return Next::kPiece;
  }
  if (!ticket_.is_decided() && !scope_.context.is_done()) return Next::kStatus;
  answer_ = lease.status();
  return Next::kEnd;
}

void LocalStream::call(penstock::SwapLease lease) {
  call_ = std::make_shared<Call>(std::move(lease), memory_);
  const auto read = [call = call_, &model = model_, request = request_, ctx = scope_.context] {
    EventPipe::Source source(call->pipe);
    call->outcome =
        model.complete(request->body, ctx, [&](std::string_view piece) { return source.send(piece, "local", ctx); });
    call->pipe.finish(call->outcome.answer);
  };
  if (models_.calls().execute(read) == OpStatus::kOk) return;
  call_->outcome.answer = absl::ResourceExhaustedError("the gateway has no thread left for another stream");
  call_->pipe.finish(call_->outcome.answer);
}

LocalStream::Next LocalStream::advance(Duration patience) {
  for (;;) {
    if (call_ == nullptr) {
      const Next next = wait_for_turn(patience);
      if (next != Next::kPiece) return next;
    }
    const OpStatus received = call_->pipe.receive(piece_, scope_.context);
    if (received == OpStatus::kOk) {
      has_piece_ = true;
      return Next::kPiece;
    }
    const LocalModel::Outcome outcome =
        received == OpStatus::kClosed ? call_->outcome : LocalModel::Outcome{.answer = scope_.context.cause()};
    call_ = nullptr;
    if (!has_piece_ && turns_.again(outcome)) continue;
    answer_ = outcome.answer;
    return Next::kEnd;
  }
}

std::string LocalStream::status_text() const {
  const std::string status = models_.status_json(model_, ticket_);
  return models_.config().status_form == StatusForm::kEvents ? fmt::format("event: status\ndata: {}\n\n", status)
                                                             : fmt::format(": status {}\n\n", status);
}

std::string LocalStream::end_text() const {
  if (!answer_.ok()) return error_event(to_json(LocalModels::explain(answer_.status(), scope_.context, model_)));
  if (answer_->status < 400) return "";
  // The model has refused the request, when the status of the response had been sent.
  const auto body = nlohmann::json::parse(answer_->body, nullptr, false);
  if (!body.is_discarded()) return error_event(body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  return error_event(to_json({.status = answer_->status,
                              .type = "upstream_refused",
                              .message = answer_->body.substr(0, 1000),
                              .stage = Stage::kUpstream,
                              .provider = "local"}));
}

bool LocalStream::write_next(httplib::DataSink& sink) {
  if (next_ == Next::kStatus) {
    const std::string status = status_text();
    if (!sink.write(status.data(), status.size())) return false;
  } else {
    if (!sink.write(piece_.data(), piece_.size())) return false;
    piece_.reset();  // while the next one is waited for, others may use its memory
  }
  next_ = advance(models_.config().status_every);
  if (next_ != Next::kEnd) return true;
  if (const std::string end = end_text(); !end.empty() && !sink.write(end.data(), end.size())) return false;
  sink.done();
  return true;
}

void LocalStream::serve(std::unique_ptr<LocalStream> stream, httplib::Response& response) {
  response.set_header("Cache-Control", "no-cache");
  response.set_header("X-Provider", "local");
  // cpp-httplib's functions must be copyable.
  response.set_chunked_content_provider("text/event-stream",
                                        [stream = std::shared_ptr<LocalStream>(std::move(stream))](
                                            std::size_t, httplib::DataSink& sink) { return stream->write_next(sink); });
}

}  // namespace gateway
