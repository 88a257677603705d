// SPDX-License-Identifier: MIT

// When a child counts as ready.

#include <atomic>
#include <stdexcept>
#include <thread>

#include "penstock/core/manual_clock.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/sleep_under.hpp"
#include "support/status_text.hpp"
#include "swap/process_support.hpp"

using namespace penstock;
using namespace penstock::testing;
using namespace std::chrono_literals;
using enum penstock::ModelState;

TEST_CASE("Process: ready when a line says so, on either stream", "[swap][process]") {
  ProcessSupervisor supervisor;
  Process output(supervisor, child({"print", "listening on 8080", "wait"}, ReadyOnLine{"listening"}));
  Process errors(supervisor, child({"error", "now listening", "wait"}, ReadyOnLine{"listening"}));
  CHECK(output.ensure_ready().ok());
  CHECK(errors.ensure_ready().ok());
  // A line is one when it has ended; and what an earlier child has said does not count.
  const Fifo go;
  Process later(supervisor,
                child({"part", "listen", "await", go.path(), "print", "ing", "wait"}, ReadyOnLine{"listening"}));
  CHECK_FALSE(later.try_ensure_ready().ok());
  CHECK(go.release());
  CHECK(later.ensure_ready().ok());
  CHECK(later.stop().ok());
  CHECK_FALSE(later.try_ensure_ready().ok());
  CHECK(go.release());
  CHECK(later.ensure_ready().ok());
}

TEST_CASE("Process: ready when it accepts a connection", "[swap][process]") {
  const Fifo go;
  const std::uint16_t port = free_port();
  ProcessSupervisor supervisor;
  Process process(supervisor,
                  child({"await", go.path(), "listen", std::to_string(port)}, ReadyOnConnect{.port = port}));
  CHECK_FALSE(process.try_ensure_ready().ok());
  CHECK(eventually([&] { return process.pid() != 0; }));
  CHECK(process.state() == kStarting);
  CHECK(go.release());
  CHECK(process.ensure_ready().ok());
}

