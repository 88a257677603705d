// SPDX-License-Identifier: MIT

// Waits for places to reserve: who gets them, and how a wait ends.

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"
#include "support/catch.hpp"
#include "support/detached.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace testing;

using Outcome = std::optional<OpStatus>;
using Permit = SendPermit<int>;

std::size_t any_buffer() { return GENERATE(as<std::size_t>(), 1, 3, 64); }

std::vector<Permit> reserve_all(Channel<int>& channel) {
  std::vector<Permit> permits;
  for (;;) {
    Reserved<int> place = channel.try_reserve();
    if (!place) return permits;
    permits.push_back(std::move(place.permit));
  }
}

Task<> hold(Channel<int>& channel, Permit& permit, Outcome& outcome) {
  Reserved<int> place = co_await channel.async_reserve();
  permit = std::move(place.permit);
  outcome = place.status;
}
Task<> hold_under(Channel<int>& channel, Permit& permit, Outcome& outcome, Context ctx) {
  Reserved<int> place = co_await channel.async_reserve(ctx);
  permit = std::move(place.permit);
  outcome = place.status;
}
Task<> send_one(Channel<int>& channel, int value, Outcome& outcome) { outcome = co_await channel.async_send(value); }
Task<> receive_one(Channel<int>& channel, int& value, Outcome& outcome) {
  outcome = co_await channel.async_receive(value);
}

Detached hold_on(RunLoop& /*loop*/, Channel<int>& channel) {
  const Reserved<int> place = co_await channel.async_reserve();
  co_await std::suspend_always();
}
Detached hold_on_under(RunLoop& /*loop*/, Channel<int>& channel, Context& ctx) {
  const Reserved<int> place = co_await channel.async_reserve(ctx);
  co_await std::suspend_always();
}

TEST_CASE("Permit: a dropped one gives its place to whoever has waited longest", "[channel][permit]") {
  Channel<int> channel(1);
  RunLoop loop;
  Permit held = channel.reserve().permit;
  Call sender([&] { return channel.send(1); });
  REQUIRE(eventually_blocked_senders(channel, 1));
  Permit granted;
  Outcome reserved;
  auto reserver = spawn(loop, hold(channel, granted, reserved));
  loop.run_ready();
  Call<bool> waiting([&] { return bool(channel.reserve().permit); });  // lets it go at once
  REQUIRE(eventually_blocked_senders(channel, 3));
  Outcome sent;
  auto last = spawn(loop, send_one(channel, 2, sent));
  loop.run_ready();
  REQUIRE(channel.stats().blocked_senders == 4);

  held = Permit();
  CHECK(sender.result() == OpStatus::kOk);
  CHECK(channel.size() == 1);
  CHECK(loop.run_ready() == 0);
  CHECK(channel.try_receive().value == 1);  // and here the place is free again
  CHECK(channel.stats().reserved == 1);
  loop.run_ready();
  CHECK(reserved == OpStatus::kOk);
  CHECK(granted);
  CHECK_FALSE(waiting.has_ended());
  CHECK_FALSE(sent);
  granted = Permit();
  CHECK(waiting.result());
  REQUIRE(eventually([&] { return channel.size() == 1; }));
  loop.run_ready();
  CHECK(sent == OpStatus::kOk);
  CHECK(channel.stats().reserved == 0);
  CHECK(channel.stats().blocked_senders == 0);
  CHECK(channel.try_receive().value == 2);
}

TEST_CASE("Permit: who is let in by a dropped one serves the receiver that waits", "[channel][permit]") {
  Channel<int> channel(1);
  RunLoop loop;
  Permit held = channel.reserve().permit;
  Outcome sent;
  Outcome received;
  int value = 0;
  auto sender = spawn(loop, send_one(channel, 5, sent));
  auto receiver = spawn(loop, receive_one(channel, value, received));
  loop.run_ready();
  CHECK(channel.stats().blocked_senders == 1);
  CHECK(channel.stats().blocked_receivers == 1);
  held = Permit();
  loop.run_ready();
  CHECK(sent == OpStatus::kOk);
  CHECK(received == OpStatus::kOk);
  CHECK(value == 5);
}

TEST_CASE("Permit: a waiting receiver's newcomers do not overtake the senders that wait", "[channel][permit]") {
  Channel<int> channel(1);
  RunLoop loop;
  Permit held = channel.reserve().permit;
  Outcome sent;
  auto sender = spawn(loop, send_one(channel, 1, sent));
  loop.run_ready();
  Outcome received;
  int value = 0;
  auto receiver = spawn(loop, receive_one(channel, value, received));
  loop.run_ready();
  CHECK(channel.try_send(2) == OpStatus::kFull);
  CHECK(channel.try_reserve().status == OpStatus::kFull);
  CHECK(held.send(3) == OpStatus::kOk);
  loop.run_ready();
  CHECK(value == 3);
  CHECK(sent == OpStatus::kOk);  // into the place that the permit has left
  CHECK(channel.try_receive().value == 1);
}

TEST_CASE("Permit: close lets those go who wait for a place, with none", "[channel][permit]") {
  Channel<int> channel(any_buffer());
  std::vector<Permit> permits = reserve_all(channel);
  RunLoop loop;
  Call thread([&] {
    const Reserved<int> place = channel.reserve();
    return std::pair(place.status, bool(place.permit));
  });
  Permit granted;
  Outcome outcome;
  auto task = spawn(loop, hold(channel, granted, outcome));
  loop.run_ready();
  REQUIRE(eventually_blocked_senders(channel, 2));
  channel.close();
  loop.run_ready();
  CHECK(thread.result() == std::pair(OpStatus::kClosed, false));
  CHECK(outcome == OpStatus::kClosed);
  CHECK_FALSE(granted);
  CHECK(channel.stats().reserved == channel.capacity());
}

