// SPDX-License-Identifier: MIT
#include "event_stream.hpp"

#include <fmt/core.h>

#include "errors.hpp"

namespace gateway {

using penstock::OpStatus;

std::string error_event(std::string_view data) {
  // An event may have been cut in two: the empty line ends it.
  return fmt::format("\n\nevent: error\ndata: {}\n\n", data);
}

EventStream::EventStream(std::string provider, penstock::Context::Cancellable scope, ClientWatch::Guard watched)
    : provider_(std::move(provider)), scope_(std::move(scope)), watched_(std::move(watched)) {}

EventStream::~EventStream() { scope_.source.cancel(absl::CancelledError("nobody reads the stream any more")); }

bool EventStream::begin(std::shared_ptr<EventPipe> pipe) {
  pipe_ = std::move(pipe);
  has_begun_ = receive();
  return has_begun_;
}

bool EventStream::receive() {
  OpStatus received = pipe_->receive(piece_, scope_.context);
  if (received == OpStatus::kOk) return true;
  if (received == OpStatus::kTimedOut) {
    // Then the attempt ends as well, and knows how far it has come.
    const auto ctx = penstock::Context::background().with_timeout(std::chrono::seconds(1));
    do {
      received = pipe_->receive(piece_, ctx);
    } while (received == OpStatus::kOk);
  }
  answer_ = received == OpStatus::kClosed ? pipe_->answer() : scope_.context.cause();
  return false;
}

bool EventStream::write_next(httplib::DataSink& sink) {
  if (!sink.write(piece_.data(), piece_.size())) return false;
  piece_.reset();  // while the next one is waited for, others may use its memory
  if (receive()) return true;
  if (!answer_.ok()) {
    const std::string event = error_event(to_json(to_failure(answer_.status(), provider_)));
    if (!sink.write(event.data(), event.size())) return false;
  }
  sink.done();
  return true;
}

void EventStream::serve(std::unique_ptr<EventStream> events, httplib::Response& response) {
  response.set_header("Cache-Control", "no-cache");
  response.set_header("X-Provider", events->pipe_->provider());
  // cpp-httplib's functions must be copyable.
  response.set_chunked_content_provider("text/event-stream",
                                        [events = std::shared_ptr<EventStream>(std::move(events))](
                                            std::size_t, httplib::DataSink& sink) { return events->write_next(sink); });
}

}  // namespace gateway
