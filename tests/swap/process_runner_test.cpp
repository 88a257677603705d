// SPDX-License-Identifier: MIT

// Real children behind a real runner: what is decided is done, whatever becomes of the children meanwhile.

#include <algorithm>
#include <atomic>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/swap/group_planner.hpp"
#include "penstock/swap/process_backend.hpp"
#include "penstock/swap/swap_runner.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"
#include "swap/process_support.hpp"

using namespace penstock;
using namespace penstock::testing;
using namespace std::chrono_literals;
using enum penstock::ModelState;

namespace {

ProcessOptions named(std::string name, ProcessOptions options) {
  options.name = std::move(name);
  return options;
}

/// A runner, and children for its models; one at a time unless the planner says otherwise.
struct Host {
  explicit Host(std::vector<ProcessOptions> processes, PlannerFactory planner = exclusive_planner()) {
    SwapRunnerOptions options;
    options.scheduler.name = "gpu";
    options.scheduler.planner = std::move(planner);
    for (const ProcessOptions& process : processes) options.scheduler.models.push_back({.name = process.name});
    backend = std::make_shared<ProcessBackend>(ProcessBackendOptions{.processes = std::move(processes)});
    options.backend = backend;
    runner = std::make_unique<SwapRunner>(std::move(options));
  }

  [[nodiscard]] Process& process(const std::string& model) const { return *backend->find(model); }
  [[nodiscard]] std::vector<std::uint64_t> starts(const std::vector<std::string>& models) const {
    std::vector<std::uint64_t> starts;
    for (const std::string& model : models) starts.push_back(process(model).stats().starts);
    return starts;
  }
  /// Which of the models have a child that is ready.
  [[nodiscard]] std::string ready(const std::vector<std::string>& models) const {
    std::string ready;
    for (const std::string& model : models) ready += process(model).state() == kReady ? model : "";
    return ready;
  }

  std::shared_ptr<ProcessBackend> backend;
  std::unique_ptr<SwapRunner> runner;
};

std::vector<ProcessOptions> servers(const std::vector<std::string>& names) {
  std::vector<ProcessOptions> all;
  for (const std::string& name : names) all.push_back(named(name, server()));
  return all;
}

/// One that ends no earlier than it is killed.
ProcessOptions stubborn() { return child({"ignore", "15", "print", "up", "wait"}, ReadyOnLine{"up"}); }

}  // namespace

TEST_CASE("ProcessBackend: A B C A B C starts three children, one at a time", "[swap][process_backend]") {
  const std::vector<std::string> models = {"a", "b", "c"};
  {
    const Host host(servers(models));
    std::vector<SwapTicket> tickets;
    for (const char* const model : {"a", "b", "c", "a", "b", "c"}) tickets.push_back(*host.runner->submit(model));
    for (std::size_t at = 0; at < 3; ++at) {
      const SwapLease one = tickets[at].wait().value();
      const SwapLease two = tickets[at + 3].wait().value();
      CHECK(host.ready(models) == models[at]);
      CHECK(children() == 1);
      CHECK(runs(host.process(models[at]).pid()));
    }
    CHECK(host.starts(models) == std::vector<std::uint64_t>{1, 1, 1});
    CHECK(host.runner->stats().scheduler.swaps_started == 3);
    CHECK(host.runner->shutdown().in_time);
    CHECK(children() == 0);
  }
  CHECK(children() == 0);
}

TEST_CASE("ProcessBackend: A B C A B C in each of two groups starts each model once", "[swap][process_backend]") {
  const std::vector<std::string> models = {"a", "b", "c", "x", "y", "z"};
  {
    const ModelGroup first{.name = "first", .exclusive = false, .members = {"a", "b", "c"}};
    const ModelGroup second{.name = "second", .exclusive = false, .members = {"x", "y", "z"}};
    const Host host(servers(models), group_planner({.groups = {first, second}}));
    std::vector<SwapTicket> tickets;
    for (int round = 0; round < 2; ++round) {
      for (const std::string& model : models) tickets.push_back(*host.runner->submit(model));
    }
    for (std::size_t at = 0; at < 3; ++at) {
      std::vector<SwapLease> leases;
      for (const std::size_t group : {0U, 3U}) {
        leases.push_back(tickets[group + at].wait().value());
        leases.push_back(tickets[group + at + models.size()].wait().value());
      }
      CHECK(host.ready(models) == models[at] + models[at + 3]);
    }
    CHECK(host.starts(models) == std::vector<std::uint64_t>(models.size(), 1));
  }
  CHECK(children() == 0);
}

TEST_CASE("ProcessBackend: a child that is killed under a lease is started again for the next",
          "[swap][process_backend]") {
  {
    const Host host(servers({"a", "b"}));
    SwapLease lease = host.runner->acquire("a").value();
    kill(host.process("a").pid(), SIGKILL);
    CHECK(eventually([&] { return host.runner->model_state("a") == kStopped; }));
    const absl::StatusOr<SwapLease> next = host.runner->acquire("a");
    CHECK(next.ok());
    CHECK(host.starts({"a", "b"}) == std::vector<std::uint64_t>{2, 0});
    lease.reset();
  }
  CHECK(children() == 0);
}

