// SPDX-License-Identifier: MIT

// What programs in Go may rely on, with coroutines in the place of goroutines, on one thread and on two.

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "conformance/go_support.hpp"
#include "penstock/core/task.hpp"

namespace penstock {
namespace {

using namespace testing;

/// Two loops, each with a thread of its own.
class TwoLoops {
 public:
  TwoLoops() {
    for (std::size_t i = 0; i != 2; ++i) threads_[i] = std::thread([this, i] { loops_[i].run(); });
  }
  ~TwoLoops() {
    for (RunLoop& loop : loops_) loop.stop();
    for (std::thread& thread : threads_) thread.join();
  }
  RunLoop& operator[](std::size_t index) { return loops_[index % 2]; }

 private:
  std::array<RunLoop, 2> loops_;
  std::array<std::thread, 2> threads_;
};

template <class T>
Task<> receive_into(Channel<T>& channel, std::vector<T>& into) {
  Received<T> received = co_await channel.async_receive();
  if (received) into.push_back(std::move(*received.value));
}
Task<> note_receive(Channel<int>& channel, std::optional<OpStatus>& outcome) {
  const Received<int> received = co_await channel.async_receive();
  outcome = received.status;
}
Task<> note_send(Channel<int>& channel, int value, std::optional<OpStatus>& outcome) {
  outcome = co_await channel.async_send(value);
}
Task<bool> send_up_to(Channel<int>& channel, int count) {
  OpStatus status = OpStatus::kOk;
  for (int i = 0; i != count && status == OpStatus::kOk; ++i) status = co_await channel.async_send(i);
  co_return status == OpStatus::kOk;
}
Task<std::vector<int>> receive_all(Channel<int>& channel) {
  std::vector<int> values;
  while (const Received<int> received = co_await channel.async_receive()) values.push_back(*received.value);
  co_return values;
}

TEST_CASE("Channel conformance: coroutines that wait in line get the values in order", "[conformance][coroutine]") {
  Channel<int> channel(any_capacity());
  RunLoop loop;
  std::vector<int> seen;
  for (int i = 0; i != 10; ++i) {
    static_cast<void>(spawn(loop, receive_into(channel, seen)));
    loop.run_ready();
  }
  for (int i = 0; i != 10; ++i) CHECK(channel.try_send(i) == OpStatus::kOk);
  loop.run_ready();
  CHECK(seen == std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEST_CASE("Channel conformance: trying meets a coroutine that waits", "[conformance][coroutine]") {
  Channel<std::string> channel(any_capacity());
  RunLoop loop;
  std::vector<std::string> seen;
  static_cast<void>(spawn(loop, receive_into(channel, seen)));
  loop.run_ready();
  CHECK(channel.try_send("hello") == OpStatus::kOk);
  CHECK(channel.size() == 0);
  loop.run_ready();
  CHECK(seen == std::vector<std::string>{"hello"});
  CHECK(channel.try_receive().status == OpStatus::kEmpty);
}

TEST_CASE("Channel conformance: a coroutine waits on empty and on full, and close lets it go",
          "[conformance][coroutine]") {
  const std::size_t capacity = swept_capacity();
  RunLoop loop;
  std::optional<OpStatus> outcome;
  {
    Channel<int> channel(capacity);
    auto task = spawn(loop, note_receive(channel, outcome));
    loop.run_ready();
    CHECK_FALSE(outcome.has_value());
    CHECK(channel.close());
    loop.run_ready();
    CHECK(outcome == OpStatus::kClosed);
  }
  Channel<int> channel(capacity);
  const std::vector<int> sent = fill(channel);
  outcome.reset();
  auto task = spawn(loop, note_send(channel, -1, outcome));
  loop.run_ready();
  CHECK_FALSE(outcome.has_value());
  CHECK(channel.try_send(-2) == OpStatus::kFull);
  CHECK(channel.try_receive().value == (capacity == 0 ? -1 : 0));
  loop.run_ready();
  CHECK(outcome == OpStatus::kOk);
  outcome.reset();
  auto refused = spawn(loop, note_send(channel, -3, outcome));
  loop.run_ready();
  CHECK_FALSE(outcome.has_value());
  CHECK(channel.close());
  loop.run_ready();
  CHECK(outcome == OpStatus::kClosed);
  std::vector<int> left(sent.begin() + (capacity == 0 ? 0 : 1), sent.end());
  if (capacity != 0) left.push_back(-1);
  auto rest = spawn(loop, receive_all(channel));
  loop.run_ready();
  CHECK(rest.get() == left);
}

TEST_CASE("Channel conformance: a hundred values from one coroutine to another arrive in order",
          "[conformance][coroutine]") {
  Channel<int> channel(swept_capacity());
  const bool two_threads = GENERATE(false, true);
  TwoLoops loops;
  auto receiver = spawn(loops[two_threads ? 1 : 0], receive_all(channel));
  auto sender = spawn(loops[0], send_up_to(channel, 100));
  CHECK(sender.get());
  channel.close();
  const std::vector<int> values = receiver.get();
  REQUIRE(values.size() == 100);
  for (std::size_t i = 0; i != values.size(); ++i) REQUIRE(values[i] == static_cast<int>(i));
}

TEST_CASE("Channel conformance: four coroutines send and four receive, each value exactly four times",
          "[conformance][coroutine]") {
  constexpr int kValues = 500;
  Channel<int> channel(any_capacity());
  TwoLoops loops;
  std::vector<JoinHandle<std::vector<int>>> receivers;
  std::vector<JoinHandle<bool>> senders;
  for (std::size_t i = 0; i != 4; ++i) {
    receivers.push_back(spawn(loops[i], receive_all(channel)));
    senders.push_back(spawn(loops[i / 2], send_up_to(channel, kValues)));
  }
  for (auto& sender : senders) CHECK(sender.get());
  channel.close();
  std::vector<int> seen(kValues);
  for (auto& receiver : receivers) {
    for (const int value : receiver.get()) ++seen[static_cast<std::size_t>(value)];
  }
  CHECK(seen == std::vector<int>(kValues, 4));
  CHECK(channel.stats().sends == 4 * kValues);
  CHECK(channel.stats().receives == 4 * kValues);
}

Task<> arrive_and_go(Channel<Empty>& ready, Channel<Empty>& go, int rounds, int& passed) {
  for (int round = 0; round != rounds; ++round) {
    if (co_await ready.async_send(Empty{}) != OpStatus::kOk) co_return;
    const Received<Empty> received = co_await go.async_receive();
    if (!received) co_return;
    ++passed;
  }
}

TEST_CASE("Channel conformance: a barrier of a hundred coroutines and a thread", "[conformance][coroutine]") {
  constexpr int kCoroutines = 100;
  constexpr int kRounds = 50;
  Channel<Empty> ready(0);
  Channel<Empty> go(0);
  TwoLoops loops;
  std::vector<int> passed(kCoroutines);
  std::vector<JoinHandle<>> all;
  for (std::size_t i = 0; i != kCoroutines; ++i)
    all.push_back(spawn(loops[i], arrive_and_go(ready, go, kRounds, passed[i])));
  for (int i = 0; i != kCoroutines * kRounds; ++i) {
    REQUIRE(ready.receive());
    REQUIRE(go.send(Empty{}) == OpStatus::kOk);
  }
  for (JoinHandle<>& each : all) each.get();
  CHECK(passed == std::vector<int>(kCoroutines, kRounds));
}

// Plain memory, handed over by nothing but the channel.

Task<> write_and_send(Channel<int>& channel, int& data) {
  data = 1;
  static_cast<void>(co_await channel.async_send(0));
}
Task<int> receive_and_read(Channel<int>& channel, int& data) {
  static_cast<void>(co_await channel.async_receive());
  co_return data;
}
Task<> write_and_receive(Channel<int>& channel, int& data) {
  data = 1;
  static_cast<void>(co_await channel.async_receive());
}
Task<int> send_and_read(Channel<int>& channel, int& data) {
  static_cast<void>(co_await channel.async_send(0));
  co_return data;
}
Task<> write_and_close(Channel<int>& channel, int& data) {
  data = 1;
  channel.close();
  co_return;
}

TEST_CASE("Channel conformance: what a coroutine did before is visible to the other after",
          "[conformance][coroutine]") {
  const std::size_t capacity = any_capacity();
  const int kind = GENERATE(0, 1, 2);
  TwoLoops loops;
  for (int round = 0; round != 100; ++round) {
    int data = 0;
    Channel<int> channel(capacity);
    if (kind == 0) {  // a send before its receive
      auto writer = spawn(loops[0], write_and_send(channel, data));
      auto reader = spawn(loops[1], receive_and_read(channel, data));
      REQUIRE(reader.get() == 1);
      writer.get();
    }
    if (kind == 1) {  // a receive before the send that needed it
      fill(channel);
      auto writer = spawn(loops[0], write_and_receive(channel, data));
      auto reader = spawn(loops[1], send_and_read(channel, data));
      REQUIRE(reader.get() == 1);
      writer.get();
    }
    if (kind == 2) {  // a close before the receive that sees it
      auto writer = spawn(loops[0], write_and_close(channel, data));
      auto reader = spawn(loops[1], receive_and_read(channel, data));
      REQUIRE(reader.get() == 1);
      writer.get();
    }
  }
}

}  // namespace
}  // namespace penstock
