// SPDX-License-Identifier: MIT

// Coroutines and run loops: each piece of work runs once, a result reaches its owner, and no frame is touched when it
// is gone.

#include "penstock/core/task.hpp"

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include "penstock/core/context.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/core/run_loop.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using checker::must_pass;
namespace world = penstock::detail::world;

namespace {

Task<int> value_of(int value) { co_return value; }

Task<int> sum_of(JoinHandle<int> a, JoinHandle<int> b) {
  const int first = co_await a;
  const int second = co_await b;
  co_return first + second;
}

/// Something that happens once, for which a coroutine can wait.
class Event {
 public:
  class Awaiter {
   public:
    Awaiter(Event& event, const Context& ctx) : event_(event), ctx_(ctx) {}
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> caller) {
      wait_.emplace(ctx_, caller, nullptr);
      return wait_->suspend([this] {
        MutexLock lock(event_.mutex_);
        had_happened_ = event_.happened_;
        if (!had_happened_) event_.waiting_.push(wait_->node());
        return !had_happened_;
      });
    }
    OpStatus await_resume() {
      if (had_happened_) return OpStatus::kOk;
      const detail::Waiter::Outcome outcome = wait_->resume();
      if (outcome < detail::Waiter::kServed) {
        MutexLock lock(event_.mutex_);
        event_.waiting_.remove(wait_->node());
      }
      return detail::to_op_status(outcome);
    }

   private:
    Event& event_;
    const Context& ctx_;
    std::optional<detail::CoroutineWait> wait_;
    bool had_happened_ = false;
  };

  Awaiter wait(const Context& ctx) { return {*this, ctx}; }

  void happen() {
    detail::WakeList wake;
    {
      MutexLock lock(mutex_);
      happened_ = true;
      waiting_.claim_all(detail::Waiter::kServed, wake);
    }
    wake.wake_all();
  }

 private:
  Mutex mutex_;
  detail::WaitList waiting_;
  bool happened_ = false;
};

Task<OpStatus> wait_for(Event& event, const Context& ctx) { co_return co_await event.wait(ctx); }

/// A coroutine of another make: begins at once, is resumed inline by whoever wakes it, and destroys itself at its end.
struct Detached {
  struct promise_type {
    Detached get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};

Detached wait_and_tell(Event& event, const Context& ctx, detail::Parker& ended) {
  static_cast<void>(co_await event.wait(ctx));
  ended.unpark();
}

}  // namespace

TEST_CASE("RunLoop: two threads post, one stops, and everything runs once", "[model][task]") {
  must_pass({.name = "run loop", .preemptions = 3}, [] {
    RunLoop loop;
    int runs = 0;
    world::Thread first([&] { loop.post([&] { ++runs; }); });
    world::Thread second([&] {
      loop.post([&] {
        ++runs;
        loop.stop();
      });
    });
    loop.run();
    first.join();
    second.join();
    loop.run_ready();
    MODEL_ASSERT(runs == 2);
  });
}

TEST_CASE("RunLoop: it may go as soon as run has returned", "[model][task]") {
  must_pass({.name = "run loop goes", .preemptions = 3}, [] {
    std::optional<RunLoop> loop(std::in_place);
    world::Thread other([&] { loop->post([&] { loop->stop(); }); });
    loop->run();
    other.join();
    loop.reset();
  });
}

TEST_CASE("Task: a thread waits for the result of another thread's loop", "[model][task]") {
  must_pass({.name = "task, get", .preemptions = 3}, [] {
    RunLoop loop;
    world::Thread runner([&] { loop.run(); });
    MODEL_ASSERT(spawn(loop, value_of(42)).get() == 42);
    loop.stop();
    runner.join();
  });
}

TEST_CASE("Task: its handle is dropped while it ends", "[model][task]") {
  must_pass({.name = "task, dropped", .preemptions = 3}, [] {
    RunLoop loop;
    std::optional<JoinHandle<int>> handle = spawn(loop, value_of(42));
    world::Thread runner([&] { loop.run_ready(); });
    handle.reset();
    runner.join();
  });
}

