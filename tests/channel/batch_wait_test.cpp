// SPDX-License-Identifier: MIT

// Batches that wait: for peers, for room, and what ends them.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "channel/batches.hpp"
#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"
#include "support/catch.hpp"

namespace penstock {

namespace {

using namespace std::chrono_literals;
using namespace testing;

using Outcome = std::optional<OpStatus>;

Task<> send_all_under(Channel<MoveOnly>& channel, std::vector<MoveOnly>& values, Batch& outcome, Context ctx) {
  outcome = co_await channel.async_send_many(values, ctx);
}
template <class T>
Task<> receive_some(Channel<T>& channel, std::vector<T>& out, std::size_t most, Batch& outcome) {
  outcome = co_await channel.async_receive_many(out, most);
}
Task<> receive_some_under(Channel<int>& channel, std::vector<int>& out, std::size_t most, Batch& outcome, Context ctx) {
  outcome = co_await channel.async_receive_many(out, most, ctx);
}
Task<> send_one(Channel<int>& channel, int value, Outcome& outcome) { outcome = co_await channel.async_send(value); }
Task<> receive_one(Channel<int>& channel, int& value, Outcome& outcome) {
  outcome = co_await channel.async_receive(value);
}

template <class T>
bool balances(const Channel<T>& channel) {
  const ChannelStats stats = channel.stats();
  return stats.sends == stats.receives + stats.drained + channel.size();
}

TEST_CASE("Batch: serves all receivers that wait in one go, first come first", "[channel][batch]") {
  constexpr int kWaiting = 6;
  Channel<int> channel(any_capacity());
  RunLoop loop;
  std::vector<int> values(kWaiting);
  std::vector<Outcome> outcomes(kWaiting);
  std::vector<std::unique_ptr<Call<Received<int>>>> threads;
  for (std::size_t i = 0; i != kWaiting; ++i) {
    if (i % 3 == 1) {
      threads.push_back(std::make_unique<Call<Received<int>>>([&] { return channel.receive(); }));
    } else {
      static_cast<void>(spawn(loop, receive_one(channel, values[i], outcomes[i])));
      loop.run_ready();
    }
    REQUIRE(eventually_blocked_receivers(channel, i + 1));
  }
  std::vector<int> batch = numbers(10, kWaiting + 1);
  const BatchResult result = channel.try_send_many(batch);
  CHECK(result.count == kWaiting + std::min<std::size_t>(channel.capacity(), 1));
  CHECK(channel.stats().blocked_receivers == 0);
  loop.run_ready();
  for (std::size_t i = 0; i != kWaiting; ++i) {
    const int got = i % 3 == 1 ? threads[i / 3]->result().value.value() : values[i];
    CHECK(got == 10 + static_cast<int>(i));
  }
  CHECK(balances(channel));
}

TEST_CASE("Batch: takes what is buffered and lets in all senders for whom there is room", "[channel][batch]") {
  constexpr std::size_t kWaiting = 5;
  Channel<int> channel(any_capacity());
  RunLoop loop;
  std::vector<int> buffered = numbers(0, static_cast<int>(channel.capacity()));
  REQUIRE(channel.try_send_many(buffered).count == channel.capacity());
  std::vector<Outcome> outcomes(kWaiting);
  std::vector<std::unique_ptr<Call<OpStatus>>> threads;
  for (std::size_t i = 0; i != kWaiting; ++i) {
    const int value = static_cast<int>(channel.capacity() + i);
    if (i == 2) {
      threads.push_back(std::make_unique<Call<OpStatus>>([&channel, value] { return channel.send(int(value)); }));
    } else {
      static_cast<void>(spawn(loop, send_one(channel, value, outcomes[i])));
      loop.run_ready();
    }
    REQUIRE(eventually_blocked_senders(channel, i + 1));
  }
  std::vector<int> got;
  const std::size_t all = channel.capacity() + kWaiting;
  CHECK(channel.try_receive_many(got, 2) == BatchResult{OpStatus::kOk, 2});
  CHECK(channel.stats().blocked_senders == kWaiting - 2);
  while (channel.try_receive_many(got, 100).status == OpStatus::kOk) {
  }
  CHECK(got == numbers(0, static_cast<int>(all)));
  CHECK(channel.stats().blocked_senders == 0);
  loop.run_ready();
  CHECK(threads[0]->result() == OpStatus::kOk);
  for (const std::size_t i : {0U, 1U, 3U, 4U}) CHECK(outcomes[i] == OpStatus::kOk);
  CHECK(balances(channel));
}

TEST_CASE("Batch: close in the middle leaves the rest with the sender", "[channel][batch]") {
  const std::size_t capacity = any_capacity();
  Channel<MoveOnly> channel(capacity);
  std::vector<MoveOnly> values = boxes(0, static_cast<int>(capacity) + 5);
  RunLoop loop;
  Batch outcome;
  std::optional<Call<BatchResult>> call;
  const bool by_thread = GENERATE(false, true);
  if (by_thread) {
    call.emplace([&] { return channel.send_many(values); });
  } else {
    static_cast<void>(spawn(loop, send_all_under(channel, values, outcome, Context::background())));
    loop.run_ready();
  }
  REQUIRE(eventually_blocked_senders(channel, 1));
  CHECK(channel.receive().value->number() == 0);
  loop.run_ready();
  REQUIRE(eventually_blocked_senders(channel, 1));
  channel.close();
  loop.run_ready();
  const std::size_t sent = capacity + 1;
  CHECK((by_thread ? call->result() : outcome.value()) == BatchResult{OpStatus::kClosed, sent});
  for (std::size_t i = 0; i != values.size(); ++i) {
    if (i < sent) {
      CHECK(values[i].is_moved_from());
    } else {
      CHECK(values[i].number() == static_cast<int>(i));
    }
  }
  std::vector<MoveOnly> got;
  if (capacity != 0) CHECK(channel.receive_many(got, 1000) == BatchResult{OpStatus::kOk, capacity});
  CHECK(channel.receive_many(got, 1000) == BatchResult{OpStatus::kClosed, 0});
  CHECK(channel.try_receive_many(got, 1000) == BatchResult{OpStatus::kClosed, 0});
  CHECK(channel.try_send_many(values) == BatchResult{OpStatus::kClosed, 0});
  CHECK(channel.send_many(values) == BatchResult{OpStatus::kClosed, 0});
  CHECK(balances(channel));
}

TEST_CASE("Batch: close lets receivers go who wait, with nothing", "[channel][batch]") {
  Channel<int> channel(any_capacity());
  RunLoop loop;
  Batch outcome;
  std::vector<int> by_coroutine{1};
  std::vector<int> by_thread{2};
  auto task = spawn(loop, receive_some(channel, by_coroutine, 10, outcome));
  loop.run_ready();
  Call call([&] { return channel.receive_many(by_thread, 10); });
  REQUIRE(eventually_blocked_receivers(channel, 2));
  channel.close();
  loop.run_ready();
  CHECK(call.result() == BatchResult{OpStatus::kClosed, 0});
  CHECK(outcome == BatchResult{OpStatus::kClosed, 0});
  CHECK(by_coroutine == std::vector{1});
  CHECK(by_thread == std::vector{2});
}

TEST_CASE("Batch: the end of a context ends the wait, and tells what was sent before", "[channel][batch]") {
  const std::size_t capacity = any_capacity();
  Channel<MoveOnly> channel(capacity);
  ManualClock clock;
  RunLoop loop;
  const bool by_deadline = GENERATE(false, true);
  const bool by_thread = GENERATE(false, true);
  auto [ctx, source] = Context(clock).with_timeout(1s).with_cancel();
  std::vector<MoveOnly> values = boxes(0, static_cast<int>(capacity) + 3);
  Batch outcome;
  std::optional<Call<BatchResult>> call;
  if (by_thread) {
    call.emplace([&, within = ctx] { return channel.send_many(values, within); });
  } else {
    static_cast<void>(spawn(loop, send_all_under(channel, values, outcome, ctx)));
    loop.run_ready();
  }
  REQUIRE(eventually_blocked_senders(channel, 1));
  CHECK(channel.receive().value->number() == 0);
  loop.run_ready();
  REQUIRE(eventually_blocked_senders(channel, 1));
  if (by_deadline) {
    REQUIRE(eventually([&] { return clock.armed() != 0; }));
    clock.advance(1s);
  } else {
    source.cancel();
  }
  loop.run_ready();
  const OpStatus how = by_deadline ? OpStatus::kTimedOut : OpStatus::kCancelled;
  CHECK((by_thread ? call->result() : outcome.value()) == BatchResult{how, capacity + 1});
  CHECK(values[capacity].is_moved_from());
  CHECK(values[capacity + 1].number() == static_cast<int>(capacity) + 1);
  CHECK(values[capacity + 2].number() == static_cast<int>(capacity) + 2);
  CHECK(channel.stats().blocked_senders == 0);
  CHECK(channel.size() == capacity);
  CHECK(channel.send_many(std::span(values).subspan(capacity + 1), ctx) == BatchResult{how, 0});
}

TEST_CASE("Batch: the end of a context ends a wait for values, and swallows none", "[channel][batch]") {
  Channel<int> channel(any_capacity());
  ManualClock clock;
  RunLoop loop;
  const auto [cancelled, source] = Context::background().with_cancel();
  const Context timed = Context(clock).with_timeout(1s);
  std::vector<std::vector<int>> out(3);
  std::vector<Batch> outcomes(2);
  auto one = spawn(loop, receive_some_under(channel, out[0], 5, outcomes[0], timed));
  auto two = spawn(loop, receive_some_under(channel, out[1], 5, outcomes[1], cancelled));
  loop.run_ready();
  Call call([&, ctx = cancelled] { return channel.receive_many(out[2], 5, ctx); });
  REQUIRE(eventually_blocked_receivers(channel, 3));
  clock.advance(1s);
  source.cancel();
  loop.run_ready();
  CHECK(call.result() == BatchResult{OpStatus::kCancelled, 0});
  CHECK(outcomes[0] == BatchResult{OpStatus::kTimedOut, 0});
  CHECK(outcomes[1] == BatchResult{OpStatus::kCancelled, 0});
  for (const std::vector<int>& values : out) CHECK(values.empty());
  CHECK(channel.stats().blocked_receivers == 0);
  if (channel.capacity() != 0) {
    std::vector<int> values = numbers(1, 1);
    CHECK(channel.send_many(values, timed) == BatchResult{OpStatus::kOk, 1});
    CHECK(channel.receive_many(out[0], 5, timed) == BatchResult{OpStatus::kOk, 1});
  }
}

TEST_CASE("Batch: threads and coroutines together lose and double nothing, and keep each sender's order",
          "[channel][batch][stress]") {
  constexpr int kValues = 4000;
  Channel<int> channel(any_capacity());
  const auto send = [&](int base) {
    std::vector<int> values = numbers(base, kValues);
    std::size_t sent = 0;
    for (std::size_t size = 1; sent != kValues; size = size % 37 + 1) {
      const std::span<int> rest = std::span(values).subspan(sent);
      sent += channel.send_many(rest.first(std::min(size, rest.size()))).count;
    }
    return sent;
  };
  const auto receive = [&](std::size_t most) {
    std::vector<int> values;
    while (channel.receive_many(values, most).status == OpStatus::kOk) {
    }
    return values;
  };
  RunLoop loop;
  Call runner([&] { return loop.run(), true; });
  std::vector<int> third = numbers(2 * kValues, kValues);
  Batch sent;
  auto task = spawn(loop, send_all(channel, third, sent));
  Call first([&] { return send(0); });
  Call second([&] { return send(kValues); });
  Call one([&] { return receive(5); });
  Call two([&] { return receive(100); });
  CHECK(first.result() == kValues);
  CHECK(second.result() == kValues);
  sync_wait(std::move(task));
  CHECK(sent == BatchResult{OpStatus::kOk, kValues});
  channel.close();
  loop.stop();
  bool in_order = true;
  std::vector<int> seen(3 * kValues);
  for (const std::vector<int>* values : {&one.result(), &two.result()}) {
    int last[3] = {-1, -1, -1};
    for (const int value : *values) {
      ++seen[static_cast<std::size_t>(value)];
      in_order = in_order && std::exchange(last[value / kValues], value) < value;
    }
  }
  CHECK(in_order);
  CHECK(std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; }));
  CHECK(channel.stats().sends == 3 * kValues);
  CHECK(balances(channel));
}

}  // namespace
}  // namespace penstock
