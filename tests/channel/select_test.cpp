// SPDX-License-Identifier: MIT
#include "penstock/channel/select.hpp"

#include <any>
#include <array>
#include <chrono>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace testing;

const auto ignore = [](auto&&...) {};
const auto fail = [](auto&&...) { throw std::logic_error("a case was taken that must not be"); };

TEST_CASE("Select: takes the case that is ready and gives its handler the value", "[channel][select]") {
  Channel<int> numbers(1);
  Channel<std::string> texts(1);
  REQUIRE(texts.send("hello") == OpStatus::kOk);
  std::string got;
  CHECK(select(on_receive(numbers, fail), on_receive(texts, [&](std::string text) { got = std::move(text); })) == 1);
  CHECK(got == "hello");
  CHECK(texts.size() == 0);
}

TEST_CASE("Select: sends where there is room", "[channel][select]") {
  Channel<int> full(1);
  Channel<int> roomy(1);
  REQUIRE(full.send(1) == OpStatus::kOk);
  OpStatus status = OpStatus::kFull;
  CHECK(select(on_send(full, 2, fail), on_send(roomy, 3, [&](OpStatus how) { status = how; })) == 1);
  CHECK(status == OpStatus::kOk);
  CHECK(roomy.try_receive().value == 3);
  CHECK(full.size() == 1);
}

TEST_CASE("Select: takes otherwise when nothing is ready, wherever it stands", "[channel][select]") {
  Channel<int> channel(0);
  int calls = 0;
  CHECK(select(otherwise([&] { ++calls; }), on_receive(channel, fail), on_send(channel, 1, fail)) == 0);
  CHECK(select(on_receive(channel, fail), otherwise([&] { ++calls; })) == 1);
  CHECK(calls == 2);
  channel.close();
  CHECK(select(otherwise(fail), on_receive(channel, ignore)) == 1);
}

TEST_CASE("Select: a closed channel is ready, with its status", "[channel][select]") {
  Channel<MoveOnly> channel(1);
  REQUIRE(channel.send(MoveOnly(1)) == OpStatus::kOk);
  channel.close();
  std::vector<OpStatus> statuses;
  const auto note = [&](Received<MoveOnly> received) {
    CHECK(received.value.has_value() == (received.status == OpStatus::kOk));
    statuses.push_back(received.status);
  };
  CHECK(select(on_receive(channel, note)) == 0);
  CHECK(select(on_receive(channel, note)) == 0);
  CHECK(statuses == std::vector{OpStatus::kOk, OpStatus::kClosed});

  MoveOnly value(2);
  CHECK(select(on_send(channel, std::move(value), [&](OpStatus status) { statuses.push_back(status); })) == 0);
  CHECK(statuses.back() == OpStatus::kClosed);
  CHECK(value.number() == 2);

  CHECK(select(on_receive(channel, [](MoveOnly) { FAIL("there is no value"); })) == 0);
}

TEST_CASE("Select: a case on a null channel is never ready", "[channel][select]") {
  Channel<int>* const null = nullptr;
  Channel<int> channel(1);
  for (int i = 0; i != 100; ++i) {
    CHECK(select(on_receive(null, fail), on_send(null, 1, fail), on_send(channel, 1, ignore)) == 2);
    CHECK(select(on_receive(null, fail), on_receive(&channel, ignore), on_send(null, 1, fail)) == 1);
  }
  CHECK(select(on_receive(null, fail), on_send(null, 1, fail), otherwise(ignore)) == 2);
}

TEST_CASE("Select: refuses to wait for what can never come", "[channel][select]") {
  Channel<int>* const null = nullptr;
  CHECK_THROWS_AS(select(on_receive(null, fail)), std::invalid_argument);
  CHECK_THROWS_WITH(select(on_receive(null, fail), on_done(Context::background(), fail)),
                    "select: no case can ever become ready (2 cases, all on null channels or contexts without an end)");
  CHECK(select(on_receive(null, fail), on_done(Context::background().with_timeout(0s), ignore)) == 1);
}

