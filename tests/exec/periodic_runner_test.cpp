// SPDX-License-Identifier: MIT

// When the functions of a periodic runner are called: at their times, never twice at once, each in nobody else's way.

#include "penstock/exec/periodic_runner.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <vector>

#include "penstock/core/detail/periodic_due.hpp"
#include "penstock/core/manual_clock.hpp"

#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/gate.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using penstock::testing::eventually;
using penstock::testing::Gate;
using penstock::testing::OpenAtEnd;

namespace {

const TimePoint kStart = ManualClock().now();

/// Waits until no call runs, and the thread that starts them sleeps.
bool settle(const PeriodicTask& task, std::uint64_t calls) {
  return eventually([&] {
    const PeriodicTaskStats stats = task.stats();
    return stats.calls >= calls && !stats.is_running;
  });
}

}  // namespace

TEST_CASE("PeriodicRunner: a call at the initial delay, and then one in each interval", "[exec][periodic_runner]") {
  ManualClock clock;
  std::vector<TimePoint> calls;
  PeriodicRunner runner({.clock = &clock});
  PeriodicTask task = *runner.every({.interval = 10s, .initial_delay = 3s}, [&] { calls.push_back(clock.now()); });
  CHECK(task.stats().next_due == kStart + 3s);
  clock.advance(3s - 1ns);
  CHECK(task.stats().next_due == kStart + 3s);  // so it is not due
  clock.advance(1ns);
  REQUIRE(settle(task, 1));
  for (std::uint64_t i = 2; i <= 5; ++i) {
    CHECK(task.stats().next_due == kStart + 3s + (i - 1) * 10s);
    clock.advance(10s - 1ns);
    clock.advance(1ns);
    REQUIRE(settle(task, i));
  }
  task.stop();
  CHECK(calls == std::vector<TimePoint>{kStart + 3s, kStart + 13s, kStart + 23s, kStart + 33s, kStart + 43s});
  const PeriodicTaskStats stats = task.stats();
  CHECK(stats.calls == 5);
  CHECK(stats.overruns + stats.missed + stats.exceptions + stats.timeouts + stats.start_failures == 0);
}

TEST_CASE("PeriodicRunner: without an initial delay the first call is at once", "[exec][periodic_runner]") {
  ManualClock clock;
  std::atomic<int> calls{0};
  PeriodicRunner runner({.clock = &clock});
  PeriodicTask task = *runner.every({}, [&] { ++calls; });
  REQUIRE(settle(task, 1));
  CHECK(calls == 1);
  CHECK(task.stats().next_due == kStart + 30s);
}

TEST_CASE("PeriodicRunner: what falls due during a call is counted and skipped", "[exec][periodic_runner]") {
  ManualClock clock;
  std::array<Gate, 1> gates;
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  PeriodicRunner runner({.clock = &clock});
  PeriodicTask task = *runner.every({.interval = 1s}, [&] {
    most = std::max<int>(most, ++inside);
    gates[0].pass();
    --inside;
  });
  const OpenAtEnd open(gates);
  REQUIRE(gates[0].await(1));
  clock.advance(1s - 1ns);
  CHECK(task.stats().overruns == 0);
  clock.advance(1ns);
  CHECK(task.stats().overruns == 1);
  CHECK(runner.stats().overruns == 1);
  clock.advance(2500ms);
  CHECK(task.stats().overruns == 3);
  CHECK(task.stats().running_for == 3500ms);
  CHECK(task.stats().next_due == kStart + 1s);  // without regard to the call
  gates[0].open();
  REQUIRE(settle(task, 1));
  CHECK(task.stats().overruns == 3);
  CHECK(task.stats().last_took == 3500ms);
  CHECK(task.stats().next_due == kStart + 4s);  // in step
  CHECK(task.stats().calls == 1);
  clock.advance(500ms);
  REQUIRE(settle(task, 2));
  CHECK(most == 1);
}

TEST_CASE("PeriodicRunner: what nobody could look at in time is skipped, in step", "[exec][periodic_runner]") {
  ManualClock clock;
  PeriodicRunner runner({.clock = &clock});
  PeriodicTask task = *runner.every({.interval = 1s, .initial_delay = 1s}, [] {});
  clock.advance(500ms);
  detail::world::Thread([&] { clock.advance(100ms); }).join();
  // One step over seven and a half intervals: the scheduler's own timer fires at the first of them, at least.
  clock.advance(7s);
  REQUIRE(eventually([&] {
    const PeriodicTaskStats stats = task.stats();
    return !stats.is_running && stats.next_due == kStart + 8s && stats.calls + stats.missed + stats.overruns == 7;
  }));
  CHECK(task.stats().calls >= 1);
}

