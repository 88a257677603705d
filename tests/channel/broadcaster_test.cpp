// SPDX-License-Identifier: MIT

#include "penstock/channel/broadcaster.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/core/manual_clock.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace testing;

/// What a delivery brought, in short: "7", "(3) 7" after three that were missed, or its status.
template <class T>
std::string text(const Delivery<T>& delivery) {
  if (!delivery) {
    const bool is_bare = delivery.value == nullptr && delivery.missed == 0;
    return is_bare ? std::string(to_string(delivery.status)) : "a failure with a value";
  }
  const std::string gap = delivery.missed == 0 ? "" : "(" + std::to_string(delivery.missed) + ") ";
  return gap + std::to_string(*delivery.value);
}
std::string next(Subscription<int>& subscription) { return text(subscription.try_receive()); }

/// Everything that is there, and the end.
std::vector<std::string> rest(Subscription<int>& subscription) {
  std::vector<std::string> all;
  for (;;) {
    const Delivery<int> delivery = subscription.try_receive();
    all.push_back(text(delivery));
    if (!delivery) return all;
  }
}

using Texts = std::vector<std::string>;

void publish_all(Broadcaster<int>& broadcaster, int first, int last) {
  for (int i = first; i <= last; ++i) REQUIRE(broadcaster.publish(i) == OpStatus::kOk);
}

