// SPDX-License-Identifier: MIT

// Who gets which slot, and what becomes of it: the newest first, each exactly once.

#include "penstock/exec/slot_queue.hpp"

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "exec/slot_queue_support.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::ContainsSubstring;
using testing::discrepancies;
using testing::kNothing;
using testing::Number;
using testing::number;
using testing::NumberLease;
using testing::NumberQueue;
using testing::offer_all;
using testing::text_of;
using testing::value_of;

/// Both of these, on a clock that stands still: nothing, and nothing within half a second.
bool gives_nothing(NumberQueue& queue, ManualClock& clock) {
  if (queue.try_acquire().ok()) return false;
  auto late = spawn(Executor::inline_executor(), testing::acquire_in(queue, Context(clock).with_timeout(500ms)));
  clock.advance(499ms);
  if (queue.stats().waiting != 1) return false;
  clock.advance(1ms);
  return absl::IsDeadlineExceeded(sync_wait(std::move(late)).status());
}

TEST_CASE("SlotQueue: an empty queue is idle and gives nothing", "[exec][slot_queue]") {
  ManualClock clock;
  NumberQueue queue({.name = "q", .clock = &clock});
  CHECK(queue.is_idle());
  CHECK_FALSE(queue.needs_slot());
  CHECK(gives_nothing(queue, clock));
  CHECK(queue.is_idle());
}

TEST_CASE("SlotQueue: ejected slots are gone, the others come newest first", "[exec][slot_queue]") {
  ManualClock clock;
  NumberQueue queue({.name = "q", .launch_policy = DocumentLaunch{}, .clock = &clock});
  CHECK(gives_nothing(queue, clock));
  const std::vector<SlotToken> tokens = offer_all(queue, 10);
  CHECK(value_of(queue.eject(tokens[9])) == 9);
  CHECK(value_of(queue.eject(tokens[0])) == 0);
  CHECK(value_of(queue.eject(tokens[5])) == 5);
  CHECK(value_of(queue.eject(tokens[5])) == kNothing);
  {
    NumberLease eight = queue.acquire();
    CHECK(value_of(eight) == 8);
    CHECK(tokens[8].state() == SlotState::kLeased);
    CHECK(value_of(queue.eject(tokens[8])) == kNothing);
    CHECK(value_of(queue.eject(tokens[7])) == 7);
    NumberLease six = queue.try_acquire();
    CHECK(value_of(six) == 6);
    CHECK(*eight->retire() == 8);
    CHECK(*six->retire() == 6);
  }
  const SlotQueueStats stats = queue.stats();
  CHECK(stats.ejected == 4);
  CHECK(stats.eject_misses == 2);
  CHECK(stats.idle == 4);
  CHECK(discrepancies(stats).empty());
  CHECK_FALSE(queue.needs_slot());
}

TEST_CASE("SlotQueue: who stops waiting takes no slot along", "[exec][slot_queue]") {
  ManualClock clock;
  NumberQueue queue({.name = "q", .clock = &clock});
  // One that waits and is cancelled before slots come, and one after.
  const Context::Cancellable before = Context::background().with_cancel();
  auto early = spawn(Executor::inline_executor(), testing::acquire_in(queue, before.context));
  before.source.cancel();
  CHECK(absl::IsCancelled(sync_wait(std::move(early)).status()));
  const std::vector<SlotToken> tokens = offer_all(queue, 2);
  CHECK(tokens[0].state() == SlotState::kIdle);
  CHECK(tokens[1].state() == SlotState::kIdle);
  const Context::Cancellable after = Context::background().with_cancel();
  {
    NumberLease newest = queue.acquire(after.context);
    CHECK(value_of(newest) == 1);
    after.source.cancel();
    CHECK(**newest != nullptr);  // the end of the context is not that of the lease
    newest->discard();
  }
  CHECK(value_of(queue.eject(tokens[0])) == 0);
  for (int i = 0; i != 10; ++i) CHECK(gives_nothing(queue, clock));
  CHECK(queue.is_idle());
}

TEST_CASE("SlotQueue: it stays last in, first out while a consumer is slow", "[exec][slot_queue]") {
  NumberQueue queue({.name = "q"});
  REQUIRE(queue.offer(number(0)).ok());
  const NumberLease slow = queue.acquire();  // has a slot, and does nothing with it
  REQUIRE(queue.offer(number(1)).ok());
  REQUIRE(queue.offer(number(2)).ok());
  NumberLease newest = queue.acquire();
  CHECK(value_of(newest) == 2);
  newest->reset();
  CHECK(value_of(queue.acquire()) == 2);
}

