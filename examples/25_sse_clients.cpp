// SPDX-License-Identifier: MIT
// A server of event streams. cpp-httplib gives a thread to each connection while it lasts, and has eight of them: of 20
// clients that stay it serves eight, and nobody else. On an elastic pool it serves all that come, and when they have
// gone the threads go, too. The clock is a ManualClock, so that nobody has to wait for that here.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <latch>
#include <thread>
#include <vector>

#include <httplib.h>

#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/task_queue_adapter.hpp"

using namespace std::chrono_literals;
using namespace penstock;

struct Served {
  int streams;
  bool ping;
};

/// What a server makes for itself, and a count of its connections.
struct EightThreads : httplib::ThreadPool {
  using Enqueued = TaskQueueAdapter<httplib::TaskQueue>::Enqueued;  // its versions differ

  explicit EightThreads(std::atomic<unsigned>& count) : ThreadPool(8), connections(count) {}
  Enqueued enqueue(std::function<void()> task) override {
    ++connections;
    return ThreadPool::enqueue(std::move(task));
  }
  std::atomic<unsigned>& connections;
};

/// Lets 20 clients listen until `expected` of them have got an event, then tries to get one more page.
Served serve(const std::function<httplib::TaskQueue*()>& new_task_queue,
             const std::function<std::uint64_t()>& connections, int expected) {
  std::latch over(1);
  std::atomic<int> streams{0};
  httplib::Server server;
  server.new_task_queue = new_task_queue;
  server.Get("/ping", [](const httplib::Request&, httplib::Response& response) { response.body = "pong"; });
  server.Get("/events", [&](const httplib::Request&, httplib::Response& response) {
    response.set_chunked_content_provider("text/event-stream", [&](std::size_t, httplib::DataSink& sink) {
      sink.write("data: hello\n\n", 13);
      over.wait();  // a stream goes on for as long as it likes
      sink.done();
      return true;
    });
  });
  const int port = server.bind_to_any_port("127.0.0.1");
  std::thread listening([&server] { server.listen_after_bind(); });

  std::vector<std::thread> clients;
  for (unsigned i = 1; i <= 20; ++i) {
    clients.emplace_back([&streams, port] {
      httplib::Client client("127.0.0.1", port);
      client.Get("/events", [&streams](const char*, std::size_t) { return ++streams, streams.notify_one(), true; });
    });
    while (connections() < i) std::this_thread::yield();  // only a few fit in the line at a socket
  }
  for (int now = streams; now < expected; now = streams) streams.wait(now);

  httplib::Client visitor("127.0.0.1", port);
  visitor.set_read_timeout(200ms);
  const Served served{streams, static_cast<bool>(visitor.Get("/ping"))};
  over.count_down();
  for (std::thread& client : clients) client.join();
  server.stop();
  listening.join();
  return served;
}

int main() {
  std::atomic<unsigned> count{0};
  const Served fixed = serve([&] { return new EightThreads(count); }, [&] { return count.load(); }, 8);
  std::printf("eight threads: %d of 20 streams, /ping %s\n", fixed.streams, fixed.ping ? "answers" : "times out");

  ManualClock clock;
  ElasticPool pool({.name = "http", .clock = &clock});
  const Served elastic =
      serve([&] { return new TaskQueueAdapter<httplib::TaskQueue>(pool); }, [&] { return pool.stats().accepted; }, 20);
  std::printf("elastic pool:  %d of 20 streams, /ping %s\n", elastic.streams, elastic.ping ? "answers" : "times out");

  while (pool.stats().busy != 0) std::this_thread::yield();
  const std::size_t most = pool.worker_count();
  clock.advance(10min);
  std::printf("%zu workers when all have gone, %zu some minutes later\n", most, pool.worker_count());

  const bool is_well = fixed.streams == 8 && !fixed.ping && elastic.streams == 20 && elastic.ping;
  return is_well && most >= 21 && pool.worker_count() == 3 ? 0 : 1;
}
