// SPDX-License-Identifier: MIT

// One line for threads and coroutines: first come, first served, one woken for each slot, and nobody is left in it.

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "exec/slot_queue_support.hpp"
#include "penstock/core/failure_stage.hpp"
#include "penstock/core/run_loop.hpp"
#include "support/catch.hpp"
#include "support/detached.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::acquire_in;
using testing::Detached;
using testing::discrepancies;
using testing::in_line;
using testing::kNothing;
using testing::Number;
using testing::number;
using testing::NumberLease;
using testing::NumberQueue;
using testing::offer_all;
using testing::Recorder;
using testing::text_of;
using testing::value_of;

TEST_CASE("SlotQueue: a slot goes to who has waited longest, and one is woken", "[exec][slot_queue]") {
  NumberQueue queue({.name = "q"});
  Recorder<std::pair<int, int>> order;
  std::vector<std::thread> threads;
  for (int i = 0; i != 4; ++i) {
    threads.emplace_back([&, i] {
      NumberLease lease = queue.acquire();
      order.record({i, value_of(lease)});
      if (lease.ok()) static_cast<void>(lease->retire());
    });
    CHECK(in_line(queue, static_cast<std::size_t>(i) + 1));
  }
  for (int i = 0; i != 4; ++i) {
    CHECK(queue.offer(number(10 + i)).ok());
    CHECK(testing::eventually([&] { return order.size() == static_cast<std::size_t>(i) + 1; }));
    CHECK(queue.stats().waiting == 3 - static_cast<std::size_t>(i));
    CHECK(queue.stats().handed_over == static_cast<std::uint64_t>(i) + 1);
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(order.events() == std::vector<std::pair<int, int>>{{0, 10}, {1, 11}, {2, 12}, {3, 13}});
  CHECK(queue.is_idle());
  CHECK(discrepancies(queue.stats()).empty());
}

TEST_CASE("SlotQueue: threads and coroutines stand in one line", "[exec][slot_queue]") {
  NumberQueue queue({.name = "q"});
  Recorder<std::string> order;
  const auto coroutine = [](NumberQueue& from, Recorder<std::string>& to, std::string name) -> Task<> {
    const NumberLease lease = co_await from.async_acquire();
    to.record(lease.ok() ? name : "refused");
  };
  auto first = spawn(Executor::inline_executor(), coroutine(queue, order, "coroutine 1"));
  std::thread second([&] {
    const NumberLease lease = queue.acquire();
    order.record("thread 2");
  });
  CHECK(in_line(queue, 2));
  auto third = spawn(Executor::inline_executor(), coroutine(queue, order, "coroutine 3"));
  CHECK(in_line(queue, 3));
  REQUIRE(queue.offer(number(1)).ok());  // each puts it back for the next
  second.join();
  sync_wait(std::move(first));
  sync_wait(std::move(third));
  CHECK(order.events() == std::vector<std::string>{"coroutine 1", "thread 2", "coroutine 3"});
}

TEST_CASE("SlotQueue: a slot goes past those who have stopped waiting", "[exec][slot_queue]") {
  ManualClock clock;
  NumberQueue queue({.name = "q", .clock = &clock});
  RunLoop loop;
  auto late = spawn(loop, acquire_in(queue, Context(clock).with_timeout(10ms)));
  const Context::Cancellable ending = Context::background().with_cancel();
  auto cancelled = spawn(loop, acquire_in(queue, ending.context));
  auto patient = spawn(loop, acquire_in(queue));
  loop.run_ready();
  CHECK(queue.stats().waiting == 3);
  CHECK(queue.stats().oldest_wait == Duration::zero());
  clock.advance(10ms);
  ending.source.cancel();
  // They have been told, and have not run yet.
  REQUIRE(queue.offer(number(1)).ok());
  loop.run_ready();
  CHECK(absl::IsDeadlineExceeded(late.get().status()));
  CHECK(absl::IsCancelled(cancelled.get().status()));
  CHECK(value_of(patient.get()) == 1);
  CHECK(queue.stats().timed_out == 1);
  CHECK(queue.stats().cancelled == 1);
  CHECK(queue.stats().wait.count() == queue.stats().acquired);
}

TEST_CASE("SlotQueue: a refusal says what there was, and how long it waited", "[exec][slot_queue]") {
  ManualClock clock;
  NumberQueue queue({.name = "q", .clock = &clock});
  REQUIRE(queue.offer(number(1)).ok());
  const NumberLease held = queue.acquire();
  const absl::Status exhausted = queue.try_acquire().status();
  CHECK(absl::IsResourceExhausted(exhausted));
  CHECK(text_of(exhausted) == "slot queue 'q': no slot is idle (1 leased, 0 starting, 0 waiting)");
  CHECK(failure_stage(exhausted) == "slot");
  auto late = spawn(Executor::inline_executor(), acquire_in(queue, Context(clock).with_timeout(250ms)));
  clock.advance(250ms);
  CHECK(text_of(sync_wait(std::move(late)).status()) ==
        "slot queue 'q': no slot in time (waited 250 ms; 1 leased, 0 starting, 0 waiting)");
  CHECK(queue.stats().exhausted == 1);
}

TEST_CASE("SlotQueue: a context that has ended looks once", "[exec][slot_queue]") {
  ManualClock clock;
  NumberQueue queue({.name = "q", .clock = &clock});
  const Context over = Context(clock).with_timeout(0s);
  const Context::Cancellable ended = Context::background().with_cancel();
  ended.source.cancel();
  CHECK(absl::IsDeadlineExceeded(queue.acquire(over).status()));
  CHECK(absl::IsCancelled(queue.acquire(ended.context).status()));
  CHECK(queue.stats().waits == 0);
  REQUIRE(queue.offer(number(1)).ok());
  CHECK(value_of(queue.acquire(over)) == 1);
  CHECK(value_of(sync_wait(acquire_in(queue, ended.context))) == 1);
}

TEST_CASE("SlotQueue: closing sends everybody home", "[exec][slot_queue]") {
  NumberQueue queue({.name = "q"});
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int i = 0; i != 3; ++i) {
    threads.emplace_back([&, with_deadline = i == 1] {
      const Context ctx = with_deadline ? Context::background().with_timeout(1h) : Context::background();
      if (absl::IsUnavailable(queue.acquire(ctx).status())) ++refused;
    });
  }
  auto coroutine = spawn(Executor::inline_executor(), acquire_in(queue));
  CHECK(in_line(queue, 4));
  queue.close();
  for (std::thread& thread : threads) thread.join();
  CHECK(refused == 3);
  CHECK(absl::IsUnavailable(sync_wait(std::move(coroutine)).status()));
  CHECK(queue.stats().unavailable == 4);
  CHECK(queue.is_idle());
}

