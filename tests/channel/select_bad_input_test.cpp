// SPDX-License-Identifier: MIT

// Selects with handlers that throw, contexts that have ended, and cases that can never come.

#include <chrono>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "penstock/core/manual_clock.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace testing;

const auto ignore = [](auto&&...) {};
const auto fail = [](auto&&...) { throw std::logic_error("a case was taken that must not be"); };

struct Thrown : std::runtime_error {
  Thrown() : std::runtime_error("handler") {}
};
const auto throws = [](auto&&...) { throw Thrown(); };

std::size_t any_capacity() { return GENERATE(as<std::size_t>(), 0, 1, 3, 64); }

template <class T>
bool nobody_waits(const Channel<T>& channel) {
  const ChannelStats stats = channel.stats();
  return stats.blocked_senders + stats.blocked_receivers == 0;
}

TEST_CASE("Select bad input: what a handler throws comes out, and its case has been done", "[select][bad_input]") {
  Channel<MoveOnly> channel(GENERATE(as<std::size_t>(), 1, 3, 64));
  Channel<MoveOnly> other(0);
  MoveOnly given(1);
  MoveOnly kept(2);
  CHECK_THROWS_AS(select(on_send(other, std::move(kept), fail), on_send(channel, std::move(given), throws)), Thrown);
  CHECK(given.is_moved_from());
  CHECK(kept.number() == 2);
  CHECK(channel.size() == 1);
  int seen = 0;
  const auto see = [&](MoveOnly value) {
    seen = value.number();
    throw Thrown();
  };
  CHECK_THROWS_AS(select(on_receive(channel, see), on_receive(other, fail)), Thrown);
  CHECK(seen == 1);
  CHECK(channel.size() == 0);
  CHECK_THROWS_AS(select(on_receive(channel, fail), otherwise(throws)), Thrown);
  CHECK_THROWS_AS(select(on_receive(channel, fail), on_done(Context::background().with_timeout(0s), throws)), Thrown);
  channel.close();
  CHECK_THROWS_AS(select(on_send(channel, std::move(kept), throws)), Thrown);
  CHECK(kept.number() == 2);
  CHECK_THROWS_AS(select(on_receive(channel, [](const Received<MoveOnly>&) { throw Thrown(); })), Thrown);
  CHECK(nobody_waits(channel));
  CHECK(nobody_waits(other));
}

TEST_CASE("Select bad input: a handler that throws after a wait leaves no case in line", "[select][bad_input]") {
  Channel<MoveOnly> channel(any_capacity());
  Channel<MoveOnly> other(0);
  Channel<MoveOnly> unread(0);
  MoveOnly kept(9);
  const auto threw = [&](auto&& last) {
    try {
      select(on_receive(channel, throws), on_receive(other, fail), on_send(unread, std::move(kept), fail),
             on_receive(channel, throws), std::forward<decltype(last)>(last));
    } catch (const Thrown&) {
      return true;
    }
    return false;
  };
  {
    Call call([&] { return threw(on_done(Context::background(), fail)); });
    REQUIRE(eventually_blocked_receivers(channel, 2));
    CHECK(channel.send(MoveOnly(1)) == OpStatus::kOk);
    CHECK(call.result());
  }
  ManualClock clock;
  {
    Call call([&] { return threw(on_done(Context(clock).with_timeout(1ms), throws)); });
    REQUIRE(eventually([&] { return clock.armed() == 1 && unread.stats().blocked_senders == 1; }));
    clock.advance(1ms);
    CHECK(call.result());
  }
  CHECK(kept.number() == 9);
  CHECK(nobody_waits(channel));
  CHECK(nobody_waits(other));
  CHECK(nobody_waits(unread));
  CHECK(clock.armed() == 0);
  CHECK(other.try_send(MoveOnly(1)) == OpStatus::kFull);
  CHECK(unread.try_receive().status == OpStatus::kEmpty);
}

