// SPDX-License-Identifier: MIT

// When a slot queue has something started, and who gets what becomes of that.

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "exec/slot_queue_support.hpp"
#include "penstock/core/run_loop.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::acquire_in;
using testing::discrepancies;
using testing::Number;
using testing::number;
using testing::NumberLease;
using testing::NumberQueue;
using testing::text_of;
using testing::value_of;

using Ticket = LaunchTicket<Number>;

/// A queue on a clock that stands still, whose tickets are kept.
struct Launcher {
  explicit Launcher(LaunchPolicy policy = CombinedLaunch{})
      : queue({.name = "q",
               .launch = [this](Ticket ticket) { tickets.push_back(std::move(ticket)); },
               .launch_policy = std::move(policy),
               .clock = &clock}) {}

  /// Who still waits goes home: work that is left in a loop never runs, and keeps its memory.
  ~Launcher() {
    queue.close();
    loop.run_ready();
  }
  Launcher(const Launcher&) = delete;
  Launcher& operator=(const Launcher&) = delete;

  /// A coroutine that waits.
  JoinHandle<NumberLease> waiter(Context ctx = Context::background()) {
    auto handle = spawn(loop, acquire_in(queue, std::move(ctx)));
    loop.run_ready();
    return handle;
  }
  NumberLease result_of(JoinHandle<NumberLease>& handle) {
    loop.run_ready();
    return handle.get();
  }

  ManualClock clock;
  RunLoop loop;
  std::vector<Ticket> tickets;
  NumberQueue queue;
};

TEST_CASE("LaunchTicket: who comes to wait has a slot started, and gets it", "[exec][slot_queue]") {
  Launcher at;
  auto waiter = at.waiter();
  REQUIRE(at.tickets.size() == 1);
  CHECK(at.queue.stats().starting == 1);
  CHECK(at.queue.stats().phases[static_cast<std::size_t>(SlotPhase::kStarter)].now == 1);
  CHECK_FALSE(at.queue.needs_slot());
  at.clock.advance(300ms);
  const absl::StatusOr<SlotToken> token = at.tickets[0].succeed(number(5));
  REQUIRE(token.ok());
  CHECK(token->state() == SlotState::kLeased);
  CHECK(value_of(at.result_of(waiter)) == 5);
  const SlotQueueStats stats = at.queue.stats();
  CHECK(stats.starting == 0);
  CHECK(stats.started == 1);
  CHECK(stats.phases[static_cast<std::size_t>(SlotPhase::kStarter)].mean == 300ms);
  CHECK(discrepancies(stats).empty());
}

TEST_CASE("LaunchTicket: no launch while slots are idle", "[exec][slot_queue]") {
  Launcher at;
  REQUIRE(at.queue.offer(number(1)).ok());
  auto first = at.waiter();
  CHECK(at.tickets.empty());
  CHECK(value_of(at.result_of(first)) == 1);
}

TEST_CASE("LaunchTicket: an error goes to the one who asked for the start", "[exec][slot_queue]") {
  Launcher at;
  auto one = at.waiter();
  auto two = at.waiter();
  REQUIRE(at.tickets.size() == 2);
  CHECK(at.tickets[1].fail(absl::InternalError("no image for two")));
  CHECK_FALSE(at.tickets[1].is_pending());
  CHECK(text_of(at.result_of(two).status()) == "no image for two");
  CHECK(at.queue.stats().waiting == 1);
  CHECK(at.tickets[0].succeed(number(1)).ok());
  CHECK(value_of(at.result_of(one)) == 1);
  const SlotQueueStats stats = at.queue.stats();
  CHECK(stats.failed == 1);
  CHECK(stats.errors_dropped == 0);
  CHECK(discrepancies(stats).empty());
}

TEST_CASE("LaunchTicket: an error never reaches a stranger", "[exec][slot_queue]") {
  Launcher at;
  const Context::Cancellable ending = Context::background().with_cancel();
  auto asker = at.waiter(ending.context);
  REQUIRE(at.tickets.size() == 1);
  ending.source.cancel();
  CHECK(absl::IsCancelled(at.result_of(asker).status()));
  // This one is content with the start that is under way.
  auto stranger = at.waiter();
  REQUIRE(at.tickets.size() == 1);
  CHECK_FALSE(at.tickets[0].fail(absl::InternalError("not for you")));
  at.loop.run_ready();
  CHECK(at.queue.stats().waiting == 1);
  CHECK(at.queue.stats().errors_dropped == 1);
  // But that has gone, so it asks for one of its own.
  REQUIRE(at.tickets.size() == 2);
  CHECK(at.tickets[1].succeed(number(2)).ok());
  CHECK(value_of(at.result_of(stranger)) == 2);
  // Nobody who comes later hears of the error, either.
  auto later = at.waiter();
  CHECK(value_of(at.result_of(later)) == 2);
}

