// SPDX-License-Identifier: MIT

// Coroutines on channels. Most tests run them on a loop of the test's own thread, so that every step is the test's.

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"
#include "support/catch.hpp"
#include "support/detached.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace testing;

std::size_t any_capacity() { return GENERATE(as<std::size_t>(), 0, 1, 3, 64); }

using Outcome = std::optional<OpStatus>;

Task<> send_one(Channel<int>& channel, int value, Outcome& outcome, Context ctx = Context::background()) {
  outcome = co_await channel.async_send(value, ctx);
}
Task<> receive_one(Channel<int>& channel, int& value, Outcome& outcome, Context ctx = Context::background()) {
  outcome = co_await channel.async_receive(value, ctx);
}
Task<> send_boxed(Channel<std::unique_ptr<int>>& channel, std::unique_ptr<int>& value, Outcome& outcome,
                  Context ctx = Context::background()) {
  outcome = co_await channel.async_send(std::move(value), ctx);
}

TEST_CASE("Channel: a coroutine sends and receives without suspending where it can", "[channel][coroutine]") {
  Channel<int> channel(1);
  RunLoop loop;
  Outcome sent;
  Outcome received;
  int value = 0;
  auto sender = spawn(loop, send_one(channel, 4, sent));
  auto receiver = spawn(loop, receive_one(channel, value, received));
  CHECK(loop.run_ready() == 2);  // each ran once, and was not posted again
  CHECK(sent == OpStatus::kOk);
  CHECK(received == OpStatus::kOk);
  CHECK(value == 4);
}

TEST_CASE("Channel: a coroutine waits for a value and resumes on its executor", "[channel][coroutine]") {
  Channel<int> channel(any_capacity());
  RunLoop loop;
  Outcome received;
  int value = 0;
  auto task = spawn(loop, receive_one(channel, value, received));
  loop.run_ready();
  CHECK(channel.stats().blocked_receivers == 1);
  CHECK(channel.try_send(5) == OpStatus::kOk);
  CHECK_FALSE(received.has_value());  // not on the sender's stack
  CHECK(channel.stats().blocked_receivers == 0);
  CHECK(loop.run_ready() == 1);
  CHECK(received == OpStatus::kOk);
  CHECK(value == 5);
}

TEST_CASE("Channel: a coroutine waits for room and resumes on its executor", "[channel][coroutine]") {
  Channel<int> channel(any_capacity());
  int buffered = 0;
  while (channel.try_send(buffered) == OpStatus::kOk) ++buffered;
  RunLoop loop;
  Outcome sent;
  auto task = spawn(loop, send_one(channel, buffered, sent));
  loop.run_ready();
  CHECK(channel.stats().blocked_senders == 1);
  for (int expected = 0; expected <= buffered; ++expected) CHECK(channel.try_receive().value == expected);
  CHECK_FALSE(sent.has_value());
  CHECK(loop.run_ready() == 1);
  CHECK(sent == OpStatus::kOk);
}

TEST_CASE("Channel: close lets coroutines go, with their values", "[channel][coroutine]") {
  Channel<std::unique_ptr<int>> channel(any_capacity());
  while (channel.try_send(std::make_unique<int>(1)) == OpStatus::kOk) {
  }
  RunLoop loop;
  Outcome sent;
  auto value = std::make_unique<int>(2);
  auto task = spawn(loop, send_boxed(channel, value, sent));
  loop.run_ready();
  CHECK_FALSE(sent.has_value());
  channel.close();
  loop.run_ready();
  CHECK(sent == OpStatus::kClosed);
  REQUIRE(value != nullptr);
  CHECK(*value == 2);
}

TEST_CASE("Channel: async_send moves its value only on success", "[channel][coroutine]") {
  Channel<std::unique_ptr<int>> channel(1);
  RunLoop loop;
  ManualClock clock;
  Outcome first_sent;
  Outcome second_sent;
  auto first = std::make_unique<int>(1);
  auto second = std::make_unique<int>(2);
  auto one = spawn(loop, send_boxed(channel, first, first_sent));
  auto two = spawn(loop, send_boxed(channel, second, second_sent, Context(clock).with_timeout(1ms)));
  loop.run_ready();
  CHECK(first_sent == OpStatus::kOk);
  CHECK(first == nullptr);
  clock.advance(1ms);
  loop.run_ready();
  CHECK(second_sent == OpStatus::kTimedOut);
  CHECK(second != nullptr);
  CHECK(channel.stats().blocked_senders == 0);
}

