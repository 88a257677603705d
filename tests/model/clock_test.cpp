// SPDX-License-Identifier: MIT

// Clocks: a timer fires once or is taken back, never both, and nobody touches it afterwards.

#include "penstock/core/clock.hpp"

#include <array>
#include <chrono>
#include <system_error>

#include "penstock/core/detail/parker.hpp"
#include "penstock/core/manual_clock.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using checker::must_pass;
namespace world = penstock::detail::world;

namespace {

/// Counts, without synchronization: the clock has to order what its callbacks do before `disarm` returns.
struct CountingTimer : Timer {
  CountingTimer() : Timer([](Timer& timer) noexcept { ++static_cast<CountingTimer&>(timer).fired; }) {}
  int fired = 0;
};

/// Falls due every 4 ms. Counts without synchronization, too.
struct Repeating : Timer {
  explicit Repeating(Clock& on)
      : Timer([](Timer& timer) noexcept {
          auto& self = static_cast<Repeating&>(timer);
          ++self.fired;
          TimePoint next = self.clock.now() + 4ms;
          while (!self.clock.arm(self, next)) next += 4ms;  // another thread may have advanced
          ++self.ended;  // armed again, but nobody else runs it before this call has ended
        }),
        clock(on) {}
  Clock& clock;
  int fired = 0;
  int ended = 0;
};

}  // namespace

