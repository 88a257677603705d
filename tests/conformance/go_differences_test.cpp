// SPDX-License-Identifier: MIT

// Where ours are not as Go's, on purpose: each difference on its own.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "conformance/go_support.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace testing;

Task<> send_boxed(Channel<MoveOnly>& channel, MoveOnly& value, std::optional<OpStatus>& outcome) {
  outcome = co_await channel.async_send(std::move(value));
}

TEST_CASE("Channel differences: a send that close ends is no disaster, and its value comes back",
          "[conformance][channel]") {
  Channel<MoveOnly> channel(any_capacity());
  for (int i = 0; channel.try_send(MoveOnly(i)) == OpStatus::kOk; ++i) {
  }
  MoveOnly by_thread(100);
  MoveOnly by_select(101);
  MoveOnly by_coroutine(102);
  MoveOnly late(103);
  RunLoop loop;
  std::optional<OpStatus> in_coroutine;
  auto task = spawn(loop, send_boxed(channel, by_coroutine, in_coroutine));
  loop.run_ready();
  OpStatus in_select = OpStatus::kOk;
  {
    Call sending([&] { return channel.send(std::move(by_thread)); });
    Call selecting(
        [&] { return select(on_send(channel, std::move(by_select), [&](OpStatus status) { in_select = status; })); });
    REQUIRE(eventually_blocked_senders(channel, 3));
    CHECK(channel.close());
    CHECK(sending.result() == OpStatus::kClosed);
    CHECK(selecting.result() == 0);
  }
  loop.run_ready();
  CHECK(in_select == OpStatus::kClosed);
  CHECK(in_coroutine == OpStatus::kClosed);
  CHECK(channel.send(std::move(late)) == OpStatus::kClosed);
  CHECK(by_thread.number() == 100);
  CHECK(by_select.number() == 101);
  CHECK(by_coroutine.number() == 102);
  CHECK(late.number() == 103);
  CHECK(channel.size() == channel.capacity());
}

TEST_CASE("Channel differences: closing again is allowed to everybody, and says that it came late",
          "[conformance][channel]") {
  Channel<int> channel(any_capacity());
  CHECK(channel.close());
  CHECK_FALSE(channel.close());
  CHECK(channel.close_and_drain().empty());
  CHECK(select(on_receive(channel, [&](Received<int>) { CHECK_FALSE(channel.close()); })) == 0);
  CHECK(channel.stats().closes == 4);
}

TEST_CASE("Channel differences: from a closed channel comes no value, rather than a zero", "[conformance][channel]") {
  Channel<int> channel(any_capacity());
  channel.close();
  int value = 7;
  CHECK(channel.receive(value) == OpStatus::kClosed);
  CHECK(value == 7);
  CHECK_FALSE(channel.receive().value.has_value());
  bool called = false;
  CHECK(select(on_receive(channel, [&](int) { called = true; })) == 0);
  CHECK_FALSE(called);
}

