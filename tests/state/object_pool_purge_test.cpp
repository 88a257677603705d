// SPDX-License-Identifier: MIT

// The two generations of idle objects: an unused one lives for one to two purges, a used one stays.

#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"

#include "state/object_pool_support.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::Counted;
using testing::CountedPool;
using testing::Handle;
using testing::is_consistent;
using testing::options_for;
using testing::take;

TEST_CASE("ObjectPool: an unused object is gone after two purges", "[state][object_pool]") {
  std::atomic<int> alive{0};
  // Some lie in the thread's own, the others in the depot.
  const std::size_t number = GENERATE(as<std::size_t>{}, 1, 5, 64, 65, 200);
  CountedPool pool(options_for(alive));
  static_cast<void>(take(pool, number));
  REQUIRE(pool.stats().idle == number);
  pool.purge();
  CHECK(pool.stats().victim == number);
  CHECK(static_cast<std::size_t>(alive) == number);
  pool.purge();
  CHECK(alive == 0);
  CHECK(pool.stats().purged == number);
  CHECK(pool.stats().purges == 2);
  CHECK(pool.stats().idle == 0);
}

TEST_CASE("ObjectPool: what is taken from the victims comes back as used", "[state][object_pool]") {
  std::atomic<int> alive{0};
  const std::size_t number = GENERATE(as<std::size_t>{}, 10, 200);
  CountedPool pool(options_for(alive));
  static_cast<void>(take(pool, number));
  for (int i = 0; i != 5; ++i) {
    pool.purge();
    const std::uint64_t before = pool.stats().hits_victim;
    static_cast<void>(take(pool, 5));
    CHECK(pool.stats().hits_victim == before + 5);
    CHECK(pool.stats().victim == (i == 0 ? number - 5 : 0));
    CHECK(alive == (i == 0 ? static_cast<int>(number) : 5));
    CHECK(is_consistent(pool.stats()));
  }
  CHECK(pool.stats().misses == number);
}

TEST_CASE("ObjectPool: a purge leaves min_idle objects", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.min_idle = GENERATE(as<std::size_t>{}, 0, 1, 7, 40, 70, 100);
  const int left = static_cast<int>(options.min_idle);
  CountedPool pool(std::move(options));
  static_cast<void>(take(pool, 100));
  for (int i = 0; i != 4; ++i) pool.purge();
  CHECK(alive == left);
  CHECK(pool.release_idle() == static_cast<std::size_t>(left));  // memory pressure knows no minimum
  CHECK(alive == 0);
}

TEST_CASE("ObjectPool: places that a purge has freed can be used again", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.max_idle = 100;
  CountedPool pool(std::move(options));
  for (int i = 0; i != 3; ++i) {
    static_cast<void>(take(pool, 120));
    CHECK(pool.stats().idle == 100);
    pool.purge();
    pool.purge();
    CHECK(pool.stats().idle == 0);
  }
}

TEST_CASE("ObjectPool: memory pressure takes a part, the oldest first", "[state][object_pool]") {
  std::atomic<int> alive{0};
  CountedPool pool(options_for(alive));
  static_cast<void>(take(pool, 100));
  pool.purge();
  static_cast<void>(take(pool, 30));
  CHECK(pool.release_idle(0.4) == 40);
  CHECK(pool.stats().victim == 30);
  CHECK(pool.release_idle(0) == 0);
  CHECK(pool.release_idle(-1) == 0);
  CHECK(pool.release_idle(std::nan("")) == 0);
  CHECK(pool.release_idle(1e-9) == 1);
  CHECK(alive == 59);
  CHECK(pool.release_idle(std::numeric_limits<double>::infinity()) == 59);
  CHECK(alive == 0);
}

TEST_CASE("ObjectPool: the purge comes by the clock", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ManualClock clock;
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.clock = &clock;
  options.purge_every = 10s;
  {
    CountedPool pool(std::move(options));
    static_cast<void>(take(pool, 5));
    clock.advance(9s);
    CHECK(pool.stats().purges == 0);
    clock.advance(1s);
    CHECK(pool.stats().purges == 1);
    CHECK(alive == 5);
    clock.advance(-30s);
    clock.advance(10s);
    CHECK(alive == 0);
    clock.advance(10min);
    CHECK(pool.stats().purges == 62);
  }
  CHECK(clock.armed() == 0);
}

