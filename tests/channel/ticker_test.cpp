// SPDX-License-Identifier: MIT

#include "penstock/channel/ticker.hpp"

#include <chrono>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "penstock/core/detail/timer_queue.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace testing;

constexpr TimePoint kFirst = TimePoint::min();
constexpr TimePoint kLast = TimePoint::max() - 1ns;  // where a ManualClock stops

/// The tick that is there, or nothing.
std::optional<TimePoint> got(Channel<TimePoint>& channel) { return channel.try_receive().value; }

/// How long after `start` the tick was sent that is there; -1 ns if there is none.
Duration since(TimePoint start, Channel<TimePoint>& channel) {
  const std::optional<TimePoint> tick = got(channel);
  return tick ? *tick - start : Duration(-1);
}

template <class Period>
std::string complaint(Period period) {
  try {
    const Ticker ticker(period);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "none";
}

/// A clock that calls late: time jumps, and what fell due is called afterwards. Arming takes time, too.
class LateClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override { return now_; }
  void start_timers() override {}
  bool arm(Timer& timer, TimePoint when) noexcept override {
    ++arms;
    now_ = saturated_add(now_, cost_of_arming);
    return timers_.add_unless_due(timer, when, *this);
  }
  void disarm(Timer& timer) noexcept override { timers_.remove(timer); }

  void jump(Duration duration) { now_ += duration; }
  /// How many were called.
  int call_due() {
    int called = 0;
    while (timers_.fire_one(now_)) ++called;
    return called;
  }
  [[nodiscard]] TimePoint next() const { return timers_.next(); }

  Duration cost_of_arming{0};
  int arms = 0;

 private:
  detail::TimerQueue timers_;
  TimePoint now_{1h};
};

TEST_CASE("Ticker: a period that is not above zero is refused, with the figure", "[channel][ticker]") {
  CHECK(complaint(0s) == "ticker: period must be at least 1 ns, got 0 ns");
  CHECK(complaint(-5ms) == "ticker: period must be at least 1 ns, got -5000000 ns");
  CHECK(complaint(std::chrono::duration<double, std::nano>(0.5)) == "ticker: period must be at least 1 ns, got 0 ns");
  CHECK(complaint(std::numeric_limits<double>::quiet_NaN() * 1s) == "ticker: period must be at least 1 ns, got 0 ns");
  CHECK(complaint(std::chrono::hours::min()) == "ticker: period must be at least 1 ns, got -9223372036854775808 ns");
  CHECK(complaint(1ns) == "none");

  ManualClock clock;
  Ticker ticker(10ms, clock);
  CHECK_THROWS_AS(ticker.reset(0s), std::invalid_argument);
  CHECK_THROWS_AS(ticker.reset(-1ns), std::invalid_argument);
  clock.advance(10ms);
  CHECK(got(ticker.channel()).has_value());  // it went on
}

TEST_CASE("Ticker: the k-th tick comes at start + k * period", "[channel][ticker]") {
  ManualClock clock;
  const TimePoint start = clock.now();
  Ticker ticker(7ms, clock);
  CHECK(got(ticker.channel()) == std::nullopt);
  for (int k = 1; k <= 100; ++k) {
    clock.advance(7ms - 1ns);
    REQUIRE(got(ticker.channel()) == std::nullopt);
    clock.advance(1ns);
    REQUIRE(got(ticker.channel()) == start + k * 7ms);
  }
  CHECK(clock.armed() == 1);
}

TEST_CASE("Ticker: keeps its phase whatever the steps of time are", "[channel][ticker]") {
  ManualClock clock;
  const TimePoint start = clock.now();
  Ticker ticker(10ms, clock);
  std::vector<Duration> ticks;
  for (const Duration step : {3ms, 4ms, 5ms, 11ms, 1ms, 9ms, 10ms, 25ms, 1ms, 1ms}) {
    clock.advance(step);
    if (const Duration tick = since(start, ticker.channel()); tick >= 0s) ticks.push_back(tick);
  }
  CHECK(ticks == std::vector<Duration>{10ms, 20ms, 30ms, 40ms, 50ms, 70ms});
}

TEST_CASE("Ticker: drops ticks for a slow receiver, who finds the oldest", "[channel][ticker]") {
  ManualClock clock;
  const TimePoint start = clock.now();
  Ticker ticker(10ms, clock);
  clock.advance(95ms);  // nine ticks
  CHECK(ticker.channel().size() == 1);
  CHECK(since(start, ticker.channel()) == 10ms);
  CHECK(got(ticker.channel()) == std::nullopt);
  clock.advance(5ms);
  CHECK(since(start, ticker.channel()) == 100ms);
}

