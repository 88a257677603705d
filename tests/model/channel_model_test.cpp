// SPDX-License-Identifier: MIT

// Channels and selects under every schedule: a value is handed over once or not at all, whatever ends a wait meanwhile,
// nobody is left waiting, and nobody touches a channel or a coroutine that may be gone.

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
namespace world = penstock::detail::world;

namespace {

void must_pass(checker::Options options, const checker::Scenario& scenario) {
  options.executions = 20'000;
  checker::must_pass(options, scenario);
}

/// At rest: nobody is in line, and what was sent is what was received, drained and still there.
void check_rest(Channel<int>& channel) {
  const ChannelStats stats = channel.stats();
  MODEL_ASSERT(stats.blocked_senders == 0 && stats.blocked_receivers == 0);
  MODEL_ASSERT(stats.sends == stats.receives + stats.drained + channel.size());
}

/// Sends `value`, and checks that it left exactly if the send succeeded.
OpStatus send(Channel<std::unique_ptr<int>>& channel, int value, const Context& ctx = Context::background()) {
  auto boxed = std::make_unique<int>(value);
  const OpStatus status = channel.send(std::move(boxed), ctx);
  MODEL_ASSERT((status == OpStatus::kOk) == (boxed == nullptr));
  return status;
}

Task<OpStatus> receive(Channel<int>& channel, int& value, Context ctx) {
  const OpStatus status = co_await channel.async_receive(value, ctx);
  co_return status;
}

Task<> receive_two(Channel<int>& channel, int& sum, Context ctx) {
  for (int i = 0; i != 2; ++i) {
    const Received<int> received = co_await channel.async_receive(ctx);
    sum += received.value.value_or(0);
  }
}

Task<OpStatus> send_async(Channel<int>& channel, int value, Context ctx) {
  const OpStatus status = co_await channel.async_send(std::move(value), ctx);
  co_return status;
}

}  // namespace

TEST_CASE("Channel: a sender, a receiver and a closer", "[model][channel]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass({.name = "channel, closer", .preemptions = 3}, [capacity] {
      Channel<std::unique_ptr<int>> channel(capacity);
      OpStatus sent = OpStatus::kFull;
      world::Thread sender([&] { sent = send(channel, 7); });
      world::Thread closer([&] { MODEL_ASSERT(channel.close()); });
      const Received<std::unique_ptr<int>> received = channel.receive();
      sender.join();
      closer.join();
      MODEL_ASSERT(sent == OpStatus::kOk || sent == OpStatus::kClosed);
      MODEL_ASSERT(received.status == (sent == OpStatus::kOk ? OpStatus::kOk : OpStatus::kClosed));
      if (received) MODEL_ASSERT(**received.value == 7);
      MODEL_ASSERT(channel.receive().status == OpStatus::kClosed);
    });
  }
}

TEST_CASE("Channel: two senders and a closer", "[model][channel]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass({.name = "channel, senders and closer", .preemptions = 2}, [capacity] {
      Channel<std::unique_ptr<int>> channel(capacity);
      OpStatus one = OpStatus::kFull;
      OpStatus other = OpStatus::kFull;
      world::Thread first([&] { one = send(channel, 1); });
      world::Thread second([&] { other = send(channel, 2); });
      world::Thread closer([&] { MODEL_ASSERT(channel.close()); });
      std::size_t received = channel.try_receive() ? 1 : 0;
      first.join();
      second.join();
      closer.join();
      while (channel.receive()) ++received;
      MODEL_ASSERT(received == (one == OpStatus::kOk ? 1U : 0U) + (other == OpStatus::kOk ? 1U : 0U));
    });
  }
}

TEST_CASE("Channel: two senders and a receiver", "[model][channel]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass({.name = "channel, two senders", .preemptions = 2}, [capacity] {
      Channel<int> channel(capacity);
      world::Thread first([&] {
        MODEL_ASSERT(channel.send(1) == OpStatus::kOk);
        MODEL_ASSERT(channel.send(2) == OpStatus::kOk);
      });
      world::Thread second([&] { MODEL_ASSERT(channel.send(3) == OpStatus::kOk); });
      int sum = 0;
      int last_of_first = 0;
      for (int i = 0; i != 3; ++i) {
        const int value = channel.receive().value.value_or(0);
        if (value != 3) {
          MODEL_ASSERT(value == last_of_first + 1);  // those of one sender come in order
          last_of_first = value;
        }
        sum += value;
      }
      MODEL_ASSERT(sum == 6);
      first.join();
      second.join();
      check_rest(channel);
    });
  }
}

