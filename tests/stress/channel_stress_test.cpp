// SPDX-License-Identifier: MIT

// Hunts by repetition: many parties on few channels, with everything that can end a wait. What must hold at the end is
// always the same: every value was received once, or its send said that it was not sent and left it where it was.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"
#include "support/catch.hpp"
#include "support/long_run.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace testing;

using Value = std::unique_ptr<std::size_t>;

/// What became of each value.
class Ledger {
 public:
  explicit Ledger(std::size_t values) : received_(values), kept_(values) {}

  /// After a send: `value` is empty exactly if it was sent.
  void sent(std::size_t number, const Value& value, OpStatus status) {
    if ((status == OpStatus::kOk) != (value == nullptr)) ++broken_;
    if (value != nullptr) ++kept_[number];
  }
  void received(const Value& value) { ++received_[*value]; }

  [[nodiscard]] bool balances() const {
    if (broken_ != 0) return false;
    for (std::size_t i = 0; i != kept_.size(); ++i) {
      if (received_[i] + kept_[i] != 1) return false;
    }
    return true;
  }

 private:
  std::vector<std::atomic<int>> received_;
  std::vector<std::atomic<int>> kept_;
  std::atomic<int> broken_{0};
};

/// A small generator for each thread.
struct Dice {
  std::uint32_t state;
  std::uint32_t below(std::uint32_t bound) {
    state = state * 1664525U + 1013904223U;
    return (state >> 8) % bound;
  }
};

/// How often what hunts by repetition is repeated: more with PENSTOCK_LONG=1.
std::size_t times(std::size_t count) { return testing::runs_long() ? 20 * count : count; }

std::size_t any_capacity() { return GENERATE(as<std::size_t>(), 0, 1, 3, 64); }

void send_somehow(Channel<Value>& channel, Dice& dice, Value& value, std::size_t number, Ledger& ledger) {
  OpStatus status = OpStatus::kFull;
  switch (dice.below(4)) {
    case 0:
      status = channel.try_send(std::move(value));
      break;
    case 1:
      status =
          channel.send(std::move(value), Context::background().with_timeout(std::chrono::microseconds(dice.below(50))));
      break;
    case 2:
      select(on_send(channel, std::move(value), [&](OpStatus how) { status = how; }),
             on_done(Context::background().with_timeout(std::chrono::microseconds(dice.below(50))), [] {}));
      break;
    default:
      status = channel.send(std::move(value));
  }
  ledger.sent(number, value, status);
}

/// Returns whether the channel is closed and empty.
bool receive_somehow(Channel<Value>& channel, Dice& dice, Ledger& ledger) {
  Received<Value> received{OpStatus::kEmpty, std::nullopt};
  switch (dice.below(4)) {
    case 0:
      received = channel.try_receive();
      break;
    case 1:
      received = channel.receive(Context::background().with_timeout(std::chrono::microseconds(dice.below(50))));
      break;
    case 2:
      select(on_receive(channel, [&](Received<Value> got) { received = std::move(got); }),
             on_done(Context::background().with_timeout(std::chrono::microseconds(dice.below(50))), [] {}));
      break;
    default:
      received = channel.receive();
  }
  if (received) ledger.received(*received.value);
  return received.status == OpStatus::kClosed;
}