TEST_CASE("PeriodicRunner: calls that hang delay no other task", "[exec][periodic_runner]") {
  ManualClock clock;
  constexpr int kHung = 20;
  std::array<Gate, 1> gates;
  PeriodicRunner runner({.clock = &clock});
  std::vector<PeriodicTask> hung;
  for (int i = 0; i < kHung; ++i) {
    hung.push_back(*runner.every({.name = "hung", .interval = 1s}, [&] { gates[0].pass(); }));
  }
  PeriodicTask healthy = *runner.every({.name = "healthy", .interval = 1s}, [] {});
  const OpenAtEnd open(gates);
  REQUIRE(gates[0].await(kHung));
  REQUIRE(settle(healthy, 1));
  for (std::uint64_t i = 2; i <= 10; ++i) {
    clock.advance(1s);
    REQUIRE(settle(healthy, i));
  }
  const PeriodicRunnerStats stats = runner.stats();
  CHECK(stats.tasks == kHung + 1);
  CHECK(stats.running == kHung);
  CHECK(stats.threads <= kHung + 1 + 10);  // the one that starts calls, and at worst one for each healthy call
  CHECK(stats.overruns == kHung * 9);
  CHECK(stats.missed == 0);
  CHECK(stats.calls == kHung + 10);
}

TEST_CASE("PeriodicRunner: threads are used again, and end when they are idle", "[exec][periodic_runner]") {
  std::atomic<int> calls{0};
  ManualClock clock;
  PeriodicRunner runner({.clock = &clock, .thread_idle_timeout = Duration::zero()});
  PeriodicTask task = *runner.every({}, [&] { ++calls; });
  REQUIRE(settle(task, 1));
  CHECK(eventually([&] { return runner.stats().threads == 1; }));
  PeriodicRunner lasting({.clock = &clock, .thread_idle_timeout = Duration::max()});
  std::vector<PeriodicTask> tasks;
  for (int i = 0; i < 50; ++i) {
    tasks.push_back(*lasting.every({.interval = 1h}, [&] { ++calls; }));
    REQUIRE(settle(tasks.back(), 1));
    REQUIRE(eventually([&] { return lasting.stats().idle_threads == 1; }));
  }
  CHECK(calls == 51);
  CHECK(lasting.stats().threads == 2);
}

TEST_CASE("PeriodicRunner: run_now makes an idle task due, and the next call an interval later",
          "[exec][periodic_runner]") {
  ManualClock clock;
  PeriodicRunner runner({.clock = &clock});
  PeriodicTask task = *runner.every({.interval = 10s, .initial_delay = Duration::max()}, [] {});
  CHECK(task.stats().next_due == TimePoint::max());
  clock.advance(1h);
  task.run_now();
  REQUIRE(settle(task, 1));
  CHECK(task.stats().next_due == clock.now() + 10s);
  clock.advance(4s);
  task.run_now();
  REQUIRE(settle(task, 2));
  CHECK(task.stats().next_due == clock.now() + 10s);
  CHECK(task.stats().calls == 2);
}

TEST_CASE("PeriodicRunner: run_now during a call has one more follow it", "[exec][periodic_runner]") {
  ManualClock clock;
  std::array<Gate, 1> gates;
  PeriodicRunner runner({.clock = &clock});
  PeriodicTask task = *runner.every({.interval = 10s}, [&] { gates[0].pass(); });
  const OpenAtEnd open(gates);
  REQUIRE(gates[0].await(1));
  task.run_now();
  task.run_now();
  clock.advance(3s);
  CHECK(task.stats().calls == 1);
  gates[0].open();
  REQUIRE(settle(task, 2));
  CHECK(task.stats().calls == 2);
  CHECK(task.stats().next_due == kStart + 13s);
}

TEST_CASE("PeriodicRunner: a new interval counts from the last call", "[exec][periodic_runner]") {
  ManualClock clock;
  PeriodicRunner runner({.clock = &clock});
  PeriodicTask task = *runner.every({.interval = 10s}, [] {});
  REQUIRE(settle(task, 1));
  clock.advance(2s);
  REQUIRE(task.set_interval(5s).ok());
  CHECK(task.stats().next_due == kStart + 5s);
  REQUIRE(task.set_interval(1h).ok());
  CHECK(task.stats().next_due == kStart + 1h);
  CHECK(task.stats().calls == 1);
  REQUIRE(task.set_interval(1s).ok());  // has passed
  REQUIRE(settle(task, 2));
  CHECK(task.stats().next_due == kStart + 3s);
  CHECK(task.options().interval == 1s);
  clock.advance(1s);
  REQUIRE(settle(task, 3));
}

TEST_CASE("PeriodicRunner: a new interval leaves the first call, and one that was asked for",
          "[exec][periodic_runner]") {
  ManualClock clock;
  std::array<Gate, 1> gates;
  PeriodicRunner runner({.clock = &clock});
  PeriodicTask first = *runner.every({.interval = 10s, .initial_delay = 3s}, [] {});
  REQUIRE(first.set_interval(1s).ok());
  CHECK(first.stats().next_due == kStart + 3s);

  PeriodicTask asked = *runner.every({.interval = 10s}, [&] { gates[0].pass(); });
  const OpenAtEnd open(gates);
  REQUIRE(gates[0].await(1));
  clock.advance(25s);
  asked.run_now();
  REQUIRE(asked.set_interval(1h).ok());
  CHECK(asked.stats().overruns == 2);  // of the old interval
  CHECK(asked.stats().next_due == kStart + 1h);
  gates[0].open();
  REQUIRE(settle(asked, 2));
  CHECK(asked.stats().next_due == kStart + 25s + 1h);
  CHECK(asked.stats().overruns == 2);
}

