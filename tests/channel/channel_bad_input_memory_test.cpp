// SPDX-License-Identifier: MIT

// Each operation of a channel with each of its allocations failing in turn: the caller gets std::bad_alloc, the value
// stays with its owner, nobody is left in line, and the next try works.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace testing;

// The machine's clock is made by its first use, which cannot fail with an exception: before any test.
[[maybe_unused]] const Context& first_use = Context::background();

const auto ignore = [](auto&&...) {};

std::size_t any_capacity() { return GENERATE(as<std::size_t>(), 0, 1, 3, 64); }

template <class T>
bool nobody_waits(const Channel<T>& channel) {
  const ChannelStats stats = channel.stats();
  return stats.blocked_senders + stats.blocked_receivers == 0;
}

TEST_CASE("Channel bad input: without memory no channel is made, and nothing leaks", "[channel][bad_input]") {
  const std::size_t capacity = any_capacity();
  const auto make = [&] { std::make_unique<Channel<MoveOnly>>(capacity); };
  const int failures = failures_of(make, [](bool threw) { CHECK(threw); });
  CHECK(failures >= (capacity == 0 ? 1 : 2));
}

TEST_CASE("Channel bad input: operations that need not wait allocate nothing", "[channel][bad_input]") {
  Channel<MoveOnly> channel(any_capacity());
  const Allocations before = Allocations::now();
  int sent = 0;
  while (channel.try_send(MoveOnly(sent)) == OpStatus::kOk) ++sent;
  for (int i = 0; i != sent; ++i) static_cast<void>(channel.receive());
  for (int i = 0; i != sent; ++i) static_cast<void>(channel.send(MoveOnly(i)));
  for (int i = 0; i != sent; ++i) select(on_receive(channel, ignore), otherwise(ignore));
  select(on_receive(channel, ignore), on_send(channel, MoveOnly(1), ignore), otherwise(ignore));
  static_cast<void>(channel.receive(Context::background().with_timeout(0s)));
  channel.close();
  CHECK(channel.receive().status != OpStatus::kEmpty);
  CHECK(Allocations::now() == before);
}

/// Calls `operation` on a thread of its own whose allocation number `nth` fails. Returns whether that was reached, and
/// whether it came out as std::bad_alloc.
struct Failing {
  bool reached = false;
  bool threw = false;
  OpStatus status = OpStatus::kOk;
};
template <class Operation>
Failing with_failure(std::uint64_t nth, Operation& operation) {
  const FailAllocation failure(nth);
  Failing result;
  try {
    result.status = operation();
  } catch (const std::bad_alloc&) {
    result.threw = true;
  }
  result.reached = failure.has_failed();
  return result;
}

TEST_CASE("Channel bad input: a wait for which there is no memory has not begun", "[channel][bad_input]") {
  Channel<MoveOnly> channel(any_capacity());
  ManualClock clock;
  const bool sends = GENERATE(false, true);
  while (sends && channel.try_send(MoveOnly(0)) == OpStatus::kOk) {
  }
  for (std::uint64_t nth = 0;; ++nth) {
    REQUIRE(nth < 20);
    const Context::Cancellable ending = Context(clock).with_timeout(1h).with_cancel();
    MoveOnly value(7);
    const auto operation = [&] {
      return sends ? channel.send(std::move(value), ending.context) : channel.receive(ending.context).status;
    };
    Failing result;
    {
      Call call([&] { return with_failure(nth, operation); });
      // It waits, or it has failed.
      REQUIRE(eventually([&] { return call.has_ended() || !nobody_waits(channel); }));
      ending.source.cancel();
      result = call.result();
    }
    CHECK(value.number() == 7);
    CHECK(nobody_waits(channel));
    CHECK(clock.armed() == 0);
    if (!result.threw) CHECK(result.status == OpStatus::kCancelled);
    if (!result.reached) break;
  }
}