TEST_CASE("Channel: a receive lets a waiting sender in", "[model][channel]") {
  must_pass({.name = "channel, room for a sender", .preemptions = 2}, [] {
    Channel<int> channel(1);
    world::Thread first([&] { MODEL_ASSERT(channel.send(1) == OpStatus::kOk); });
    world::Thread second([&] { MODEL_ASSERT(channel.send(2) == OpStatus::kOk); });
    MODEL_ASSERT(channel.receive().status == OpStatus::kOk);
    first.join();  // without another receive
    second.join();
    MODEL_ASSERT(channel.size() == 1);
    check_rest(channel);
  });
}

TEST_CASE("Channel: two receivers share two values", "[model][channel]") {
  for (const std::size_t capacity : {0U, 2U}) {
    must_pass({.name = "channel, two receivers", .preemptions = 2}, [capacity] {
      Channel<int> channel(capacity);
      int one = 0;
      int other = 0;
      world::Thread first([&] { MODEL_ASSERT(channel.receive(one) == OpStatus::kOk); });
      world::Thread second([&] { MODEL_ASSERT(channel.receive(other) == OpStatus::kOk); });
      MODEL_ASSERT(channel.send(1) == OpStatus::kOk);
      MODEL_ASSERT(channel.send(2) == OpStatus::kOk);
      first.join();
      second.join();
      MODEL_ASSERT(one + other == 3 && one != other && one != 0 && other != 0);
      check_rest(channel);
    });
  }
}

TEST_CASE("Channel: a cancelled receive and a hand-over", "[model][channel]") {
  must_pass({.name = "channel, receive against cancel", .preemptions = 3}, [] {
    Channel<int> channel(0);
    const Context::Cancellable ending = Context::background().with_cancel();
    world::Thread canceller([&] { ending.source.cancel(); });
    OpStatus sent = OpStatus::kFull;
    world::Thread sender([&] { sent = channel.try_send(7); });
    const Received<int> received = channel.receive(ending.context);
    MODEL_ASSERT(received.status == OpStatus::kOk || received.status == OpStatus::kCancelled);
    canceller.join();
    sender.join();
    MODEL_ASSERT((sent == OpStatus::kOk) == (received.value == 7));
    check_rest(channel);
  });
}

TEST_CASE("Channel: a cancelled send, a hand-over and a sender behind", "[model][channel]") {
  must_pass({.name = "channel, send against cancel", .preemptions = 2}, [] {
    Channel<std::unique_ptr<int>> channel(0);
    const Context::Cancellable ending = Context::background().with_cancel();
    OpStatus first_sent = OpStatus::kFull;
    world::Thread canceller([&] { ending.source.cancel(); });
    world::Thread first([&] { first_sent = send(channel, 1, ending.context); });
    world::Thread second([&] { MODEL_ASSERT(send(channel, 2) == OpStatus::kOk); });
    const Received<std::unique_ptr<int>> received = channel.receive();
    MODEL_ASSERT(received.status == OpStatus::kOk);
    const int number = **received.value;
    if (number == 1) MODEL_ASSERT(**channel.receive().value == 2);
    canceller.join();
    first.join();
    second.join();
    MODEL_ASSERT((first_sent == OpStatus::kOk) == (number == 1));
  });
}

