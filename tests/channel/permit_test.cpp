// SPDX-License-Identifier: MIT

// Places in a channel that are reserved before there is a value for them.

#include "penstock/channel/send_permit.hpp"

#include <chrono>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "penstock/core/task.hpp"
#include "support/aborts.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace testing;

using Outcome = std::optional<OpStatus>;
using Permit = SendPermit<int>;

const auto ignore = [](auto&&...) {};
const auto fail = [](auto&&...) { throw std::logic_error("a case was taken that must not be"); };

std::size_t any_buffer() { return GENERATE(as<std::size_t>(), 1, 3, 64); }

std::vector<Permit> reserve_all(Channel<int>& channel) {
  std::vector<Permit> permits;
  for (;;) {
    Reserved<int> place = channel.try_reserve();
    if (!place) return permits;
    permits.push_back(std::move(place.permit));
  }
}

Task<> receive_one(Channel<int>& channel, int& value, Outcome& outcome) {
  outcome = co_await channel.async_receive(value);
}

static_assert(!std::is_copy_constructible_v<Permit> && std::is_nothrow_move_constructible_v<Permit>);
static_assert(sizeof(Permit) == sizeof(void*));

TEST_CASE("Permit: a channel without a buffer has no place to reserve, and says so", "[channel][permit]") {
  Channel<int> channel(0);
  CHECK_THROWS_AS(channel.reserve(), std::invalid_argument);
  CHECK_THROWS_AS(channel.try_reserve(), std::invalid_argument);
  CHECK_THROWS_AS(channel.async_reserve(), std::invalid_argument);
  CHECK_THROWS_AS(channel.async_reserve(Context::background().with_timeout(1s)), std::invalid_argument);
  CHECK_THROWS_AS(channel.sender().try_reserve(), std::invalid_argument);
  CHECK_THROWS_WITH(channel.reserve(), "channel: a place can be reserved only in a buffer, and the capacity is 0");
  channel.close();
  CHECK_THROWS_AS(channel.reserve(), std::invalid_argument);  // a mistake whatever the state is
  CHECK(channel.stats().reserved == 0);
}

TEST_CASE("Permit: a reserved place is taken, and nothing is in it", "[channel][permit]") {
  const std::size_t capacity = any_buffer();
  Channel<int> channel(capacity);
  std::vector<Permit> permits = reserve_all(channel);
  CHECK(permits.size() == capacity);
  CHECK(channel.stats().reserved == capacity);
  CHECK(channel.size() == 0);
  CHECK(channel.try_receive().status == OpStatus::kEmpty);
  CHECK(channel.try_send(1) == OpStatus::kFull);
  const Reserved<int> refused = channel.try_reserve();
  CHECK(refused.status == OpStatus::kFull);
  CHECK_FALSE(refused);
  CHECK_FALSE(refused.permit);
  permits.pop_back();
  CHECK(channel.stats().reserved == capacity - 1);
  CHECK(channel.try_send(1) == OpStatus::kOk);
  CHECK(channel.try_send(2) == OpStatus::kFull);
  CHECK(channel.try_receive().value == 1);
}

TEST_CASE("Permit: a place that a value takes cannot be reserved", "[channel][permit]") {
  const std::size_t capacity = any_buffer();
  Channel<int> channel(capacity);
  for (std::size_t i = 0; i != capacity; ++i) REQUIRE(channel.try_send(1) == OpStatus::kOk);
  CHECK(channel.try_reserve().status == OpStatus::kFull);
  REQUIRE(channel.try_receive());
  Reserved<int> place = channel.reserve();
  CHECK(place);
  CHECK(place.permit);
  CHECK(channel.try_reserve().status == OpStatus::kFull);
}

TEST_CASE("Permit: what is sent through one finds room, and the place is a value's then", "[channel][permit]") {
  const std::size_t capacity = any_buffer();
  Channel<int> channel(capacity);
  for (int round = 0; round != 3; ++round) {  // and round the end of the buffer
    std::vector<Permit> permits = reserve_all(channel);
    int next = 0;
    for (Permit& permit : permits) {
      CHECK(permit.send(int(next++)) == OpStatus::kOk);
      CHECK_FALSE(permit);
      CHECK(channel.size() == static_cast<std::size_t>(next));
      CHECK(channel.stats().reserved == capacity - static_cast<std::size_t>(next));
      CHECK(channel.try_send(-1) == OpStatus::kFull);
    }
    for (int expected = 0; expected != next; ++expected) CHECK(channel.try_receive().value == expected);
    REQUIRE(channel.try_send(7) == OpStatus::kOk);
    CHECK(channel.try_receive().value == 7);
  }
  const ChannelStats stats = channel.stats();
  CHECK(stats.reserved == 0);
  CHECK(stats.sends == 3 * (capacity + 1));
  CHECK(stats.receives == stats.sends);
  CHECK(stats.high_water == capacity);
}

TEST_CASE("Permit: values come in the order of their sends, not of the reservations", "[channel][permit]") {
  Channel<int> channel(4);
  Permit first = channel.try_reserve().permit;
  Permit second = channel.try_reserve().permit;
  CHECK(channel.try_send(1) == OpStatus::kOk);
  CHECK(second.send(2) == OpStatus::kOk);
  CHECK(channel.try_send(3) == OpStatus::kOk);
  CHECK(first.send(4) == OpStatus::kOk);
  for (int expected = 1; expected <= 4; ++expected) CHECK(channel.try_receive().value == expected);
}