TEST_CASE("LaunchTicket: the one who asked may be served by another slot first", "[exec][slot_queue]") {
  Launcher at;
  auto one = at.waiter();
  REQUIRE(at.tickets.size() == 1);
  REQUIRE(at.queue.offer(number(7)).ok());
  NumberLease lease = at.result_of(one);
  CHECK(value_of(lease) == 7);
  CHECK_FALSE(at.tickets[0].fail(absl::InternalError("too late")));
  CHECK(at.queue.stats().errors_dropped == 1);
  CHECK(at.queue.stats().failed == 0);
}

TEST_CASE("LaunchTicket: a slot goes to who is first, whoever asked for it", "[exec][slot_queue]") {
  Launcher at;
  auto one = at.waiter();
  auto two = at.waiter();
  REQUIRE(at.tickets.size() == 2);
  REQUIRE(at.tickets[1].succeed(number(2)).ok());
  at.loop.run_ready();
  CHECK(at.queue.stats().waiting == 1);
  // Its own start has served another, the other one's start is there for it: no third one.
  CHECK(at.tickets.size() == 2);
  CHECK(at.tickets[0].succeed(number(1)).ok());
  CHECK(value_of(at.result_of(one)) == 2);
  CHECK(value_of(at.result_of(two)) == 1);
}

TEST_CASE("LaunchTicket: who was passed over by its own start asks for the next", "[exec][slot_queue]") {
  Launcher at;
  auto one = at.waiter();
  auto two = at.waiter();
  REQUIRE(at.tickets.size() == 2);
  REQUIRE(at.tickets[1].succeed(number(2)).ok());
  at.loop.run_ready();
  const NumberLease busy = one.get();
  CHECK(value_of(busy) == 2);
  CHECK_FALSE(at.tickets[0].fail(absl::InternalError("for one")));  // which waits no longer
  REQUIRE(at.tickets.size() == 3);
  CHECK(at.tickets[2].fail(absl::InternalError("for two")));
  CHECK(text_of(at.result_of(two).status()) == "for two");
}

TEST_CASE("LaunchTicket: dropped without a word, it has failed", "[exec][slot_queue]") {
  Launcher at;
  auto one = at.waiter();
  at.tickets.clear();
  const absl::Status told = at.result_of(one).status();
  CHECK(absl::IsUnavailable(told));
  CHECK(text_of(told) == "slot queue 'q': the start was dropped without a result");
  CHECK(at.queue.stats().start_failures == 1);
  CHECK(at.queue.is_idle());
}

TEST_CASE("LaunchTicket: settled once, and an OK is no error", "[exec][slot_queue]") {
  Launcher at;
  auto one = at.waiter();
  Ticket ticket = std::move(at.tickets[0]);
  CHECK_FALSE(at.tickets[0].is_pending());
  CHECK_FALSE(at.tickets[0].fail(absl::InternalError("moved from")));
  CHECK(ticket.fail(absl::OkStatus()));
  CHECK(at.result_of(one).status().code() == absl::StatusCode::kUnknown);
  Number kept = number(1);
  CHECK(absl::IsFailedPrecondition(ticket.succeed(std::move(kept)).status()));
  CHECK(kept != nullptr);
  CHECK_FALSE(ticket.fail(absl::InternalError("again")));
  CHECK(at.queue.stats().start_failures == 1);
}

TEST_CASE("LaunchTicket: it outlives the queue", "[exec][slot_queue]") {
  std::vector<Ticket> tickets;
  auto queue = std::make_unique<NumberQueue>(
      SlotQueueOptions<Number>{.name = "q", .launch = [&](Ticket ticket) { tickets.push_back(std::move(ticket)); }});
  RunLoop loop;
  auto one = spawn(loop, acquire_in(*queue));
  auto two = spawn(loop, acquire_in(*queue));
  loop.run_ready();
  REQUIRE(tickets.size() == 2);
  queue.reset();
  Number kept = number(1);
  CHECK(absl::IsUnavailable(tickets[0].succeed(std::move(kept)).status()));
  CHECK(kept != nullptr);
  CHECK_FALSE(tickets[0].is_pending());
  CHECK_FALSE(tickets[1].fail(absl::InternalError("late")));
  loop.run_ready();
  CHECK(text_of(one.get().status()) == "slot queue 'q': closed");
  CHECK(text_of(two.get().status()) == "slot queue 'q': closed");
}

