// SPDX-License-Identifier: MIT
#include "penstock/channel/channel.hpp"

#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/core/manual_clock.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace testing;

std::size_t any_capacity() { return GENERATE(as<std::size_t>(), 0, 1, 3, 64); }
std::size_t any_buffer() { return GENERATE(as<std::size_t>(), 1, 3, 64); }

/// Sends 0, 1, 2... until nothing more goes in, and returns how many went in.
int fill(Channel<int>& channel) {
  int next = 0;
  while (channel.try_send(next) == OpStatus::kOk) ++next;
  return next;
}

// --- The table of the operations, capacity by capacity ---

TEST_CASE("Channel: a buffer takes exactly its capacity and gives it back in order", "[channel]") {
  const std::size_t capacity = any_capacity();
  Channel<int> channel(capacity);
  CHECK(channel.capacity() == capacity);
  CHECK(channel.size() == 0);
  CHECK(fill(channel) == static_cast<int>(capacity));
  CHECK(channel.size() == capacity);
  CHECK(channel.try_send(7) == OpStatus::kFull);
  for (std::size_t i = 0; i != capacity; ++i) {
    const Received<int> received = channel.try_receive();
    CHECK(received.status == OpStatus::kOk);
    CHECK(received.value == static_cast<int>(i));
  }
  CHECK(channel.try_receive().status == OpStatus::kEmpty);
}

TEST_CASE("Channel: the buffer keeps its order when it wraps", "[channel]") {
  Channel<int> channel(any_buffer());
  int sent = fill(channel);
  for (int expected = 0; expected != 500; ++expected) {
    int value = -1;
    REQUIRE(channel.receive(value) == OpStatus::kOk);
    REQUIRE(value == expected);
    REQUIRE(channel.send(sent++) == OpStatus::kOk);
  }
}

TEST_CASE("Channel: a send without room waits, and completes when a receiver makes room", "[channel]") {
  Channel<int> channel(any_capacity());
  const int sent = fill(channel);
  Call call([&] { return channel.send(sent); });
  REQUIRE(eventually_blocked_senders(channel, 1));
  CHECK_FALSE(call.has_ended());
  for (int expected = 0; expected <= sent; ++expected) {
    const Received<int> received = channel.receive();  // the first one lets the sender in, at the tail
    CHECK(received.value == expected);
  }
  CHECK(call.result() == OpStatus::kOk);
  CHECK(channel.try_receive().status == OpStatus::kEmpty);
}

TEST_CASE("Channel: a receive without a value waits, and gets the next one directly", "[channel]") {
  Channel<int> channel(any_capacity());
  Call call([&] { return channel.receive(); });
  REQUIRE(eventually_blocked_receivers(channel, 1));
  CHECK_FALSE(call.has_ended());
  CHECK(channel.try_send(5) == OpStatus::kOk);
  CHECK(call.result().value == 5);
  CHECK(channel.stats().high_water == 0);  // it never was in the buffer
}

TEST_CASE("Channel: senders that wait are served in the order in which they came", "[channel]") {
  Channel<int> channel(any_capacity());
  const int sent = fill(channel);
  std::vector<std::unique_ptr<Call<OpStatus>>> calls;
  for (int i = 0; i != 5; ++i) {
    calls.push_back(std::make_unique<Call<OpStatus>>([&channel, value = sent + i] { return channel.send(value); }));
    REQUIRE(eventually_blocked_senders(channel, static_cast<std::size_t>(i) + 1));
  }
  for (int expected = 0; expected != sent + 5; ++expected) CHECK(channel.receive().value == expected);
  for (auto& call : calls) CHECK(call->result() == OpStatus::kOk);
}

TEST_CASE("Channel: receivers that wait are served in the order in which they came", "[channel]") {
  Channel<int> channel(any_capacity());
  std::vector<std::unique_ptr<Call<Received<int>>>> calls;
  for (std::size_t i = 0; i != 5; ++i) {
    calls.push_back(std::make_unique<Call<Received<int>>>([&channel] { return channel.receive(); }));
    REQUIRE(eventually_blocked_receivers(channel, i + 1));
  }
  for (int i = 0; i != 5; ++i) CHECK(channel.send(i) == OpStatus::kOk);
  for (int i = 0; i != 5; ++i) CHECK(calls[static_cast<std::size_t>(i)]->result().value == i);
}

