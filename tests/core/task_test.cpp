// SPDX-License-Identifier: MIT
#include "penstock/core/task.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;

/// Suspends until somebody resumes it by hand through its executor.
class Gate {
 public:
  struct Awaiter : Work {
    explicit Awaiter(Gate& on)
        : Work([](Work& work) noexcept { static_cast<Awaiter&>(work).coroutine.resume(); }), gate(on) {}
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> handle) noexcept {
      coroutine = handle;
      executor = &detail::executor_of(handle);
      gate.waiting_ = this;
    }
    void await_resume() const noexcept {}
    Gate& gate;
    std::coroutine_handle<> coroutine;
    Executor* executor = nullptr;
  };
  Awaiter operator co_await() noexcept { return Awaiter(*this); }
  void open() {
    Awaiter* const awaiter = std::exchange(waiting_, nullptr);
    awaiter->executor->post(*awaiter);
  }
  [[nodiscard]] bool has_waiter() const noexcept { return waiting_ != nullptr; }

 private:
  friend struct Awaiter;
  Awaiter* waiting_ = nullptr;
};

Task<int> value(int number) { co_return number; }
Task<> nothing() { co_return; }
Task<int> failing() {
  throw std::runtime_error("failed");
  co_return 0;
}
Task<std::unique_ptr<int>> boxed(int number) { co_return std::make_unique<int>(number); }
Task<long> sum_of_immediate_tasks(int count) {
  long sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await value(1);
  co_return sum;
}

TEST_CASE("Task: returns its value, move-only ones too", "[core][task]") {
  CHECK(sync_wait(value(7)) == 7);
  CHECK(*sync_wait(boxed(8)) == 8);
  sync_wait(nothing());
}

TEST_CASE("Task: hands its exception to who awaits it", "[core][task]") {
  CHECK_THROWS_WITH(sync_wait(failing()), "failed");
  bool caught = false;
  sync_wait([](bool& flag) -> Task<> {
    try {
      co_await failing();
    } catch (const std::runtime_error&) {
      flag = true;
    }
  }(caught));
  CHECK(caught);
}

TEST_CASE("Task: does nothing until it is awaited, and may be dropped before", "[core][task]") {
  auto witness = std::make_shared<int>(0);
  const auto touch = [](std::shared_ptr<int> counter) -> Task<> {
    ++*counter;
    co_return;
  };
  {
    const Task<> dropped = touch(witness);
    CHECK(witness.use_count() == 2);
  }
  CHECK(*witness == 0);
  CHECK(witness.use_count() == 1);
  sync_wait(touch(witness));
  CHECK(*witness == 1);
}

TEST_CASE("Task: a loop over a million tasks that end at once uses no stack", "[core][task]") {
  CHECK(sync_wait(sum_of_immediate_tasks(1'000'000)) == 1'000'000);
}

Task<int> nested(int depth) {
  if (depth == 0) co_return 0;
  co_return 1 + co_await nested(depth - 1);
}

TEST_CASE("Task: tasks await tasks", "[core][task]") { CHECK(sync_wait(nested(1000)) == 1000); }

TEST_CASE("spawn: starts on the executor, not inside the call", "[core][task]") {
  RunLoop loop;
  JoinHandle<int> handle = spawn(loop, value(3));
  ManualClock clock;
  CHECK(handle.wait(Context(clock).with_timeout(0s)) == OpStatus::kTimedOut);
  CHECK(loop.run_ready() == 1);
  CHECK(handle.wait() == OpStatus::kOk);
  CHECK(handle.get() == 3);
}

TEST_CASE("spawn: the task resumes on its executor wherever it is woken", "[core][task]") {
  RunLoop loop;
  Gate gate;
  std::thread::id resumed_on;
  JoinHandle<> handle = spawn(loop, [](Gate& on, std::thread::id& where) -> Task<> {
    co_await on;
    where = std::this_thread::get_id();
  }(gate, resumed_on));
  loop.run_ready();
  REQUIRE(gate.has_waiter());
  std::thread([&] { gate.open(); }).join();
  CHECK(resumed_on == std::thread::id());
  CHECK(loop.run_ready() == 1);
  CHECK(resumed_on == std::this_thread::get_id());
  CHECK(handle.wait() == OpStatus::kOk);
}

TEST_CASE("spawn: a dropped handle lets the task run on", "[core][task]") {
  RunLoop loop;
  auto witness = std::make_shared<int>(0);
  {
    JoinHandle<> dropped = spawn(loop, [](std::shared_ptr<int> counter) -> Task<> {
      ++*counter;
      co_return;
    }(witness));
  }
  loop.run_ready();
  CHECK(*witness == 1);
  CHECK(witness.use_count() == 1);  // and everything of it is gone
}

/// Keeps what escaped.
class CatchingLoop final : public Executor {
 public:
  void post(Work& work) noexcept override { loop_.post(work); }
  void on_exception(std::exception_ptr exception) noexcept override { escaped.push_back(std::move(exception)); }
  void run_ready() { loop_.run_ready(); }
  std::vector<std::exception_ptr> escaped;

