// SPDX-License-Identifier: MIT

// Who waits, sleeps: a process in which every kind of wait goes on uses no processor.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <functional>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/detail/parker.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/core/work_stealing_executor.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;

/// What all threads of this process have used so far.
Duration processor_time() {
  std::timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

/// Something to wait for.
class Event {
 public:
  OpStatus wait(const Context& ctx = Context::background()) {
    MutexLock lock(mutex_);
    ++waiting_;
    OpStatus status = OpStatus::kOk;
    while (!happened_ && status == OpStatus::kOk) status = changed_.wait(mutex_, ctx);
    return status;
  }
  void happen() {
    {
      MutexLock lock(mutex_);
      happened_ = true;
    }
    changed_.notify_all();
  }
  int waiting() {
    MutexLock lock(mutex_);
    return waiting_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool happened_ ABSL_GUARDED_BY(mutex_) = false;
  int waiting_ ABSL_GUARDED_BY(mutex_) = 0;
};

Task<int> join(JoinHandle<int> handle) { co_return co_await handle; }

/// Threads that each say when they are about to wait, and when they no longer do.
class Waiters {
 public:
  void add(std::function<void()> wait) {
    threads_.emplace_back([this, body = std::move(wait)] {
      ++begun_;
      body();
      ++ended_;
    });
  }
  void join() {
    for (std::thread& thread : threads_) thread.join();
  }
  [[nodiscard]] bool all_have_begun() const { return begun_ == static_cast<int>(threads_.size()); }
  [[nodiscard]] int ended() const { return ended_; }

 private:
  std::atomic<int> begun_{0};
  std::atomic<int> ended_{0};
  std::vector<std::thread> threads_;
};

TEST_CASE("Idle: a process whose threads and coroutines all wait uses no processor", "[core][idle]") {
  Waiters waiters;
  Event event;
  ManualClock manual;
  SteadyClock own;
  const auto [cancellable, source] = Context::background().with_cancel();

  // Threads on a condition: without an end, with a deadline in machine time, on a manual clock, and under a context
  // that can be cancelled.
  waiters.add([&] { static_cast<void>(event.wait()); });
  waiters.add([&] { static_cast<void>(event.wait(Context::background().with_timeout(1h))); });
  waiters.add([&] { static_cast<void>(event.wait(Context(manual).with_timeout(1h))); });
  waiters.add([&, &ctx = cancellable] { static_cast<void>(event.wait(ctx.with_timeout(2h).with_cancel().context)); });

  // Timer threads that have nothing due: the shared one, and one of a clock's own.
  const DoneCallback shared_timer = Context::background().with_timeout(1h).on_done([]() noexcept {});
  const DoneCallback own_timer = Context(own).with_timeout(1h).on_done([]() noexcept {});

  // A loop without work, and one whose only coroutine waits; a thread that waits for that, and one that drives another.
  RunLoop idle_loop;
  RunLoop busy_loop;
  JoinHandle<int> never_run = spawn(busy_loop, []() -> Task<int> { co_return 1; }());
  JoinHandle<int> suspended = spawn(idle_loop, join(std::move(never_run)));
  waiters.add([&] { idle_loop.run(); });
  waiters.add([&] { static_cast<void>(suspended.wait()); });
  JoinHandle<int> also_never_run = spawn(busy_loop, []() -> Task<int> { co_return 1; }());
  waiters.add([&] { sync_wait(join(std::move(also_never_run))); });

  // An executor that has worked, and has nothing left.
  WorkStealingExecutor executor(3, "idle");
  std::atomic<int> executed{0};
  for (int i = 0; i < 10; ++i) {
    executor.post([&] { executor.post([&] { ++executed; }); });
  }
  REQUIRE(testing::eventually([&] { return executed == 10; }));

  // Both parkers, with and without a deadline.
  detail::FutexParker futex;
  detail::FutexParker futex_until;
  detail::PortableParker portable;
  detail::PortableParker portable_until;
  waiters.add([&] { futex.park(); });
  waiters.add([&] { futex_until.park_until(detail::world::now() + 1h); });
  waiters.add([&] { portable.park(); });
  waiters.add([&] { portable_until.park_until(detail::world::now() + 1h); });

  // One that takes back a callback which another one runs, and that one waits in it; and one that wants a mutex.
  REQUIRE(testing::eventually([&] { return event.waiting() == 4; }));
  std::optional<DoneCallback> callback = cancellable.on_done([&]() noexcept { static_cast<void>(event.wait()); });
  waiters.add([&, &by = source] { by.cancel(); });  // also ends the wait above that can be cancelled
  REQUIRE(testing::eventually([&] { return event.waiting() == 5; }));
  waiters.add([&] { callback.reset(); });
  Mutex taken;
  taken.lock();
  waiters.add([&] { MutexLock lock(taken); });

  REQUIRE(testing::eventually([&] { return waiters.all_have_begun() && waiters.ended() == 1; }));

  // The least of a few: a thread may still have been on its way to sleep in the first.
  constexpr Duration kPeriod = 100ms;
  Duration least = Duration::max();
  Event never;
  for (int i = 0; i < 3; ++i) {
    const Duration before = processor_time();
    CHECK(never.wait(Context::background().with_timeout(kPeriod)) == OpStatus::kTimedOut);
    least = std::min(least, processor_time() - before);
  }
  CHECK(least < kPeriod / 50);
  CHECK(waiters.ended() == 1);

  taken.unlock();
  event.happen();
  busy_loop.run_ready();
  idle_loop.stop();
  for (detail::FutexParker* each : {&futex, &futex_until}) each->unpark();
  for (detail::PortableParker* each : {&portable, &portable_until}) each->unpark();
  waiters.join();
  CHECK(suspended.get() == 1);
}

}  // namespace
}  // namespace penstock
