// SPDX-License-Identifier: MIT

// Handles for one direction: what they cannot do does not compile.

#include <type_traits>

#include "conformance/go_support.hpp"
#include "penstock/channel/channel_ends.hpp"

namespace penstock {
namespace {

using namespace testing;

template <class C>
concept Sends = requires(C& channel) {
  channel.send(1);
};
template <class C>
concept TriesToSend = requires(C& channel) {
  channel.try_send(1);
};
template <class C>
concept AwaitsSend = requires(C& channel) {
  channel.async_send(1);
};
template <class C>
concept Receives = requires(C& channel) {
  channel.receive();
};
template <class C>
concept ReceivesInto = requires(C& channel, int& value) {
  channel.receive(value);
};
template <class C>
concept TriesToReceive = requires(C& channel) {
  channel.try_receive();
};
template <class C>
concept AwaitsReceive = requires(C& channel) {
  channel.async_receive();
};
template <class C>
concept IsRange = requires(C& channel) {
  channel.begin();
};
template <class C>
concept Closes = requires(C& channel) {
  channel.close();
};
template <class C>
concept Drains = requires(C& channel) {
  channel.close_and_drain();
};

template <class C>
concept SelectsToReceive = requires(C& channel) {
  on_receive(channel, ignore);
};
template <class C>
concept SelectsToSend = requires(C& channel) {
  on_send(channel, 1, ignore);
};
static_assert(SelectsToReceive<Receiver<int>> && SelectsToSend<Sender<int>>);
static_assert(!SelectsToReceive<Sender<int>> && !SelectsToSend<Receiver<int>>);

static_assert(Sends<Channel<int>> && Receives<Channel<int>> && Closes<Channel<int>> && IsRange<Channel<int>>);
static_assert(Sends<Sender<int>> && TriesToSend<Sender<int>> && AwaitsSend<Sender<int>> && Closes<Sender<int>>);
static_assert(Receives<Receiver<int>> && ReceivesInto<Receiver<int>> && TriesToReceive<Receiver<int>> &&
              AwaitsReceive<Receiver<int>> && IsRange<Receiver<int>>);

static_assert(!Receives<Sender<int>> && !ReceivesInto<Sender<int>> && !TriesToReceive<Sender<int>> &&
              !AwaitsReceive<Sender<int>> && !IsRange<Sender<int>> && !Drains<Sender<int>>);
static_assert(!Sends<Receiver<int>> && !TriesToSend<Receiver<int>> && !AwaitsSend<Receiver<int>> &&
              !Closes<Receiver<int>> && !Drains<Receiver<int>>);

// A direction is given up, never regained; and none is made of the other.
static_assert(!std::is_convertible_v<Sender<int>, Receiver<int>> && !std::is_convertible_v<Receiver<int>, Sender<int>>);
static_assert(!std::is_constructible_v<Channel<int>, Sender<int>> &&
              !std::is_constructible_v<Channel<int>, Receiver<int>>);
static_assert(!std::is_constructible_v<Sender<int>, Receiver<int>> &&
              !std::is_constructible_v<Receiver<int>, Sender<int>>);

TEST_CASE("Channel conformance: what goes in by one direction's handle comes out by the other's",
          "[conformance][channel]") {
  Channel<int> channel(any_capacity());
  const Sender<int> in(channel);
  const Receiver<int> out(channel);
  Call call([&] {
    for (int i = 0; i != 100; ++i) {
      if (in.send(i) != OpStatus::kOk) return false;
    }
    return in.close();
  });
  int next = 0;
  for (const int value : out) CHECK(value == next++);
  CHECK(next == 100);
  CHECK(call.result());
  CHECK(in.send(1) == OpStatus::kClosed);
  CHECK(out.receive().status == OpStatus::kClosed);
}

}  // namespace
}  // namespace penstock
