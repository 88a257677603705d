// SPDX-License-Identifier: MIT

// What an object pool finds out about misuse, and who holds what.

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"

#include "state/object_pool_support.hpp"
#include "support/sanitized.hpp"
#include "support/status_text.hpp"

#if PENSTOCK_HAS_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::Counted;
using testing::CountedPool;
using testing::Handle;
using testing::options_for;
using testing::text_of;

/// What may be overwritten while it is idle.
struct Plain {
  int number = 7;
  char text[20] = "as made";
};

struct Heard {
  std::vector<ObjectMisuse> misuses;
  std::function<void(const ObjectMisuse&)> hook() {
    return [this](const ObjectMisuse& misuse) { misuses.push_back(misuse); };
  }
};

TEST_CASE("ObjectPool: a bare pointer comes back once", "[state][object_pool]") {
  const bool detects = GENERATE(false, true);
  std::atomic<int> alive{0};
  Heard heard;
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.detection = detects ? ObjectDetection::kChecked : ObjectDetection::kOff;
  options.on_misuse = heard.hook();
  CountedPool pool(std::move(options));
  Handle handle = *pool.acquire();
  const std::uint64_t id = handle.id();
  Counted* const object = handle.lend();
  CHECK_FALSE(handle);
  CHECK(pool.stats().out == 1);
  CHECK(pool.give_back(object).ok());
  CHECK(pool.stats().idle == 1);
  const absl::Status twice = pool.give_back(object);
  CHECK(twice.code() == absl::StatusCode::kInvalidArgument);
  REQUIRE(heard.misuses.size() == 1);
  CHECK(heard.misuses[0].text == text_of(twice));
  if (detects) {
    CHECK(heard.misuses[0].kind == ObjectMisuse::Kind::kDoubleReturn);
    CHECK(heard.misuses[0].object == id);
    CHECK(text_of(twice) == "object pool 'p': object " + std::to_string(id) + " was given back twice");
    CHECK(pool.stats().double_returns == 1);
  } else {
    CHECK(heard.misuses[0].kind == ObjectMisuse::Kind::kForeignReturn);
    CHECK(pool.stats().foreign_returns == 1);
  }
  CHECK(pool.stats().idle == 1);
  CHECK(pool.stats().returns == 1);
}

TEST_CASE("ObjectPool: a foreign object is refused", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.detection = ObjectDetection::kChecked;
  options.on_misuse = [](const ObjectMisuse&) { throw std::runtime_error("the hook, too"); };
  CountedPool pool(std::move(options));
  CountedPool other(options_for(alive));
  Counted mine(alive);
  CHECK(text_of(pool.give_back(&mine)) == "object pool 'p': an object was given back that it has not lent");
  CHECK(pool.give_back(nullptr).code() == absl::StatusCode::kInvalidArgument);
  Counted* const lent = other.acquire()->lend();
  CHECK_FALSE(pool.give_back(lent).ok());
  CHECK(other.give_back(lent).ok());
  const Handle held = *pool.acquire();
  CHECK_FALSE(pool.give_back(held.get()).ok());  // its handle has it
  CHECK(pool.stats().foreign_returns == 4);
  CHECK(pool.stats().caught_exceptions == 4);
  CHECK(pool.stats().out == 1);
}

TEST_CASE("ObjectPool: with detection an idle object keeps what it holds", "[state][object_pool]") {
  ObjectPool<Plain> pool({.name = "p", .purge_every = Duration::max(), .detection = ObjectDetection::kChecked});
  const std::uint64_t id = [&] {
    Pooled<Plain> object = *pool.acquire();
    object->number = 42;
    return object.id();
  }();
  const Pooled<Plain> again = *pool.acquire();
  CHECK(again.id() == id);
  CHECK(again->number == 42);
  CHECK(std::string(again->text) == "as made");
}

TEST_CASE("ObjectPool: who writes to an idle object is found out, and nobody gets it", "[state][object_pool]") {
  Heard heard;
  ObjectPool<Plain> pool(
      {.name = "p", .purge_every = Duration::max(), .detection = ObjectDetection::kChecked, .on_misuse = heard.hook()});
  const bool is_from_depot = GENERATE(false, true);
  Plain* stale = nullptr;
  std::uint64_t id = 0;
  const auto use = [&] {
    const Pooled<Plain> object = *pool.acquire();
    stale = object.get();
    id = object.id();
  };
  if (is_from_depot) {
    std::thread(use).join();
  } else {
    use();
  }
#if PENSTOCK_HAS_ASAN
  CHECK(__asan_address_is_poisoned(stale) == 1);
  __asan_unpoison_memory_region(stale, sizeof(Plain));
#endif
  CHECK(stale->number != 7);  // who reads it sees that it is not theirs
  stale->number = 1;
  const Pooled<Plain> next = *pool.acquire();
  CHECK(next.id() != id);
  CHECK(next->number == 7);
  REQUIRE(heard.misuses.size() == 1);
  CHECK(heard.misuses[0].kind == ObjectMisuse::Kind::kUseAfterReturn);
  CHECK(heard.misuses[0].text == "object pool 'p': object " + std::to_string(id) + " was changed while it was idle");
  const ObjectPoolStats stats = pool.stats();
  CHECK(stats.uses_after_return == 1);
  CHECK(stats.discarded_misused == 1);
  CHECK(stats.live == 1);
}

TEST_CASE("ObjectPool: leaks tell who holds what, since when", "[state][object_pool]") {
  ManualClock clock;
  ObjectPool<std::string> pool(
      {.name = "p", .purge_every = Duration::max(), .detection = ObjectDetection::kLeaks, .clock = &clock});
  CHECK(pool.leaks().empty());
  Pooled<std::string> held = *pool.acquire();
  clock.advance(3s);
  std::string* const lent = pool.acquire()->lend();
  static_cast<void>(pool.acquire());
  clock.advance(1s);
  std::vector<ObjectLeak> leaks = pool.leaks();
  REQUIRE(leaks.size() == 2);
  if (leaks[0].object != held.id()) std::swap(leaks[0], leaks[1]);
  CHECK(leaks[0].object == held.id());
  CHECK(leaks[0].held == 4s);
  CHECK(leaks[1].held == 1s);
#if defined(__GLIBC__)
  CHECK_FALSE(leaks[0].where.empty());
#endif
  held.reset();
  CHECK(pool.give_back(lent).ok());
  CHECK(pool.leaks().empty());
}

TEST_CASE("ObjectPool: an object that is lent may be destroyed with the pool gone", "[state][object_pool]") {
  std::atomic<int> alive{0};
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.detection = ObjectDetection::kLeaks;
  Handle late;
  {
    CountedPool pool(std::move(options));
    late = *pool.acquire();
  }
  late.reset();
  CHECK(alive == 0);
}

#if PENSTOCK_HAS_ASAN

TEST_CASE("ObjectPool: the sanitizer guards idle objects", "[state][object_pool]") {
  ObjectPool<Plain> pool({.name = "p", .purge_every = Duration::max()});
  Plain* stale = nullptr;
  {
    const Pooled<Plain> object = *pool.acquire();
    stale = object.get();
    CHECK(__asan_address_is_poisoned(stale) == 0);
  }
  CHECK(__asan_address_is_poisoned(stale) == 1);
  const Pooled<Plain> again = *pool.acquire();
  CHECK(again.get() == stale);
  CHECK(__asan_address_is_poisoned(stale) == 0);
}

#endif

}  // namespace
}  // namespace penstock