TEST_CASE("Permit: its value goes to the receiver that has waited longest", "[channel][permit]") {
  Channel<int> channel(any_buffer());
  std::vector<Permit> permits = reserve_all(channel);
  RunLoop loop;
  Call thread([&] { return channel.receive().value; });
  REQUIRE(eventually_blocked_receivers(channel, 1));
  int value = 0;
  Outcome received;
  auto task = spawn(loop, receive_one(channel, value, received));
  loop.run_ready();
  REQUIRE(channel.stats().blocked_receivers == 2);
  CHECK(channel.try_send(9) == OpStatus::kFull);  // no place, though somebody waits for a value
  CHECK(permits.back().send(1) == OpStatus::kOk);
  CHECK(thread.result() == 1);
  CHECK_FALSE(received);
  permits.pop_back();
  CHECK(channel.try_send(2) == OpStatus::kOk);
  loop.run_ready();
  CHECK(received == OpStatus::kOk);
  CHECK(value == 2);
  CHECK(channel.size() == 0);
}

TEST_CASE("Permit: after close it sends nothing, and the value stays", "[channel][permit]") {
  Channel<MoveOnly> channel(any_buffer() + 1);
  REQUIRE(channel.try_send(MoveOnly(1)) == OpStatus::kOk);
  SendPermit<MoveOnly> used = channel.reserve().permit;
  SendPermit<MoveOnly> dropped = channel.capacity() > 2 ? channel.reserve().permit : SendPermit<MoveOnly>();
  channel.close();
  MoveOnly value(2);
  CHECK(used.send(std::move(value)) == OpStatus::kClosed);
  CHECK(value.number() == 2);
  CHECK_FALSE(used);
  dropped = SendPermit<MoveOnly>();
  CHECK(channel.stats().reserved == 0);
  CHECK(channel.stats().sends == 1);
  CHECK(channel.reserve().status == OpStatus::kClosed);
  CHECK(channel.try_reserve().status == OpStatus::kClosed);
  CHECK(channel.receive().value->number() == 1);
  CHECK(channel.receive().status == OpStatus::kClosed);
}

TEST_CASE("Permit: moving one moves its place, and assigning drops the one that was there", "[channel][permit]") {
  Channel<int> channel(2);
  Permit first = channel.reserve().permit;
  Permit moved(std::move(first));
  CHECK_FALSE(first);
  CHECK(moved);
  CHECK(channel.stats().reserved == 1);
  Permit second = channel.reserve().permit;
  CHECK(channel.stats().reserved == 2);
  moved = std::move(second);
  CHECK_FALSE(second);
  CHECK(moved);
  CHECK(channel.stats().reserved == 1);
  Permit& same = moved;
  moved = std::move(same);
  CHECK(moved);
  CHECK(channel.stats().reserved == 1);
  CHECK(moved.send(1) == OpStatus::kOk);
  CHECK(channel.stats().reserved == 0);
  first = channel.reserve().permit;  // one that was moved from may be used anew
  CHECK(first.send(2) == OpStatus::kOk);
  CHECK(channel.try_receive().value == 1);
  CHECK(channel.try_receive().value == 2);
  CHECK_FALSE(Permit());
}

TEST_CASE("Permit: to use one twice, or an empty one, ends the process", "[channel][permit]") {
  const std::string text = "a permit to send was used twice, or holds no place";
  CHECK_THAT(message_of_abort([] {
               Channel<int> channel(2);
               Permit permit = channel.reserve().permit;
               static_cast<void>(permit.send(1));
               static_cast<void>(permit.send(2));
             }),
             ContainsSubstring(text));
  CHECK_THAT(message_of_abort([] {
               Permit permit;
               static_cast<void>(permit.send(1));
             }),
             ContainsSubstring(text));
  CHECK_THAT(message_of_abort([] {
               Channel<int> channel(1);
               Permit permit = channel.reserve().permit;
               const Permit owner = std::move(permit);
               static_cast<void>(permit.send(1));
             }),
             ContainsSubstring(text));
}

TEST_CASE("Permit: a channel that goes before its permits ends the process", "[channel][permit]") {
  CHECK_THAT(message_of_abort([] {
               Permit permit;
               Channel<int> channel(2);
               permit = channel.reserve().permit;
             }),
             ContainsSubstring("a channel was destroyed before a permit to send on it"));
}

TEST_CASE("Permit: select does not send into a reserved place, and waits for it", "[channel][permit][select]") {
  Channel<int> channel(any_buffer());
  Channel<int> other(0);
  std::vector<Permit> permits = reserve_all(channel);
  CHECK(select(on_send(channel, 1, fail), otherwise(ignore)) == 1);
  RunLoop loop;
  int value = 0;
  Outcome received;
  auto task = spawn(loop, receive_one(channel, value, received));
  loop.run_ready();
  CHECK(select(on_send(channel, 1, fail), otherwise(ignore)) == 1);  // a receiver waits, but there is no place
  Call call([&] { return select(on_receive(other, fail), on_send(channel, 2, ignore)); });
  REQUIRE(eventually_blocked_senders(channel, 1));
  permits.pop_back();
  CHECK(call.result() == 1);
  loop.run_ready();
  CHECK(received == OpStatus::kOk);
  CHECK(value == 2);
  CHECK(other.stats().blocked_receivers == 0);
}

TEST_CASE("Permit: its value ends a select that waits to receive", "[channel][permit][select]") {
  Channel<int> channel(any_buffer());
  Channel<int> other(0);
  Permit permit = channel.reserve().permit;
  CHECK(select(on_receive(channel, fail), otherwise(ignore)) == 1);
  int got = 0;
  Call call([&] { return select(on_send(other, 1, fail), on_receive(channel, [&](int value) { got = value; })); });
  REQUIRE(eventually_blocked_receivers(channel, 1));
  CHECK(permit.send(8) == OpStatus::kOk);
  CHECK(call.result() == 1);
  CHECK(got == 8);
  CHECK(channel.size() == 0);
}

}  // namespace
}  // namespace penstock
