// SPDX-License-Identifier: MIT

// How slot queues end, and begin, under every schedule: destroyed while others launch or end leases, from within a
// launch, and made by two at once where there is room for one.

#include <memory>
#include <optional>
#include <utility>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/slot_queue.hpp"
#include "penstock/exec/slot_queue_map.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
namespace world = penstock::detail::world;

namespace {

void must_pass(checker::Options options, const checker::Scenario& scenario) {
  options.executions = 20'000;
  checker::must_pass(options, scenario);
}

Task<absl::StatusCode> wait_in(SlotQueue<int>& queue) { co_return (co_await queue.async_acquire()).status().code(); }

bool is_end(absl::StatusCode code) {
  return code == absl::StatusCode::kOk || code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kInternal;
}

}  // namespace

TEST_CASE("SlotQueue: it is destroyed while the end of a lease wakes one and launches for another",
          "[model][slot_queue]") {
  must_pass({.name = "slot queue, destroyed while waking", .preemptions = 2}, [] {
    int launches = 0;
    RunLoop loop;
    std::optional<LaunchTicket<int>> ticket;
    auto queue = std::make_unique<SlotQueue<int>>(
        SlotQueueOptions<int>{.name = "q",
                              .launch =
                                  [&](LaunchTicket<int> given) {
                                    ++launches;  // plain memory: nobody launches once the queue is destroyed
                                    ticket.emplace(std::move(given));
                                  },
                              .launch_policy = CombinedLaunch{.max_runners = 1}});
    MODEL_ASSERT(queue->offer(1).ok());
    std::optional<SlotLease<int>> lease = *queue->try_acquire();
    auto one = spawn(loop, wait_in(*queue));
    auto two = spawn(loop, wait_in(*queue));
    loop.run_ready();
    world::Thread holder([&] { lease->discard(); });  // one of the two is launched for
    queue.reset();
    const int launched = std::exchange(launches, 0);
    holder.join();
    MODEL_ASSERT(launched <= 1 && launches == 0);
    ticket.reset();
    loop.run_ready();
    MODEL_ASSERT(is_end(one.get()) && is_end(two.get()));
  });
}

TEST_CASE("SlotQueue: a launch destroys it while another thread has a slot expire", "[model][slot_queue]") {
  must_pass({.name = "slot queue, destroyed by a launch", .preemptions = 2}, [] {
    ManualClock clock;
    RunLoop loop;
    std::unique_ptr<SlotQueue<int>> queue;
    queue = std::make_unique<SlotQueue<int>>(SlotQueueOptions<int>{
        .name = "q", .idle_timeout = 5ms, .launch = [&](LaunchTicket<int>) { queue.reset(); }, .clock = &clock});
    MODEL_ASSERT(queue->offer(1).ok());
    std::optional<SlotLease<int>> lease = *queue->try_acquire();
    auto one = spawn(loop, wait_in(*queue));
    world::Thread holder([&] {
      lease.reset();  // arms the timer, or serves
      clock.advance(5ms);
    });
    loop.run_ready();
    holder.join();
    loop.run_ready();
    MODEL_ASSERT(is_end(one.get()));
    queue.reset();
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("SlotQueueMap: two come first with a key, where there is room for one queue", "[model][slot_queue]") {
  must_pass({.name = "slot queue map, last room", .preemptions = 2}, [] {
    SlotQueueMap<int, int> map({.name = "m", .max_queues = 1, .shards = 1});
    const auto use = [&] { MODEL_ASSERT(map.at(1).ok()); };
    world::Thread other(use);
    use();
    other.join();
    MODEL_ASSERT(map.size() == 1);
    MODEL_ASSERT(map.at(2).status().code() == absl::StatusCode::kResourceExhausted);
  });
}