template <class... Cases>
concept CanSelect = requires(Cases&&... cases) {
  select(std::forward<Cases>(cases)...);
};
using SomeCase = decltype(otherwise(ignore));
static_assert(CanSelect<SomeCase> && !CanSelect<> && !CanSelect<SomeCase&> && !CanSelect<int>);

TEST_CASE("Select: in order, the first of the ready cases is taken", "[channel][select]") {
  Channel<int> first(10);
  Channel<int> second(10);
  for (int i = 0; i != 10; ++i) {
    REQUIRE(first.send(1) == OpStatus::kOk);
    REQUIRE(second.send(2) == OpStatus::kOk);
  }
  const Context ended = Context::background().with_timeout(0s);
  for (int i = 0; i != 10; ++i) {
    CHECK(select(SelectOrder::kInOrder, on_receive(first, ignore), on_receive(second, fail), on_done(ended, fail)) ==
          0);
  }
  CHECK(select(SelectOrder::kInOrder, on_done(ended, ignore), on_receive(second, fail)) == 0);
  second.close();
  CHECK(select(SelectOrder::kInOrder, on_receive(second, ignore), on_send(second, 1, fail)) == 0);
  CHECK(select(SelectOrder::kInOrder, on_send(second, 1, ignore), on_receive(second, fail)) == 0);
}

TEST_CASE("Select: at random, every ready case has the same chance", "[channel][select]") {
  constexpr int kTrials = 10'000;
  Channel<int> first(1);
  Channel<int> second(1);
  Channel<int> never(0);
  first.close();
  second.close();
  const Context ended = Context::background().with_timeout(0s);
  std::array<int, 5> taken{};
  for (int i = 0; i != kTrials; ++i) {
    ++taken[select(on_receive(first, ignore), on_receive(never, fail), on_receive(second, ignore),
                   on_send(second, 1, ignore), on_done(ended, ignore))];
  }
  CHECK(taken[1] == 0);
  const double deviation = 4.89 * std::sqrt(kTrials * 0.25 * 0.75);  // passes all but one of a million fair runs
  for (const std::size_t index : {0U, 2U, 3U, 4U}) CHECK(std::abs(taken[index] - kTrials * 0.25) < deviation);
}

TEST_CASE("Select: waits until a sender comes, and leaves the other channels alone", "[channel][select]") {
  Channel<int> first(0);
  Channel<int> second(0);
  Channel<int> third(0);
  int got = 0;
  Call call([&] {
    return select(on_receive(first, [&](int value) { got = value; }),
                  on_receive(second, [&](int value) { got = value; }), on_send(third, 9, ignore));
  });
  REQUIRE(eventually_blocked_senders(third, 1));
  CHECK(first.stats().blocked_receivers == 1);
  CHECK(second.send(7) == OpStatus::kOk);
  CHECK(call.result() == 1);
  CHECK(got == 7);
  CHECK(first.stats().blocked_receivers == 0);
  CHECK(third.stats().blocked_senders == 0);
  CHECK(first.try_send(1) == OpStatus::kFull);
  CHECK(third.try_receive().status == OpStatus::kEmpty);
}

TEST_CASE("Select: waits until a receiver comes, and then moves its value", "[channel][select]") {
  Channel<MoveOnly> wanted(0);
  Channel<MoveOnly> unwanted(0);
  MoveOnly given(1);
  MoveOnly kept(2);
  {
    Call call(
        [&] { return select(on_send(unwanted, std::move(kept), ignore), on_send(wanted, std::move(given), ignore)); });
    REQUIRE(eventually_blocked_senders(wanted, 1));
    CHECK(wanted.receive().value->number() == 1);
    CHECK(call.result() == 1);
  }
  CHECK(given.is_moved_from());
  CHECK(kept.number() == 2);
}

TEST_CASE("Select: copies an lvalue at once, and the caller keeps it", "[channel][select]") {
  Channel<std::string> channel(1);
  const std::string value(100, 'x');
  CHECK(select(on_send(channel, value, ignore)) == 0);
  CHECK(value.size() == 100);
  CHECK(channel.try_receive().value == value);
}

