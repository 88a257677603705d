// SPDX-License-Identifier: MIT

// What an object pool does with its objects, in one thread.

#include "penstock/state/object_pool.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)

namespace {

/// Counts how many there are.
struct Counted {
  explicit Counted(int& alive) : count(alive) { ++count; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --count; }

  int& count;
  std::string text;
};

ObjectPoolOptions<Counted> options_for(int& alive) {
  ObjectPoolOptions<Counted> options;
  options.name = "p";
  options.factory = [&alive] { return std::make_unique<Counted>(alive); };
  options.purge_every = Duration::max();
  return options;
}

std::vector<Pooled<Counted>> take(ObjectPool<Counted>& pool, std::size_t number) {
  std::vector<Pooled<Counted>> taken;
  for (std::size_t i = 0; i != number; ++i) taken.push_back(*pool.acquire());
  return taken;
}

}  // namespace

TEST_CASE("ObjectPool: what was given back is lent again", "[state][object_pool]") {
  int alive = 0;
  ObjectPool<Counted> pool(options_for(alive));
  std::uint64_t first = 0;
  {
    const absl::StatusOr<Pooled<Counted>> object = pool.acquire();
    REQUIRE(object.ok());
    first = object->id();
  }
  const absl::StatusOr<Pooled<Counted>> again = pool.acquire();
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
  int alive = 0;
  const std::size_t max_idle = GENERATE(0, 1, 15, 16, 17, 63, 64, 65, 100, 1000);
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.max_idle = max_idle;
  ObjectPool<Counted> pool(std::move(options));
  std::vector<Pooled<Counted>> out = take(pool, max_idle + 3);
  std::size_t given_back = 0;
  for (Pooled<Counted>& each : out) {
    each.reset();
    ++given_back;
    if (max_idle < 100 || given_back % 64 == 0) CHECK(pool.stats().idle == std::min(given_back, max_idle));
  }
  const ObjectPoolStats stats = pool.stats();
  CHECK(stats.idle == max_idle);
  CHECK(stats.live == max_idle);
  CHECK(stats.discarded_full == 3);
  CHECK(static_cast<std::size_t>(alive) == max_idle);
  out = take(pool, max_idle);
  CHECK(pool.stats().misses == max_idle + 3);
  CHECK(pool.stats().idle == 0);
}

TEST_CASE("ObjectPool: the destructor destroys what is idle, and handles destroy what is out", "[state][object_pool]") {
  int alive = 0;
  Pooled<Counted> late;
  {
    ObjectPool<Counted> pool(options_for(alive));
    std::vector<Pooled<Counted>> out = take(pool, 100);
    late = std::move(out.back());
    out.clear();
    CHECK(alive == 100);
  }
  CHECK(alive == 1);
  late->text = "still good";
  late.reset();
  CHECK(alive == 0);
}
