// SPDX-License-Identifier: MIT

// What programs in Go may rely on, restated for ours: here single channels, in go_select_test.cpp selects, in
// go_memory_test.cpp what one thread sees of another's writes, in go_program_test.cpp whole programs. The numbers
// follow Go's own suites: 1..94 test/chan, 95..124 test, 125..149 runtime/chan_test.go, 150..205 race/testdata, then
// fixedbugs. Where Go panics, a status says why; where it waits for ever on a nil channel, a select with a null channel
// stands in.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "support/catch.hpp"
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

std::size_t small_capacity() { return GENERATE(as<std::size_t>(), 0, 1); }

/// Go runs this part of its suite for each capacity below 200.
std::size_t swept_capacity() { return GENERATE(as<std::size_t>(), 0, 1, 2, 3, 7, 10, 64, 100, 199); }

std::vector<int> fill(Channel<int>& channel) {
  std::vector<int> sent;
  while (channel.try_send(static_cast<int>(sent.size())) == OpStatus::kOk)
    sent.push_back(static_cast<int>(sent.size()));
  return sent;
}

TEST_CASE("Channel conformance 2: ten buffered values come out as they went in", "[conformance][channel]") {
  Channel<int> channel(10);
  for (int i = 0; i != 10; ++i) CHECK(channel.send(i) == OpStatus::kOk);
  for (int i = 0; i != 10; ++i) CHECK(channel.receive().value == i);
}

