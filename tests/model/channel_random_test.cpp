// SPDX-License-Identifier: MIT

// Twenty million random schedules of random programs: a few parties that send, receive, reserve, select, close and
// cancel in the ways a channel knows, chosen anew each time. What they do is a decision, so a schedule that went wrong
// can be replayed.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <span>
#include <vector>

#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"

#include "model/planted.hpp"
#include "support/long_run.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
namespace world = penstock::detail::world;

namespace {

/// How many of each program; fifty times as many with PENSTOCK_LONG=1.
std::uint64_t schedules() { return testing::runs_long() ? 5'000'000 : 100'000; }

/// Runs so many, and says so. With PENSTOCK_MODEL_REPLAY=<schedule> in the environment only that one.
void must_pass_at_random(const char* name, const checker::Scenario& scenario) {
  if (const char* const schedule = std::getenv("PENSTOCK_MODEL_REPLAY")) {
    return checker::expect_passed(checker::replay(schedule, scenario));
  }
  // The spin locks here spin for ever, so it is no use to watch one do so for long.
  const checker::Result result =
      checker::random({.name = name, .executions = schedules(), .random_values = true, .spin_limit = 20}, scenario);
  INFO(result.describe());
  REQUIRE(result.passed());
  REQUIRE(result.executions >= schedules());
  std::printf("%s\n", result.describe().c_str());
}

/// What one party has done. Only that party writes it.
struct Log {
  std::uint32_t sent = 0;      // a bit for each value
  std::uint32_t received = 0;  // likewise

  void take(int value) {
    const std::uint32_t bit = std::uint32_t{1} << value;
    MODEL_ASSERT((received & bit) == 0);
    // Of two values of one sender the later one is odd, and never comes first to somebody who gets both.
    if (value % 2 == 0) MODEL_ASSERT((received & (bit << 1)) == 0);
    received |= bit;
  }
  void take(const Received<int>& got) {
    MODEL_ASSERT(got.value.has_value() == (got.status == OpStatus::kOk));
    if (got) take(*got.value);
  }
  void note(OpStatus status, int value) {
    if (status == OpStatus::kOk) sent |= std::uint32_t{1} << value;
  }
};

/// What was sent has been received, once, or is in the channel; at rest nobody is in line.
void check_all(Channel<int>& channel, const Log& one, const Log& other, const Log& third) {
  MODEL_ASSERT((one.received & other.received) == 0 && (one.received & third.received) == 0 &&
               (other.received & third.received) == 0);
  const std::uint32_t sent = one.sent | other.sent | third.sent;
  const std::uint32_t received = one.received | other.received | third.received;
  const std::size_t left = channel.size();
  MODEL_ASSERT(left <= channel.capacity());
  const ChannelStats stats = channel.stats();
  MODEL_ASSERT(stats.sends == static_cast<std::uint64_t>(std::popcount(sent)));
  MODEL_ASSERT(stats.receives == static_cast<std::uint64_t>(std::popcount(received)) && stats.drained == 0);
  MODEL_ASSERT(stats.sends == stats.receives + left && stats.high_water <= channel.capacity());
  MODEL_ASSERT(stats.blocked_senders == 0 && stats.blocked_receivers == 0 && stats.reserved == 0);
  std::uint32_t rest = 0;
  for (std::size_t i = 0; i != left; ++i) rest |= std::uint32_t{1} << *channel.try_receive().value;
  MODEL_ASSERT((received & rest) == 0 && sent == (received | rest));
}

/// Sends all `values`, in one way or another, or until the channel is closed or `ctx` ends.
void send_all(Channel<int>& channel, std::span<int> values, Log& log, const Context& ctx) {
  while (!values.empty()) {
    const int first = values.front();
    OpStatus status = OpStatus::kFull;
    switch (world::random_below(channel.capacity() == 0 ? 3 : 4)) {
      case 0:
        status = channel.try_send(std::move(values.front()));
        if (status == OpStatus::kOk || status == OpStatus::kClosed) break;
        MODEL_ASSERT(status == OpStatus::kFull);
        [[fallthrough]];
      case 1:
        status = channel.send(std::move(values.front()), ctx);
        break;
      case 2: {
        const BatchResult batch = channel.send_many(values, ctx);
        for (std::size_t i = 0; i != batch.count; ++i) log.note(OpStatus::kOk, values[i]);
        MODEL_ASSERT((batch.status == OpStatus::kOk) == (batch.count == values.size()));
        return;
      }
      default:
        if (Reserved<int> place = channel.reserve(ctx)) {
          if (world::random_below(4) == 0) continue;  // dropped
          status = place.permit.send(std::move(values.front()));
          MODEL_ASSERT(status == OpStatus::kOk || status == OpStatus::kClosed);
        } else {
          status = place.status;
        }
    }
    log.note(status, first);
    if (status != OpStatus::kOk) return;
    values = values.subspan(1);
  }
}

/// Receives `count` values, likewise.
void receive_all(Channel<int>& channel, std::size_t count, Log& log, const Context& ctx) {
  while (count != 0) {
    switch (world::random_below(3)) {
      case 0: {
        const Received<int> got = channel.try_receive();
        log.take(got);
        if (got) --count;
        if (got || got.status == OpStatus::kClosed) break;
        [[fallthrough]];
      }
      case 1: {
        const Received<int> got = channel.receive(ctx);
        log.take(got);
        if (!got) return;
        --count;
        break;
      }
      default: {
        std::vector<int> values;
        const BatchResult batch = channel.receive_many(values, count, ctx);
        MODEL_ASSERT(batch.count == values.size() && (batch.status == OpStatus::kOk) == (batch.count != 0));
        for (const int value : values) log.take(value);
        if (batch.status != OpStatus::kOk) return;
        count -= batch.count;
      }
    }
  }
}

Task<> send_all_async(Channel<int>& channel, std::span<int> values, Log& log) {
  while (!values.empty()) {
    const int first = values.front();
    OpStatus status = OpStatus::kFull;
    switch (world::random_below(channel.capacity() == 0 ? 2 : 3)) {
      case 0:
        status = co_await channel.async_send(std::move(values.front()));
        break;
      case 1:
        co_await async_select(on_send(channel, std::move(values.front()), [&](OpStatus how) { status = how; }));
        break;
      default: {
        Reserved<int> place = co_await channel.async_reserve();
        status = place ? place.permit.send(std::move(values.front())) : place.status;
      }
    }
    log.note(status, first);
    if (status != OpStatus::kOk) co_return;
    values = values.subspan(1);
  }
}

Task<> receive_all_async(Channel<int>& channel, std::size_t count, Log& log) {
  while (count != 0) {
    switch (world::random_below(3)) {
      case 0: {
        const Received<int> got = co_await channel.async_receive();
        log.take(got);
        count = got ? count - 1 : 0;
        break;
      }
      case 1: {
        Channel<int>* const never = nullptr;
        co_await async_select(on_receive(never, [](int) {}), on_receive(channel, [&](Received<int> got) {
                                log.take(got);
                                count = got ? count - 1 : 0;
                              }));
        break;
      }
      default: {
        std::vector<int> values;
        const BatchResult batch = co_await channel.async_receive_many(values, count);
        for (const int value : values) log.take(value);
        count = batch.status == OpStatus::kOk ? count - batch.count : 0;
      }
    }
  }
}

Task<> then_stop(Task<> task, int& left, RunLoop& loop) {
  co_await std::move(task);
  if (--left == 0) loop.stop();
}

/// Takes part in `mine` or takes from `theirs`, and says which.
void send_or_receive(Channel<int>& mine, Channel<int>& theirs, int value, Log& to_mine, Log& from_theirs) {
  const SelectOrder order = world::random_below(2) == 0 ? SelectOrder::kRandom : SelectOrder::kInOrder;
  select(order, on_send(mine, std::move(value), [&](OpStatus status) { to_mine.note(status, value); }),
         on_receive(theirs, [&](int got) { from_theirs.take(got); }));
}

}  // namespace

TEST_CASE("Channel: random schedules of senders and receivers", "[model][channel][random]") {
  must_pass_at_random("channel, any balanced program", [] {
    Channel<int> channel(world::random_below(3));
    const Context& endless = Context::background();
    std::array<int, 2> early{0, 1};
    std::array<int, 1> late{2};
    const bool second_sends = world::random_below(2) == 0;
    Log first_log;
    Log second_log;
    Log log;
    world::Thread first([&] { send_all(channel, early, first_log, endless); });
    world::Thread second([&] {
      if (second_sends) {
        send_all(channel, late, second_log, endless);
      } else {
        receive_all(channel, 1, second_log, endless);
      }
    });
    receive_all(channel, second_sends ? 3 : 1, log, endless);
    first.join();
    second.join();
    MODEL_ASSERT(channel.size() == 0);
    check_all(channel, first_log, second_log, log);
  });
}

TEST_CASE("Channel: random schedules with a close or a cancellation", "[model][channel][random]") {
  must_pass_at_random("channel, any program that is ended", [] {
    Channel<int> channel(world::random_below(3));
    const Context::Cancellable ending = Context::background().with_cancel();
    std::array<int, 2> values{0, 1};
    const std::uint32_t ends_by = world::random_below(3);
    Log first_log;
    Log second_log;
    Log log;
    world::Thread first([&] { send_all(channel, values, first_log, ending.context); });
    world::Thread second([&] {
      if (ends_by == 1) second_log.take(channel.try_receive());
      MODEL_ASSERT(ends_by == 0 ? ending.source.cancel() : channel.close());
    });
    receive_all(channel, 1 + world::random_below(2), log, ends_by == 0 ? ending.context : Context::background());
    first.join();
    second.join();
    MODEL_ASSERT(channel.is_closed() == (ends_by != 0));
    check_all(channel, first_log, second_log, log);
  });
}

TEST_CASE("Select: random schedules of selects over two channels", "[model][channel][select][random]") {
  must_pass_at_random("select, any program", [] {
    Channel<int> left(world::random_below(2));
    Channel<int> right(world::random_below(2));
    std::array<Log, 3> on_left;
    std::array<Log, 3> on_right;
    world::Thread first([&] { send_or_receive(left, right, 0, on_left[0], on_right[0]); });
    const Context::Cancellable ending = Context::background().with_cancel();
    std::optional<int> back;
    world::Thread second([&] {  // takes one away, and brings it back if somebody still wants it
      const auto keep = [&back](int value) { back = value; };
      const std::size_t taken = select(on_receive(left, keep), on_receive(right, keep), otherwise([] {}));
      MODEL_ASSERT((taken == 2) != back.has_value());
      if (!back) return;
      Log& log = (taken == 0 ? on_left : on_right)[2];
      log.take(*back);
      select(on_send(taken == 0 ? left : right, std::move(*back), [&log] { log.received = 0; }),
             on_done(ending.context, [] {}));
    });
    send_or_receive(right, left, 2, on_right[1], on_left[1]);
    first.join();
    ending.source.cancel();
    second.join();
    for (Channel<int>* const channel : {&left, &right}) {
      const std::array<Log, 3>& logs = channel == &left ? on_left : on_right;
      const ChannelStats stats = channel->stats();
      MODEL_ASSERT(stats.blocked_senders == 0 && stats.blocked_receivers == 0);
      MODEL_ASSERT(stats.sends == stats.receives + channel->size());
      const std::uint32_t received = logs[0].received | logs[1].received | logs[2].received;
      std::uint32_t rest = 0;
      while (const Received<int> got = channel->try_receive()) rest |= std::uint32_t{1} << *got.value;
      MODEL_ASSERT((received & rest) == 0 && (received | rest) == (logs[0].sent | logs[1].sent));
    }
  });
}

TEST_CASE("Channel: random schedules of coroutines and a thread", "[model][channel][random]") {
  must_pass_at_random("channel, any program of coroutines", [] {
    Channel<int> channel(world::random_below(3));
    std::array<int, 2> early{0, 1};
    std::array<int, 1> late{2};
    const bool thread_sends = world::random_below(2) == 0;
    Log sender_log;
    Log receiver_log;
    Log thread_log;
    RunLoop loop;
    int left = 2;
    world::Thread other([&] {
      if (thread_sends) {
        send_all(channel, late, thread_log, Context::background());
      } else {
        receive_all(channel, 1, thread_log, Context::background());
      }
    });
    static_cast<void>(
        spawn(loop, then_stop(receive_all_async(channel, thread_sends ? 3 : 1, receiver_log), left, loop)));
    static_cast<void>(spawn(loop, then_stop(send_all_async(channel, early, sender_log), left, loop)));
    loop.run();
    other.join();
    MODEL_ASSERT(channel.size() == 0);
    check_all(channel, sender_log, receiver_log, thread_log);
  });
}
