// SPDX-License-Identifier: MIT

// Coroutines on broadcasters. Most tests run them on a loop of the test's own thread, so that every step is the test's.

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/channel/broadcaster.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"
#include "support/catch.hpp"
#include "support/detached.hpp"
#include "support/eventually.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace testing;

using Outcome = std::optional<Delivery<int>>;

bool brought(const Outcome& outcome, int value, std::uint64_t missed = 0) {
  return outcome.has_value() && outcome->status == OpStatus::kOk && *outcome->value == value &&
         outcome->missed == missed;
}
bool ended(const Outcome& outcome, OpStatus status) {
  return outcome.has_value() && outcome->status == status && outcome->value == nullptr && outcome->missed == 0;
}

Task<> receive_one(Subscription<int>& subscription, Outcome& outcome, Context ctx = Context::background()) {
  outcome = co_await subscription.async_receive(ctx);
}

TEST_CASE("Broadcaster: a coroutine receives without suspending what is there", "[channel][broadcaster][coroutine]") {
  Broadcaster<int> broadcaster(2);
  Subscription<int> subscription = broadcaster.subscribe();
  RunLoop loop;
  for (int i = 1; i <= 3; ++i) REQUIRE(broadcaster.publish(i) == OpStatus::kOk);
  Outcome outcome;
  auto task = spawn(loop, receive_one(subscription, outcome));
  CHECK(loop.run_ready() == 1);
  CHECK(brought(outcome, 2, 1));
}

TEST_CASE("Broadcaster: coroutines wait for a value and resume on their executor",
          "[channel][broadcaster][coroutine]") {
  Broadcaster<int> broadcaster(2);
  RunLoop loop;
  std::vector<Subscription<int>> subscriptions;
  std::vector<Outcome> outcomes(3);
  for (int i = 0; i != 3; ++i) subscriptions.push_back(broadcaster.subscribe());
  for (std::size_t i = 0; i != 3; ++i) static_cast<void>(spawn(loop, receive_one(subscriptions[i], outcomes[i])));
  loop.run_ready();
  CHECK(broadcaster.publish(5) == OpStatus::kOk);
  CHECK_FALSE(outcomes[0].has_value());  // not on the publisher's stack
  CHECK(loop.run_ready() == 3);
  for (const Outcome& outcome : outcomes) CHECK(brought(outcome, 5));
}

TEST_CASE("Broadcaster: a coroutine that is slow to resume learns what it has missed",
          "[channel][broadcaster][coroutine]") {
  Broadcaster<int> broadcaster(2);
  Subscription<int> subscription = broadcaster.subscribe();
  RunLoop loop;
  Outcome outcome;
  auto task = spawn(loop, receive_one(subscription, outcome));
  loop.run_ready();
  for (int i = 1; i <= 5; ++i) REQUIRE(broadcaster.publish(i) == OpStatus::kOk);  // it is woken by the first
  broadcaster.close();
  loop.run_ready();
  CHECK(brought(outcome, 4, 3));
  CHECK(subscription.missed() == 3);
}

TEST_CASE("Broadcaster: close lets coroutines go", "[channel][broadcaster][coroutine]") {
  auto broadcaster = std::make_unique<Broadcaster<int>>(2);
  Subscription<int> first = broadcaster->subscribe();
  Subscription<int> second = broadcaster->subscribe();
  RunLoop loop;
  Outcome one;
  Outcome two;
  auto task = spawn(loop, receive_one(first, one));
  loop.run_ready();
  broadcaster->close();
  auto other = spawn(loop, receive_one(second, two));  // does not wait
  broadcaster.reset();
  CHECK(loop.run_ready() == 2);
  CHECK(ended(one, OpStatus::kClosed));
  CHECK(ended(two, OpStatus::kClosed));
  const Subscription<int> taken = std::move(first);
  auto third = spawn(loop, receive_one(first, one));  // NOLINT(bugprone-use-after-move): what it promises
  CHECK(loop.run_ready() == 1);
  CHECK(ended(one, OpStatus::kClosed));
}

TEST_CASE("Broadcaster: the end of its context ends a coroutine's wait", "[channel][broadcaster][coroutine]") {
  Broadcaster<int> broadcaster(2);
  std::vector<Subscription<int>> subscriptions;
  for (int i = 0; i != 3; ++i) subscriptions.push_back(broadcaster.subscribe());
  std::vector<Outcome> outcomes(3);
  RunLoop loop;
  ManualClock clock;
  auto [cancelled, source] = Context::background().with_cancel();
  auto one = spawn(loop, receive_one(subscriptions[0], outcomes[0], cancelled));
  auto two = spawn(loop, receive_one(subscriptions[1], outcomes[1], Context(clock).with_timeout(5ms)));
  auto three = spawn(loop, receive_one(subscriptions[2], outcomes[2]));
  loop.run_ready();
  source.cancel();
  clock.advance(5ms);
  CHECK(loop.run_ready() == 2);
  CHECK(ended(outcomes[0], OpStatus::kCancelled));
  CHECK(ended(outcomes[1], OpStatus::kTimedOut));
  CHECK_FALSE(outcomes[2].has_value());
  CHECK(broadcaster.publish(8) == OpStatus::kOk);
  loop.run_ready();
  CHECK(brought(outcomes[2], 8));
  auto again = spawn(loop, receive_one(subscriptions[0], outcomes[0], cancelled));  // takes what is there
  auto once_more = spawn(loop, receive_one(subscriptions[0], outcomes[1], cancelled));
  CHECK(loop.run_ready() == 2);
  CHECK(brought(outcomes[0], 8));
  CHECK(ended(outcomes[1], OpStatus::kCancelled));
}