TEST_CASE("ManualClock: arming and disarming against an advance", "[model][clock]") {
  must_pass({.name = "clock, arm, disarm, advance", .preemptions = 4}, [] {
    ManualClock clock;
    world::Thread advancer([&] { clock.advance(10ms); });
    bool armed = false;
    int fired = 0;
    {
      CountingTimer timer;
      armed = clock.arm(timer, TimePoint(1h + 5ms));
      clock.disarm(timer);
      fired = timer.fired;
    }
    advancer.join();
    MODEL_ASSERT(fired <= (armed ? 1 : 0));
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("ManualClock: an armed timer fires in the advance that makes it due", "[model][clock]") {
  must_pass({.name = "clock, arm against advance", .preemptions = 4}, [] {
    ManualClock clock;
    CountingTimer timer;
    world::Thread advancer([&] { clock.advance(10ms); });
    const bool armed = clock.arm(timer, TimePoint(1h + 5ms));
    advancer.join();
    MODEL_ASSERT(timer.fired == (armed ? 1 : 0));
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("ManualClock: who sees the new time sees what was done before", "[model][clock]") {
  must_pass({.name = "clock, now orders", .preemptions = 4}, [] {
    ManualClock clock;
    int prepared = 0;
    world::Thread advancer([&] {
      prepared = 42;
      clock.advance(10ms);
    });
    if (clock.now() > TimePoint(1h)) MODEL_ASSERT(prepared == 42);
    advancer.join();
  });
}

TEST_CASE("ManualClock: two threads advance", "[model][clock]") {
  must_pass({.name = "clock, two advance", .preemptions = 3}, [] {
    ManualClock clock;
    std::array<CountingTimer, 2> timers;
    MODEL_ASSERT(clock.arm(timers[0], TimePoint(1h + 5ms)));
    world::Thread first([&] { clock.advance(10ms); });
    world::Thread second([&] { clock.advance(7ms); });
    const bool armed = clock.arm(timers[1], TimePoint(1h + 8ms));
    first.join();
    second.join();
    MODEL_ASSERT(timers[0].fired == 1);
    MODEL_ASSERT(timers[1].fired == (armed ? 1 : 0));
    MODEL_ASSERT(clock.now() >= TimePoint(1h + 10ms));
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("ManualClock: two owners and an advance", "[model][clock]") {
  must_pass({.name = "clock, two owners", .preemptions = 3}, [] {
    ManualClock clock;
    const auto own = [&](std::chrono::milliseconds after) {
      CountingTimer timer;
      const bool armed = clock.arm(timer, TimePoint(1h + after));
      clock.disarm(timer);
      MODEL_ASSERT(timer.fired <= (armed ? 1 : 0));
    };
    world::Thread other(own, 3ms);
    world::Thread advancer([&] { clock.advance(10ms); });
    own(5ms);
    other.join();
    advancer.join();
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("ManualClock: a callback arms its timer again while the owner takes it back", "[model][clock]") {
  must_pass({.name = "clock, repeating", .preemptions = 3}, [] {
    ManualClock clock;
    world::Thread advancer;
    {
      Repeating timer(clock);
      MODEL_ASSERT(clock.arm(timer, TimePoint(1h + 4ms)));
      advancer = world::Thread([&] { clock.advance(10ms); });
      clock.disarm(timer);
      MODEL_ASSERT(timer.fired <= 2);
    }
    advancer.join();
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("ManualClock: a timer never runs on two threads at once", "[model][clock]") {
  must_pass({.name = "clock, repeating, two advance", .preemptions = 3}, [] {
    ManualClock clock;
    Repeating timer(clock);
    MODEL_ASSERT(clock.arm(timer, TimePoint(1h + 4ms)));
    world::Thread other([&] { clock.advance(4ms); });
    clock.advance(4ms);
    other.join();
    // It arms itself again unless the other thread has moved time over its next turn meanwhile.
    MODEL_ASSERT(timer.fired >= 1 && timer.fired <= 2 && clock.armed() == 1);
    MODEL_ASSERT(timer.ended == timer.fired);
    clock.disarm(timer);
  });
}

TEST_CASE("ManualClock: all that falls due at the end of an advance fires in it", "[model][clock]") {
  must_pass({.name = "clock, due at the end", .preemptions = 3}, [] {
    ManualClock clock;
    std::array<CountingTimer, 3> timers;
    MODEL_ASSERT(clock.arm(timers[0], TimePoint(1h + 5ms)));
    MODEL_ASSERT(clock.arm(timers[1], TimePoint(1h + 5ms)));
    world::Thread advancer([&] { clock.advance(5ms); });
    const bool armed = clock.arm(timers[2], TimePoint(1h + 5ms));
    advancer.join();
    MODEL_ASSERT(timers[0].fired == 1 && timers[1].fired == 1);
    MODEL_ASSERT(timers[2].fired == (armed ? 1 : 0));
  });
}

TEST_CASE("ManualClock: two threads wait for a callback to end", "[model][clock]") {
  must_pass({.name = "clock, two disarm", .preemptions = 3}, [] {
    ManualClock clock;
    CountingTimer timer;
    MODEL_ASSERT(clock.arm(timer, TimePoint(1h + 5ms)));
    world::Thread advancer([&] { clock.advance(10ms); });
    world::Thread other([&] { clock.disarm(timer); });
    clock.disarm(timer);
    other.join();
    advancer.join();
    MODEL_ASSERT(timer.fired <= 1);
  });
}

TEST_CASE("SteadyClock: its thread starts once, fires, and ends with it", "[model][clock]") {
  must_pass({.name = "steady clock, fire", .preemptions = 3}, [] {
    struct Telling : Timer {
      Telling() : Timer([](Timer& timer) noexcept { static_cast<Telling&>(timer).told.unpark(); }) {}
      detail::Parker told;
    };
    SteadyClock clock;
    Telling timer;
    world::Thread other([&] { clock.start_timers(); });
    clock.start_timers();
    const TimePoint when = world::now() + 5ms;
    if (clock.arm(timer, when)) {
      timer.told.park();
      MODEL_ASSERT(world::now() >= when);
    }
    clock.disarm(timer);
    other.join();
  });
}

TEST_CASE("SteadyClock: a thread that could not be started can be asked for again", "[model][clock]") {
  const auto scenario = [] {
    SteadyClock clock;
    world::Thread other([&] {
      try {
        clock.start_timers();
      } catch (const std::system_error&) {
        clock.start_timers();
      }
    });
    try {
      clock.start_timers();
    } catch (const std::system_error&) {
      clock.start_timers();
    }
    other.join();
  };
  // The first creation is that of the other thread, the second that of the clock's, whoever asks for it.
  must_pass({.name = "steady clock, no thread", .fail_thread = 2}, scenario);
}

TEST_CASE("SteadyClock: arming an earlier timer wakes its thread, and disarming waits", "[model][clock]") {
  must_pass({.name = "steady clock, two timers", .preemptions = 3}, [] {
    SteadyClock clock;
    clock.start_timers();
    std::array<CountingTimer, 2> timers;
    world::Thread other([&] {
      clock.arm(timers[1], world::now() + 3ms);
      clock.disarm(timers[1]);
    });
    clock.arm(timers[0], world::now() + 5ms);
    clock.disarm(timers[0]);
    other.join();
    MODEL_ASSERT(timers[0].fired <= 1 && timers[1].fired <= 1);
  });
}
