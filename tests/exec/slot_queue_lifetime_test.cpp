// SPDX-License-Identifier: MIT

// Slot queues that are made, and go, in odd places: as members, and from within what they call.

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "exec/slot_queue_support.hpp"
#include "penstock/exec/slot_queue_map.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using testing::acquire_in;
using testing::Number;
using testing::number;
using testing::NumberLease;
using testing::NumberQueue;
using testing::value_of;

struct Members {
  SlotQueue<int> queue{{.name = "queue"}};
  SlotQueueMap<std::string, int> map{{.name = "map"}};
};

TEST_CASE("SlotQueue: it may be a member that is set up in place", "[exec][slot_queue]") {
  Members members;
  REQUIRE(members.queue.offer(1).ok());
  REQUIRE(members.map.offer("key", 2).ok());
  CHECK(**members.queue.acquire() + **members.map.acquire("key") == 3);
}

using Ticket = LaunchTicket<Number>;

/// Destroys the queue as soon as it has a slot of it.
Task<int> destroyer(std::unique_ptr<NumberQueue>& queue) {
  NumberLease lease = co_await queue->async_acquire();
  queue.reset();
  co_return value_of(lease);
}

TEST_CASE("SlotQueue: who is woken may destroy it, while others lack a slot", "[exec][slot_queue]") {
  std::vector<Ticket> tickets;
  std::unique_ptr<NumberQueue> queue = std::make_unique<NumberQueue>(
      SlotQueueOptions<Number>{.name = "q", .launch = [&](Ticket ticket) { tickets.push_back(std::move(ticket)); }});
  auto first = spawn(Executor::inline_executor(), destroyer(queue));
  auto second = spawn(Executor::inline_executor(), acquire_in(*queue));
  REQUIRE(tickets.size() == 2);
  REQUIRE(tickets[0].succeed(number(7)).ok());  // runs the first one here
  CHECK(queue == nullptr);
  CHECK(sync_wait(std::move(first)) == 7);
  CHECK(absl::IsUnavailable(sync_wait(std::move(second)).status()));
  CHECK(tickets.size() == 2);
}

TEST_CASE("SlotQueue: launch may destroy it", "[exec][slot_queue]") {
  std::unique_ptr<NumberQueue> queue;
  int launches = 0;
  queue = std::make_unique<NumberQueue>(SlotQueueOptions<Number>{.name = "q", .launch = [&](Ticket) {
                                                                   ++launches;
                                                                   queue.reset();
                                                                 }});
  CHECK(absl::IsUnavailable(queue->acquire().status()));
  CHECK(queue == nullptr);
  CHECK(launches == 1);
}

TEST_CASE("SlotQueue: who is served by a start at once may destroy it", "[exec][slot_queue]") {
  ManualClock clock;
  std::unique_ptr<NumberQueue> queue;
  queue = std::make_unique<NumberQueue>(
      SlotQueueOptions<Number>{.name = "q",
                               .launch = [&](Ticket ticket) { CHECK(ticket.succeed(number(7)).ok()); },
                               .launch_policy = CombinedLaunch{.patience = std::chrono::milliseconds(10)},
                               .clock = &clock});
  auto first = spawn(Executor::inline_executor(), destroyer(queue));
  auto second = spawn(Executor::inline_executor(), acquire_in(*queue));
  clock.advance(std::chrono::milliseconds(10));  // launches here, and runs the first one there
  CHECK(queue == nullptr);
  CHECK(sync_wait(std::move(first)) == 7);
  CHECK(absl::IsUnavailable(sync_wait(std::move(second)).status()));
  CHECK(clock.armed() == 0);
}

TEST_CASE("SlotQueueMap: launch may have the map deleted what is idle", "[exec][slot_queue]") {
  ManualClock clock;
  std::size_t purged = 0;
  using Map = SlotQueueMap<std::string, Number>;
  Map* purges = nullptr;
  Map map({.name = "m", .queue_options = [&](const std::string& key) {
             return SlotQueueOptions<Number>{
                 .name = key,
                 .launch =
                     [&](Ticket ticket) {
                       ticket.fail(absl::InternalError("no"));  // runs the one who waits, who lets go of the queue
                       purged += purges->purge();
                     },
                 .launch_policy = CombinedLaunch{.patience = std::chrono::milliseconds(10)},
                 .clock = &clock};
           }});
  purges = &map;
  const auto wait = [](Map& from) -> Task<absl::StatusCode> {
    co_return (co_await from.async_acquire("a")).status().code();
  };
  auto waiting = spawn(Executor::inline_executor(), wait(map));
  clock.advance(std::chrono::milliseconds(10));
  CHECK(sync_wait(std::move(waiting)) == absl::StatusCode::kInternal);
  CHECK(purged == 0);  // somebody was at work in it
  CHECK(map.purge() == 1);
}

}  // namespace
}  // namespace penstock
