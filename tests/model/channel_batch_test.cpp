// SPDX-License-Identifier: MIT

// Batches under every schedule: their values stay in order, and each is sent and received once.

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "penstock/channel/channel.hpp"

#include "model/channel_scenario.hpp"

using namespace penstock;           // NOLINT(google-build-using-namespace)
using namespace penstock::checker;  // NOLINT(google-build-using-namespace)
namespace world = penstock::detail::world;

TEST_CASE("Channel: a batch is sent while one is received", "[model][channel]") {
  for (const std::size_t capacity : {0U, 1U, 2U}) {
    must_pass_briefly({.name = "channel, two batches", .preemptions = 3}, [capacity] {
      Channel<int> channel(capacity);
      world::Thread sender([&] {
        std::array<int, 3> values{1, 2, 3};
        const BatchResult sent = channel.send_many(values);
        MODEL_ASSERT(sent.status == OpStatus::kOk && sent.count == 3);
      });
      std::vector<int> got;
      while (got.size() != 3) {
        const std::size_t before = got.size();
        const BatchResult received = channel.receive_many(got, 3 - before);
        MODEL_ASSERT(received.status == OpStatus::kOk && received.count != 0 && got.size() == before + received.count);
      }
      sender.join();
      MODEL_ASSERT((got == std::vector<int>{1, 2, 3}));
      check_rest(channel);
    });
  }
}

TEST_CASE("Channel: a batch of sends, another sender and single receives", "[model][channel]") {
  for (const std::size_t capacity : {0U, 2U}) {
    must_pass_briefly({.name = "channel, sent batch and singles", .preemptions = 2}, [capacity] {
      Channel<int> channel(capacity);
      world::Thread batch([&] {
        std::array<int, 2> values{1, 2};
        MODEL_ASSERT(channel.send_many(values).count == 2);
      });
      world::Thread single([&] { must_send(channel, 3); });
      int last = 0;
      int sum = 0;
      for (int i = 0; i != 3; ++i) {
        const int value = must_receive(channel);
        sum += value;
        if (value == 3) continue;
        MODEL_ASSERT(value == ++last);
      }
      MODEL_ASSERT(sum == 6);
      batch.join();
      single.join();
      check_rest(channel);
    });
  }
}

TEST_CASE("Channel: a batch of receives, another receiver and single sends", "[model][channel]") {
  for (const std::size_t capacity : {0U, 2U}) {
    must_pass_briefly({.name = "channel, received batch and singles", .preemptions = 2}, [capacity] {
      Channel<int> channel(capacity);
      std::vector<int> got;
      std::size_t count = 0;
      world::Thread batch([&] { count = channel.receive_many(got, 2).count; });
      world::Thread single([&] { static_cast<void>(channel.receive()); });
      must_send(channel, 1);
      must_send(channel, 2);
      channel.close();
      batch.join();
      single.join();
      MODEL_ASSERT(count == got.size());
      for (std::size_t i = 1; i < got.size(); ++i) MODEL_ASSERT(got[i - 1] < got[i]);
      check_rest(channel);
    });
  }
}

TEST_CASE("Channel: batches that are tried, against each other", "[model][channel]") {
  must_pass_briefly({.name = "channel, tried batches", .preemptions = 3}, [] {
    Channel<int> channel(2);
    BatchResult sent{OpStatus::kClosed, 0};
    world::Thread sender([&] {
      std::array<int, 3> values{1, 2, 3};
      sent = channel.try_send_many(values);
    });
    std::vector<int> got;
    const BatchResult received = channel.try_receive_many(got, 3);
    sender.join();
    MODEL_ASSERT(received.status == (got.empty() ? OpStatus::kEmpty : OpStatus::kOk) && received.count == got.size());
    MODEL_ASSERT(sent.count == 3 ? sent.status == OpStatus::kOk : sent.count == 2 && sent.status == OpStatus::kFull);
    (void)channel.try_receive_many(got, 3);
    MODEL_ASSERT(got.size() == sent.count);
    for (std::size_t i = 0; i != got.size(); ++i) MODEL_ASSERT(got[i] == static_cast<int>(i) + 1);
    check_rest(channel);
  });
}

TEST_CASE("Channel: a close in the middle of a batch", "[model][channel]") {
  for (const std::size_t capacity : {0U, 1U, 2U}) {
    must_pass_briefly({.name = "channel, batch and close", .preemptions = 2}, [capacity] {
      Channel<std::unique_ptr<int>> channel(capacity);
      BatchResult sent{OpStatus::kFull, 0};
      world::Thread sender([&] {
        std::array<std::unique_ptr<int>, 2> values{std::make_unique<int>(1), std::make_unique<int>(2)};
        sent = channel.send_many(values);
        for (std::size_t i = 0; i != 2; ++i) MODEL_ASSERT((values[i] == nullptr) == (i < sent.count));
      });
      world::Thread closer([&] { channel.close(); });
      std::vector<std::unique_ptr<int>> got;
      while (channel.receive_many(got, 2).status == OpStatus::kOk) {
      }
      sender.join();
      closer.join();
      MODEL_ASSERT(got.size() == sent.count && (sent.count == 2) == (sent.status == OpStatus::kOk));
      MODEL_ASSERT(sent.count == 2 || sent.status == OpStatus::kClosed);
      for (std::size_t i = 0; i != got.size(); ++i) MODEL_ASSERT(*got[i] == static_cast<int>(i) + 1);
    });
  }
}

TEST_CASE("Channel: a cancellation in the middle of a batch", "[model][channel]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass_briefly({.name = "channel, batch and cancel", .preemptions = 2}, [capacity] {
      Channel<int> channel(capacity);
      const Context::Cancellable ending = Context::background().with_cancel();
      BatchResult sent{OpStatus::kFull, 0};
      world::Thread sender([&] {
        std::array<int, 3> values{1, 2, 3};
        sent = channel.send_many(values, ending.context);
      });
      world::Thread canceller([&] { ending.source.cancel(); });
      std::vector<int> got;
      const BatchResult received = channel.receive_many(got, 2, ending.context);
      MODEL_ASSERT(is_either(received.status, OpStatus::kOk, OpStatus::kCancelled));
      sender.join();
      canceller.join();
      MODEL_ASSERT((sent.count == 3) == (sent.status == OpStatus::kOk));
      while (const Received<int> rest = channel.try_receive()) got.push_back(*rest.value);
      MODEL_ASSERT(got.size() == sent.count);
      for (std::size_t i = 0; i != got.size(); ++i) MODEL_ASSERT(got[i] == static_cast<int>(i) + 1);
      check_rest(channel);
    });
  }
}
