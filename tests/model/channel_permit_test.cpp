// SPDX-License-Identifier: MIT

// Permits to send under every schedule: a place is held by one, goes to who waits longest when it becomes free, and a
// value sent through it always finds room.

#include <cstddef>
#include <optional>

#include "penstock/channel/channel.hpp"

#include "model/channel_scenario.hpp"

using namespace penstock;           // NOLINT(google-build-using-namespace)
using namespace penstock::checker;  // NOLINT(google-build-using-namespace)
namespace world = penstock::detail::world;

TEST_CASE("SendPermit: a reservation, a try to send and a receive", "[model][channel]") {
  for (const std::size_t capacity : {1U, 2U}) {
    must_pass_briefly({.name = "permit, send and receive", .preemptions = 2}, [capacity] {
      Channel<int> channel(capacity);
      OpStatus sent = OpStatus::kClosed;
      world::Thread sender([&] { sent = channel.try_send(1); });
      int first = 0;
      world::Thread receiver([&] { first = must_receive(channel); });
      Reserved<int> place = channel.reserve();
      MODEL_ASSERT(place.status == OpStatus::kOk && place.permit);
      MODEL_ASSERT(place.permit.send(2) == OpStatus::kOk && !place.permit);
      sender.join();
      receiver.join();
      MODEL_ASSERT(is_either(sent, OpStatus::kOk, OpStatus::kFull));
      if (channel.capacity() == 2) MODEL_ASSERT(sent == OpStatus::kOk);
      MODEL_ASSERT(first == 2 || (first == 1 && sent == OpStatus::kOk));
      if (sent == OpStatus::kOk) MODEL_ASSERT(channel.try_receive().value == 3 - first);
      MODEL_ASSERT(channel.size() == 0);
      check_rest(channel);
    });
  }
}

TEST_CASE("SendPermit: two reserve the last place at once", "[model][channel]") {
  must_pass_briefly({.name = "permit, two tries", .preemptions = 3}, [] {
    Channel<int> channel(1);
    Reserved<int> other{OpStatus::kClosed, {}};
    world::Thread second([&] { other = channel.try_reserve(); });
    Reserved<int> one = channel.try_reserve();
    second.join();
    MODEL_ASSERT(one.permit ? other.status == OpStatus::kFull : one.status == OpStatus::kFull && other);
    MODEL_ASSERT(channel.stats().reserved == 1 && channel.try_send(1) == OpStatus::kFull);
    one = {};
    other = {};
    MODEL_ASSERT(channel.try_send(1) == OpStatus::kOk);
    check_rest(channel);
  });
}

TEST_CASE("SendPermit: a waiting reservation and a sender behind it", "[model][channel]") {
  must_pass_briefly({.name = "permit, in line with a sender", .preemptions = 2}, [] {
    Channel<int> channel(1);
    must_send(channel, 1);
    world::Thread reserver([&] {
      Reserved<int> place = channel.reserve();
      MODEL_ASSERT(place.status == OpStatus::kOk);
      MODEL_ASSERT(place.permit.send(2) == OpStatus::kOk);
    });
    await_senders(channel, 1);
    world::Thread sender([&] { must_send(channel, 3); });
    for (int value = 1; value <= 3; ++value) MODEL_ASSERT(must_receive(channel) == value);
    reserver.join();
    sender.join();
    check_rest(channel);
  });
}

