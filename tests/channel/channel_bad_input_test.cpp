// SPDX-License-Identifier: MIT

// Sizes, times, contexts and values that no sane caller would hand in, and operations that come too late: each has one
// clear outcome, the value stays with its owner, and nobody is left in line.

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace testing;

std::size_t any_capacity() { return GENERATE(as<std::size_t>(), 0, 1, 3, 64); }

template <class T>
bool nobody_waits(const Channel<T>& channel) {
  const ChannelStats stats = channel.stats();
  return stats.blocked_senders + stats.blocked_receivers == 0;
}

void fill(Channel<MoveOnly>& channel) {
  for (int i = 0; channel.try_send(MoveOnly(i)) == OpStatus::kOk; ++i) {
  }
}

// --- Sizes ---

TEMPLATE_TEST_CASE("Channel bad input: a capacity that no memory holds is refused, and the text has the numbers",
                   "[channel][bad_input]", char, std::uint64_t, OverAligned, Large) {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  for (const std::size_t capacity :
       {kMost, kMost - 1, kMost / 2, kMost / 2 + 1, kMost / sizeof(TestType) + (sizeof(TestType) == 1 ? 0 : 1),
        std::size_t{1} << 63, std::size_t{1} << 32, (std::size_t{1} << 31) + 1}) {
    CHECK_THROWS_AS(Channel<TestType>(capacity), std::invalid_argument);
    CHECK_THROWS_WITH(Channel<TestType>(capacity), ContainsSubstring("got " + std::to_string(capacity)));
    CHECK_THROWS_WITH(Channel<TestType>(capacity),
                      ContainsSubstring("of " + std::to_string(sizeof(TestType)) + " bytes"));
  }
}

TEST_CASE("Channel bad input: memory that is not there is reported as that", "[channel][bad_input]") {
  const FailAllocation failure(0);
  CHECK_THROWS_AS(Channel<char>(std::size_t{1} << 31), std::bad_alloc);  // as a size it is one that can be
}

// --- After close ---

Task<> send_late(Channel<MoveOnly>& channel, MoveOnly& value, std::optional<OpStatus>& outcome) {
  outcome = co_await channel.async_send(std::move(value));
}
Task<> receive_late(Channel<MoveOnly>& channel, std::optional<OpStatus>& outcome) {
  const Received<MoveOnly> received = co_await channel.async_receive();
  outcome = received.status;
}

TEST_CASE("Channel bad input: after close every form of sending is refused, and the value stays",
          "[channel][bad_input]") {
  Channel<MoveOnly> channel(any_capacity());
  fill(channel);
  const std::size_t buffered = channel.size();
  const auto [cancelled, source] = Context::background().with_cancel();
  source.cancel();
  channel.close();
  MoveOnly value(7);
  RunLoop loop;
  for (int again = 0; again != 3; ++again) {
    CHECK(channel.send(std::move(value)) == OpStatus::kClosed);
    CHECK(channel.try_send(std::move(value)) == OpStatus::kClosed);
    CHECK(channel.send(std::move(value), cancelled) == OpStatus::kClosed);
    std::optional<OpStatus> outcome;
    auto task = spawn(loop, send_late(channel, value, outcome));
    CHECK(loop.run_ready() == 1);
    CHECK(outcome == OpStatus::kClosed);
    CHECK(select(on_send(channel, std::move(value), [&](OpStatus status) { outcome = status; })) == 0);
    CHECK(outcome == OpStatus::kClosed);
    CHECK(value.number() == 7);
    CHECK_FALSE(channel.close());
  }
  CHECK(channel.size() == buffered);
  CHECK(channel.stats().sends == buffered);
}

TEST_CASE("Channel bad input: after close and the last value every form of receiving says so at once",
          "[channel][bad_input]") {
  Channel<MoveOnly> channel(any_capacity());
  fill(channel);
  CHECK(channel.close_and_drain().size() == channel.capacity());
  RunLoop loop;
  for (int again = 0; again != 3; ++again) {
    CHECK(channel.receive().status == OpStatus::kClosed);
    CHECK(channel.try_receive().status == OpStatus::kClosed);
    CHECK(channel.receive(Context::background().with_timeout(-1s)).status == OpStatus::kClosed);
    std::optional<OpStatus> outcome;
    auto task = spawn(loop, receive_late(channel, outcome));
    CHECK(loop.run_ready() == 1);
    CHECK(outcome == OpStatus::kClosed);
    CHECK(select(on_receive(channel, [&](Received<MoveOnly> got) { outcome = got.status; })) == 0);
    CHECK(outcome == OpStatus::kClosed);
    for (MoveOnly& value : channel) FAIL("received " << value.number());
    CHECK(channel.close_and_drain().empty());
  }
}

// --- Close while many wait ---

