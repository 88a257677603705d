// SPDX-License-Identifier: MIT
#include "penstock/core/manual_clock.hpp"

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/rounds.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;

struct CountingTimer : Timer {
  CountingTimer() : Timer([](Timer& timer) noexcept { ++static_cast<CountingTimer&>(timer).fired; }) {}
  std::atomic<int> fired{0};
};

TEST_CASE("ManualClock: stands still until advanced", "[core][manual_clock]") {
  ManualClock clock(TimePoint(7s));
  CHECK(clock.now() == TimePoint(7s));
  clock.advance(3s);
  CHECK(clock.now() == TimePoint(10s));
  clock.advance(-3s);
  CHECK(clock.now() == TimePoint(10s));
}

TEST_CASE("ManualClock: stops just before the end of time, which as a deadline never comes", "[core][manual_clock]") {
  ManualClock clock;
  CountingTimer last;
  CountingTimer never;
  REQUIRE(clock.arm(last, TimePoint::max() - 1ns));
  REQUIRE(clock.arm(never, TimePoint::max()));
  clock.advance(Duration::max());
  clock.advance(1ns);
  CHECK((clock.now() == TimePoint::max() - 1ns));
  CHECK((ManualClock(TimePoint::max()).now() == TimePoint::max() - 1ns));
  CHECK(last.fired == 1);
  CHECK(never.fired == 0);
  CHECK_FALSE(clock.arm(last, clock.now()));
}

TEST_CASE("ManualClock: calls what falls due, in order, at its own time", "[core][manual_clock]") {
  ManualClock clock(TimePoint(0s));
  struct SeeTime : Timer {
    SeeTime(ManualClock& on, std::vector<TimePoint>& times)
        : Timer([](Timer& timer) noexcept {
            auto& self = static_cast<SeeTime&>(timer);
            self.seen.push_back(self.clock.now());
          }),
          clock(on),
          seen(times) {}
    ManualClock& clock;
    std::vector<TimePoint>& seen;
  };
  std::vector<TimePoint> seen;
  SeeTime late(clock, seen);
  SeeTime early(clock, seen);
  SeeTime never(clock, seen);
  REQUIRE(clock.arm(late, TimePoint(5s)));
  REQUIRE(clock.arm(early, TimePoint(2s)));
  REQUIRE(clock.arm(never, TimePoint(6s)));
  CHECK(clock.armed() == 3);
  clock.advance(5s);
  CHECK(seen == std::vector<TimePoint>{TimePoint(2s), TimePoint(5s)});
  CHECK(clock.armed() == 1);
  clock.disarm(never);
  clock.advance(5s);
  CHECK(seen.size() == 2);
}

TEST_CASE("ManualClock: what is due already is not armed", "[core][manual_clock]") {
  ManualClock clock(TimePoint(5s));
  CountingTimer timer;
  CHECK_FALSE(clock.arm(timer, TimePoint(5s)));
  CHECK_FALSE(clock.arm(timer, TimePoint(4s)));
  CHECK(clock.armed() == 0);
  clock.advance(1h);
  CHECK(timer.fired == 0);
}

TEST_CASE("ManualClock: a timer that arms itself again falls due again in one advance", "[core][manual_clock]") {
  struct Metronome : Timer {
    explicit Metronome(ManualClock& on)
        : Timer([](Timer& timer) noexcept {
            auto& self = static_cast<Metronome&>(timer);
            ++self.beats;
            self.clock.arm(self, self.clock.now() + 1s);
          }),
          clock(on) {}
    ManualClock& clock;
    int beats = 0;
  };
  ManualClock clock(TimePoint(0s));
  Metronome metronome(clock);
  REQUIRE(clock.arm(metronome, TimePoint(1s)));
  clock.advance(10s + 500ms);
  CHECK(metronome.beats == 10);
  clock.disarm(metronome);
}

