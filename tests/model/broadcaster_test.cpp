// SPDX-License-Identifier: MIT

// Broadcasters under every schedule: each subscriber gets or misses each value, and knows which; nobody is left
// waiting, and nobody touches a coroutine, a subscription or a broadcaster that may be gone.

#include "penstock/channel/broadcaster.hpp"

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <optional>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"

#include "model/planted.hpp"
#include "support/detached.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using penstock::testing::Detached;
namespace world = penstock::detail::world;

namespace {

void must_pass(checker::Options options, const checker::Scenario& scenario) {
  options.executions = 20'000;
  checker::must_pass(options, scenario);
}

/// Receives until it is closed, and checks that the values are 1, 2, ... but for those that it was told it has missed.
/// Returns the number of the last one.
std::uint64_t receive_numbers(Subscription<int>& subscription) {
  std::uint64_t last = 0;
  for (;;) {
    const Delivery<int> got = subscription.receive();
    if (!got) {
      MODEL_ASSERT(got.status == OpStatus::kClosed && got.missed == 0);
      return last;
    }
    MODEL_ASSERT(static_cast<std::uint64_t>(*got.value) == last + got.missed + 1);
    last = static_cast<std::uint64_t>(*got.value);
  }
}

/// What is there for one whose wait ended with `status`, if one value was published.
void check_not_lost(Subscription<int>& subscription, OpStatus status, OpStatus otherwise) {
  MODEL_ASSERT(status == OpStatus::kOk || status == otherwise);
  const OpStatus left = subscription.try_receive().status;
  MODEL_ASSERT(left == (status == OpStatus::kOk ? OpStatus::kEmpty : OpStatus::kOk));
}

Detached receive_on(RunLoop& /*loop*/, Subscription<int>& subscription, Context ctx) {
  static_cast<void>(co_await subscription.async_receive(ctx));
}

Task<OpStatus> receive(Subscription<int>& subscription, Context ctx) {
  const Delivery<int> got = co_await subscription.async_receive(ctx);
  co_return got.status;
}

Task<> receive_two(Subscription<int>& subscription, int& sum, Context ctx) {
  for (int i = 0; i != 2; ++i) {
    const Delivery<int> got = co_await subscription.async_receive(ctx);
    if (got) sum += *got.value;
  }
}

}  // namespace

TEST_CASE("Broadcaster: a publisher, two subscribers and the end", "[model][broadcaster]") {
  for (const std::size_t capacity : {1U, 2U}) {
    must_pass({.name = "broadcaster, two subscribers", .preemptions = 2}, [capacity] {
      auto broadcaster = std::make_unique<Broadcaster<int>>(capacity);
      Subscription<int> one = broadcaster->subscribe();
      Subscription<int> two = broadcaster->subscribe();
      world::Thread first([&] { MODEL_ASSERT(receive_numbers(one) == 3); });
      world::Thread second([&] { MODEL_ASSERT(receive_numbers(two) == 3); });
      for (int i = 1; i <= 3; ++i) MODEL_ASSERT(broadcaster->publish(i) == OpStatus::kOk);
      broadcaster.reset();
      first.join();
      second.join();
      if (capacity == 2) MODEL_ASSERT(one.missed() <= 1 && two.missed() <= 1);
    });
  }
}

TEST_CASE("Broadcaster: losses are counted exactly", "[model][broadcaster]") {
  must_pass({.name = "broadcaster, losses", .preemptions = 3}, [] {
    Broadcaster<int> broadcaster(1);
    Subscription<int> one = broadcaster.subscribe();
    world::Thread receiver([&] { MODEL_ASSERT(receive_numbers(one) == 3); });
    for (int i = 1; i <= 3; ++i) MODEL_ASSERT(broadcaster.publish(i) == OpStatus::kOk);
    broadcaster.close();
    receiver.join();
    const BroadcasterStats stats = broadcaster.stats();
    MODEL_ASSERT(stats.published == 3 && stats.lost == one.missed());
  });
}