TEST_CASE("Select: close wakes it with the case of the closed channel", "[channel][select]") {
  Channel<int> open(0);
  Channel<int> closing(0);
  Recorder<OpStatus> statuses;
  Call receiving([&] {
    return select(on_receive(open, fail), on_receive(closing, [&](Received<int> r) { statuses.record(r.status); }));
  });
  REQUIRE(eventually_blocked_receivers(closing, 1));
  closing.close();
  CHECK(receiving.result() == 1);
  CHECK(statuses.count(OpStatus::kClosed) == 1);
  CHECK(open.stats().blocked_receivers == 0);

  Channel<int> also_closing(0);
  Call sending([&] {
    return select(on_send(also_closing, 1, [&](OpStatus status) { statuses.record(status); }), on_receive(open, fail));
  });
  REQUIRE(eventually_blocked_senders(also_closing, 1));
  also_closing.close();
  CHECK(sending.result() == 0);
  CHECK(statuses.count(OpStatus::kClosed) == 2);
}

TEST_CASE("Select: a deadline ends the wait", "[channel][select]") {
  ManualClock clock;
  Channel<int> channel(0);
  OpStatus status = OpStatus::kOk;
  Call call([&] {
    return select(on_receive(channel, fail),
                  on_done(Context(clock).with_timeout(5ms), [&](OpStatus how) { status = how; }));
  });
  REQUIRE(eventually([&] { return clock.armed() == 1; }));
  clock.advance(5ms);
  CHECK(call.result() == 1);
  CHECK(status == OpStatus::kTimedOut);
  CHECK(channel.stats().blocked_receivers == 0);
  CHECK(select(on_receive(channel, fail), on_done(Context::background().with_timeout(1ms), ignore)) == 1);
}

TEST_CASE("Select: several contexts may end it, and each has its own case", "[channel][select]") {
  ManualClock clock;
  Channel<int> channel(0);
  const Context::Cancellable first = Context::background().with_cancel();
  const Context::Cancellable second = Context::background().with_cancel();
  const Context third = Context(clock).with_timeout(1ms);
  const std::size_t ending = GENERATE(as<std::size_t>(), 0, 1, 2, 3);
  Recorder<OpStatus> statuses;
  const auto note = [&](OpStatus status) { statuses.record(status); };
  Call call([&] {
    return select(on_done(first.context, note), on_done(second.context, note), on_done(third, note),
                  on_receive(channel, ignore), on_done(Context::background(), fail));
  });
  REQUIRE(eventually([&] { return channel.stats().blocked_receivers == 1 && clock.armed() == 1; }));
  if (ending == 0) first.source.cancel();
  if (ending == 1) second.source.cancel();
  if (ending == 2) clock.advance(1ms);
  if (ending == 3) CHECK(channel.send(1) == OpStatus::kOk);
  CHECK(call.result() == ending);
  CHECK(statuses.size() == (ending == 3 ? 0U : 1U));
  CHECK(statuses.count(OpStatus::kCancelled) == (ending < 2 ? 1U : 0U));
  CHECK(clock.armed() == 0);
  CHECK(channel.stats().blocked_receivers == 0);
}

TEST_CASE("Select: a channel may stand in several cases", "[channel][select]") {
  Channel<int> channel(0);
  Call call(
      [&] { return select(on_receive(channel, ignore), on_receive(channel, ignore), on_receive(channel, ignore)); });
  REQUIRE(eventually_blocked_receivers(channel, 3));
  CHECK(channel.send(1) == OpStatus::kOk);
  CHECK(call.result() < 3);
  CHECK(channel.stats().blocked_receivers == 0);
  CHECK(channel.try_send(2) == OpStatus::kFull);
}

TEST_CASE("Select: a send and a receive on one channel do not meet within one select", "[channel][select]") {
  Channel<int> channel(0);
  CHECK(select(on_send(channel, 1, fail), on_receive(channel, fail), otherwise(ignore)) == 2);
  Call call([&] { return select(on_send(channel, 1, ignore), on_receive(channel, ignore)); });
  REQUIRE(eventually([&] { return channel.stats().blocked_senders == 1 && channel.stats().blocked_receivers == 1; }));
  CHECK(channel.try_send(2) == OpStatus::kOk);  // meets its receive
  CHECK(call.result() == 1);
  CHECK(channel.try_receive().status == OpStatus::kEmpty);
}