TEST_CASE("Ticker: a clock that was late sends one tick, no burst, and keeps the phase", "[channel][ticker]") {
  LateClock clock;
  const TimePoint start = clock.now();
  Ticker ticker(10ms, clock);
  CHECK(clock.next() == start + 10ms);
  clock.jump(57ms);
  CHECK(clock.call_due() == 1);
  CHECK(since(start, ticker.channel()) == 57ms);  // when it was sent
  CHECK(clock.next() == start + 60ms);
  clock.jump(3ms);
  CHECK(clock.call_due() == 1);
  CHECK(since(start, ticker.channel()) == 60ms);
  clock.jump(30ms);  // late by just so many periods
  CHECK(clock.call_due() == 1);
  CHECK(since(start, ticker.channel()) == 90ms);
  CHECK(clock.next() == start + 100ms);
}

TEST_CASE("Ticker: a period that no clock can keep up with is thinned out, and does not hold up the clock",
          "[channel][ticker]") {
  LateClock clock;
  const TimePoint start = clock.now();
  clock.cost_of_arming = 1us;
  const Ticker ticker(3ns, clock);
  CHECK(clock.next() > clock.now());
  CHECK((clock.next() - start) % 3ns == 0s);  // in phase
  CHECK(clock.arms < 30);
  for (int i = 0; i != 10; ++i) {
    clock.arms = 0;
    clock.jump(1ms);
    CHECK(clock.call_due() == 1);
    CHECK(clock.next() > clock.now());
    CHECK(clock.arms < 30);
  }

  LateClock slow;  // aims beyond the end of time, which never comes
  slow.cost_of_arming = Duration::max() / 2;
  const Ticker rare(Duration::max() / 4, slow);
  CHECK(slow.next() == TimePoint::max());

  const Ticker fast(1ns);  // on the machine's clock, whose other timers get their turns
  CHECK(after(1ms).channel().receive());
}

TEST_CASE("Ticker: comes to the ends of time", "[channel][ticker]") {
  ManualClock clock(kLast - 25ns);
  Ticker ticker(10ns, clock);
  Ticker exact(25ns, clock);
  Ticker never(26ns, clock);
  Ticker longest(Duration::max(), clock);
  std::vector<TimePoint> ticks;
  for (int i = 0; i != 30; ++i) {
    clock.advance(1ns);
    if (const auto tick = got(ticker.channel())) ticks.push_back(*tick);
  }
  CHECK(ticks == std::vector{kLast - 15ns, kLast - 5ns});
  CHECK(got(exact.channel()) == kLast);
  CHECK(got(never.channel()) == std::nullopt);
  CHECK(clock.armed() == 0);
  ticker.reset(1ns);  // no time is left
  clock.advance(1h);
  CHECK(got(ticker.channel()) == std::nullopt);

  ManualClock from_the_first(kFirst);
  Ticker endless(std::chrono::hours::max(), from_the_first);
  Ticker wide(Duration::max() - 1ns, from_the_first);
  CHECK(from_the_first.armed() == 1);
  ticks.clear();
  while (from_the_first.now() != kLast) {
    from_the_first.advance(Duration::max() / 2);
    if (const auto tick = got(wide.channel())) ticks.push_back(*tick);
  }
  CHECK(ticks == std::vector{TimePoint(-2ns), kLast - 2ns});
  CHECK(got(endless.channel()) == std::nullopt);
}

TEST_CASE("Ticker: no tick comes once it was stopped, and the channel stays open", "[channel][ticker]") {
  ManualClock clock;
  Ticker ticker(10ms, clock);
  clock.advance(10ms);
  ticker.stop();
  CHECK(got(ticker.channel()) == std::nullopt);  // that tick was taken back
  CHECK(clock.armed() == 0);
  clock.advance(1h);
  CHECK(got(ticker.channel()) == std::nullopt);
  CHECK_FALSE(ticker.channel().is_closed());
  ticker.stop();
}

TEST_CASE("Ticker: who waits for one that is stopped gets the next tick after a reset", "[channel][ticker]") {
  ManualClock clock;
  Ticker ticker(10ms, clock);
  Call receiver([&] { return ticker.channel().receive().value; });
  REQUIRE(eventually_blocked_receivers(ticker.channel(), 1));
  ticker.stop();
  clock.advance(1s);
  CHECK(ticker.channel().stats().blocked_receivers == 1);
  const TimePoint start = clock.now();
  ticker.reset(3ms);
  clock.advance(3ms);
  CHECK(receiver.result() == start + 3ms);
}

TEST_CASE("Ticker: reset begins a new phase", "[channel][ticker]") {
  ManualClock clock;
  const TimePoint start = clock.now();
  Ticker ticker(10ms, clock);
  clock.advance(14ms);
  ticker.reset(5ms);
  CHECK(got(ticker.channel()) == std::nullopt);  // the tick of before was taken back
  clock.advance(4ms);
  CHECK(got(ticker.channel()) == std::nullopt);
  clock.advance(1ms);
  CHECK(since(start, ticker.channel()) == 19ms);
  clock.advance(5ms);
  CHECK(since(start, ticker.channel()) == 24ms);
  CHECK(clock.armed() == 1);
}

