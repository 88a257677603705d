// SPDX-License-Identifier: MIT

// What programs in Go may rely on of select.

#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "conformance/go_support.hpp"

namespace penstock {
namespace {

using namespace testing;

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

TEST_CASE("Select conformance: four ways into one receiver double nothing", "[conformance][select]") {
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

TEST_CASE("Select conformance: operands are evaluated once, also those of null channels", "[conformance][select]") {
  std::array<int, 2> calls{};
  const auto number = [&](std::size_t which) { return ++calls[which]; };
  Channel<int> channel(10);
  for (int round = 0; round != 10; ++round) {
    CHECK(select(on_send(null, number(0), fail), on_send(channel, number(1), ignore)) == 1);
  }
  CHECK(calls == std::array{10, 10});
  for (int round = 1; round <= 10; ++round) CHECK(channel.receive().value == round);
}

TEST_CASE("Select conformance: selects that lose leave no memory behind", "[conformance][select]") {
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

TEST_CASE("Select conformance: null channels are never chosen", "[conformance][select]") {
  CHECK_THROWS_AS(select(on_send(null, 1, fail)), std::invalid_argument);
  CHECK_THROWS_AS(select(on_receive(null, fail)), std::invalid_argument);
  CHECK_THROWS_AS(select(on_send(null, 1, fail), on_receive(null, fail)), std::invalid_argument);
  CHECK(select(on_send(null, 1, fail), otherwise(ignore)) == 1);
  CHECK(select(on_receive(null, fail), otherwise(ignore)) == 1);
}

TEST_CASE("Select conformance: ready cases come before otherwise", "[conformance][select]") {
  Channel<int> channel(any_capacity());
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

TEST_CASE("Select conformance: a send case on a closed channel says so", "[conformance][select]") {
  Channel<int> channel(any_capacity());
  channel.close();
  OpStatus status = OpStatus::kOk;
  CHECK(select(on_send(channel, 7, [&](OpStatus how) { status = how; })) == 0);
  CHECK(status == OpStatus::kClosed);
}

TEST_CASE("Select conformance: a select never meets itself", "[conformance][select]") {
  // Two selects that send their own number and receive: each rendezvous is between the two.
  constexpr int kRounds = 1000;
  Channel<int> channel(any_capacity());
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

TEST_CASE("Select conformance: only the case that is taken writes", "[conformance][select]") {
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

TEST_CASE("Select conformance: a select that loses takes only itself out of the line", "[conformance][select]") {
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

TEST_CASE("Select conformance: plain and selecting senders and receivers all meet", "[conformance][select]") {
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

TEST_CASE("Select conformance: its body may be left early in every way", "[conformance][select]") {
  Channel<int> channel(any_buffer());
  const auto refill = [&] { static_cast<void>(channel.try_send(1)); };
  int after = 0;
  SECTION("by a return") {
    refill();
    select(on_receive(channel, [&](int value) {
      if (value == 1) return;
      ++after;
    }));
  }
  SECTION("out of the loop around it") {
    bool done = false;
    for (int round = 0; !done; ++round) {
      refill();
      select(on_receive(channel, [&](int) { done = round == 2; }));
    }
  }
  SECTION("by an exception") {
    refill();
    struct Leave {};
    try {
      select(on_receive(channel, [](int) { throw Leave(); }));
      ++after;
    } catch (const Leave&) {
    }
  }
  SECTION("out of the function around it") {
    refill();
    const auto function = [&] {
      for (;;) {
        if (select(on_receive(channel, ignore), otherwise(ignore)) == 1) return true;
      }
    };
    CHECK(function());
  }
  CHECK(after == 0);
  CHECK(channel.size() == 0);
  CHECK(nobody_waits(channel));
}

template <class... Cases>
concept CanSelect = requires(Cases&&... cases) {
  select(std::forward<Cases>(cases)...);
};
static_assert(!CanSelect<>, "a select without cases would wait for ever");

TEST_CASE("Select conformance: a losing select leaves the buffer and its order alone", "[conformance][select]") {
  Channel<int> channel(any_buffer());
  Channel<int> ready(1);
  const std::vector<int> sent = fill(channel);
  for (int round = 0; round != 100; ++round) {
    CHECK(ready.send(round) == OpStatus::kOk);
    CHECK(select(on_send(channel, -1, fail), on_receive(ready, ignore), on_send(channel, -2, fail)) == 1);
  }
  for (const int value : sent) CHECK(channel.receive().value == value);
}

}  // namespace
}  // namespace penstock
