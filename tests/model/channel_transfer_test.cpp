// SPDX-License-Identifier: MIT

// How values change hands under every schedule: the two ends with their locks, the way round over both, and who is let
// go when an operation ends in another way.

#include <chrono>
#include <cstddef>

#include "penstock/channel/channel.hpp"

#include "model/channel_scenario.hpp"

using namespace penstock;           // NOLINT(google-build-using-namespace)
using namespace penstock::checker;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
namespace world = penstock::detail::world;

TEST_CASE("Channel: one sends and one receives, in order", "[model][channel]") {
  for (const std::size_t capacity : {0U, 1U, 2U}) {
    must_pass_briefly({.name = "channel, one to one", .preemptions = 3}, [capacity] {
      Channel<int> channel(capacity);
      world::Thread sender([&] {
        for (int value = 1; value <= 3; ++value) must_send(channel, value);
      });
      for (int value = 1; value <= 3; ++value) MODEL_ASSERT(must_receive(channel) == value);
      sender.join();
      MODEL_ASSERT(channel.try_receive().status == OpStatus::kEmpty);
      check_rest(channel);
    });
  }
}

TEST_CASE("Channel: tries that never wait succeed in order, or say why not", "[model][channel]") {
  for (const std::size_t capacity : {1U, 2U}) {
    must_pass_briefly({.name = "channel, tries", .preemptions = 3}, [capacity] {
      Channel<int> channel(capacity);
      int sent = 0;
      world::Thread sender([&] {
        MODEL_ASSERT(channel.try_send(1) == OpStatus::kOk);
        sent = 1;
        const OpStatus status = channel.try_send(2);
        MODEL_ASSERT(is_either(status, OpStatus::kOk, OpStatus::kFull));
        if (channel.capacity() == 2) MODEL_ASSERT(status == OpStatus::kOk);
        if (status == OpStatus::kOk) sent = 2;
      });
      int received = 0;
      for (int i = 0; i != 2; ++i) {
        const Received<int> got = channel.try_receive();
        MODEL_ASSERT(is_either(got.status, OpStatus::kOk, OpStatus::kEmpty));
        if (got) MODEL_ASSERT(*got.value == ++received);
      }
      sender.join();
      while (const Received<int> got = channel.try_receive()) MODEL_ASSERT(*got.value == ++received);
      MODEL_ASSERT(received == sent);
      check_rest(channel);
    });
  }
}

TEST_CASE("Channel: two try at once, and as many succeed as there is room or values for", "[model][channel]") {
  for (const std::size_t capacity : {1U, 2U}) {
    must_pass_briefly({.name = "channel, two tries", .preemptions = 3}, [capacity] {
      Channel<int> channel(capacity);
      OpStatus one = OpStatus::kOk;
      OpStatus other = OpStatus::kOk;
      world::Thread first([&] { one = channel.try_send(1); });
      world::Thread second([&] { other = channel.try_send(2); });
      first.join();
      second.join();
      const std::size_t sent = (one == OpStatus::kOk ? 1U : 0U) + (other == OpStatus::kOk ? 1U : 0U);
      MODEL_ASSERT(sent == channel.capacity() && channel.size() == sent);
      Received<int> left{OpStatus::kOk, {}};
      world::Thread third([&] { left = channel.try_receive(); });
      const Received<int> right = channel.try_receive();
      third.join();
      MODEL_ASSERT((left ? 1U : 0U) + (right ? 1U : 0U) == sent);
      if (sent == 2) MODEL_ASSERT(*left.value + *right.value == 3 && *left.value != *right.value);
      check_rest(channel);
    });
  }
}

TEST_CASE("Channel: a try passes by while others use the way round", "[model][channel]") {
  // The third party holds both locks at times, and changes nothing.
  for (const std::size_t capacity : {0U, 1U, 2U}) {
    must_pass_briefly({.name = "channel, tries and looks", .preemptions = 2}, [capacity] {
      Channel<int> channel(capacity);
      OpStatus sent = OpStatus::kClosed;
      world::Thread sender([&] { sent = channel.try_send(7); });
      world::Thread looker([&] {
        const ChannelStats stats = channel.stats();
        MODEL_ASSERT(stats.sends >= stats.receives && stats.high_water <= 1);
        MODEL_ASSERT(channel.size() <= 1 && !channel.is_closed());
      });
      const Received<int> received = channel.receive(Context::background().with_timeout(5ms));
      sender.join();
      looker.join();
      MODEL_ASSERT(is_either(received.status, OpStatus::kOk, OpStatus::kTimedOut));
      MODEL_ASSERT(is_either(sent, OpStatus::kOk, OpStatus::kFull));
      if (channel.capacity() != 0) MODEL_ASSERT(sent == OpStatus::kOk);
      MODEL_ASSERT((sent == OpStatus::kOk ? 1U : 0U) == (received ? 1U : 0U) + channel.size());
      check_rest(channel);
    });
  }
}

