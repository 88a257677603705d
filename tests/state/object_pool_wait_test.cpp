// SPDX-License-Identifier: MIT

// Who waits for an object, in threads and coroutines, and what becomes of them.

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"

#include "state/object_pool_support.hpp"
#include "support/eventually.hpp"
#include "support/recorder.hpp"
#include "support/status_text.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::Counted;
using testing::CountedPool;
using testing::eventually;
using testing::Handle;
using testing::options_for;
using testing::Recorder;
using testing::take;
using testing::text_of;

ObjectPoolOptions<Counted> limited(std::atomic<int>& alive, std::size_t max_live) {
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.max_live = max_live;
  return options;
}

bool await_waiting(const CountedPool& pool, std::size_t number) {
  return eventually([&] { return pool.stats().waiting == number; });
}

Task<absl::StatusCode> hold(CountedPool& pool, Context ctx, std::vector<int>& order, int mine) {
  absl::StatusOr<Handle> object = co_await pool.async_acquire(ctx);
  order.push_back(mine);
  co_return object.status().code();
}

TEST_CASE("ObjectPool: an object that comes back goes to who waits", "[state][object_pool]") {
  std::atomic<int> alive{0};
  CountedPool pool(limited(alive, 1));
  Handle held = *pool.acquire();
  const std::uint64_t id = held.id();
  std::atomic<std::uint64_t> got{0};
  std::thread waiter([&] { got = pool.acquire()->id(); });
  REQUIRE(await_waiting(pool, 1));
  held.reset();
  waiter.join();
  CHECK(got == id);
  const ObjectPoolStats stats = pool.stats();
  CHECK(stats.hits_handed == 1);
  CHECK(stats.waits == 1);
  CHECK(stats.live == 1);
  CHECK(alive == 1);
}

TEST_CASE("ObjectPool: who waits may make one when one is destroyed", "[state][object_pool]") {
  std::atomic<int> alive{0};
  CountedPool pool(limited(alive, 1));
  Handle held = *pool.acquire();
  std::thread waiter([&] { static_cast<void>(pool.acquire()); });
  REQUIRE(await_waiting(pool, 1));
  if (GENERATE(true, false)) {
    held.discard();
  } else {
    static_cast<void>(held.release());
  }
  waiter.join();
  CHECK(pool.stats().creates == 2);
  CHECK(pool.stats().live == 1);
}

TEST_CASE("ObjectPool: at max_live what lies idle with another thread is found", "[state][object_pool]") {
  std::atomic<int> alive{0};
  CountedPool pool(limited(alive, 3));
  std::atomic<bool> has_given_back{false};
  std::atomic<bool> may_end{false};
  std::thread other([&] {
    static_cast<void>(take(pool, 3));
    has_given_back = true;
    while (!may_end) std::this_thread::yield();
  });
  REQUIRE(eventually([&] { return has_given_back.load(); }));
  {
    const std::vector<Handle> out = take(pool, 3);
    CHECK(pool.try_acquire().status().code() == absl::StatusCode::kResourceExhausted);
  }
  CHECK(pool.stats().hits_stolen == 1);
  CHECK(pool.stats().hits() == 3);  // the others came to the depot by the way
  CHECK(alive == 3);
  may_end = true;
  other.join();
}

TEST_CASE("ObjectPool: threads and coroutines are served in the order they came", "[state][object_pool]") {
  std::atomic<int> alive{0};
  CountedPool pool(limited(alive, 1));
  Handle held = *pool.acquire();
  Recorder<int> order;
  RunLoop loop;
  std::vector<int> of_coroutines;
  std::thread first([&] {
    const absl::StatusOr<Handle> object = pool.acquire();
    order.record(1);
  });
  REQUIRE(await_waiting(pool, 1));
  JoinHandle<absl::StatusCode> second = spawn(loop, hold(pool, Context::background(), of_coroutines, 2));
  loop.run_ready();
  REQUIRE(await_waiting(pool, 2));
  std::thread third([&] {
    const absl::StatusOr<Handle> object = pool.acquire();
    order.record(3);
  });
  REQUIRE(await_waiting(pool, 3));
  held.reset();
  first.join();
  CHECK(order.events() == std::vector<int>{1});
  while (of_coroutines.empty()) loop.run_ready();
  third.join();
  CHECK(order.events() == std::vector<int>{1, 3});
  CHECK(second.get() == absl::StatusCode::kOk);
}

