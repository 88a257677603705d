// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The HTTP client of one provider, or of the process of a local model.

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/op_status.hpp"
#include "penstock/exec/slot_queue.hpp"
#include "penstock/metrics/sink.hpp"

namespace gateway {

/// `https://api.example.org:8443/base` in its parts.
struct Url {
  bool is_secure = false;
  std::string host;
  int port = 80;
  std::string path;  ///< What comes before "/v1/..."; does not end with '/'.

  /// Nothing if `text` is no URL that a provider can have.
  static std::optional<Url> parse(std::string_view text);
  [[nodiscard]] std::string text() const;

  friend bool operator==(const Url&, const Url&) = default;
};

struct UpstreamOptions {
  std::string name;
  std::string kind = "provider";  ///< What it is, in texts.
  Url url;
  std::chrono::milliseconds connect_timeout{2'000};
  std::size_t max_answer_bytes = 16 << 20;
  std::chrono::milliseconds keep_idle{60'000};  ///< A connection that is not used for so long is closed.

  friend bool operator==(const UpstreamOptions&, const UpstreamOptions&) = default;
};

/// What a provider answered: a success or one of the statuses from 400 to 499, which are the client's business.
struct Answer {
  int status = 0;
  std::string content_type = {};
  std::string body = {};  ///< Empty if it has been streamed.
  std::string retry_after = {};
  std::string provider = {};  ///< Who has answered; of a local model, "local".
  std::string key_id = {};    ///< The key that it was asked with; empty: none.
};

/// Asks a provider for completions, and tells what it did wrong: does not listen, answers with something that is not
/// HTTP or not JSON, breaks off, fails, or takes too long.
///
/// Connections are kept: there are as many as there are calls at once, so one for each worker of the pool. The one used
/// last is taken first, as it is the least likely to have been closed by the other side; those that are not needed grow
/// old, and are closed.
///
/// Threads: any member, from any thread.
class Upstream {
 public:
  /// Takes a piece of a stream of events; anything but kOk ends the stream.
  using OnPiece = std::function<penstock::OpStatus(std::string_view)>;

  explicit Upstream(UpstreamOptions options);
  ~Upstream();
  Upstream(const Upstream&) = delete;
  Upstream& operator=(const Upstream&) = delete;

  /// Sends `body`, a request for a completion, and waits for the answer. If there is an `on_piece` and the provider
  /// answers with events, they go there as they come.
  ///
  /// Blocks: until the answer is complete or `ctx` ends. What cannot be interrupted is the look-up of a host's name
  /// and,
  ///         over TLS, a wait for the next bytes: it lasts until the deadline, even if `ctx` is cancelled before.
  /// `api_key` is sent as a bearer token, unless it is empty, and appears in no text.
  absl::StatusOr<Answer> complete(const std::string& body, const std::string& api_key, const penstock::Context& ctx,
                                  const OnPiece& on_piece = {});

  /// Asks for `path`. Returns: OK for any answer but a 5xx: who says that there is no such page, or that it wants a
  /// key, is there. Blocks: as `complete`.
  absl::Status check(const std::string& path, const penstock::Context& ctx);

  [[nodiscard]] penstock::SlotQueueStats connections() const { return connections_.stats(); }
  void collect(penstock::MetricSink& sink) const { connections_.collect(sink); }

 private:
  class Client;
  using Connection = std::unique_ptr<Client>;

  const UpstreamOptions options_;
  penstock::SlotQueue<Connection> connections_;
};

}  // namespace gateway
