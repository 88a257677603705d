// SPDX-License-Identifier: MIT

// Coroutines on channels under every schedule: handed over by other threads to a run loop, selecting, and destroyed
// while they wait.

#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"

#include "model/channel_scenario.hpp"
#include "model/owned.hpp"

using namespace penstock;           // NOLINT(google-build-using-namespace)
using namespace penstock::checker;  // NOLINT(google-build-using-namespace)
namespace world = penstock::detail::world;

namespace {

using Box = std::unique_ptr<int>;

Owned receive(RunLoop&, Channel<Box>& channel, Received<Box>& into, Context ctx) {
  into = co_await channel.async_receive(std::move(ctx));
}
Owned receive_endless(RunLoop&, Channel<Box>& channel, Received<Box>& into) { into = co_await channel.async_receive(); }
Owned send(RunLoop&, Channel<Box>& channel, Box& value, OpStatus& status) {
  status = co_await channel.async_send(std::move(value));
}
Owned reserve(RunLoop&, Channel<int>& channel, OpStatus& status) {
  const Reserved<int> place = co_await channel.async_reserve();
  status = place.status;
}
Owned select_two(RunLoop&, Channel<int>& left, Channel<int>& right, int& value) {
  const auto keep = [&value](int got) { value = got; };
  co_await async_select(SelectOrder::kInOrder, on_receive(left, keep), on_receive(right, keep));
}

Task<> pass_on(Channel<int>& from, Channel<int>& to, int count, RunLoop& loop) {
  for (int i = 0; i != count; ++i) {
    const Received<int> got = co_await from.async_receive();
    MODEL_ASSERT(got.status == OpStatus::kOk);
    MODEL_ASSERT(co_await to.async_send(*got.value) == OpStatus::kOk);
  }
  loop.stop();
}

Task<std::size_t> choose(Channel<int>& left, Channel<int>& right, Context ctx, int& value) {
  const auto keep = [&value](int got) { value = got; };
  co_return co_await async_select(SelectOrder::kInOrder, on_receive(left, keep), on_receive(right, keep),
                                  on_done(ctx, [] {}));
}

}  // namespace

TEST_CASE("Channel: a coroutine on a loop between two threads", "[model][channel]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass_briefly({.name = "coroutine, passes on", .preemptions = 2}, [capacity] {
      Channel<int> from(capacity);
      Channel<int> to(capacity);
      RunLoop loop;
      world::Thread sender([&] {
        must_send(from, 1);
        must_send(from, 2);
      });
      world::Thread receiver([&] {
        MODEL_ASSERT(must_receive(to) == 1);
        MODEL_ASSERT(must_receive(to) == 2);
      });
      static_cast<void>(spawn(loop, pass_on(from, to, 2, loop)));
      loop.run();
      sender.join();
      receiver.join();
      check_rest(from);
      check_rest(to);
    });
  }
}

TEST_CASE("Channel: a coroutine that selects, a sender and a cancellation", "[model][channel][select]") {
  must_pass_briefly({.name = "coroutine, select", .preemptions = 2}, [] {
    Channel<int> left(0);
    Channel<int> right(1);
    const Context::Cancellable ending = Context::background().with_cancel();
    OpStatus sent = OpStatus::kClosed;
    world::Thread sender([&] {
      sent = left.try_send(1);
      must_send(right, 2);
    });
    world::Thread canceller([&] { ending.source.cancel(); });
    int value = 0;
    const std::size_t taken = sync_wait(choose(left, right, ending.context, value));
    sender.join();
    canceller.join();
    MODEL_ASSERT(value == (taken == 0 ? 1 : taken == 1 ? 2 : 0));
    MODEL_ASSERT((sent == OpStatus::kOk) == (taken == 0));
    MODEL_ASSERT(right.size() == (taken == 1 ? 0U : 1U));
    check_rest(left);
    check_rest(right);
  });
}

TEST_CASE("Channel: a coroutine is destroyed while a value is handed to it", "[model][channel]") {
  // Nobody runs the loop meanwhile. The value has gone with the coroutine, or is still with its sender.
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass_briefly({.name = "coroutine, destroyed at hand-over", .preemptions = 3}, [capacity] {
      Channel<Box> channel(capacity);
      RunLoop loop;
      Received<Box> into{OpStatus::kFull, {}};
      Owned waiting = receive_endless(loop, channel, into);
      OpStatus sent = OpStatus::kClosed;
      world::Thread sender([&] {
        auto value = std::make_unique<int>(7);
        sent = channel.try_send(std::move(value));
        MODEL_ASSERT((value == nullptr) == (sent == OpStatus::kOk));
      });
      waiting.destroy();
      sender.join();
      MODEL_ASSERT(loop.run_ready() == 0 && into.status == OpStatus::kFull);
      if (capacity == 1) MODEL_ASSERT(sent == OpStatus::kOk);
      const ChannelStats stats = channel.stats();
      MODEL_ASSERT(stats.blocked_receivers == 0 && stats.sends == stats.receives + channel.size());
    });
  }
}

