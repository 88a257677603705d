// SPDX-License-Identifier: MIT

#include "penstock/exec/task_queue_adapter.hpp"

#include <array>
#include <atomic>
#include <functional>
#include <latch>
#include <memory>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace std::chrono_literals;
using penstock::ElasticPool;
using penstock::ManualClock;
using penstock::TaskQueueAdapter;
using penstock::testing::eventually;
using penstock::testing::FailAllocation;

namespace {

/// As cpp-httplib has it up to 0.14.
class SilentQueue {
 public:
  SilentQueue() = default;
  virtual ~SilentQueue() = default;
  virtual void enqueue(std::function<void()> task) = 0;
  virtual void shutdown() = 0;
  virtual void on_idle() { ++idle; }

  int idle = 0;
};

/// As it has it since.
class TellingQueue {
 public:
  virtual ~TellingQueue() = default;
  virtual bool enqueue(std::function<void()> task) = 0;
  virtual void shutdown() = 0;
};

using Silent = TaskQueueAdapter<SilentQueue>;
using Telling = TaskQueueAdapter<TellingQueue>;

static_assert(std::is_same_v<Silent::Enqueued, void>);
static_assert(std::is_same_v<Telling::Enqueued, bool>);
static_assert(!std::is_copy_constructible_v<Silent> && !std::is_move_constructible_v<Silent>);

}  // namespace

TEST_CASE("TaskQueueAdapter: 20 tasks that stay all run, and the pool shrinks when they have gone",
          "[exec][task_queue_adapter]") {
  ManualClock clock;
  std::latch leave(1);
  std::atomic<int> running{0};
  ElasticPool pool({.name = "http", .clock = &clock});
  const auto queue = std::make_unique<Silent>(pool);
  SilentQueue& server_side = *queue;
  for (int i = 0; i < 20; ++i) {
    server_side.enqueue([&] {
      ++running;
      leave.wait();
    });
  }
  REQUIRE(eventually([&] { return running == 20; }));
  CHECK(pool.worker_count() == 20);
  server_side.on_idle();
  CHECK(queue->idle == 1);

  leave.count_down();
  server_side.shutdown();
  REQUIRE(eventually([&] { return pool.stats().idle == 20; }));
  clock.advance(22s);
  CHECK(pool.worker_count() == 19);
  for (int i = 0; i < 16; ++i) clock.advance(2s);
  CHECK(pool.worker_count() == 3);
  clock.advance(1h);
  CHECK(pool.worker_count() == 3);
}

TEST_CASE("TaskQueueAdapter: shutdown waits for all its tasks, and for those alone", "[exec][task_queue_adapter]") {
  std::latch foreign(1);
  ElasticPool pool({.name = "http"});  // its end waits for the task that looks at the latch
  REQUIRE(pool.execute([&] { foreign.wait(); }) == penstock::OpStatus::kOk);
  for (int round = 0; round < 50; ++round) {
    Telling queue(pool);
    std::atomic<int> ended{0};
    std::latch leave(1);
    for (int i = 0; i < 8; ++i) {
      REQUIRE(queue.enqueue([&] {
        leave.wait();
        ++ended;
      }));
    }
    std::thread releasing([&] { leave.count_down(); });
    if (round % 2 == 0) queue.shutdown();
    if (round % 4 == 1) {
      std::thread other([&] { queue.shutdown(); });
      queue.shutdown();
      other.join();
    }
    if (round % 4 == 3) {
      Silent empty(pool);  // has nothing to wait for
    } else {
      CHECK(ended == 8);
      CHECK_FALSE(queue.enqueue([&] { ++ended; }));
    }
    releasing.join();
    if (round % 4 == 3) queue.shutdown();
    CHECK(ended == 8);
  }
  CHECK_FALSE(pool.is_closed());
  foreign.count_down();
}

TEST_CASE("TaskQueueAdapter: a task has ended when what it owns is gone", "[exec][task_queue_adapter]") {
  ElasticPool pool({.name = "http"});
  for (int round = 0; round < 200; ++round) {
    const auto owned = std::make_shared<int>(0);
    Silent queue(pool);
    queue.enqueue([owned] { ++*owned; });
    queue.shutdown();
    CHECK(owned.use_count() == 1);
    CHECK(*owned == 1);
  }
}