TEST_CASE("Broadcaster: two publishers, a closer and a receiver", "[model][broadcaster]") {
  must_pass({.name = "broadcaster, closer", .preemptions = 2}, [] {
    Broadcaster<std::unique_ptr<int>> broadcaster(2);
    Subscription<std::unique_ptr<int>> subscription = broadcaster.subscribe();
    OpStatus one = OpStatus::kFull;
    OpStatus other = OpStatus::kFull;
    const auto publish = [&](int number, OpStatus& status) {
      auto value = std::make_unique<int>(number);
      status = broadcaster.publish(std::move(value));
      MODEL_ASSERT((status == OpStatus::kOk) == (value == nullptr));
    };
    world::Thread first([&] { publish(1, one); });
    world::Thread second([&] { publish(2, other); });
    world::Thread closer([&] { MODEL_ASSERT(broadcaster.close()); });
    int sum = 0;
    while (const auto got = subscription.receive()) sum += **got.value;
    first.join();
    second.join();
    closer.join();
    MODEL_ASSERT(sum == (one == OpStatus::kOk ? 1 : 0) + (other == OpStatus::kOk ? 2 : 0));
  });
}

TEST_CASE("Broadcaster: subscribers see values in the same order", "[model][broadcaster]") {
  must_pass({.name = "broadcaster, order", .preemptions = 2}, [] {
    Broadcaster<int> broadcaster(2);
    Subscription<int> one = broadcaster.subscribe();
    Subscription<int> two = broadcaster.subscribe();
    world::Thread first([&] { MODEL_ASSERT(broadcaster.publish(1) == OpStatus::kOk); });
    world::Thread second([&] { MODEL_ASSERT(broadcaster.publish(2) == OpStatus::kOk); });
    const int head = *one.receive().value;
    MODEL_ASSERT(*two.receive().value == head);
    MODEL_ASSERT(*one.receive().value == 3 - head);
    MODEL_ASSERT(*two.receive().value == 3 - head);
    first.join();
    second.join();
  });
}

TEST_CASE("Broadcaster: a cancelled receive and a value", "[model][broadcaster]") {
  must_pass({.name = "broadcaster, cancel", .preemptions = 3}, [] {
    Broadcaster<int> broadcaster(1);
    Subscription<int> subscription = broadcaster.subscribe();
    const Context::Cancellable ending = Context::background().with_cancel();
    world::Thread canceller([&] { ending.source.cancel(); });
    world::Thread publisher([&] { MODEL_ASSERT(broadcaster.publish(7) == OpStatus::kOk); });
    const OpStatus status = subscription.receive(ending.context).status;
    canceller.join();
    publisher.join();
    check_not_lost(subscription, status, OpStatus::kCancelled);
  });
}

