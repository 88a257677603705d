// SPDX-License-Identifier: MIT

// What an object pool does with its objects, in one thread.

#include "penstock/state/object_pool.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "penstock/core/failure_stage.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/metrics/prometheus_writer.hpp"

#include "state/object_pool_support.hpp"
#include "support/allocations.hpp"
#include "support/status_text.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::allocations_of;
using testing::ContainsSubstring;
using testing::Counted;
using testing::CountedPool;
using testing::Handle;
using testing::options_for;
using testing::take;
using testing::text_of;

TEST_CASE("ObjectPool: what was given back is lent again", "[state][object_pool]") {
  std::atomic<int> alive{0};
  CountedPool pool(options_for(alive));
  std::uint64_t first = 0;
  {
    const absl::StatusOr<Handle> object = pool.acquire();
    REQUIRE(object.ok());
    first = object->id();
  }
  const absl::StatusOr<Handle> again = pool.acquire();
  REQUIRE(again.ok());
  CHECK(again->id() == first);
  CHECK(alive == 1);
  const ObjectPoolStats stats = pool.stats();
  CHECK(stats.requests == 2);
  CHECK(stats.hits_local == 1);
  CHECK(stats.misses == 1);
  CHECK(stats.creates == 1);
  CHECK(stats.returns == 1);
  CHECK(stats.live == 1);
  CHECK(stats.out == 1);
  CHECK(stats.idle == 0);
  CHECK(stats.hit_ratio() == 0.5);
  CHECK(stats.bytes_saved == sizeof(Counted));
}

TEST_CASE("ObjectPool: one thread may have all max_idle idle objects, and never one more", "[state][object_pool]") {
  std::atomic<int> alive{0};
  const std::size_t max_idle = GENERATE(as<std::size_t>{}, 0, 1, 15, 16, 17, 63, 64, 65, 100, 1000);
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.max_idle = max_idle;
  CountedPool pool(std::move(options));
  std::vector<Handle> out = take(pool, max_idle + 3);
  std::size_t given_back = 0;
  for (Handle& each : out) {
    each.reset();
    ++given_back;
    if (max_idle < 100 || given_back % 64 == 0) CHECK(pool.stats().idle == std::min(given_back, max_idle));
  }
  const ObjectPoolStats stats = pool.stats();
  CHECK(stats.idle == max_idle);
  CHECK(stats.live == max_idle);
  CHECK(stats.discarded_full == 3);
  CHECK(static_cast<std::size_t>(alive.load()) == max_idle);
  out = take(pool, max_idle);
  CHECK(pool.stats().misses == max_idle + 3);
  CHECK(pool.stats().idle == 0);
}

TEST_CASE("ObjectPool: the destructor destroys what is idle, and handles destroy what is out", "[state][object_pool]") {
  std::atomic<int> alive{0};
  Handle late;
  {
    CountedPool pool(options_for(alive));
    std::vector<Handle> out = take(pool, 100);
    late = std::move(out.back());
    out.clear();
    CHECK(alive == 100);
  }
  CHECK(alive == 1);
  late->text = "still good";
  late.reset();
  CHECK(alive == 0);
}

TEST_CASE("ObjectPool: the object given back last is lent first", "[state][object_pool]") {
  std::atomic<int> alive{0};
  CountedPool pool(options_for(alive));
  std::vector<Handle> out = take(pool, 3);
  const std::uint64_t last = out[1].id();
  out[0].reset();
  out[2].reset();
  out[1].reset();
  CHECK(pool.acquire()->id() == last);
}

TEST_CASE("ObjectPool: ids are never used again", "[state][object_pool]") {
  std::atomic<int> alive{0};
  CountedPool pool(options_for(alive));
  std::set<std::uint64_t> ids;
  for (int i = 0; i != 100; ++i) {
    Handle object = *pool.acquire();
    CHECK(ids.insert(object.id()).second);
    object.discard();
  }
  CHECK(alive == 0);
  CHECK(pool.stats().discarded_non_reusable == 100);
}

