// SPDX-License-Identifier: MIT
#include "penstock/core/clock.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <ratio>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/detail/timer_queue.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using Seconds = std::chrono::duration<double>;

/// Writes its number into a log when it fires.
struct LoggedTimer : Timer {
  LoggedTimer(int number, std::vector<int>& log)
      : Timer([](Timer& timer) noexcept {
          auto& self = static_cast<LoggedTimer&>(timer);
          self.log_.push_back(self.number_);
        }),
        number_(number),
        log_(log) {}

 private:
  const int number_;
  std::vector<int>& log_;
};

struct CountingTimer : Timer {
  CountingTimer() : Timer([](Timer& timer) noexcept { ++static_cast<CountingTimer&>(timer).fired; }) {}
  std::atomic<int> fired{0};
};

TEST_CASE("Clock: durations saturate instead of overflowing", "[core][clock]") {
  CHECK(saturated(5ms) == 5ms);
  CHECK(saturated(-5ms) == -5ms);
  CHECK(saturated(std::chrono::hours::max()) == Duration::max());
  CHECK(saturated(std::chrono::hours::min()) == Duration::min());
  CHECK(saturated(Duration::max()) == Duration::max());
  CHECK(saturated(Seconds(0.25)) == 250ms);
  CHECK(saturated(Seconds(std::numeric_limits<double>::infinity())) == Duration::max());
  CHECK(saturated(Seconds(-std::numeric_limits<double>::infinity())) == Duration::min());
  CHECK(saturated(Seconds(std::nan(""))) == Duration::zero());
}

TEST_CASE("Clock: floating durations next to the end are not rounded past it", "[core][clock]") {
  // The nearest numbers below the end that a cast in their own type would round up to 2^63 nanoseconds, which is none.
  const std::chrono::duration<double, std::milli> milliseconds(9223372036854.775);
  CHECK(saturated(milliseconds) > Duration::max() - 1us);
  CHECK(saturated(-milliseconds) < Duration::min() + 1us);
  CHECK(saturated(std::chrono::duration<float>(9223371776.0F)) == 9223371776s);
  CHECK(saturated(std::chrono::duration<float>(-9223371776.0F)) == -9223371776s);
}

TEST_CASE("Clock: durations in odd units do not overflow on the way", "[core][clock]") {
  using Frames = std::chrono::duration<std::int64_t, std::ratio<1, 60>>;
  CHECK(saturated(Frames(1)) == 16666666ns);
  CHECK(saturated(Frames(std::int64_t{60} * 3600 * 24 * 365 * 200)) == std::chrono::hours(24 * 365 * 200));
  CHECK(saturated(Frames::max()) == Duration::max());
  CHECK(saturated(Frames::min()) == Duration::min());
  CHECK(saturated(std::chrono::duration<std::uint64_t, std::nano>::max()) == Duration::max());
  CHECK(saturated(std::chrono::duration<std::int64_t, std::pico>(-1999)) == -1ns);
  // Nothing else is rounded.
  CHECK(saturated(Duration::max() - 1ns) == Duration::max() - 1ns);
  CHECK(saturated(Duration::min() + 1ns) == Duration::min() + 1ns);
}

TEST_CASE("Clock: time saturates at both ends", "[core][clock]") {
  const TimePoint middle(10s);
  CHECK(saturated_add(middle, 5s) == TimePoint(15s));
  CHECK(saturated_add(middle, -15s) == TimePoint(-5s));
  CHECK(saturated_add(middle, Duration::max()) == TimePoint::max());
  CHECK(saturated_add(middle, Duration::max() - 10s) == TimePoint::max());
  CHECK(saturated_add(TimePoint::max(), Duration::max()) == TimePoint::max());
  CHECK(saturated_add(TimePoint(-10s), Duration::min()) == TimePoint::min());
  CHECK(saturated_add(TimePoint::min(), Duration::min()) == TimePoint::min());
  CHECK(saturated_add(TimePoint::min(), Duration::max()) == TimePoint(-1ns));
}

TEST_CASE("TimerQueue: fires in the order of deadlines, then of arming", "[core][clock]") {
  std::mt19937 random(20240229);
  for (int round = 0; round < 200; ++round) {
    detail::TimerQueue queue;
    std::vector<int> log;
    std::vector<std::unique_ptr<LoggedTimer>> timers;
    std::vector<std::pair<TimePoint, int>> expected;
    const int count = 1 + static_cast<int>(random() % 60);
    for (int i = 0; i < count; ++i) {
      timers.push_back(std::make_unique<LoggedTimer>(i, log));
      const TimePoint when(Duration(random() % 20));
      queue.add(*timers.back(), when);
      expected.emplace_back(when, i);
    }
    for (int i = 0; i < count; ++i) {
      if (random() % 3 == 0) {
        queue.remove(*timers[static_cast<std::size_t>(i)]);
        std::erase_if(expected, [i](const auto& entry) { return entry.second == i; });
      }
    }
    std::sort(expected.begin(), expected.end());
    REQUIRE(queue.size() == expected.size());
    REQUIRE(queue.next() == (expected.empty() ? TimePoint::max() : expected.front().first));
    while (queue.fire_one(TimePoint(20ns))) {
    }
    std::vector<int> order;
    for (const auto& entry : expected) order.push_back(entry.second);
    REQUIRE(log == order);
  }
}

