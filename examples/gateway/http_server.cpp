// SPDX-License-Identifier: MIT
#include "http_server.hpp"

#include <cerrno>
#include <memory>
#include <system_error>
#include <utility>

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection.hpp"

#include "penstock/exec/task_queue_adapter.hpp"

namespace gateway {

using std::chrono::milliseconds;

namespace {

/// How long a connection may take to send its request while the server drains.
constexpr milliseconds kLastChance{200};

}  // namespace

HttpServer::HttpServer(HttpServerOptions options)
    : options_(std::move(options)),
      threads_({.name = "connections",
                .max_workers = options_.max_connections,
                // What ten seconds have not needed goes by halves.
                .trim = penstock::LowWater{}}),
      drain_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (drain_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  new_task_queue = [this] {
    using Queue = penstock::TaskQueueAdapter<httplib::TaskQueue>;
    return std::make_unique<Queue>(threads_).release();  // cpp-httplib takes it over
  };
  // Without it a response waits up to 40 ms for the client's acknowledgement of its headers.
  set_tcp_nodelay(true);
  set_payload_max_length(options_.max_body_bytes);
  // cpp-httplib would share the port with any other process that listens on it.
  set_socket_options([](socket_t socket) {
    const int yes = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
  // What the headers of a response promise; `process_and_close_socket` keeps it.
  set_keep_alive_timeout(std::chrono::ceil<std::chrono::seconds>(options_.keep_alive).count());
  set_keep_alive_max_count(1'000'000);
  set_post_routing_handler([this](const httplib::Request&, httplib::Response& response) { finish_response(response); });
}

HttpServer::~HttpServer() { ::close(drain_); }

int HttpServer::bind() {
  errno = 0;
  const int port = options_.port == 0 ? bind_to_any_port(options_.host)
                                      : (bind_to_port(options_.host, options_.port) ? options_.port : -1);
  // A second `listen` changes the backlog, which cpp-httplib sets to 5: a burst of clients would wait for retries.
  if (port < 0 || ::listen(svr_sock_, SOMAXCONN) != 0) {
    throw std::system_error(errno, std::generic_category(),
                            "cannot listen on " + options_.host + ":" + std::to_string(options_.port));
  }
  return port;
}

void HttpServer::run() {
  const int listening = svr_sock_;
  listen_after_bind();
  if (listening != INVALID_SOCKET) ::close(listening);
}

void HttpServer::begin_drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
  ::eventfd_write(drain_, 1);
}

bool HttpServer::is_draining() const {
  const std::lock_guard lock(mutex_);
  return draining_;
}

bool HttpServer::wait_until_idle(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return idle_.wait_until(lock, deadline, [this] { return serving_ == 0; });
}

void HttpServer::stop() {
  {
    const std::lock_guard lock(mutex_);
    draining_ = stopped_ = true;
    for (Connection* connection : connections_) connection->shut_down();
  }
  // `accept` returns; `run` closes the socket once nobody uses it any more.
  const int listening = svr_sock_.exchange(INVALID_SOCKET);
  if (listening != INVALID_SOCKET) ::shutdown(listening, SHUT_RDWR);
}

bool HttpServer::process_and_close_socket(socket_t socket) {
  Connection connection(socket);
  std::unique_lock lock(mutex_);
  connections_.insert(&connection);
  for (bool more = true; more && !stopped_;) {
    lock.unlock();
    const bool has_request = connection.wait_for_request(options_.keep_alive, drain_) ||
                             (is_draining() && connection.wait_for_request(kLastChance));
    lock.lock();
    if (!has_request || stopped_) break;
    const bool last = draining_;
    ++serving_;
    lock.unlock();
    more = serve_one(connection, last);
    lock.lock();
    --serving_;
    if (serving_ == 0) idle_.notify_all();
  }
  connections_.erase(&connection);
  return true;
}

bool HttpServer::serve_one(Connection& connection, bool last) {
  connection.begin_request({.receive_by = std::chrono::steady_clock::now() + options_.receive_timeout,
                            .each_write = options_.send_timeout,
                            // The smallest chunks take 8 bytes for each byte of a body; the rest is for the headers.
                            .bytes = 8 * options_.max_body_bytes + 65536,
                            .first_line_bytes = 16384});
  bool client_closes = false;
  const auto set_up = [&connection](httplib::Request& request) {
    request.headers.erase("Accept-Encoding");  // compressing a response costs more than it saves here
    request.ranges.clear();                    // and a part of one makes no sense
    // Nobody reads the body of these, so nothing that follows it can be understood.
    const bool has_body = request.has_header("Content-Length") || request.has_header("Transfer-Encoding");
    if (has_body && (request.method == "GET" || request.method == "HEAD")) connection.close_after_response();
  };
  bool served = false;
  // Newer versions of cpp-httplib want to be told the addresses.
  [&](auto& self) {
    if constexpr (requires { self.process_request(connection, last, client_closes, set_up); }) {
      served = self.process_request(connection, last, client_closes, set_up);
    } else {
      std::string remote, local;
      int remote_port = 0, local_port = 0;
      connection.get_remote_ip_and_port(remote, remote_port);
      connection.get_local_ip_and_port(local, local_port);
      served = self.process_request(connection, remote, remote_port, local, local_port, last, client_closes, set_up);
    }
  }(*this);
  connection.end_request();
  return served && !last && !client_closes && !connection.is_closing();
}

void HttpServer::finish_response(httplib::Response& response) const {
  const bool closes = Connection::current().is_closing() || is_draining();
  if (closes && response.get_header_value("Connection") != "close") {
    response.headers.erase("Keep-Alive");
    response.set_header("Connection", "close");
  }
}

}  // namespace gateway
