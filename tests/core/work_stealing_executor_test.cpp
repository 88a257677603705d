// SPDX-License-Identifier: MIT
#include "penstock/core/work_stealing_executor.hpp"

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#endif

#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/task.hpp"
#include "support/aborts.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

namespace penstock {
namespace {

using testing::eventually;

/// Work that counts how often it ran.
struct Counted : Work {
  Counted() noexcept : Work([](Work& work) noexcept { ++static_cast<Counted&>(work).runs; }) {}
  std::atomic<int> runs{0};
};

/// Holds threads until it is opened. It goes when they have left.
class Barrier {
 public:
  ~Barrier() {
    open();
    std::unique_lock lock(mutex_);
    left_.wait(lock, [&] { return inside_ == 0; });
  }
  void wait() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    ++inside_;
    opened_.wait(lock, [&] { return open_; });
    --inside_;
    left_.notify_all();
  }
  void open() {
    {
      const std::lock_guard lock(mutex_);
      open_ = true;
    }
    opened_.notify_all();
  }
  int waiting() {
    const std::lock_guard lock(mutex_);
    return waiting_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  std::condition_variable left_;
  int waiting_ = 0;  // in all
  int inside_ = 0;
  bool open_ = false;
};

TEST_CASE("WorkStealingExecutor: runs what is posted, once, in its own threads", "[core][work_stealing_executor]") {
  for (const std::size_t threads : {1U, 2U, 5U}) {
    std::atomic<int> runs{0};
    std::atomic<int> elsewhere{0};
    {
      WorkStealingExecutor executor(threads, "test");
      CHECK(executor.threads() == threads);
      CHECK(executor.name() == "test");
      CHECK_FALSE(executor.on_own_thread());
      for (int i = 0; i < 1000; ++i) {
        executor.post([&] {
          ++runs;
          if (!executor.on_own_thread()) ++elsewhere;
          executor.post([&] { ++runs; });
        });
      }
    }
    CHECK(runs == 2000);
    CHECK(elsewhere == 0);
  }
}

TEST_CASE("WorkStealingExecutor: refuses to have no threads", "[core][work_stealing_executor]") {
  CHECK_THROWS_WITH(WorkStealingExecutor(0, "gateway"),
                    "work stealing executor 'gateway': threads must be at least 1, got 0");
}

#if defined(__linux__)
TEST_CASE("WorkStealingExecutor: its threads carry its name and their number", "[core][work_stealing_executor]") {
  std::mutex mutex;
  std::set<std::string> names;
  {
    WorkStealingExecutor executor(2, "a rather long name");
    Barrier barrier;
    for (int i = 0; i < 2; ++i) {
      executor.post([&] {
        char name[16] = {};
        pthread_getname_np(pthread_self(), name, sizeof(name));
        {
          const std::lock_guard lock(mutex);
          names.insert(name);
        }
        barrier.wait();
      });
    }
    CHECK(eventually([&] { return barrier.waiting() == 2; }));
    barrier.open();
  }
  CHECK(names == std::set<std::string>{"a rather long/0", "a rather long/1"});
}
#endif

TEST_CASE("WorkStealingExecutor: the last one made ready runs next, the others as they came",
          "[core][work_stealing_executor]") {
  std::vector<int> order;
  {
    WorkStealingExecutor executor(1, "test");
    executor.post([&] {
      for (int i = 1; i <= 4; ++i) executor.post([&order, i] { order.push_back(i); });
    });
  }
  CHECK(order == std::vector<int>{4, 1, 2, 3});
}

/// Posts itself again until it is told to stop.
struct Endless : Work {
  explicit Endless(Executor& on) noexcept
      : Work([](Work& work) noexcept {
          auto& self = static_cast<Endless&>(work);
          if (!self.stop) self.executor.post(self);
          ++self.runs;
        }),
        executor(on) {}
  Executor& executor;
  std::atomic<bool> stop{false};
  std::atomic<long> runs{0};
};

TEST_CASE("WorkStealingExecutor: work that keeps itself ready starves nobody", "[core][work_stealing_executor]") {
  std::optional<Endless> greedy;
  WorkStealingExecutor executor(1, "test");
  executor.post(greedy.emplace(executor));
  REQUIRE(eventually([&] { return greedy->runs > 1000; }));
  // From outside, and from inside.
  std::atomic<int> runs{0};
  executor.post([&] {
    executor.post([&] { ++runs; });
    executor.post([&] { ++runs; });
    ++runs;
  });
  CHECK(eventually([&] { return runs == 3; }));
  greedy->stop = true;
}

TEST_CASE("WorkStealingExecutor: no work waits behind a thread that blocks", "[core][work_stealing_executor]") {
  WorkStealingExecutor executor(2, "test");
  for (int round = 0; round < 20; ++round) {
    Barrier barrier;
    std::atomic<int> runs{0};
    executor.post([&] {
      for (int i = 0; i < 3; ++i) executor.post([&] { ++runs; });
      barrier.wait();
      ++runs;
    });
    CHECK(eventually([&] { return runs == 3; }));
    CHECK(barrier.waiting() == 1);
    barrier.open();
    CHECK(eventually([&] { return runs == 4; }));
  }
}

TEST_CASE("WorkStealingExecutor: a task may block on one that it has spawned", "[core][work_stealing_executor]") {
  WorkStealingExecutor executor(2, "test");
  const auto nested = [](WorkStealingExecutor& on) -> Task<int> {
    co_return spawn(on, []() -> Task<int> { co_return 42; }()).get();
  };
  for (int round = 0; round < 20; ++round) CHECK(spawn(executor, nested(executor)).get() == 42);
}

TEST_CASE("WorkStealingExecutor: as many blocking pieces run at once as there are threads",
          "[core][work_stealing_executor]") {
  for (const bool from_inside : {false, true}) {
    WorkStealingExecutor executor(4, "test");
    Barrier barrier;
    const auto post_all = [&] {
      for (int i = 0; i < 4; ++i) executor.post([&] { barrier.wait(); });
    };
    if (from_inside) {
      executor.post(post_all);
    } else {
      post_all();
    }
    CHECK(eventually([&] { return barrier.waiting() == 4; }));
    barrier.open();
  }
}

TEST_CASE("WorkStealingExecutor: the destructor runs what is posted, also what that posts",
          "[core][work_stealing_executor]") {
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> runs{0};
    {
      WorkStealingExecutor executor(2, "test");
      struct Spread {
        WorkStealingExecutor& executor;
        std::atomic<int>& runs;
        int depth;
        void operator()() const {
          ++runs;
          if (depth == 0) return;
          executor.post(Spread{executor, runs, depth - 1});
          executor.post(Spread{executor, runs, depth - 1});
        }
      };
      executor.post(Spread{executor, runs, 7});
    }
    CHECK(runs == 255);
  }
}

TEST_CASE("WorkStealingExecutor: what escapes from a posted function ends the process, as on other executors",
          "[core][work_stealing_executor]") {
  CHECK(testing::message_of_abort([] {
          WorkStealingExecutor executor(1, "test");
          executor.post([] { throw std::runtime_error("escaped"); });
        }).find("escaped") != std::string::npos);
}

TEST_CASE("WorkStealingExecutor: what is revoked never runs, wherever it waits", "[core][work_stealing_executor]") {
  std::array<Counted, 5> own;
  std::array<Counted, 3> mail;
  std::array<bool, 3> revoked{};
  {
    WorkStealingExecutor executor(1, "test");
    Barrier barrier;
    executor.post([&] {
      for (Counted& work : own) executor.post(work);
      revoked[0] = executor.revoke(own[4]);  // the front
      revoked[1] = executor.revoke(own[0]);  // the queue
      revoked[2] = executor.revoke(own[2]);
      barrier.wait();
    });
    REQUIRE(eventually([&] { return barrier.waiting() == 1; }));
    for (Counted& work : mail) executor.post(work);
    CHECK(executor.revoke(mail[1]));
    CHECK(executor.revoke(own[1]));
    barrier.open();
  }
  CHECK(revoked == std::array<bool, 3>{true, true, true});
  for (std::size_t i = 0; i < own.size(); ++i) CHECK(own[i].runs == (i == 3 ? 1 : 0));
  for (std::size_t i = 0; i < mail.size(); ++i) CHECK(mail[i].runs == (i == 1 ? 0 : 1));
}

TEST_CASE("WorkStealingExecutor: work is either revoked or runs", "[core][work_stealing_executor][stress]") {
  WorkStealingExecutor executor(2, "test");
  for (int round = 0; round < 3000; ++round) {
    // Posted by one thread, revoked by another: on its way, in the mail, in a queue, in the front.
    std::array<Counted, 4> works;
    std::thread outside;
    const auto post_all = [&] {
      for (Counted& work : works) executor.post(work);
    };
    if (round % 4 == 0) {
      outside = std::thread(post_all);
    } else {
      executor.post(post_all);
    }
    int expected = 0;
    for (std::size_t i = works.size(); i-- > 0;) {
      if (!executor.revoke(works[i])) ++expected;
    }
    const auto runs = [&] {
      int sum = 0;
      for (const Counted& work : works) sum += work.runs;
      return sum;
    };
    REQUIRE(eventually([&] { return runs() >= expected; }));
    if (outside.joinable()) outside.join();
    REQUIRE(runs() == expected);
  }
}

TEST_CASE("WorkStealingExecutor: threads inside and outside post, and nothing is lost",
          "[core][work_stealing_executor][stress]") {
  struct Hop : Work {
    Hop() noexcept
        : Work([](Work& work) noexcept {
            auto& self = static_cast<Hop&>(work);
            const int hops = --self.left;
            Executor& where = *self.executors[hops % 5 == 0 ? 1 : 0];
            if (hops == 0) {
              ++*self.ended;
            } else {
              where.post(self);
            }
          }) {}
    Executor* executors[2] = {};
    std::atomic<int>* ended = nullptr;
    int left = 2000;
  };
  std::atomic<int> ended{0};
  std::vector<Hop> hops(40);
  {
    WorkStealingExecutor first(2, "first");
    WorkStealingExecutor second(3, "second");
    for (Hop& hop : hops) {
      hop.executors[0] = &first;
      hop.executors[1] = &second;
      hop.ended = &ended;
      first.post(hop);
    }
    REQUIRE(eventually([&] { return ended == 40; }));
  }
}

TEST_CASE("WorkStealingExecutor: may go as soon as its last work has run", "[core][work_stealing_executor][stress]") {
  for (int round = 0; round < 500; ++round) {
    auto executor = std::make_unique<WorkStealingExecutor>(2, "test");
    std::atomic<bool> ran{false};
    std::thread posting([&, raw = executor.get()] { raw->post([&] { ran = true; }); });
    REQUIRE(eventually([&] { return ran.load(); }));
    executor.reset();
    posting.join();
  }
}

Task<int> spawn_and_add(Executor& on, int depth) {
  if (depth == 0) co_return 1;
  JoinHandle<int> left = spawn(on, spawn_and_add(on, depth - 1));
  JoinHandle<int> right = spawn(on, spawn_and_add(on, depth - 1));
  co_return co_await left + co_await right;
}

TEST_CASE("WorkStealingExecutor: tasks spawn tasks and await them", "[core][work_stealing_executor][stress]") {
  WorkStealingExecutor executor(3, "test");
  for (int round = 0; round < 20; ++round) REQUIRE(spawn(executor, spawn_and_add(executor, 10)).get() == 1024);
}

}  // namespace
}  // namespace penstock