TEST_CASE("SendPermit: dropping one lets a sender and a receiver meet", "[model][channel]") {
  // While places are reserved, both ends can have waiters.
  must_pass_briefly({.name = "permit, dropped", .preemptions = 2}, [] {
    Channel<int> channel(1);
    Reserved<int> place = channel.reserve();
    world::Thread sender([&] { must_send(channel, 7); });
    int value = 0;
    world::Thread receiver([&] { value = must_receive(channel); });
    place = {};
    sender.join();
    receiver.join();
    MODEL_ASSERT(value == 7);
    check_rest(channel);
  });
  must_pass_briefly({.name = "permit, used", .preemptions = 2}, [] {
    Channel<int> channel(1);
    Reserved<int> place = channel.reserve();
    world::Thread sender([&] { must_send(channel, 1); });
    int sum = 0;
    world::Thread receiver([&] {
      sum += must_receive(channel);
      sum += must_receive(channel);
    });
    MODEL_ASSERT(place.permit.send(2) == OpStatus::kOk);
    sender.join();
    receiver.join();
    MODEL_ASSERT(sum == 3);
    check_rest(channel);
  });
}

TEST_CASE("SendPermit: nobody overtakes a sender that waits for a reserved place", "[model][channel]") {
  must_pass_briefly({.name = "permit, no overtaking", .preemptions = 2}, [] {
    Channel<int> channel(1);
    Reserved<int> place = channel.reserve();
    world::Thread sender([&] { must_send(channel, 1); });
    await_senders(channel, 1);
    int value = 0;
    world::Thread receiver([&] { value = must_receive(channel); });
    MODEL_ASSERT(channel.try_send(2) == OpStatus::kFull);
    place = {};
    sender.join();
    receiver.join();
    MODEL_ASSERT(value == 1);
    check_rest(channel);
  });
}

TEST_CASE("SendPermit: dropping one gives its place to a waiting reservation", "[model][channel]") {
  must_pass_briefly({.name = "permit, handed on", .preemptions = 2}, [] {
    Channel<int> channel(1);
    Reserved<int> place = channel.reserve();
    world::Thread dropper([&] { place = {}; });
    world::Thread reserver([&] {
      Reserved<int> mine = channel.reserve();
      MODEL_ASSERT(mine.status == OpStatus::kOk && mine.permit.send(7) == OpStatus::kOk);
    });
    MODEL_ASSERT(must_receive(channel) == 7);
    dropper.join();
    reserver.join();
    check_rest(channel);
  });
}

TEST_CASE("SendPermit: a close against a held permit and a waiting reservation", "[model][channel]") {
  must_pass_briefly({.name = "permit, close", .preemptions = 2}, [] {
    Channel<int> channel(1);
    Reserved<int> place = channel.reserve();
    OpStatus waited = OpStatus::kFull;
    world::Thread reserver([&] {
      const Reserved<int> mine = channel.reserve();
      waited = mine.status;
      MODEL_ASSERT(static_cast<bool>(mine.permit) == (waited == OpStatus::kOk));
    });
    world::Thread closer([&] { MODEL_ASSERT(channel.close()); });
    int value = 7;
    const OpStatus sent = place.permit.send(std::move(value));
    MODEL_ASSERT(is_either(sent, OpStatus::kOk, OpStatus::kClosed));
    reserver.join();
    closer.join();
    MODEL_ASSERT(waited == OpStatus::kClosed);  // the place was never free
    MODEL_ASSERT(channel.size() == (sent == OpStatus::kOk ? 1U : 0U));
    check_rest(channel);
  });
}

TEST_CASE("SendPermit: a cancelled reservation leaves no place behind", "[model][channel]") {
  must_pass_briefly({.name = "permit, cancel", .preemptions = 3}, [] {
    Channel<int> channel(1);
    must_send(channel, 1);
    const Context::Cancellable ending = Context::background().with_cancel();
    world::Thread canceller([&] { ending.source.cancel(); });
    world::Thread receiver([&] { MODEL_ASSERT(must_receive(channel) == 1); });
    {
      const Reserved<int> place = channel.reserve(ending.context);
      MODEL_ASSERT(is_either(place.status, OpStatus::kOk, OpStatus::kCancelled));
      MODEL_ASSERT(static_cast<bool>(place.permit) == (place.status == OpStatus::kOk));
    }
    canceller.join();
    receiver.join();
    MODEL_ASSERT(channel.try_send(2) == OpStatus::kOk);
    check_rest(channel);
  });
}
