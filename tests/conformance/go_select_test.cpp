// SPDX-License-Identifier: MIT

// What programs in Go may rely on of select, restated for ours; the numbers are explained in go_channel_test.cpp.

#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace testing;

const auto ignore = [](auto&&...) {};
const auto fail = [](auto&&...) { throw std::logic_error("a case was taken that must not be"); };
Channel<int>* const null = nullptr;

std::size_t small_capacity() { return GENERATE(as<std::size_t>(), 0, 1); }

/// The memory that the process occupies.
long resident_bytes() {
  long total_pages = 0;
  long resident_pages = 0;
  std::FILE* const file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  const int read = std::fscanf(file, "%ld %ld", &total_pages, &resident_pages);
  std::fclose(file);
  return read == 2 ? resident_pages * sysconf(_SC_PAGESIZE) : 0;
}

TEST_CASE("Channel conformance 1: four ways into one receiver double nothing", "[conformance][select]") {
  constexpr int kValues = 20'000;
  std::array<std::unique_ptr<Channel<int>>, 4> inputs;
  for (auto& input : inputs) input = std::make_unique<Channel<int>>(0);
  Channel<int> merged(0);
  Call sender([&] {
    for (int i = 0; i != kValues; ++i) {
      select(on_send(*inputs[0], i, ignore), on_send(*inputs[1], i, ignore), on_send(*inputs[2], i, ignore),
             on_send(*inputs[3], i, ignore));
    }
    for (auto& input : inputs) input->close();
    return true;
  });
  std::atomic<int> open{4};
  std::vector<std::unique_ptr<Call<bool>>> forwarders;
  for (auto& input : inputs) {
    forwarders.push_back(std::make_unique<Call<bool>>([&merged, &open, from = input.get()] {
      for (const int value : *from) {
        if (merged.send(value) != OpStatus::kOk) return false;
      }
      if (--open == 0) merged.close();
      return true;
    }));
  }
  std::vector<int> seen(kValues);
  for (const int value : merged) ++seen[static_cast<std::size_t>(value)];
  CHECK(seen == std::vector<int>(kValues, 1));
}

TEST_CASE("Channel conformance 46, 208: operands are evaluated once, also those of null channels",
          "[conformance][select]") {
  std::array<int, 2> calls{};
  const auto number = [&](std::size_t which) { return ++calls[which]; };
  Channel<int> channel(10);
  for (int round = 0; round != 10; ++round) {
    CHECK(select(on_send(null, number(0), fail), on_send(channel, number(1), ignore)) == 1);
  }
  CHECK(calls == std::array{10, 10});
  for (int round = 1; round <= 10; ++round) CHECK(channel.receive().value == round);
}

