// SPDX-License-Identifier: MIT
#include "upstream.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include <fmt/core.h>
#include <httplib.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include "errors.hpp"
#include "socket_stream.hpp"
#include "verdicts.hpp"

#include "penstock/core/retry_after.hpp"

namespace gateway {
namespace {

using absl::StatusCode;
using penstock::Context;
using penstock::Duration;
using std::chrono::milliseconds;

/// cpp-httplib's client on our stream, so that a deadline is one, a call can be called off, and no upstream can exhaust
/// our memory or our stack.
class PlainClient final : public httplib::ClientImpl {
 public:
  PlainClient(const std::string& host, int port, int interrupt) : ClientImpl(host, port), interrupt_(interrupt) {}

  void set_limits(const MessageLimits& limits) { limits_ = limits; }

  /// Closes a connection that the upstream has closed, or on which it has sent what nobody asked for: that would be
  /// taken for the next answer.
  void drop_unusable_connection() {
    if (!socket_.is_open()) return;
    pollfd state{.fd = socket_.sock, .events = POLLIN, .revents = 0};
    if (has_leftover_ || ::poll(&state, 1, 0) != 0) stop();
    has_leftover_ = false;
  }

 private:
  // One of the two overrides the base class's, depending on the version of cpp-httplib.
  using Callback = std::function<bool(httplib::Stream&)>;
  bool process_socket(const Socket& socket, Callback callback) { return exchange(socket.sock, callback); }
  bool process_socket(const Socket& socket, std::chrono::time_point<std::chrono::steady_clock>, Callback callback) {
    return exchange(socket.sock, callback);
  }

  bool exchange(int socket, const Callback& callback) {
    SocketStream stream(socket, interrupt_);
    stream.begin_message(limits_);
    const bool done = callback(stream);
    has_leftover_ = stream.has_leftover();
    return done;
  }

  const int interrupt_;
  MessageLimits limits_;
  bool has_leftover_ = false;
};

bool is_event_stream(const httplib::Response& response) {
  return response.get_header_value("Content-Type").rfind("text/event-stream", 0) == 0;
}

}  // namespace

std::optional<Url> Url::parse(std::string_view text) {
  Url url;
  if (text.substr(0, 7) == "http://") {
    text.remove_prefix(7);
  } else if (text.substr(0, 8) == "https://") {
    text.remove_prefix(8);
    url.is_secure = true;
  } else {
    return std::nullopt;
  }
  const std::size_t slash = std::min(text.find('/'), text.size());
  url.path = text.substr(slash);
  while (!url.path.empty() && url.path.back() == '/') url.path.pop_back();
  std::string_view authority = text.substr(0, slash);
  url.port = url.is_secure ? 443 : 80;
  const std::size_t colon = authority.rfind(':');
  if (colon != authority.npos && authority.find(']', colon) == authority.npos) {
    const std::string_view port = authority.substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (error != std::errc() || end != port.data() + port.size() || url.port < 1 || url.port > 65535)
      return std::nullopt;
    authority = authority.substr(0, colon);
  }
  if (authority.size() > 2 && authority.front() == '[' && authority.back() == ']') {
    authority = authority.substr(1, authority.size() - 2);
  }
  url.host = authority;
  const std::string_view forbidden = " \t\r\n\"<>\\^`{|}@?#";  // also user:password@, queries and fragments
  if (url.host.empty() || (url.host + url.path).find_first_of(forbidden) != std::string::npos) return std::nullopt;
  return url;
}

std::string Url::text() const {
  const bool is_v6 = host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}:{}{}", is_secure ? "https" : "http", is_v6 ? "[" : "", host, is_v6 ? "]" : "", port,
                     path);
}