TEST_CASE("SlotQueue: a launch that succeeds at once, without recursion", "[exec][slot_queue]") {
  int depth = 0;
  int deepest = 0;
  std::unique_ptr<NumberQueue> queue;
  std::vector<Ticket> first;
  bool at_once = false;
  queue = std::make_unique<NumberQueue>(SlotQueueOptions<Number>{.name = "q",
                                                                 .launch =
                                                                     [&](Ticket ticket) {
                                                                       if (!at_once)
                                                                         return first.push_back(std::move(ticket));
                                                                       deepest = std::max(deepest, ++depth);
                                                                       static_cast<void>(ticket.succeed(number(1)));
                                                                       --depth;
                                                                     },
                                                                 .launch_policy = CombinedLaunch{.max_starters = 1}});
  RunLoop loop;
  std::vector<JoinHandle<void>> all;
  const auto take = [](NumberQueue& from) -> Task<> {
    NumberLease lease = co_await from.async_acquire();
    static_cast<void>(lease->retire());
  };
  for (int i = 0; i != 5'000; ++i) all.push_back(spawn(loop, take(*queue)));
  loop.run_ready();
  REQUIRE(first.size() == 1);
  at_once = true;
  CHECK(first[0].succeed(number(0)).ok());
  loop.run_ready();
  CHECK(deepest == 1);
  CHECK(queue->stats().waiting == 0);
  CHECK(queue->stats().started == 5'000);
}

TEST_CASE("SlotQueue: starts that fail at once end with those who asked", "[exec][slot_queue]") {
  int launches = 0;
  NumberQueue queue({.name = "q", .launch = [&](Ticket ticket) {
                       ++launches;
                       ticket.fail(absl::ResourceExhaustedError("no room"));
                     }});
  CHECK(text_of(queue.acquire().status()) == "no room");
  CHECK(launches == 1);
  // Somebody who waits elsewhere, and is only counted: one try, not one after the other.
  REQUIRE(queue.enter(SlotPhase::kWaiter).ok());
  CHECK(launches == 2);
  CHECK(queue.leave(SlotPhase::kWaiter).ok());
}

TEST_CASE("SlotQueue: what launch throws is caught, and the start has failed", "[exec][slot_queue]") {
  NumberQueue queue({.name = "q", .launch = [](Ticket) { throw std::runtime_error("no"); }});
  CHECK(absl::IsUnavailable(queue.acquire().status()));
  CHECK(queue.stats().caught_exceptions == 1);
  CHECK(queue.stats().start_failures == 1);
}

TEST_CASE("SlotQueue: a policy that throws launches nothing", "[exec][slot_queue]") {
  Launcher at(CustomLaunch{[](const LaunchSample&) -> LaunchDecision { throw std::runtime_error("no"); }});
  auto one = at.waiter();
  CHECK(at.tickets.empty());
  CHECK_FALSE(at.queue.needs_slot());
  CHECK(at.queue.stats().caught_exceptions == 2);
  REQUIRE(at.queue.offer(number(1)).ok());
  CHECK(value_of(at.result_of(one)) == 1);
}

TEST_CASE("SlotQueue: a patient policy looks again by itself", "[exec][slot_queue]") {
  Launcher at(CombinedLaunch{.patience = 100ms});
  auto one = at.waiter();
  CHECK(at.tickets.empty());
  at.clock.advance(60ms);
  auto two = at.waiter();
  at.clock.advance(39ms);
  CHECK(at.tickets.empty());
  at.clock.advance(1ms);
  CHECK(at.tickets.size() == 2);  // one for each, as the first has waited long enough
  CHECK(at.clock.armed() == 0);
}

TEST_CASE("SlotQueue: a patient policy launches for those who wait elsewhere", "[exec][slot_queue]") {
  Launcher at(CombinedLaunch{.patience = 100ms});
  at.clock.advance(1s);
  REQUIRE(at.queue.enter(SlotPhase::kWaiter).ok());
  at.clock.advance(99ms);
  CHECK(at.tickets.empty());
  at.clock.advance(1ms);
  CHECK(at.tickets.size() == 1);
  CHECK(at.clock.armed() == 0);
  CHECK(at.queue.leave(SlotPhase::kWaiter).ok());
}

TEST_CASE("SlotQueue: so many starts at a time, and no faster", "[exec][slot_queue]") {
  Launcher at(CombinedLaunch{.at_once = 2, .interval = 1s});
  std::vector<JoinHandle<NumberLease>> all;
  for (int i = 0; i != 5; ++i) all.push_back(at.waiter());
  CHECK(at.tickets.size() == 1);  // the first one came alone
  at.clock.advance(999ms);
  CHECK(at.tickets.size() == 1);
  at.clock.advance(1ms);
  CHECK(at.tickets.size() == 3);
  at.clock.advance(1s);
  CHECK(at.tickets.size() == 5);
  at.clock.advance(10s);
  CHECK(at.tickets.size() == 5);
}

TEST_CASE("SlotQueue: the document's rule stalls where the combined one does not", "[exec][slot_queue]") {
  for (const bool combined : {false, true}) {
    Launcher at(combined ? LaunchPolicy(CombinedLaunch{}) : LaunchPolicy(DocumentLaunch{}));
    auto first = at.waiter();
    REQUIRE(at.tickets.size() == 1);
    REQUIRE(at.tickets[0].succeed(number(1)).ok());
    const NumberLease busy = at.result_of(first);  // for a long time
    std::vector<JoinHandle<NumberLease>> all;
    for (int i = 0; i != 100; ++i) all.push_back(at.waiter());
    at.clock.advance(1h);
    CHECK(at.tickets.size() == (combined ? 101 : 1));
    // What a wait takes is learnt when it is over, from the second one on.
    if (!combined) {
      const Context::Cancellable ending = Context::background().with_cancel();
      auto impatient = at.waiter(ending.context);
      at.clock.advance(1s);
      ending.source.cancel();
      CHECK(absl::IsCancelled(at.result_of(impatient).status()));
      CHECK(at.tickets.size() > 1);
    }
  }
}

TEST_CASE("SlotQueue: the effective rule starts one for each event", "[exec][slot_queue]") {
  Launcher at(EffectiveLaunch{});
  std::vector<JoinHandle<NumberLease>> all;
  for (int i = 0; i != 5; ++i) all.push_back(at.waiter());
  CHECK(at.tickets.size() == 5);
  CHECK(at.queue.stats().starting == 5);
}

TEST_CASE("SlotQueue: who waits in a thread launches there, before it waits", "[exec][slot_queue]") {
  std::optional<std::thread::id> launched_by;
  NumberQueue queue({.name = "q", .launch = [&](Ticket ticket) {
                       launched_by = std::this_thread::get_id();
                       static_cast<void>(ticket.succeed(number(3)));
                     }});
  CHECK(value_of(queue.acquire()) == 3);
  CHECK(launched_by == std::this_thread::get_id());
  CHECK(value_of(queue.acquire()) == 3);
  CHECK(queue.stats().launches == 1);
}

TEST_CASE("SlotQueue: nothing more is launched when nobody waits any more", "[exec][slot_queue]") {
  const Context::Cancellable ending = Context::background().with_cancel();
  int launches = 0;
  ManualClock clock;
  NumberQueue queue({.name = "q",
                     .launch =
                         [&](Ticket) {
                           ++launches;
                           ending.source.cancel();  // they leave at once
                         },
                     .launch_policy = CombinedLaunch{.patience = 10ms},
                     .clock = &clock});
  std::vector<JoinHandle<NumberLease>> all;
  for (int i = 0; i != 5; ++i) all.push_back(spawn(Executor::inline_executor(), acquire_in(queue, ending.context)));
  clock.advance(10ms);
  CHECK(launches == 1);
  CHECK(queue.is_idle());
}

TEST_CASE("SlotQueue: a slot that is retired is replaced for who waits", "[exec][slot_queue]") {
  Launcher at(CombinedLaunch{.max_runners = 1});
  auto first = at.waiter();
  REQUIRE(at.tickets[0].succeed(number(1)).ok());
  NumberLease lease = at.result_of(first);
  auto second = at.waiter();
  CHECK(at.tickets.size() == 1);
  lease->discard();
  CHECK(at.tickets.size() == 2);
}

}  // namespace
}  // namespace penstock