TEST_CASE("SlotQueue: a slot comes back on top, with its token", "[exec][slot_queue]") {
  NumberQueue queue({.name = "q"});
  const std::vector<SlotToken> tokens = offer_all(queue, 3);
  NumberLease two = queue.acquire();
  NumberLease one = queue.acquire();
  two->reset();
  one->reset();
  CHECK(tokens[1].state() == SlotState::kIdle);
  CHECK(value_of(queue.acquire()) == 1);
  CHECK(value_of(queue.eject(tokens[1])) == 1);
  CHECK(tokens[1].state() == SlotState::kGone);
  CHECK(value_of(queue.acquire()) == 2);
  CHECK(queue.stats().returned == 4);
}

TEST_CASE("SlotQueue: a slot that is asked to retire ends with its lease", "[exec][slot_queue]") {
  std::vector<std::pair<int, SlotEnd>> ended;
  NumberQueue queue({.name = "q", .on_retired = [&](Number&& slot, SlotEnd end) { ended.emplace_back(*slot, end); }});
  std::vector<SlotToken> tokens = offer_all(queue, 3);
  CHECK(tokens[0].retire() == SlotState::kIdle);
  CHECK(ended == std::vector<std::pair<int, SlotEnd>>{{0, SlotEnd::kRetired}});
  {
    const NumberLease two = queue.acquire();
    CHECK(tokens[2].retire() == SlotState::kLeased);
    CHECK(tokens[2].state() == SlotState::kLeased);
    CHECK(ended.size() == 1);
  }
  CHECK(tokens[2].state() == SlotState::kGone);
  CHECK(tokens[2].retire() == SlotState::kGone);
  queue.acquire()->discard();
  CHECK(ended ==
        std::vector<std::pair<int, SlotEnd>>{{0, SlotEnd::kRetired}, {2, SlotEnd::kRetired}, {1, SlotEnd::kRetired}});
  CHECK(queue.stats().retired == 3);
  CHECK(discrepancies(queue.stats()).empty());
}

TEST_CASE("SlotQueue: a token names its slot only, though the place is used again", "[exec][slot_queue]") {
  NumberQueue queue({.name = "q"});
  SlotToken old = *queue.offer(number(1));
  CHECK(value_of(queue.eject(old)) == 1);
  const SlotToken next = *queue.offer(number(2));
  CHECK(old.id() == 0);
  CHECK(next.id() == 1);
  CHECK(old.state() == SlotState::kGone);
  CHECK(old.retire() == SlotState::kGone);
  EjectRefusal why{};
  CHECK_FALSE(queue.eject(old, why).has_value());
  CHECK(why == EjectRefusal::kGone);
  CHECK(next.state() == SlotState::kIdle);
  const NumberLease lease = queue.acquire();
  CHECK_FALSE(queue.eject(next, why).has_value());
  CHECK(why == EjectRefusal::kLeased);
}

TEST_CASE("SlotQueue: a token of another queue is refused and counted", "[exec][slot_queue]") {
  NumberQueue queue({.name = "q"});
  NumberQueue other({.name = "other"});
  const SlotToken foreign = *other.offer(number(1));
  REQUIRE(queue.offer(number(2)).ok());
  EjectRefusal why{};
  CHECK_FALSE(queue.eject(foreign, why).has_value());
  CHECK(why == EjectRefusal::kForeign);
  CHECK_FALSE(queue.eject(SlotToken(), why).has_value());
  CHECK(why == EjectRefusal::kForeign);
  CHECK(queue.stats().foreign_tokens == 2);
  CHECK(foreign.state() == SlotState::kIdle);
  CHECK(queue.size() == 1);
  CHECK(SlotToken().state() == SlotState::kGone);
}

TEST_CASE("SlotQueue: the oldest may be taken", "[exec][slot_queue]") {
  NumberQueue queue({.name = "q"});
  CHECK_FALSE(queue.eject_oldest().has_value());
  CHECK_FALSE(queue.idle_since().has_value());
  offer_all(queue, 3);
  CHECK(queue.idle_since().has_value());
  CHECK(value_of(queue.eject_oldest()) == 0);
  CHECK(value_of(queue.acquire()) == 2);
}