std::string complaint(std::size_t capacity) {
  try {
    const Broadcaster<int> broadcaster(capacity);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "none";
}

TEST_CASE("Broadcaster: every subscriber gets every value published after it subscribed", "[channel][broadcaster]") {
  Broadcaster<int> broadcaster(8);
  Subscription<int> first = broadcaster.subscribe();
  publish_all(broadcaster, 1, 2);
  Subscription<int> second = broadcaster.subscribe();
  publish_all(broadcaster, 3, 4);
  CHECK(rest(first) == Texts{"1", "2", "3", "4", "empty"});
  CHECK(rest(second) == Texts{"3", "4", "empty"});
  publish_all(broadcaster, 5, 5);
  CHECK(rest(second) == Texts{"5", "empty"});
  CHECK(rest(first) == Texts{"5", "empty"});
}

TEST_CASE("Broadcaster: a slow subscriber loses the oldest, and learns how many, where they are missing",
          "[channel][broadcaster]") {
  const int capacity = GENERATE(1, 2, 3, 64);
  Broadcaster<int> broadcaster(static_cast<std::size_t>(capacity));
  CHECK(broadcaster.capacity() == static_cast<std::size_t>(capacity));
  Subscription<int> quick = broadcaster.subscribe();
  Subscription<int> slow = broadcaster.subscribe();
  publish_all(broadcaster, 1, capacity);  // just as many as are kept
  CHECK(next(slow) == "1");
  CHECK(slow.missed() == 0);
  for (int i = 1; i <= capacity; ++i) REQUIRE(next(quick) == std::to_string(i));

  // The slow one has 2..capacity to get. Seven more than there is room for.
  for (int i = capacity + 1; i <= 2 * capacity + 8; ++i) {
    publish_all(broadcaster, i, i);
    REQUIRE(next(quick) == std::to_string(i));
  }
  const std::string gap = std::to_string(capacity + 7);  // 2 ... capacity + 8
  CHECK(next(slow) == "(" + gap + ") " + std::to_string(capacity + 9));
  CHECK(slow.missed() == static_cast<std::uint64_t>(capacity) + 7);
  for (int i = capacity + 10; i <= 2 * capacity + 8; ++i) REQUIRE(next(slow) == std::to_string(i));
  CHECK(next(slow) == "empty");
  CHECK(quick.missed() == 0);

  const BroadcasterStats stats = broadcaster.stats();
  CHECK(stats.published == 2 * static_cast<std::uint64_t>(capacity) + 8);
  CHECK(stats.lost == slow.missed());
  CHECK(stats.subscribers == 2);
}

TEST_CASE("Broadcaster: each gap is told once, at its place", "[channel][broadcaster]") {
  Broadcaster<int> broadcaster(2);
  Subscription<int> subscription = broadcaster.subscribe();
  publish_all(broadcaster, 1, 3);
  CHECK(next(subscription) == "(1) 2");
  publish_all(broadcaster, 4, 6);  // 3 and 4 go
  CHECK(next(subscription) == "(2) 5");
  CHECK(next(subscription) == "6");
  CHECK(next(subscription) == "empty");
  publish_all(broadcaster, 7, 7);
  CHECK(next(subscription) == "7");
  CHECK(subscription.missed() == 3);
}

TEST_CASE("Broadcaster: counts a loss when it happens, once for each subscriber", "[channel][broadcaster]") {
  Broadcaster<int> broadcaster(2);
  Subscription<int> one = broadcaster.subscribe();
  Subscription<int> two = broadcaster.subscribe();
  std::optional<Subscription<int>> three = broadcaster.subscribe();
  publish_all(broadcaster, 1, 2);
  CHECK(next(one) == "1");
  three.reset();  // nothing can be lost to it any more
  CHECK(broadcaster.stats().subscribers == 2);
  publish_all(broadcaster, 3, 3);
  CHECK(broadcaster.stats().lost == 1);  // 1, to the second
  publish_all(broadcaster, 4, 4);
  CHECK(broadcaster.stats().lost == 3);  // 2, to both
  CHECK(one.missed() == 0);              // does not know yet
  CHECK(next(one) == "(1) 3");
  CHECK(next(two) == "(2) 3");
  CHECK(broadcaster.stats().lost == one.missed() + two.missed());
}

TEST_CASE("Broadcaster: close wakes everybody, and what is there is received first", "[channel][broadcaster]") {
  Broadcaster<int> broadcaster(8);
  Subscription<int> behind = broadcaster.subscribe();
  publish_all(broadcaster, 1, 2);
  Subscription<int> waits = broadcaster.subscribe();
  Call receiver([&] { return waits.receive().status; });
  CHECK_FALSE(broadcaster.is_closed());
  CHECK(broadcaster.close());
  CHECK(receiver.result() == OpStatus::kClosed);
  CHECK_FALSE(broadcaster.close());
  CHECK(broadcaster.is_closed());
  CHECK(broadcaster.stats().closes == 2);
  CHECK(text(behind.receive()) == "1");
  CHECK(text(behind.receive()) == "2");
  CHECK(text(behind.receive()) == "closed");
  CHECK(text(behind.receive()) == "closed");
  Subscription<int> late = broadcaster.subscribe();
  CHECK(next(late) == "closed");
}

TEST_CASE("Broadcaster: a closed one refuses, and leaves the value alone", "[channel][broadcaster]") {
  Broadcaster<std::unique_ptr<int>> broadcaster(2);
  broadcaster.close();
  auto value = std::make_unique<int>(5);
  CHECK(broadcaster.publish(std::move(value)) == OpStatus::kClosed);
  REQUIRE(value != nullptr);
  CHECK(*value == 5);
  const auto shared = std::make_shared<const std::unique_ptr<int>>(nullptr);
  CHECK(broadcaster.publish(shared) == OpStatus::kClosed);
  CHECK(shared.use_count() == 1);
  CHECK(broadcaster.stats().published == 0);
}

TEST_CASE("Broadcaster: its destruction closes, and subscriptions outlive it", "[channel][broadcaster]") {
  auto broadcaster = std::make_unique<Broadcaster<int>>(4);
  Subscription<int> behind = broadcaster->subscribe();
  publish_all(*broadcaster, 1, 6);
  Subscription<int> waits = broadcaster->subscribe();
  Call receiver([&] { return waits.receive().status; });
  broadcaster.reset();
  CHECK(receiver.result() == OpStatus::kClosed);
  CHECK(rest(behind) == Texts{"(2) 3", "4", "5", "6", "closed"});
}

TEST_CASE("Broadcaster: a subscription can be moved, and gets nothing afterwards", "[channel][broadcaster]") {
  Broadcaster<int> broadcaster(2);
  Broadcaster<int> other(2);
  Subscription<int> first = broadcaster.subscribe();
  publish_all(broadcaster, 1, 3);
  CHECK(next(first) == "(1) 2");
  Subscription<int> second = std::move(first);
  CHECK(next(second) == "3");
  CHECK(second.missed() == 1);
  CHECK(next(first) == "closed");  // NOLINT(bugprone-use-after-move): what it promises
  CHECK(text(first.receive()) == "closed");
  CHECK(broadcaster.stats().subscribers == 1);
  second = other.subscribe();
  CHECK(broadcaster.stats().subscribers == 0);
  CHECK(other.stats().subscribers == 1);
  CHECK(second.missed() == 0);
  first = std::move(second);
  publish_all(other, 9, 9);
  CHECK(next(first) == "9");
}

TEST_CASE("Broadcaster: a thread waits for the next value", "[channel][broadcaster]") {
  Broadcaster<int> broadcaster(2);
  Subscription<int> one = broadcaster.subscribe();
  Subscription<int> two = broadcaster.subscribe();
  ManualClock clock;  // tells when somebody waits
  const Context ctx = Context(clock).with_timeout(1h);
  Call first([&] { return text(one.receive(ctx)); });
  Call second([&] { return text(two.receive(ctx)); });
  REQUIRE(eventually([&] { return clock.armed() == 2; }));
  publish_all(broadcaster, 1, 1);
  CHECK(first.result() == "1");
  CHECK(second.result() == "1");
  CHECK(clock.armed() == 0);
}

TEST_CASE("Broadcaster: a wait ends with its context, and loses nothing", "[channel][broadcaster]") {
  Broadcaster<int> broadcaster(2);
  Subscription<int> subscription = broadcaster.subscribe();
  ManualClock clock;
  Call late([&] { return text(subscription.receive(Context(clock).with_timeout(5ms))); });
  REQUIRE(eventually([&] { return clock.armed() == 1; }));
  clock.advance(5ms);
  CHECK(late.result() == "timed out");

  auto [ctx, source] = Context(clock).with_timeout(1h).with_cancel();
  Call cancelled([&, &under = ctx] { return text(subscription.receive(under)); });
  REQUIRE(eventually([&] { return clock.armed() == 1; }));
  source.cancel();
  CHECK(cancelled.result() == "cancelled");

  CHECK(text(subscription.receive(ctx)) == "cancelled");  // has ended: does not wait
  publish_all(broadcaster, 1, 3);
  CHECK(text(subscription.receive(ctx)) == "(1) 2");  // but takes what is there
  broadcaster.close();
  CHECK(text(subscription.receive(ctx)) == "3");
  CHECK(text(subscription.receive(ctx)) == "closed");
  CHECK(clock.armed() == 0);
}

TEST_CASE("Broadcaster: bad capacities are refused, with the figure", "[channel][broadcaster]") {
  CHECK(complaint(0) == "broadcaster: capacity must be in [1, 2147483648], got 0");
  CHECK(complaint((std::size_t{1} << 31) + 1) == "broadcaster: capacity must be in [1, 2147483648], got 2147483649");
  CHECK(complaint(std::numeric_limits<std::size_t>::max()) ==
        "broadcaster: capacity must be in [1, 2147483648], got 18446744073709551615");
  CHECK(complaint(1) == "none");
  Broadcaster<int> broadcaster(1);
  CHECK_THROWS_WITH(broadcaster.publish(std::shared_ptr<const int>()), "broadcaster: cannot publish a null pointer");
}

}  // namespace
}  // namespace penstock