Detached receive_on(RunLoop& /*loop*/, Subscription<int>& subscription, Context ctx) {
  static_cast<void>(co_await subscription.async_receive(ctx));
}

TEST_CASE("Broadcaster: a coroutine destroyed while it waits has lost nothing", "[channel][broadcaster][coroutine]") {
  Broadcaster<int> broadcaster(4);
  Subscription<int> subscription = broadcaster.subscribe();
  RunLoop loop;
  ManualClock clock;
  auto [cancelled, source] = Context::background().with_cancel();
  int value = 0;
  for (const Context& ctx : {Context::background(), cancelled, Context(clock).with_timeout(1s)}) {
    // Before anybody served it.
    receive_on(loop, subscription, ctx).handle.destroy();
    CHECK(broadcaster.publish(++value) == OpStatus::kOk);
    CHECK(loop.run_ready() == 0);
    CHECK(*subscription.try_receive().value == value);
    // When it was served, and is in the queue of its executor.
    const Detached served = receive_on(loop, subscription, ctx);
    CHECK(broadcaster.publish(++value) == OpStatus::kOk);
    served.handle.destroy();
    CHECK(loop.run_ready() == 0);
    CHECK(*subscription.try_receive().value == value);
  }
  // When its wait ended otherwise.
  const Detached late = receive_on(loop, subscription, Context(clock).with_timeout(5ms));
  clock.advance(5ms);
  late.handle.destroy();
  const Detached called_off = receive_on(loop, subscription, cancelled);
  source.cancel();
  called_off.handle.destroy();
  const Detached closed = receive_on(loop, subscription, Context::background());
  broadcaster.close();
  closed.handle.destroy();
  CHECK(loop.run_ready() == 0);
  CHECK(clock.armed() == 0);
  CHECK(subscription.try_receive().status == OpStatus::kClosed);
}

TEST_CASE("Broadcaster: threads and coroutines listen side by side", "[channel][broadcaster][coroutine]") {
  Broadcaster<int> broadcaster(2);
  std::vector<Subscription<int>> subscriptions;
  for (int i = 0; i != 6; ++i) subscriptions.push_back(broadcaster.subscribe());
  std::vector<Outcome> outcomes(6);
  RunLoop loop;
  std::vector<std::unique_ptr<Call<bool>>> threads;
  for (std::size_t i = 0; i != 6; ++i) {
    if (i % 2 == 0) {
      static_cast<void>(spawn(loop, receive_one(subscriptions[i], outcomes[i])));
      loop.run_ready();
    } else {
      threads.push_back(std::make_unique<Call<bool>>([&, i] {
        outcomes[i] = subscriptions[i].receive();
        return true;
      }));
    }
  }
  REQUIRE(broadcaster.publish(4) == OpStatus::kOk);
  loop.run_ready();
  for (auto& thread : threads) thread->result();
  for (const Outcome& outcome : outcomes) CHECK(brought(outcome, 4));
}

/// A clock that has no thread for timers.
class ThreadlessClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override { return TimePoint(1h); }
  void start_timers() override {
    throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
  }
  bool arm(Timer& /*timer*/, TimePoint /*when*/) noexcept override { return true; }
  void disarm(Timer& /*timer*/) noexcept override {}
};

TEST_CASE("Broadcaster: a wait that cannot be timed throws before it begins", "[channel][broadcaster][coroutine]") {
  ThreadlessClock clock;
  const Context ctx = Context(clock).with_timeout(1s);
  Broadcaster<int> broadcaster(2);
  Subscription<int> subscription = broadcaster.subscribe();
  CHECK_THROWS_AS(subscription.receive(ctx), std::system_error);
  Outcome outcome;
  CHECK_THROWS_AS(sync_wait(receive_one(subscription, outcome, ctx)), std::system_error);
  CHECK(broadcaster.publish(1) == OpStatus::kOk);  // nobody is in line
  CHECK(*subscription.receive(ctx).value == 1);
}

Task<> answer(Subscription<int>& in, Broadcaster<int>& out, int& last) {
  while (const Delivery<int> got = co_await in.async_receive()) {
    last = *got.value;
    if (last == 0 || out.publish(last - 1) != OpStatus::kOk) break;
  }
  out.close();
}

TEST_CASE("Broadcaster: a long rally of coroutines on the inline executor does not grow the stack",
          "[channel][broadcaster][coroutine]") {
  Broadcaster<int> there(1);
  Broadcaster<int> back(1);
  Subscription<int> left_in = there.subscribe();
  Subscription<int> right_in = back.subscribe();
  int left_last = -1;
  int right_last = -1;
  auto left = spawn(Executor::inline_executor(), answer(left_in, back, left_last));
  auto right = spawn(Executor::inline_executor(), answer(right_in, there, right_last));
  CHECK(there.publish(200'000) == OpStatus::kOk);
  CHECK(left_last == 0);
  CHECK(right_last == 1);
}

TEST_CASE("Broadcaster: whom a value resumes may destroy the broadcaster", "[channel][broadcaster][coroutine]") {
  auto broadcaster = std::make_unique<Broadcaster<int>>(1);
  std::optional<Subscription<int>> subscription = broadcaster->subscribe();
  const auto destroy = [&]() -> Task<> {
    static_cast<void>(co_await subscription->async_receive());
    subscription.reset();
    broadcaster.reset();
  };
  static_cast<void>(spawn(Executor::inline_executor(), destroy()));
  CHECK(broadcaster->publish(1) == OpStatus::kOk);
  CHECK(broadcaster == nullptr);
}

}  // namespace
}  // namespace penstock
