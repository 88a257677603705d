// SPDX-License-Identifier: MIT

// Slots that are idle for too long: from the bottom, to the nanosecond, with one timer.

#include <stdexcept>
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
using testing::offer_all;
using testing::value_of;

struct Expiring {
  explicit Expiring(std::size_t min_idle = 0)
      : queue({.name = "q",
               .idle_timeout = 30s,
               .min_idle = min_idle,
               .on_retired = [this](Number&& slot, SlotEnd end) { ended.emplace_back(*slot, end); },
               .clock = &clock}) {}

  std::vector<std::pair<int, SlotEnd>> ended;
  ManualClock clock;
  NumberQueue queue;
};

using Ends = std::vector<std::pair<int, SlotEnd>>;

TEST_CASE("SlotQueue: a slot that is idle for too long expires, to the nanosecond", "[exec][slot_queue]") {
  Expiring at;
  REQUIRE(at.queue.offer(number(1)).ok());
  at.clock.advance(30s - 1ns);
  CHECK(at.ended.empty());
  at.clock.advance(1ns);
  CHECK(at.ended == Ends{{1, SlotEnd::kExpired}});
  CHECK(at.queue.is_idle());
  CHECK(at.clock.armed() == 0);
  CHECK(discrepancies(at.queue.stats()).empty());
}

TEST_CASE("SlotQueue: the bottom expires first, each in its time, with one timer", "[exec][slot_queue]") {
  Expiring at;
  for (int i = 0; i != 100; ++i) {
    REQUIRE(at.queue.offer(number(i)).ok());
    at.clock.advance(100ms);
  }
  CHECK(at.clock.armed() == 1);
  at.clock.advance(20s - 1ns);
  CHECK(at.ended.empty());
  at.clock.advance(1ns);
  CHECK(at.ended.size() == 1);
  at.clock.advance(950ms);
  CHECK(at.ended.size() == 10);
  CHECK(at.clock.armed() == 1);
  at.clock.advance(1h);
  REQUIRE(at.ended.size() == 100);
  for (int i = 0; i != 100; ++i) CHECK(at.ended[static_cast<std::size_t>(i)].first == i);
  CHECK(at.queue.stats().expired == 100);
}

TEST_CASE("SlotQueue: use keeps a slot young, and those below it grow old", "[exec][slot_queue]") {
  Expiring at;
  offer_all(at.queue, 3);
  for (int i = 0; i != 10; ++i) {
    at.clock.advance(10s);
    CHECK(value_of(at.queue.acquire()) == 2);
  }
  CHECK(at.ended == Ends{{0, SlotEnd::kExpired}, {1, SlotEnd::kExpired}});
  CHECK(at.queue.size() == 1);
}

TEST_CASE("SlotQueue: a leased slot does not expire", "[exec][slot_queue]") {
  Expiring at;
  offer_all(at.queue, 1);
  NumberLease lease = at.queue.acquire();
  at.clock.advance(1h);
  CHECK(at.ended.empty());
  CHECK(at.clock.armed() == 0);
  lease->reset();
  at.clock.advance(30s - 1ns);
  CHECK(at.ended.empty());
  at.clock.advance(1ns);
  CHECK(at.ended.size() == 1);
}

TEST_CASE("SlotQueue: so many stay, however old", "[exec][slot_queue]") {
  Expiring at(2);
  offer_all(at.queue, 5);
  at.clock.advance(1h);
  CHECK(at.ended == Ends{{0, SlotEnd::kExpired}, {1, SlotEnd::kExpired}, {2, SlotEnd::kExpired}});
  CHECK(at.queue.size() == 2);
  CHECK(at.clock.armed() == 0);
  // One more, and the oldest is too old already.
  REQUIRE(at.queue.offer(number(9)).ok());
  CHECK(at.queue.size() == 2);
  CHECK(at.ended.back().first == 3);
}