TEST_CASE("Permit: the end of a context ends the wait for a place, and takes none", "[channel][permit]") {
  Channel<int> channel(any_buffer());
  std::vector<Permit> permits = reserve_all(channel);
  ManualClock clock;
  RunLoop loop;
  const auto [cancelled, source] = Context::background().with_cancel();
  const Context timed = Context(clock).with_timeout(1s);
  std::vector<Permit> granted(2);
  std::vector<Outcome> outcomes(2);
  auto one = spawn(loop, hold_under(channel, granted[0], outcomes[0], timed));
  auto two = spawn(loop, hold_under(channel, granted[1], outcomes[1], cancelled));
  loop.run_ready();
  Call late([&, ctx = timed] { return channel.reserve(ctx).status; });
  Call called_off([&, ctx = cancelled] { return channel.reserve(ctx).status; });
  REQUIRE(eventually_blocked_senders(channel, 4));
  REQUIRE(eventually([&] { return clock.armed() != 0; }));
  clock.advance(1s);
  source.cancel();
  loop.run_ready();
  CHECK(late.result() == OpStatus::kTimedOut);
  CHECK(called_off.result() == OpStatus::kCancelled);
  CHECK(outcomes[0] == OpStatus::kTimedOut);
  CHECK(outcomes[1] == OpStatus::kCancelled);
  CHECK_FALSE(granted[0]);
  CHECK_FALSE(granted[1]);
  CHECK(channel.stats().blocked_senders == 0);
  CHECK(channel.stats().reserved == channel.capacity());
  permits.clear();
  CHECK(channel.stats().reserved == 0);
  CHECK(channel.reserve(timed));  // what can be done is done under an ended context, too
}

TEST_CASE("Permit: a coroutine destroyed while it waits, once it was served, or with its permit, leaves no place taken",
          "[channel][permit][coroutine]") {
  ManualClock clock;
  auto [cancelled, source] = Context::background().with_cancel();
  std::vector<Context> contexts{Context::background(), cancelled, Context(clock).with_timeout(1h)};
  RunLoop loop;
  const std::size_t capacity = any_buffer();
  for (std::size_t kind = 0; kind <= contexts.size(); ++kind) {
    Channel<int> channel(capacity);
    const auto start = [&] {
      return kind == contexts.size() ? hold_on(loop, channel) : hold_on_under(loop, channel, contexts[kind]);
    };
    std::vector<Permit> permits = reserve_all(channel);
    const Detached waits = start();
    CHECK(channel.stats().blocked_senders == 1);
    waits.handle.destroy();
    CHECK(channel.stats().blocked_senders == 0);
    CHECK(channel.stats().reserved == capacity);

    const Detached served = start();
    permits.pop_back();
    CHECK(channel.stats().reserved == capacity);
    CHECK(channel.stats().blocked_senders == 0);
    CHECK(channel.try_send(1) == OpStatus::kFull);
    const Detached next = start();
    served.handle.destroy();  // before its loop has run: the place goes on to the next
    CHECK(channel.stats().reserved == capacity);
    CHECK(channel.stats().blocked_senders == 0);
    next.handle.destroy();
    CHECK(channel.stats().reserved == capacity - 1);

    const Detached holds = start();
    CHECK(channel.stats().reserved == capacity);
    holds.handle.destroy();
    CHECK(channel.stats().reserved == capacity - 1);

    const Detached holds_again = start();
    const Detached closed = start();
    channel.close();
    closed.handle.destroy();
    holds_again.handle.destroy();
    CHECK(channel.stats().reserved == capacity - 1);
    CHECK(loop.run_ready() == 0);
  }
  CHECK(clock.armed() == 0);
}

TEST_CASE("Permit: threads that reserve, send and drop lose and double nothing", "[channel][permit][stress]") {
  constexpr int kValues = 3000;
  Channel<int> channel(any_buffer());
  const auto produce = [&](int base) {
    int sent = 0;
    for (int i = 1; i <= kValues; ++i) {
      if (i % 3 == 0) {
        sent += channel.send(base + i) == OpStatus::kOk ? 1 : 0;
        continue;
      }
      if (i % 7 == 0) static_cast<void>(channel.reserve());
      Reserved<int> place = channel.reserve();
      sent += place.permit.send(base + i) == OpStatus::kOk ? 1 : 0;
    }
    return sent;
  };
  Call one([&] { return produce(0); });
  Call two([&] { return produce(kValues); });
  Call consumer([&] {
    std::vector<int> values;
    for (const int value : channel) values.push_back(value);
    return values;
  });
  CHECK(one.result() == kValues);
  CHECK(two.result() == kValues);
  channel.close();
  int first = 0;
  int second = kValues;
  bool in_order = true;
  for (const int value : consumer.result()) {
    int& last = value <= kValues ? first : second;
    in_order = in_order && value == ++last;
  }
  CHECK(in_order);  // of each sender
  CHECK(first == kValues);
  CHECK(second == 2 * kValues);
  CHECK(channel.stats().reserved == 0);
}

}  // namespace
}  // namespace penstock