TEST_CASE("ObjectPool: an object is reset when it comes back, before anybody else sees it", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.reset = [](Counted& object) {
    object.text.clear();
    return object.number != 13;
  };
  CountedPool pool(std::move(options));
  {
    Handle object = *pool.acquire();
    object->text = "secret";
  }
  Handle object = *pool.acquire();
  CHECK(object->text.empty());
  CHECK(pool.stats().resets == 1);
  object->number = 13;
  object.reset();
  CHECK(alive == 0);
  CHECK(pool.stats().discarded_reset == 1);
  CHECK(pool.stats().resets == 1);
  CHECK(pool.stats().returns == 2);
}

TEST_CASE("ObjectPool: a reset that throws destroys the object, and is counted", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.reset = [](Counted& object) -> bool {
    if (object.number == 1) throw std::runtime_error("no");
    if (object.number == 2) throw 2;  // no exception class
    return true;
  };
  CountedPool pool(std::move(options));
  for (const int number : {1, 2}) {
    Handle object = *pool.acquire();
    object->number = number;
  }
  CHECK(alive == 0);
  CHECK(pool.stats().discarded_reset == 2);
  CHECK(pool.stats().caught_exceptions == 2);
  CHECK(pool.acquire().ok());
}

TEST_CASE("ObjectPool: an object that became too heavy is not kept", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.weight = [](const Counted& object) -> std::size_t {
    if (object.number < 0) throw std::runtime_error("no");
    return object.text.size();
  };
  options.max_weight = 100;
  CountedPool pool(std::move(options));
  const auto use = [&](std::size_t bytes, int number) {
    Handle object = *pool.acquire();
    object->text.assign(bytes, 'x');
    object->number = number;
  };
  use(100, 0);
  CHECK(pool.stats().bytes_idle == 100);
  use(50, 0);
  CHECK(pool.stats().bytes_idle == 50);
  CHECK(pool.stats().bytes_saved == 100);
  use(101, 0);
  CHECK(pool.stats().discarded_oversize == 1);
  CHECK(pool.stats().bytes_idle == 0);
  use(1, -1);
  CHECK(pool.stats().discarded_oversize == 2);
  CHECK(pool.stats().caught_exceptions == 1);
  CHECK(alive == 0);
}

TEST_CASE("ObjectPool: an object that is not reusable is destroyed, unless that was taken back",
          "[state][object_pool]") {
  std::atomic<int> alive{0};
  CountedPool pool(options_for(alive));
  Handle object = *pool.acquire();
  object.set_reusable(false);
  object.set_reusable(true);
  object.reset();
  CHECK(alive == 1);
  object = *pool.acquire();
  object.set_reusable(false);
  object.reset();
  CHECK(alive == 0);
  CHECK(pool.stats().discarded_non_reusable == 1);
}

TEST_CASE("ObjectPool: an object may be taken out for good", "[state][object_pool]") {
  std::atomic<int> alive{0};
  std::unique_ptr<Counted> taken;
  {
    CountedPool pool(options_for(alive));
    taken = pool.acquire()->release();
    const ObjectPoolStats stats = pool.stats();
    CHECK(stats.released == 1);
    CHECK(stats.live == 0);
    CHECK(stats.returns == 0);
  }
  CHECK(alive == 1);
  Handle nothing;
  CHECK(nothing.release() == nullptr);
}

TEST_CASE("ObjectPool: what a factory does wrong is the caller's answer", "[state][object_pool]") {
  enum class Mood { kGood, kNull, kStatus, kThrow } mood = Mood::kNull;
  ObjectPool<std::string> pool({.name = "p",
                                .factory = [&]() -> absl::StatusOr<std::unique_ptr<std::string>> {
                                  if (mood == Mood::kThrow) throw std::runtime_error("down");
                                  if (mood == Mood::kStatus) return absl::UnavailableError("down");
                                  if (mood == Mood::kNull) return nullptr;
                                  return std::make_unique<std::string>("up");
                                },
                                .max_live = 1,
                                .purge_every = Duration::max()});
  const absl::Status null = pool.acquire().status();
  CHECK(null.code() == absl::StatusCode::kInternal);
  CHECK(text_of(null) == "object pool 'p': the factory made nothing");
  mood = Mood::kStatus;
  CHECK(pool.acquire().status() == absl::UnavailableError("down"));
  CHECK(pool.stats().requests == 2);
  CHECK(pool.stats().misses == 2);
  mood = Mood::kThrow;
  CHECK_THROWS_AS(pool.acquire(), std::runtime_error);
  CHECK(pool.stats().requests == 2);  // as before
  CHECK(pool.stats().create_failures == 3);
  CHECK(pool.stats().live == 0);  // and the one place is free
  mood = Mood::kGood;
  CHECK(**pool.acquire() == "up");
  CHECK(pool.stats().hit_ratio() == 0);
}