TEST_CASE("Channel: nothing is lost or doubled between time-outs, selects and a close", "[channel][stress]") {
  constexpr std::size_t kThreads = 3;
  const std::size_t each = times(4'000);
  Channel<Value> channel(any_capacity());
  Ledger ledger(kThreads * each);
  std::vector<std::thread> threads;
  std::atomic<std::size_t> senders_left{kThreads};
  for (std::size_t t = 0; t != kThreads; ++t) {
    threads.emplace_back([&, t] {
      Dice dice{static_cast<std::uint32_t>(t) + 1};
      for (std::size_t i = 0; i != each; ++i) {
        const std::size_t number = t * each + i;
        Value value = std::make_unique<std::size_t>(number);
        send_somehow(channel, dice, value, number, ledger);
      }
      if (--senders_left == 0) channel.close();
    });
    threads.emplace_back([&, t] {
      Dice dice{static_cast<std::uint32_t>(t) + 100};
      while (!receive_somehow(channel, dice, ledger)) {
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(ledger.balances());
  const ChannelStats stats = channel.stats();
  CHECK(stats.sends == stats.receives);
  CHECK(stats.blocked_senders + stats.blocked_receivers == 0);
}

TEST_CASE("Channel: a storm of closes between senders and receivers loses nothing", "[channel][stress]") {
  const std::size_t capacity = any_capacity();
  for (std::size_t round = 0; round != times(150); ++round) {
    constexpr std::size_t kEach = 20;
    Channel<Value> channel(capacity);
    Ledger ledger(2 * kEach);
    std::atomic<int> first_closes{0};
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t != 2; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t number = t * kEach; number != (t + 1) * kEach; ++number) {
          Value value = std::make_unique<std::size_t>(number);
          const OpStatus status = channel.send(std::move(value));
          ledger.sent(number, value, status);
        }
      });
      threads.emplace_back([&] {
        for (Value& value : channel) ledger.received(value);
      });
      threads.emplace_back([&, round] {
        while (channel.stats().sends < round % (2 * kEach)) std::this_thread::yield();
        if (channel.close()) ++first_closes;
      });
    }
    for (std::thread& thread : threads) thread.join();
    REQUIRE(ledger.balances());
    REQUIRE(first_closes == 1);
    REQUIRE(channel.size() == 0);
  }
}

TEST_CASE("Channel: a cancellation that meets a hand-over ends it one way or the other", "[channel][stress]") {
  Channel<Value> channel(0);
  const std::size_t rounds = times(1'000);
  Ledger ledger(rounds);
  std::size_t cancelled = 0;
  for (std::size_t round = 0; round != rounds; ++round) {
    const Context::Cancellable ending = Context::background().with_cancel();
    Value value = std::make_unique<std::size_t>(round);
    OpStatus sent = OpStatus::kFull;
    std::thread sender([&] { sent = channel.send(std::move(value), ending.context); });
    std::thread canceller([&] { ending.source.cancel(); });
    Received<Value> received = channel.try_receive();
    canceller.join();
    sender.join();
    if (received) ledger.received(*received.value);
    ledger.sent(round, value, sent);
    if (sent == OpStatus::kCancelled) ++cancelled;
    REQUIRE((sent == OpStatus::kOk || sent == OpStatus::kCancelled));
  }
  CHECK(ledger.balances());
  CHECK(cancelled == rounds - channel.stats().sends);
}

TEST_CASE("Channel: may be destroyed while its waiters leave for every reason", "[channel][stress]") {
  ManualClock clock;
  for (std::size_t round = 0; round != times(300); ++round) {
    const Context::Cancellable ending = Context::background().with_cancel();
    const Context late = Context(clock).with_timeout(1ms);
    auto channel = std::make_unique<Channel<int>>(0);
    Channel<int> other(0);
    std::array<std::thread, 4> threads;
    threads[0] = std::thread([&, on = channel.get()] { static_cast<void>(on->receive(ending.context)); });
    threads[1] = std::thread([&, on = channel.get()] { static_cast<void>(on->receive(late)); });
    threads[2] = std::thread([on = channel.get()] { static_cast<void>(on->receive()); });
    threads[3] = std::thread([&, on = channel.get()] {
      select(on_receive(*on, [](Received<int>) {}), on_receive(other, [](int) {}),
             on_receive(*on, [](Received<int>) {}));
    });
    REQUIRE(eventually_blocked_receivers(*channel, 5));
    std::thread canceller([&] { ending.source.cancel(); });
    std::thread advancer([&] { clock.advance(1ms); });
    channel.reset();
    for (std::thread& thread : threads) thread.join();
    canceller.join();
    advancer.join();
    REQUIRE(other.stats().blocked_receivers == 0);
  }
}

TEST_CASE("Select: crossing selects with time-outs lose and double nothing", "[channel][select][stress]") {
  constexpr std::size_t kThreads = 4;
  const std::size_t each = times(4'000);
  std::array<std::unique_ptr<Channel<Value>>, 3> channels;
  for (std::size_t i = 0; i != 3; ++i) channels[i] = std::make_unique<Channel<Value>>(i == 2 ? 2 : 0);
  Ledger ledger(kThreads * each);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t != kThreads; ++t) {
    threads.emplace_back([&, t] {
      Dice dice{static_cast<std::uint32_t>(t) + 1};
      const auto receive = [&](Received<Value> received) {
        if (received) ledger.received(*received.value);
      };
      for (std::size_t i = 0; i != each; ++i) {
        const std::size_t number = t * each + i;
        Value value = std::make_unique<std::size_t>(number);
        OpStatus status = OpStatus::kTimedOut;
        // Until it is gone: what arrives meanwhile is taken as well.
        while (value != nullptr) {
          Channel<Value>& mine = *channels[dice.below(3)];
          Channel<Value>& theirs = *channels[dice.below(3)];
          const Context late = Context::background().with_timeout(std::chrono::microseconds(dice.below(100)));
          const std::size_t taken =
              dice.below(2) == 0
                  ? select(on_send(mine, std::move(value), [&](OpStatus how) { status = how; }),
                           on_receive(theirs, receive), on_done(late, [] {}))
                  : 1 - select(on_receive(theirs, receive),
                               on_send(mine, std::move(value), [&](OpStatus how) { status = how; }), otherwise([] {}));
          if ((taken == 0) != (value == nullptr)) status = OpStatus::kFull;
          if (i % 16 == 0 && value != nullptr) break;
        }
        ledger.sent(number, value, value == nullptr ? status : OpStatus::kTimedOut);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (auto& channel : channels) {
    for (const Value& value : channel->close_and_drain()) ledger.received(value);
    CHECK(channel->stats().blocked_senders + channel->stats().blocked_receivers == 0);
  }
  CHECK(ledger.balances());
}

Task<> send_all(Channel<Value>& channel, std::size_t first, std::size_t count, Ledger& ledger) {
  for (std::size_t number = first; number != first + count; ++number) {
    Value value = std::make_unique<std::size_t>(number);
    const Context late = Context::background().with_timeout(std::chrono::microseconds(number % 3 * 20));
    const OpStatus status =
        co_await channel.async_send(std::move(value), number % 2 == 0 ? late : Context::background());
    ledger.sent(number, value, status);
  }
}

Task<> receive_all(Channel<Value>& channel, Ledger& ledger) {
  for (std::size_t i = 0;; ++i) {
    const Context late = Context::background().with_timeout(std::chrono::microseconds(i % 3 * 20));
    Received<Value> received = co_await channel.async_receive(i % 2 == 0 ? late : Context::background());
    if (received) ledger.received(*received.value);
    if (received.status == OpStatus::kClosed) co_return;
  }
}

TEST_CASE("Channel: coroutines on two threads with time-outs lose and double nothing", "[channel][coroutine][stress]") {
  const std::size_t each = times(10'000);
  Channel<Value> channel(any_capacity());
  Ledger ledger(4 * each);
  std::array<RunLoop, 2> loops;
  std::array<std::thread, 2> threads;
  for (std::size_t i = 0; i != 2; ++i) threads[i] = std::thread([&, i] { loops[i].run(); });
  std::vector<JoinHandle<>> senders;
  std::vector<JoinHandle<>> receivers;
  for (std::size_t i = 0; i != 4; ++i) {
    senders.push_back(spawn(loops[i % 2], send_all(channel, i * each, each, ledger)));
    receivers.push_back(spawn(loops[i % 2], receive_all(channel, ledger)));
  }
  for (JoinHandle<>& sender : senders) sender.get();
  channel.close();
  for (JoinHandle<>& receiver : receivers) receiver.get();
  for (RunLoop& loop : loops) loop.stop();
  for (std::thread& thread : threads) thread.join();
  CHECK(ledger.balances());
  CHECK(channel.stats().blocked_senders + channel.stats().blocked_receivers == 0);
}

TEST_CASE("Channel: threads, selects and coroutines on one channel lose and double nothing until it closes under them",
          "[channel][coroutine][select][stress]") {
  const std::size_t capacity = any_capacity();
  for (std::size_t round = 0; round != times(20); ++round) {
    constexpr std::size_t kValues = 200;
    Channel<Value> channel(capacity);
    Ledger ledger(4 * kValues);
    RunLoop loop;
    std::thread loop_thread([&] { loop.run(); });
    std::vector<JoinHandle<>> coroutines;
    for (std::size_t i = 0; i != 2; ++i) {
      coroutines.push_back(spawn(loop, send_all(channel, i * kValues, kValues, ledger)));
      coroutines.push_back(
          spawn(i == 0 ? static_cast<Executor&>(loop) : Executor::inline_executor(), receive_all(channel, ledger)));
    }
    std::vector<std::thread> threads;
    for (std::size_t i = 2; i != 4; ++i) {
      threads.emplace_back([&, i] {
        Dice dice{static_cast<std::uint32_t>(round * 8 + i)};
        for (std::size_t number = i * kValues; number != (i + 1) * kValues; ++number) {
          Value value = std::make_unique<std::size_t>(number);
          send_somehow(channel, dice, value, number, ledger);
        }
      });
      threads.emplace_back([&, i] {
        Dice dice{static_cast<std::uint32_t>(round * 8 + i + 4)};
        while (!receive_somehow(channel, dice, ledger)) {
        }
      });
    }
    threads.emplace_back([&] {
      // Somewhere in between: whoever sends then keeps what is left.
      while (channel.stats().sends < 50 + round % 20 * 10) std::this_thread::yield();
      channel.close();
    });
    for (JoinHandle<>& each : coroutines) each.get();
    for (std::thread& thread : threads) thread.join();
    loop.stop();
    loop_thread.join();
    REQUIRE(ledger.balances());
    const ChannelStats stats = channel.stats();
    REQUIRE(stats.sends == stats.receives);
    REQUIRE(stats.blocked_senders + stats.blocked_receivers == 0);
  }
}

}  // namespace
}  // namespace penstock