TEST_CASE("SlotQueue: it may be destroyed while somebody waits", "[exec][slot_queue]") {
  auto queue = std::make_unique<NumberQueue>(SlotQueueOptions<Number>{.name = "q"});
  NumberQueue& waited_on = *queue;
  std::atomic<bool> told{false};
  std::thread thread([&] { told = text_of(waited_on.acquire().status()) == "slot queue 'q': closed"; });
  RunLoop loop;
  auto coroutine = spawn(loop, acquire_in(*queue));
  loop.run_ready();
  CHECK(in_line(*queue, 2));
  queue.reset();
  thread.join();
  CHECK(told);
  loop.run_ready();
  CHECK(text_of(coroutine.get().status()) == "slot queue 'q': closed");
}

Detached wait_on(RunLoop& /*loop*/, NumberQueue& queue, Context ctx) {
  const NumberLease lease = co_await queue.async_acquire(std::move(ctx));
}

TEST_CASE("SlotQueue: a coroutine may be destroyed while it waits", "[exec][slot_queue]") {
  NumberQueue queue({.name = "q"});
  RunLoop loop;
  const Detached endless = wait_on(loop, queue, Context::background());
  const Detached bounded = wait_on(loop, queue, Context::background().with_timeout(1h));
  CHECK(queue.stats().waiting == 2);
  endless.handle.destroy();
  CHECK(queue.stats().waiting == 1);
  // This one has been handed a slot, and has not run since: the slot goes back.
  const SlotToken token = *queue.offer(number(1));
  CHECK(token.state() == SlotState::kLeased);
  bounded.handle.destroy();
  CHECK(token.state() == SlotState::kIdle);
  CHECK(loop.run_ready() == 0);
  CHECK(queue.stats().cancelled == 1);
}

TEST_CASE("SlotQueue: ten thousand wait, and each slot wakes one", "[exec][slot_queue]") {
  NumberQueue queue({.name = "q"});
  RunLoop loop;
  constexpr int kWaiters = 10'000;
  std::vector<int> got;
  const auto take = [](NumberQueue& from, std::vector<int>& to) -> Task<> {
    NumberLease lease = co_await from.async_acquire();
    to.push_back(*lease->retire());
  };
  std::vector<JoinHandle<void>> all;
  for (int i = 0; i != kWaiters; ++i) all.push_back(spawn(loop, take(queue, got)));
  loop.run_ready();
  CHECK(queue.stats().waiting == kWaiters);
  for (int i = 0; i != kWaiters; ++i) {
    REQUIRE(queue.offer(number(i)).ok());
    REQUIRE(loop.run_ready() == 1);
  }
  REQUIRE(got.size() == kWaiters);
  for (int i = 0; i != kWaiters; ++i) REQUIRE(got[static_cast<std::size_t>(i)] == i);
}

}  // namespace
}  // namespace penstock