TEST_CASE("Channel: a time-out and a hand-over", "[model][channel]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass({.name = "channel, receive against deadline", .preemptions = 3}, [capacity] {
      Channel<int> channel(capacity);
      OpStatus sent = OpStatus::kFull;
      world::Thread sender([&] { sent = channel.try_send(7); });
      const Received<int> received = channel.receive(Context::background().with_timeout(5ms));
      MODEL_ASSERT(received.status == OpStatus::kOk || received.status == OpStatus::kTimedOut);
      sender.join();
      if (capacity == 0) MODEL_ASSERT((sent == OpStatus::kOk) == (received.value == 7));
      if (capacity == 1) MODEL_ASSERT(channel.size() == (received ? 0U : 1U));
      check_rest(channel);
    });
  }
  must_pass({.name = "channel, send against a clock", .preemptions = 2}, [] {
    ManualClock clock;
    Channel<std::unique_ptr<int>> channel(0);
    const Context late = Context(clock).with_timeout(5ms);
    world::Thread advancer([&] { clock.advance(10ms); });
    bool got = false;
    world::Thread receiver([&] { got = channel.try_receive().status == OpStatus::kOk; });
    const OpStatus sent = send(channel, 1, late);
    advancer.join();
    receiver.join();
    MODEL_ASSERT(sent == (got ? OpStatus::kOk : OpStatus::kTimedOut));
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("Channel: destroyed while its waiters are let go and leave", "[model][channel]") {
  must_pass({.name = "channel, destructor", .preemptions = 2}, [] {
    const Context::Cancellable ending = Context::background().with_cancel();
    auto channel = std::make_unique<Channel<int>>(0);
    OpStatus status = OpStatus::kOk;
    world::Thread receiver([&, on = channel.get()] { status = on->receive(ending.context).status; });
    while (channel->stats().blocked_receivers == 0) world::yield();  // none may begin once the destructor has
    world::Thread canceller([&] { ending.source.cancel(); });
    channel.reset();
    receiver.join();
    canceller.join();
    MODEL_ASSERT(status == OpStatus::kClosed || status == OpStatus::kCancelled);
  });
}

TEST_CASE("Channel: a coroutine that receives, a close and a cancellation", "[model][channel]") {
  must_pass({.name = "channel, coroutine", .preemptions = 2}, [] {
    Channel<int> channel(0);
    const Context::Cancellable ending = Context::background().with_cancel();
    world::Thread closer([&] { channel.close(); });
    world::Thread canceller([&] { ending.source.cancel(); });
    int value = 0;
    const OpStatus status = sync_wait(receive(channel, value, ending.context));
    MODEL_ASSERT(status == OpStatus::kClosed || status == OpStatus::kCancelled);
    MODEL_ASSERT(value == 0);
    closer.join();
    canceller.join();
    check_rest(channel);
  });
}

TEST_CASE("Channel: a coroutine that other threads serve, resume and free", "[model][channel]") {
  // On the inline executor a sender's thread runs the coroutine on. The second one runs it to its end, and frees it,
  // maybe before the first has returned from suspending it.
  for (const bool can_end : {false, true}) {
    must_pass({.name = "channel, coroutine freed elsewhere", .preemptions = 2}, [can_end] {
      Channel<int> channel(0);
      const Context::Cancellable ending = Context::background().with_cancel();
      int sum = 0;
      world::Thread first([&] { MODEL_ASSERT(channel.send(7) == OpStatus::kOk); });
      world::Thread second([&] { MODEL_ASSERT(channel.send(7) == OpStatus::kOk); });
      static_cast<void>(spawn(Executor::inline_executor(),
                              receive_two(channel, sum, can_end ? ending.context : Context::background())));
      first.join();
      second.join();
      MODEL_ASSERT(sum == 14);
      check_rest(channel);
    });
  }
}

TEST_CASE("Channel: a coroutine and a thread that meet, against a cancellation", "[model][channel]") {
  must_pass({.name = "channel, coroutine against cancel", .preemptions = 2}, [] {
    Channel<int> channel(0);
    const Context::Cancellable ending = Context::background().with_cancel();
    Received<int> received{OpStatus::kEmpty, std::nullopt};
    world::Thread receiver([&] { received = channel.try_receive(); });
    world::Thread canceller([&] { ending.source.cancel(); });
    const OpStatus sent = sync_wait(send_async(channel, 7, ending.context));
    receiver.join();
    canceller.join();
    MODEL_ASSERT((sent == OpStatus::kOk) == (received.value == 7));
    MODEL_ASSERT(sent == OpStatus::kOk || sent == OpStatus::kCancelled);
    check_rest(channel);
  });
}

TEST_CASE("Select: over two channels, against two senders", "[model][channel][select]") {
  must_pass({.name = "select, two senders", .preemptions = 2}, [] {
    Channel<int> left(0);
    Channel<int> right(0);
    world::Thread first([&] { MODEL_ASSERT(left.send(1) == OpStatus::kOk); });
    world::Thread second([&] { MODEL_ASSERT(right.send(2) == OpStatus::kOk); });
    int sum = 0;
    const auto add = [&](int value) { sum += value; };
    const std::size_t taken = select(SelectOrder::kInOrder, on_receive(left, add), on_receive(right, add));
    MODEL_ASSERT(sum == (taken == 0 ? 1 : 2));
    MODEL_ASSERT((taken == 0 ? right : left).receive(sum) == OpStatus::kOk);
    MODEL_ASSERT(sum == (taken == 0 ? 2 : 1));
    first.join();
    second.join();
    check_rest(left);
    check_rest(right);
  });
}

TEST_CASE("Select: against a select that crosses it", "[model][channel][select]") {
  must_pass({.name = "select, crossing", .preemptions = 2}, [] {
    Channel<int> left(0);
    Channel<int> right(0);
    int there = 0;
    int back = 0;
    std::size_t other_taken = 9;
    world::Thread other([&] {
      other_taken =
          select(SelectOrder::kInOrder, on_send(right, 2, [] {}), on_receive(left, [&](int value) { there = value; }));
    });
    const std::size_t taken =
        select(SelectOrder::kInOrder, on_send(left, 1, [] {}), on_receive(right, [&](int value) { back = value; }));
    other.join();
    MODEL_ASSERT(taken + other_taken == 1);  // one sent, the other received
    MODEL_ASSERT(taken == 0 ? (there == 1 && back == 0) : (there == 0 && back == 2));
    check_rest(left);
    check_rest(right);
  });
}

TEST_CASE("Select: one select, a sender, a close and a cancellation", "[model][channel][select]") {
  must_pass({.name = "select, close and cancel", .preemptions = 2}, [] {
    Channel<int> values(0);
    Channel<int> quit(0);
    const Context::Cancellable ending = Context::background().with_cancel();
    OpStatus sent = OpStatus::kFull;
    world::Thread sender([&] { sent = values.try_send(7); });
    world::Thread closer([&] { quit.close(); });
    world::Thread canceller([&] { ending.source.cancel(); });
    int value = 0;
    OpStatus closed = OpStatus::kOk;
    OpStatus ended = OpStatus::kOk;
    const std::size_t taken = select(SelectOrder::kInOrder, on_receive(values, [&](int got) { value = got; }),
                                     on_receive(quit, [&](Received<int> got) { closed = got.status; }),
                                     on_done(ending.context, [&](OpStatus status) { ended = status; }));
    sender.join();
    closer.join();
    canceller.join();
    MODEL_ASSERT((taken == 0) == (value == 7) && (sent == OpStatus::kOk) == (value == 7));
    MODEL_ASSERT((taken == 1) == (closed == OpStatus::kClosed));
    MODEL_ASSERT((taken == 2) == (ended == OpStatus::kCancelled));
    check_rest(values);
    check_rest(quit);
  });
}

TEST_CASE("Select: the same channel in two cases, a second context, and a deadline", "[model][channel][select]") {
  must_pass({.name = "select, two contexts", .preemptions = 2}, [] {
    ManualClock clock;
    const Context late = Context(clock).with_timeout(5ms);
    Channel<int> channel(0);
    const Context::Cancellable ending = Context::background().with_cancel();
    OpStatus sent = OpStatus::kFull;
    world::Thread sender([&] { sent = channel.try_send(7); });
    world::Thread ender([&] {
      clock.advance(10ms);
      ending.source.cancel();
    });
    int value = 0;
    const auto keep = [&](int got) { value += got; };
    const std::size_t taken = select(SelectOrder::kInOrder, on_receive(channel, keep), on_receive(channel, keep),
                                     on_done(ending.context, [] {}), on_done(late, [] {}));
    sender.join();
    ender.join();
    MODEL_ASSERT((taken < 2) == (value == 7) && (sent == OpStatus::kOk) == (value == 7));
    MODEL_ASSERT(clock.armed() == 0);
    check_rest(channel);
  });
}

TEST_CASE("Select: its channel may go once it has been served", "[model][channel][select]") {
  must_pass({.name = "select, channel goes", .preemptions = 2}, [] {
    auto going = std::make_unique<Channel<int>>(0);
    Channel<int> staying(0);
    std::size_t taken = 9;
    world::Thread selector([&, on = going.get()] {
      taken = select(SelectOrder::kInOrder, on_receive(*on, [](int) {}), on_receive(staying, [](int) {}));
    });
    MODEL_ASSERT(going->send(1) == OpStatus::kOk);
    going.reset();
    selector.join();
    MODEL_ASSERT(taken == 0);
    check_rest(staying);
  });
}
