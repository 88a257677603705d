// SPDX-License-Identifier: MIT

// Selects that are made in advance, and cases with a time limit.

#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "penstock/core/manual_clock.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace testing;

const auto ignore = [](auto&&...) {};
const auto fail = [](auto&&...) { throw std::logic_error("a case was taken that must not be"); };

using Place = std::optional<std::size_t>;

static_assert(!std::is_copy_constructible_v<Selector>);

/// Passes all but one of a million fair runs.
bool is_fair(int taken, int trials, double share) {
  return std::abs(taken - trials * share) < 4.89 * std::sqrt(trials * share * (1 - share));
}

TEST_CASE("Selector: takes the case that is ready, gives its handler the value, and returns its place",
          "[channel][selector]") {
  Channel<int> numbers(1);
  Channel<std::string> texts(1);
  Channel<MoveOnly> boxes(1);
  std::string text;
  MoveOnly box(3);
  OpStatus sent = OpStatus::kFull;
  Selector selector;
  CHECK(selector.size() == 0);
  CHECK(selector.on_receive(numbers, fail) == 0);
  CHECK(selector.on_receive(texts, [&](std::string got) { text = std::move(got); }) == 1);
  CHECK(selector.on_send(boxes, box, [&](OpStatus status) { sent = status; }) == 2);
  CHECK(selector.size() == 3);
  CHECK(selector.select() == 2);
  CHECK(sent == OpStatus::kOk);
  CHECK(box.is_moved_from());
  CHECK(boxes.try_receive().value->number() == 3);

  MoveOnly filler(4);
  REQUIRE(boxes.try_send(std::move(filler)) == OpStatus::kOk);
  REQUIRE(texts.send("hello") == OpStatus::kOk);
  CHECK(selector.select() == 1);
  CHECK(text == "hello");
  CHECK(texts.size() == 0);
}

TEST_CASE("Selector: without a case, or with none that can come, it refuses to wait and finds nothing",
          "[channel][selector]") {
  Selector selector;
  CHECK_THROWS_AS(selector.select(), std::invalid_argument);
  CHECK_FALSE(selector.try_select());
  selector.on_done(Context::background(), fail);
  CHECK_THROWS_WITH(selector.select(), StartsWith("select: no case can ever become ready (1 case"));
  CHECK_FALSE(selector.try_select());
  Channel<int> channel(1);
  selector.on_receive(channel, ignore);
  REQUIRE(channel.try_send(1) == OpStatus::kOk);
  CHECK(selector.select() == 1);
}

TEST_CASE("Selector: at random, every ready case has the same chance, however often it is used",
          "[channel][selector]") {
  constexpr int kTrials = 10'000;
  Channel<int> closed(1);
  Channel<int> also_closed(1);
  Channel<int> never(0);
  closed.close();
  also_closed.close();
  int value = 0;
  Selector selector;
  selector.on_receive(closed, ignore);
  selector.on_receive(never, fail);
  selector.on_receive(also_closed, ignore);
  selector.on_send(also_closed, value, ignore);
  selector.on_done(Context::background().with_timeout(0s), ignore);
  std::array<int, 5> taken{};
  for (int i = 0; i != kTrials; ++i) ++taken[selector.select()];
  CHECK(taken[1] == 0);
  for (const std::size_t index : {0U, 2U, 3U, 4U}) CHECK(is_fair(taken[index], kTrials, 0.25));
  taken = {};
  for (int i = 0; i != kTrials; ++i) ++taken[selector.try_select().value()];
  for (const std::size_t index : {0U, 2U, 3U, 4U}) CHECK(is_fair(taken[index], kTrials, 0.25));
}

TEST_CASE("Selector: in order, the first of the ready cases is taken, whatever was selected before",
          "[channel][selector]") {
  constexpr std::size_t kChannels = 8;
  std::array<std::optional<Channel<int>>, kChannels> channels;
  Selector selector;
  for (std::size_t i = 0; i != kChannels; ++i) {
    Channel<int>& channel = channels[i * 3 % kChannels].emplace(1);  // not in the order of addresses
    selector.on_receive(channel, ignore);
  }
  for (int round = 0; round != 20; ++round) {
    Call call([&] { return selector.select(SelectOrder::kRandom); });  // a wait leaves the cases in an order of its own
    for (const auto& channel : channels) REQUIRE(eventually_blocked_receivers(*channel, 1));
    REQUIRE(channels[3]->try_send(1) == OpStatus::kOk);
    CHECK(call.result() == 1);
    for (auto& channel : channels) REQUIRE(channel->try_send(1) == OpStatus::kOk);
    for (std::size_t i = 0; i != kChannels; ++i) REQUIRE(selector.select(SelectOrder::kInOrder) == i);
    REQUIRE_FALSE(selector.try_select(SelectOrder::kInOrder));
  }
}