TEST_CASE("ObjectPool: a wait ends with its context", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ManualClock clock;
  CountedPool pool(limited(alive, 1));
  const Handle held = *pool.acquire();
  absl::Status late;
  std::thread waiter([&] { late = pool.acquire(Context(clock).with_timeout(10ms)).status(); });
  REQUIRE(await_waiting(pool, 1));
  clock.advance(10ms);
  waiter.join();
  CHECK(late.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(text_of(late) == "object pool 'p': no object in time (max_live 1, 1 out, 0 waiting)");

  const Context::Cancellable ending = Context::background().with_cancel();
  RunLoop loop;
  std::vector<int> order;
  JoinHandle<absl::StatusCode> cancelled = spawn(loop, hold(pool, ending.context, order, 1));
  loop.run_ready();
  CHECK(order.empty());
  ending.source.cancel();
  loop.run_ready();
  CHECK(cancelled.get() == absl::StatusCode::kCancelled);
  CHECK(pool.acquire(ending.context).status().code() == absl::StatusCode::kCancelled);
  const ObjectPoolStats stats = pool.stats();
  CHECK(stats.timed_out == 1);
  CHECK(stats.cancelled == 2);
  CHECK(stats.waiting == 0);
}

TEST_CASE("ObjectPool: a context that has ended still gets an object that is there", "[state][object_pool]") {
  std::atomic<int> alive{0};
  CountedPool pool(limited(alive, 1));
  const Context::Cancellable ending = Context::background().with_cancel();
  ending.source.cancel();
  CHECK(pool.acquire(ending.context).ok());
  CHECK(pool.acquire(ending.context).ok());
}

TEST_CASE("ObjectPool: closing and destroying tell who waits", "[state][object_pool]") {
  std::atomic<int> alive{0};
  auto pool = std::make_unique<CountedPool>(limited(alive, 1));
  Handle held = *pool->acquire();
  absl::Status thread;
  RunLoop loop;
  std::vector<int> order;
  std::thread waiter([&, waits = pool.get()] { thread = waits->acquire().status(); });
  REQUIRE(await_waiting(*pool, 1));
  JoinHandle<absl::StatusCode> coroutine = spawn(loop, hold(*pool, Context::background(), order, 1));
  loop.run_ready();
  if (GENERATE(true, false)) pool->close();
  pool.reset();
  waiter.join();
  loop.run_ready();
  CHECK(thread.code() == absl::StatusCode::kUnavailable);
  CHECK(coroutine.get() == absl::StatusCode::kUnavailable);
  CHECK(alive == 1);
  held.reset();
  CHECK(alive == 0);
}

TEST_CASE("ObjectPool: a factory that fails leaves its place to the next in line", "[state][object_pool]") {
  std::atomic<int> alive{0};
  std::atomic<bool> fails{false};
  ObjectPoolOptions<Counted> options = limited(alive, 1);
  options.factory = [&]() -> absl::StatusOr<std::unique_ptr<Counted>> {
    if (fails.exchange(false)) return absl::UnavailableError("down");
    return std::make_unique<Counted>(alive);
  };
  CountedPool pool(std::move(options));
  Handle held = *pool.acquire();
  RunLoop loop;
  std::vector<int> order;
  JoinHandle<absl::StatusCode> first = spawn(loop, hold(pool, Context::background(), order, 1));
  JoinHandle<absl::StatusCode> second = spawn(loop, hold(pool, Context::background(), order, 2));
  loop.run_ready();
  fails = true;
  held.discard();
  loop.run_ready();
  CHECK(first.get() == absl::StatusCode::kUnavailable);
  CHECK(second.get() == absl::StatusCode::kOk);
  CHECK(order == std::vector<int>{1, 2});
}

TEST_CASE("ObjectPool: a coroutine that is destroyed while it waits, or after it was served, keeps nothing",
          "[state][object_pool]") {
  std::atomic<int> alive{0};
  CountedPool pool(limited(alive, 1));
  Handle held = *pool.acquire();
  const bool is_served = GENERATE(true, false);
  const bool may_make = GENERATE(true, false);
  {
    RunLoop loop;
    std::vector<int> order;
    {
      Task<absl::StatusCode> task = hold(pool, Context::background(), order, 1);
      JoinHandle<absl::StatusCode> waiting = spawn(loop, std::move(task));
      loop.run_ready();
      CHECK(pool.stats().waiting == 1);
      if (is_served) {
        if (may_make) {
          held.discard();
        } else {
          held.reset();
        }
      }
      static_cast<void>(waiting);
    }
    if (!is_served) pool.close();
    loop.run_ready();
  }
  CHECK(pool.stats().waiting == 0);
}

TEST_CASE("ObjectPool: once nobody waits threads keep objects for themselves again", "[state][object_pool]") {
  std::atomic<int> alive{0};
  CountedPool pool(limited(alive, 1));
  Handle held = *pool.acquire();
  std::thread waiter([&] { static_cast<void>(pool.acquire()); });
  REQUIRE(await_waiting(pool, 1));
  held.reset();
  waiter.join();
  for (int i = 0; i != 10; ++i) static_cast<void>(pool.acquire());
  CHECK(pool.stats().hits_local >= 8);
}

}  // namespace
}  // namespace penstock
