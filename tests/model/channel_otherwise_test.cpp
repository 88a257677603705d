// SPDX-License-Identifier: MIT

// A select that does not want to wait, under every schedule: it takes `otherwise` only if there was a moment at which
// no case was ready, although it looks at one channel after the other and locks none.

#include <cstddef>

#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"

#include "model/channel_scenario.hpp"

using namespace penstock;           // NOLINT(google-build-using-namespace)
using namespace penstock::checker;  // NOLINT(google-build-using-namespace)
namespace world = penstock::detail::world;

TEST_CASE("Select: never otherwise while a value moves from one channel to the other", "[model][channel][select]") {
  for (const SelectOrder order : {SelectOrder::kRandom, SelectOrder::kInOrder}) {
    for (const std::size_t capacity : {1U, 2U}) {
      must_pass_briefly({.name = "select, a value moves", .preemptions = 3, .random_values = true}, [=] {
        Channel<int> left(capacity);
        Channel<int> right(capacity);
        must_send(left, 1);
        std::size_t moved = 0;
        world::Thread mover([&] {  // there is a value in one of them all the time
          MODEL_ASSERT(right.try_send(2) == OpStatus::kOk);
          if (left.try_receive().status != OpStatus::kOk) return;
          ++moved;
          MODEL_ASSERT(is_either(left.try_send(3), OpStatus::kOk, OpStatus::kFull));
          if (right.try_receive().status == OpStatus::kOk) ++moved;
        });
        int value = 0;
        const auto keep = [&](int got) { value = got; };
        const std::size_t taken = select(order, on_receive(left, keep), on_receive(right, keep), otherwise([] {}));
        mover.join();
        MODEL_ASSERT(taken != 2 && value != 0 && (taken == 0 ? value != 2 : value == 2));
        MODEL_ASSERT(left.size() + right.size() + moved + 1 == left.stats().sends + right.stats().sends);
        check_rest(left);
        check_rest(right);
      });
    }
  }
}

TEST_CASE("Select: never otherwise while a free place moves from one channel to the other",
          "[model][channel][select]") {
  for (const std::size_t capacity : {1U, 2U}) {
    must_pass_briefly({.name = "select, a place moves", .preemptions = 3}, [capacity] {
      Channel<int> left(capacity);
      Channel<int> right(capacity);
      for (std::size_t i = 0; i != capacity; ++i) must_send(right, 1);  // the left one is empty
      world::Thread mover([&] {
        MODEL_ASSERT(right.try_receive().value == 1);
        while (left.try_send(2) == OpStatus::kOk) {
        }
      });
      const std::size_t taken = select(on_send(left, 3, [](OpStatus how) { MODEL_ASSERT(how == OpStatus::kOk); }),
                                       on_send(right, 3, [] {}), otherwise([] {}));
      mover.join();
      MODEL_ASSERT(taken != 2);
      check_rest(left);
      check_rest(right);
    });
  }
}

TEST_CASE("Select: never otherwise while there is room, whoever else is sending", "[model][channel][select]") {
  // A slot is filled before the end moves on to the next: for a moment the free places cannot be seen.
  must_pass_briefly({.name = "select, room beside senders", .preemptions = 3}, [] {
    Channel<int> channel(3);
    world::Thread first([&] { MODEL_ASSERT(channel.try_send(1) == OpStatus::kOk); });
    world::Thread second([&] { MODEL_ASSERT(channel.try_send(2) == OpStatus::kOk); });
    MODEL_ASSERT(select(on_send(channel, 3, [] {}), otherwise([] {})) == 0);
    first.join();
    second.join();
    MODEL_ASSERT(channel.size() == 3);
    check_rest(channel);
  });
}

TEST_CASE("Select: never otherwise while there is a value, whoever else is receiving", "[model][channel][select]") {
  must_pass_briefly({.name = "select, values beside receivers", .preemptions = 3}, [] {
    Channel<int> channel(3);
    for (int value = 1; value <= 3; ++value) must_send(channel, value);
    world::Thread first([&] { MODEL_ASSERT(channel.try_receive().status == OpStatus::kOk); });
    world::Thread second([&] { MODEL_ASSERT(channel.try_receive().status == OpStatus::kOk); });
    MODEL_ASSERT(select(on_receive(channel, [](int) {}), otherwise([] {})) == 0);
    first.join();
    second.join();
    check_rest(channel);
  });
}

TEST_CASE("Select: never otherwise while a waiting peer moves on, or a close follows", "[model][channel][select]") {
  must_pass_briefly({.name = "select, a waiting sender", .preemptions = 2}, [] {
    // A rendezvous: the sender waits in one line, and the other channel is closed before it is let go.
    Channel<int> line(0);
    Channel<int> quit(0);
    world::Thread sender([&] { static_cast<void>(line.send(7)); });
    await_senders(line, 1);
    world::Thread closer([&] {
      quit.close();
      line.try_receive();
    });
    std::size_t taken = select(on_receive(line, [](int got) { MODEL_ASSERT(got == 7); }),
                               on_receive(quit, [](Received<int> got) { MODEL_ASSERT(!got); }), otherwise([] {}));
    MODEL_ASSERT(taken != 2);
    closer.join();
    sender.join();
    check_rest(line);
  });
  must_pass_briefly({.name = "select, a place that was reserved", .preemptions = 3}, [] {
    // What was reserved is free before what was free is filled.
    Channel<int> left(1);
    Channel<int> right(1);
    Reserved<int> place = left.reserve();
    world::Thread other([&] {
      place = {};
      static_cast<void>(right.try_send(1));
    });
    MODEL_ASSERT(select(on_send(left, 2, [] {}), on_send(right, 2, [] {}), otherwise([] {})) != 2);
    other.join();
    check_rest(left);
    check_rest(right);
  });
}