TEST_CASE("SlotQueue: leases and tokens outlive it", "[exec][slot_queue]") {
  std::vector<std::pair<int, SlotEnd>> ended;
  auto queue = std::make_unique<NumberQueue>(
      SlotQueueOptions<Number>{.name = "q",
                               .on_retired = [&](Number&& slot, SlotEnd end) { ended.emplace_back(*slot, end); },
                               .time_leases = true});
  std::vector<SlotToken> tokens = offer_all(*queue, 3);
  NumberLease two = queue->acquire();
  NumberLease one = queue->acquire();
  queue.reset();
  CHECK(ended == std::vector<std::pair<int, SlotEnd>>{{0, SlotEnd::kClosed}});
  CHECK(tokens[0].state() == SlotState::kGone);
  CHECK(tokens[2].state() == SlotState::kLeased);
  CHECK(value_of(two) == 2);
  two->reset();
  CHECK(ended.back() == std::pair(2, SlotEnd::kClosed));
  CHECK(tokens[2].state() == SlotState::kGone);
  CHECK(*one->retire() == 1);
  CHECK(ended.size() == 2);
}

TEST_CASE("SlotQueue: closed, it takes and gives nothing", "[exec][slot_queue]") {
  NumberQueue queue({.name = "q"});
  offer_all(queue, 2);
  NumberLease lease = queue.acquire();
  CHECK(queue.close());
  CHECK_FALSE(queue.close());
  CHECK(queue.is_closed());
  CHECK(queue.size() == 0);
  Number kept = number(7);
  const absl::Status refused = queue.offer(std::move(kept)).status();
  CHECK(absl::IsUnavailable(refused));
  CHECK(text_of(refused) == "slot queue 'q': closed");
  CHECK(kept != nullptr);
  CHECK(absl::IsUnavailable(queue.acquire().status()));
  CHECK(absl::IsUnavailable(queue.try_acquire().status()));
  lease->reset();
  CHECK(queue.is_idle());
  CHECK(queue.stats().closed == 2);
  CHECK(queue.stats().returned == 0);
  CHECK(discrepancies(queue.stats()).empty());
}

struct Fragile {
  explicit Fragile(int value) : number(value) {
    if (value < 0) throw std::runtime_error("cracked");
  }
  int number;
};

TEST_CASE("SlotQueue: a slot whose constructor throws is not there", "[exec][slot_queue]") {
  SlotQueue<Fragile> queue({.name = "q"});
  CHECK_THROWS_WITH(queue.offer(-1), "cracked");
  CHECK(queue.is_idle());
  CHECK(queue.stats().offered == 0);
  REQUIRE(queue.offer(1).ok());
  CHECK((*queue.acquire())->number == 1);
}

TEST_CASE("SlotQueue: what on_retired throws is caught and counted", "[exec][slot_queue]") {
  NumberQueue queue({.name = "q", .on_retired = [](Number&&, SlotEnd) { throw std::runtime_error("no"); }});
  offer_all(queue, 3);
  queue.acquire()->discard();
  queue.close();
  CHECK(queue.stats().caught_exceptions == 3);
  CHECK(queue.is_idle());
}

TEST_CASE("SlotQueue: on_retired may call the queue, and destroy it", "[exec][slot_queue]") {
  std::unique_ptr<NumberQueue> queue;
  int ended = 0;
  const auto on_retired = [&](Number&&, SlotEnd end) {
    if (++ended == 1) {
      CHECK(queue->offer(number(2)).ok());
      CHECK(queue->size() == 1);
    } else if (end == SlotEnd::kRetired) {
      queue.reset();
    }
  };
  queue = std::make_unique<NumberQueue>(SlotQueueOptions<Number>{.name = "q", .on_retired = on_retired});
  REQUIRE(queue->offer(number(1)).ok());
  queue->acquire()->discard();
  CHECK(ended == 1);
  queue->acquire()->discard();
  CHECK(queue == nullptr);
}

