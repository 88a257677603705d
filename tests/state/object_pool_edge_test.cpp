// SPDX-License-Identifier: MIT

// Object pools where it is easy to be wrong: what is just being made, memory that is used again at once, functions of
// the user's that are gone.

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <new>
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

}  // namespace
}  // namespace penstock