TEST_CASE("SlotQueue: expiry ends with the queue", "[exec][slot_queue]") {
  ManualClock clock;
  Ends ended;
  {
    NumberQueue queue({.name = "q",
                       .idle_timeout = 1s,
                       .on_retired = [&](Number&& slot, SlotEnd end) { ended.emplace_back(*slot, end); },
                       .clock = &clock});
    offer_all(queue, 2);
    CHECK(clock.armed() == 1);
  }
  CHECK(clock.armed() == 0);
  CHECK(ended == Ends{{0, SlotEnd::kClosed}, {1, SlotEnd::kClosed}});
}

TEST_CASE("SlotQueue: a slot that expires may be offered again from there", "[exec][slot_queue]") {
  ManualClock clock;
  int rounds = 0;
  std::unique_ptr<NumberQueue> queue;
  queue = std::make_unique<NumberQueue>(SlotQueueOptions<Number>{.name = "q",
                                                                 .idle_timeout = 1s,
                                                                 .on_retired =
                                                                     [&](Number&& slot, SlotEnd end) {
                                                                       ++rounds;
                                                                       if (end == SlotEnd::kExpired && rounds == 5)
                                                                         return queue.reset();
                                                                       if (end == SlotEnd::kExpired)
                                                                         CHECK(queue->offer(std::move(slot)).ok());
                                                                     },
                                                                 .clock = &clock});
  REQUIRE(queue->offer(number(1)).ok());
  clock.advance(10s);
  CHECK(rounds == 5);
  CHECK(queue == nullptr);
  CHECK(clock.armed() == 0);
}

/// A clock that can be put back.
class UnsteadyClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override { return now_; }
  void start_timers() override {}
  bool arm(Timer& /*timer*/, TimePoint when) noexcept override { return when > now_; }
  void disarm(Timer& /*timer*/) noexcept override {}
  void set(TimePoint time) { now_ = time; }

 private:
  TimePoint now_{1h};
};

TEST_CASE("SlotQueue: a clock that steps back is harmless", "[exec][slot_queue]") {
  UnsteadyClock clock;
  NumberQueue queue({.name = "q", .idle_timeout = 1s, .time_leases = true, .clock = &clock});
  RunLoop loop;
  auto waiting = spawn(loop, acquire_in(queue));
  loop.run_ready();
  clock.set(TimePoint(1min));
  CHECK(queue.stats().oldest_wait == Duration::zero());
  REQUIRE(queue.offer(number(1)).ok());
  loop.run_ready();
  {
    const NumberLease lease = waiting.get();
    clock.set(TimePoint(1s));
  }
  CHECK(queue.size() == 1);
  for (const SlotPhaseStats& phase : queue.stats().phases) CHECK(phase.mean == Duration::zero());
  CHECK(queue.needs_slot() == false);
}

TEST_CASE("SlotQueue: a clock that steps back does not hold launches up until it has caught up", "[exec][slot_queue]") {
  for (const CombinedLaunch policy : {CombinedLaunch{.interval = 1s}, CombinedLaunch{.patience = 1s}}) {
    UnsteadyClock clock;
    RunLoop loop;
    std::vector<LaunchTicket<Number>> tickets;
    NumberQueue queue({.name = "q",
                       .launch = [&](LaunchTicket<Number> ticket) { tickets.push_back(std::move(ticket)); },
                       .launch_policy = policy,
                       .clock = &clock});
    std::vector<JoinHandle<NumberLease>> waiting;
    const auto wait = [&] {
      waiting.push_back(spawn(loop, acquire_in(queue)));
      loop.run_ready();
    };
    wait();
    const std::size_t before = tickets.size();
    clock.set(TimePoint(1min));
    wait();
    CHECK(tickets.size() == before);
    clock.set(TimePoint(1min + 1s));
    wait();
    CHECK(tickets.size() > before);
    queue.close();
    loop.run_ready();
  }
}

}  // namespace
}  // namespace penstock
