// SPDX-License-Identifier: MIT

// Selects of coroutines, of both forms: with their cases, and made in advance.

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"
#include "support/catch.hpp"
#include "support/detached.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace testing;

const auto ignore = [](auto&&...) {};
const auto fail = [](auto&&...) { throw std::logic_error("a case was taken that must not be"); };

using Place = std::optional<std::size_t>;

struct Bench {
  Channel<int> in{1};
  Channel<MoveOnly> out{1};
  ManualClock clock;
  RunLoop loop;
  MoveOnly value{7};
  std::vector<Received<int>> received;
  std::vector<OpStatus> sent;
  std::vector<OpStatus> ended;
};

/// Cases 0 to 3: receive, send, and the two contexts.
Task<> choose(Bench& bench, Context one, Context two, Place& place) {
  const std::size_t taken = co_await async_select(
      on_receive(bench.in, [&bench](Received<int> got) { bench.received.push_back(std::move(got)); }),
      on_send(bench.out, std::move(bench.value), [&bench](OpStatus how) { bench.sent.push_back(how); }),
      on_done(std::move(one), [&bench](OpStatus how) { bench.ended.push_back(how); }),
      on_done(std::move(two), [&bench](OpStatus how) { bench.ended.push_back(how); }));
  place = taken;
}

Task<> choose_with(Selector& selector, Place& place) {
  const std::size_t taken = co_await selector.async_select();
  place = taken;
}

void add_cases(Selector& selector, Bench& bench, Context one, Context two) {
  selector.on_receive(bench.in, [&bench](Received<int> got) { bench.received.push_back(std::move(got)); });
  selector.on_send(bench.out, bench.value, [&bench](OpStatus how) { bench.sent.push_back(how); });
  selector.on_done(std::move(one), [&bench](OpStatus how) { bench.ended.push_back(how); });
  selector.on_done(std::move(two), [&bench](OpStatus how) { bench.ended.push_back(how); });
}

/// What may end the wait of cases 0 to 3.
enum End { kNone, kValue, kRoom, kInCloses, kOutCloses, kTime, kCancel };

/// With a value in `out`, the first context on the bench's clock with a second to go, and the second that of `source`.
void bring(End end, Bench& bench, const CancelSource& source) {
  switch (end) {
    case kNone:
      break;
    case kValue:
      CHECK(bench.in.try_send(5) == OpStatus::kOk);
      break;
    case kRoom:
      CHECK(bench.out.try_receive().value->number() == 1);
      break;
    case kInCloses:
      bench.in.close();
      break;
    case kOutCloses:
      bench.out.close();
      break;
    case kTime:
      bench.clock.advance(1s);
      break;
    case kCancel:
      source.cancel();
      break;
  }
}

TEST_CASE("Select: a coroutine takes what is ready without suspending", "[channel][select][coroutine]") {
  Bench bench;
  const bool prepared = GENERATE(false, true);
  Selector selector;
  add_cases(selector, bench, Context::background(), Context::background());
  const auto start = [&](Place& place) {
    static_cast<void>(prepared ? spawn(bench.loop, choose_with(selector, place))
                               : spawn(bench.loop, choose(bench, Context::background(), Context::background(), place)));
  };
  Place sending;
  start(sending);
  CHECK(bench.loop.run_ready() == 1);
  CHECK(sending == Place(1));
  CHECK(bench.sent == std::vector{OpStatus::kOk});
  CHECK(bench.value.is_moved_from());
  REQUIRE(bench.in.try_send(3) == OpStatus::kOk);
  Place receiving;
  start(receiving);
  CHECK(bench.loop.run_ready() == 1);
  CHECK(receiving == Place(0));
  CHECK(bench.received.at(0).value == 3);
}

