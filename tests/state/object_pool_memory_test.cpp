// SPDX-License-Identifier: MIT

// Object pools with each of their allocations failing in turn: the caller gets std::bad_alloc, nothing else has
// changed, and the next try works. What must not fail does without.

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "penstock/core/context.hpp"

#include "state/object_pool_support.hpp"
#include "support/allocations.hpp"

namespace penstock {
namespace {

using testing::Counted;
using testing::CountedPool;
using testing::FailAllocation;
using testing::failures_of;
using testing::Handle;
using testing::options_for;
using testing::take;

// The machine's clock is made by its first use, which cannot fail with an exception: before any test.
[[maybe_unused]] const Context& first_use = Context::background();

TEST_CASE("Allocation failure: making an object pool", "[state][object_pool][allocation_failure]") {
  std::atomic<int> alive{0};
  std::unique_ptr<CountedPool> pool;
  bool is_clean = true;
  CHECK(failures_of(
            [&] {
              ObjectPoolOptions<Counted> options = options_for(alive);
              options.name = std::string(100, 'n');
              options.prewarm = 3;
              options.detection = ObjectDetection::kLeaks;
              pool = std::make_unique<CountedPool>(std::move(options));
            },
            [&] { is_clean = is_clean && alive == 0; }) >= 8);
  CHECK(is_clean);
  CHECK(pool->stats().idle == 3);
}

TEST_CASE("Allocation failure: making an object", "[state][object_pool][allocation_failure]") {
  std::atomic<int> alive{0};
  // Without memory for a cache of its thread an acquire does without one, and succeeds. So there is one, of a pool that
  // has gone.
  static_cast<void>(CountedPool(options_for(alive)).acquire());
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.max_live = 1;
  options.detection = GENERATE(ObjectDetection::kOff, ObjectDetection::kChecked);
  CountedPool pool(std::move(options));
  Handle object;
  bool is_clean = true;
  CHECK(failures_of([&] { object = pool.try_acquire().value(); },
                    [&](bool threw) {
                      is_clean =
                          is_clean && (!threw || (alive == 0 && pool.stats().live == 0 && pool.stats().misses == 0));
                    }) >= 2);
  CHECK(is_clean);
  CHECK(object);
}

TEST_CASE("Allocation failure: what comes back needs no memory", "[state][object_pool][allocation_failure]") {
  std::atomic<int> alive{0};
  CountedPool pool(options_for(alive));
  for (int round = 0; round != 2; ++round) {
    std::vector<Handle> out = take(pool, 300);
    const FailAllocation failure(0);  // that of a magazine: objects hang in a chain then
    for (int i = 0; i != 150; ++i) out.pop_back();
    const FailAllocation another(0);
    out.clear();
  }
  CHECK(pool.stats().idle == 300);
  CHECK(alive == 300);
  CHECK(take(pool, 300).size() == 300);
  CHECK(pool.stats().misses == 300);
  {
    const FailAllocation failure(0);
    pool.purge();
    pool.purge();
    pool.close();
  }
  CHECK(alive == 0);
}

TEST_CASE("Allocation failure: lending a bare pointer", "[state][object_pool][allocation_failure]") {
  std::atomic<int> alive{0};
  CountedPool pool(options_for(alive));
  Handle object = *pool.acquire();
  Counted* lent = nullptr;
  bool is_held = true;
  CHECK(failures_of([&] { lent = object.lend(); }, [&] { is_held = is_held && static_cast<bool>(object); }) >= 1);
  CHECK(is_held);
  CHECK(pool.give_back(lent).ok());
}

TEST_CASE("Allocation failure: a refusal", "[state][object_pool][allocation_failure]") {
  std::atomic<int> alive{0};
  ObjectPoolOptions<Counted> options = options_for(alive);
  options.max_live = 1;
  CountedPool pool(std::move(options));
  const Handle held = *pool.acquire();
  absl::StatusCode code = absl::StatusCode::kOk;
  failures_of([&] { code = pool.try_acquire().status().code(); });
  CHECK(code == absl::StatusCode::kResourceExhausted);
  CHECK(pool.stats().waiting == 0);
  CHECK(pool.stats().live == 1);
}

}  // namespace
}  // namespace penstock
