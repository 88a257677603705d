// SPDX-License-Identifier: MIT

// Closing, and what comes after.

#include <vector>

#include "conformance/go_support.hpp"

namespace penstock {
namespace {

using namespace testing;

TEST_CASE("Channel conformance: a receive from a closed channel never waits", "[conformance][channel]") {
  Channel<int> channel(any_capacity());
  channel.close();
  for (int i = 0; i != 10; ++i) {
    const Received<int> received = channel.receive();
    CHECK(received.status == OpStatus::kClosed);
    CHECK_FALSE(received.value.has_value());
  }
}

TEST_CASE("Channel conformance: a send to a closed channel is refused", "[conformance][channel]") {
  Channel<int> channel(any_capacity());
  channel.close();
  CHECK(channel.send(7) == OpStatus::kClosed);
}

TEST_CASE("Channel conformance: after close come the values, then three times nothing in every form",
          "[conformance][channel]") {
  Channel<int> channel(any_capacity());
  const std::vector<int> sent = fill(channel);
  CHECK(channel.close());
  std::size_t next = 0;
  int value = -1;
  while (next != sent.size()) {  // each in another form
    const std::size_t form = next % 5;
    if (form == 0) CHECK((channel.receive(value) == OpStatus::kOk && value == sent[next]));
    if (form == 1) CHECK(channel.try_receive().value == sent[next]);
    if (form == 2) CHECK(channel.receive().value == sent[next]);
    if (form == 3) CHECK((channel.try_receive(value) == OpStatus::kOk && value == sent[next]));
    if (form == 4) CHECK(select(on_receive(channel, [&](int got) { value = got; })) == 0);
    if (form == 4) CHECK(value == sent[next]);
    ++next;
  }
  for (int again = 0; again != 3; ++again) {
    CHECK(channel.receive().status == OpStatus::kClosed);
    CHECK(channel.receive(value) == OpStatus::kClosed);
    CHECK(channel.try_receive().status == OpStatus::kClosed);
    CHECK(channel.try_receive(value) == OpStatus::kClosed);
    CHECK(channel.try_send(1) == OpStatus::kClosed);
    CHECK(channel.send(1) == OpStatus::kClosed);
    const auto is_closed = [](Received<int> received) { REQUIRE(received.status == OpStatus::kClosed); };
    CHECK(select(on_receive(channel, is_closed)) == 0);
    CHECK(select(on_receive(channel, is_closed), otherwise(fail)) == 0);
    CHECK(select(on_send(channel, 1, [](OpStatus status) { REQUIRE(status == OpStatus::kClosed); })) == 0);
    for (const int each : channel) FAIL("received " << each);
  }
}

TEST_CASE("Channel conformance: a second close says that it came late", "[conformance][channel]") {
  Channel<int> channel(any_capacity());
  CHECK(channel.close());
  CHECK_FALSE(channel.close());
}

TEST_CASE("Channel conformance: close keeps the order of what is buffered, at every capacity",
          "[conformance][channel]") {
  Channel<int> channel(swept_capacity());
  const std::vector<int> sent = fill(channel);
  CHECK(channel.close());
  std::vector<int> received;
  for (const int value : channel) received.push_back(value);
  CHECK(received == sent);
  CHECK(channel.stats().receives == sent.size());
}

TEST_CASE("Channel conformance: a value in the buffer, or the close behind it, is always there to be received",
          "[conformance][channel]") {
  for (int round = 0; round != 2'000; ++round) {
    Channel<int> channel(1);
    REQUIRE(channel.send(1) == OpStatus::kOk);
    Call call([&] { return select(on_receive(channel, ignore), otherwise(ignore)); });
    channel.close();
    static_cast<void>(channel.receive());
    REQUIRE(call.result() == 0);
  }
}

TEST_CASE("Channel conformance: of many who close at once one is the first", "[conformance][channel]") {
  for (int round = 0; round != 50; ++round) {
    Channel<int> channel(any_capacity());
    Call one([&] { return channel.close(); });
    Call two([&] { return channel.close(); });
    Call three([&] { return channel.close(); });
    REQUIRE(one.result() + two.result() + three.result() == 1);
    REQUIRE(channel.stats().closes == 3);
  }
}

}  // namespace
}  // namespace penstock