TEST_CASE("Selector: try_select takes what is ready, and has no effect if nothing is", "[channel][selector]") {
  Channel<int> in(1);
  Channel<int> out(1);
  REQUIRE(out.try_send(1) == OpStatus::kOk);
  int value = 2;
  Selector selector;
  selector.on_receive(in, ignore);
  selector.on_send(out, value, ignore);
  CHECK_FALSE(selector.try_select());
  CHECK(in.stats().blocked_receivers == 0);
  CHECK(out.stats().blocked_senders == 0);
  REQUIRE(out.try_receive());
  CHECK(selector.try_select() == Place(1));
  CHECK(out.try_receive().value == 2);
}

TEST_CASE("Selector: a closed channel is ready, with its status, each time", "[channel][selector]") {
  Channel<int> channel(1);
  REQUIRE(channel.try_send(1) == OpStatus::kOk);
  channel.close();
  std::vector<OpStatus> statuses;
  Selector receiving;
  receiving.on_receive(channel, [&](Received<int> got) { statuses.push_back(got.status); });
  for (int i = 0; i != 3; ++i) CHECK(receiving.select() == 0);
  CHECK(statuses == std::vector{OpStatus::kOk, OpStatus::kClosed, OpStatus::kClosed});
  MoveOnly value(2);
  Channel<MoveOnly> boxes(1);
  boxes.close();
  Selector sending;
  sending.on_send(boxes, value, [&](OpStatus status) { statuses.push_back(status); });
  CHECK(sending.select() == 0);
  CHECK(statuses.back() == OpStatus::kClosed);
  CHECK(value.number() == 2);
}

TEST_CASE("Selector: sends what its value is when the case is taken", "[channel][selector]") {
  Channel<std::unique_ptr<int>> channel(8);
  std::unique_ptr<int> value;
  Selector selector;
  selector.on_send(channel, value, ignore);
  for (int i = 0; i != 5; ++i) {
    value = std::make_unique<int>(i);
    CHECK(selector.select() == 0);
    CHECK(value == nullptr);
  }
  for (int i = 0; i != 5; ++i) {
    const Received<std::unique_ptr<int>> got = channel.try_receive();
    CHECK(**got.value == i);
  }
}

TEST_CASE("Selector: waits until a peer comes, again and again, and leaves every line", "[channel][selector]") {
  Channel<int> first(0);
  Channel<int> second(0);
  Channel<int> third(0);
  std::vector<int> got;
  int value = 0;
  Selector selector;
  selector.on_receive(first, [&](int one) { got.push_back(one); });
  selector.on_receive(second, [&](int one) { got.push_back(one); });
  selector.on_send(third, value, ignore);
  for (int round = 0; round != 20; ++round) {
    value = 100 + round;
    Call call([&] { return selector.select(); });
    REQUIRE(eventually_blocked_senders(third, 1));
    CHECK(first.stats().blocked_receivers == 1);
    CHECK(second.stats().blocked_receivers == 1);
    const std::size_t place = static_cast<std::size_t>(round) % 3;
    if (place == 2) {
      CHECK(third.receive().value == 100 + round);
    } else {
      CHECK((place == 0 ? first : second).send(int(round)) == OpStatus::kOk);
    }
    CHECK(call.result() == place);
    if (place != 2) CHECK(got.back() == round);
    CHECK(first.stats().blocked_receivers == 0);
    CHECK(second.stats().blocked_receivers == 0);
    CHECK(third.stats().blocked_senders == 0);
  }
  CHECK(got.size() == 14);
}

TEST_CASE("Selector: what a handler throws comes out, and it may be used again", "[channel][selector]") {
  Channel<int> channel(3);
  for (int i = 0; i != 3; ++i) REQUIRE(channel.try_send(int(i)) == OpStatus::kOk);
  std::vector<int> got;
  Selector selector;
  selector.on_receive(channel, [&](int value) {
    got.push_back(value);
    if (value == 1) throw std::runtime_error("one");
  });
  CHECK(selector.select() == 0);
  CHECK_THROWS_WITH(selector.select(), "one");
  CHECK(selector.select() == 0);
  CHECK(got == std::vector{0, 1, 2});

  Call waiting([&] {
    try {
      return selector.select();
    } catch (const std::runtime_error&) {
      return std::size_t{99};
    }
  });
  REQUIRE(eventually_blocked_receivers(channel, 1));
  CHECK(channel.try_send(1) == OpStatus::kOk);
  CHECK(waiting.result() == 99);
  CHECK(channel.stats().blocked_receivers == 0);
  CHECK(channel.try_send(5) == OpStatus::kOk);
  CHECK(selector.select() == 0);
  CHECK(got.back() == 5);
}