TEST_CASE("TaskQueueAdapter: what the pool refuses is told, or run by the caller", "[exec][task_queue_adapter]") {
  std::latch started(1), leave(1);
  std::atomic<int> ran{0};
  ElasticPool pool({.name = "http", .max_workers = 1, .queue_capacity = 1});
  Telling telling(pool);
  Silent silent(pool);
  silent.enqueue([&] {
    started.count_down();
    leave.wait();
  });
  started.wait();
  REQUIRE(telling.enqueue([&] { ++ran; }));  // waits
  auto owned = std::make_shared<int>(0);
  CHECK_FALSE(telling.enqueue([owned] { ++*owned; }));
  CHECK(owned.use_count() == 1);
  std::thread::id ran_by;
  silent.enqueue([&, owned] { ran_by = std::this_thread::get_id(), ++*owned; });
  CHECK(ran_by == std::this_thread::get_id());
  CHECK(*owned == 1);
  silent.enqueue([] { throw std::runtime_error("boom"); });
  CHECK(pool.stats().exceptions == 1);
  CHECK(pool.stats().refused_full == 3);
  CHECK(ran == 0);

  leave.count_down();
  telling.shutdown();
  CHECK(ran == 1);
  silent.shutdown();
  silent.enqueue([&] { ++ran; });  // so that nothing is ever lost
  CHECK(ran == 2);

  pool.close();
  Telling late(pool);
  CHECK_FALSE(late.enqueue([&] { ++ran; }));
  Silent late_silent(pool);
  late_silent.enqueue([&] { ++ran; });
  CHECK(ran == 3);
  CHECK(pool.stats().refused_closed == 2);
}

TEST_CASE("TaskQueueAdapter: tasks that throw are counted, and end", "[exec][task_queue_adapter]") {
  ElasticPool pool({.name = "http"});
  Silent queue(pool);
  for (int i = 0; i < 10; ++i) queue.enqueue([] { throw 1; });
  queue.shutdown();
  CHECK(eventually([&] { return pool.stats().threw == 10; }));
  CHECK(pool.stats().exceptions == 10);
}

TEST_CASE("TaskQueueAdapter: nothing to call", "[exec][task_queue_adapter]") {
  ElasticPool pool({.name = "http"});
  Telling queue(pool);
  CHECK_THROWS_AS(queue.enqueue({}), std::invalid_argument);
  CHECK_THROWS_AS(queue.enqueue(nullptr), std::invalid_argument);
  CHECK(pool.stats().accepted == 0);
}

TEST_CASE("TaskQueueAdapter: a pool that is cancelled drops what waits, and nobody hangs",
          "[exec][task_queue_adapter]") {
  std::latch started(1), leave(1);
  ElasticPool pool({.name = "http", .max_workers = 1});
  Telling queue(pool);
  const auto owned = std::make_shared<int>(0);
  REQUIRE(queue.enqueue([&] {
    started.count_down();
    leave.wait();
  }));
  started.wait();
  for (int i = 0; i < 5; ++i) REQUIRE(queue.enqueue([owned] { ++*owned; }));
  std::thread cancelling(
      [&] { static_cast<void>(pool.shutdown(penstock::Context::background(), penstock::ElasticEnd::kCancel)); });
  CHECK(eventually([&] { return owned.use_count() == 1; }));
  leave.count_down();
  queue.shutdown();
  cancelling.join();
  CHECK(*owned == 0);
  CHECK(pool.stats().dropped == 5);
}

TEST_CASE("TaskQueueAdapter: without memory a task is refused, or run by the caller", "[exec][task_queue_adapter]") {
  std::latch leave(1);
  std::atomic<int> ran{0};
  ElasticPool pool({.name = "http", .min_workers = 1, .max_workers = 1});
  Telling telling(pool);
  Silent silent(pool);
  REQUIRE(telling.enqueue([&] { leave.wait(); }));
  // Jobs take memory that earlier ones have left, so there have to be more of them than ever before.
  bool has_failed = false;
  int waiting = 0;
  while (!has_failed) {
    std::function<void()> task = [&] { ++ran; };
    const FailAllocation failure(0);
    const bool is_taken = telling.enqueue(std::move(task));
    has_failed = failure.has_failed();
    if (is_taken == has_failed) FAIL("task " << waiting);
    waiting += is_taken ? 1 : 0;
  }
  {
    std::function<void()> task = [&] { ++ran; };
    const FailAllocation failure(0);
    silent.enqueue(std::move(task));
    has_failed = failure.has_failed();
  }
  CHECK(has_failed);
  CHECK(ran == 1);
  leave.count_down();
  telling.shutdown();
  silent.shutdown();
  CHECK(ran == waiting + 1);
}

TEST_CASE("TaskQueueAdapter: many threads enqueue while it shuts down", "[exec][task_queue_adapter]") {
  ElasticPool pool({.name = "http"});
  for (int round = 0; round < 30; ++round) {
    std::atomic<int> taken{0}, ran{0};
    Telling queue(pool);
    {
      std::array<std::thread, 3> threads;
      std::latch begin(4);
      for (std::thread& thread : threads) {
        thread = std::thread([&] {
          begin.arrive_and_wait();
          for (int i = 0; i < 100; ++i) taken += queue.enqueue([&] { ++ran; }) ? 1 : 0;
        });
      }
      begin.arrive_and_wait();
      queue.shutdown();
      for (std::thread& thread : threads) thread.join();
    }
    CHECK(ran == taken);
  }
}