TEST_CASE("ProcessBackend: children that are killed under load cost answers, and nothing else",
          "[swap][process_backend]") {
  const std::vector<std::string> models = {"a", "b", "c"};
  {
    const Host host(servers(models));
    std::atomic<int> served{0};
    std::atomic<int> refused{0};
    std::atomic<bool> ends{false};
    constexpr int kClients = 4;
    constexpr int kRequests = 25;
    std::vector<std::thread> clients;
    for (int client = 0; client < kClients; ++client) {
      clients.emplace_back([&, client] {
        for (int i = 0; i < kRequests; ++i) {
          const std::string& model = models[static_cast<std::size_t>(client + i) % models.size()];
          ++(host.runner->acquire(model).ok() ? served : refused);
        }
      });
    }
    std::thread killer([&] {
      for (std::size_t i = 0; !ends; ++i) {
        if (const int pid = host.process(models[i % models.size()]).pid(); pid > 0 && i % 64 == 0) kill(pid, SIGKILL);
        std::this_thread::yield();
      }
    });
    for (std::thread& client : clients) client.join();
    ends = true;
    killer.join();
    CHECK(served + refused == kClients * kRequests);
    for (const std::string& model : models) CHECK(eventually([&] { return host.runner->acquire(model).ok(); }));
    CHECK(host.runner->shutdown().in_time);
    CHECK(children() == 0);
    for (const std::string& model : models) {
      const ProcessStats stats = host.process(model).stats();
      CHECK(stats.starts == stats.ready + stats.start_failures + stats.aborted);
    }
  }
  CHECK(children() == 0);
}

TEST_CASE("ProcessBackend: a runner that shuts down in the middle of a start leaves no child",
          "[swap][process_backend]") {
  {
    const Host host({named("a", sleeper()), named("b", server())});
    SwapTicket ticket = *host.runner->submit("a");
    CHECK(eventually([&] { return host.process("a").pid() != 0; }));
    const SwapShutdownReport report = host.runner->shutdown();
    CHECK(report.in_time);
    CHECK(report.tasks == 0);
    CHECK(report.running.empty());
    CHECK_FALSE(ticket.wait().ok());
    CHECK(children() == 0);
    CHECK(host.process("a").stats().aborted == 1);
  }
  CHECK(children() == 0);
}

TEST_CASE("ProcessBackend: a runner that shuts down in the middle of a stop waits for it, and starts nothing",
          "[swap][process_backend]") {
  const Fifo go;
  {
    ProcessOptions slow = child({"finish", "15", go.path(), "print", "up", "wait"}, ReadyOnLine{"up"});
    slow.graceful_timeout = std::chrono::hours(1);
    const Host host({named("a", std::move(slow)), named("b", server())});
    static_cast<void>(host.runner->acquire("a").value());
    SwapTicket ticket = *host.runner->submit("b");
    CHECK(eventually([&] { return host.process("a").state() == kStopping; }));
    CHECK_FALSE(host.runner->shutdown(Context::background().with_timeout(0s)).in_time);
    // The swap to a, that to b, and the stop of both: the second one has been called off when the third one begins.
    CHECK(eventually([&] { return host.runner->stats().tasks_begun == 3; }));
    CHECK(children() == 1);
    CHECK(go.release());
    CHECK(host.runner->shutdown().in_time);
    CHECK_FALSE(ticket.wait().ok());
    CHECK(host.starts({"a", "b"}) == std::vector<std::uint64_t>{1, 0});
    CHECK(host.process("a").stats().kills == 0);
  }
  CHECK(children() == 0);
}

TEST_CASE("ProcessBackend: it may go with its runner in the middle of a start", "[swap][process_backend]") {
  {
    Host host({named("a", sleeper()), named("b", server())});
    SwapTicket ticket = *host.runner->submit("a");
    CHECK(eventually([&] { return host.process("a").pid() != 0; }));
    host.backend.reset();
    host.runner.reset();
    CHECK_FALSE(ticket.wait().ok());
  }
  CHECK(children() == 0);
}

TEST_CASE("ProcessBackend: a swap gives each model its own time to stop, and an unload may give another",
          "[swap][process_backend]") {
  ProcessOptions brief = stubborn();
  brief.graceful_timeout = 20ms;
  ProcessOptions patient = stubborn();
  patient.graceful_timeout = std::chrono::hours(1);
  const Host host({named("brief", std::move(brief)), named("patient", std::move(patient))});
  static_cast<void>(host.runner->acquire("brief").value());
  static_cast<void>(host.runner->acquire("patient").value());  // a swap
  CHECK(host.process("brief").stats().kills == 1);
  CHECK(host.runner->unload("patient", 20ms).ok());
  CHECK(host.process("patient").stats().kills == 1);
  static_cast<void>(host.runner->acquire("patient").value());
  CHECK(host.runner->unload("patient", -1s).ok());  // at once
  CHECK(host.process("patient").stats().kills == 2);
  CHECK(children() == 0);
}