TEST_CASE("Channel conformance 3: receivers that hand the turn on see the values in order", "[conformance][channel]") {
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

TEMPLATE_TEST_CASE("Channel conformance 5-12: trying to receive from a new channel finds nothing",
                   "[conformance][channel]", std::int32_t, std::int64_t, bool, std::string) {
  Channel<TestType> channel(small_capacity());
  TestType value = sample<TestType>();
  CHECK(channel.try_receive(value) == OpStatus::kEmpty);
  CHECK(channel.try_receive().status == OpStatus::kEmpty);
  CHECK(value == sample<TestType>());
}

TEMPLATE_TEST_CASE("Channel conformance 13-20: trying to send succeeds once a receiver waits", "[conformance][channel]",
                   std::int32_t, std::int64_t, bool, std::string) {
  Channel<TestType> channel(small_capacity());
  Call call([&] { return channel.receive(); });
  REQUIRE(eventually([&] { return channel.try_send(sample<TestType>()) == OpStatus::kOk; }));
  CHECK(call.result().value == sample<TestType>());
}

TEMPLATE_TEST_CASE("Channel conformance 21-28: trying to receive succeeds once a sender waits",
                   "[conformance][channel]", std::int32_t, std::int64_t, bool, std::string) {
  Channel<TestType> channel(small_capacity());
  Call call([&] { return channel.send(sample<TestType>()); });
  TestType value{};
  REQUIRE(eventually([&] { return channel.try_receive(value) == OpStatus::kOk; }));
  CHECK(value == sample<TestType>());
  CHECK(call.result() == OpStatus::kOk);
}

TEST_CASE("Channel conformance 52: with free space a send does not wait", "[conformance][channel]") {
  Channel<int> channel(10);
  for (int i = 0; i != 10; ++i)
    CHECK(channel.send(i, Context::background().with_timeout(Duration(0))) == OpStatus::kOk);
}

TEST_CASE("Channel conformance 53: a receive from a closed channel never waits", "[conformance][channel]") {
  Channel<int> channel(small_capacity());
  channel.close();
  for (int i = 0; i != 10; ++i) {
    const Received<int> received = channel.receive();
    CHECK(received.status == OpStatus::kClosed);
    CHECK_FALSE(received.value.has_value());
  }
}

TEST_CASE("Channel conformance 54: a send to a closed channel is refused", "[conformance][channel]") {
  Channel<int> channel(small_capacity());
  channel.close();
  CHECK(channel.send(7) == OpStatus::kClosed);
}

TEST_CASE("Channel conformance 55: a receive from an empty channel waits", "[conformance][channel]") {
  Channel<int> channel(small_capacity());
  Call call([&] { return channel.receive(); });
  REQUIRE(eventually_blocked_receivers(channel, 1));
  CHECK_FALSE(call.has_ended());
  channel.close();
}

TEST_CASE("Channel conformance 87: a channel carries channels", "[conformance][channel]") {
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

TEST_CASE("Channel conformance 91-94: values without content are counted all the same", "[conformance][channel]") {
  Channel<Empty> channel(small_capacity());
  Call call([&] {
    int received = 0;
    for ([[maybe_unused]] Empty& value : channel) ++received;
    return received;
  });
  for (int i = 0; i != 100; ++i) CHECK(channel.send(Empty{}) == OpStatus::kOk);
  channel.close();
  CHECK(call.result() == 100);
}

TEST_CASE("Channel conformance 95-104: after close come the values, then three times nothing in every form",
          "[conformance][channel]") {
  Channel<int> channel(GENERATE(as<std::size_t>(), 0, 2));
  const std::vector<int> sent = fill(channel);
  CHECK(channel.close());
  std::size_t next = 0;
  int value = -1;
  if (!sent.empty()) {
    CHECK(channel.receive(value) == OpStatus::kOk);
    CHECK(value == sent[next++]);
    CHECK(channel.try_receive().value == sent[next++]);
  }
  for (int again = 0; again != 3; ++again) {
    CHECK(channel.receive().status == OpStatus::kClosed);
    CHECK(channel.receive(value) == OpStatus::kClosed);
    CHECK(channel.try_receive().status == OpStatus::kClosed);
    CHECK(channel.try_receive(value) == OpStatus::kClosed);
    CHECK(channel.try_send(1) == OpStatus::kClosed);
    CHECK(channel.send(1) == OpStatus::kClosed);
  }
}

TEST_CASE("Channel conformance 106: a second close says that it came late", "[conformance][channel]") {
  Channel<int> channel(small_capacity());
  CHECK(channel.close());
  CHECK_FALSE(channel.close());
}

TEST_CASE("Channel conformance 107-110: size and capacity", "[conformance][channel]") {
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

TEST_CASE("Channel conformance 110-116: sizes that are negative, or that no memory holds, are refused",
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

TEST_CASE("Channel conformance 118-123: batches through every capacity add up", "[conformance][channel]") {
  Channel<int> channel(GENERATE(as<std::size_t>(), 0, 1, 10, 100));
  constexpr int kRounds = 8;
  std::atomic<int> received{0};
  std::atomic<long> sum{0};
  const auto receiver = [&] {
    for (const int value : channel) {
      sum += value;
      ++received;
    }
    return true;
  };
  const auto sender = [&] {
    for (int i = 0; i != kRounds * 171; ++i) {
      if (channel.send(i) != OpStatus::kOk) return false;
    }
    return true;
  };
  Call first_receiver(receiver);
  Call second_receiver(receiver);
  {
    Call first_sender(sender);
    Call second_sender(sender);
    CHECK(first_sender.result());
    CHECK(second_sender.result());
  }
  channel.close();
  first_receiver.result();
  second_receiver.result();
  CHECK(received == 2 * kRounds * 171);
  CHECK(sum == 2L * (kRounds * 171 - 1) * (kRounds * 171) / 2);
}

TEST_CASE("Channel conformance 124, 143: many receivers share the values, each value goes to one",
          "[conformance][channel]") {
  constexpr int kReceivers = 23;
  constexpr int kValues = 27'182;
  Channel<int> queue(GENERATE(as<std::size_t>(), 0, 4, 25));
  std::vector<std::atomic<int>> seen(kValues);
  std::vector<std::unique_ptr<Call<bool>>> receivers;
  for (int i = 0; i != kReceivers; ++i) {
    receivers.push_back(std::make_unique<Call<bool>>([&] {
      for (const int value : queue) ++seen[static_cast<std::size_t>(value)];
      return true;
    }));
  }
  for (int i = 0; i != kValues; ++i) REQUIRE(queue.send(i) == OpStatus::kOk);
  queue.close();
  for (auto& receiver : receivers) receiver->result();
  CHECK(std::all_of(seen.begin(), seen.end(), [](const std::atomic<int>& count) { return count == 1; }));
}

TEST_CASE("Channel conformance 125-130: waiting on empty and full, and being let go by close",
          "[conformance][channel]") {
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

TEST_CASE("Channel conformance 131, 132: a hundred values from one thread arrive in order", "[conformance][channel]") {
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

TEST_CASE("Channel conformance 133: four senders and four receivers, each value exactly four times",
          "[conformance][channel]") {
  constexpr int kValues = 1000;
  Channel<int> channel(swept_capacity());
  std::vector<std::atomic<int>> seen(kValues);
  std::vector<std::unique_ptr<Call<bool>>> calls;
  for (int i = 0; i != 4; ++i) {
    calls.push_back(std::make_unique<Call<bool>>([&] {
      for (int value = 0; value != kValues; ++value) {
        if (channel.send(value) != OpStatus::kOk) return false;
      }
      return true;
    }));
    calls.push_back(std::make_unique<Call<bool>>([&] {
      for (int count = 0; count != kValues; ++count) {
        const Received<int> received = channel.receive();
        if (!received) return false;
        ++seen[static_cast<std::size_t>(*received.value)];
      }
      return true;
    }));
  }
  for (auto& call : calls) CHECK(call->result());
  CHECK(std::all_of(seen.begin(), seen.end(), [](const std::atomic<int>& count) { return count == 4; }));
  CHECK(channel.size() == 0);
  CHECK(channel.stats().sends == 4 * kValues);
  CHECK(channel.stats().receives == 4 * kValues);
}

TEST_CASE("Channel conformance 141: values whose type is erased arrive as what they are", "[conformance][channel]") {
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

TEST_CASE("Channel conformance 148: a barrier of empty rendezvous", "[conformance][channel]") {
  constexpr int kThreads = 10;
  constexpr int kRounds = 1000;
  Channel<Empty> ready(0);
  Channel<Empty> go(0);
  std::vector<std::unique_ptr<Call<bool>>> calls;
  for (int i = 0; i != kThreads; ++i) {
    calls.push_back(std::make_unique<Call<bool>>([&] {
      for (int round = 0; round != kRounds; ++round) {
        if (ready.send(Empty{}) != OpStatus::kOk || !go.receive()) return false;
      }
      return true;
    }));
  }
  for (int i = 0; i != kThreads * kRounds; ++i) {
    REQUIRE(ready.receive());
    REQUIRE(go.send(Empty{}) == OpStatus::kOk);
  }
  for (auto& call : calls) CHECK(call->result());
}

TEST_CASE("Channel conformance 207, 210: every form of receiving gives the value", "[conformance][channel]") {
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

}  // namespace
}  // namespace penstock