TEST_CASE("Select: never otherwise while a free place moves beside reserved ones", "[model][channel][select]") {
  for (const bool by_permit : {false, true}) {
    must_pass_briefly({.name = "select, a place moves beside reserved ones", .preemptions = 3}, [by_permit] {
      Channel<int> left(2);
      Channel<int> right(2);
      Reserved<int> on_left = left.reserve();
      Reserved<int> on_right = right.reserve();
      must_send(left, 1);  // which is full now
      Reserved<int> another{OpStatus::kFull, {}};
      world::Thread mover([&] {
        MODEL_ASSERT(left.try_receive().status == OpStatus::kOk);
        if (by_permit) {
          another = right.try_reserve();
        } else {
          static_cast<void>(right.try_send(2));
        }
      });
      MODEL_ASSERT(select(on_send(left, 3, [] {}), on_send(right, 3, [] {}), otherwise([] {})) != 2);
      mover.join();
      on_left = {};
      on_right = {};
      another = {};
      check_rest(left);
      check_rest(right);
    });
  }
}

TEST_CASE("Select: never otherwise while a reservation moves to and fro", "[model][channel][select]") {
  // What a select sees again may have been otherwise in between; that shows in the number of the notice alone.
  // It takes five switches to be misled by that.
  for (const std::size_t capacity : {1U, 2U}) {
    must_pass_briefly({.name = "select, a reservation moves", .preemptions = 5}, [capacity] {
      Channel<int> left(capacity);
      Channel<int> right(capacity);
      Reserved<int> on_left = left.reserve();
      Reserved<int> on_right{OpStatus::kFull, {}};
      Reserved<int> more_on_left{OpStatus::kFull, {}};
      Reserved<int> more_on_right{OpStatus::kFull, {}};
      if (capacity == 2) {  // so that there are reserved places all the time
        more_on_left = left.reserve();
        more_on_right = right.reserve();
      }
      world::Thread mover([&] {  // in one of them there is room all the time
        for (const bool to_right : {true, false, true}) {
          Reserved<int>& from = to_right ? on_left : on_right;
          Reserved<int>& to = to_right ? on_right : on_left;
          from = {};
          to = (to_right ? right : left).try_reserve();
          if (!to) break;  // the select was faster
        }
      });
      MODEL_ASSERT(select(on_send(left, 3, [] {}), on_send(right, 3, [] {}), otherwise([] {})) != 2);
      mover.join();
      on_left = {};
      on_right = {};
      more_on_left = {};
      more_on_right = {};
      check_rest(left);
      check_rest(right);
    });
  }
}

TEST_CASE("Select: otherwise leaves everything as it was", "[model][channel][select]") {
  for (const std::size_t capacity : {0U, 1U}) {
    must_pass_briefly({.name = "select, otherwise and a peer", .preemptions = 3}, [capacity] {
      Channel<int> channel(capacity);
      OpStatus sent = OpStatus::kClosed;
      world::Thread sender([&] { sent = channel.try_send(7); });
      int value = 0;
      const std::size_t taken = select(on_receive(channel, [&](int got) { value = got; }), otherwise([] {}));
      MODEL_ASSERT((taken == 0) == (value == 7));
      sender.join();
      if (channel.capacity() == 1) MODEL_ASSERT(sent == OpStatus::kOk && channel.size() == taken);
      if (channel.capacity() == 0) MODEL_ASSERT(taken == 1 && sent == OpStatus::kFull);
      check_rest(channel);
    });
  }
}

TEST_CASE("Select: in order, what was ready first and stayed so is taken first", "[model][channel][select]") {
  must_pass_briefly({.name = "select, in order", .preemptions = 3}, [] {
    Channel<int> urgent(1);
    Channel<int> other(1);
    must_send(urgent, 1);
    world::Thread sender([&] { MODEL_ASSERT(other.try_send(2) == OpStatus::kOk); });
    const std::size_t taken =
        select(SelectOrder::kInOrder, on_receive(urgent, [](int) {}), on_receive(other, [](int) {}));
    MODEL_ASSERT(taken == 0);
    sender.join();
  });
  must_pass_briefly({.name = "select, in order, filled in order", .preemptions = 3}, [] {
    Channel<int> urgent(1);
    Channel<int> other(1);
    world::Thread sender([&] {  // once the second one is ready, the first one is
      MODEL_ASSERT(urgent.try_send(1) == OpStatus::kOk);
      MODEL_ASSERT(other.try_send(2) == OpStatus::kOk);
    });
    const std::size_t taken =
        select(SelectOrder::kInOrder, on_receive(urgent, [](int) {}), on_receive(other, [](int) {}), otherwise([] {}));
    MODEL_ASSERT(taken != 1);
    sender.join();
  });
}