TEST_CASE("Channel bad input: close lets dozens of threads go, each with what it had", "[channel][bad_input]") {
  constexpr std::size_t kThreads = 40;
  Channel<MoveOnly> channel(any_capacity());
  SECTION("receivers") {
    std::vector<std::unique_ptr<Call<Received<MoveOnly>>>> calls;
    for (std::size_t i = 0; i != kThreads; ++i)
      calls.push_back(std::make_unique<Call<Received<MoveOnly>>>([&] { return channel.receive(); }));
    REQUIRE(eventually_blocked_receivers(channel, kThreads));
    CHECK(channel.close());
    for (auto& call : calls) {
      CHECK(call->result().status == OpStatus::kClosed);
      CHECK_FALSE(call->result().value.has_value());
    }
  }
  SECTION("senders") {
    fill(channel);
    std::vector<MoveOnly> values;
    for (std::size_t i = 0; i != kThreads; ++i) values.emplace_back(static_cast<int>(i));
    std::vector<std::unique_ptr<Call<OpStatus>>> calls;
    for (std::size_t i = 0; i != kThreads; ++i)
      calls.push_back(std::make_unique<Call<OpStatus>>([&, i] { return channel.send(std::move(values[i])); }));
    REQUIRE(eventually_blocked_senders(channel, kThreads));
    CHECK(channel.close());
    for (auto& call : calls) CHECK(call->result() == OpStatus::kClosed);
    for (std::size_t i = 0; i != kThreads; ++i) CHECK(values[i].number() == static_cast<int>(i));
    CHECK(channel.size() == channel.capacity());
  }
  CHECK(nobody_waits(channel));
}

Task<> count_closed(Channel<int>& channel, bool sends, std::size_t& closed) {
  int value = 1;
  const OpStatus status = sends ? co_await channel.async_send(value) : co_await channel.async_receive(value);
  if (status == OpStatus::kClosed) ++closed;
}

TEST_CASE("Channel bad input: close lets thousands of coroutines go, each once", "[channel][bad_input][coroutine]") {
  constexpr std::size_t kCoroutines = 5'000;
  Channel<int> channel(any_capacity());
  const bool sends = GENERATE(false, true);
  while (sends && channel.try_send(0) == OpStatus::kOk) {
  }
  RunLoop loop;
  std::size_t closed = 0;
  for (std::size_t i = 0; i != kCoroutines; ++i) static_cast<void>(spawn(loop, count_closed(channel, sends, closed)));
  loop.run_ready();
  const ChannelStats stats = channel.stats();
  CHECK((sends ? stats.blocked_senders : stats.blocked_receivers) == kCoroutines);
  CHECK(channel.close());
  CHECK(closed == 0);  // not on the stack of the one that closes
  CHECK(nobody_waits(channel));
  CHECK(loop.run_ready() == kCoroutines);
  CHECK(closed == kCoroutines);
}

// --- Contexts and times ---

struct EndedContext {
  Context context;
  OpStatus status;
};

std::vector<EndedContext> ended_contexts(ManualClock& clock) {
  const Context background = Context::background();
  const Context::Cancellable cancelled = background.with_cancel();
  cancelled.source.cancel();
  const Context::Cancellable parent = Context(clock).with_cancel();
  const Context child = parent.context.with_timeout(24h);
  parent.source.cancel();
  return {{cancelled.context, OpStatus::kCancelled},
          {child, OpStatus::kCancelled},
          {cancelled.context.with_timeout(0s), OpStatus::kCancelled},
          {background.with_timeout(0s), OpStatus::kTimedOut},
          {background.with_timeout(-1ns), OpStatus::kTimedOut},
          {background.with_timeout(std::chrono::hours::min()), OpStatus::kTimedOut},
          {background.with_timeout(std::chrono::duration<double>(-std::numeric_limits<double>::infinity())),
           OpStatus::kTimedOut},
          {background.with_timeout(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN())),
           OpStatus::kTimedOut},
          {background.with_deadline(TimePoint::min()), OpStatus::kTimedOut},
          {background.with_deadline(TimePoint()), OpStatus::kTimedOut},
          {Context(clock).with_deadline(clock.now()), OpStatus::kTimedOut},
          {Context(clock).with_deadline(clock.now() - 1h), OpStatus::kTimedOut}};
}

Task<> send_under(Channel<MoveOnly>& channel, MoveOnly& value, Context ctx, std::optional<OpStatus>& outcome) {
  outcome = co_await channel.async_send(std::move(value), ctx);
}
Task<> receive_under(Channel<MoveOnly>& channel, Context ctx, std::optional<OpStatus>& outcome) {
  const Received<MoveOnly> received = co_await channel.async_receive(ctx);
  outcome = received.status;
}

TEST_CASE("Channel bad input: under a context that has ended nothing waits, and nothing that can be done is refused",
          "[channel][bad_input]") {
  Channel<MoveOnly> channel(any_capacity());
  ManualClock clock;
  RunLoop loop;
  for (const EndedContext& ended : ended_contexts(clock)) {
    std::optional<OpStatus> outcome;
    CHECK(channel.receive(ended.context).status == ended.status);
    auto receiver = spawn(loop, receive_under(channel, ended.context, outcome));
    CHECK(loop.run_ready() == 1);
    CHECK(outcome == ended.status);
    CHECK(nobody_waits(channel));
    for (std::size_t i = 0; i != channel.capacity(); ++i)
      CHECK(channel.send(MoveOnly(static_cast<int>(i)), ended.context) == OpStatus::kOk);
    MoveOnly value(99);
    CHECK(channel.send(std::move(value), ended.context) == ended.status);
    auto sender = spawn(loop, send_under(channel, value, ended.context, outcome));
    CHECK(loop.run_ready() == 1);
    CHECK(outcome == ended.status);
    CHECK(value.number() == 99);
    CHECK(nobody_waits(channel));
    for (std::size_t i = 0; i != channel.capacity(); ++i)
      CHECK(channel.receive(ended.context).value->number() == static_cast<int>(i));
  }
}