TEST_CASE("Channel conformance 47, 206: selects that lose leave no memory behind", "[conformance][select]") {
  Channel<int> busy(0);
  Channel<int> idle(0);
  Channel<int> unread(0);
  const auto exchange = [&](int rounds) {
    Call sender([&] {
      for (int i = 0; i != rounds; ++i) select(on_send(busy, i, ignore), on_receive(idle, fail));
      return true;
    });
    for (int i = 0; i != rounds; ++i)
      select(on_receive(busy, ignore), on_receive(idle, fail), on_send(unread, 1, fail));
  };
  exchange(10'000);
  const long before = resident_bytes();
  exchange(100'000);
  CHECK(resident_bytes() - before < 2'000'000);
  CHECK(idle.stats().blocked_receivers == 0);
  CHECK(unread.stats().blocked_senders == 0);
}

TEST_CASE("Channel conformance 48-51, 57-59, 62, 63: null channels are never chosen", "[conformance][select]") {
  CHECK_THROWS_AS(select(on_send(null, 1, fail)), std::invalid_argument);
  CHECK_THROWS_AS(select(on_receive(null, fail)), std::invalid_argument);
  CHECK_THROWS_AS(select(on_send(null, 1, fail), on_receive(null, fail)), std::invalid_argument);
  CHECK(select(on_send(null, 1, fail), otherwise(ignore)) == 1);
  CHECK(select(on_receive(null, fail), otherwise(ignore)) == 1);
}

TEST_CASE("Channel conformance 60, 61, 64-68: ready cases come before otherwise", "[conformance][select]") {
  Channel<int> channel(small_capacity());
  CHECK(select(otherwise(ignore)) == 0);
  CHECK(select(on_receive(channel, fail), otherwise(ignore)) == 1);
  {
    Call call([&] { return select(on_receive(channel, fail), on_receive(null, fail), on_receive(channel, ignore)); });
    REQUIRE(eventually_blocked_receivers(channel, 2));  // waits
    CHECK_FALSE(call.has_ended());
    channel.close();
    CHECK_NOTHROW(call.result());
  }
  for (int again = 0; again != 3; ++again) {
    OpStatus status = OpStatus::kOk;
    CHECK(select(on_receive(channel, [&](Received<int> received) { status = received.status; }), otherwise(fail)) == 0);
    CHECK(status == OpStatus::kClosed);
    CHECK(select(on_receive(channel, [](int) { throw std::logic_error("no value"); }), otherwise(fail)) == 0);
  }
  Channel<int> ready(1);
  CHECK(select(on_send(ready, 1, ignore), otherwise(fail)) == 0);
  CHECK(select(on_receive(ready, ignore), otherwise(fail)) == 0);
}

TEST_CASE("Channel conformance 69: a send case on a closed channel says so", "[conformance][select]") {
  Channel<int> channel(small_capacity());
  channel.close();
  OpStatus status = OpStatus::kOk;
  CHECK(select(on_send(channel, 7, [&](OpStatus how) { status = how; })) == 0);
  CHECK(status == OpStatus::kClosed);
}

TEST_CASE("Channel conformance 70, 138: a select never meets itself", "[conformance][select]") {
  // Two selects that send their own number and receive: each rendezvous is between the two.
  constexpr int kRounds = 1000;
  Channel<int> channel(GENERATE(as<std::size_t>(), 0, 10));
  const auto run = [&](int self) {
    int from_self = 0;
    for (int i = 0; i != kRounds; ++i) {
      const auto check = [&](int value) { from_self += value == self ? 1 : 0; };
      if (self == 0) {
        select(on_send(channel, self, ignore), on_receive(channel, check));
      } else {
        select(on_receive(channel, check), on_send(channel, self, ignore));
      }
    }
    return from_self;
  };
  Call one([&] { return run(0); });
  Call two([&] { return run(1); });
  const int from_self = one.result() + two.result();
  if (channel.capacity() == 0) {
    CHECK(from_self == 0);
    CHECK(channel.stats().sends == kRounds);
  }
}

TEST_CASE("Channel conformance 71: only the case that is taken writes", "[conformance][select]") {
  Channel<int> first(1);
  Channel<int> second(1);
  int from_first = 0;
  int from_second = 0;
  CHECK(second.send(42) == OpStatus::kOk);
  select(on_receive(first, [&](int value) { from_first = value; }),
         on_receive(second, [&](int value) { from_second = value; }));
  CHECK(from_first == 0);
  CHECK(from_second == 42);
}

// Three places, each of them without a case or with one of six; all combinations.
enum class Place { kNone, kReceiveReady, kReceiveEmpty, kReceiveClosed, kSendReady, kSendFull, kSendClosed };

TEST_CASE("Channel conformance 72: every combination of cases, generated", "[conformance][select]") {
  constexpr int kKinds = 7;
  const bool has_otherwise = GENERATE(true, false);
  const SelectOrder order = GENERATE(SelectOrder::kRandom, SelectOrder::kInOrder);
  int selects = 0;
  for (int combination = 0; combination != kKinds * kKinds * kKinds; ++combination) {
    std::array<Place, 3> places{};
    std::array<std::unique_ptr<Channel<int>>, 3> channels;
    std::array<Channel<int>*, 3> receive{};
    std::array<Channel<int>*, 3> send{};
    std::optional<std::size_t> first_ready;
    bool is_hopeless = true;
    for (std::size_t i = 0, rest = static_cast<std::size_t>(combination); i != 3; ++i, rest /= kKinds) {
      places[i] = static_cast<Place>(rest % kKinds);
      channels[i] = std::make_unique<Channel<int>>(1);
      if (places[i] == Place::kReceiveReady || places[i] == Place::kSendFull)
        REQUIRE(channels[i]->try_send(5) == OpStatus::kOk);
      if (places[i] == Place::kReceiveClosed || places[i] == Place::kSendClosed) channels[i]->close();
      if (places[i] == Place::kNone) continue;
      is_hopeless = false;
      (places[i] < Place::kSendReady ? receive : send)[i] = channels[i].get();
      if (places[i] != Place::kReceiveEmpty && places[i] != Place::kSendFull && !first_ready) first_ready = i;
    }
    std::array<OpStatus, 3> statuses{};
    const auto got = [&](std::size_t i) { return [&, i](Received<int> received) { statuses[i] = received.status; }; };
    const auto gave = [&](std::size_t i) { return [&, i](OpStatus status) { statuses[i] = status; }; };
    std::size_t taken = 0;
    if (has_otherwise) {
      taken = select(order, on_receive(receive[0], got(0)), on_send(send[0], 6, gave(0)),
                     on_receive(receive[1], got(1)), on_send(send[1], 6, gave(1)), on_receive(receive[2], got(2)),
                     on_send(send[2], 6, gave(2)), otherwise(ignore));
    } else if (first_ready || is_hopeless) {
      const auto try_all = [&] {
        return select(order, on_receive(receive[0], got(0)), on_send(send[0], 6, gave(0)),
                      on_receive(receive[1], got(1)), on_send(send[1], 6, gave(1)), on_receive(receive[2], got(2)),
                      on_send(send[2], 6, gave(2)));
      };
      if (is_hopeless) {
        REQUIRE_THROWS_AS(try_all(), std::invalid_argument);
        continue;
      }
      taken = try_all();
    } else {
      continue;  // would wait
    }
    ++selects;
    REQUIRE((taken == 6) == !first_ready);
    for (std::size_t i = 0; i != 3; ++i) {
      const ChannelStats stats = channels[i]->stats();
      const bool was_full = places[i] == Place::kReceiveReady || places[i] == Place::kSendFull;
      const bool closed = places[i] == Place::kReceiveClosed || places[i] == Place::kSendClosed;
      const bool moved = taken / 2 == i && !closed && taken != 6;
      REQUIRE(stats.sends + stats.receives == (was_full ? 1U : 0U) + (moved ? 1U : 0U));
      REQUIRE(stats.blocked_senders + stats.blocked_receivers == 0);
      if (taken / 2 == i && taken != 6) REQUIRE(statuses[i] == (closed ? OpStatus::kClosed : OpStatus::kOk));
    }
    if (first_ready && order == SelectOrder::kInOrder) REQUIRE(taken / 2 == *first_ready);
    if (first_ready) REQUIRE((taken % 2 == 0 ? receive : send)[taken / 2] != nullptr);
  }
  CHECK(selects > 200);
}

TEST_CASE("Channel conformance 73: a select that loses takes only itself out of the line", "[conformance][select]") {
  Channel<int> line(0);
  Channel<int> other(0);
  Call first([&] { return line.receive(); });
  REQUIRE(eventually_blocked_receivers(line, 1));
  Call selecting([&] { return select(on_receive(other, ignore), on_receive(line, fail)); });
  REQUIRE(eventually_blocked_receivers(line, 2));
  Call last([&] { return line.receive(); });
  REQUIRE(eventually_blocked_receivers(line, 3));
  CHECK(other.send(0) == OpStatus::kOk);
  CHECK(selecting.result() == 0);
  CHECK(line.send(1) == OpStatus::kOk);
  CHECK(line.send(2) == OpStatus::kOk);
  CHECK(first.result().value == 1);
  CHECK(last.result().value == 2);
}

TEST_CASE("Channel conformance 74-82: plain and selecting senders and receivers all meet", "[conformance][select]") {
  const int receiver = GENERATE(0, 1, 2);
  const int sender = GENERATE(0, 1, 2);
  Channel<int> channel(0);
  Channel<int> never(0);
  Channel<int> unread(0);
  Call call([&] {
    int got = 0;
    const auto keep = [&](int value) { got = value; };
    if (receiver == 0) static_cast<void>(channel.receive(got));
    if (receiver == 1) select(on_receive(channel, keep));
    if (receiver == 2) select(on_receive(never, fail), on_receive(channel, keep));
    return got;
  });
  if (sender == 0) CHECK(channel.send(7) == OpStatus::kOk);
  if (sender == 1) CHECK(select(on_send(channel, 7, ignore)) == 0);
  if (sender == 2) CHECK(select(on_send(unread, 1, fail), on_send(channel, 7, ignore)) == 1);
  CHECK(call.result() == 7);
}

TEST_CASE("Channel conformance 135-137: what is ready throughout is never passed over for otherwise",
          "[conformance][select]") {
  const bool closes = GENERATE(false, true);
  for (int round = 0; round != 2'000; ++round) {
    Channel<int> first(1);
    Channel<int> second(closes ? 0 : 1);
    REQUIRE(first.send(1) == OpStatus::kOk);
    Call call([&] { return select(on_receive(first, ignore), on_receive(second, ignore), otherwise(ignore)); });
    if (closes) {
      second.close();
    } else {
      REQUIRE(second.send(1) == OpStatus::kOk);
    }
    static_cast<void>(first.try_receive());  // after the second has become ready
    REQUIRE(call.result() != 2);
  }
}

TEST_CASE("Channel conformance 142: a select that sends one of two values sends both at times",
          "[conformance][select]") {
  Channel<int> channel(GENERATE(as<std::size_t>(), 0, 1, 10));
  constexpr int kValues = 1000;
  Call sender([&] {
    for (int i = 0; i != kValues; ++i) select(on_send(channel, 0, ignore), on_send(channel, 1, ignore));
    return true;
  });
  int ones = 0;
  for (int i = 0; i != kValues; ++i) ones += channel.receive().value.value_or(0);
  CHECK(ones > kValues / 10);
  CHECK(ones < kValues - kValues / 10);
}

TEST_CASE("Channel conformance 144-147: a waiting select with many cases on one channel takes one value",
          "[conformance][select]") {
  Channel<int> channel(0);
  Channel<int> done(0);
  for (int round = 0; round != 300; ++round) {
    Call call([&] {
      int got = 0;
      const auto keep = [&](int value) { got += value; };
      select(on_receive(channel, keep), on_receive(channel, keep), on_receive(done, fail), on_receive(channel, keep),
             on_receive(channel, keep));
      return got;
    });
    REQUIRE(channel.send(1) == OpStatus::kOk);
    REQUIRE(channel.try_send(1) == OpStatus::kFull);  // its other cases are no receivers
    REQUIRE(call.result() == 1);
  }
  CHECK(channel.stats().blocked_receivers == 0);
}

TEST_CASE("Channel conformance 149: a barrier whose arrivals are selects", "[conformance][select]") {
  constexpr int kThreads = 10;
  constexpr int kRounds = 500;
  Channel<Empty> ready(0);
  Channel<Empty> go(0);
  Channel<Empty> stop(0);
  std::vector<std::unique_ptr<Call<bool>>> calls;
  for (int i = 0; i != kThreads; ++i) {
    calls.push_back(std::make_unique<Call<bool>>([&] {
      for (int round = 0; round != kRounds; ++round) {
        if (select(on_send(ready, Empty{}, ignore), on_receive(stop, fail)) != 0 || !go.receive()) return false;
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

}  // namespace
}  // namespace penstock
