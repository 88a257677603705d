// SPDX-License-Identifier: MIT

// What one thread sees of another's writes: plain memory that is handed over by channel operations alone. Under a
// sanitizer that sees races a missing edge is a report; elsewhere the values are checked.

#include <array>
#include <cstddef>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "conformance/go_support.hpp"

namespace penstock {
namespace {

using namespace testing;

TEST_CASE("Channel conformance: what was done before is visible after", "[conformance][channel]") {
  int data = 0;
  SECTION("a send before its receive") {
    Channel<int> channel(any_capacity());
    Call call([&] {
      data = 1;
      return channel.send(0);
    });
    CHECK(channel.receive().value == 0);
    CHECK(data == 1);
  }
  SECTION("a receive before its send returns, unbuffered") {
    Channel<int> channel(0);
    Call call([&] {
      data = 1;
      return channel.receive();
    });
    CHECK(channel.send(0) == OpStatus::kOk);
    CHECK(data == 1);
  }
  SECTION("the k-th receive before the (k + capacity)-th send returns") {
    Channel<int> channel(any_buffer());
    fill(channel);
    Call call([&] {
      data = 1;
      return channel.receive();
    });
    CHECK(channel.send(0) == OpStatus::kOk);
    CHECK(data == 1);
  }
  SECTION("a close before the receive that sees it") {
    Channel<int> channel(any_capacity());
    Call call([&] {
      data = 1;
      return channel.close();
    });
    CHECK(channel.receive().status == OpStatus::kClosed);
    CHECK(data == 1);
  }
  SECTION("a channel of capacity one as a mutex") {
    Channel<Empty> mutex(1);
    const auto increment = [&] {
      for (int i = 0; i != 1000; ++i) {
        if (mutex.send(Empty{}) != OpStatus::kOk) return false;
        ++data;
        if (!mutex.receive()) return false;
      }
      return true;
    };
    {
      Call one(increment);
      Call two(increment);
    }
    CHECK(data == 2000);
  }
}

TEST_CASE("Channel conformance: asking, sending and closing at once is defined", "[conformance][channel]") {
  Channel<int> channel(2);
  Call sender([&] { return channel.send(1); });
  Call closer([&] { return channel.close(); });
  Call second_closer([&] { return channel.close(); });
  CHECK(channel.size() <= 2);
  CHECK(channel.capacity() == 2);
  CHECK(closer.result() != second_closer.result());
  const bool sent = sender.result() == OpStatus::kOk;
  CHECK(channel.close_and_drain().size() == (sent ? 1U : 0U));
}

TEST_CASE("Channel conformance: a pointer that is sent carries what it points to", "[conformance][channel]") {
  Channel<std::unique_ptr<int>> there(0);
  Channel<std::unique_ptr<int>> back(0);
  Call call([&] {
    for (std::unique_ptr<int>& number : there) {
      ++*number;
      if (back.send(std::move(number)) != OpStatus::kOk) return false;
    }
    return true;
  });
  auto number = std::make_unique<int>(0);
  for (int round = 1; round <= 1000; ++round) {
    REQUIRE(there.send(std::move(number)) == OpStatus::kOk);
    REQUIRE(back.receive(number) == OpStatus::kOk);
    REQUIRE(*number == round);
  }
  there.close();
  CHECK(call.result());
}

TEST_CASE("Channel conformance: a select hands memory over as plain operations do", "[conformance][channel]") {
  int data = 0;
  Channel<Empty> channel(any_capacity());
  Channel<Empty> never(0);
  SECTION("from a select that sends to a receive") {
    Call call([&] {
      data = 1;
      return select(on_send(channel, Empty{}, ignore), on_receive(never, ignore));
    });
    CHECK(channel.receive());
    CHECK(data == 1);
  }
  SECTION("from a send to a select that receives") {
    Call call([&] {
      data = 1;
      return channel.send(Empty{});
    });
    CHECK(select(on_receive(never, ignore), on_receive(channel, ignore)) == 1);
    CHECK(data == 1);
  }
  SECTION("between two selects") {
    Call call([&] {
      data = 1;
      return select(on_send(channel, Empty{}, ignore), on_send(never, Empty{}, ignore));
    });
    CHECK(select(on_receive(channel, ignore)) == 0);
    CHECK(data == 1);
  }
  SECTION("from a select that receives to the send, unbuffered") {
    Channel<Empty> rendezvous(0);
    Call call([&] {
      data = 1;
      return select(on_receive(rendezvous, ignore), on_receive(never, ignore));
    });
    CHECK(rendezvous.send(Empty{}) == OpStatus::kOk);
    CHECK(data == 1);
  }
  SECTION("from a close to the select that sees it") {
    Call call([&] {
      data = 1;
      return channel.close();
    });
    CHECK(select(on_receive(channel, ignore), on_receive(never, ignore)) == 0);
    CHECK(data == 1);
  }
}

TEST_CASE("Channel conformance: an otherwise that may or may not be taken", "[conformance][channel]") {
  int data = 0;
  Channel<Empty> channel(1);
  Call call([&] {
    data = 1;
    return channel.send(Empty{});
  });
  const bool received = select(on_receive(channel, ignore), otherwise(ignore)) == 0;
  if (!received) CHECK(channel.receive());
  CHECK(data == 1);
}

TEST_CASE("Channel conformance: a close is seen with what was before it, in every form of receiving",
          "[conformance][channel]") {
  Channel<Empty> channel(any_capacity());
  const int form = GENERATE(0, 1, 2, 3, 4);
  int data = 0;
  Call call([&] {
    data = 1;
    return channel.close();
  });
  Empty value;
  if (form == 0) CHECK_FALSE(channel.receive());
  if (form == 1) CHECK(channel.receive(value) == OpStatus::kClosed);
  if (form == 2) {
    for ([[maybe_unused]] const Empty& each : channel) FAIL("there is no value");
  }
  if (form == 3) CHECK(eventually([&] { return channel.try_receive().status == OpStatus::kClosed; }));
  if (form == 4) CHECK(eventually([&] { return channel.try_send(Empty{}) == OpStatus::kClosed; }));
  CHECK(data == 1);
}

TEST_CASE("Channel conformance: a select on a channel of one place is a mutex", "[conformance][channel]") {
  int data = 0;
  Channel<Empty> mutex(1);
  Channel<Empty> never(0);
  const auto increment = [&] {
    for (int i = 0; i != 500; ++i) {
      select(on_send(mutex, Empty{}, ignore), on_receive(never, fail));
      ++data;
      select(on_receive(never, fail), on_receive(mutex, ignore));
    }
    return true;
  };
  {
    Call one(increment);
    Call two(increment);
    Call three(increment);
  }
  CHECK(data == 1500);
}

TEST_CASE("Channel conformance: who receives from all has seen what all did", "[conformance][channel]") {
  constexpr std::size_t kThreads = 8;
  std::array<int, kThreads> data{};
  Channel<Empty> done(any_capacity());
  std::vector<std::unique_ptr<Call<OpStatus>>> calls;
  for (std::size_t i = 0; i != kThreads; ++i) {
    calls.push_back(std::make_unique<Call<OpStatus>>([&, i] {
      data[i] = 1;
      return done.send(Empty{});
    }));
  }
  for (std::size_t i = 0; i != kThreads; ++i) CHECK(done.receive());
  CHECK(std::accumulate(data.begin(), data.end(), 0) == kThreads);
}

TEST_CASE("Channel conformance: a sender that waited sees what its receiver did before", "[conformance][channel]") {
  // The receive begins when the sender is in line already, so that it is the receiver who completes both.
  Channel<Empty> channel(any_capacity());
  while (channel.try_send(Empty{}) == OpStatus::kOk) {
  }
  Channel<Empty> never(0);
  const bool by_select = GENERATE(false, true);
  int data = 0;
  int seen = 0;
  Call call([&] {
    if (by_select) {
      select(on_receive(never, fail), on_send(channel, Empty{}, ignore));
    } else if (channel.send(Empty{}) != OpStatus::kOk) {
      return false;
    }
    seen = data;
    return true;
  });
  REQUIRE(eventually_blocked_senders(channel, 1));
  data = 1;
  CHECK(channel.receive());
  CHECK(call.result());
  CHECK(seen == 1);
}

TEST_CASE("Channel conformance: producers and consumers own what they hold", "[conformance][channel]") {
  constexpr int kItems = 500;
  Channel<int*> items(any_capacity());
  std::vector<int> memory(2 * kItems);
  const auto produce = [&](std::size_t first) {
    for (std::size_t i = first; i != first + kItems; ++i) {
      memory[i] = static_cast<int>(i);
      if (items.send(&memory[i]) != OpStatus::kOk) return false;
    }
    return true;
  };
  const auto consume = [&] {
    long sum = 0;
    for (int* const item : items) sum += std::exchange(*item, -1);
    return sum;
  };
  Call first_consumer(consume);
  Call second_consumer(consume);
  {
    Call first_producer([&] { return produce(0); });
    Call second_producer([&] { return produce(kItems); });
    CHECK((first_producer.result() && second_producer.result()));
  }
  items.close();
  CHECK(first_consumer.result() + second_consumer.result() == (2L * kItems - 1) * kItems);
  CHECK(memory == std::vector<int>(2 * kItems, -1));
}

}  // namespace
}  // namespace penstock