TEST_CASE("Select: a coroutine waits, is ended by one case, and leaves the other lines",
          "[channel][select][coroutine]") {
  const End end = GENERATE(kValue, kRoom, kInCloses, kOutCloses, kTime, kCancel);
  const bool prepared = GENERATE(false, true);
  Bench bench;
  REQUIRE(bench.out.try_send(MoveOnly(1)) == OpStatus::kOk);
  auto [cancelled, source] = Context::background().with_cancel();
  const Context timed = Context(bench.clock).with_timeout(1s);
  Selector selector;
  add_cases(selector, bench, timed, cancelled);
  Place place;
  auto task = spawn(bench.loop, prepared ? choose_with(selector, place) : choose(bench, timed, cancelled, place));
  bench.loop.run_ready();
  CHECK_FALSE(place);
  CHECK(bench.in.stats().blocked_receivers == 1);
  CHECK(bench.out.stats().blocked_senders == 1);
  bring(end, bench, source);
  CHECK_FALSE(place);  // on its executor, not here
  CHECK(bench.loop.run_ready() == 1);
  CHECK(place == Place(end == kValue || end == kInCloses   ? 0
                       : end == kRoom || end == kOutCloses ? 1
                       : end == kTime                      ? 2
                                                           : 3));
  CHECK(bench.received.size() == (end == kValue || end == kInCloses ? 1 : 0));
  if (end == kValue) CHECK(bench.received[0].value == 5);
  if (end == kInCloses) CHECK(bench.received[0].status == OpStatus::kClosed);
  CHECK(bench.value.is_moved_from() == (end == kRoom));
  if (end == kRoom) CHECK(bench.sent == std::vector{OpStatus::kOk});
  if (end == kOutCloses) CHECK(bench.sent == std::vector{OpStatus::kClosed});
  if (end == kTime) CHECK(bench.ended == std::vector{OpStatus::kTimedOut});
  if (end == kCancel) CHECK(bench.ended == std::vector{OpStatus::kCancelled});
  CHECK(bench.received.size() + bench.sent.size() + bench.ended.size() == 1);
  CHECK(bench.in.stats().blocked_receivers == 0);
  CHECK(bench.out.stats().blocked_senders == 0);
  CHECK(bench.clock.armed() == 0);
}

TEST_CASE("Select: a coroutine's null channels are never ready, and only they are refused",
          "[channel][select][coroutine]") {
  RunLoop loop;
  Channel<int>* const null = nullptr;
  Channel<int> channel(0);
  const auto on_null = [](Channel<int>* nothing, Channel<int>& some, Place& place) -> Task<> {
    const std::size_t taken =
        co_await async_select(on_receive(nothing, fail), on_send(nothing, 1, fail), on_receive(some, ignore));
    place = taken;
  };
  Place place;
  auto task = spawn(loop, on_null(null, channel, place));
  loop.run_ready();
  CHECK_FALSE(place);
  CHECK(channel.try_send(1) == OpStatus::kOk);
  loop.run_ready();
  CHECK(place == Place(2));
  const auto on_nothing = [](Channel<int>* nothing) -> Task<> {
    const std::size_t taken = co_await async_select(on_receive(nothing, fail), on_send(nothing, 1, fail));
    static_cast<void>(taken);
  };
  CHECK_THROWS_AS(sync_wait(on_nothing(null)), std::invalid_argument);
  Selector empty;
  Place none;
  CHECK_THROWS_AS(sync_wait(choose_with(empty, none)), std::invalid_argument);
  CHECK_FALSE(none);
}

TEST_CASE("Select: a coroutine has a time limit on any clock, and may look without waiting",
          "[channel][select][coroutine][timeout]") {
  ManualClock clock;
  RunLoop loop;
  Channel<int> channel(0);
  const auto limited = [](Channel<int>& from, Clock& on, std::chrono::nanoseconds limit, Place& place) -> Task<> {
    const std::size_t taken = co_await async_select(on_receive(from, fail), on_timeout(limit, ignore, on));
    place = taken;
  };
  Place manual;
  auto task = spawn(loop, limited(channel, clock, 5ms, manual));
  loop.run_ready();
  CHECK(clock.armed() == 1);
  clock.advance(5ms);
  CHECK(loop.run_ready() == 1);
  CHECK(manual == Place(1));
  Place steady;
  sync_wait(limited(channel, Clock::steady(), 5ms, steady));
  CHECK(steady == Place(1));
  const auto look = [](Channel<int>& from, Place& place) -> Task<> {
    const std::size_t taken = co_await async_select(SelectOrder::kInOrder, on_receive(from, fail), otherwise(ignore));
    place = taken;
  };
  Place looked;
  sync_wait(look(channel, looked));
  CHECK(looked == Place(1));
  CHECK(channel.stats().blocked_receivers == 0);
}