TEST_CASE("PeriodicRunner: a new interval during a call counts nothing that it would have skipped",
          "[exec][periodic_runner]") {
  ManualClock clock;
  std::array<Gate, 1> gates;
  PeriodicRunner runner({.clock = &clock});
  PeriodicTask task = *runner.every({.interval = 10s}, [&] { gates[0].pass(); });
  const OpenAtEnd open(gates);
  REQUIRE(gates[0].await(1));
  clock.advance(5500ms);
  REQUIRE(task.set_interval(1s).ok());
  CHECK(task.stats().overruns == 0);
  CHECK(task.stats().next_due == kStart + 6s);
  clock.advance(500ms);
  CHECK(task.stats().overruns == 1);
  gates[0].open();
  REQUIRE(settle(task, 1));
  CHECK(task.stats().next_due == kStart + 7s);
}

// --- the arithmetic ---

TEST_CASE("PeriodicRunner: jitter moves each call by at most its part of the interval", "[exec][periodic_runner]") {
  ManualClock clock;
  PeriodicRunner runner({.clock = &clock});
  std::vector<PeriodicTask> tasks;
  double sum = 0;
  Duration least = 1h;
  Duration most{};
  for (int i = 0; i < 200; ++i) {
    tasks.push_back(*runner.every({.interval = 100s, .jitter = 0.1}, [] {}));
    REQUIRE(settle(tasks.back(), 1));
    const Duration gap = tasks.back().stats().next_due - kStart;
    CHECK(gap >= 90s);
    CHECK(gap <= 110s);
    least = std::min(least, gap);
    most = std::max(most, gap);
    sum += std::chrono::duration<double>(gap).count();
  }
  CHECK(least < 92s);
  CHECK(most > 108s);
  CHECK(std::abs(sum / 200 - 100) < 2);  // five standard deviations
}

TEST_CASE("PeriodicRunner: due times are those of a naive count", "[exec][periodic_runner]") {
  std::mt19937_64 random(7);
  for (int round = 0; round < 20'000; ++round) {
    const auto below = [&](std::uint64_t bound) { return static_cast<Duration::rep>(random() % bound); };
    const Duration interval(1 + below(50));
    const TimePoint due{Duration(below(1000) - 500)};
    const TimePoint now = due + Duration(below(2000));
    const double jitter = round % 3 == 0 ? 0 : static_cast<double>(below(101)) / 100;
    const double step = static_cast<double>(below(2001)) / 1000 - 1;
    std::uint64_t times = 0;
    TimePoint last = due;
    for (TimePoint at = due; at <= now; at += interval, ++times) last = at;
    const detail::PeriodicDue got = detail::periodic_due(due, now, interval, jitter, step);
    REQUIRE(got.times == times);
    REQUIRE(got.last == last);
    REQUIRE(got.next > now);
    REQUIRE(got.next <= last + interval + interval);
    if (jitter == 0) REQUIRE(got.next == last + interval);
    const double gap = static_cast<double>((got.next - last).count());
    const double wanted = static_cast<double>(interval.count()) * (1 + jitter * step);
    const bool as_wanted = std::abs(gap - wanted) <= 1;
    const bool one_later = std::abs(gap - wanted - static_cast<double>(interval.count())) <= 1;
    REQUIRE((as_wanted || one_later));
  }
}

TEST_CASE("PeriodicRunner: due times at the ends of time", "[exec][periodic_runner]") {
  const auto forever = detail::periodic_due(kStart, kStart + 1h, Duration::max(), 0, 0);
  CHECK(forever.times == 1);
  CHECK(forever.next == TimePoint::max());
  const auto ages = detail::periodic_due(TimePoint::min(), TimePoint::max(), 1ns, 1, -1);
  CHECK(ages.times == 0);  // 2^64: it has come round
  CHECK(ages.next == TimePoint::max());
  CHECK(detail::jittered(Duration::max(), 1, 1) == Duration::max());
  CHECK(detail::jittered(10s, 1, -1) == 0s);
  CHECK(detail::jittered(10s, 0, 1) == 10s);
}

TEST_CASE("PeriodicRunner: an interval for ever, and one of a nanosecond", "[exec][periodic_runner]") {
  std::atomic<int> calls{0};
  PeriodicRunner runner;
  PeriodicTask once = *runner.every({.interval = Duration::max()}, [] {});
  PeriodicTask often = *runner.every({.interval = 1ns}, [&] { ++calls; });
  REQUIRE(eventually([&] { return calls >= 100; }));
  often.stop();
  REQUIRE(settle(once, 1));
  CHECK(once.stats().next_due == TimePoint::max());
}
