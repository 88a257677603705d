// SPDX-License-Identifier: MIT
#include "penstock/core/task.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "core/catching_loop.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "support/aborts.hpp"
#include "support/catch.hpp"

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

/// Throws when it is moved for the n-th time from now.
struct ThrowingMove {
  explicit ThrowingMove(int moves) : moves_left(moves) {}
  ThrowingMove(ThrowingMove&& other) : moves_left(other.moves_left - 1) {
    if (moves_left == 0) throw std::runtime_error("moved");
  }
  int moves_left;
};

TEST_CASE("Task: a result that throws when it is moved ends the task with that", "[core][task]") {
  const auto make = [](int moves) -> Task<ThrowingMove> { co_return ThrowingMove(moves); };
  int moves = 1;
  for (;; ++moves) {
    try {
      sync_wait(make(moves));
      break;
    } catch (const std::runtime_error&) {
    }
  }
  CHECK(moves > 2);  // it was thrown on the way in and on the way out
}

TEST_CASE("Task: returns what its type can be made of, as a function does", "[core][task]") {
  CHECK(sync_wait([]() -> Task<std::pair<int, std::string>> { co_return {1, "one"}; }()).second == "one");
  CHECK(sync_wait([]() -> Task<std::string> { co_return "text"; }()) == "text");
  CHECK(sync_wait([]() -> Task<std::optional<long>> { co_return std::nullopt; }()) == std::nullopt);
  CHECK(sync_wait([]() -> Task<OpStatus> { co_return OpStatus::kFull; }()) == OpStatus::kFull);
}

TEST_CASE("Task: one that is assigned over is destroyed at once", "[core][task]") {
  auto witness = std::make_shared<int>(0);
  const auto hold = [](std::shared_ptr<int>) -> Task<> { co_return; };
  Task<> first = hold(witness);
  Task<> second = nothing();
  first = std::move(second);
  CHECK(witness.use_count() == 1);
  sync_wait(std::move(first));
}

TEST_CASE("Task: misuse that would corrupt memory ends the process with a word", "[core][task]") {
  const auto await_it = [](Task<int> task) -> Task<int> { co_return co_await std::move(task); };
  SECTION("awaited twice") {
    CHECK_THAT(testing::message_of_abort([&] {
                 sync_wait([](Task<int> task) -> Task<int> {
                   const int once = co_await std::move(task);
                   co_return once + co_await std::move(task);
                 }(value(1)));
               }),
               testing::ContainsSubstring("a task was awaited twice"));
  }
  SECTION("awaited after it was moved from") {
    CHECK_THAT(testing::message_of_abort([&] {
                 Task<int> task = value(1);
                 const Task<int> taken = std::move(task);
                 sync_wait(await_it(std::move(task)));
               }),
               testing::ContainsSubstring("after it was moved from"));
  }
  SECTION("a handle that was moved from") {
    CHECK_THAT(testing::message_of_abort([&] {
                 RunLoop loop;
                 JoinHandle<int> handle = spawn(loop, value(1));
                 const JoinHandle<int> taken = std::move(handle);
                 static_cast<void>(handle.wait());
               }),
               testing::ContainsSubstring("a join handle was used after it was moved from"));
  }
  SECTION("a result that is taken again after an exception") {
    CHECK_THAT(testing::message_of_abort([&] {
                 RunLoop loop;
                 JoinHandle<int> handle = spawn(loop, failing());
                 loop.run_ready();
                 try {
                   handle.get();
                 } catch (const std::runtime_error&) {
                   handle.get();
                 }
               }),
               testing::ContainsSubstring("the result of a task was taken twice"));
  }
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

TEST_CASE("spawn: what a task was given is gone when it has ended, though its handle is kept", "[core][task]") {
  RunLoop loop;
  auto witness = std::make_shared<int>(0);
  JoinHandle<int> kept = spawn(loop, [](std::shared_ptr<int> given) -> Task<int> { co_return ++*given; }(witness));
  CHECK(witness.use_count() == 2);
  loop.run_ready();
  CHECK(witness.use_count() == 1);
  CHECK(kept.get() == 1);
}

TEST_CASE("sync_wait: a coroutine may wait for another one that needs nothing of its thread", "[core][task]") {
  CHECK(sync_wait([]() -> Task<int> { co_return 1 + sync_wait(nested(3)); }()) == 4);
}

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

TEST_CASE("JoinHandle: one that is assigned over lets go at once", "[core][task]") {
  CatchingLoop loop;
  JoinHandle<int> first = spawn(loop, failing());
  JoinHandle<int> second = spawn(loop, value(1));
  loop.run_ready();
  first = std::move(second);
  CHECK(loop.escaped.size() == 1);
  CHECK(first.get() == 1);
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