TEST_CASE("Select bad input: a context that has ended is a case like others, and alone it is taken",
          "[select][bad_input]") {
  Channel<int> channel(any_capacity());
  const Context::Cancellable ended = Context::background().with_cancel();
  ended.source.cancel();
  const std::vector<std::pair<Context, OpStatus>> contexts{
      {ended.context, OpStatus::kCancelled},
      {ended.context.with_timeout(1h), OpStatus::kCancelled},
      {Context::background().with_timeout(0s), OpStatus::kTimedOut},
      {Context::background().with_timeout(std::chrono::duration<double>(-1.0)), OpStatus::kTimedOut},
      {Context::background().with_deadline(TimePoint::min()), OpStatus::kTimedOut}};
  for (const auto& [ctx, expected] : contexts) {
    OpStatus status = OpStatus::kOk;
    const auto note = [&](OpStatus how) { status = how; };
    CHECK(select(on_receive(channel, fail), on_done(ctx, note)) == 1);
    CHECK(status == expected);
    CHECK(select(on_receive(channel, fail), on_done(ctx, ignore), otherwise(fail)) == 1);
    CHECK(nobody_waits(channel));
    if (channel.capacity() == 0) continue;
    CHECK(select(SelectOrder::kInOrder, on_send(channel, 1, ignore), on_done(ctx, fail)) == 0);
    CHECK(select(SelectOrder::kInOrder, on_receive(channel, ignore), on_done(ctx, fail)) == 0);
  }
}

TEST_CASE("Select bad input: a deadline at the end of time never comes", "[select][bad_input]") {
  Channel<int> channel(any_capacity());
  const Context for_ever = Context::background().with_deadline(TimePoint::max());
  const Context as_good_as = Context::background().with_deadline(TimePoint::max() - 1ns);
  Call call([&] { return select(on_done(for_ever, fail), on_done(as_good_as, fail), on_receive(channel, ignore)); });
  REQUIRE(eventually_blocked_receivers(channel, 1));
  CHECK_FALSE(call.has_ended());
  CHECK(channel.send(1) == OpStatus::kOk);
  CHECK(call.result() == 2);
}

TEST_CASE("Select bad input: cases that can never come are refused together, and cost nothing beside one that can",
          "[select][bad_input]") {
  Channel<int>* const null = nullptr;
  const Context never = Context::background();
  CHECK_THROWS_AS(select(on_receive(null, fail)), std::invalid_argument);
  CHECK_THROWS_AS(select(on_done(never, fail)), std::invalid_argument);
  CHECK_THROWS_AS(select(on_done(never.with_deadline(TimePoint::max()), fail)), std::invalid_argument);
  CHECK_THROWS_AS(select(on_receive(null, fail), on_send(null, 1, fail), on_done(never, fail)), std::invalid_argument);
  CHECK_THROWS_WITH(select(on_receive(null, fail), on_send(null, 1, fail)), ContainsSubstring("2 cases"));
  Channel<int> channel(1);
  CHECK(select(on_receive(null, fail), on_done(never, fail), on_send(channel, 1, ignore)) == 2);
  CHECK(select(on_receive(null, fail), on_done(never, fail), on_receive(channel, ignore)) == 2);
  CHECK(select(on_receive(null, fail), on_done(never, fail), otherwise(ignore)) == 2);
}

TEST_CASE("Select bad input: close lets dozens of selects go, each with one case", "[select][bad_input]") {
  constexpr std::size_t kSelects = 24;
  Channel<int> closing(any_capacity());
  Channel<int> open(0);
  std::vector<std::unique_ptr<Call<std::size_t>>> calls;
  for (std::size_t i = 0; i != kSelects; ++i) {
    calls.push_back(std::make_unique<Call<std::size_t>>([&] {
      return select(on_receive(open, fail), on_receive(closing, ignore), on_receive(open, fail),
                    on_receive(closing, ignore));
    }));
  }
  REQUIRE(eventually_blocked_receivers(closing, 2 * kSelects));
  closing.close();
  for (auto& call : calls) CHECK(call->result() % 2 == 1);
  CHECK(nobody_waits(closing));
  CHECK(nobody_waits(open));
}

}  // namespace
}  // namespace penstock