TEST_CASE("ManualClock: a callback may advance it, and that comes on top", "[core][manual_clock]") {
  struct Working : Timer {
    Working(ManualClock& on, std::vector<TimePoint>& times, Duration duration)
        : Timer([](Timer& timer) noexcept {
            auto& self = static_cast<Working&>(timer);
            self.seen.push_back(self.clock.now());
            self.clock.advance(self.takes);
            self.seen.push_back(self.clock.now());
          }),
          clock(on),
          seen(times),
          takes(duration) {}
    ManualClock& clock;
    std::vector<TimePoint>& seen;
    const Duration takes;
  };
  ManualClock clock(TimePoint(0s));
  std::vector<TimePoint> seen;
  Working first(clock, seen, 5s);
  Working second(clock, seen, 1s);  // falls due while the first one works
  REQUIRE(clock.arm(first, TimePoint(2s)));
  REQUIRE(clock.arm(second, TimePoint(4s)));
  clock.advance(3s);
  CHECK((seen == std::vector<TimePoint>{TimePoint(2s), TimePoint(4s), TimePoint(5s), TimePoint(8s)}));
  CHECK((clock.now() == TimePoint(9s)));
}

TEST_CASE("ManualClock: advances of several threads add up", "[core][manual_clock][stress]") {
  struct Yielding : Timer {
    explicit Yielding(ManualClock& on)
        : Timer([](Timer& timer) noexcept {
            auto& self = static_cast<Yielding&>(timer);
            std::this_thread::yield();  // so that the other thread comes in the middle of an advance
            self.clock.arm(self, self.clock.now() + 2ns);
          }),
          clock(on) {}
    ManualClock& clock;
  };
  ManualClock clock(TimePoint(0s));
  Yielding timer(clock);
  REQUIRE(clock.arm(timer, TimePoint(2ns)));
  constexpr int kSteps = 2000;
  const auto advance = [&] {
    for (int i = 0; i < kSteps; ++i) clock.advance(5ns);
  };
  std::thread other(advance);
  advance();
  other.join();
  clock.disarm(timer);
  CHECK((clock.now() == TimePoint(2 * kSteps * 5ns)));
}

TEST_CASE("ManualClock: two threads that advance never run one callback at once", "[core][manual_clock]") {
  struct Overlapping : Timer {
    explicit Overlapping(ManualClock& on)
        : Timer([](Timer& timer) noexcept {
            auto& self = static_cast<Overlapping&>(timer);
            if (++self.inside > 1) self.overlapped = true;
            if (++self.calls == 1) {
              self.clock.arm(self, self.clock.now() + 1s);
              for (int i = 0; i < 20000 && !self.overlapped; ++i) std::this_thread::yield();
            }
            --self.inside;
          }),
          clock(on) {}
    ManualClock& clock;
    std::atomic<int> inside{0};
    std::atomic<int> calls{0};
    std::atomic<bool> overlapped{false};
  };
  ManualClock clock;
  Overlapping timer(clock);
  REQUIRE(clock.arm(timer, clock.now() + 1s));
  std::thread first([&] { clock.advance(1s); });
  REQUIRE(testing::eventually([&] { return timer.calls == 1; }));
  clock.advance(1s);  // falls due again in this thread
  first.join();
  CHECK(timer.calls == 2);
  CHECK_FALSE(timer.overlapped);
}

TEST_CASE("ManualClock: a timer may be gone before arming it has returned", "[core][manual_clock][stress]") {
  struct Transient : Timer {
    Transient() : Timer([](Timer& timer) noexcept { delete static_cast<Transient*>(&timer); }) {}
    static void operator delete(void* memory) {
      std::memset(memory, 0xff, sizeof(Transient));  // shows a late touch without a sanitizer
      ::operator delete(memory);
    }
  };
  for (testing::Rounds rounds(3000); rounds.next();) {
    ManualClock clock(TimePoint(0s));
    auto timer = std::make_unique<Transient>();
    testing::Meeting meeting(2);
    std::thread advancing([&] {
      meeting.arrive();
      clock.advance(1s);
    });
    meeting.arrive();
    Transient* const raw = timer.release();
    const bool armed = clock.arm(*raw, TimePoint(1s));
    advancing.join();
    if (!armed) delete raw;
    REQUIRE(clock.armed() == 0);
  }
}

TEST_CASE("ManualClock: arming races with advancing and no timer is forgotten", "[core][manual_clock][stress]") {
  for (testing::Rounds rounds(2000); rounds.next();) {
    ManualClock clock(TimePoint(0s));
    CountingTimer timer;
    std::atomic<bool> armed{false};
    std::thread arming([&] { armed = clock.arm(timer, TimePoint(1s)); });
    clock.advance(1s);
    arming.join();
    // Reported as due, or fired: one of the two, not none and not both.
    REQUIRE((armed ? timer.fired == 1 : timer.fired == 0));
    REQUIRE(clock.armed() == 0);
  }
}

}  // namespace
}  // namespace penstock