TEST_CASE("Broadcaster: a deadline and a value", "[model][broadcaster]") {
  must_pass({.name = "broadcaster, deadline", .preemptions = 3}, [] {
    ManualClock clock;
    Broadcaster<int> broadcaster(1);
    Subscription<int> subscription = broadcaster.subscribe();
    const Context late = Context(clock).with_timeout(5ms);
    world::Thread advancer([&] { clock.advance(10ms); });
    world::Thread publisher([&] { MODEL_ASSERT(broadcaster.publish(7) == OpStatus::kOk); });
    const OpStatus status = subscription.receive(late).status;
    advancer.join();
    publisher.join();
    check_not_lost(subscription, status, OpStatus::kTimedOut);
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("Broadcaster: one subscriber leaves while another receives", "[model][broadcaster]") {
  for (const std::size_t capacity : {1U, 2U}) {
    must_pass({.name = "broadcaster, unsubscribe", .preemptions = 2}, [capacity] {
      Broadcaster<std::shared_ptr<int>> broadcaster(capacity);
      const auto value = std::make_shared<int>(1);
      Subscription<std::shared_ptr<int>> stays = broadcaster.subscribe();
      std::optional<Subscription<std::shared_ptr<int>>> goes = broadcaster.subscribe();
      MODEL_ASSERT(broadcaster.publish(value) == OpStatus::kOk);
      world::Thread leaver([&] { goes.reset(); });
      world::Thread publisher([&] { MODEL_ASSERT(broadcaster.publish(value) == OpStatus::kOk); });
      MODEL_ASSERT(*stays.receive().value == value);
      publisher.join();
      while (const auto got = stays.try_receive()) MODEL_ASSERT(*got.value == value);
      leaver.join();
      MODEL_ASSERT(value.use_count() == 1);  // whoever was the last has let it go
      MODEL_ASSERT(broadcaster.stats().subscribers == 1);
    });
  }
}

TEST_CASE("Broadcaster: a coroutine, a close and a cancellation", "[model][broadcaster]") {
  must_pass({.name = "broadcaster, coroutine", .preemptions = 2}, [] {
    Broadcaster<int> broadcaster(1);
    Subscription<int> subscription = broadcaster.subscribe();
    const Context::Cancellable ending = Context::background().with_cancel();
    world::Thread closer([&] { broadcaster.close(); });
    world::Thread canceller([&] { ending.source.cancel(); });
    const OpStatus status = sync_wait(receive(subscription, ending.context));
    MODEL_ASSERT(status == OpStatus::kClosed || status == OpStatus::kCancelled);
    closer.join();
    canceller.join();
  });
}

TEST_CASE("Broadcaster: a coroutine, a value and a cancellation", "[model][broadcaster]") {
  must_pass({.name = "broadcaster, coroutine and cancel", .preemptions = 2}, [] {
    Broadcaster<int> broadcaster(1);
    Subscription<int> subscription = broadcaster.subscribe();
    const Context::Cancellable ending = Context::background().with_cancel();
    world::Thread publisher([&] { MODEL_ASSERT(broadcaster.publish(7) == OpStatus::kOk); });
    world::Thread canceller([&] { ending.source.cancel(); });
    const OpStatus status = sync_wait(receive(subscription, ending.context));
    publisher.join();
    canceller.join();
    check_not_lost(subscription, status, OpStatus::kCancelled);
  });
}

TEST_CASE("Broadcaster: a coroutine that other threads resume and free", "[model][broadcaster]") {
  for (const bool can_end : {false, true}) {
    must_pass({.name = "broadcaster, coroutine freed elsewhere", .preemptions = 2}, [can_end] {
      Broadcaster<int> broadcaster(2);
      Subscription<int> subscription = broadcaster.subscribe();
      const Context::Cancellable ending = Context::background().with_cancel();
      int sum = 0;
      world::Thread first([&] { MODEL_ASSERT(broadcaster.publish(7) == OpStatus::kOk); });
      world::Thread second([&] { MODEL_ASSERT(broadcaster.publish(7) == OpStatus::kOk); });
      static_cast<void>(spawn(Executor::inline_executor(),
                              receive_two(subscription, sum, can_end ? ending.context : Context::background())));
      first.join();
      second.join();
      MODEL_ASSERT(sum == 14);
    });
  }
}

TEST_CASE("Broadcaster: a coroutine is destroyed while a value comes", "[model][broadcaster]") {
  for (const bool can_end : {false, true}) {
    must_pass({.name = "broadcaster, destroy against publish", .preemptions = 3}, [can_end] {
      Broadcaster<int> broadcaster(1);
      Subscription<int> subscription = broadcaster.subscribe();
      const Context::Cancellable ending = Context::background().with_cancel();
      RunLoop loop;
      const Detached waiting = receive_on(loop, subscription, can_end ? ending.context : Context::background());
      world::Thread publisher([&] { MODEL_ASSERT(broadcaster.publish(7) == OpStatus::kOk); });
      waiting.handle.destroy();
      publisher.join();
      MODEL_ASSERT(loop.run_ready() == 0);
      const Delivery<int> got = subscription.try_receive();  // it was not lost with the coroutine
      MODEL_ASSERT(got && *got.value == 7 && got.missed == 0);
    });
  }
}

TEST_CASE("Broadcaster: a coroutine is destroyed while it is cancelled and closed", "[model][broadcaster]") {
  must_pass({.name = "broadcaster, destroy against close", .preemptions = 2}, [] {
    auto broadcaster = std::make_unique<Broadcaster<int>>(1);
    Subscription<int> subscription = broadcaster->subscribe();
    const Context::Cancellable ending = Context::background().with_cancel();
    RunLoop loop;
    const Detached waiting = receive_on(loop, subscription, ending.context);
    world::Thread closer([&] { broadcaster.reset(); });
    world::Thread canceller([&] { ending.source.cancel(); });
    waiting.handle.destroy();
    closer.join();
    canceller.join();
    MODEL_ASSERT(loop.run_ready() == 0);
    MODEL_ASSERT(subscription.try_receive().status == OpStatus::kClosed);
  });
}

TEST_CASE("Broadcaster: the broadcaster and its last subscription go at the same time", "[model][broadcaster]") {
  must_pass({.name = "broadcaster, both go", .preemptions = 3, .standard_steps = true}, [] {
    auto broadcaster = std::make_unique<Broadcaster<int>>(2);
    std::optional<Subscription<int>> subscription = broadcaster->subscribe();
    MODEL_ASSERT(broadcaster->publish(1) == OpStatus::kOk);
    world::Thread leaver([&] {
      MODEL_ASSERT(subscription->receive().status == OpStatus::kOk);
      subscription.reset();
    });
    MODEL_ASSERT(broadcaster->publish(2) == OpStatus::kOk);
    broadcaster.reset();
    leaver.join();
  });
}
