// SPDX-License-Identifier: MIT

// One-shot timers: see ticker_test.cpp for those that repeat.

#include <chrono>
#include <limits>
#include <optional>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "penstock/channel/ticker.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace testing;

constexpr TimePoint kFirst = TimePoint::min();
constexpr TimePoint kLast = TimePoint::max() - 1ns;  // where a ManualClock stops

/// The tick that is there, or nothing.
std::optional<TimePoint> got(Channel<TimePoint>& channel) { return channel.try_receive().value; }

TEST_CASE("after: sends the time once, when the duration has passed", "[channel][ticker]") {
  ManualClock clock;
  const TimePoint start = clock.now();
  After timeout = after(10ms, clock);
  clock.advance(10ms - 1ns);
  CHECK(got(timeout.channel()) == std::nullopt);
  clock.advance(1ns);
  CHECK(got(timeout.channel()) == start + 10ms);
  clock.advance(1h);
  CHECK(got(timeout.channel()) == std::nullopt);
  CHECK_FALSE(timeout.channel().is_closed());
  CHECK(clock.armed() == 0);
}

TEST_CASE("after: zero or less has passed already", "[channel][ticker]") {
  for (const TimePoint now : {kFirst, TimePoint(-1h), TimePoint(), TimePoint(1h), kLast}) {
    ManualClock clock(now);
    CHECK(got(after(0s, clock).channel()) == now);
    CHECK(got(after(-1ns, clock).channel()) == now);
    CHECK(got(after(-5h, clock).channel()) == now);
    CHECK(got(after(std::chrono::hours::min(), clock).channel()) == now);
    CHECK(got(after(-std::numeric_limits<double>::infinity() * 1s, clock).channel()) == now);
    CHECK(got(after(std::numeric_limits<double>::quiet_NaN() * 1s, clock).channel()) == now);
    CHECK(clock.armed() == 0);
  }
}

TEST_CASE("after: the longest duration never passes, wherever the clock begins", "[channel][ticker]") {
  for (const TimePoint now : {kFirst, TimePoint(-1h), TimePoint(), TimePoint(1h), kLast}) {
    ManualClock clock(now);
    After longest = after(Duration::max(), clock);
    After longer = after(std::chrono::hours::max(), clock);
    After endless = after(std::numeric_limits<double>::infinity() * 1s, clock);
    CHECK(clock.armed() == 0);
    while (clock.now() != kLast) clock.advance(Duration::max());
    CHECK(got(longest.channel()) == std::nullopt);
    CHECK(got(longer.channel()) == std::nullopt);
    CHECK(got(endless.channel()) == std::nullopt);
  }
}

TEST_CASE("after: reaches the last moment of time, and nothing behind it", "[channel][ticker]") {
  ManualClock clock(kLast - 10ns);
  After last = after(10ns, clock);
  After never = after(11ns, clock);
  After late = after(Duration::max() - 1ns, clock);
  clock.advance(1h);
  CHECK(got(last.channel()) == kLast);
  CHECK(got(never.channel()) == std::nullopt);
  CHECK(got(late.channel()) == std::nullopt);

  ManualClock from_the_first(kFirst);
  After far = after(Duration::max() - 1ns, from_the_first);
  from_the_first.advance(Duration::max() - 2ns);
  CHECK(got(far.channel()) == std::nullopt);
  from_the_first.advance(1ns);
  CHECK(got(far.channel()) == TimePoint(-2ns));
}

TEST_CASE("after: is called off when it goes", "[channel][ticker]") {
  ManualClock clock;
  {
    const After timeout = after(10ms, clock);
    CHECK(clock.armed() == 1);
  }
  CHECK(clock.armed() == 0);
  clock.advance(1h);
}

TEST_CASE("after: several fire in the order of their deadlines, also within one advance", "[channel][ticker]") {
  ManualClock clock;
  const TimePoint start = clock.now();
  After third = after(30ms, clock);
  After first = after(10ms, clock);
  After second = after(20ms, clock);
  Ticker ticker(15ms, clock);
  RunLoop loop;
  std::vector<int> order;
  const auto note = [&](Channel<TimePoint>& channel, int which) -> Task<> {
    static_cast<void>(co_await channel.async_receive());
    order.push_back(which);
  };
  const auto wait = [&](Channel<TimePoint>& channel, int which) {
    static_cast<void>(spawn(Executor::inline_executor(), note(channel, which)));
  };
  wait(third.channel(), 4);
  wait(first.channel(), 1);
  wait(second.channel(), 3);
  wait(ticker.channel(), 2);
  clock.advance(1h);
  CHECK(order == std::vector{1, 2, 3, 4});
  CHECK(got(ticker.channel()) == start + 30ms);  // sent before the receiver came for the second time
}

TEST_CASE("after: a thread and a coroutine can wait for it, and a select", "[channel][ticker]") {
  ManualClock clock;
  const TimePoint start = clock.now();
  After timeout = after(10ms, clock);
  Channel<int> answers(0);

  Call thread([&] { return timeout.channel().receive().value; });
  REQUIRE(eventually_blocked_receivers(timeout.channel(), 1));
  clock.advance(10ms);
  CHECK(thread.result() == start + 10ms);

  After second = after(10ms, clock);
  RunLoop loop;
  std::optional<TimePoint> value;
  const auto receive = [&]() -> Task<> { value = (co_await second.channel().async_receive()).value; };
  auto task = spawn(loop, receive());
  loop.run_ready();
  clock.advance(10ms);
  CHECK(loop.run_ready() == 1);
  CHECK(value == start + 20ms);

  After third = after(10ms, clock);
  Call selector([&] {
    bool is_late = false;
    select(on_receive(answers, [](int) {}), on_receive(third.channel(), [&](TimePoint) { is_late = true; }));
    return is_late;
  });
  REQUIRE(eventually_blocked_receivers(third.channel(), 1));
  clock.advance(10ms);
  CHECK(selector.result());
  CHECK(select(on_receive(answers, [](int) {}), on_receive(after(0s, clock).channel(), [](TimePoint) {})) == 1);
}

TEST_CASE("after: works on the machine's clock", "[channel][ticker]") {
  const auto before = std::chrono::steady_clock::now();
  const Received<TimePoint> received = after(2ms).channel().receive();
  REQUIRE(received);
  CHECK(*received.value >= before + 2ms);
  CHECK(*received.value <= std::chrono::steady_clock::now());
  After never = after(Duration::max());
  CHECK(got(never.channel()) == std::nullopt);
}

}  // namespace
}  // namespace penstock
