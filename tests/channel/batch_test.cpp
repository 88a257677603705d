// SPDX-License-Identifier: MIT

// Many values in one call.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <limits>
#include <new>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "channel/batches.hpp"
#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/core/task.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace penstock {

namespace {

using namespace std::chrono_literals;
using namespace testing;

template <class T>
Task<> receive_some(Channel<T>& channel, std::vector<T>& out, std::size_t most, Batch& outcome) {
  outcome = co_await channel.async_receive_many(out, most);
}

template <class T>
bool balances(const Channel<T>& channel) {
  const ChannelStats stats = channel.stats();
  return stats.sends == stats.receives + stats.drained + channel.size();
}

TEST_CASE("Batch: as many are sent as there is room for, in order, and the rest stays", "[channel][batch]") {
  const std::size_t capacity = any_capacity();
  Channel<MoveOnly> channel(capacity);
  for (int round = 0; round != 3; ++round) {  // and round the end of the buffer
    std::vector<MoveOnly> values = boxes(0, static_cast<int>(capacity) + 2);
    CHECK(channel.try_send_many(values) == BatchResult{OpStatus::kFull, capacity});
    for (std::size_t i = 0; i != values.size(); ++i) CHECK(values[i].is_moved_from() == (i < capacity));
    CHECK(channel.size() == capacity);
    CHECK(channel.try_send_many(std::span(values).subspan(capacity)) == BatchResult{OpStatus::kFull, 0});
    std::vector<MoveOnly> got;
    const std::size_t some = capacity / 2;
    if (some != 0) CHECK(channel.try_receive_many(got, some) == BatchResult{OpStatus::kOk, some});
    if (capacity != 0) CHECK(channel.try_receive_many(got, 1000) == BatchResult{OpStatus::kOk, capacity - some});
    CHECK(channel.try_receive_many(got, 1000) == BatchResult{OpStatus::kEmpty, 0});
    REQUIRE(got.size() == capacity);
    for (std::size_t i = 0; i != capacity; ++i) CHECK(got[i].number() == static_cast<int>(i));
    if (capacity != 0) {
      std::vector<MoveOnly> one = boxes(0, 1);
      CHECK(channel.try_send_many(one) == BatchResult{OpStatus::kOk, 1});
      CHECK(channel.try_receive().value->number() == 0);
    }
  }
  CHECK(balances(channel));
  CHECK(channel.stats().sends == 3 * (capacity + (capacity != 0 ? 1 : 0)));
}

TEST_CASE("Batch: one that is empty has been sent, and one that may take none has been received, whatever the state is",
          "[channel][batch]") {
  Channel<int> channel(any_capacity());
  RunLoop loop;
  const Context ended = Context::background().with_timeout(0s);
  for (const bool closed : {false, true}) {
    if (closed) channel.close();
    std::vector<int> none;
    CHECK(channel.try_send_many({}) == BatchResult{OpStatus::kOk, 0});
    CHECK(channel.send_many({}) == BatchResult{OpStatus::kOk, 0});
    CHECK(channel.send_many({}, ended) == BatchResult{OpStatus::kOk, 0});
    CHECK(channel.try_receive_many(none, 0) == BatchResult{OpStatus::kOk, 0});
    CHECK(channel.receive_many(none, 0) == BatchResult{OpStatus::kOk, 0});
    CHECK(channel.receive_many(none, 0, ended) == BatchResult{OpStatus::kOk, 0});
    Batch sent;
    Batch received;
    auto one = spawn(loop, send_all(channel, none, sent));
    auto two = spawn(loop, receive_some(channel, none, 0, received));
    loop.run_ready();
    CHECK(sent == BatchResult{OpStatus::kOk, 0});
    CHECK(received == BatchResult{OpStatus::kOk, 0});
  }
  CHECK(channel.stats().sends == 0);
}

TEST_CASE("Batch: no more is received than asked for, and it is appended", "[channel][batch]") {
  Channel<int> channel(64);
  std::vector<int> values = numbers(1, 10);
  CHECK(channel.send_many(values) == BatchResult{OpStatus::kOk, 10});
  std::vector<int> out{-1, 0};
  CHECK(channel.receive_many(out, 1) == BatchResult{OpStatus::kOk, 1});
  CHECK(channel.receive_many(out, 4) == BatchResult{OpStatus::kOk, 4});
  CHECK(channel.size() == 5);
  CHECK(channel.receive_many(out, std::numeric_limits<std::size_t>::max()) == BatchResult{OpStatus::kOk, 5});
  CHECK(out == numbers(-1, 12));
}

TEST_CASE("Batch: a thread sends more than fits, and a thread receives what is there", "[channel][batch]") {
  constexpr int kValues = 500;
  Channel<int> channel(any_capacity());
  std::vector<int> values = numbers(0, kValues);
  Call sender([&] { return channel.send_many(values); });
  std::vector<int> got;
  while (got.size() < kValues) {
    const std::size_t before = got.size();
    const BatchResult result = channel.receive_many(got, 7);
    REQUIRE(result.status == OpStatus::kOk);
    REQUIRE(result.count >= 1);
    REQUIRE(result.count <= 7);
    REQUIRE(got.size() == before + result.count);
  }
  CHECK(sender.result() == BatchResult{OpStatus::kOk, kValues});
  CHECK(got == numbers(0, kValues));
  CHECK(channel.stats().sends == kValues);
  CHECK(balances(channel));
}

TEST_CASE("Batch: coroutines send more than fits, and receive what is there", "[channel][batch][coroutine]") {
  constexpr int kValues = 500;
  Channel<int> channel(any_capacity());
  RunLoop loop;
  std::vector<int> values = numbers(0, kValues);
  Batch sent;
  auto sender = spawn(loop, send_all(channel, values, sent));
  loop.run_ready();
  CHECK_FALSE(sent);
  std::vector<int> got;
  while (got.size() < kValues) {
    Batch received;
    auto task = spawn(loop, receive_some(channel, got, 7, received));
    loop.run_ready();
    REQUIRE(received);
    REQUIRE(received->status == OpStatus::kOk);
    REQUIRE(received->count >= 1);
    REQUIRE(received->count <= 7);
  }
  CHECK(sent == BatchResult{OpStatus::kOk, kValues});
  CHECK(got == numbers(0, kValues));
  CHECK(balances(channel));
}

TEST_CASE("Batch: without memory for it nothing is received", "[channel][batch]") {
  Channel<MoveOnly> channel(3);
  std::vector<MoveOnly> values = boxes(0, 3);
  REQUIRE(channel.send_many(values).status == OpStatus::kOk);
  std::vector<MoveOnly> out = boxes(100, 2);
  out.shrink_to_fit();
  {
    const FailAllocation failure(0);
    CHECK_THROWS_AS(channel.receive_many(out, 3), std::bad_alloc);
    CHECK(failure.has_failed());
  }
  {
    const FailAllocation failure(0);
    CHECK_THROWS_AS(channel.try_receive_many(out, 3), std::bad_alloc);
  }
  {
    const FailAllocation failure(0);
    CHECK_THROWS_AS(channel.async_receive_many(out, 3), std::bad_alloc);
  }
  CHECK(out.size() == 2);
  CHECK(out[1].number() == 101);
  CHECK(channel.size() == 3);
  CHECK(channel.stats().receives == 0);
  CHECK(channel.receive_many(out, 3) == BatchResult{OpStatus::kOk, 3});
  CHECK(out[4].number() == 2);
}

TEST_CASE("Batch: a vector that has the room is not grown, and nothing else is allocated", "[channel][batch]") {
  Channel<int> channel(8);
  std::vector<int> values = numbers(0, 8);
  std::vector<int> out;
  out.reserve(64);
  const Allocations before = Allocations::now();
  bool all = true;
  for (int i = 0; i != 100; ++i) {
    out.clear();
    all = all && channel.send_many(values).count == 8 && channel.receive_many(out, 64).count == 8;
  }
  CHECK(Allocations::now() == before);
  CHECK(all);
}

TEST_CASE("Batch: a loop that appends to one vector grows it in proportion", "[channel][batch]") {
  Channel<int> channel(8);
  std::vector<int> out;
  const Allocations before = Allocations::now();
  for (int i = 0; i != 10'000; ++i) {
    static_cast<void>(channel.try_send(i));
    static_cast<void>(channel.receive_many(out, 8));
  }
  const std::uint64_t grown = Allocations::now().count - before.count;
  CHECK(out == numbers(0, 10'000));
  CHECK(grown < 20);
}

TEST_CASE("Batch: carries what is over-aligned", "[channel][batch]") {
  Channel<OverAligned> channel(any_capacity());
  std::vector<OverAligned> values(200);
  for (std::size_t i = 0; i != values.size(); ++i) values[i].number = static_cast<int>(i);
  Call sender([&] { return channel.send_many(values); });
  std::vector<OverAligned> got;
  while (got.size() != values.size()) REQUIRE(channel.receive_many(got, 50).status == OpStatus::kOk);
  CHECK(sender.result() == BatchResult{OpStatus::kOk, 200});
  CHECK(std::all_of(got.begin(), got.end(), [](const OverAligned& value) { return value.is_aligned(); }));
  for (std::size_t i = 0; i != got.size(); ++i) CHECK(got[i].number == static_cast<int>(i));
}

TEST_CASE("Batch: does not send into reserved places", "[channel][batch][permit]") {
  Channel<int> channel(4);
  SendPermit<int> permit = channel.reserve().permit;
  std::vector<int> values = numbers(0, 4);
  CHECK(channel.try_send_many(values) == BatchResult{OpStatus::kFull, 3});
  CHECK(permit.send(9) == OpStatus::kOk);
  std::vector<int> got;
  CHECK(channel.try_receive_many(got, 9) == BatchResult{OpStatus::kOk, 4});
  CHECK(got == std::vector{0, 1, 2, 9});
}

}  // namespace
}  // namespace penstock
