// SPDX-License-Identifier: MIT

// Selects that wait, under every schedule: exactly one case takes effect, and the others leave no trace.

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>

#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"

#include "model/channel_scenario.hpp"

using namespace penstock;           // NOLINT(google-build-using-namespace)
using namespace penstock::checker;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
namespace world = penstock::detail::world;

TEST_CASE("Select: over two channels with a buffer or without, against two senders", "[model][channel][select]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass_briefly({.name = "select, two senders in random order", .preemptions = 2, .random_values = true}, [=] {
      Channel<int> left(capacity);
      Channel<int> right(1);
      world::Thread first([&] { must_send(left, 1); });
      world::Thread second([&] { must_send(right, 2); });
      std::array<int, 3> got{};
      for (int i = 0; i != 2; ++i) {
        select(on_receive(left, [&](int value) { ++got[static_cast<std::size_t>(value)]; }),
               on_receive(right, [&](int value) { ++got[static_cast<std::size_t>(value)]; }));
      }
      first.join();
      second.join();
      MODEL_ASSERT(got[1] == 1 && got[2] == 1 && left.size() + right.size() == 0);
      check_rest(left);
      check_rest(right);
    });
  }
}

TEST_CASE("Select: one value, two selects that want it", "[model][channel][select]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass_briefly({.name = "select, two for one", .preemptions = 2}, [capacity] {
      Channel<int> channel(capacity);
      Channel<int> quit(0);
      int one = 0;
      int other = 0;
      const auto choose = [&](int& into) {
        select(SelectOrder::kInOrder, on_receive(channel, [&](int value) { into = value; }),
               on_receive(quit, [](Received<int> got) { MODEL_ASSERT(got.status == OpStatus::kClosed); }));
      };
      world::Thread first([&] { choose(one); });
      world::Thread second([&] { choose(other); });
      must_send(channel, 7);
      quit.close();
      first.join();
      second.join();
      const bool is_left = channel.size() == 1;
      MODEL_ASSERT(one + other == (is_left ? 0 : 7));
      check_rest(channel);
      check_rest(quit);
    });
  }
}

TEST_CASE("Select: selects that cross, with a buffer on one side", "[model][channel][select]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass_briefly({.name = "select, crossing in random order", .preemptions = 2, .random_values = true}, [=] {
      Channel<int> left(capacity);
      Channel<int> right(0);
      int there = 0;
      int back = 0;
      world::Thread other(
          [&] { select(on_send(right, 2, [] {}), on_receive(left, [&](int value) { there = value; })); });
      select(on_send(left, 1, [] {}), on_receive(right, [&](int value) { back = value; }));
      // With a buffer the first may have sent without the other one, which then receives that.
      other.join();
      MODEL_ASSERT((there == 1) != (back == 2) && left.size() == 0);
      check_rest(left);
      check_rest(right);
    });
  }
}

TEST_CASE("Select: a send and a receive on the same channel, against the same", "[model][channel][select]") {
  must_pass_briefly({.name = "select, both ways at once", .preemptions = 2, .random_values = true}, [] {
    Channel<int> channel(0);
    int mine = 0;
    int theirs = 0;
    world::Thread other(
        [&] { select(on_send(channel, 2, [] {}), on_receive(channel, [&](int value) { theirs = value; })); });
    select(on_send(channel, 1, [] {}), on_receive(channel, [&](int value) { mine = value; }));
    other.join();
    MODEL_ASSERT((theirs == 1 && mine == 0) || (theirs == 0 && mine == 2));
    check_rest(channel);
  });
}

TEST_CASE("Select: a send and a close, and the value stays if it is refused", "[model][channel][select]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass_briefly({.name = "select, send against close", .preemptions = 2}, [capacity] {
      Channel<std::unique_ptr<int>> out(capacity);
      Channel<int> quit(0);
      if (capacity == 1) MODEL_ASSERT(out.try_send(std::make_unique<int>(1)) == OpStatus::kOk);
      world::Thread closer([&] { out.close(); });
      std::optional<int> received;
      world::Thread receiver([&] {
        if (auto got = out.try_receive()) received = **got.value;
      });
      auto value = std::make_unique<int>(7);
      OpStatus sent = OpStatus::kFull;
      const std::size_t taken = select(SelectOrder::kInOrder, on_receive(quit, [](int) {}),
                                       on_send(out, std::move(value), [&](OpStatus how) { sent = how; }));
      closer.join();
      receiver.join();
      MODEL_ASSERT(taken == 1 && is_either(sent, OpStatus::kOk, OpStatus::kClosed));
      MODEL_ASSERT((value == nullptr) == (sent == OpStatus::kOk));
      if (capacity == 0) MODEL_ASSERT((received == 7) == (sent == OpStatus::kOk));
      check_rest(quit);
    });
  }
}

TEST_CASE("Select: a deadline and a hand-over", "[model][channel][select]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass_briefly({.name = "select, deadline", .preemptions = 2}, [capacity] {
      Channel<int> left(capacity);
      Channel<int> right(0);
      OpStatus sent = OpStatus::kFull;
      world::Thread sender([&] { sent = left.try_send(7); });
      int value = 0;
      const std::size_t taken = select(on_receive(left, [&](int got) { value = got; }), on_receive(right, [](int) {}),
                                       on_timeout(5ms, [] {}));
      sender.join();
      MODEL_ASSERT((taken == 0) == (value == 7) && (taken == 0 || taken == 2));
      MODEL_ASSERT((sent == OpStatus::kOk ? 1U : 0U) == (taken == 0 ? 1U : 0U) + left.size());
      check_rest(left);
      check_rest(right);
    });
  }
}

TEST_CASE("Selector: it is used again, whatever its last select came to", "[model][channel][select]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass_briefly({.name = "selector", .preemptions = 2, .random_values = true}, [=] {
      Channel<int> left(capacity);
      Channel<int> right(0);
      world::Thread first([&] { must_send(left, 1); });
      world::Thread second([&] { must_send(right, 2); });
      int sum = 0;
      int outgoing = 0;
      {
        Channel<int> never(0);
        Selector selector;
        selector.on_receive(left, [&](int value) { sum += value; });
        selector.on_receive(right, [&](int value) { sum += value; });
        selector.on_send(never, outgoing, [](OpStatus) { MODEL_ASSERT(false); });
        const std::size_t one = selector.select();
        const std::optional<std::size_t> tried = selector.try_select();
        MODEL_ASSERT(one < 2 && (!tried || (*tried < 2 && *tried != one)));
        if (!tried) MODEL_ASSERT(selector.select() == 1 - one);
        MODEL_ASSERT(selector.try_select() == std::nullopt);
        check_rest(never);
      }
      first.join();
      second.join();
      MODEL_ASSERT(sum == 3);
      check_rest(left);
      check_rest(right);
    });
  }
}

TEST_CASE("Select: two channels go once each has been served", "[model][channel][select]") {
  must_pass_briefly({.name = "select, both go", .preemptions = 2}, [] {
    auto left = std::make_unique<Channel<int>>(0);
    auto right = std::make_unique<Channel<int>>(0);
    std::size_t taken = 9;
    world::Thread selector([&, on_left = left.get(), on_right = right.get()] {
      taken = select(SelectOrder::kInOrder, on_receive(*on_left, [](int) {}), on_receive(*on_right, [](int) {}));
    });
    await_receivers(*right, 1);
    MODEL_ASSERT(left->send(1) == OpStatus::kOk);
    left.reset();
    right.reset();  // waits until the select has left
    selector.join();
    MODEL_ASSERT(taken == 0);
  });
}
