// SPDX-License-Identifier: MIT
#include "penstock/core/detail/coroutine_wait.hpp"

#include <condition_variable>
#include <coroutine>
#include <exception>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/mutex.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "support/catch.hpp"

namespace penstock::detail {
namespace {

using namespace std::chrono_literals;

/// A coroutine of another make: it starts at once, is resumed inline, and goes with its handle or, once that let go of
/// it, when it ends.
class Foreign {
 public:
  struct promise_type {
    struct Final {
      bool await_ready() const noexcept { return false; }
      bool await_suspend(std::coroutine_handle<promise_type> self) const noexcept { return self.promise().owned; }
      void await_resume() const noexcept {}
    };
    Foreign get_return_object() noexcept { return Foreign(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    Final final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept { std::terminate(); }
    std::optional<int> executor() const noexcept { return std::nullopt; }  // no penstock::Executor

    bool owned = true;
  };

  explicit Foreign(std::coroutine_handle<promise_type> coroutine) noexcept : coroutine_(coroutine) {}
  Foreign(Foreign&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  ~Foreign() {
    if (coroutine_) coroutine_.destroy();
  }

  [[nodiscard]] bool ended() const noexcept { return coroutine_.done(); }
  /// The coroutine frees itself, or has done so.
  void forget() noexcept { coroutine_ = nullptr; }

 private:
  std::coroutine_handle<promise_type> coroutine_;
};

/// Makes the coroutine that awaits it free itself when it ends.
struct LetGo {
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<Foreign::promise_type> coroutine) const noexcept {
    coroutine.promise().owned = false;
    return false;
  }
  void await_resume() const noexcept {}
};

Task<int> value(int number) { co_return number; }

Foreign add(JoinHandle<int>& handle, int& sum) { sum += co_await handle; }

TEST_CASE("CoroutineWait: a coroutine of another make awaits tasks and handles", "[core][coroutine_wait]") {
  RunLoop loop;
  int sum = 0;
  JoinHandle<int> handle = spawn(loop, value(2));
  const Foreign first = add(handle, sum);
  CHECK_FALSE(first.ended());
  loop.run_ready();
  CHECK(first.ended());
  CHECK(sum == 2);
  const Foreign second = [](int& to) -> Foreign { to += co_await value(3); }(sum);
  CHECK(second.ended());
  CHECK(sum == 5);
}

TEST_CASE("CoroutineWait: a coroutine that is destroyed where it awaits a handle leaves it", "[core][coroutine_wait]") {
  RunLoop loop;
  int sum = 0;
  JoinHandle<int> handle = spawn(loop, value(2));
  { const Foreign dropped = add(handle, sum); }
  const Foreign kept = add(handle, sum);
  loop.run_ready();
  CHECK(kept.ended());
  CHECK(sum == 2);
}

/// A wait without a context, which another thread serves as soon as it is listed.
struct ServedAtOnce {
  Mutex& mutex;
  WaitList& waiting;
  std::optional<CoroutineWait> wait = std::nullopt;

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    wait.emplace(Context::background(), coroutine, nullptr);
    return wait->suspend([this] {
      Mutex& its_mutex = mutex;
      WaitList& its_list = waiting;
      {
        MutexLock lock(its_mutex);
        its_list.push(wait->node());
      }
      std::thread([&] {
        WaitNode* node = nullptr;
        {
          MutexLock lock(its_mutex);
          node = its_list.claim_first();
        }
        node->waiter->wake();
      }).join();
      return true;  // the frame is gone
    });
  }
  void await_resume() noexcept { wait->resume(); }
};

TEST_CASE("CoroutineWait: a coroutine without an end may run on, and be gone, as soon as it is listed",
          "[core][coroutine_wait]") {
  Mutex mutex;
  WaitList waiting;
  std::thread::id resumed_on;
  {
    const auto run = [](Mutex& by, WaitList& list, std::thread::id& where) -> Foreign {
      co_await LetGo{};
      co_await ServedAtOnce{by, list};
      where = std::this_thread::get_id();
    };
    run(mutex, waiting, resumed_on).forget();
  }
  CHECK(resumed_on != std::thread::id());
  CHECK(resumed_on != std::this_thread::get_id());
}

/// Runs work on threads of its own.
class Threads final : public Executor {
 public:
  using Executor::post;

  explicit Threads(int count) {
    for (int i = 0; i < count; ++i) threads_.emplace_back([this] { run(); });
  }
  ~Threads() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  void post(Work& work) noexcept override {
    // Notified under the mutex: the work may be what lets the test, and this executor, end.
    const std::lock_guard lock(mutex_);
    queue_.push(work);
    changed_.notify_one();
  }
  bool revoke(Work& work) noexcept override {
    work.wait_until_posted();
    const std::lock_guard lock(mutex_);
    return queue_.remove(work);
  }

 private:
  void run() {
    for (;;) {
      Work* work = nullptr;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
        work = queue_.pop();
      }
      if (work == nullptr) return;
      work->run(*work);
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  WorkQueue queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

Task<int> spawn_and_add(Executor& here, Executor& there, int depth) {
  if (depth == 0) co_return 1;
  JoinHandle<int> left = spawn(there, spawn_and_add(there, here, depth - 1));
  JoinHandle<int> right = spawn(here, spawn_and_add(here, there, depth - 1));
  co_return co_await left + co_await right;
}

TEST_CASE("CoroutineWait: tasks of two executors with several threads await each other",
          "[core][coroutine_wait][stress]") {
  Threads here(2);
  Threads there(2);
  for (int round = 0; round < 50; ++round) REQUIRE(sync_wait(spawn_and_add(here, there, 6)) == 64);
}

/// A clock that cannot call back.
struct Threadless : Clock {
  [[nodiscard]] TimePoint now() const noexcept override { return TimePoint{}; }
  void start_timers() override {
    throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
  }
  bool arm(Timer& /*timer*/, TimePoint /*when*/) noexcept override { return false; }
  void disarm(Timer& /*timer*/) noexcept override {}
};

struct WaitUnder {
  const Context ctx;
  bool& listed;
  std::optional<CoroutineWait> wait = std::nullopt;

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    wait.emplace(ctx, coroutine, nullptr);
    return wait->suspend([this] { return listed = true; });
  }
  void await_resume() const noexcept {}
};

TEST_CASE("CoroutineWait: a wait that cannot start is thrown out of before it is listed", "[core][coroutine_wait]") {
  Threadless clock;
  bool listed = false;
  const Context ctx = Context(clock).with_timeout(1s);
  CHECK_THROWS_AS(sync_wait([](const Context& under, bool& flag) -> Task<> {
                    co_await WaitUnder{under, flag};
                  }(ctx, listed)),
                  std::system_error);
  CHECK_FALSE(listed);

  Mutex mutex;
  CondVar never;
  MutexLock lock(mutex);
  CHECK_THROWS_AS(never.wait(mutex, ctx), std::system_error);
}

}  // namespace
}  // namespace penstock::detail