TEST_CASE("Channel: a closed channel gives what it has, and then says that it is closed", "[channel]") {
  Channel<int> channel(any_capacity());
  const int sent = fill(channel);
  CHECK_FALSE(channel.is_closed());
  CHECK(channel.close());
  CHECK(channel.is_closed());
  for (int expected = 0; expected != sent; ++expected) CHECK(channel.receive().value == expected);
  for (int again = 0; again != 3; ++again) {
    CHECK(channel.receive().status == OpStatus::kClosed);
    CHECK(channel.try_receive().status == OpStatus::kClosed);
    int value = 9;
    CHECK(channel.receive(value) == OpStatus::kClosed);
    CHECK(channel.try_receive(value) == OpStatus::kClosed);
    CHECK(value == 9);
  }
}

TEST_CASE("Channel: a closed channel refuses sends and leaves the value with the caller", "[channel]") {
  Channel<MoveOnly> channel(any_capacity());
  channel.close();
  MoveOnly value(1);
  CHECK(channel.send(std::move(value)) == OpStatus::kClosed);
  CHECK(channel.try_send(std::move(value)) == OpStatus::kClosed);
  CHECK(value.number() == 1);
}

TEST_CASE("Channel: only the first close closes", "[channel]") {
  Channel<int> channel(any_capacity());
  CHECK(channel.close());
  CHECK_FALSE(channel.close());
  CHECK_FALSE(channel.close());
  CHECK(channel.stats().closes == 3);
}

TEST_CASE("Channel: close lets all receivers go", "[channel]") {
  Channel<int> channel(any_capacity());
  Call first([&] { return channel.receive(); });
  Call second([&] { return channel.receive(); });
  REQUIRE(eventually_blocked_receivers(channel, 2));
  channel.close();
  CHECK(first.result().status == OpStatus::kClosed);
  CHECK(second.result().status == OpStatus::kClosed);
  CHECK_FALSE(first.result().value.has_value());
  CHECK(channel.stats().blocked_receivers == 0);
}

TEST_CASE("Channel: close lets all senders go, with their values, and keeps the buffer", "[channel]") {
  Channel<MoveOnly> channel(any_capacity());
  for (int i = 0; channel.try_send(MoveOnly(i)) == OpStatus::kOk; ++i) {
  }
  MoveOnly first(100);
  MoveOnly second(101);
  {
    Call one([&] { return channel.send(std::move(first)); });
    Call two([&] { return channel.send(std::move(second)); });
    REQUIRE(eventually_blocked_senders(channel, 2));
    channel.close();
    CHECK(one.result() == OpStatus::kClosed);
    CHECK(two.result() == OpStatus::kClosed);
  }
  CHECK(first.number() == 100);
  CHECK(second.number() == 101);
  CHECK(channel.size() == channel.capacity());
}

// --- Contexts ---

TEST_CASE("Channel: an operation that can complete does so under a context that has ended", "[channel]") {
  Channel<int> channel(any_buffer());
  auto [ctx, source] = Context::background().with_cancel();
  source.cancel();
  CHECK(channel.send(1, ctx) == OpStatus::kOk);
  CHECK(channel.receive(ctx).value == 1);
  channel.close();
  CHECK(channel.send(1, ctx) == OpStatus::kClosed);
  CHECK(channel.receive(ctx).status == OpStatus::kClosed);
}

TEST_CASE("Channel: an operation that would have to wait under a context that has ended does not", "[channel]") {
  Channel<int> channel(any_capacity());
  auto [cancelled, source] = Context::background().with_cancel();
  source.cancel();
  const Context late = Context::background().with_timeout(0s);
  CHECK(channel.receive(cancelled).status == OpStatus::kCancelled);
  CHECK(channel.receive(late).status == OpStatus::kTimedOut);
  CHECK(channel.receive(Context::background().with_timeout(-1h)).status == OpStatus::kTimedOut);
  fill(channel);
  CHECK(channel.send(1, cancelled) == OpStatus::kCancelled);
  CHECK(channel.send(1, late) == OpStatus::kTimedOut);
}