TEST_CASE("Channel bad input: a select for which there is no memory has not begun", "[channel][bad_input]") {
  Channel<MoveOnly> channel(any_capacity());
  Channel<MoveOnly> other(0);
  ManualClock clock;
  while (channel.try_send(MoveOnly(0)) == OpStatus::kOk) {
  }
  const std::size_t buffered = channel.size();
  int failures = 0;
  for (std::uint64_t nth = 0;; ++nth) {
    REQUIRE(nth < 40);
    const Context::Cancellable first = Context::background().with_cancel();
    const Context::Cancellable second = Context::background().with_cancel();
    const Context third = Context(clock).with_timeout(1h);
    MoveOnly value(7);
    std::size_t taken = 99;
    const auto operation = [&] {
      taken = select(on_send(channel, std::move(value), ignore), on_receive(other, ignore),
                     on_done(first.context, ignore), on_done(second.context, ignore), on_done(third, ignore));
      return OpStatus::kOk;
    };
    Failing result;
    {
      Call call([&] { return with_failure(nth, operation); });
      REQUIRE(eventually([&] { return call.has_ended() || other.stats().blocked_receivers == 1; }));
      second.source.cancel();
      result = call.result();
    }
    if (!result.threw) CHECK(taken == 3);
    if (result.threw) ++failures;
    CHECK(value.number() == 7);
    CHECK(nobody_waits(channel));
    CHECK(nobody_waits(other));
    CHECK(clock.armed() == 0);
    CHECK(channel.size() == buffered);
    if (!result.reached) break;
  }
  CHECK(failures > 0);  // its second context costs memory
}

Task<> exchange(Channel<MoveOnly>& channel, MoveOnly& value, bool& ended) {
  static_cast<void>(co_await channel.async_receive());
  static_cast<void>(co_await channel.async_send(std::move(value)));
  ended = true;
}

TEST_CASE("Channel bad input: a coroutine for which there is no memory leaves the channel alone",
          "[channel][bad_input][coroutine]") {
  Channel<MoveOnly> channel(any_capacity());
  RunLoop loop;
  MoveOnly value(7);
  bool ended = false;
  const auto start = [&] {
    auto task = spawn(loop, exchange(channel, value, ended));
    loop.run_ready();
  };
  failures_of(start, [&](bool threw) {
    CHECK(threw);
    CHECK(loop.run_ready() == 0);
    CHECK(nobody_waits(channel));
    CHECK(value.number() == 7);
  });
  CHECK(channel.stats().blocked_receivers == 1);  // the one that was started in the end
  CHECK(channel.try_send(MoveOnly(1)) == OpStatus::kOk);
  loop.run_ready();
  CHECK(channel.try_receive().value->number() == 7);
  loop.run_ready();
  CHECK(ended);
}

TEST_CASE("Channel bad input: a copy for which there is no memory is not sent", "[channel][bad_input]") {
  Channel<std::string> channel(any_capacity());
  const std::string text(200, 'x');
  Call call([&] { return channel.receive(); });
  REQUIRE(eventually_blocked_receivers(channel, 1));
  const auto check = [&](bool threw) {
    CHECK(threw);
    CHECK(text == std::string(200, 'x'));
    CHECK(channel.stats().sends == 0);
    CHECK(channel.stats().blocked_receivers == 1);
  };
  const auto refuse_first = [&](auto operation) {
    const FailAllocation failure(0);
    bool threw = false;
    try {
      operation();
    } catch (const std::bad_alloc&) {
      threw = true;
    }
    check(threw);
  };
  refuse_first([&] { static_cast<void>(channel.send(text)); });
  refuse_first([&] { static_cast<void>(channel.try_send(text)); });
  refuse_first([&] { select(on_send(channel, text, ignore)); });
  CHECK(channel.send(text) == OpStatus::kOk);
  CHECK(call.result().value == text);
}

TEST_CASE("Channel bad input: values that there is no memory to hand back stay for receivers", "[channel][bad_input]") {
  Channel<MoveOnly> channel(GENERATE(as<std::size_t>(), 1, 3, 64));
  int sent = 0;
  while (channel.try_send(MoveOnly(sent)) == OpStatus::kOk) ++sent;
  std::vector<MoveOnly> values;
  const int failures = failures_of([&] { values = channel.close_and_drain(); },
                                   [&](bool threw) {
                                     CHECK(threw);
                                     CHECK(channel.is_closed());
                                     CHECK(channel.size() == channel.capacity());
                                   });
  CHECK(failures == 1);
  REQUIRE(values.size() == channel.capacity());
  for (int i = 0; i != sent; ++i) CHECK(values[static_cast<std::size_t>(i)].number() == i);
}

}  // namespace
}  // namespace penstock