 private:
  RunLoop loop_;
};

TEST_CASE("spawn: an exception nobody can see any more goes to the executor, once", "[core][task]") {
  CatchingLoop loop;
  SECTION("dropped before the end") {
    { JoinHandle<int> dropped = spawn(loop, failing()); }
    loop.run_ready();
    CHECK(loop.escaped.size() == 1);
  }
  SECTION("dropped after the end") {
    {
      JoinHandle<int> dropped = spawn(loop, failing());
      loop.run_ready();
      CHECK(loop.escaped.empty());
    }
    CHECK(loop.escaped.size() == 1);
  }
  SECTION("seen") {
    JoinHandle<int> handle = spawn(loop, failing());
    loop.run_ready();
    CHECK_THROWS_AS(handle.get(), std::runtime_error);
    handle = spawn(loop, value(1));
    loop.run_ready();
    CHECK(loop.escaped.empty());
  }
}

TEST_CASE("JoinHandle: a coroutine may wait for it", "[core][task]") {
  RunLoop loop;
  Gate gate;
  JoinHandle<int> inner = spawn(loop, [](Gate& on) -> Task<int> {
    co_await on;
    co_return 5;
  }(gate));
  JoinHandle<int> outer =
      spawn(loop, [](JoinHandle<int> handle) -> Task<int> { co_return 1 + co_await handle; }(std::move(inner)));
  loop.run_ready();
  gate.open();
  loop.run_ready();
  CHECK(outer.get() == 6);
}

TEST_CASE("JoinHandle: of a task that has ended is not waited for", "[core][task]") {
  RunLoop loop;
  JoinHandle<int> inner = spawn(loop, value(5));
  loop.run_ready();
  CHECK(sync_wait([](JoinHandle<int> handle) -> Task<int> { co_return co_await handle; }(std::move(inner))) == 5);
}

TEST_CASE("Executor: posted functions run once, in order", "[core][executor]") {
  RunLoop loop;
  std::vector<int> order;
  loop.post([&] {
    order.push_back(1);
    loop.post([&] { order.push_back(3); });
  });
  loop.post([&, owned = std::make_unique<int>(2)] { order.push_back(*owned); });
  CHECK(order.empty());
  CHECK(loop.run_ready() == 3);
  CHECK(order == std::vector<int>{1, 2, 3});
}

TEST_CASE("Executor: what escapes from a posted function is reported and the rest runs", "[core][executor]") {
  CatchingLoop loop;
  Executor& executor = loop;
  int runs = 0;
  executor.post([] { throw std::runtime_error("escaped"); });
  executor.post([&] { ++runs; });
  loop.run_ready();
  CHECK(runs == 1);
  CHECK(loop.escaped.size() == 1);
}

TEST_CASE("RunLoop: runs until stopped and empty, and can run again", "[core][executor]") {
  RunLoop loop;
  std::atomic<int> runs{0};
  std::thread posting([&] {
    for (int i = 0; i < 100; ++i) loop.post([&] { ++runs; });
    loop.stop();
  });
  loop.run();
  posting.join();
  CHECK(runs == 100);
  loop.post([&] { ++runs; });
  loop.stop();
  loop.run();
  CHECK(runs == 101);
}

TEST_CASE("RunLoop: may go as soon as its last work has run", "[core][executor][stress]") {
  for (int round = 0; round < 3000; ++round) {
    auto loop = std::make_unique<RunLoop>();
    std::thread posting([raw = loop.get()] { raw->post([raw] { raw->stop(); }); });
    loop->run();
    loop.reset();
    posting.join();
  }
}

TEST_CASE("Executor: the inline one runs at once, and chains do not nest", "[core][executor]") {
  Executor& executor = Executor::inline_executor();
  int depth = 0;
  int deepest = 0;
  int runs = 0;
  struct Chain {
    Executor& executor;
    int& depth;
    int& deepest;
    int& runs;
    void operator()() const {
      deepest = std::max(deepest, ++depth);
      if (++runs < 100'000) executor.post(Chain(*this));
      --depth;
    }
  };
  executor.post(Chain{executor, depth, deepest, runs});
  CHECK(runs == 100'000);
  CHECK(deepest == 1);
}

TEST_CASE("JoinHandle: ends and waits from many threads", "[core][task][stress]") {
  RunLoop loop;
  std::thread running([&] { loop.run(); });
  for (int round = 0; round < 2000; ++round) {
    JoinHandle<int> first = spawn(loop, value(round));
    JoinHandle<int> second =
        spawn(loop, [](JoinHandle<int> inner) -> Task<int> { co_return co_await inner; }(std::move(first)));
    JoinHandle<int> dropped = spawn(loop, value(0));
    REQUIRE(second.get() == round);
  }
  loop.stop();
  running.join();
}

}  // namespace
}  // namespace penstock