TEST_CASE("Ticker: its destruction lets those go who wait", "[channel][ticker]") {
  ManualClock clock;
  auto ticker = std::make_unique<Ticker>(10ms, clock);
  Channel<TimePoint>& channel = ticker->channel();
  Call thread([&] { return channel.receive().status; });
  REQUIRE(eventually_blocked_receivers(channel, 1));
  RunLoop loop;
  std::optional<OpStatus> status;
  const auto receive = [&]() -> Task<> { status = (co_await channel.async_receive()).status; };
  auto task = spawn(loop, receive());
  loop.run_ready();
  ticker.reset();
  loop.run_ready();
  CHECK(thread.result() == OpStatus::kClosed);
  CHECK(status == OpStatus::kClosed);
  CHECK(clock.armed() == 0);
}

TEST_CASE("Ticker: closing its channel ends it and a range-for over it", "[channel][ticker]") {
  ManualClock clock;
  Ticker ticker(10ms, clock);
  Call counter([&] {
    int ticks = 0;
    for (TimePoint tick : ticker.channel()) ticks += tick >= TimePoint(1h) ? 1 : 0;
    return ticks;
  });
  for (int i = 0; i != 3; ++i) {
    REQUIRE(eventually_blocked_receivers(ticker.channel(), 1));
    clock.advance(10ms);
  }
  REQUIRE(eventually_blocked_receivers(ticker.channel(), 1));
  CHECK(ticker.channel().close());
  CHECK(counter.result() == 3);
  clock.advance(10ms);
  CHECK(clock.armed() == 0);  // it does not tick on for nobody
  ticker.reset(10ms);
  clock.advance(1h);
  CHECK(clock.armed() == 0);
  CHECK(ticker.channel().try_receive().status == OpStatus::kClosed);
}

TEST_CASE("Ticker: select takes its ticks among other cases", "[channel][ticker]") {
  ManualClock clock;
  Ticker ticker(10ms, clock);
  Channel<int> jobs(4);
  clock.advance(10ms);
  REQUIRE(jobs.try_send(1) == OpStatus::kOk);
  int ticks = 0;
  int done = 0;
  for (int i = 0; i != 3; ++i) {
    select(on_receive(jobs, [&](int) { ++done; }), on_receive(ticker.channel(), [&](TimePoint) { ++ticks; }),
           otherwise([] {}));
  }
  CHECK(ticks == 1);
  CHECK(done == 1);
}

/// Waits for one tick on the inline executor, so that it runs inside the tick, and then does something to the ticker.
template <class F>
Task<> on_tick(Channel<TimePoint>& channel, F action) {
  const Received<TimePoint> tick = co_await channel.async_receive();
  if (tick) action();
}

TEST_CASE("Ticker: who is resumed by a tick may stop, reset and destroy the ticker", "[channel][ticker]") {
  ManualClock clock;
  auto ticker = std::make_unique<Ticker>(10ms, clock);
  const auto wait = [&](auto action) {
    static_cast<void>(spawn(Executor::inline_executor(), on_tick(ticker->channel(), action)));
  };
  wait([&] { ticker->stop(); });
  clock.advance(10ms);
  CHECK(clock.armed() == 0);

  ticker->reset(10ms);
  const TimePoint start = clock.now();
  wait([&] { ticker->reset(3ms); });
  clock.advance(14ms);
  CHECK(since(start, ticker->channel()) == 13ms);

  wait([&] { ticker.reset(); });
  clock.advance(1h);
  CHECK(ticker == nullptr);
  CHECK(clock.armed() == 0);

  auto one_shot = std::make_unique<After>(10ms, clock);
  static_cast<void>(spawn(Executor::inline_executor(), on_tick(one_shot->channel(), [&] { one_shot.reset(); })));
  clock.advance(10ms);
  CHECK(one_shot == nullptr);
}

TEST_CASE("Ticker: ticks on the machine's clock, and stops there while it fires", "[channel][ticker]") {
  for (int round = 0; round != 50; ++round) {
    Ticker ticker(20us);
    TimePoint last{};
    for (int i = 0; i != 3; ++i) {
      const Received<TimePoint> tick = ticker.channel().receive();
      REQUIRE(tick);
      REQUIRE(*tick.value > last);
      last = *tick.value;
    }
    ticker.stop();
    REQUIRE(got(ticker.channel()) == std::nullopt);
  }
  for (int round = 0; round != 200; ++round) {
    const Ticker ticker(1us);  // destroyed in the middle of it
    const After timeout = after(1us);
  }
}

TEST_CASE("Ticker: a tick allocates nothing, and no memory for it is a refusal", "[channel][ticker]") {
  ManualClock clock;
  Ticker ticker(10ms, clock);
  const Allocations before = Allocations::now();
  for (int i = 0; i != 10; ++i) {
    clock.advance(10ms);
    CHECK(got(ticker.channel()).has_value());
  }
  CHECK(Allocations::now() == before);
  const FailAllocation failure(0);
  bool failed = false;
  try {
    const Ticker other(10ms, clock);
  } catch (const std::bad_alloc&) {
    failed = true;
  }
  CHECK(failed);
  CHECK(clock.armed() == 1);
}

}  // namespace
}  // namespace penstock