TEST_CASE("Channel: a receive that times out swallows nothing", "[channel]") {
  ManualClock clock;
  Channel<MoveOnly> channel(any_capacity());
  {
    Call call([&] { return channel.receive(Context(clock).with_timeout(10ms)); });
    REQUIRE(eventually([&] { return clock.armed() == 1; }));
    clock.advance(9ms);
    CHECK_FALSE(call.has_ended());
    clock.advance(1ms);
    CHECK(call.result().status == OpStatus::kTimedOut);
    CHECK_FALSE(call.result().value.has_value());
  }
  CHECK(channel.stats().blocked_receivers == 0);
  MoveOnly value(1);
  CHECK((channel.try_send(std::move(value)) == OpStatus::kOk) == (channel.capacity() != 0));
  CHECK(channel.stats().receives == 0);
}

TEST_CASE("Channel: a send that times out delivers nothing and keeps its value", "[channel]") {
  ManualClock clock;
  Channel<MoveOnly> channel(any_capacity());
  std::size_t buffered = 0;
  while (channel.try_send(MoveOnly(1)) == OpStatus::kOk) ++buffered;
  MoveOnly value(2);
  {
    Call call([&] { return channel.send(std::move(value), Context(clock).with_timeout(10ms)); });
    REQUIRE(eventually([&] { return clock.armed() == 1; }));
    clock.advance(10ms);
    CHECK(call.result() == OpStatus::kTimedOut);
  }
  CHECK(value.number() == 2);
  for (; buffered != 0; --buffered) CHECK(channel.try_receive().value->number() == 1);
  CHECK(channel.try_receive().status == OpStatus::kEmpty);
}

TEST_CASE("Channel: cancelling calls a waiting operation off, and only that one", "[channel]") {
  Channel<MoveOnly> channel(0);
  const Context::Cancellable ended = Context::background().with_cancel();
  MoveOnly first(1);
  MoveOnly second(2);
  {
    Call one([&] { return channel.send(std::move(first), ended.context); });
    REQUIRE(eventually_blocked_senders(channel, 1));
    Call two([&] { return channel.send(std::move(second)); });
    REQUIRE(eventually_blocked_senders(channel, 2));
    ended.source.cancel();
    CHECK(one.result() == OpStatus::kCancelled);
    CHECK(first.number() == 1);
    CHECK(channel.receive().value->number() == 2);
    CHECK(two.result() == OpStatus::kOk);
  }
  CHECK(second.is_moved_from());
}

TEST_CASE("Channel: a deadline on the machine's clock ends a wait, and not early", "[channel]") {
  Channel<int> channel(0);
  const auto start = std::chrono::steady_clock::now();
  CHECK(channel.receive(Context::background().with_timeout(5ms)).status == OpStatus::kTimedOut);
  CHECK(std::chrono::steady_clock::now() - start >= 5ms);
}

// --- The channel as a whole ---

TEST_CASE("Channel: refuses sizes that cannot be, before it allocates", "[channel]") {
  const std::size_t most = std::numeric_limits<std::size_t>::max();
  for (const std::size_t capacity : {most, most / 2, most / sizeof(Large) + 2, (std::size_t{1} << 31) + 1}) {
    CHECK_THROWS_AS(Channel<char>(capacity), std::invalid_argument);
    CHECK_THROWS_AS(Channel<Large>(capacity), std::invalid_argument);
  }
  CHECK_THROWS_AS(Channel<int>(static_cast<std::size_t>(-1)), std::invalid_argument);
  CHECK_THROWS_WITH(Channel<std::uint64_t>(most),
                    "channel: capacity must be in [0, 2147483648] for values of 8 bytes, got 18446744073709551615");
}