TEST_CASE("TimerQueue: armed, taken out and fired at random it is a sorted list", "[core][clock]") {
  std::mt19937 random(20240301);
  detail::TimerQueue queue;
  std::vector<int> log;
  std::vector<std::unique_ptr<LoggedTimer>> timers;
  for (int i = 0; i < 40; ++i) timers.push_back(std::make_unique<LoggedTimer>(i, log));
  std::vector<std::pair<TimePoint, int>> armed;  // in the order of arming
  TimePoint now{};
  for (int step = 0; step < 20000; ++step) {
    const int number = static_cast<int>(random() % timers.size());
    LoggedTimer& timer = *timers[static_cast<std::size_t>(number)];
    const auto mine = std::find_if(armed.begin(), armed.end(), [=](const auto& each) { return each.second == number; });
    if (mine == armed.end()) {
      armed.emplace_back(now + Duration(random() % 30), number);
      queue.add(timer, armed.back().first);
    } else if (random() % 3 == 0) {
      armed.erase(mine);
      queue.remove(timer);
    } else {
      const auto first =
          std::min_element(armed.begin(), armed.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
      now = first->first;
      log.clear();
      REQUIRE(queue.fire_one(now));
      REQUIRE(log == std::vector<int>{first->second});
      armed.erase(first);
    }
    REQUIRE(queue.size() == armed.size());
  }
}

TEST_CASE("TimerQueue: fires nothing before its time", "[core][clock]") {
  detail::TimerQueue queue;
  CountingTimer timer;
  CHECK(queue.add(timer, TimePoint(5ns)) == detail::TimerQueue::Added::kFirst);
  CHECK_FALSE(queue.fire_one(TimePoint(4ns)));
  CHECK(queue.fire_one(TimePoint(5ns)));
  CHECK_FALSE(queue.fire_one(TimePoint(5ns)));
  CHECK(timer.fired == 1);
  CHECK(queue.add(timer, TimePoint::max()) == detail::TimerQueue::Added::kNever);
  CHECK(queue.size() == 0);
}

TEST_CASE("TimerQueue: remove waits for a callback that runs in another thread", "[core][clock]") {
  struct SlowTimer : Timer {
    SlowTimer()
        : Timer([](Timer& timer) noexcept {
            auto& self = static_cast<SlowTimer&>(timer);
            self.entered = true;
            while (!self.release) std::this_thread::yield();
            self.left = true;
          }) {}
    std::atomic<bool> entered{false};
    std::atomic<bool> release{false};
    std::atomic<bool> left{false};
  };
  detail::TimerQueue queue;
  SlowTimer timer;
  queue.add(timer, TimePoint{});
  std::thread firing([&] { queue.fire_one(TimePoint{}); });
  REQUIRE(testing::eventually([&] { return timer.entered.load(); }));
  std::atomic<bool> removed{false};
  std::atomic<bool> left_when_removed{false};
  std::thread removing([&] {
    queue.remove(timer);
    left_when_removed = timer.left.load();
    removed = true;
  });
  for (int i = 0; i < 1000; ++i) std::this_thread::yield();
  CHECK_FALSE(removed);
  timer.release = true;
  removing.join();
  firing.join();
  CHECK(left_when_removed);
}

TEST_CASE("TimerQueue: a callback may remove and destroy its own timer", "[core][clock]") {
  struct SuicidalTimer : Timer {
    explicit SuicidalTimer(detail::TimerQueue& owner)
        : Timer([](Timer& timer) noexcept {
            auto& self = static_cast<SuicidalTimer&>(timer);
            self.queue.remove(self);
            delete &self;
          }),
          queue(owner) {}
    detail::TimerQueue& queue;
  };
  detail::TimerQueue queue;
  queue.add(*new SuicidalTimer(queue), TimePoint{});
  CHECK(queue.fire_one(TimePoint{}));
  CHECK(queue.size() == 0);
}

TEST_CASE("SteadyClock: fires on its own thread, after the deadline, in order", "[core][clock]") {
  SteadyClock clock;
  clock.start_timers();
  std::vector<int> log;
  LoggedTimer first(1, log);
  LoggedTimer second(2, log);
  CountingTimer last;
  const TimePoint start = clock.now();
  REQUIRE(clock.arm(second, start + 4ms));
  REQUIRE(clock.arm(first, start + 3ms));
  REQUIRE(clock.arm(last, start + 5ms));
  REQUIRE(testing::eventually([&] { return last.fired == 1; }));
  CHECK(clock.now() >= start + 5ms);
  clock.disarm(last);
  CHECK(log == std::vector<int>{1, 2});
}

TEST_CASE("SteadyClock: goes with its thread, timers armed or not", "[core][clock]") {
  CountingTimer timer;
  {
    SteadyClock unused;
    SteadyClock clock;
    clock.start_timers();
    clock.start_timers();
    REQUIRE(clock.arm(timer, clock.now() + 1h));
    clock.disarm(timer);
    CHECK_FALSE(clock.arm(timer, clock.now()));
  }
  CHECK(timer.fired == 0);
}

}  // namespace
}  // namespace penstock
