// SPDX-License-Identifier: MIT

// Selects that meet others on several threads: what was ready throughout is taken, with equal chances, and once.

#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "conformance/go_support.hpp"

namespace penstock {
namespace {

using namespace testing;

TEST_CASE("Select conformance: what is ready throughout is never passed over for otherwise", "[conformance][select]") {
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

TEST_CASE("Select conformance: a select that sends one of two values sends both at times", "[conformance][select]") {
  Channel<int> channel(any_capacity());
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

TEST_CASE("Select conformance: a waiting select with many cases on one channel takes one value",
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

TEST_CASE("Select conformance: a barrier whose arrivals are selects", "[conformance][select]") {
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

TEST_CASE("Select conformance: of two that are always ready each is taken half of the time", "[conformance][select]") {
  constexpr int kTrials = 10'000;
  Channel<int> first(kTrials + 1);
  Channel<int> second(kTrials + 1);
  const bool sends = GENERATE(false, true);
  if (!sends) {
    fill(first);
    fill(second);
  }
  std::array<int, 2> taken{};
  for (int i = 0; i != kTrials; ++i) {
    ++taken[sends ? select(on_send(first, 1, ignore), on_send(second, 1, ignore))
                  : select(on_receive(first, ignore), on_receive(second, ignore))];
  }
  // Passes all but one of a million fair runs.
  CHECK(std::abs(static_cast<double>(taken[0]) / kTrials - 0.5) < 4.89 / (2 * std::sqrt(kTrials)));
}

TEST_CASE("Select conformance: a select that waits twice in one line is served in both places alike",
          "[conformance][select]") {
  constexpr int kTrials = 600;
  Channel<int> channel(any_capacity());
  const bool sends = GENERATE(false, true);
  if (sends) fill(channel);
  std::array<int, 2> taken{};
  for (int i = 0; i != kTrials; ++i) {
    Call call([&] {
      return sends ? select(on_send(channel, 1, ignore), on_send(channel, 2, ignore))
                   : select(on_receive(channel, ignore), on_receive(channel, ignore));
    });
    REQUIRE((sends ? eventually_blocked_senders(channel, 2) : eventually_blocked_receivers(channel, 2)));
    if (sends) {
      REQUIRE(channel.receive());
    } else {
      REQUIRE(channel.send(i) == OpStatus::kOk);
    }
    ++taken[call.result()];
  }
  CHECK(std::abs(static_cast<double>(taken[0]) / kTrials - 0.5) < 4.89 / (2 * std::sqrt(kTrials)));
}

TEST_CASE("Select conformance: who names a channel twice shares it with who names it once", "[conformance][select]") {
  constexpr int kRounds = 300;
  Channel<int> channel(any_capacity());
  Channel<int> other(0);
  std::atomic<int> received{0};
  std::atomic<int> ended{0};
  const auto count = [&](Received<int> got) { ++(got ? received : ended); };
  Call twice([&] {
    while (ended.load() == 0) select(on_receive(channel, count), on_receive(channel, count), on_receive(other, fail));
    return true;
  });
  Call once([&] {
    for ([[maybe_unused]] const int value : channel) ++received;
    return true;
  });
  for (int i = 0; i != kRounds; ++i) REQUIRE(channel.send(i) == OpStatus::kOk);
  channel.close();
  twice.result();
  once.result();
  CHECK(received == kRounds);
  CHECK(ended == 1);
  CHECK(nobody_waits(channel));
  CHECK(nobody_waits(other));
}

TEST_CASE("Select conformance: a select that waits twice on a channel frees one sender", "[conformance][select]") {
  Channel<int> channel(0);
  for (int round = 0; round != 100; ++round) {
    Call selecting([&] { return select(on_receive(channel, ignore), on_receive(channel, ignore)); });
    Call one([&] { return channel.send(1); });
    Call two([&] { return channel.send(2); });
    CHECK(selecting.result() < 2);
    REQUIRE(eventually_blocked_senders(channel, 1));
    CHECK(channel.receive());
    CHECK((one.result() == OpStatus::kOk && two.result() == OpStatus::kOk));
  }
  CHECK(nobody_waits(channel));
}

TEST_CASE("Select conformance: a select may be left and gone while others are still telling it",
          "[conformance][select]") {
  // Every sender may be the one that the select took, or one that comes too late and finds nobody.
  for (int round = 0; round != 200; ++round) {
    std::array<Channel<int>, 3> channels{Channel<int>(0), Channel<int>(0), Channel<int>(0)};
    std::vector<std::unique_ptr<Call<bool>>> calls;
    for (Channel<int>& each : channels)
      calls.push_back(std::make_unique<Call<bool>>(
          [&each] { return eventually([&] { return each.is_closed() || each.try_send(1) == OpStatus::kOk; }); }));
    const std::size_t taken =
        select(on_receive(channels[0], ignore), on_receive(channels[1], ignore), on_receive(channels[2], ignore));
    REQUIRE(taken < 3);
    for (Channel<int>& each : channels) each.close();
    for (auto& call : calls) REQUIRE(call->result());
    std::uint64_t sends = 0;
    for (Channel<int>& each : channels) sends += each.stats().sends;
    REQUIRE(sends == 1);
  }
}

TEST_CASE("Select conformance: with room throughout, or a value throughout, otherwise is never taken",
          "[conformance][select]") {
  // The other side comes and goes, also into line; the buffer is never full, and then never empty.
  constexpr int kValues = 10'000;
  const bool sends = GENERATE(true, false);
  const bool twice = GENERATE(true, false);
  Channel<int> channel(64);
  if (!sends) fill(channel);
  std::atomic<int> passed_over{0};
  std::atomic<int> in_transit{0};
  const auto there = [&] { return sends ? in_transit.load() < 32 : in_transit.load() > -32; };
  Call other([&] {
    for (int i = 0; i != kValues; ++i) {
      if (sends ? !channel.receive() : channel.send(i) != OpStatus::kOk) return false;
      sends ? --in_transit : ++in_transit;
    }
    return true;
  });
  Channel<int>* const again = twice ? &channel : null;
  for (int i = 0; i != kValues;) {
    while (!there()) std::this_thread::yield();
    sends ? ++in_transit : --in_transit;
    const std::size_t taken = sends ? select(on_send(channel, 1, ignore), on_send(again, 2, ignore), otherwise(ignore))
                                    : select(on_receive(channel, ignore), on_receive(again, ignore), otherwise(ignore));
    if (taken != 2) {
      ++i;
      continue;
    }
    sends ? --in_transit : ++in_transit;
    ++passed_over;
  }
  CHECK(other.result());
  CHECK(passed_over == 0);
}

}  // namespace
}  // namespace penstock