TEST_CASE("ObjectPool: at max_live try_acquire says so, with numbers", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.max_live = 2;
  CountedPool pool(std::move(options));
  std::vector<Handle> out = take(pool, 2);
  const absl::Status refused = pool.try_acquire().status();
  CHECK(refused.code() == absl::StatusCode::kResourceExhausted);
  CHECK(text_of(refused) == "object pool 'p': all objects are out (max_live 2, 2 out, 0 waiting)");
  CHECK(failure_stage(refused) == "acquire");
  CHECK(pool.stats().exhausted == 1);
  CHECK(pool.stats().requests == 2);
  out.pop_back();
  CHECK(pool.try_acquire().ok());
  out.front().discard();
  CHECK(take(pool, 2).size() == 2);
  CHECK(alive == 2);
}

TEST_CASE("ObjectPool: a closed pool lends nothing and keeps nothing", "[state][object_pool]") {
  std::atomic<int> alive{0};
  CountedPool pool(options_for(alive));
  std::vector<Handle> out = take(pool, 100);
  for (int i = 0; i != 99; ++i) out.pop_back();
  CHECK(pool.close());
  CHECK_FALSE(pool.close());
  CHECK(pool.is_closed());
  CHECK(alive == 1);
  const absl::Status refused = pool.acquire().status();
  CHECK(refused.code() == absl::StatusCode::kUnavailable);
  CHECK(text_of(refused) == "object pool 'p': closed");
  out.clear();
  CHECK(alive == 0);
  CHECK(pool.stats().discarded_closed == 100);
  CHECK(pool.prewarm(1).status().code() == absl::StatusCode::kUnavailable);
  pool.purge();
}

TEST_CASE("ObjectPool: prewarming is counted apart, and stays within the limits", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.max_idle = 70;
  options.prewarm = 40;
  CountedPool pool(std::move(options));
  CHECK(alive == 40);
  CHECK(pool.prewarm(100).value() == 30);
  ObjectPoolStats stats = pool.stats();
  CHECK(stats.prewarmed == 70);
  CHECK(stats.requests == 0);
  CHECK(stats.hit_ratio() == 0);
  CHECK(stats.idle == 70);
  const std::vector<Handle> out = take(pool, 70);
  stats = pool.stats();
  CHECK(stats.misses == 0);
  CHECK(stats.hit_ratio() == 1);
}

TEST_CASE("ObjectPool: time stamps tell when and how often", "[state][object_pool]") {
  ManualClock clock;
  ObjectPool<std::string> pool({.name = "p",
                                .reset =
                                    [&](std::string&) {
                                      clock.advance(1ms);
                                      return true;
                                    },
                                .purge_every = Duration::max(),
                                .timestamps = true,
                                .clock = &clock});
  const TimePoint start = clock.now();
  for (int i = 0; i != 16; ++i) {
    Pooled<std::string> object = *pool.acquire();
    CHECK(object.info().created == start);
    CHECK(object.info().uses == static_cast<std::uint64_t>(i + 1));
    CHECK(object.info().acquired == clock.now());
    CHECK(object.info().returned == (i == 0 ? TimePoint() : clock.now() - 1ms));
    clock.advance(5ms);
  }
  const ObjectPoolStats stats = pool.stats();
  CHECK(stats.hold_time.count() == 16);
  CHECK(stats.hold_time.max() == 5ms);
  CHECK(stats.reset_time.count() == 1);
  CHECK(stats.reset_time.max() == 1ms);
  CHECK(stats.acquire_time.count() == 1);  // the others came from the thread's own
}

