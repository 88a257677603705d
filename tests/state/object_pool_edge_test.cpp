// SPDX-License-Identifier: MIT

// Object pools where it is easy to be wrong: what is just being made, memory that is used again at once, functions of
// the user's that are gone.

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"

#include "state/object_pool_support.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::Counted;
using testing::CountedPool;
using testing::Handle;
using testing::options_for;

/// Calls somebody back when it is read.
class TellingClock final : public Clock {
 public:
  std::function<void()> on_reading;

  [[nodiscard]] TimePoint now() const noexcept override {
    if (on_reading) on_reading();
    return TimePoint(1h);
  }
  void start_timers() override {}
  bool arm(Timer& /*timer*/, TimePoint /*when*/) noexcept override { return true; }
  void disarm(Timer& /*timer*/) noexcept override {}
};

TEST_CASE("ObjectPool: what is just being made is no leak", "[state][object_pool]") {
  TellingClock clock;
  std::atomic<int> alive{0};
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.timestamps = true;
  options.detection = ObjectDetection::kLeaks;
  options.clock = &clock;
  CountedPool pool(std::move(options));
  std::size_t listed = 0;
  clock.on_reading = [&, is_inside = false]() mutable {
    if (std::exchange(is_inside, true)) return;
    for (const ObjectLeak& leak : pool.leaks()) listed += leak.object == 0 || leak.held != 0s ? 1 : 0;
    is_inside = false;
  };
  const Handle held = *pool.acquire();
  CHECK(pool.prewarm(2).value() == 2);
  clock.on_reading = nullptr;
  CHECK(listed == 0);
  CHECK(pool.leaks().size() == 1);
}

TEST_CASE("ObjectPool: leaks are told while objects are made and destroyed", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.detection = ObjectDetection::kLeaks;
  CountedPool pool(std::move(options));
  std::atomic<bool> ends{false};
  std::thread user([&] {
    for (int i = 0; i != 300; ++i) pool.acquire()->discard();
    ends = true;
  });
  bool is_real = true;
  while (!ends) {
    for (const ObjectLeak& leak : pool.leaks()) is_real = is_real && leak.object != 0 && leak.held < 1h;
  }
  user.join();
  CHECK(is_real);
}

TEST_CASE("ObjectPool: only who asks for the leaks is told", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.detection = GENERATE(ObjectDetection::kOff, ObjectDetection::kChecked);
  CountedPool pool(std::move(options));
  const Handle held = *pool.acquire();
  CHECK(pool.leaks().empty());
}

/// Its memory is known to be used again at once.
struct Reused {
  static inline std::function<void()> on_free;
  static inline bool is_taken = false;
  alignas(std::max_align_t) static inline unsigned char memory[64];

  static void* operator new(std::size_t bytes) {
    if (!std::exchange(is_taken, true)) return memory;
    return ::operator new(bytes);
  }
  static void operator delete(void* object) {
    if (object != memory) return ::operator delete(object);
    is_taken = false;
    if (const auto told = std::exchange(on_free, nullptr)) told();
  }

  std::string text;
};

TEST_CASE("ObjectPool: an object that gets the memory of one that has just gone is known", "[state][object_pool]") {
  ObjectPool<Reused> pool({.name = "p", .purge_every = Duration::max(), .detection = ObjectDetection::kLeaks});
  Pooled<Reused> first = *pool.acquire();
  Pooled<Reused> second;
  const void* const memory = first.get();
  Reused::on_free = [&] { second = *pool.acquire(); };
  first.discard();
  REQUIRE(second);
  REQUIRE(second.get() == memory);
  const std::vector<ObjectLeak> leaks = pool.leaks();
  REQUIRE(leaks.size() == 1);
  CHECK(leaks[0].object == second.id());
  second.reset();
  CHECK(pool.leaks().empty());
}

TEST_CASE("ObjectPool: with the pool gone an object is destroyed, and nothing else is called", "[state][object_pool]") {
  std::atomic<int> alive{0};
  int resets = 0;
  int weighings = 0;
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.reset = [&](Counted&) { return ++resets != 0; };
  options.weight = [&](const Counted&) { return static_cast<std::size_t>(++weighings); };
  Handle late;
  Handle later;
  {
    CountedPool pool(std::move(options));
    late = *pool.acquire();
    later = *pool.acquire();
    static_cast<void>(pool.acquire());
    CHECK(resets == 1);
  }
  late.reset();
  std::thread([&] { later.reset(); }).join();
  CHECK(resets == 1);
  CHECK(weighings == 1);
  CHECK(alive == 0);
}