TEST_CASE("Task: waiting for its end is called off while it ends", "[model][task]") {
  must_pass({.name = "task, wait cancelled", .preemptions = 3}, [] {
    RunLoop loop;
    auto [ctx, source] = Context::background().with_cancel();
    JoinHandle<int> handle = spawn(loop, value_of(42));
    world::Thread runner([&] { loop.run_ready(); });
    world::Thread canceller([mine = source] { mine.cancel(); });
    const OpStatus status = handle.wait(ctx);
    MODEL_ASSERT(status == OpStatus::kOk || status == OpStatus::kCancelled);
    MODEL_ASSERT(handle.get() == 42);
    runner.join();
    canceller.join();
  });
}

TEST_CASE("Task: one awaits two that run on other threads", "[model][task]") {
  must_pass({.name = "task, awaits two", .preemptions = 3}, [] {
    RunLoop first_loop;
    RunLoop second_loop;
    JoinHandle<int> first = spawn(first_loop, value_of(1));
    JoinHandle<int> second = spawn(second_loop, value_of(2));
    world::Thread first_runner([&] { first_loop.run_ready(); });
    world::Thread second_runner([&] { second_loop.run_ready(); });
    MODEL_ASSERT(sync_wait(sum_of(std::move(first), std::move(second))) == 3);
    first_runner.join();
    second_runner.join();
  });
}

TEST_CASE("Task: one is resumed on another thread while it still suspends on its own", "[model][task]") {
  must_pass({.name = "task, resumed elsewhere", .preemptions = 3}, [] {
    RunLoop loop;
    JoinHandle<int> first = spawn(loop, value_of(1));
    JoinHandle<int> second = spawn(loop, value_of(2));
    world::Thread runner([&] { loop.run_ready(); });
    // Inline: whoever ends what it waits for runs it on, at once.
    MODEL_ASSERT(spawn(Executor::inline_executor(), sum_of(std::move(first), std::move(second))).get() == 3);
    runner.join();
  });
}

TEST_CASE("Task: a coroutine waits for an event that may be called off", "[model][task]") {
  must_pass({.name = "task, event and cancel", .preemptions = 3}, [] {
    Event event;
    auto [ctx, source] = Context::background().with_cancel();
    world::Thread teller([&] { event.happen(); });
    world::Thread canceller([mine = source] { mine.cancel(); });
    const OpStatus status = sync_wait(wait_for(event, ctx));
    MODEL_ASSERT(status == OpStatus::kOk || status == OpStatus::kCancelled);
    teller.join();
    canceller.join();
  });
}

TEST_CASE("Task: an event and its calling off resume a coroutine on their own threads", "[model][task]") {
  must_pass({.name = "task, inline, event and cancel", .preemptions = 3}, [] {
    Event event;
    auto [ctx, source] = Context::background().with_cancel();
    world::Thread teller([&] { event.happen(); });
    world::Thread canceller([mine = source] { mine.cancel(); });
    const OpStatus status = spawn(Executor::inline_executor(), wait_for(event, ctx)).get();
    MODEL_ASSERT(status == OpStatus::kOk || status == OpStatus::kCancelled);
    teller.join();
    canceller.join();
  });
}

TEST_CASE("Task: a coroutine of another make is gone while the thread that suspended it returns", "[model][task]") {
  for (const bool can_end : {false, true}) {
    must_pass({.name = can_end ? "task, detached, can end" : "task, detached, endless", .preemptions = 3}, [&] {
      Event event;
      detail::Parker ended;
      auto [ctx, source] = Context::background().with_cancel();
      world::Thread teller([&] { event.happen(); });
      wait_and_tell(event, can_end ? ctx : Context::background(), ended);
      ended.park();
      teller.join();
    });
  }
}

TEST_CASE("Task: a thread and a coroutine wait for one event", "[model][task]") {
  must_pass({.name = "task, two wait", .preemptions = 3}, [] {
    Event event;
    const Context& background = Context::background();
    world::Thread other([&] { MODEL_ASSERT(sync_wait(wait_for(event, background)) == OpStatus::kOk); });
    world::Thread teller([&] { event.happen(); });
    MODEL_ASSERT(sync_wait(wait_for(event, background)) == OpStatus::kOk);
    other.join();
    teller.join();
  });
}