TEST_CASE("Channel: the end of its context calls a coroutine's operation off", "[channel][coroutine]") {
  Channel<int> channel(any_capacity());
  RunLoop loop;
  ManualClock clock;
  auto [cancelled, source] = Context::background().with_cancel();
  std::vector<Outcome> outcomes(3);
  int value = 7;
  auto one = spawn(loop, receive_one(channel, value, outcomes[0], cancelled));
  auto two = spawn(loop, receive_one(channel, value, outcomes[1], Context(clock).with_timeout(5ms)));
  auto three = spawn(loop, receive_one(channel, value, outcomes[2]));
  loop.run_ready();
  source.cancel();
  clock.advance(5ms);
  CHECK(loop.run_ready() == 2);
  CHECK(outcomes[0] == OpStatus::kCancelled);
  CHECK(outcomes[1] == OpStatus::kTimedOut);
  CHECK(value == 7);
  CHECK(channel.stats().blocked_receivers == 1);
  CHECK(channel.try_send(8) == OpStatus::kOk);  // goes to the one that is left
  loop.run_ready();
  CHECK(outcomes[2] == OpStatus::kOk);
  CHECK(value == 8);
}

TEST_CASE("Channel: a coroutine under an ended context completes what it can, and does not wait",
          "[channel][coroutine]") {
  Channel<int> channel(1);
  RunLoop loop;
  const Context late = Context::background().with_timeout(0s);
  Outcome first;
  Outcome second;
  auto one = spawn(loop, send_one(channel, 1, first, late));
  auto two = spawn(loop, send_one(channel, 2, second, late));
  CHECK(loop.run_ready() == 2);
  CHECK(first == OpStatus::kOk);
  CHECK(second == OpStatus::kTimedOut);
}

TEST_CASE("Channel: threads and coroutines wait in one line", "[channel][coroutine]") {
  Channel<int> channel(any_capacity());
  RunLoop loop;
  std::vector<int> values(6);
  std::vector<Outcome> outcomes(6);
  std::vector<std::unique_ptr<Call<bool>>> threads;
  for (std::size_t i = 0; i != 6; ++i) {
    if (i % 2 == 0) {
      static_cast<void>(spawn(loop, receive_one(channel, values[i], outcomes[i])));
      loop.run_ready();
    } else {
      threads.push_back(std::make_unique<Call<bool>>([&, i] {
        outcomes[i] = channel.receive(values[i]);
        return true;
      }));
    }
    REQUIRE(eventually_blocked_receivers(channel, i + 1));
  }
  for (int i = 0; i != 6; ++i) REQUIRE(channel.send(i) == OpStatus::kOk);
  loop.run_ready();
  for (auto& thread : threads) thread->result();
  for (std::size_t i = 0; i != 6; ++i) {
    CHECK(outcomes[i] == OpStatus::kOk);
    CHECK(values[i] == static_cast<int>(i));
  }
}

Task<int> receive_all(Channel<std::string>& channel) {
  int sum = 0;
  while (Received<std::string> received = co_await channel.async_receive()) sum += std::stoi(*received.value);
  co_return sum;
}

// Temporaries, conditions and results in co_await expressions, which compilers have got wrong.
Task<int> send_all(Channel<std::string>& channel, int count) {
  int sent = 0;
  for (int i = 1; i <= count; ++i) {
    if (co_await channel.async_send(std::to_string(i) + std::string(40, ' ')) == OpStatus::kOk) ++sent;
    const std::string copied = std::to_string(i) + std::string(40, ' ');
    if (co_await channel.async_send(copied, Context::background().with_timeout(1h)) == OpStatus::kOk) ++sent;
  }
  channel.close();
  co_return sent;
}

TEST_CASE("Channel: a stream of values between coroutines arrives whole", "[channel][coroutine]") {
  Channel<std::string> channel(any_capacity());
  RunLoop loop;
  auto sum = spawn(loop, receive_all(channel));
  auto sent = spawn(loop, send_all(channel, 500));
  loop.run_ready();
  CHECK(sync_wait(std::move(sent)) == 1000);
  CHECK(sync_wait(std::move(sum)) == 2 * 500 * 501 / 2);
}

Task<> count_down(Channel<int>& in, Channel<int>& out, int& last) {
  int value = 0;
  while (co_await in.async_receive(value) == OpStatus::kOk) {
    last = value;
    if (value == 0) break;
    if (co_await out.async_send(value - 1) != OpStatus::kOk) break;
  }
  in.close();
  out.close();
}