TEST_CASE("SlotQueue: phases are counted, and never below zero", "[exec][slot_queue]") {
  ManualClock clock;
  NumberQueue queue({.name = "q", .clock = &clock});
  const auto now_in = [&](SlotPhase phase) { return queue.stats().phases[static_cast<std::size_t>(phase)].now; };
  for (const SlotPhase phase : {SlotPhase::kRunner, SlotPhase::kStarter, SlotPhase::kWaiter}) {
    const absl::Status fault = queue.leave(phase);
    CHECK(absl::IsFailedPrecondition(fault));
    CHECK(absl::IsFailedPrecondition(queue.leave(phase, 5ms)));
    CHECK(queue.enter(phase).ok());  // no lock was left behind
    CHECK(now_in(phase) == 1);
    CHECK_FALSE(queue.is_idle());
    CHECK(queue.leave(phase).ok());
    CHECK(now_in(phase) == 0);
  }
  CHECK(text_of(queue.leave(SlotPhase::kStarter)) == "slot queue 'q': no starter was entered that could leave");
  CHECK(queue.stats().phase_faults == 7);
  CHECK(absl::IsInvalidArgument(queue.enter(static_cast<SlotPhase>(3))));
  CHECK(absl::IsInvalidArgument(queue.leave(static_cast<SlotPhase>(200))));
  REQUIRE(queue.enter(SlotPhase::kRunner).ok());
  CHECK(absl::IsInvalidArgument(queue.leave(SlotPhase::kRunner, -1ms)));
  CHECK(now_in(SlotPhase::kRunner) == 1);
  CHECK(queue.leave(SlotPhase::kRunner, Duration::max()).ok());
}

TEST_CASE("SlotQueue: who waits in acquire is not left by hand", "[exec][slot_queue]") {
  NumberQueue queue({.name = "q"});
  auto waiting = spawn(Executor::inline_executor(), testing::acquire_in(queue));
  CHECK(queue.stats().phases[static_cast<std::size_t>(SlotPhase::kWaiter)].now == 1);
  CHECK(absl::IsFailedPrecondition(queue.leave(SlotPhase::kWaiter)));
  REQUIRE(queue.offer(number(1)).ok());
  CHECK(value_of(sync_wait(std::move(waiting))) == 1);
}

TEST_CASE("SlotQueue: a tracked phase is left with its latency", "[exec][slot_queue]") {
  ManualClock clock;
  NumberQueue queue({.name = "q", .clock = &clock});
  const auto runner = [&] { return queue.stats().phases[static_cast<std::size_t>(SlotPhase::kRunner)]; };
  {
    PhaseUse first = queue.track(SlotPhase::kRunner);
    PhaseUse second = queue.track(SlotPhase::kRunner);
    PhaseUse third = std::move(second);
    CHECK(runner().now == 2);
    clock.advance(80ms);
    first.stop();
    first.stop();
    CHECK(runner().now == 1);
    CHECK(runner().mean == 80ms);
    third.cancel();
    CHECK(runner().samples == 1);
  }
  CHECK(runner().now == 0);
  CHECK(runner().entered == 2);
  static_cast<void>(queue.track(static_cast<SlotPhase>(9)));
  CHECK(queue.is_idle());
}

TEST_CASE("SlotQueue: leases are timed when asked to, and tell how long a wait will be", "[exec][slot_queue]") {
  ManualClock clock;
  NumberQueue queue({.name = "q", .time_leases = true, .clock = &clock});
  CHECK_FALSE(queue.expected_wait().has_value());
  offer_all(queue, 2);
  CHECK(queue.expected_wait() == Duration::zero());
  {
    const NumberLease lease = queue.acquire();
    clock.advance(100ms);
  }
  const NumberLease one = queue.acquire();
  const NumberLease two = queue.acquire();
  CHECK(queue.expected_wait() == 50ms);
}

TEST_CASE("SlotQueue: what is wrong with the options is said at once", "[exec][slot_queue]") {
  const SlotQueueOptions<Number> bad{
      .name = "", .idle_timeout = 0s, .launch_policy = CombinedLaunch{.at_once = 0}, .clock = nullptr};
  CHECK(absl::IsInvalidArgument(bad.validate()));
  const std::string text = text_of(bad.validate());
  CHECK(
      text ==
      "slot queue '': options.name must be 1 to 256 bytes long, got 0; options.idle_timeout must be positive, got 0 s; "
      "options.clock must be a clock, got null; launch_policy: options.at_once must be at least 1, got 0");
  CHECK_THROWS_AS(NumberQueue(bad), std::invalid_argument);
  CHECK(SlotQueueOptions<Number>{.name = "q"}.validate().ok());
}

}  // namespace
}  // namespace penstock
