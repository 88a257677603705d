// SPDX-License-Identifier: MIT

// Object pools that end while objects come back, by threads that end themselves: whoever comes last ends the rest, and
// nobody touches what has gone. For AddressSanitizer and ThreadSanitizer.

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/state/object_pool.hpp"

#include "support/catch.hpp"
#include "support/rounds.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using penstock::testing::Rounds;

namespace {

std::atomic<int> alive{0};

struct Counted {
  Counted() { ++alive; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --alive; }

  std::uint64_t uses = 0;
};

using Pool = ObjectPool<Counted>;

ObjectPoolOptions<Counted> options_of(std::uint64_t round) {
  ObjectPoolOptions<Counted> options;
  options.name = "ending";
  options.max_idle = round % 5 == 0 ? 2 : 100;
  options.purge_every = Duration::max();
  options.timestamps = round % 3 == 0;
  options.detection = round % 4 == 1 ? ObjectDetection::kChecked : ObjectDetection::kOff;
  if (round % 2 == 1) {
    options.reset = [](Counted& object) { return ++object.uses % 7 != 0; };
  }
  return options;
}

}  // namespace

TEST_CASE("ObjectPool: a pool goes while objects come back and threads end", "[stress][object_pool]") {
  constexpr unsigned kThreads = 3;
  Rounds rounds(400);
  while (rounds.next()) {
    auto pool = std::make_unique<Pool>(options_of(rounds.begun()));
    std::atomic<unsigned> ready{0};
    std::atomic<bool> goes{false};
    std::vector<Pooled<Counted>> of_others(kThreads);
    std::vector<std::thread> threads;
    for (unsigned t = 0; t != kThreads; ++t) {
      threads.emplace_back([&, t] {
        std::vector<Pooled<Counted>> mine;
        for (unsigned i = 0; i != 4; ++i) mine.push_back(*pool->acquire());
        mine.resize(3);  // one lies idle in the thread's own
        of_others[(t + 1) % kThreads] = std::move(mine.back());
        mine.pop_back();
        ++ready;
        while (!goes) std::this_thread::yield();
        if (t != 0) mine.clear();
        of_others[t].reset();
      });
    }
    while (ready != kThreads) std::this_thread::yield();
    goes = true;
    if (rounds.begun() % 2 == 0) pool->close();
    pool.reset();
    for (std::thread& thread : threads) thread.join();
    REQUIRE(alive == 0);
  }
}

TEST_CASE("ObjectPool: threads end while the pool closes, purges and counts", "[stress][object_pool]") {
  Rounds rounds(300);
  while (rounds.next()) {
    {
      Pool pool(options_of(rounds.begun()));
      std::atomic<unsigned> got{0};
      std::vector<std::thread> threads;
      for (unsigned t = 0; t != 3; ++t) {
        threads.emplace_back([&] {
          for (unsigned i = 0; i != 5; ++i) {
            const absl::StatusOr<Pooled<Counted>> object = pool.acquire();
            if (object.ok()) ++got;
          }
        });
      }
      pool.purge();
      const ObjectPoolStats stats = pool.stats();
      const bool is_consistent = stats.live == stats.idle + stats.out && stats.requests == stats.hits() + stats.misses;
      if (rounds.begun() % 2 == 0) pool.close();
      for (std::thread& thread : threads) thread.join();
      REQUIRE(is_consistent);
      const ObjectPoolStats end = pool.stats();
      REQUIRE(end.requests == got);
      REQUIRE(end.returns == got);
      REQUIRE(end.live == end.idle);
      REQUIRE(end.creates == end.live + end.discarded() + end.purged);
      REQUIRE(static_cast<std::size_t>(alive) == end.live);
    }
    REQUIRE(alive == 0);
  }
}