TEST_CASE("Channel: a long rally of coroutines on the inline executor does not grow the stack",
          "[channel][coroutine]") {
  Channel<int> there(0);
  Channel<int> back(0);
  int left_last = -1;
  int right_last = -1;
  auto left = spawn(Executor::inline_executor(), count_down(there, back, left_last));
  auto right = spawn(Executor::inline_executor(), count_down(back, there, right_last));
  CHECK(there.send(200'000) == OpStatus::kOk);
  CHECK(there.receive().status == OpStatus::kClosed);
  CHECK(left_last == 0);
  CHECK(right_last == 1);
}

Detached receive_on(RunLoop& /*loop*/, Channel<int>& channel, Context ctx) {
  static_cast<void>(co_await channel.async_receive(ctx));
}
Detached send_on(RunLoop& /*loop*/, Channel<int>& channel, Context ctx) {
  static_cast<void>(co_await channel.async_send(1, ctx));
}

TEST_CASE("Channel: a coroutine destroyed while it waits leaves the line", "[channel][coroutine]") {
  Channel<int> channel(0);
  RunLoop loop;
  ManualClock clock;
  auto [cancelled, source] = Context::background().with_cancel();
  for (const Context& ctx : {Context::background(), cancelled, Context(clock).with_timeout(1s)}) {
    const Detached receiver = receive_on(loop, channel, ctx);
    CHECK(channel.stats().blocked_receivers == 1);
    receiver.handle.destroy();
    CHECK(channel.stats().blocked_receivers == 0);
    CHECK(channel.try_send(1) == OpStatus::kFull);
    const Detached sender = send_on(loop, channel, ctx);
    CHECK(channel.stats().blocked_senders == 1);
    sender.handle.destroy();
    CHECK(channel.stats().blocked_senders == 0);
    CHECK(channel.try_receive().status == OpStatus::kEmpty);
  }
  CHECK(clock.armed() == 0);
  source.cancel();  // finds nobody
  CHECK(loop.run_ready() == 0);
}

TEST_CASE("Channel: a coroutine may be destroyed after its wait was decided, before it runs", "[channel][coroutine]") {
  RunLoop loop;
  ManualClock clock;
  auto [cancelled, source] = Context::background().with_cancel();
  for (const Context& ctx : {Context::background(), cancelled, Context(clock).with_timeout(1s)}) {
    Channel<int> channel(0);
    const Detached receiver = receive_on(loop, channel, ctx);
    CHECK(channel.try_send(1) == OpStatus::kOk);  // the loop has it now, and the value with it
    receiver.handle.destroy();
    const Detached sender = send_on(loop, channel, ctx);
    CHECK(channel.try_receive().status == OpStatus::kOk);
    sender.handle.destroy();
    const Detached closed = receive_on(loop, channel, ctx);
    channel.close();
    closed.handle.destroy();
    CHECK(loop.run_ready() == 0);
  }
  for (const bool by_deadline : {false, true}) {
    Channel<int> channel(0);
    auto [ctx, cancel] = Context(clock).with_timeout(1s).with_cancel();
    const Detached late = receive_on(loop, channel, ctx);
    if (by_deadline) {
      clock.advance(1s);
    } else {
      cancel.cancel();
    }
    CHECK(channel.stats().blocked_receivers == 1);  // on its way out
    late.handle.destroy();
    CHECK(channel.stats().blocked_receivers == 0);
    CHECK(loop.run_ready() == 0);
  }
}

TEST_CASE("Channel: may go once its coroutines have been let go, before they run", "[channel][coroutine]") {
  RunLoop loop;
  Outcome received;
  int value = 0;
  auto channel = std::make_unique<Channel<int>>(0);
  auto task = spawn(loop, receive_one(*channel, value, received));
  loop.run_ready();
  channel.reset();
  CHECK(loop.run_ready() == 1);
  CHECK(received == OpStatus::kClosed);
}

TEST_CASE("Channel: coroutines on several threads lose and double nothing", "[channel][coroutine][stress]") {
  constexpr int kValues = 2000;
  Channel<int> channel(any_capacity());
  RunLoop first;
  RunLoop second;
  Call one([&] { return first.run(), true; });
  Call two([&] { return second.run(), true; });
  const auto produce = [](Channel<int>& to) -> Task<int> {
    int sent = 0;
    for (int i = 1; i <= kValues; ++i) {
      if (co_await to.async_send(i) == OpStatus::kOk) ++sent;
    }
    co_return sent;
  };
  const auto consume = [](Channel<int>& from) -> Task<long> {
    long sum = 0;
    while (Received<int> received = co_await from.async_receive()) sum += *received.value;
    co_return sum;
  };
  auto producer_one = spawn(first, produce(channel));
  auto producer_two = spawn(second, produce(channel));
  auto consumer_one = spawn(first, consume(channel));
  auto consumer_two = spawn(second, consume(channel));
  CHECK(sync_wait(std::move(producer_one)) == kValues);
  CHECK(sync_wait(std::move(producer_two)) == kValues);
  channel.close();
  const long sum = sync_wait(std::move(consumer_one)) + sync_wait(std::move(consumer_two));
  CHECK(sum == 2L * kValues * (kValues + 1) / 2);
  first.stop();
  second.stop();
}

}  // namespace
}  // namespace penstock