TEST_CASE("ObjectPool: a purge more often than the clock ticks hangs nobody", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.purge_every = GENERATE(1ns, 1us);
  CountedPool pool(std::move(options));
  CHECK(pool.acquire().ok());
}

TEST_CASE("ObjectPool: an alert tells nobody once the pool has gone", "[state][object_pool]") {
  ManualClock clock;
  struct Last {
    std::function<void()> on_end;
    ~Last() {
      if (on_end) on_end();
    }
  };
  int told = 0;
  ObjectPoolOptions<Last> options;
  options.name = "p";
  options.purge_every = 5s;
  options.clock = &clock;
  options.alert.emplace();
  options.alert->threshold = 0.9;
  options.on_alert = [&](AlertChange, const std::string&) { ++told; };
  auto mine = std::make_unique<ObjectPool<Last>>(std::move(options));
  (*mine->acquire())->on_end = [&] { mine.reset(); };
  mine->purge();
  clock.advance(5s);
  CHECK(mine == nullptr);
  CHECK(told == 0);
}

TEST_CASE("ObjectPool: the books add up after every step", "[state][object_pool]") {
  const unsigned seed = GENERATE(range(1U, 13U));
  std::uint32_t random = seed * 2654435761U;
  const auto below = [&random](std::uint32_t bound) {
    random = random * 1664525U + 1013904223U;
    return (random >> 16U) % bound;
  };
  std::atomic<int> alive{0};
  std::uint64_t nothings = 0;
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.max_live = seed % 2 == 0 ? 90 : options.max_live;
  options.max_idle = seed % 3 == 0 ? 5 : 80;
  options.max_weight = 10;
  options.steals = seed % 4 == 0;
  options.detection = seed % 5 == 0 ? ObjectDetection::kChecked : ObjectDetection::kOff;
  options.reset = [&](Counted&) { return below(20) != 0; };
  options.weight = [&](const Counted&) { return std::size_t{1} + below(11); };
  bool is_prewarming = false;
  options.factory = [&]() -> absl::StatusOr<std::unique_ptr<Counted>> {
    if (below(15) == 0) throw std::runtime_error("none today");
    if (below(15) == 0) {
      nothings += is_prewarming ? 0 : 1;
      return nullptr;
    }
    return std::make_unique<Counted>(alive);
  };
  const std::size_t max_live = options.max_live;
  const std::size_t max_idle = *options.max_idle;
  CountedPool pool(std::move(options));
  std::vector<Handle> out;
  for (int step = 0; step != 3000; ++step) {
    const std::uint32_t what = below(100);
    try {
      if (what < 48) {
        absl::StatusOr<Handle> object = pool.try_acquire();
        if (object.ok()) out.push_back(std::move(*object));
      } else if (what < 50) {
        is_prewarming = true;
        static_cast<void>(pool.prewarm(3));
      } else if (what < 51) {
        pool.purge();
      } else if (what < 52) {
        static_cast<void>(pool.release_idle(0.4));
      } else if (what < 54) {
        std::thread([&] { out.resize(out.size() - below(static_cast<std::uint32_t>(out.size()) + 1)); }).join();
      } else if (!out.empty()) {
        Handle object = std::move(out.back());
        out.pop_back();
        if (what < 56) {
          object.discard();
        } else if (what < 58) {
          static_cast<void>(object.release());
        } else if (what < 60) {
          REQUIRE(pool.give_back(object.lend()).ok());
        }
      }
    } catch (const std::runtime_error&) {
    }
    is_prewarming = false;
    const ObjectPoolStats stats = pool.stats();
    const bool adds_up =
        testing::is_consistent(stats) && stats.out == out.size() && stats.live == static_cast<std::size_t>(alive) &&
        stats.requests == stats.returns + stats.out + stats.released + nothings &&
        stats.live + stats.discarded() + stats.purged + stats.released == stats.creates + stats.prewarmed &&
        stats.misses == stats.creates + nothings && stats.idle <= max_idle && stats.live <= max_live;
    REQUIRE(adds_up);
  }
  out.clear();
  pool.close();
  CHECK(alive == 0);
}

}  // namespace
}  // namespace penstock
