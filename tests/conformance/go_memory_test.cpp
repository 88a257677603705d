// SPDX-License-Identifier: MIT

// What one thread sees of another's writes: plain memory that is handed over by channel operations alone. Under a
// sanitizer that sees races a missing edge is a report; elsewhere the values are checked.

#include <memory>
#include <utility>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace testing;

const auto ignore = [](auto&&...) {};

TEST_CASE("Channel conformance 150-171: what was done before is visible after", "[conformance][channel]") {
  int data = 0;
  SECTION("a send before its receive") {
    Channel<int> channel(GENERATE(as<std::size_t>(), 0, 1, 10));
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
    Channel<int> channel(2);
    CHECK(channel.send(0) == OpStatus::kOk);
    CHECK(channel.send(0) == OpStatus::kOk);
    Call call([&] {
      data = 1;
      return channel.receive();
    });
    CHECK(channel.send(0) == OpStatus::kOk);
    CHECK(data == 1);
  }
  SECTION("a close before the receive that sees it") {
    Channel<int> channel(GENERATE(as<std::size_t>(), 0, 10));
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

TEST_CASE("Channel conformance 172-194: asking, sending and closing at once is defined", "[conformance][channel]") {
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

TEST_CASE("Channel conformance 160: a pointer that is sent carries what it points to", "[conformance][channel]") {
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

TEST_CASE("Channel conformance 195-199: a select hands memory over as plain operations do", "[conformance][channel]") {
  int data = 0;
  Channel<Empty> channel(GENERATE(as<std::size_t>(), 0, 1));
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

TEST_CASE("Channel conformance 205: an otherwise that may or may not be taken", "[conformance][channel]") {
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

}  // namespace
}  // namespace penstock
