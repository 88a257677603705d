// SPDX-License-Identifier: MIT
#include "penstock/core/detail/wait_list.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

namespace penstock::detail {
namespace {

using namespace std::chrono_literals;

/// A place to wait, as small as one can be: a list, its lock, and a value that is handed over.
class Stand {
 public:
  Waiter::Outcome wait(const Context& ctx, int& value) {
    Waiter waiter(ctx);
    WaitNode node(waiter, &value);
    {
      MutexLock lock(mutex_);
      waiting_.push(node);
    }
    const Waiter::Outcome outcome = waiter.wait();
    if (outcome < Waiter::kServed) {
      MutexLock lock(mutex_);
      waiting_.remove(node);
    }
    return outcome;
  }

  struct Awaiter {
    Stand& stand;
    const Context ctx;
    int value = 0;
    std::optional<CoroutineWait> wait = std::nullopt;

    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> coroutine) {
      wait.emplace(ctx, coroutine, &value);
      return wait->suspend([this] {
        MutexLock lock(stand.mutex_);
        stand.waiting_.push(wait->node());
        return true;
      });
    }
    int await_resume() {
      const Waiter::Outcome outcome = wait->resume();
      if (outcome < Waiter::kServed) {
        MutexLock lock(stand.mutex_);
        stand.waiting_.remove(wait->node());
        return -static_cast<int>(outcome);
      }
      return value;
    }
  };
  Awaiter async_wait(const Context& ctx = Context::background()) { return {*this, ctx}; }

  bool serve(int value) {
    WaitNode* node = nullptr;
    {
      MutexLock lock(mutex_);
      node = waiting_.claim_first();
      if (node != nullptr) *static_cast<int*>(node->slot) = value;
    }
    if (node == nullptr) return false;
    node->waiter->wake();
    return true;
  }

  void close() {
    WakeList wake;
    {
      MutexLock lock(mutex_);
      waiting_.claim_all(Waiter::kClosed, wake);
    }
    wake.wake_all();
  }

  bool has_waiters() {
    MutexLock lock(mutex_);
    return !waiting_.empty();
  }

