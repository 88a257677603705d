// SPDX-License-Identifier: MIT

// Tickers under every schedule: no tick comes once one was stopped, and nobody touches one that is gone, whatever the
// clock is doing meanwhile.

#include "penstock/channel/ticker.hpp"

#include <chrono>
#include <memory>
#include <optional>

#include "penstock/channel/channel.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
namespace world = penstock::detail::world;

namespace {

void must_pass(checker::Options options, const checker::Scenario& scenario) {
  options.executions = 20'000;
  checker::must_pass(options, scenario);
}

constexpr TimePoint kStart = TimePoint(1h);  // of a ManualClock

/// A tick of a ticker that began at the start.
void check_tick(const Received<TimePoint>& tick) {
  if (tick) MODEL_ASSERT(*tick.value > kStart);
}

Task<> on_tick(Channel<TimePoint>& channel, std::unique_ptr<Ticker>& ticker) {
  const Received<TimePoint> tick = co_await channel.async_receive();
  if (tick) ticker.reset();
}

}  // namespace

TEST_CASE("Ticker: made while another thread advances", "[model][ticker]") {
  must_pass({.name = "ticker, advance", .preemptions = 3}, [] {
    ManualClock clock;
    world::Thread advancer([&] { clock.advance(10ms); });
    Ticker ticker(4ms, clock);
    advancer.join();
    check_tick(ticker.channel().try_receive());
    clock.advance(4ms);
    MODEL_ASSERT(ticker.channel().receive().status == OpStatus::kOk);
    MODEL_ASSERT(clock.armed() == 1);
  });
}

TEST_CASE("Ticker: two threads advance", "[model][ticker]") {
  must_pass({.name = "ticker, two advances", .preemptions = 2}, [] {
    ManualClock clock;
    Ticker ticker(4ms, clock);
    world::Thread first([&] { clock.advance(5ms); });
    world::Thread second([&] { clock.advance(5ms); });
    const Received<TimePoint> tick = ticker.channel().receive();
    first.join();
    second.join();
    check_tick(tick);
    const Received<TimePoint> later = ticker.channel().try_receive();
    if (later) MODEL_ASSERT(*later.value > *tick.value);
    clock.advance(2ms);  // in phase
    MODEL_ASSERT(ticker.channel().try_receive().status == OpStatus::kOk);
  });
}

TEST_CASE("Ticker: stopped while another thread advances", "[model][ticker]") {
  must_pass({.name = "ticker, stop", .preemptions = 4}, [] {
    ManualClock clock;
    Ticker ticker(4ms, clock);
    world::Thread advancer([&] { clock.advance(10ms); });
    ticker.stop();
    MODEL_ASSERT(ticker.channel().try_receive().status == OpStatus::kEmpty);
    advancer.join();
    MODEL_ASSERT(ticker.channel().try_receive().status == OpStatus::kEmpty);
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("Ticker: stopped by one thread and reset by its owner", "[model][ticker]") {
  must_pass({.name = "ticker, stop and reset", .preemptions = 2}, [] {
    ManualClock clock;
    Ticker ticker(4ms, clock);
    world::Thread advancer([&] { clock.advance(5ms); });
    world::Thread stopper([&] { ticker.stop(); });
    ticker.reset(3ms);
    advancer.join();
    stopper.join();
    ticker.stop();
    clock.advance(10ms);
    MODEL_ASSERT(ticker.channel().try_receive().status == OpStatus::kEmpty);
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("Ticker: destroyed while it fires and while a receiver waits", "[model][ticker]") {
  must_pass({.name = "ticker, destructor", .preemptions = 2}, [] {
    ManualClock clock;
    auto ticker = std::make_unique<Ticker>(4ms, clock);
    Received<TimePoint> tick{OpStatus::kEmpty, std::nullopt};
    world::Thread receiver([&, on = &ticker->channel()] { tick = on->receive(); });
    while (ticker->channel().stats().blocked_receivers == 0) world::yield();  // none may begin once the destructor has
    world::Thread advancer([&] { clock.advance(4ms); });
    ticker.reset();
    receiver.join();
    advancer.join();
    MODEL_ASSERT(tick.status == (tick.value == kStart + 4ms ? OpStatus::kOk : OpStatus::kClosed));
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("Ticker: its channel is closed while it fires", "[model][ticker]") {
  must_pass({.name = "ticker, close", .preemptions = 3}, [] {
    ManualClock clock;
    Ticker ticker(4ms, clock);
    world::Thread advancer([&] { clock.advance(5ms); });
    world::Thread closer([&] { ticker.channel().close(); });
    const Received<TimePoint> tick = ticker.channel().receive();
    MODEL_ASSERT(tick.status == (tick.value == kStart + 4ms ? OpStatus::kOk : OpStatus::kClosed));
    advancer.join();
    closer.join();
    clock.advance(4ms);
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("Ticker: destroyed by whom a tick resumes", "[model][ticker]") {
  must_pass({.name = "ticker, destroyed inside a tick", .preemptions = 3}, [] {
    ManualClock clock;
    auto ticker = std::make_unique<Ticker>(4ms, clock);
    world::Thread first([&] { clock.advance(5ms); });
    world::Thread second([&] { clock.advance(5ms); });
    JoinHandle<> handle = spawn(Executor::inline_executor(), on_tick(ticker->channel(), ticker));
    handle.get();
    first.join();
    second.join();
    MODEL_ASSERT(ticker == nullptr);
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("after: made, and called off, while another thread advances", "[model][ticker]") {
  must_pass({.name = "after, advance", .preemptions = 4}, [] {
    ManualClock clock;
    std::optional<After> timeout;
    world::Thread advancer([&] { clock.advance(10ms); });
    timeout.emplace(5ms, clock);
    advancer.join();
    const Received<TimePoint> first = timeout->channel().try_receive();
    clock.advance(5ms);
    const Received<TimePoint> second = timeout->channel().try_receive();
    MODEL_ASSERT((first.status == OpStatus::kOk) != (second.status == OpStatus::kOk));  // once, and not lost
  });
  must_pass({.name = "after, called off", .preemptions = 4}, [] {
    ManualClock clock;
    auto timeout = std::make_unique<After>(5ms, clock);
    world::Thread advancer([&] { clock.advance(10ms); });
    timeout.reset();
    advancer.join();
    MODEL_ASSERT(clock.armed() == 0);
  });
}