/// One connection, and what can interrupt its use.
class Upstream::Client {
 public:
  explicit Client(const UpstreamOptions& options) : options_(options) {
    const Url& url = options_.url;
    if (!url.is_secure) {
      auto plain = std::make_unique<PlainClient>(url.host, url.port, interrupt_);
      plain_ = plain.get();
      http_ = std::move(plain);
    } else {
#if defined(CPPHTTPLIB_OPENSSL_SUPPORT)
      http_ = std::make_unique<httplib::SSLClient>(url.host, url.port);
#endif
    }
    http_->set_keep_alive(true);
    http_->set_tcp_nodelay(true);
  }
  ~Client() { ::close(interrupt_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  absl::StatusOr<Answer> complete(const std::string& body, const std::string& api_key, const Context& ctx,
                                  const OnPiece& on_piece);
  absl::Status check(const std::string& path, const Context& ctx);

 private:
  void set_time_limits(const Context& ctx);
  /// Has the exchange end when `ctx` does. Returns whether it was complete.
  bool exchange(httplib::Request& request, httplib::Response& response, httplib::Error& error, const Context& ctx);
  absl::Status explain(httplib::Error error, const httplib::Response& response, const Context& ctx) const;
  absl::Status fault(StatusCode code, Stage stage, std::string_view type, std::string_view what) const {
    return upstream_fault(code, stage, type, fmt::format("{} '{}': {}", options_.kind, options_.name, what));
  }

  const UpstreamOptions& options_;
  const int interrupt_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  std::unique_ptr<httplib::ClientImpl> http_;
  PlainClient* plain_ = nullptr;  // http_, unless it speaks TLS
};

void Upstream::Client::set_time_limits(const Context& ctx) {
  const Duration until = ctx.can_end() ? ctx.deadline() - ctx.clock().now() : Duration::max();
  const milliseconds left = std::min(std::chrono::ceil<milliseconds>(until), milliseconds(std::chrono::hours(24)));
  http_->set_connection_timeout(std::min(options_.connect_timeout, left));
  http_->set_read_timeout(left);
  http_->set_write_timeout(left);
  if (plain_ != nullptr) {
    plain_->set_limits({.receive_by = std::chrono::steady_clock::now() + left,
                        .each_write = left,
                        .bytes = options_.max_answer_bytes + 65536});
    plain_->drop_unusable_connection();
  }
}

bool Upstream::Client::exchange(httplib::Request& request, httplib::Response& response, httplib::Error& error,
                                const Context& ctx) {
  set_time_limits(ctx);
  bool done = false;
  {
    const auto interruption = ctx.on_done([fd = interrupt_]() noexcept { ::eventfd_write(fd, 1); });
    done = http_->send(request, response, error);
  }
  eventfd_t ignored = 0;
  ::eventfd_read(interrupt_, &ignored);
  return done;
}

absl::Status Upstream::Client::check(const std::string& path, const Context& ctx) {
  if (ctx.is_done()) return ctx.cause();
  httplib::Request request;
  request.method = "GET";
  request.path = options_.url.path + path;
  std::size_t received = 0;
  request.content_receiver = [&](const char*, std::size_t size, std::uint64_t, std::uint64_t) {
    received += size;
    return received <= options_.max_answer_bytes && !ctx.is_done();
  };
  httplib::Response response;
  auto error = httplib::Error::Success;
  if (!exchange(request, response, error, ctx)) return explain(error, response, ctx);
  if (response.status < 500) return absl::OkStatus();
  return fault(StatusCode::kInternal, Stage::kUpstream, "upstream_failed",
               fmt::format("it answered {} with status {}", path, response.status));
}

absl::StatusOr<Answer> Upstream::Client::complete(const std::string& body, const std::string& api_key,
                                                  const Context& ctx, const OnPiece& on_piece) {
  if (ctx.is_done()) return ctx.cause();
  httplib::Request request;
  request.method = "POST";
  request.path = options_.url.path + "/v1/chat/completions";
  request.set_header("Content-Type", "application/json");
  if (!api_key.empty()) request.set_header("Authorization", "Bearer " + api_key);
  request.body = body;
  httplib::Response response;
  std::string received;
  bool streams = false;
  bool too_large = false;
  request.response_handler = [&](const httplib::Response& head) {
    streams = on_piece && head.status == 200 && is_event_stream(head);
    return true;
  };
  request.content_receiver = [&](const char* data, std::size_t size, std::uint64_t, std::uint64_t) {
    if (streams) return on_piece(std::string_view(data, size)) == penstock::OpStatus::kOk;
    too_large = size > options_.max_answer_bytes - received.size();
    if (!too_large) received.append(data, size);
    return !too_large && !ctx.is_done();
  };

  auto error = httplib::Error::Success;
  const bool done = exchange(request, response, error, ctx);
  if (too_large) {
    return fault(StatusCode::kDataLoss, Stage::kUpstream, "upstream_invalid_answer",
                 fmt::format("its answer is larger than {} bytes", options_.max_answer_bytes));
  }
  if (!done) return explain(error, response, ctx);
  if (response.status >= 500) {
    absl::Status failed = fault(StatusCode::kInternal, Stage::kUpstream, "upstream_failed",
                                fmt::format("it answered with status {}", response.status));
    const auto wait = parse_retry_after(response.get_header_value("Retry-After"));
    return wait ? penstock::with_retry_after(std::move(failed), *wait) : failed;
  }
  if (response.status < 200 || (response.status >= 300 && response.status < 400)) {
    return fault(StatusCode::kDataLoss, Stage::kUpstream, "upstream_invalid_answer",
                 fmt::format("it answered with status {}, which is no answer", response.status));
  }
  if (response.status < 300 && !streams) {
    if (on_piece) {
      return fault(StatusCode::kDataLoss, Stage::kUpstream, "upstream_invalid_answer",
                   fmt::format("it answered with content of type '{}' where a stream of events was asked for",
                               response.get_header_value("Content-Type")));
    }
    if (!nlohmann::json::accept(received)) {
      return fault(StatusCode::kDataLoss, Stage::kUpstream, "upstream_invalid_answer",
                   fmt::format("the {} bytes of its answer are not JSON", received.size()));
    }
  }
  return Answer{.status = response.status,
                .content_type = response.get_header_value("Content-Type"),
                .body = std::move(received),
                .retry_after = response.get_header_value("Retry-After"),
                .provider = options_.name};
}

/// Why there is no answer, as far as it can be known from here.
absl::Status Upstream::Client::explain(httplib::Error error, const httplib::Response& response,
                                       const Context& ctx) const {
  const bool connected = error != httplib::Error::Connection && error != httplib::Error::ConnectionTimeout &&
                         error != httplib::Error::SSLConnection && error != httplib::Error::SSLServerVerification;
  if (ctx.status() == penstock::OpStatus::kTimedOut) {
    const char* what = !connected              ? "no connection before the deadline"
                       : response.status == -1 ? "no answer before the deadline"
                                               : "no end of its answer before the deadline";
    return fault(StatusCode::kDeadlineExceeded, connected ? Stage::kUpstream : Stage::kConnect, "deadline_exceeded",
                 what);
  }
  if (ctx.is_done()) return ctx.cause();
  if (error == httplib::Error::ConnectionTimeout) {
    return fault(
        StatusCode::kDeadlineExceeded, Stage::kConnect, "deadline_exceeded",
        fmt::format("no connection to {} within {} ms", options_.url.text(), options_.connect_timeout.count()));
  }
  if (!connected) {
    return fault(StatusCode::kUnavailable, Stage::kConnect, "upstream_refused",
                 fmt::format("cannot connect to {} ({})", options_.url.text(), to_string(error)));
  }
  if (response.status == -1) {
    return fault(StatusCode::kDataLoss, Stage::kUpstream, "upstream_invalid_answer",
                 "it closed the connection, or sent something else, where an HTTP answer should begin");
  }
  return fault(StatusCode::kDataLoss, Stage::kUpstream, "upstream_died", "its answer broke off half way");
}

Upstream::Upstream(UpstreamOptions options)
    : options_(std::move(options)),
      connections_({.name = options_.kind == "provider" ? options_.name : options_.kind + " " + options_.name,
                    .idle_timeout = options_.keep_idle,
                    // Who finds none free has one made. It connects when it is used first.
                    .launch = [this](penstock::LaunchTicket<Connection> ticket) {
                      static_cast<void>(ticket.succeed(std::make_unique<Client>(options_)));
                    }}) {}
Upstream::~Upstream() = default;

absl::StatusOr<Answer> Upstream::complete(const std::string& body, const std::string& api_key, const Context& ctx,
                                          const OnPiece& on_piece) {
  const auto connection = connections_.acquire(ctx);
  if (!connection.ok()) return connection.status();
  return (**connection)->complete(body, api_key, ctx, on_piece);
}

absl::Status Upstream::check(const std::string& path, const Context& ctx) {
  const auto connection = connections_.acquire(ctx);
  if (!connection.ok()) return connection.status();
  return (**connection)->check(path, ctx);
}

}  // namespace gateway