TEST_CASE("ObjectPool: the purge of the clock reaches what lies with other threads", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ManualClock clock;
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.clock = &clock;
  options.purge_every = 10s;
  CountedPool pool(std::move(options));
  std::atomic<bool> has_given_back{false};
  std::atomic<bool> may_end{false};
  std::thread other([&] {
    static_cast<void>(take(pool, 5));
    has_given_back = true;
    while (!may_end) std::this_thread::yield();
  });
  while (!has_given_back) std::this_thread::yield();
  clock.advance(20s);
  CHECK(alive == 0);
  may_end = true;
  other.join();
}

TEST_CASE("ObjectPool: with an executor the purge of the clock runs there", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ManualClock clock;
  RunLoop loop;
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.clock = &clock;
  options.purge_every = 10s;
  options.executor = &loop;
  auto pool = std::make_unique<CountedPool>(std::move(options));
  static_cast<void>(take(*pool, 5));
  clock.advance(30s);  // one is posted; nobody has run it
  CHECK(pool->stats().purges == 0);
  loop.run_ready();
  CHECK(pool->stats().purges == 1);
  clock.advance(10s);
  loop.run_ready();
  CHECK(alive == 0);
  clock.advance(10s);
  pool.reset();  // takes the posted one back
  loop.run_ready();
  CHECK(clock.armed() == 0);
}

TEST_CASE("ObjectPool: a destructor in the purge of the clock may end the pool", "[state][object_pool]") {
  struct Ender {
    std::unique_ptr<ObjectPool<Ender>>* pool = nullptr;
    ~Ender() {
      if (pool != nullptr) pool->reset();
    }
  };
  ManualClock clock;
  std::unique_ptr<ObjectPool<Ender>> pool;
  pool =
      std::make_unique<ObjectPool<Ender>>(ObjectPoolOptions<Ender>{.name = "p", .purge_every = 10s, .clock = &clock});
  (*pool->acquire())->pool = &pool;
  clock.advance(1h);
  CHECK(pool == nullptr);
  CHECK(clock.armed() == 0);
}

// The generations of a pool used by one thread, beside a naive copy of the rules.
TEST_CASE("ObjectPool: generations are those of a naive pool", "[state][object_pool]") {
  for (unsigned seed = 1; seed != 30; ++seed) {
    std::atomic<int> alive{0};
    ObjectPoolOptions<Counted> options = options_for(alive);
    options.max_idle = 90;
    options.min_idle = seed % 3 == 0 ? 20 : 0;
    const std::size_t least = options.min_idle;
    CountedPool pool(std::move(options));
    std::size_t fresh = 0;
    std::size_t victims = 0;
    std::vector<Handle> out;
    unsigned random = seed;
    for (int step = 0; step != 300; ++step) {
      random = random * 1103515245U + 12345U;
      const unsigned what = (random >> 16U) % 100U;
      if (what < 6) {
        pool.purge();
        const std::size_t idle = fresh + victims;
        victims -= std::min(victims, idle > least ? idle - least : 0);
        victims += std::exchange(fresh, 0);
      } else if (what < 50) {
        for (unsigned i = 0; i != what % 16; ++i) {
          out.push_back(*pool.acquire());
          if (fresh != 0) {
            --fresh;
          } else if (victims != 0) {
            --victims;
          }
        }
      } else {
        for (unsigned i = 0; i != what % 16 && !out.empty(); ++i) {
          out.pop_back();
          if (fresh + victims != 90) ++fresh;
        }
      }
      const ObjectPoolStats stats = pool.stats();
      CAPTURE(seed, step);
      REQUIRE(stats.idle == fresh + victims);
      REQUIRE(stats.out == out.size());
      REQUIRE(static_cast<std::size_t>(alive) == stats.live);
      REQUIRE(is_consistent(stats));
      REQUIRE(stats.victim == victims);
    }
  }
}

}  // namespace
}  // namespace penstock