 private:
  Mutex mutex_;
  WaitList waiting_;
};

TEST_CASE("Waiter: exactly one claim wins", "[core][wait_list]") {
  Waiter waiter(Context::background());
  CHECK(waiter.claim(Waiter::kServed));
  CHECK_FALSE(waiter.claim(Waiter::kServed));
  CHECK_FALSE(waiter.claim(Waiter::kTimedOut));
  waiter.wake();
  CHECK(waiter.wait() == Waiter::kServed);
}

TEST_CASE("WaitList: first come, first claimed, and the claimed and the removed are gone", "[core][wait_list]") {
  Waiter a(Context::background());
  Waiter b(Context::background());
  Waiter c(Context::background());
  Waiter d(Context::background());
  WaitNode node_a(a, nullptr);
  WaitNode node_b(b, nullptr);
  WaitNode node_c(c, nullptr);
  WaitNode node_d(d, nullptr);
  WaitList list;
  CHECK(list.empty());
  for (WaitNode* node : {&node_a, &node_b, &node_c, &node_d}) list.push(*node);
  list.remove(node_b);
  list.remove(node_b);  // not on it any more: nothing happens
  REQUIRE(c.claim(Waiter::kTimedOut));
  CHECK(list.claim_first() == &node_a);
  CHECK(list.claim_first() == &node_d);  // c was claimed elsewhere
  CHECK(list.claim_first() == nullptr);
  CHECK(list.empty());
  CHECK_FALSE(node_c.listed);
  list.push(node_b);
  CHECK(list.claim_first() == &node_b);
}

TEST_CASE("WaitList: one waiter on two lists is served by one", "[core][wait_list]") {
  Waiter waiter(Context::background());
  WaitNode left(waiter, nullptr, Waiter::kServed);
  WaitNode right(waiter, nullptr, Waiter::kServed + 1);
  WaitList left_list;
  WaitList right_list;
  left_list.push(left);
  right_list.push(right);
  CHECK(right_list.claim_first() == &right);
  CHECK(left_list.claim_first() == nullptr);
  waiter.wake();
  CHECK(waiter.wait() == Waiter::kServed + 1);
}

TEST_CASE("WaitList: a thread is served, times out, is cancelled or closed", "[core][wait_list]") {
  Stand stand;
  ManualClock clock;
  const auto [ctx, source] = Context(clock).with_timeout(1s).with_cancel();
  int value = 0;
  std::atomic<Waiter::Outcome> outcome{Waiter::kPending};
  std::thread thread([&, ctx = ctx] { outcome = stand.wait(ctx, value); });
  REQUIRE(testing::eventually([&] { return stand.has_waiters(); }));
  SECTION("served") {
    CHECK(stand.serve(7));
    thread.join();
    CHECK(outcome == Waiter::kServed);
    CHECK(value == 7);
  }
  SECTION("timed out") {
    REQUIRE(testing::eventually([&] { return clock.armed() == 1; }));
    clock.advance(1s);
    thread.join();
    CHECK(outcome == Waiter::kTimedOut);
  }
  SECTION("cancelled") {
    source.cancel();
    thread.join();
    CHECK(outcome == Waiter::kCancelled);
  }
  SECTION("closed") {
    stand.close();
    thread.join();
    CHECK(outcome == Waiter::kClosed);
  }
  CHECK_FALSE(stand.has_waiters());
  CHECK_FALSE(stand.serve(8));
  CHECK(clock.armed() == 0);
}

TEST_CASE("WaitList: a thread whose context has ended does not sleep", "[core][wait_list]") {
  Stand stand;
  int value = 0;
  ManualClock clock;
  CHECK(stand.wait(Context(clock).with_timeout(0s), value) == Waiter::kTimedOut);
  CHECK(stand.wait(Context::background().with_timeout(0s), value) == Waiter::kTimedOut);
  const auto [ctx, source] = Context::background().with_cancel();
  source.cancel();
  CHECK(stand.wait(ctx, value) == Waiter::kCancelled);
  CHECK_FALSE(stand.has_waiters());
}

TEST_CASE("WaitList: a thread sleeps until a deadline in machine time", "[core][wait_list]") {
  Stand stand;
  int value = 0;
  const Context ctx = Context::background().with_timeout(2ms);
  CHECK(stand.wait(ctx, value) == Waiter::kTimedOut);
  CHECK(Clock::steady().now() >= ctx.deadline());
}

Task<int> wait_at(Stand& stand, Context ctx) { co_return co_await stand.async_wait(ctx); }

TEST_CASE("WaitList: a coroutine is served, times out, is cancelled or closed", "[core][wait_list]") {
  Stand stand;
  ManualClock clock;
  RunLoop loop;
  const auto [ctx, source] = Context(clock).with_timeout(1s).with_cancel();
  JoinHandle<int> handle = spawn(loop, wait_at(stand, ctx));
  loop.run_ready();
  REQUIRE(stand.has_waiters());
  REQUIRE(clock.armed() == 1);
  int expected = 0;
  SECTION("served") {
    CHECK(stand.serve(7));
    expected = 7;
  }
  SECTION("timed out") {
    clock.advance(1s);
    expected = -static_cast<int>(Waiter::kTimedOut);
  }
  SECTION("cancelled") {
    source.cancel();
    expected = -static_cast<int>(Waiter::kCancelled);
  }
  SECTION("closed") {
    stand.close();
    expected = -static_cast<int>(Waiter::kClosed);
  }
  CHECK(loop.run_ready() == 1);  // resumed on its executor, and nowhere else
  CHECK(handle.get() == expected);
  CHECK_FALSE(stand.has_waiters());
  CHECK(clock.armed() == 0);
}

TEST_CASE("WaitList: a coroutine whose context has ended goes on at once", "[core][wait_list]") {
  Stand stand;
  ManualClock clock;
  const auto [ctx, source] = Context(clock).with_cancel();
  source.cancel();
  CHECK(sync_wait(wait_at(stand, ctx)) == -static_cast<int>(Waiter::kCancelled));
  CHECK(sync_wait(wait_at(stand, Context(clock).with_timeout(0s))) == -static_cast<int>(Waiter::kTimedOut));
}

TEST_CASE("WaitList: threads and coroutines wait in one line", "[core][wait_list]") {
  Stand stand;
  RunLoop loop;
  std::atomic<int> thread_value{0};
  JoinHandle<int> first = spawn(loop, wait_at(stand, Context::background()));
  loop.run_ready();
  std::atomic<bool> listed{false};
  std::thread second([&] {
    int value = 0;
    listed = true;
    stand.wait(Context::background(), value);
    thread_value = value;
  });
  // The third comes when the second is on the list: three served in the order 1 2 3 prove the line.
  REQUIRE(testing::eventually([&] { return listed.load(); }));
  CHECK(stand.serve(1));
  CHECK(loop.run_ready() == 1);
  CHECK(first.get() == 1);
  REQUIRE(testing::eventually([&] { return stand.has_waiters(); }));
  JoinHandle<int> third = spawn(loop, wait_at(stand, Context::background()));
  loop.run_ready();
  CHECK(stand.serve(2));
  second.join();
  CHECK(thread_value == 2);
  CHECK(stand.serve(3));
  loop.run_ready();
  CHECK(third.get() == 3);
}

TEST_CASE("WaitList: a served waiter never also times out, and no value is lost", "[core][wait_list][stress]") {
  int served = 0;
  int timed_out = 0;
  for (int round = 0; round < 3000; ++round) {
    Stand stand;
    ManualClock clock;
    int value = 0;
    std::atomic<Waiter::Outcome> outcome{Waiter::kPending};
    std::atomic<bool> handed_over{false};
    const Context ctx = Context(clock).with_timeout(1ns);
    std::thread waiting([&] { outcome = stand.wait(ctx, value); });
    std::thread serving([&] { handed_over = stand.serve(round + 1); });
    clock.advance(1ns);
    serving.join();
    waiting.join();
    if (handed_over) {
      ++served;
      REQUIRE(outcome == Waiter::kServed);
      REQUIRE(value == round + 1);
    } else {
      ++timed_out;
      REQUIRE(outcome == Waiter::kTimedOut);
    }
  }
  CHECK(served + timed_out == 3000);
}

TEST_CASE("WaitList: a coroutine without a deadline may be gone before it has finished suspending",
          "[core][wait_list][stress]") {
  // It is resumed on another thread, ends, and frees its frame while its first thread is still inside await_suspend:
  // AddressSanitizer sees a touch of the frame after the node is listed.
  for (int round = 0; round < 3000; ++round) {
    Stand stand;
    std::atomic<bool> ended{false};
    std::thread serving([&] {
      while (!stand.serve(1)) std::this_thread::yield();
    });
    {
      JoinHandle<> dropped = spawn(Executor::inline_executor(), [](Stand& on, std::atomic<bool>& flag) -> Task<> {
        co_await on.async_wait();
        flag = true;
      }(stand, ended));
    }
    serving.join();
    REQUIRE(ended);
  }
}

TEST_CASE("WaitList: a coroutine is claimed while it is still suspending", "[core][wait_list][stress]") {
  // The loop's thread suspends coroutines while two others serve and cancel them; a frame freed too early shows under
  // AddressSanitizer, a lost resumption as a hang.
  for (int round = 0; round < 2000; ++round) {
    Stand stand;
    auto [ctx, source] = Context::background().with_timeout(1h).with_cancel();
    std::thread serving([&] { stand.serve(5); });
    std::thread cancelling([source = source] { source.cancel(); });
    const int value = sync_wait(wait_at(stand, ctx));
    serving.join();
    cancelling.join();
    REQUIRE((value == 5 || value == -static_cast<int>(Waiter::kCancelled)));
  }
}

}  // namespace
}  // namespace penstock::detail
