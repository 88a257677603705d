// SPDX-License-Identifier: MIT

// What must not depend on how many there are: stack, memory, and whose turn it is.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <malloc.h>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/core/task.hpp"
#include "support/catch.hpp"
#include "support/sanitized.hpp"

namespace penstock {
namespace {

using namespace testing;

constexpr bool kIsSanitized = PENSTOCK_HAS_ASAN != 0 || PENSTOCK_HAS_TSAN != 0;

constexpr int kHandOvers = kIsSanitized ? 100'000 : 1'000'000;
constexpr std::size_t kCrowd = kIsSanitized ? 20'000 : 200'000;

// --- Sizes ---

using Numbers = Channel<std::uint64_t>;
static_assert(sizeof(Numbers) <= 256);
static_assert(sizeof(decltype(std::declval<Numbers&>().async_send(std::uint64_t{}))) <= 200);
static_assert(sizeof(decltype(std::declval<Numbers&>().async_receive())) <= 200);
static_assert(sizeof(decltype(std::declval<Numbers&>().async_receive(std::declval<std::uint64_t&>()))) <= 200);

// --- Stack ---

/// The range of addresses that frames of functions have had.
class StackRange {
 public:
  // Not inlined, so that it has a frame of its own where it is called.
  [[gnu::noinline]] void note() noexcept {
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    lowest_ = std::min(lowest_, here);
    highest_ = std::max(highest_, here);
  }
  [[nodiscard]] std::size_t size() const noexcept { return highest_ - lowest_; }

