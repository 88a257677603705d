// SPDX-License-Identifier: MIT

// The end of a channel under every schedule: close against everything else, and its destruction as soon as the last
// operation was let go.

#include <cstddef>
#include <memory>
#include <vector>

#include "penstock/channel/channel.hpp"

#include "model/channel_scenario.hpp"

using namespace penstock;           // NOLINT(google-build-using-namespace)
using namespace penstock::checker;  // NOLINT(google-build-using-namespace)
namespace world = penstock::detail::world;

TEST_CASE("Channel: a close against tries at both ends", "[model][channel]") {
  for (const std::size_t capacity : {1U, 2U}) {
    must_pass_briefly({.name = "channel, close and tries", .preemptions = 2}, [capacity] {
      Channel<int> channel(capacity);
      OpStatus sent = OpStatus::kFull;
      world::Thread sender([&] {
        int value = 7;
        sent = channel.try_send(std::move(value));
        // What was closed stays closed.
        if (sent == OpStatus::kClosed) MODEL_ASSERT(channel.try_send(8) == OpStatus::kClosed);
      });
      world::Thread closer([&] { MODEL_ASSERT(channel.close()); });
      const Received<int> first = channel.try_receive();
      if (first.status == OpStatus::kClosed) MODEL_ASSERT(channel.try_receive().status == OpStatus::kClosed);
      sender.join();
      closer.join();
      MODEL_ASSERT(is_either(sent, OpStatus::kOk, OpStatus::kClosed));
      MODEL_ASSERT(first.status != OpStatus::kClosed || sent == OpStatus::kClosed);
      const Received<int> second = channel.try_receive();
      MODEL_ASSERT((first ? 1 : 0) + (second ? 1 : 0) == (sent == OpStatus::kOk ? 1 : 0));
      MODEL_ASSERT(channel.try_receive().status == OpStatus::kClosed);
      check_rest(channel);
    });
  }
}

TEST_CASE("Channel: a close lets a sender and two receivers go", "[model][channel]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass_briefly({.name = "channel, close and receivers", .preemptions = 2}, [capacity] {
      Channel<int> channel(capacity);
      Received<int> one{OpStatus::kFull, {}};
      Received<int> other{OpStatus::kFull, {}};
      world::Thread first([&] { one = channel.receive(); });
      world::Thread second([&] { other = channel.receive(); });
      const OpStatus sent = channel.try_send(7);
      MODEL_ASSERT(is_either(sent, OpStatus::kOk, OpStatus::kFull));
      MODEL_ASSERT(channel.close() && !channel.close());
      first.join();
      second.join();
      MODEL_ASSERT(is_either(one.status, OpStatus::kOk, OpStatus::kClosed));
      MODEL_ASSERT(is_either(other.status, OpStatus::kOk, OpStatus::kClosed));
      MODEL_ASSERT((one ? 1 : 0) + (other ? 1 : 0) == (sent == OpStatus::kOk ? 1 : 0));
      check_rest(channel);
      MODEL_ASSERT(channel.stats().closes == 2);
    });
  }
}

TEST_CASE("Channel: one of two closes is the first", "[model][channel]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass_briefly({.name = "channel, two closes", .preemptions = 2}, [capacity] {
      Channel<int> channel(capacity);
      bool one = false;
      bool other = false;
      world::Thread first([&] { one = channel.close(); });
      world::Thread second([&] { other = channel.close(); });
      MODEL_ASSERT(channel.receive().status == OpStatus::kClosed);
      MODEL_ASSERT(channel.is_closed());
      first.join();
      second.join();
      MODEL_ASSERT(one != other && channel.stats().closes == 2);
      check_rest(channel);
    });
  }
}

TEST_CASE("Channel: close_and_drain against a sender and a receiver", "[model][channel]") {
  for (const std::size_t capacity : {0U, 1U, 2U}) {
    must_pass_briefly({.name = "channel, drain", .preemptions = 2}, [capacity] {
      Channel<std::unique_ptr<int>> channel(capacity);
      std::size_t sent = 0;
      world::Thread sender([&] {
        for (int i = 0; i != 2; ++i) {
          auto value = std::make_unique<int>(i);
          const OpStatus status = channel.send(std::move(value));
          MODEL_ASSERT(is_either(status, OpStatus::kOk, OpStatus::kClosed));
          MODEL_ASSERT((status == OpStatus::kOk) == (value == nullptr));  // a send that was refused keeps its value
          if (status == OpStatus::kOk) ++sent;
        }
      });
      std::size_t received = 0;
      world::Thread receiver([&] {
        if (const auto got = channel.receive()) {
          MODEL_ASSERT(**got.value == 0);
          ++received;
        }
      });
      const std::vector<std::unique_ptr<int>> drained = channel.close_and_drain();
      sender.join();
      receiver.join();
      for (std::size_t i = 0; i != drained.size(); ++i) {
        MODEL_ASSERT(*drained[i] == static_cast<int>(sent - drained.size() + i));  // the last ones, in order
      }
      MODEL_ASSERT(sent == received + drained.size() && channel.size() == 0);
      MODEL_ASSERT(channel.stats().drained == drained.size());
    });
  }
}

TEST_CASE("Channel: a close, a cancellation, and the one that both would end", "[model][channel]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass_briefly({.name = "channel, close against cancel", .preemptions = 3}, [capacity] {
      Channel<int> channel(capacity);
      if (capacity == 1) must_send(channel, 1);
      const Context::Cancellable ending = Context::background().with_cancel();
      world::Thread closer([&] { channel.close(); });
      world::Thread canceller([&] { ending.source.cancel(); });
      int value = 2;
      const OpStatus sent = channel.send(std::move(value), ending.context);
      closer.join();
      canceller.join();
      MODEL_ASSERT(is_either(sent, OpStatus::kClosed, OpStatus::kCancelled));
      check_rest(channel);
    });
  }
}

TEST_CASE("Channel: it may go when the receiver that waited has its value", "[model][channel]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass_briefly({.name = "channel, goes after a receive", .preemptions = 3}, [capacity] {
      auto channel = std::make_unique<Channel<int>>(capacity);
      int value = 0;
      world::Thread receiver([&value, on = channel.get()] { value = must_receive(*on); });
      await_receivers(*channel, 1);
      must_send(*channel, 7);
      channel.reset();
      receiver.join();
      MODEL_ASSERT(value == 7);
    });
    must_pass_briefly({.name = "channel, goes after a send", .preemptions = 3}, [capacity] {
      auto channel = std::make_unique<Channel<int>>(capacity);
      if (capacity == 1) must_send(*channel, 6);
      world::Thread sender([on = channel.get()] { must_send(*on, 7); });
      await_senders(*channel, 1);
      MODEL_ASSERT(must_receive(*channel) == (capacity == 1 ? 6 : 7));
      channel.reset();
      sender.join();
    });
  }
}

TEST_CASE("Channel: it goes while its last operation gives up", "[model][channel]") {
  must_pass_briefly({.name = "channel, goes while one gives up", .preemptions = 2}, [] {
    auto channel = std::make_unique<Channel<int>>(1);
    must_send(*channel, 1);
    const Context::Cancellable ending = Context::background().with_cancel();
    OpStatus status = OpStatus::kOk;
    world::Thread sender([&, on = channel.get()] { status = on->send(2, ending.context); });
    await_senders(*channel, 1);
    world::Thread canceller([source = ending.source] { source.cancel(); });
    channel.reset();
    sender.join();
    canceller.join();
    MODEL_ASSERT(is_either(status, OpStatus::kClosed, OpStatus::kCancelled));
  });
}
