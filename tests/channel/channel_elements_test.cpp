// SPDX-License-Identifier: MIT

// What a channel can carry, and what it does to its elements and does not.

#include <atomic>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace testing;

TEST_CASE("Channel: moves a value only when the send succeeds", "[channel]") {
  Channel<std::unique_ptr<int>> channel(1);
  auto first = std::make_unique<int>(1);
  auto second = std::make_unique<int>(2);
  CHECK(channel.try_send(std::move(first)) == OpStatus::kOk);
  CHECK(first == nullptr);
  CHECK(channel.try_send(std::move(second)) == OpStatus::kFull);
  CHECK(channel.send(std::move(second), Context::background().with_timeout(Duration(0))) == OpStatus::kTimedOut);
  REQUIRE(second != nullptr);
  CHECK(*second == 2);
}

TEST_CASE("Channel: carries values without default, copy or assignment", "[channel]") {
  Channel<MoveOnly> channel(2);
  CHECK(channel.send(MoveOnly(4)) == OpStatus::kOk);
  CHECK(channel.try_send(MoveOnly(5)) == OpStatus::kOk);
  CHECK(channel.receive().value->number() == 4);
  channel.close();
  for (MoveOnly& value : channel) CHECK(value.number() == 5);
}

TEST_CASE("Channel: keeps the alignment of its elements", "[channel]") {
  Channel<OverAligned> channel(3);
  for (int i = 0; i != 3; ++i) CHECK(channel.send(OverAligned{i}) == OpStatus::kOk);
  for (int i = 0; i != 3; ++i) {
    const Received<OverAligned> received = channel.receive();
    CHECK(received.value->is_aligned());
    CHECK(received.value->number == i);
  }
}

TEST_CASE("Channel: carries empty and large values", "[channel]") {
  Channel<Empty> nothing(2);
  CHECK(nothing.send(Empty{}) == OpStatus::kOk);
  CHECK(nothing.receive().status == OpStatus::kOk);
  Channel<Large> much(2);
  Large value;
  value.bytes.back() = std::byte{7};
  CHECK(much.send(value) == OpStatus::kOk);
  CHECK(much.receive().value->bytes.back() == std::byte{7});
}

TEST_CASE("Channel: a copy that throws leaves the channel as it was", "[channel]") {
  struct Fussy {
    Fussy() = default;
    Fussy(const Fussy&) { throw std::runtime_error("no copy"); }
    Fussy(Fussy&&) noexcept = default;
    Fussy& operator=(Fussy&&) noexcept = default;
    ~Fussy() = default;
  };
  Channel<Fussy> channel(1);
  const Fussy value;
  CHECK_THROWS_AS(channel.send(value), std::runtime_error);
  CHECK_THROWS_AS(channel.try_send(value), std::runtime_error);
  CHECK(channel.size() == 0);
  CHECK(channel.try_send(Fussy()) == OpStatus::kOk);
}

struct ThrowingMove {
  ThrowingMove(ThrowingMove&&) {}  // NOLINT: on purpose
};
static_assert(ChannelElement<MoveOnly> && ChannelElement<OverAligned> && ChannelElement<Empty>);
static_assert(!ChannelElement<ThrowingMove> && !ChannelElement<int&> && !ChannelElement<const int>);
static_assert(!ChannelElement<void> && !ChannelElement<int[2]>);
template <class C, class V>
concept CanSend = requires(C channel, V value) {
  channel.send(std::forward<V>(value));
};
static_assert(CanSend<Channel<MoveOnly>&, MoveOnly> && !CanSend<Channel<MoveOnly>&, MoveOnly&>);
static_assert(!std::is_copy_constructible_v<Channel<int>> && !std::is_move_constructible_v<Channel<int>>);
static_assert(noexcept(std::declval<Channel<int>&>().close()));

TEST_CASE("Channel: destructors of values run without its lock", "[channel]") {
  std::atomic<int> deaths{0};
  Channel<Watched> channel(GENERATE(as<std::size_t>(), 1, 3, 64));
  const auto use_channel = [&] {
    static_cast<void>(channel.size());  // would wait for ever under the lock
    ++deaths;
  };
  REQUIRE(channel.send(Watched(use_channel)) == OpStatus::kOk);
  Watched out(use_channel);
  REQUIRE(channel.receive(out) == OpStatus::kOk);  // the old value dies
  CHECK(deaths == 1);
  REQUIRE(channel.send(std::move(out)) == OpStatus::kOk);
  channel.close_and_drain();
  CHECK(deaths == 2);
  CHECK(channel.send(Watched(use_channel)) == OpStatus::kClosed);
  CHECK(deaths == 3);
}

}  // namespace
}  // namespace penstock