 private:
  std::uintptr_t lowest_ = std::numeric_limits<std::uintptr_t>::max();
  std::uintptr_t highest_ = 0;
};

constexpr std::size_t kFewFrames = 16'384;

Task<int> pass_on(Channel<int>& from, Channel<int>& to, StackRange& stack) {
  int passed = 0;
  for (;;) {
    int value = 0;
    const OpStatus received = co_await from.async_receive(value);
    stack.note();
    if (received != OpStatus::kOk || value == 0) break;
    const OpStatus sent = co_await to.async_send(value - 1);
    stack.note();
    if (sent != OpStatus::kOk) break;
    ++passed;
  }
  from.close();
  to.close();
  co_return passed;
}

TEST_CASE("Channel: a million hand-overs between two coroutines stay on the same stack", "[channel][scale]") {
  Channel<int> there(GENERATE(as<std::size_t>(), 0, 1));
  Channel<int> back(there.capacity());
  const bool is_inline = GENERATE(false, true);
  StackRange stack;
  RunLoop loop;
  Executor& executor = is_inline ? Executor::inline_executor() : loop;
  auto left = spawn(executor, pass_on(there, back, stack));
  auto right = spawn(executor, pass_on(back, there, stack));
  loop.run_ready();
  REQUIRE(there.send(int(kHandOvers)) == OpStatus::kOk);
  loop.run_ready();
  const int by_left = sync_wait(std::move(left));
  const int by_right = sync_wait(std::move(right));
  CHECK(by_left + by_right == kHandOvers);
  INFO("bytes of stack: " << stack.size());
  CHECK(stack.size() < kFewFrames);
}

Task<int> relay(Channel<int>& from, Channel<int>& to, StackRange& stack) {
  int value = 0;
  const OpStatus received = co_await from.async_receive(value);
  stack.note();
  if (received != OpStatus::kOk) co_return 0;
  const OpStatus sent = co_await to.async_send(value + 1);
  stack.note();
  co_return sent == OpStatus::kOk ? 1 : 0;
}

TEST_CASE("Channel: a chain of coroutines of which each resumes the next does not nest", "[channel][scale]") {
  constexpr std::size_t kLinks = kIsSanitized ? 10'000 : 100'000;
  const bool is_inline = GENERATE(false, true);
  StackRange stack;
  RunLoop loop;
  Executor& executor = is_inline ? Executor::inline_executor() : loop;
  std::vector<std::unique_ptr<Channel<int>>> channels;
  for (std::size_t i = 0; i != kLinks + 1; ++i) channels.push_back(std::make_unique<Channel<int>>(1));
  for (std::size_t i = 0; i != kLinks; ++i)
    static_cast<void>(spawn(executor, relay(*channels[i], *channels[i + 1], stack)));
  loop.run_ready();
  REQUIRE(channels[0]->try_send(0) == OpStatus::kOk);
  loop.run_ready();
  CHECK(channels[kLinks]->try_receive().value == static_cast<int>(kLinks));
  INFO("bytes of stack: " << stack.size());
  CHECK(stack.size() < kFewFrames);
}

// --- A crowd on one channel ---

struct Tally {
  std::uint64_t served = 0;
  std::uint64_t closed = 0;
  bool in_order = true;
};

Task<> receive_turn(Numbers& channel, std::uint64_t turn, Tally& tally) {
  std::uint64_t value = 0;
  const OpStatus status = co_await channel.async_receive(value);
  if (status == OpStatus::kClosed) ++tally.closed;
  if (status != OpStatus::kOk) co_return;
  tally.in_order = tally.in_order && value == turn && tally.served == turn;
  ++tally.served;
}

Task<> send_turn(Numbers& channel, std::uint64_t turn, Tally& tally) {
  const OpStatus status = co_await channel.async_send(std::uint64_t{turn});
  if (status == OpStatus::kClosed) ++tally.closed;
  if (status != OpStatus::kOk) co_return;
  tally.in_order = tally.in_order && tally.served == turn;
  ++tally.served;
}

std::size_t heap_bytes() { return mallinfo2().uordblks; }

/// Starts `kCrowd` coroutines that wait. Returns how many bytes each has taken.
template <class Start>
std::size_t gather(RunLoop& loop, Start start) {
  const std::size_t before = heap_bytes();
  for (std::uint64_t turn = 0; turn != kCrowd; ++turn) static_cast<void>(spawn(loop, start(turn)));
  loop.run_ready();
  return (heap_bytes() - before) / kCrowd;
}

TEST_CASE("Channel: a crowd of coroutines that receive is served in order", "[channel][scale]") {
  Numbers channel(GENERATE(as<std::size_t>(), 0, 1, 64));
  RunLoop loop;
  Tally tally;
  const std::size_t bytes = gather(loop, [&](std::uint64_t turn) { return receive_turn(channel, turn, tally); });
  INFO("bytes for each waiter: " << bytes);
  REQUIRE(channel.stats().blocked_receivers == kCrowd);
  for (std::uint64_t turn = 0; turn != kCrowd; ++turn) {
    if (channel.try_send(std::uint64_t{turn}) != OpStatus::kOk) FAIL("no receiver for " << turn);
  }
  CHECK(channel.stats().blocked_receivers == 0);
  CHECK(channel.size() == 0);
  loop.run_ready();
  CHECK(tally.served == kCrowd);
  CHECK(tally.in_order);
  if (!kIsSanitized) CHECK(bytes <= 1024);
}

TEST_CASE("Channel: a crowd of coroutines that send is served in order", "[channel][scale]") {
  const auto capacity = GENERATE(as<std::size_t>(), 0, 1, 64);
  Numbers channel(capacity);
  for (std::size_t i = 0; i != capacity; ++i) REQUIRE(channel.try_send(std::uint64_t{i}) == OpStatus::kOk);
  RunLoop loop;
  Tally tally;
  const std::size_t bytes = gather(loop, [&](std::uint64_t turn) { return send_turn(channel, turn, tally); });
  INFO("bytes for each waiter: " << bytes);
  REQUIRE(channel.stats().blocked_senders == kCrowd);
  bool in_order = true;
  for (std::uint64_t turn = 0; turn != capacity + kCrowd; ++turn) {
    const std::uint64_t expected = turn < capacity ? turn : turn - capacity;
    in_order = in_order && channel.try_receive().value == expected;
  }
  CHECK(in_order);
  CHECK(channel.stats().blocked_senders == 0);
  loop.run_ready();
  CHECK(tally.served == kCrowd);
  CHECK(tally.in_order);
  if (!kIsSanitized) CHECK(bytes <= 1024);
}

TEST_CASE("Channel: close lets a crowd go, each once", "[channel][scale]") {
  RunLoop loop;
  Tally tally;
  Numbers empty(GENERATE(as<std::size_t>(), 0, 64));
  Numbers full(0);
  gather(loop, [&](std::uint64_t turn) { return receive_turn(empty, turn, tally); });
  gather(loop, [&](std::uint64_t turn) { return send_turn(full, turn, tally); });
  REQUIRE(empty.stats().blocked_receivers == kCrowd);
  REQUIRE(full.stats().blocked_senders == kCrowd);
  CHECK(empty.close());
  CHECK(full.close());
  CHECK(empty.stats().blocked_receivers == 0);
  CHECK(full.stats().blocked_senders == 0);
  CHECK(loop.run_ready() == 2 * kCrowd);
  CHECK(tally.closed == 2 * kCrowd);
  CHECK(tally.served == 0);
}

// --- First come, first served ---

Task<> take_into(Channel<int>& channel, int& value) {
  const Received<int> received = co_await channel.async_receive();
  value = received.value.value_or(-2);
}

/// Threads and coroutines by turns, each listed before the next one comes.
constexpr std::size_t kLine = 12;

TEST_CASE("Channel: receivers that have joined the line are overtaken by none that come later", "[channel][scale]") {
  Channel<int> channel(GENERATE(as<std::size_t>(), 0, 1, 3, 64));
  RunLoop loop;
  std::vector<int> values(kLine, -1);
  std::vector<std::unique_ptr<Call<bool>>> threads;
  for (std::size_t i = 0; i != kLine; ++i) {
    if (i % 2 == 0) {
      threads.push_back(std::make_unique<Call<bool>>(
          [&channel, &value = values[i]] { return channel.receive(value) == OpStatus::kOk; }));
    } else {
      static_cast<void>(spawn(loop, take_into(channel, values[i])));
      loop.run_ready();
    }
    REQUIRE(eventually_blocked_receivers(channel, i + 1));
  }
  // Newcomers try all the time, in threads that do not wait.
  std::atomic<bool> stop{false};
  std::atomic<int> overtaken{0};
  const auto hurry = [&] {
    while (!stop.load()) {
      if (channel.try_receive()) ++overtaken;
    }
    return true;
  };
  Call first(hurry);
  Call second(hurry);
  for (std::size_t i = 0; i != kLine; ++i) {
    if (channel.send(static_cast<int>(i)) != OpStatus::kOk) break;
    std::this_thread::yield();
  }
  stop.store(true);
  first.result();
  second.result();
  loop.run_ready();
  for (auto& thread : threads) CHECK(thread->result());
  CHECK(overtaken.load() == 0);
  for (std::size_t i = 0; i != kLine; ++i) CHECK(values[i] == static_cast<int>(i));
}

Task<> put_from(Channel<int>& channel, int value) {
  const OpStatus status = co_await channel.async_send(value);
  static_cast<void>(status);
}

TEST_CASE("Channel: senders that have joined the line are overtaken by none that come later", "[channel][scale]") {
  constexpr int kNewcomer = 1000;
  Channel<int> channel(GENERATE(as<std::size_t>(), 0, 1, 3, 64));
  while (channel.try_send(-1) == OpStatus::kOk) {
  }
  RunLoop loop;
  std::vector<std::unique_ptr<Call<bool>>> threads;
  for (std::size_t i = 0; i != kLine; ++i) {
    const int value = static_cast<int>(i);
    if (i % 2 == 0) {
      threads.push_back(
          std::make_unique<Call<bool>>([&channel, value] { return channel.send(int(value)) == OpStatus::kOk; }));
    } else {
      static_cast<void>(spawn(loop, put_from(channel, value)));
      loop.run_ready();
    }
    REQUIRE(eventually_blocked_senders(channel, i + 1));
  }
  std::atomic<bool> stop{false};
  const auto hurry = [&] {
    while (!stop.load()) static_cast<void>(channel.try_send(int(kNewcomer)));
    return true;
  };
  Call first(hurry);
  Call second(hurry);
  std::vector<int> line;
  for (std::size_t i = 0; i != channel.capacity() + kLine; ++i) {
    const Received<int> received = channel.receive();
    if (received.value != -1) line.push_back(received.value.value_or(-2));
    std::this_thread::yield();
  }
  stop.store(true);
  first.result();
  second.result();
  loop.run_ready();
  for (auto& thread : threads) CHECK(thread->result());
  REQUIRE(line.size() == kLine);
  for (std::size_t i = 0; i != kLine; ++i) CHECK(line[i] == static_cast<int>(i));
}

}  // namespace
}  // namespace penstock
