// SPDX-License-Identifier: MIT

// Swap runners under many clients that wait, stop waiting, drop what they were granted and have models unloaded, while
// the back end answers from other threads.

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "penstock/swap/function_backend.hpp"
#include "penstock/swap/swap_runner.hpp"
#include "support/catch.hpp"
#include "support/rounds.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;

/// A machine with room for one model; counts what does not fit.
struct Machine {
  std::array<std::atomic<bool>, 4> runs{};
  std::atomic<int> misfits{0};
  std::atomic<int> starts{0};

  [[nodiscard]] std::atomic<bool>& runs_of(const SwapModel& model) {
    return runs[static_cast<std::size_t>(model.name[0] - 'a')];
  }

  [[nodiscard]] SwapRunnerOptions options() {
    SwapRunnerOptions options{.backend = std::make_shared<FunctionBackend>(
                                  FunctionBackendOptions{.start =
                                                             [this](const SwapModel& model, const Context&) {
                                                               for (const std::atomic<bool>& each : runs)
                                                                 misfits += each.load() ? 1 : 0;
                                                               if (++starts % 7 == 0)
                                                                 return absl::InternalError("not now");
                                                               runs_of(model) = true;
                                                               return absl::OkStatus();
                                                             },
                                                         .stop =
                                                             [this](const SwapModel& model, Duration) {
                                                               runs_of(model) = false;
                                                               return absl::OkStatus();
                                                             }})};
    options.scheduler.models = {{.name = "a"}, {.name = "b"}, {.name = "c"}, {.name = "d"}};
    return options;
  }
};

struct Tally {
  std::atomic<std::uint64_t> granted{0};
  std::atomic<std::uint64_t> refused{0};
};

void be_a_client(SwapRunner& runner, std::uint32_t seed, int requests, Tally& tally) {
  std::mt19937 random(seed);
  const std::vector<std::string> names = {"a", "b", "c", "d"};
  const auto count = [&](const absl::StatusOr<SwapLease>& lease) { ++(lease.ok() ? tally.granted : tally.refused); };
  for (int i = 0; i != requests; ++i) {
    const std::string& name = names[random() % names.size()];
    switch (random() % 6) {
      case 0: {  // in a hurry
        const auto patience = std::chrono::microseconds(random() % 200);
        count(runner.acquire(name, Context::background().with_timeout(patience)));
        break;
      }
      case 1: {  // changes its mind
        absl::StatusOr<SwapTicket> ticket = runner.submit(name);
        if (ticket.ok() && random() % 2 == 0) static_cast<void>(ticket->position());
        ++tally.refused;
        break;
      }
      case 2: {  // is told to
        const Context::Cancellable life = Context::background().with_cancel();
        std::thread canceller([&] { life.source.cancel(); });
        count(runner.acquire(name, life.context));
        canceller.join();
        break;
      }
      case 3:
        if (random() % 8 == 0) static_cast<void>(runner.unload(name));
        [[fallthrough]];
      default:
        count(runner.acquire(name));
    }
  }
}

TEST_CASE("SwapRunner: a crowd gets one answer each, and the books balance", "[swap][swap_runner][stress]") {
  for (testing::Rounds rounds(6); rounds.next();) {
    Machine machine;
    SwapRunner runner(machine.options());
    Tally tally;
    constexpr int kClients = 6;
    constexpr int kRequests = 150;
    std::vector<std::thread> clients;
    for (int i = 0; i != kClients; ++i) {
      clients.emplace_back([&, seed = static_cast<std::uint32_t>(rounds.begun() * 100) +
                                      static_cast<std::uint32_t>(i)] { be_a_client(runner, seed, kRequests, tally); });
    }
    for (std::thread& client : clients) client.join();
    CHECK(tally.granted + tally.refused == std::uint64_t{kClients} * kRequests);
    CHECK(runner.shutdown().in_time);
    const SwapRunnerStats stats = runner.stats();
    const SwapStats& s = stats.scheduler;
    std::uint64_t refused = 0;
    for (const std::uint64_t each : s.refused) refused += each;
    CHECK(s.queued + s.joined + s.in_flight == 0);
    CHECK(s.arrived == s.served + s.grants_refused + s.cancelled + refused);
    CHECK(s.arrived + stats.withdrawn == std::uint64_t{kClients} * kRequests);
    CHECK(s.served == tally.granted);
    CHECK(s.ignored == 0);
    CHECK(machine.misfits == 0);
    CHECK(stats.late_answers == 0);
    CHECK(stats.tasks_begun == stats.tasks_succeeded + stats.tasks_failed);
  }
}

TEST_CASE("SwapRunner: it goes while clients wait", "[swap][swap_runner][stress]") {
  for (testing::Rounds rounds(100); rounds.next();) {
    Machine machine;
    std::optional<SwapRunner> runner(std::in_place, machine.options());
    std::vector<SwapTicket> tickets;
    for (const char* const name : {"a", "b", "c", "a", "b"}) tickets.push_back(*runner->submit(name));
    std::atomic<int> answers{0};
    std::vector<std::thread> waiters;
    for (SwapTicket& ticket : tickets) {
      waiters.emplace_back([&] {
        const absl::StatusOr<SwapLease> lease = ticket.wait();
        if (lease.ok() || absl::IsUnavailable(lease.status())) ++answers;
      });
    }
    if (rounds.begun() % 2 == 0) tickets.back().cancel();
    runner.reset();
    for (std::thread& waiter : waiters) waiter.join();
    CHECK(answers >= 4);
  }
}

}  // namespace
}  // namespace penstock
