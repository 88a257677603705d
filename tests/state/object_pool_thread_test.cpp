// SPDX-License-Identifier: MIT

// What threads leave to each other, and to the pool.

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "state/object_pool_support.hpp"
#include "support/eventually.hpp"
#include "support/forked.hpp"

namespace penstock {
namespace {

using testing::Counted;
using testing::CountedPool;
using testing::eventually;
using testing::Handle;
using testing::options_for;
using testing::take;

TEST_CASE("ObjectPool: a thread that ends leaves its objects and its counts", "[state][object_pool]") {
  std::atomic<int> alive{0};
  CountedPool pool(options_for(alive));
  std::thread other([&] {
    static_cast<void>(take(pool, 5));
    static_cast<void>(take(pool, 5));
  });
  other.join();
  ObjectPoolStats stats = pool.stats();
  CHECK(stats.threads == 0);
  CHECK(stats.idle == 5);
  CHECK(stats.hits_local == 5);
  CHECK(stats.returns == 10);
  static_cast<void>(take(pool, 5));
  stats = pool.stats();
  CHECK(stats.misses == 5);
  CHECK(stats.hits() == 10);
  CHECK(alive == 5);
}

TEST_CASE("ObjectPool: a thread may end long after the pool", "[state][object_pool]") {
  std::atomic<int> alive{0};
  auto pool = std::make_unique<CountedPool>(options_for(alive));
  std::atomic<int> stage{0};
  std::thread other([&] {
    static_cast<void>(take(*pool, 5));
    stage = 1;
    while (stage != 2) std::this_thread::yield();
    std::atomic<int> alive_later{0};
    CountedPool later(options_for(alive_later));  // takes over the place of the one that went
    static_cast<void>(take(later, 5));
    stage = static_cast<int>(later.stats().idle) + 100;
  });
  REQUIRE(eventually([&] { return stage == 1; }));
  pool.reset();
  CHECK(alive == 0);
  stage = 2;
  other.join();
  CHECK(stage == 105);
}

TEST_CASE("ObjectPool: an object may be let go by another thread, and after its pool", "[state][object_pool]") {
  std::atomic<int> alive{0};
  auto pool = std::make_unique<CountedPool>(options_for(alive));
  std::vector<Handle> out = take(*pool, 100);
  std::thread other([&] {
    for (int i = 0; i != 50; ++i) out.pop_back();
  });
  other.join();
  CHECK(pool->stats().idle == 50);
  CHECK(pool->stats().out == 50);
  pool.reset();
  CHECK(alive == 50);
  std::thread late([&] { out.clear(); });
  late.join();
  CHECK(alive == 0);
}

/// Gives back when its thread ends: after the thread's caches have gone, if it was made before them.
struct Keeper {
  Handle handle;
  CountedPool* acquires_from = nullptr;
  ~Keeper() {
    handle.reset();
    if (acquires_from != nullptr) static_cast<void>(acquires_from->acquire());
  }
};

TEST_CASE("ObjectPool: thread-local objects give back after the thread's own have gone", "[state][object_pool]") {
  std::atomic<int> alive{0};
  CountedPool pool(options_for(alive));
  std::thread other([&] {
    thread_local Keeper keeper;
    keeper.acquires_from = &pool;
    keeper.handle = *pool.acquire();
  });
  other.join();
  const ObjectPoolStats stats = pool.stats();
  CHECK(stats.idle == 1);
  CHECK(stats.live == 1);
  CHECK(stats.requests == 2);
  CHECK(stats.returns == 2);
  CHECK(stats.threads == 0);
}

TEST_CASE("ObjectPool: places that a thread leased and does not use go to who needs them", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.max_idle = 20;
  CountedPool pool(std::move(options));
  std::atomic<int> stage{0};
  std::thread other([&] {
    static_cast<void>(take(pool, 1));  // one object, and places for more
    stage = 1;
    while (stage != 2) std::this_thread::yield();
  });
  REQUIRE(eventually([&] { return stage == 1; }));
  static_cast<void>(take(pool, 30));
  const ObjectPoolStats stats = pool.stats();
  CHECK(stats.idle == 20);
  CHECK(stats.discarded_full == 11);
  stage = 2;
  other.join();
}

TEST_CASE("ObjectPool: a pool that steals takes from others before it makes", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.steals = true;
  CountedPool pool(std::move(options));
  std::atomic<int> stage{0};
  std::thread other([&] {
    static_cast<void>(take(pool, 10));
    stage = 1;
    while (stage != 2) std::this_thread::yield();
  });
  REQUIRE(eventually([&] { return stage == 1; }));
  {
    const std::vector<Handle> out = take(pool, 10);
    const ObjectPoolStats stats = pool.stats();
    CHECK(stats.misses == 10);
    CHECK(stats.hits() == 10);
    CHECK(stats.hits_stolen >= 1);
    CHECK(stats.idle == 0);
  }
  CHECK(alive == 10);
  stage = 2;
  other.join();
}

TEST_CASE("ObjectPool: in steady state objects that travel between threads are not made anew", "[state][object_pool]") {
  std::atomic<int> alive{0};
  CountedPool pool(options_for(alive));
  std::vector<Handle> travelling;
  std::atomic<int> turn{0};
  constexpr int kRounds = 2'000;
  std::thread returner([&] {
    for (int i = 0; i != kRounds; ++i) {
      while (turn != 1) std::this_thread::yield();
      travelling.clear();
      turn = 0;
    }
  });
  for (int i = 0; i != kRounds; ++i) {
    while (turn != 0) std::this_thread::yield();
    for (int each = 0; each != 8; ++each) travelling.push_back(*pool.acquire());
    turn = 1;
  }
  returner.join();
  CHECK(pool.stats().misses <= 200);
  CHECK(alive <= 200);
}

#if PENSTOCK_TEST_BUSY_FORKS

TEST_CASE("ObjectPool: a forked child waits for none of the threads that it has not", "[state][object_pool]") {
  std::atomic<int> alive{0};
  auto pool = std::make_unique<CountedPool>(options_for(alive));
  std::atomic<bool> ends{false};
  std::thread busy([&] {
    while (!ends) static_cast<void>(take(*pool, 3));
  });
  std::thread looking([&] {
    while (!ends) static_cast<void>(pool->stats());
  });
  Handle held = *pool->acquire();
  int answer = 0;
  for (int i = 0; i != 20 && answer == 0; ++i) {
    answer = testing::answer_of_child([&] {
      held.reset();
      const absl::Status refused = pool->acquire().status();
      if (refused.code() != absl::StatusCode::kFailedPrecondition) return 1;
      if (pool->prewarm(1).ok() || pool->stats().live != 0 || pool->release_idle() != 0 || pool->close()) return 2;
      pool->purge();
      pool.reset();
      std::atomic<int> mine{0};
      CountedPool own(options_for(mine));
      static_cast<void>(take(own, 3));
      static_cast<void>(take(own, 3));
      return own.stats().hits_local == 3 ? 0 : 3;
    });
  }
  CHECK(answer == 0);
  ends = true;
  busy.join();
  looking.join();
}

#endif

}  // namespace
}  // namespace penstock