TEST_CASE("Select differences: a send to a closed channel is a case that is ready, first or last",
          "[conformance][select]") {
  Channel<int> closed(any_capacity());
  Channel<int> ready(1'000);
  fill(ready);
  closed.close();
  for (int i = 0; i != 100; ++i) {
    CHECK(select(SelectOrder::kInOrder, on_receive(ready, ignore), on_send(closed, 1, fail)) == 0);
    CHECK(select(SelectOrder::kInOrder, on_send(closed, 1, ignore), on_receive(ready, fail)) == 0);
    CHECK(select(SelectOrder::kInOrder, on_send(closed, 1, ignore), otherwise(fail)) == 0);
  }
  std::array<int, 2> taken{};
  for (int i = 0; i != 500; ++i) ++taken[select(on_send(closed, 1, ignore), on_receive(ready, ignore))];
  CHECK(taken[0] > 100);  // at random, a case like others
  CHECK(taken[1] > 100);
}

TEST_CASE("Select differences: a null channel is never ready, whichever way", "[conformance][select]") {
  Channel<int> channel(any_capacity());
  Call call([&] {
    return select(on_receive(null, fail), on_send(null, 1, fail), on_receive(channel, ignore), on_receive(null, fail));
  });
  REQUIRE(eventually_blocked_receivers(channel, 1));
  CHECK(channel.send(1) == OpStatus::kOk);
  CHECK(call.result() == 2);
}

TEST_CASE("Select differences: to wait for what can never come is refused", "[conformance][select]") {
  CHECK_THROWS_AS(select(on_receive(null, fail)), std::invalid_argument);
  CHECK_THROWS_AS(select(on_send(null, 1, fail), on_done(Context::background(), fail)), std::invalid_argument);
}

TEST_CASE("Select differences: in order, delivery comes before cancellation or behind it, as it is named",
          "[conformance][select]") {
  Channel<int> channel(any_buffer());
  const std::vector<int> sent = fill(channel);
  const auto [ctx, source] = Context::background().with_cancel();
  source.cancel();
  CHECK(select(SelectOrder::kInOrder, on_done(ctx, ignore), on_receive(channel, fail)) == 0);
  for (const int value : sent) {
    int got = -1;
    CHECK(select(SelectOrder::kInOrder, on_receive(channel, [&](int each) { got = each; }), on_done(ctx, fail)) == 0);
    CHECK(got == value);
  }
  CHECK(select(SelectOrder::kInOrder, on_receive(channel, fail), on_done(ctx, ignore)) == 1);
}

TEST_CASE("Channel differences: every wait may have an end, and has no effect then", "[conformance][channel]") {
  Channel<int> channel(any_capacity());
  ManualClock clock;
  const Context::Cancellable ending = Context::background().with_cancel();
  {
    Call timed([&] { return channel.receive(Context(clock).with_timeout(1ms)); });
    Call cancelled([&] { return channel.receive(ending.context); });
    REQUIRE(eventually([&] { return clock.armed() == 1 && channel.stats().blocked_receivers == 2; }));
    clock.advance(1ms);
    CHECK(timed.result().status == OpStatus::kTimedOut);
    ending.source.cancel();
    CHECK(cancelled.result().status == OpStatus::kCancelled);
  }
  const std::size_t sent = fill(channel).size();  // nobody is left to swallow one
  CHECK(sent == channel.capacity());
  CHECK(channel.send(-1, ending.context) == OpStatus::kCancelled);
  CHECK(channel.send(-1, Context(clock).with_timeout(0s)) == OpStatus::kTimedOut);
  CHECK(channel.close_and_drain().size() == sent);
}

TEST_CASE("Channel differences: what can be done at once is done, whether or not the time is up",
          "[conformance][channel]") {
  Channel<int> channel(any_capacity());
  const Context late = Context::background().with_timeout(0s);
  Call call([&] { return channel.receive(); });
  REQUIRE(eventually_blocked_receivers(channel, 1));
  CHECK(channel.send(1, late) == OpStatus::kOk);
  CHECK(call.result().value == 1);
  for (std::size_t i = 0; i != channel.capacity(); ++i) CHECK(channel.send(2, late) == OpStatus::kOk);
  CHECK(channel.send(3, late) == OpStatus::kTimedOut);
  for (std::size_t i = 0; i != channel.capacity(); ++i) CHECK(channel.receive(late).value == 2);
  CHECK(channel.receive(late).status == OpStatus::kTimedOut);
  channel.close();
  CHECK(channel.receive(late).status == OpStatus::kClosed);
}

TEST_CASE("Channel differences: who closes can have what nobody will receive", "[conformance][channel]") {
  Channel<int> channel(any_capacity());
  const std::vector<int> sent = fill(channel);
  CHECK(channel.close_and_drain() == sent);
  CHECK(channel.receive().status == OpStatus::kClosed);
  CHECK(channel.stats().drained == sent.size());
}

TEST_CASE("Channel differences: the size is that of some moment, and never beyond the capacity",
          "[conformance][channel]") {
  Channel<int> channel(any_capacity());
  std::atomic<bool> done{false};
  Call sender([&] {
    for (int i = 0; i != 2'000; ++i) {
      if (channel.send(i) != OpStatus::kOk) return false;
    }
    return channel.close();
  });
  Call receiver([&] {
    for ([[maybe_unused]] const int value : channel) {
    }
    done = true;
    return true;
  });
  std::size_t largest = 0;
  while (!done) largest = std::max(largest, channel.size());
  CHECK(largest <= channel.capacity());
  CHECK(sender.result());
  CHECK(channel.size() == 0);
}

}  // namespace
}  // namespace penstock
