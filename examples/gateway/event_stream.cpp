// SPDX-License-Identifier: MIT
#include "event_stream.hpp"

#include "errors.hpp"

namespace gateway {

using penstock::OpStatus;

EventStream::EventStream(std::string provider, penstock::Context::Cancellable scope, ClientWatch::Guard watched)
    : provider_(std::move(provider)), scope_(std::move(scope)), watched_(std::move(watched)) {}

EventStream::~EventStream() { scope_.source.cancel(absl::CancelledError("nobody reads the stream any more")); }

bool EventStream::begin(penstock::Job<absl::StatusOr<Answer>> job) {
  job_ = std::move(job);
  has_begun_ = receive();
  return has_begun_;
}

bool EventStream::receive() {
  if (pieces_->receive(piece_, scope_.context) == OpStatus::kOk) return true;
  // Closed, and the answer is there or about to be; or the time is up, or the client has left.
  answer_ = job_.get(scope_.context);
  return false;
}

bool EventStream::write_next(httplib::DataSink& sink) {
  if (!sink.write(piece_.data(), piece_.size())) return false;
  if (receive()) return true;
  if (!answer_.ok()) {
    // An event may have been cut in two: the empty line ends it.
    const std::string event = "\n\nevent: error\ndata: " + to_json(to_failure(answer_.status(), provider_)) + "\n\n";
    if (!sink.write(event.data(), event.size())) return false;
  }
  sink.done();
  return true;
}

void EventStream::serve(std::unique_ptr<EventStream> events, httplib::Response& response) {
  response.set_header("Cache-Control", "no-cache");
  // cpp-httplib's functions must be copyable.
  response.set_chunked_content_provider("text/event-stream",
                                        [events = std::shared_ptr<EventStream>(std::move(events))](
                                            std::size_t, httplib::DataSink& sink) { return events->write_next(sink); });
}

}  // namespace gateway