TEST_CASE("Select: two selects that cross meet once", "[channel][select]") {
  Channel<int> left(0);
  Channel<int> right(0);
  for (int round = 0; round != 200; ++round) {
    Call one([&] { return select(on_send(left, 1, ignore), on_receive(right, ignore)); });
    Call two([&] { return select(on_send(right, 1, ignore), on_receive(left, ignore)); });
    if (one.result() == 0) {
      CHECK(two.result() == 1);
    } else {
      CHECK(two.result() == 0);
    }
  }
  CHECK(left.stats().sends + right.stats().sends == 200);
  CHECK(left.stats().blocked_senders + left.stats().blocked_receivers == 0);
}

TEST_CASE("Select: stands in line with threads and coroutines", "[channel][select]") {
  Channel<int> channel(0);
  RunLoop loop;
  int by_coroutine = 0;
  int by_select = 0;
  const auto receive = [](Channel<int>& from, int& value) -> Task<> {
    static_cast<void>(co_await from.async_receive(value));
  };
  auto task = spawn(loop, receive(channel, by_coroutine));
  loop.run_ready();
  Call selecting([&] { return select(on_receive(channel, [&](int value) { by_select = value; })); });
  REQUIRE(eventually_blocked_receivers(channel, 2));
  Call receiving([&] { return channel.receive(); });
  REQUIRE(eventually_blocked_receivers(channel, 3));
  for (int i = 1; i <= 3; ++i) CHECK(channel.send(i) == OpStatus::kOk);
  loop.run_ready();
  CHECK(selecting.result() == 0);
  CHECK(by_coroutine == 1);
  CHECK(by_select == 2);
  CHECK(receiving.result().value == 3);
}

TEST_CASE("Select: handlers run with no lock held", "[channel][select]") {
  Channel<int> channel(2);
  REQUIRE(channel.send(1) == OpStatus::kOk);
  select(on_receive(channel, [&](int value) {
    CHECK(channel.send(value + 1) == OpStatus::kOk);
    select(on_send(channel, value + 2, ignore));
  }));
  CHECK(channel.close_and_drain() == std::vector{2, 3});
}

TEST_CASE("Select: what a handler throws comes out, and its value was handed over", "[channel][select]") {
  Channel<int> channel(2);
  REQUIRE(channel.send(1) == OpStatus::kOk);
  REQUIRE(channel.send(2) == OpStatus::kOk);
  int seen = 0;
  CHECK_THROWS_AS(select(on_receive(channel,
                                    [&](int value) {
                                      seen = value;
                                      throw std::runtime_error("handler");
                                    })),
                  std::runtime_error);
  CHECK(seen == 1);
  CHECK(channel.try_receive().value == 2);
  CHECK(channel.stats().receives == 2);
}

TEST_CASE("Select: a handler is called as what it asks for", "[channel][select]") {
  Channel<std::any> channel(1);
  REQUIRE(channel.send(std::any(5)) == OpStatus::kOk);
  int got = 0;
  select(on_receive(channel, [&](std::any value) { got = std::any_cast<int>(value); }));
  CHECK(got == 5);

  struct Counting {
    void operator()() { ++calls; }
    int calls = 0;
  } counting;
  select(on_done(Context::background().with_timeout(0s), counting));  // the caller's own, not a copy
  select(otherwise(counting));
  CHECK(counting.calls == 2);
}

TEST_CASE("Select: its destroyed channels let it go", "[channel][select]") {
  auto channel = std::make_unique<Channel<int>>(0);
  Channel<int> other(0);
  Call call([&, on = channel.get()] {
    return select(on_receive(*on, ignore), on_receive(other, ignore), on_receive(*on, ignore));
  });
  REQUIRE(eventually_blocked_receivers(*channel, 2));
  channel.reset();
  CHECK(call.result() != 1);
}

}  // namespace
}  // namespace penstock