TEST_CASE("Channel bad input: a deadline at the end of time is none", "[channel][bad_input]") {
  Channel<int> channel(any_capacity());
  ManualClock clock(TimePoint::max() - 2ns);
  const Context background = Context::background();
  const std::array<Context, 6> contexts{
      background.with_deadline(TimePoint::max()),
      background.with_timeout(Duration::max()),
      background.with_timeout(std::chrono::hours::max()),
      background.with_timeout(std::chrono::duration<double>(std::numeric_limits<double>::infinity())),
      background.with_deadline(TimePoint::max() - 1ns),
      Context(clock).with_timeout(1h),
  };
  for (const Context& ctx : contexts) {
    Call call([&] { return channel.receive(ctx); });
    REQUIRE(eventually_blocked_receivers(channel, 1));
    clock.advance(1h);
    CHECK_FALSE(call.has_ended());
    CHECK(channel.send(1, ctx) == OpStatus::kOk);
    CHECK(call.result().value == 1);
  }
}

// --- Values ---

/// Cannot be copied when it is told so; counts who has a content.
struct Fussy {
  explicit Fussy(int content) : number(content) {}
  Fussy(const Fussy& other) : number(other.number), refuses(other.refuses) {
    if (refuses) throw std::runtime_error("no copy");
  }
  Fussy(Fussy&& other) noexcept : number(std::exchange(other.number, -1)), refuses(other.refuses) {}
  Fussy& operator=(const Fussy&) = delete;
  ~Fussy() = default;

  int number;
  bool refuses = false;
};

Task<> send_copy(Channel<Fussy>& channel, const Fussy& value) { static_cast<void>(co_await channel.async_send(value)); }

TEST_CASE("Channel bad input: a copy that throws leaves the value, the channel and who waits as they were",
          "[channel][bad_input]") {
  Channel<Fussy> channel(any_capacity());
  const std::unique_ptr<Fussy> value = std::make_unique<Fussy>(5);
  value->refuses = true;
  const Fussy& fussy = *value;
  Call call([&] { return channel.receive(); });
  REQUIRE(eventually_blocked_receivers(channel, 1));
  RunLoop loop;
  CHECK_THROWS_AS(channel.send(fussy), std::runtime_error);
  CHECK_THROWS_AS(channel.send(fussy, Context::background().with_timeout(0s)), std::runtime_error);
  CHECK_THROWS_AS(channel.try_send(fussy), std::runtime_error);
  auto task = spawn(loop, send_copy(channel, fussy));
  loop.run_ready();
  CHECK_THROWS_AS(task.get(), std::runtime_error);
  CHECK_THROWS_AS(select(on_send(channel, fussy, [] {})), std::runtime_error);
  CHECK(fussy.number == 5);
  ChannelStats stats = channel.stats();
  CHECK(stats.sends == 0);
  CHECK(stats.blocked_senders == 0);
  CHECK(stats.blocked_receivers == 1);  // still
  value->refuses = false;
  CHECK(channel.send(fussy) == OpStatus::kOk);
  CHECK(call.result().value->number == 5);
  CHECK(fussy.number == 5);
}

/// What a channel asks of its elements and nothing more; waits in line on both sides.
TEST_CASE("Channel bad input: a type without default, copy and assignment waits on both sides",
          "[channel][bad_input]") {
  static_assert(!std::is_default_constructible_v<MoveOnly> && !std::is_copy_constructible_v<MoveOnly> &&
                !std::is_move_assignable_v<MoveOnly>);
  Channel<MoveOnly> channel(any_capacity());
  const int buffered = static_cast<int>(channel.capacity());
  fill(channel);
  RunLoop loop;
  std::optional<OpStatus> outcome;
  MoveOnly by_coroutine(buffered + 1);
  Call sender([&] { return channel.send(MoveOnly(static_cast<int>(channel.capacity()))); });
  REQUIRE(eventually_blocked_senders(channel, 1));
  auto task = spawn(loop, send_under(channel, by_coroutine, Context::background(), outcome));
  loop.run_ready();
  Call selecting([&] { return select(on_send(channel, MoveOnly(static_cast<int>(channel.capacity()) + 2), [] {})); });
  REQUIRE(eventually_blocked_senders(channel, 3));
  for (int expected = 0; expected != buffered + 3; ++expected) CHECK(channel.receive().value->number() == expected);
  loop.run_ready();
  CHECK(outcome == OpStatus::kOk);
  CHECK(sender.result() == OpStatus::kOk);
  CHECK(selecting.result() == 0);
}

}  // namespace
}  // namespace penstock