TEST_CASE("Selector: contexts end it, each with its own case", "[channel][selector]") {
  Channel<int> channel(0);
  ManualClock clock;
  auto [cancelled, source] = Context::background().with_cancel();
  std::vector<OpStatus> statuses;
  Selector selector;
  selector.on_receive(channel, fail);
  selector.on_done(Context(clock).with_timeout(1s), [&](OpStatus status) { statuses.push_back(status); });
  selector.on_done(cancelled, [&](OpStatus status) { statuses.push_back(status); });
  CHECK_FALSE(selector.try_select());
  Call call([&] { return selector.select(); });
  REQUIRE(eventually_blocked_receivers(channel, 1));
  source.cancel();
  CHECK(call.result() == 2);
  CHECK(selector.select() == 2);  // goes on being ready
  REQUIRE(statuses == std::vector(2, OpStatus::kCancelled));
  clock.advance(1s);
  CHECK(selector.select(SelectOrder::kInOrder) == 1);
  CHECK(statuses.back() == OpStatus::kTimedOut);
  CHECK(channel.stats().blocked_receivers == 0);
  CHECK(clock.armed() == 0);
}

TEST_CASE("Selector: a case for which there is no memory is not added", "[channel][selector]") {
  Channel<int> channel(1);
  Selector selector;
  for (std::uint64_t nth = 0; nth != 2; ++nth) {
    const FailAllocation failure(nth);
    bool thrown = false;
    try {
      selector.on_receive(channel, ignore);
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
    if (thrown) CHECK(selector.size() == 0);
    if (!thrown) break;
  }
  REQUIRE(channel.try_send(1) == OpStatus::kOk);
  const std::size_t size = selector.size();
  CHECK(selector.on_receive(channel, ignore) == size);
  CHECK(selector.select() <= size);
}

TEST_CASE("Selector: a select that need not wait allocates nothing", "[channel][selector]") {
  Channel<int> channel(1);
  Channel<int> other(1);
  Selector selector;
  selector.on_receive(channel, ignore);
  selector.on_receive(other, ignore);
  bool all = !selector.try_select();  // the first one makes room
  const Allocations before = Allocations::now();
  for (int i = 0; i != 100; ++i) {
    all = all && channel.try_send(int(i)) == OpStatus::kOk && selector.select() == 0 && !selector.try_select();
  }
  CHECK(Allocations::now() == before);
  CHECK(all);
}

// --- Time limits ---

TEST_CASE("Select: a time limit that has passed is a case like others", "[channel][select][timeout]") {
  Channel<int> channel(1);
  ManualClock clock;
  CHECK(select(on_receive(channel, fail), on_timeout(0s, ignore)) == 1);
  CHECK(select(on_receive(channel, fail), on_timeout(-1s, ignore, clock)) == 1);
  CHECK(select(on_receive(channel, fail), on_timeout(clock.now(), ignore, clock)) == 1);
  CHECK(select(SelectOrder::kInOrder, on_send(channel, 1, ignore), on_timeout(0s, fail)) == 0);
  CHECK(select(on_timeout(1h, fail), on_receive(channel, ignore)) == 1);
  CHECK(select(on_timeout(1h, fail, clock), on_receive(channel, fail), otherwise(ignore)) == 2);
  CHECK(clock.armed() == 0);
}

TEST_CASE("Select: a time limit ends it when its clock says so, and not early", "[channel][select][timeout]") {
  Channel<int> channel(0);
  ManualClock clock;
  const TimePoint start = clock.now();
  const bool by_deadline = GENERATE(false, true);
  Call call([&] {
    return by_deadline ? select(on_receive(channel, fail), on_timeout(start + 10ms, ignore, clock))
                       : select(on_receive(channel, fail), on_timeout(10ms, ignore, clock));
  });
  REQUIRE(eventually_blocked_receivers(channel, 1));
  REQUIRE(eventually([&] { return clock.armed() == 1; }));
  clock.advance(9ms);
  CHECK_FALSE(call.has_ended());
  CHECK(channel.stats().blocked_receivers == 1);
  clock.advance(1ms);
  CHECK(call.result() == 1);
  CHECK(channel.stats().blocked_receivers == 0);
  CHECK(clock.armed() == 0);
}

TEST_CASE("Select: the shortest of several time limits ends it", "[channel][select][timeout]") {
  Channel<int> channel(0);
  ManualClock clock;
  Call call([&] {
    return select(on_timeout(3s, fail, clock), on_receive(channel, fail), on_timeout(1s, ignore, clock),
                  on_timeout(2s, fail, clock));
  });
  REQUIRE(eventually_blocked_receivers(channel, 1));
  REQUIRE(eventually([&] { return clock.armed() == 3; }));
  clock.advance(1s);
  CHECK(call.result() == 2);
  CHECK(clock.armed() == 0);
}

TEST_CASE("Select: a time limit on the machine's clock ends it, and not early", "[channel][select][timeout]") {
  Channel<int> channel(0);
  const auto start = std::chrono::steady_clock::now();
  CHECK(select(on_receive(channel, fail), on_timeout(20ms, ignore)) == 1);
  CHECK(std::chrono::steady_clock::now() - start >= 20ms);
  CHECK(select(on_timeout(20ms, ignore)) == 0);  // and alone
  CHECK(std::chrono::steady_clock::now() - start >= 40ms);
  CHECK(channel.stats().blocked_receivers == 0);
}

}  // namespace
}  // namespace penstock