TEST_CASE("Select: what a handler throws comes out of a coroutine's select", "[channel][select][coroutine]") {
  RunLoop loop;
  Channel<int> channel(0);
  Selector selector;
  selector.on_receive(channel, [](int) { throw std::runtime_error("thrown"); });
  for (int round = 0; round != 2; ++round) {
    Place place;
    auto task = spawn(loop, choose_with(selector, place));
    loop.run_ready();
    CHECK(channel.try_send(1) == OpStatus::kOk);
    loop.run_ready();
    CHECK_THROWS_WITH(sync_wait(std::move(task)), "thrown");
    CHECK_FALSE(place);
  }
}

Detached choose_on(RunLoop& /*loop*/, Bench& bench, Context& one, Context& two) {
  const std::size_t taken =
      co_await async_select(on_receive(bench.in, fail), on_send(bench.out, std::move(bench.value), fail),
                            on_done(one, fail), on_done(two, fail));
  static_cast<void>(taken);
}
Detached choose_on_with(RunLoop& /*loop*/, Selector& selector) {
  const std::size_t taken = co_await selector.async_select();
  static_cast<void>(taken);
}

TEST_CASE("Select: a coroutine destroyed while it waits, or once its wait was decided, leaves nothing behind",
          "[channel][select][coroutine]") {
  const End end = GENERATE(kNone, kValue, kRoom, kInCloses, kOutCloses, kTime, kCancel);
  const bool prepared = GENERATE(false, true);
  Bench bench;
  REQUIRE(bench.out.try_send(MoveOnly(1)) == OpStatus::kOk);
  auto [cancelled, source] = Context::background().with_cancel();
  Context timed = Context(bench.clock).with_timeout(1s);
  Context ending = cancelled;
  Selector selector;
  add_cases(selector, bench, timed, ending);
  const Detached coroutine =
      prepared ? choose_on_with(bench.loop, selector) : choose_on(bench.loop, bench, timed, ending);
  CHECK(bench.in.stats().blocked_receivers == 1);
  CHECK(bench.out.stats().blocked_senders == 1);
  bring(end, bench, source);
  coroutine.handle.destroy();
  CHECK(bench.in.stats().blocked_receivers == 0);
  CHECK(bench.out.stats().blocked_senders == 0);
  CHECK(bench.clock.armed() == 0);
  CHECK(bench.loop.run_ready() == 0);
  CHECK(bench.received.size() + bench.sent.size() + bench.ended.size() == 0);  // no handler has run
  CHECK(bench.value.is_moved_from() == (end == kRoom));
  if (end == kNone) {
    CHECK(bench.in.try_send(1) == OpStatus::kOk);  // into the buffer, for the next
    CHECK(bench.in.size() == 1);
    if (prepared) CHECK(selector.select() == 0);  // it may be used again
  }
}

TEST_CASE("Select: coroutines that cross on several threads lose and double nothing",
          "[channel][select][coroutine][stress]") {
  constexpr int kValues = 3000;
  Channel<int> first(0);
  Channel<int> second(3);
  RunLoop loop;
  Call runner([&] { return loop.run(), true; });
  const auto consume = [](Channel<int>& one, Channel<int>& two) -> Task<long> {
    long sum = 0;
    bool closed[2] = {false, false};
    while (!closed[0] || !closed[1]) {
      const std::size_t taken = co_await async_select(on_receive(closed[0] ? nullptr : &one,
                                                                 [&](Received<int> got) {
                                                                   if (got) sum += *got.value;
                                                                   if (!got) closed[0] = true;
                                                                 }),
                                                      on_receive(closed[1] ? nullptr : &two, [&](Received<int> got) {
                                                        if (got) sum += *got.value;
                                                        if (!got) closed[1] = true;
                                                      }));
      static_cast<void>(taken);
    }
    co_return sum;
  };
  auto one = spawn(loop, consume(first, second));
  auto two = spawn(loop, consume(first, second));
  Call sender([&] {
    int value = 0;
    Selector selector;
    selector.on_send(first, value, ignore);
    selector.on_send(second, value, ignore);
    for (int i = 1; i <= kValues; ++i) {
      value = i;
      selector.select();
    }
    return true;
  });
  sender.result();
  first.close();
  second.close();
  const long by_one = sync_wait(std::move(one));
  const long by_two = sync_wait(std::move(two));
  CHECK(by_one + by_two == long{kValues} * (kValues + 1) / 2);
  loop.stop();
}

}  // namespace
}  // namespace penstock
