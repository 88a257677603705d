// SPDX-License-Identifier: MIT

// Single channels: order, waiting, sizes, and what they carry.

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "conformance/go_support.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace testing;

template <class T>
T sample() {
  if constexpr (std::is_same_v<T, std::string>) {
    return "hello";
  } else if constexpr (std::is_same_v<T, bool>) {
    return true;
  } else {
    return static_cast<T>(123);
  }
}

TEST_CASE("Channel conformance: ten buffered values come out as they went in", "[conformance][channel]") {
  Channel<int> channel(GENERATE(as<std::size_t>(), 10, 64));
  for (int i = 0; i != 10; ++i) CHECK(channel.send(i) == OpStatus::kOk);
  for (int i = 0; i != 10; ++i) CHECK(channel.receive().value == i);
}

TEST_CASE("Channel conformance: receivers that hand the turn on see the values in order", "[conformance][channel]") {
  Channel<int> channel(0);
  Recorder<int> seen;
  std::vector<std::unique_ptr<Channel<int>>> turns;
  for (int i = 0; i <= 10; ++i) turns.push_back(std::make_unique<Channel<int>>(1));
  std::vector<std::unique_ptr<Call<bool>>> calls;
  for (std::size_t i = 0; i != 10; ++i) {
    calls.push_back(std::make_unique<Call<bool>>([&, i] {
      const bool had_turn = static_cast<bool>(turns[i]->receive());
      seen.record(channel.receive().value.value_or(-1));
      return had_turn && turns[i + 1]->send(1) == OpStatus::kOk;
    }));
  }
  CHECK(turns[0]->send(1) == OpStatus::kOk);
  for (int i = 0; i != 10; ++i) CHECK(channel.send(i) == OpStatus::kOk);
  for (auto& call : calls) CHECK(call->result());
  CHECK(seen.events() == std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEMPLATE_TEST_CASE("Channel conformance: trying to receive from a new channel finds nothing", "[conformance][channel]",
                   std::int32_t, std::int64_t, bool, std::string) {
  Channel<TestType> channel(any_capacity());
  TestType value = sample<TestType>();
  CHECK(channel.try_receive(value) == OpStatus::kEmpty);
  CHECK(channel.try_receive().status == OpStatus::kEmpty);
  CHECK(value == sample<TestType>());
}

TEMPLATE_TEST_CASE("Channel conformance: trying to send succeeds once a receiver waits", "[conformance][channel]",
                   std::int32_t, std::int64_t, bool, std::string) {
  Channel<TestType> channel(any_capacity());
  Call call([&] { return channel.receive(); });
  REQUIRE(eventually([&] { return channel.try_send(sample<TestType>()) == OpStatus::kOk; }));
  CHECK(call.result().value == sample<TestType>());
}

TEMPLATE_TEST_CASE("Channel conformance: trying to receive succeeds once a sender waits", "[conformance][channel]",
                   std::int32_t, std::int64_t, bool, std::string) {
  Channel<TestType> channel(any_capacity());
  Call call([&] { return channel.send(sample<TestType>()); });
  TestType value{};
  REQUIRE(eventually([&] { return channel.try_receive(value) == OpStatus::kOk; }));
  CHECK(value == sample<TestType>());
  CHECK(call.result() == OpStatus::kOk);
}

TEST_CASE("Channel conformance: with free space a send does not wait", "[conformance][channel]") {
  Channel<int> channel(any_buffer());
  for (std::size_t i = 0; i != channel.capacity(); ++i)
    CHECK(channel.send(1, Context::background().with_timeout(Duration(0))) == OpStatus::kOk);
}

TEST_CASE("Channel conformance: a receive from an empty channel waits", "[conformance][channel]") {
  Channel<int> channel(any_capacity());
  Call call([&] { return channel.receive(); });
  REQUIRE(eventually_blocked_receivers(channel, 1));
  CHECK_FALSE(call.has_ended());
  channel.close();
}

TEST_CASE("Channel conformance: a channel carries channels", "[conformance][channel]") {
  Channel<std::shared_ptr<Channel<int>>> channels(1);
  auto inner = std::make_shared<Channel<int>>(1);
  CHECK(channels.send(inner) == OpStatus::kOk);
  CHECK((*channels.receive().value)->send(3) == OpStatus::kOk);
  CHECK(inner->receive().value == 3);

  struct Request {
    int question;
    Channel<Request>* reply;  // a channel of the very type that names it
  };
  Channel<Request> requests(1);
  Channel<Request> replies(1);
  CHECK(requests.send(Request{1, &replies}) == OpStatus::kOk);
  Received<Request> request = requests.receive();
  CHECK(request.value->reply->send(Request{2, nullptr}) == OpStatus::kOk);
  CHECK(replies.receive().value->question == 2);
}

TEST_CASE("Channel conformance: values without content are counted all the same", "[conformance][channel]") {
  Channel<Empty> channel(any_capacity());
  Call call([&] {
    int received = 0;
    for ([[maybe_unused]] Empty& value : channel) ++received;
    return received;
  });
  for (int i = 0; i != 100; ++i) CHECK(channel.send(Empty{}) == OpStatus::kOk);
  channel.close();
  CHECK(call.result() == 100);
}

TEST_CASE("Channel conformance: size and capacity", "[conformance][channel]") {
  Channel<int> channel(10);
  CHECK(channel.size() == 0);
  CHECK(channel.capacity() == 10);
  for (int i = 0; i != 3; ++i) CHECK(channel.send(i) == OpStatus::kOk);
  CHECK(channel.size() == 3);
  CHECK(channel.capacity() == 10);
  Channel<int> rendezvous(0);
  CHECK(rendezvous.size() == 0);
  CHECK(rendezvous.capacity() == 0);
}

TEST_CASE("Channel conformance: sizes that are negative, or that no memory holds, are refused",
          "[conformance][channel]") {
  CHECK_THROWS_AS(Channel<int>(static_cast<std::size_t>(-1)), std::invalid_argument);
  CHECK_THROWS_AS(Channel<int>(static_cast<std::size_t>(-9223372036854775807LL - 1)), std::invalid_argument);
  CHECK_THROWS_AS(Channel<Large>(std::numeric_limits<std::size_t>::max() / sizeof(Large)), std::invalid_argument);
  CHECK_THROWS_AS(Channel<Large>(std::numeric_limits<std::size_t>::max() / sizeof(Large) + 1), std::invalid_argument);
}
template <class From>
concept MakesChannel = requires(From from) {
  Channel<int>{from};
};
static_assert(MakesChannel<std::size_t> && !MakesChannel<double> && !MakesChannel<const char*>);

TEST_CASE("Channel conformance: waiting on empty and full, and being let go by close", "[conformance][channel]") {
  const std::size_t capacity = swept_capacity();
  {
    Channel<int> channel(capacity);
    Call first([&] { return channel.receive(); });
    Call second([&] { return channel.receive(); });
    REQUIRE(eventually_blocked_receivers(channel, 2));
    CHECK_FALSE((first.has_ended() || second.has_ended()));
    CHECK(channel.close());
    CHECK(first.result().status == OpStatus::kClosed);
    CHECK(second.result().status == OpStatus::kClosed);
  }
  Channel<int> channel(capacity);
  CHECK(channel.try_receive().status == OpStatus::kEmpty);
  std::vector<int> sent = fill(channel);
  CHECK(sent.size() == capacity);
  Call call([&] { return channel.send(-1); });
  REQUIRE(eventually_blocked_senders(channel, 1));
  CHECK(channel.try_send(-2) == OpStatus::kFull);
  CHECK_FALSE(call.has_ended());
  sent.push_back(-1);
  CHECK(channel.receive().value == sent.front());
  CHECK(call.result() == OpStatus::kOk);
  CHECK(channel.close());
  for (std::size_t i = 1; i != sent.size(); ++i) CHECK(channel.receive().value == sent[i]);
  CHECK(channel.receive().status == OpStatus::kClosed);
}

TEST_CASE("Channel conformance: a hundred values from one thread arrive in order", "[conformance][channel]") {
  Channel<int> channel(swept_capacity());
  Call call([&] {
    for (int i = 0; i != 100; ++i) {
      if (channel.send(i) != OpStatus::kOk) return false;
    }
    return true;
  });
  for (int i = 0; i != 100; ++i) {
    const Received<int> received = channel.receive();
    REQUIRE(received.status == OpStatus::kOk);
    REQUIRE(received.value == i);
  }
  CHECK(call.result());
}

TEST_CASE("Channel conformance: values whose type is erased arrive as what they are", "[conformance][channel]") {
  struct Shape {
    Shape() = default;
    Shape(const Shape&) = delete;
    Shape& operator=(const Shape&) = delete;
    virtual ~Shape() = default;
    virtual int corners() const = 0;
  };
  struct Triangle final : Shape {
    int corners() const override { return 3; }
  };
  Channel<std::unique_ptr<Shape>> channel(1);
  CHECK(channel.send(std::make_unique<Triangle>()) == OpStatus::kOk);
  CHECK((*channel.receive().value)->corners() == 3);
}

TEST_CASE("Channel conformance: every form of receiving gives the value", "[conformance][channel]") {
  Channel<int> channel(1);
  const auto send = [&] { REQUIRE(channel.send(42) == OpStatus::kOk); };
  int value = 0;
  send();
  CHECK((channel.receive(value) == OpStatus::kOk && value == 42));
  send();
  CHECK((channel.try_receive(value = 0) == OpStatus::kOk && value == 42));
  send();
  CHECK(channel.receive().value == 42);
  send();
  CHECK(channel.try_receive().value == 42);
  send();
  if (const Received<int> received = channel.receive()) {
    CHECK(*received.value == 42);
  } else {
    FAIL("nothing received");
  }
  send();
  channel.close();
  for (const int each : channel) CHECK(each == 42);
  CHECK(channel.receive(value) == OpStatus::kClosed);
  CHECK_FALSE(channel.try_receive().value.has_value());
}

TEST_CASE("Channel conformance: values of length nothing pass like others", "[conformance][channel]") {
  using Nothing = std::array<int, 0>;
  Channel<Nothing> channel(any_capacity());
  Call call([&] { return channel.send(Nothing{}); });
  CHECK(channel.receive().value.has_value());
  CHECK(call.result() == OpStatus::kOk);
  CHECK(channel.size() == 0);
}

TEST_CASE("Channel conformance: size counts what is buffered, not who waits, at every capacity",
          "[conformance][channel]") {
  Channel<int> channel(swept_capacity());
  CHECK(channel.size() == 0);
  const std::size_t sent = fill(channel).size();
  CHECK(sent == channel.capacity());
  CHECK(channel.size() == sent);
  Call sender([&] { return channel.send(-1); });
  REQUIRE(eventually_blocked_senders(channel, 1));
  CHECK(channel.size() == sent);
  for (std::size_t left = sent + 1; left != 0; --left) {
    CHECK(channel.receive());
    CHECK(channel.size() == std::min(left - 1, sent));
  }
  CHECK(sender.result() == OpStatus::kOk);
  Call receiver([&] { return channel.receive(); });
  REQUIRE(eventually_blocked_receivers(channel, 1));
  CHECK(channel.size() == 0);
  CHECK(channel.send(1) == OpStatus::kOk);
  CHECK(channel.size() == 0);
}

TEST_CASE("Channel conformance: what is sent may be any expression, evaluated once", "[conformance][channel]") {
  Channel<int> channel(any_buffer());
  int calls = 0;
  const auto next = [&] { return ++calls; };
  const std::size_t capacity = channel.capacity();
  CHECK(channel.send(next() + static_cast<int>(capacity) * 10) == OpStatus::kOk);
  CHECK(channel.try_receive().value == 1 + static_cast<int>(capacity) * 10);
  CHECK(channel.send([](bool yes) { return yes ? 1 : 2; }(capacity != 0)) == OpStatus::kOk);
  CHECK(channel.receive().value == 1);
  CHECK(calls == 1);
}

}  // namespace
}  // namespace penstock
