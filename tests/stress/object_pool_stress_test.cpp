// SPDX-License-Identifier: MIT

// Object pools under threads that acquire, pass on, let go and end, while others purge, count, prewarm, press for
// memory and close: nobody holds what another one holds, the limits hold at every moment, and at the end nothing is
// missing.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/state/object_pool.hpp"

#include "support/catch.hpp"
#include "support/rounds.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using penstock::testing::Rounds;

namespace {

std::atomic<int> alive{0};
std::atomic<int> most_alive{0};
std::atomic<bool> has_met{false};

/// An object that notices when two have it.
struct Single {
  Single() {
    const int now = ++alive;
    for (int most = most_alive; now > most && !most_alive.compare_exchange_weak(most, now);) {
    }
  }
  Single(const Single&) = delete;
  Single& operator=(const Single&) = delete;
  ~Single() {
    if (is_held) has_met = true;
    --alive;
  }

  void take() {
    if (std::exchange(is_held, true)) has_met = true;
    ++uses;
  }
  void leave() {
    if (!std::exchange(is_held, false)) has_met = true;
  }

  bool is_held = false;  // plain: ThreadSanitizer looks, too
  std::uint64_t uses = 0;
};

using Pool = ObjectPool<Single>;

/// Where threads leave objects for each other.
class Exchange {
 public:
  Pooled<Single> swap(Pooled<Single> mine) {
    const std::lock_guard lock(mutex_);
    std::swap(held_[next_++ % held_.size()], mine);
    return mine;
  }
  void clear() {
    for (Pooled<Single>& each : held_) {
      if (each) each->leave();
      each.reset();
    }
  }

 private:
  std::mutex mutex_;
  std::size_t next_ = 0;
  std::vector<Pooled<Single>> held_ = std::vector<Pooled<Single>>(40);
};

void work(Pool& pool, Exchange& exchange, unsigned random, int steps, std::atomic<std::uint64_t>& got) {
  std::vector<Pooled<Single>> mine;
  for (int step = 0; step != steps; ++step) {
    random = random * 1103515245U + 12345U;
    const unsigned what = (random >> 16U) % 100U;
    if (what < 50) {
      absl::StatusOr<Pooled<Single>> object = pool.try_acquire();
      if (!object.ok()) continue;
      ++got;
      (*object)->take();
      mine.push_back(std::move(*object));
    } else if (mine.empty()) {
      continue;
    } else if (what < 60) {
      Pooled<Single> other = exchange.swap(std::move(mine.back()));
      mine.pop_back();
      if (other) mine.push_back(std::move(other));
    } else if (what < 62) {
      mine.back()->leave();
      mine.back().discard();
      mine.pop_back();
    } else {
      mine.back()->leave();
      mine.pop_back();
    }
  }
  for (Pooled<Single>& each : mine) each->leave();
}

}  // namespace

TEST_CASE("ObjectPool: threads come and go while others purge and count", "[stress][object_pool]") {
  constexpr int kThreads = 4;
  Rounds rounds(60);
  while (rounds.next()) {
    most_alive = 0;
    std::atomic<std::uint64_t> got{0};
    std::atomic<bool> is_consistent{true};
    {
      ObjectPoolOptions<Single> options;
      options.name = "stress";
      options.max_live = 300;
      options.max_idle = rounds.begun() % 2 == 0 ? 100 : 250;
      options.steals = rounds.begun() % 3 == 0;
      options.purge_every = Duration::max();
      const std::size_t max_idle = *options.max_idle;
      Pool pool(std::move(options));
      Exchange exchange;
      std::atomic<bool> ends{false};
      std::thread visitor([&] {
        for (int i = 0; !ends; ++i) {
          const ObjectPoolStats stats = pool.stats();
          if (stats.requests != stats.hits() + stats.misses || stats.live != stats.idle + stats.out ||
              stats.idle > max_idle || stats.live > 300 || stats.victim > stats.idle) {
            is_consistent = false;
          }
          if (i % 4 == 0) pool.purge();
          if (i % 16 == 1) pool.release_idle(0.3);
          if (i % 16 == 2) static_cast<void>(pool.prewarm(3));
          std::this_thread::yield();
        }
      });
      std::vector<std::thread> threads;
      for (int t = 0; t != kThreads; ++t) {
        threads.emplace_back([&, t] {
          // Threads that end, too.
          for (int part = 0; part != 3; ++part) {
            std::thread([&, t, part] {
              work(pool, exchange, static_cast<unsigned>(rounds.begun() * 100) + static_cast<unsigned>(10 * t + part),
                   500, got);
            }).join();
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
      ends = true;
      visitor.join();
      exchange.clear();
      const ObjectPoolStats stats = pool.stats();
      CHECK(stats.out == 0);
      CHECK(stats.requests == got);
      CHECK(stats.returns == got);
      CHECK(static_cast<std::size_t>(alive) == stats.live);
      if (rounds.begun() % 2 == 0) pool.close();
    }
    REQUIRE(is_consistent);
    REQUIRE(alive == 0);
    REQUIRE(most_alive <= 300);
    REQUIRE_FALSE(has_met);
  }
}

TEST_CASE("ObjectPool: many wait for few while the pool closes and goes", "[stress][object_pool]") {
  Rounds rounds(200);
  while (rounds.next()) {
    std::atomic<int> served{0};
    std::atomic<int> refused{0};
    {
      auto pool = std::make_unique<Pool>(
          ObjectPoolOptions<Single>{.name = "few", .max_live = 2, .purge_every = Duration::max()});
      std::vector<std::thread> threads;
      for (int t = 0; t != 4; ++t) {
        threads.emplace_back([&] {
          for (int i = 0; i != 50; ++i) {
            absl::StatusOr<Pooled<Single>> object = pool->acquire();
            if (!object.ok()) {
              ++refused;
              continue;
            }
            ++served;
            (*object)->take();
            if (i % 8 == 0) std::this_thread::yield();
            (*object)->leave();
          }
        });
      }
      if (rounds.begun() % 2 == 0) {
        while (served < 20) std::this_thread::yield();
        pool->close();
      }
      for (std::thread& thread : threads) thread.join();
    }
    REQUIRE(alive == 0);
    REQUIRE(served + refused == 200);
    REQUIRE_FALSE(has_met);
  }
}