TEST_CASE("Process: a look that meets itself is no answer", "[swap][process]") {
  // A port of those that the system gives to who connects: of so many looks one is given the port that it asks.
  ProcessSupervisor supervisor;
  ProcessOptions options = child({"wait"}, ReadyOnConnect{.port = free_port()});
  options.probe_interval = 1us;
  options.start_timeout = 1s;
  Process process(supervisor, options);
  CHECK(process.ensure_ready().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(process.stats().ready == 0);
}

TEST_CASE("Process: a line that cannot come is no way to be ready", "[swap][process]") {
  ProcessOptions options = child({"wait"}, ReadyOnLine{"up\nand running"});
  CHECK_THAT(text_of(options.validate()), ContainsSubstring("options.ready.text"));
  options.ready = ReadyOnLine{std::string(options.line_bytes, 'x')};
  CHECK(options.validate().ok());
  options.ready = ReadyOnLine{std::string(options.line_bytes + 1, 'x')};
  CHECK_THAT(text_of(options.validate()), ContainsSubstring("options.ready.text"));
}

TEST_CASE("Process: ready when it answers with a success", "[swap][process]") {
  const std::uint16_t port = free_port();
  ProcessSupervisor supervisor;
  Process process(supervisor,
                  child({"serve", std::to_string(port), "204"}, ReadyOnHttp{.port = port, .path = "/v1/health?x=1"}));
  CHECK(process.ensure_ready().ok());
  CHECK(eventually([&] { return !process.log().empty(); }));
  CHECK(process.log().front().text == "asked: GET /v1/health?x=1 HTTP/1.1");
}

TEST_CASE("Process: an answer that is no success is asked for again, until it is too late", "[swap][process]") {
  const std::uint16_t port = free_port();
  ProcessSupervisor supervisor;
  ProcessOptions options = child({"serve", std::to_string(port), "503"}, ReadyOnHttp{.port = port});
  options.start_timeout = 300ms;
  Process process(supervisor, options);
  const absl::Status status = process.ensure_ready();
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK_THAT(text_of(status),
             ContainsSubstring("not ready after 300 ms (http GET 127.0.0.1:" + std::to_string(port) + "/health): "));
  CHECK(process.log().size() > 5);  // asked several times
}

TEST_CASE("Process: a look that gets no answer is given up, and made again", "[swap][process]") {
  // Accepts, and closes without an answer; then a child that is suspended, so that nobody accepts at all.
  const std::uint16_t port = free_port();
  ProcessSupervisor supervisor;
  ProcessOptions options = child({"listen", std::to_string(port)}, ReadyOnHttp{.port = port});
  options.probe_timeout = 20ms;
  options.start_timeout = 200ms;
  Process process(supervisor, options);
  CHECK(process.ensure_ready().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(process.stop().ok());
}

TEST_CASE("Process: ready when the user's check says so", "[swap][process]") {
  std::atomic<int> asked{0};
  ProcessSupervisor supervisor;
  Process process(supervisor, child({"wait"}, ReadyWhen{[&](const Context&) {
                                      if (++asked == 1) throw std::runtime_error("not yet");
                                      return asked > 3;
                                    }}));
  CHECK(process.ensure_ready().ok());
  CHECK(asked == 4);
  CHECK(process.stats().caught_exceptions == 1);
  CHECK(process.stop().ok());
  CHECK(process.ensure_ready().ok());
  CHECK(asked == 5);
}

TEST_CASE("Process: the user's check ends when the child does", "[swap][process]") {
  const Fifo go;
  std::atomic<bool> is_checking{false};
  std::atomic<bool> has_ended{false};
  ProcessSupervisor supervisor;
  Process process(supervisor, child({"await", go.path(), "exit", "7"}, ReadyWhen{[&](const Context& ctx) {
                                      is_checking = true;
                                      sleep_under(ctx);
                                      has_ended = true;
                                      return true;  // too late
                                    }}));
  JoinHandle<absl::Status> start = started(process);
  CHECK(eventually([&] { return is_checking.load(); }));
  CHECK(go.release());
  const absl::Status status = start.get();
  CHECK_THAT(text_of(status), ContainsSubstring("exited prematurely (exit status 7)"));
  CHECK(eventually([&] { return has_ended.load(); }));
  CHECK(process.state() == kStopped);
}

TEST_CASE("Process: the end of a child ends its start, whatever is being asked", "[swap][process]") {
  // The port is somebody else's, who never answers: only the child's end can tell.
  const int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  REQUIRE(bind(other, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  REQUIRE(listen(other, 16) == 0);
  REQUIRE(getsockname(other, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  const Fifo go;
  ProcessSupervisor supervisor;
  ProcessOptions options = child({"await", go.path(), "exit", "7"}, ReadyOnHttp{.port = ntohs(address.sin_port)});
  options.probe_timeout = std::chrono::hours(1);
  options.start_timeout = std::chrono::hours(1);
  Process process(supervisor, options);
  JoinHandle<absl::Status> start = started(process);
  const int peer = accept(other, nullptr, nullptr);  // it is being asked
  CHECK(go.release());
  CHECK_THAT(text_of(start.get()), ContainsSubstring("exited prematurely (exit status 7)"));
  close(peer);
  close(other);
}

TEST_CASE("Process: looks come faster at first, then at the interval", "[swap][process]") {
  ManualClock clock;
  const std::uint16_t port = free_port();
  ProcessSupervisor supervisor({.clock = &clock});
  ProcessOptions options = child({"serve", std::to_string(port), "503"}, ReadyOnHttp{.port = port});
  options.probe_interval = 3200ms;
  options.probe_timeout = Duration::max();  // however far the clock goes
  options.start_timeout = Duration::max();
  options.graceful_timeout = std::chrono::hours(1);
  Process process(supervisor, options);
  CHECK_FALSE(process.try_ensure_ready().ok());
  const auto asked = [&] {
    std::size_t count = 0;
    for (const ProcessLine& line : process.log()) count += line.text.rfind("asked", 0) == 0 ? 1U : 0U;
    return count;
  };
  // The first look may come before the child listens, and then is refused.
  while (asked() == 0) {
    clock.advance(100ms);
    std::this_thread::yield();
  }
  const std::size_t before = asked();
  clock.advance(3199ms);
  clock.advance(1ms);
  CHECK(eventually([&] { return asked() > before; }));
  CHECK(process.stop().ok());
}