TEST_CASE("Channel: who waits is served by a try at the other end", "[model][channel]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass_briefly({.name = "channel, waiting receiver", .preemptions = 3}, [capacity] {
      Channel<int> channel(capacity);
      int value = 0;
      world::Thread receiver([&] { value = must_receive(channel); });
      await_receivers(channel, 1);
      MODEL_ASSERT(channel.try_send(7) == OpStatus::kOk);
      receiver.join();
      MODEL_ASSERT(value == 7);
      check_rest(channel);
    });
    must_pass_briefly({.name = "channel, waiting sender", .preemptions = 3}, [capacity] {
      Channel<int> channel(capacity);
      if (capacity == 1) must_send(channel, 1);
      world::Thread sender([&] { must_send(channel, 2); });
      await_senders(channel, 1);
      if (capacity == 1) MODEL_ASSERT(channel.try_receive().value == 1);
      MODEL_ASSERT(channel.try_receive().value == 2);
      sender.join();
      check_rest(channel);
    });
  }
}

TEST_CASE("Channel: first come, first served, on both sides", "[model][channel]") {
  must_pass_briefly({.name = "channel, two in line to receive", .preemptions = 2}, [] {
    Channel<int> channel(1);
    int one = 0;
    int other = 0;
    world::Thread first([&] { one = must_receive(channel); });
    await_receivers(channel, 1);
    world::Thread second([&] { other = must_receive(channel); });
    must_send(channel, 1);  // to the first, whether the second is in line or not
    must_send(channel, 2);
    first.join();
    second.join();
    MODEL_ASSERT(one == 1 && other == 2);
    check_rest(channel);
  });
  must_pass_briefly({.name = "channel, two in line to send", .preemptions = 2}, [] {
    Channel<int> channel(1);
    must_send(channel, 1);
    world::Thread first([&] { must_send(channel, 2); });
    await_senders(channel, 1);
    world::Thread second([&] { must_send(channel, 3); });
    for (int value = 1; value <= 3; ++value) MODEL_ASSERT(must_receive(channel) == value);
    first.join();
    second.join();
    check_rest(channel);
  });
}

TEST_CASE("Channel: a cancelled operation and a hand-over, with a buffer", "[model][channel]") {
  must_pass_briefly({.name = "channel, buffered receive against cancel", .preemptions = 2}, [] {
    Channel<int> channel(1);
    const Context::Cancellable ending = Context::background().with_cancel();
    world::Thread sender([&] { must_send(channel, 7); });
    world::Thread canceller([&] { ending.source.cancel(); });
    const Received<int> received = channel.receive(ending.context);
    sender.join();
    canceller.join();
    MODEL_ASSERT(is_either(received.status, OpStatus::kOk, OpStatus::kCancelled));
    MODEL_ASSERT(received ? received.value == 7 : channel.try_receive().value == 7);  // with one of them for certain
    check_rest(channel);
  });
  must_pass_briefly({.name = "channel, buffered send against cancel", .preemptions = 2}, [] {
    Channel<int> channel(1);
    must_send(channel, 1);
    const Context::Cancellable ending = Context::background().with_cancel();
    int first = 0;
    world::Thread receiver([&] { first = must_receive(channel); });
    world::Thread canceller([&] { ending.source.cancel(); });
    const OpStatus sent = channel.send(2, ending.context);
    receiver.join();
    canceller.join();
    MODEL_ASSERT(first == 1 && is_either(sent, OpStatus::kOk, OpStatus::kCancelled));
    MODEL_ASSERT(channel.size() == (sent == OpStatus::kOk ? 1U : 0U));
    check_rest(channel);
  });
}

TEST_CASE("Channel: a deadline, a hand-over and one who waits behind", "[model][channel]") {
  must_pass_briefly({.name = "channel, deadline in front", .preemptions = 2}, [] {
    Channel<int> channel(1);
    Received<int> first{OpStatus::kOk, {}};
    world::Thread hasty([&] { first = channel.receive(Context::background().with_timeout(5ms)); });
    int other = 0;
    world::Thread patient([&] { other = must_receive(channel); });
    must_send(channel, 1);
    must_send(channel, 2);
    hasty.join();
    patient.join();
    MODEL_ASSERT(is_either(first.status, OpStatus::kOk, OpStatus::kTimedOut));
    MODEL_ASSERT(first ? *first.value + other == 3 : other == 1 && channel.try_receive().value == 2);
    check_rest(channel);
  });
}
