// SPDX-License-Identifier: MIT

#include <algorithm>
#include <atomic>
#include <functional>
#include <latch>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <httplib.h>

#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/task_queue_adapter.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace std::chrono_literals;
using penstock::ElasticPool;
using penstock::ManualClock;
using penstock::testing::eventually;

namespace {

using Queue = penstock::TaskQueueAdapter<httplib::TaskQueue>;

static_assert(std::is_base_of_v<httplib::TaskQueue, Queue>);

/// A server with a thread that listens, until it is destroyed.
class Listening {
 public:
  Listening(ElasticPool& pool, const std::function<void(httplib::Server&)>& add_routes) {
    server_.new_task_queue = [&pool] { return new Queue(pool); };
    add_routes(server_);
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
  }
  ~Listening() {
    REQUIRE(eventually([&] { return server_.is_running(); }));
    server_.stop();
    thread_.join();
  }
  [[nodiscard]] int port() const noexcept { return port_; }

 private:
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace

TEST_CASE("TaskQueueAdapter: cpp-httplib serves more streams than it has threads", "[exec][task_queue_adapter]") {
  constexpr unsigned kStreams = 30;
  ManualClock clock;
  std::latch over(1);
  std::atomic<unsigned> begun{0};
  std::atomic<unsigned> complete{0};
  ElasticPool pool({.name = "http", .clock = &clock});
  {
    Listening listening(pool, [&](httplib::Server& server) {
      server.Get("/ping", [](const httplib::Request&, httplib::Response& response) { response.body = "pong"; });
      server.Get("/events", [&](const httplib::Request&, httplib::Response& response) {
        response.set_chunked_content_provider("text/event-stream", [&](std::size_t, httplib::DataSink& sink) {
          sink.write("data: 1\n\n", 9);
          over.wait();
          sink.write("data: 2\n\n", 9);
          sink.done();
          return true;
        });
      });
    });
    std::vector<std::thread> clients;
    for (unsigned i = 0; i < kStreams; ++i) {
      clients.emplace_back([&] {
        httplib::Client client("127.0.0.1", listening.port());
        client.set_read_timeout(60s);
        std::string body;
        const httplib::Result result = client.Get("/events", [&](const char* data, std::size_t size) {
          if (body.empty()) ++begun;
          body.append(data, size);
          return true;
        });
        if (result && result->status == 200 && body == "data: 1\n\ndata: 2\n\n") ++complete;
      });
      if (!eventually([&] { return pool.stats().accepted > i; })) break;  // the line at a socket is short
    }
    CHECK(eventually([&] { return begun == kStreams; }));
    CHECK(pool.stats().busy >= kStreams);
    {
      httplib::Client visitor("127.0.0.1", listening.port());
      visitor.set_read_timeout(60s);
      const httplib::Result result = visitor.Get("/ping");
      CHECK((result && result->body == "pong"));
    }
    CHECK(complete == 0);
    over.count_down();
    for (std::thread& client : clients) client.join();
  }
  CHECK(complete == kStreams);
  REQUIRE(eventually([&] { return pool.stats().busy == 0; }));
  CHECK(pool.worker_count() > kStreams);
  clock.advance(1h);
  CHECK(pool.worker_count() == 3);
  CHECK(pool.stats().succeeded == kStreams + 1);
}

TEST_CASE("TaskQueueAdapter: one pool outlives many servers", "[exec][task_queue_adapter]") {
  ElasticPool pool({.name = "http"});
  for (int round = 0; round < 5; ++round) {
    std::atomic<int> served{0};
    const auto add_routes = [&](httplib::Server& server) {
      server.Get(
          "/", [&](const httplib::Request&, httplib::Response& response) { response.body = std::to_string(++served); });
    };
    Listening first(pool, add_routes);
    Listening second(pool, add_routes);
    for (const Listening* server : {&first, &second, &first}) {
      httplib::Client client("127.0.0.1", server->port());
      client.set_read_timeout(60s);
      const httplib::Result result = client.Get("/");
      CHECK((result && result->body == std::to_string(served.load())));
    }
    CHECK(served == 3);
  }
  CHECK_FALSE(pool.is_closed());
}