TEST_CASE("Channel: a range-for receives until the channel is closed and empty", "[channel]") {
  Channel<std::string> channel(any_buffer());
  Call producer([&] {
    for (int i = 0; i != 100; ++i) {
      if (channel.send(std::to_string(i)) != OpStatus::kOk) return false;
    }
    return channel.close();
  });
  int next = 0;
  for (std::string& value : channel) CHECK(std::move(value) == std::to_string(next++));
  CHECK(next == 100);
  CHECK(producer.result());
}

TEST_CASE("Channel: close_and_drain returns what is buffered, and waiting senders keep theirs", "[channel]") {
  Channel<MoveOnly> channel(any_capacity());
  int buffered = 0;
  while (channel.try_send(MoveOnly(buffered)) == OpStatus::kOk) ++buffered;
  MoveOnly waiting(1000);
  Call call([&] { return channel.send(std::move(waiting)); });
  REQUIRE(eventually_blocked_senders(channel, 1));
  const std::vector<MoveOnly> values = channel.close_and_drain();
  CHECK(call.result() == OpStatus::kClosed);
  CHECK(waiting.number() == 1000);
  REQUIRE(values.size() == channel.capacity());
  for (std::size_t i = 0; i != values.size(); ++i) CHECK(values[i].number() == static_cast<int>(i));
  CHECK(channel.is_closed());
  CHECK(channel.receive().status == OpStatus::kClosed);
  CHECK(channel.close_and_drain().empty());
  CHECK(channel.stats().drained == values.size());
}

TEST_CASE("Channel: its figures are exact at rest", "[channel]") {
  Channel<int> channel(3);
  for (int i = 0; i != 3; ++i) CHECK(channel.send(i) == OpStatus::kOk);
  CHECK(channel.try_send(3) == OpStatus::kFull);
  CHECK(channel.receive().value == 0);
  CHECK(channel.send(4, Context::background().with_timeout(0s)) == OpStatus::kOk);
  Call call([&] { return channel.send(5); });
  REQUIRE(eventually_blocked_senders(channel, 1));
  ChannelStats stats = channel.stats();
  CHECK(stats.sends == 4);
  CHECK(stats.receives == 1);
  CHECK(stats.blocked_receivers == 0);
  CHECK(channel.receive().value == 1);
  CHECK(call.result() == OpStatus::kOk);
  CHECK(channel.close_and_drain().size() == 3);
  stats = channel.stats();
  CHECK(stats.sends == 5);
  CHECK(stats.receives == 2);
  CHECK(stats.drained == 3);
  CHECK(stats.closes == 1);
  CHECK(stats.high_water == 3);
  CHECK(stats.blocked_senders + stats.blocked_receivers == 0);
}

TEST_CASE("Channel: its destructor drops what is buffered", "[channel]") {
  int deaths = 0;
  {
    Channel<Watched> channel(4);
    for (int i = 0; i != 3; ++i) REQUIRE(channel.send(Watched([&] { ++deaths; })) == OpStatus::kOk);
  }
  CHECK(deaths == 3);
}

TEST_CASE("Channel: its destructor lets those go who wait, and waits for those who leave", "[channel]") {
  ManualClock clock;
  Recorder<OpStatus> outcomes;
  std::vector<std::thread> threads;
  auto channel = std::make_unique<Channel<int>>(0);
  for (int i = 0; i != 4; ++i) {
    threads.emplace_back([&outcomes, &clock, i, on = channel.get()] {
      const Context ctx = i % 2 == 0 ? Context::background() : Context(clock).with_timeout(1ms);
      outcomes.record(on->receive(ctx).status);
    });
  }
  REQUIRE(eventually_blocked_receivers(*channel, 4));
  REQUIRE(eventually([&] { return clock.armed() == 2; }));
  clock.advance(1ms);  // two are leaving
  channel.reset();
  for (std::thread& thread : threads) thread.join();
  CHECK(outcomes.count(OpStatus::kTimedOut) == 2);
  CHECK(outcomes.count(OpStatus::kClosed) == 2);
}

}  // namespace
}  // namespace penstock
