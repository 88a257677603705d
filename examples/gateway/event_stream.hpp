// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Server-sent events, passed from a provider to a client.

#include <atomic>
#include <cstdint>
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
#include "penstock/state/buffer_pool.hpp"

namespace gateway {

/// A short channel between the workers that read from providers and the thread that writes to the client. A client that
/// reads slowly fills it, and the worker waits: nothing piles up here.
///
/// Of all attempts that are made for a client, only the first one that has something to pass on can do so.
///
/// Threads: any member, from any thread; one receives.
class EventPipe {
 public:
  class Source;

  /// The memory of its pieces is that of `memory`.
  explicit EventPipe(penstock::BufferPool& memory) : memory_(memory) {}

  /// The answer is there, and nothing more will be sent.
  void finish(absl::StatusOr<Answer> answer) {
    answer_ = std::move(answer);
    pieces_.close();
  }
  [[nodiscard]] bool has_begun() const noexcept { return source_ != 0; }

  /// Waits for a piece. Blocks: until there is one, or there will be none (kClosed), or `ctx` ends.
  penstock::OpStatus receive(penstock::Buffer& piece, const penstock::Context& ctx) {
    return pieces_.receive(piece, ctx);
  }
  /// Once `receive` has said kClosed.
  [[nodiscard]] const absl::StatusOr<Answer>& answer() const noexcept { return answer_; }
  /// Whose pieces they are; once there was one.
  [[nodiscard]] const std::string& provider() const noexcept { return provider_; }

 private:
  penstock::BufferPool& memory_;
  penstock::Channel<penstock::Buffer> pieces_{16};  // orders what is written before a send or the close
  std::atomic<std::uint64_t> last_{0};
  std::atomic<std::uint64_t> source_{0};  // whose pieces they are; 0: nobody's yet
  std::string provider_;
  absl::StatusOr<Answer> answer_;
};

/// An attempt's end of the pipe.
class EventPipe::Source {
 public:
  explicit Source(EventPipe& pipe) : pipe_(pipe), id_(++pipe.last_) {}

  /// Blocks: while the client has too much to read already. Returns: kClosed if another attempt was faster.
  penstock::OpStatus send(std::string_view piece, std::string_view provider, const penstock::Context& ctx) {
    std::uint64_t owner = 0;
    if (pipe_.source_.compare_exchange_strong(owner, id_)) {
      pipe_.provider_ = provider;
    } else if (owner != id_) {
      return penstock::OpStatus::kClosed;
    }
    return pipe_.pieces_.send(pipe_.memory_.copy(piece), ctx);
  }
  [[nodiscard]] bool has_sent() const noexcept { return pipe_.source_ == id_; }

 private:
  EventPipe& pipe_;
  const std::uint64_t id_;
};

/// The last event of a stream that does not end well. `data`, without a line break, is what a failed response would
/// have as its body.
[[nodiscard]] std::string error_event(std::string_view data);

/// Server-sent events on their way to a client.
///
/// Threads: the client's.
class EventStream {
 public:
  EventStream(std::string provider, penstock::Context::Cancellable scope, ClientWatch::Guard watched);
  /// Calls off what is still going on.
  ~EventStream();
  EventStream(const EventStream&) = delete;
  EventStream& operator=(const EventStream&) = delete;

  /// Waits for the first piece. Returns false if there is none: `answer` says why.
  bool begin(std::shared_ptr<EventPipe> pipe);

  [[nodiscard]] bool has_begun() const noexcept { return has_begun_; }

  /// What it came to, when there are no more pieces.
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
  std::shared_ptr<EventPipe> pipe_;
  bool has_begun_ = false;
  penstock::Buffer piece_;  // received, and not written
  absl::StatusOr<Answer> answer_;
};

}  // namespace gateway