TEST_CASE("Channel: a coroutine is destroyed against a hand-over and a cancellation", "[model][channel]") {
  must_pass_briefly({.name = "coroutine, destroyed at cancel", .preemptions = 2}, [] {
    Channel<Box> channel(0);
    RunLoop loop;
    const Context::Cancellable ending = Context::background().with_cancel();
    Received<Box> into{OpStatus::kFull, {}};
    Owned waiting = receive(loop, channel, into, ending.context);
    world::Thread sender([&] { static_cast<void>(channel.try_send(std::make_unique<int>(7))); });
    world::Thread canceller([&] { ending.source.cancel(); });
    waiting.destroy();
    sender.join();
    canceller.join();
    MODEL_ASSERT(loop.run_ready() == 0);
    MODEL_ASSERT(channel.stats().blocked_receivers == 0);
  });
}

TEST_CASE("Channel: a coroutine that sends is destroyed against a receive and a close", "[model][channel]") {
  must_pass_briefly({.name = "coroutine, destroyed at close", .preemptions = 2}, [] {
    Channel<Box> channel(0);
    RunLoop loop;
    auto value = std::make_unique<int>(7);
    OpStatus status = OpStatus::kFull;
    Owned waiting = send(loop, channel, value, status);
    bool received = false;
    world::Thread receiver([&] { received = channel.try_receive().status == OpStatus::kOk; });
    world::Thread closer([&] { channel.close(); });
    waiting.destroy();
    receiver.join();
    closer.join();
    MODEL_ASSERT(loop.run_ready() == 0 && status == OpStatus::kFull);
    MODEL_ASSERT((value == nullptr) == received);
    MODEL_ASSERT(channel.stats().blocked_senders == 0);
  });
}

TEST_CASE("Channel: a coroutine that reserves is destroyed while it gets its place", "[model][channel]") {
  must_pass_briefly({.name = "coroutine, destroyed at reservation", .preemptions = 3}, [] {
    Channel<int> channel(1);
    RunLoop loop;
    must_send(channel, 1);
    OpStatus status = OpStatus::kFull;
    Owned waiting = reserve(loop, channel, status);
    world::Thread receiver([&] { MODEL_ASSERT(must_receive(channel) == 1); });
    waiting.destroy();
    receiver.join();
    MODEL_ASSERT(loop.run_ready() == 0 && status == OpStatus::kFull);
    MODEL_ASSERT(channel.try_send(2) == OpStatus::kOk);  // the place is free again
    check_rest(channel);
  });
}

TEST_CASE("Select: a coroutine that selects is destroyed against two senders", "[model][channel][select]") {
  must_pass_briefly({.name = "coroutine, select destroyed", .preemptions = 2}, [] {
    Channel<int> left(0);
    Channel<int> right(1);
    RunLoop loop;
    int value = 0;
    Owned waiting = select_two(loop, left, right, value);
    OpStatus sent_left = OpStatus::kClosed;
    world::Thread first([&] { sent_left = left.try_send(1); });
    world::Thread second([&] { must_send(right, 2); });
    waiting.destroy();
    first.join();
    second.join();
    MODEL_ASSERT(loop.run_ready() == 0 && value == 0);
    if (sent_left == OpStatus::kOk) MODEL_ASSERT(right.size() == 1);  // at most one was handed over
    check_rest(left);
    check_rest(right);
  });
}

TEST_CASE("Channel: the loop's own thread destroys a coroutine that another thread serves", "[model][channel]") {
  must_pass_briefly({.name = "coroutine, destroyed by its loop", .preemptions = 2}, [] {
    Channel<Box> channel(0);
    RunLoop loop;
    Received<Box> into{OpStatus::kFull, {}};
    std::optional<Owned> waiting;
    loop.post([&] { waiting.emplace(receive_endless(loop, channel, into)); });
    world::Thread sender([&] { static_cast<void>(channel.try_send(std::make_unique<int>(7))); });
    world::Thread closer([&] {
      channel.close();
      loop.stop();
    });
    loop.post([&] {
      if (!waiting->has_ended()) waiting->destroy();
    });
    loop.run();
    sender.join();
    closer.join();
    if (into.status == OpStatus::kOk) MODEL_ASSERT(**into.value == 7);
    MODEL_ASSERT(channel.stats().blocked_receivers == 0);
  });
}