TEST_CASE("ObjectPool: options tell all that is wrong with them", "[state][object_pool]") {
  struct Bare {
    explicit Bare(int) {}
  };
  ObjectPoolOptions<Bare> options;
  options.name = "";
  options.max_live = 0;
  options.max_idle = 5;
  options.max_weight = 0;
  options.prewarm = 6;
  options.min_idle = 7;
  options.purge_every = Duration::zero();
  options.detection = static_cast<ObjectDetection>(9);
  options.clock = nullptr;
  const std::string text = text_of(options.validate());
  for (const char* const part :
       {"options.name must be 1 to 256 bytes long, got 0", "options.factory must be a function",
        "options.max_live must be at least 1, got 0", "options.max_idle must be at most max_live, 0, got 5",
        "options.max_weight must be at least 1, got 0", "options.prewarm must be at most max_idle, 5, got 6",
        "options.min_idle must be at most max_idle, 5, got 7", "options.purge_every must be positive, got 0 s",
        "options.detection must be kOff, kChecked or kLeaks, got 9", "options.clock must be a clock, got null"}) {
    CAPTURE(part);
    CHECK_THAT(text, ContainsSubstring(part));
  }
  CHECK_THROWS_AS(ObjectPool<Bare>(options), std::invalid_argument);
  CHECK(ObjectPoolOptions<int>{.max_live = 3}.validate().ok());
}

TEST_CASE("ObjectPool: reset, weight and destructor may use the pool", "[state][object_pool]") {
  struct Caller {
    ObjectPool<std::string>* other = nullptr;
    ~Caller() {
      if (other != nullptr) static_cast<void>(other->acquire());
    }
  };
  ObjectPool<std::string> inner({.name = "inner", .purge_every = Duration::max()});
  ObjectPool<Caller>* self = nullptr;
  int depth = 0;
  ObjectPool<Caller> pool({.name = "outer",
                           .reset =
                               [&](Caller& object) {
                                 object.other = &inner;
                                 if (++depth == 1) static_cast<void>(self->acquire());
                                 return self->stats().live != 0;
                               },
                           .max_idle = 0,
                           .purge_every = Duration::max()});
  self = &pool;
  static_cast<void>(pool.acquire());
  CHECK(pool.stats().live == 0);
  CHECK(inner.stats().requests == 2);
}

TEST_CASE("ObjectPool: an acquire and a return of the thread's own allocate nothing", "[state][object_pool]") {
  ObjectPool<int> pool({.name = "p", .purge_every = Duration::max()});
  static_cast<void>(pool.acquire());
  CHECK(allocations_of([&] {
          for (int i = 0; i != 100; ++i) static_cast<void>(pool.acquire());
        }) == 0);
}

TEST_CASE("ObjectPool: a hundred pools share a thread", "[state][object_pool]") {
  std::vector<std::unique_ptr<ObjectPool<int>>> pools;
  for (int i = 0; i != 100; ++i) {
    pools.push_back(std::make_unique<ObjectPool<int>>(
        ObjectPoolOptions<int>{.name = std::to_string(i), .purge_every = Duration::max()}));
  }
  for (int round = 0; round != 3; ++round) {
    for (auto& pool : pools) static_cast<void>(pool->acquire());
  }
  for (auto& pool : pools) CHECK(pool->stats().hits() == 2);
  pools.clear();
  ObjectPool<int> after({.name = "after", .purge_every = Duration::max()});
  CHECK(after.acquire().ok());
}

TEST_CASE("ObjectPool: metrics carry the pool's name", "[state][object_pool]") {
  ObjectPool<int> pool({.name = "buffers", .purge_every = Duration::max()});
  static_cast<void>(pool.acquire());
  static_cast<void>(pool.acquire());
  PrometheusWriter writer;
  pool.collect(writer);
  const std::string text = writer.text();
  CHECK_THAT(text, ContainsSubstring("penstock_object_pool_hits_total{pool=\"buffers\",source=\"local\"} 1"));
  CHECK_THAT(text, ContainsSubstring("penstock_object_pool_hit_ratio{pool=\"buffers\"} 0.5"));
}

}  // namespace
}  // namespace penstock
