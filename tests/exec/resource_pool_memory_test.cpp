// SPDX-License-Identifier: MIT

// Resource pools with each of their allocations failing in turn: the caller gets std::bad_alloc, nothing else has
// changed, and the next try works. And what must not fail does not allocate.

#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "exec/resource_pool_support.hpp"
#include "penstock/core/run_loop.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::allocations_of;
using testing::discrepancies;
using testing::FailAllocation;
using testing::failures_of;
using testing::IntLease;
using testing::IntPool;
using testing::number;

using Number = std::unique_ptr<int>;

// The machine's clock is made by its first use, which cannot fail with an exception: before any test.
[[maybe_unused]] const Context& first_use = Context::background();

TEST_CASE("Allocation failure: making a resource pool", "[exec][resource_pool][allocation_failure]") {
  std::unique_ptr<IntPool> pool;
  CHECK(failures_of([&] { pool = std::make_unique<IntPool>(ResourcePoolOptions{.name = std::string(100, 'n')}); },
                    [] {}) >= 3);
  CHECK(pool != nullptr);
}

TEST_CASE("Allocation failure: adding a resource", "[exec][resource_pool][allocation_failure]") {
  IntPool pool({.name = "keys"});
  Number resource = number(1);
  const std::string id(100, 'i');
  bool kept = true;
  absl::Status added;
  CHECK(failures_of([&] { added = pool.add(id, std::move(resource)); },
                    [&] { kept = kept && resource != nullptr && pool.stats().resources == 0; }) >= 3);
  CHECK(added.ok());
  CHECK(kept);
  for (int i = 0; i != 100; ++i) REQUIRE(pool.add(std::to_string(i), number(i)).ok());
  CHECK(pool.stats().resources == 101);
}

TEST_CASE("Allocation failure: a lease needs no memory", "[exec][resource_pool][allocation_failure]") {
  for (const ResourceStrategy strategy :
       {ResourceStrategy::kRoundRobin, ResourceStrategy::kLeastLoaded, ResourceStrategy::kWeightedRandom}) {
    IntPool pool({.name = "keys", .strategy = strategy});
    REQUIRE(pool.add("a", number(1), {.max_concurrent = 2}).ok());
    REQUIRE(pool.add("b", number(1)).ok());
    static_cast<void>(pool.try_acquire({.sticky_key = "first"}));  // makes the table
    CHECK(allocations_of([&] {
            IntLease one = pool.acquire();
            IntLease two = pool.try_acquire({.sticky_key = "x"});
            one->report(absl::OkStatus());
          }) == 0);
    // What ends a lease must not fail: not even a discard.
    IntLease lease = pool.try_acquire();
    const absl::Status busy = absl::ResourceExhaustedError("429");
    const absl::Status dead = absl::UnauthenticatedError("401");
    CHECK(allocations_of([&] {
            lease->report(busy, 1s);
            lease->report(dead);
            lease->discard();
          }) == 0);
    CHECK(pool.stats().resources == 1);
  }
}

TEST_CASE("Allocation failure: a filter and a key", "[exec][resource_pool][allocation_failure]") {
  IntPool pool({.name = "keys"});
  for (int i = 0; i != 40; ++i) REQUIRE(pool.add(std::to_string(i), number(i)).ok());
  const std::string key(100, 'k');
  const auto filter = [](std::string_view, const Number& each) { return *each > 20; };
  IntLease lease = absl::UnknownError("none");
  bool clean = true;
  CHECK(failures_of([&] { lease = pool.try_acquire({.filter = filter, .sticky_key = key}); },
                    [&] {
                      lease = absl::UnknownError("none");
                      clean = clean && pool.stats().in_use == 0 && discrepancies(pool.stats()).empty();
                    }) >= 3);
  CHECK(clean);
  CHECK(lease.ok());
}

TEST_CASE("Allocation failure: a refusal that cannot be told", "[exec][resource_pool][allocation_failure]") {
  ManualClock clock;
  IntPool pool({.name = "keys", .clock = &clock});
  REQUIRE(pool.add("a", number(1)).ok());
  std::optional<Lease<Number>> held = *pool.try_acquire();
  IntLease lease = absl::UnknownError("none");
  const Context ended = Context(clock).with_timeout(0s);
  CHECK(failures_of([&] { lease = pool.acquire(ended); }) >= 1);
  CHECK(absl::IsDeadlineExceeded(lease.status()));
  CHECK(failures_of([&] { lease = pool.try_acquire(); }) >= 1);
  CHECK(absl::IsResourceExhausted(lease.status()));

  // One in line, in a coroutine, that is told in vain.
  RunLoop loop;
  auto waiting = spawn(loop, testing::acquire_in(pool, {}, Context(clock).with_timeout(1s)));
  loop.run_ready();
  clock.advance(1s);
  {
    const FailAllocation failure(0);
    loop.run_ready();
    CHECK(failure.has_failed());
  }
  CHECK_THROWS_AS(waiting.get(), std::bad_alloc);
  CHECK(pool.stats().waiting == 0);
  held.reset();
  CHECK(pool.try_acquire().ok());
}

TEST_CASE("Allocation failure: a filter asked in line", "[exec][resource_pool][allocation_failure]") {
  IntPool pool({.name = "keys"});
  REQUIRE(pool.add("a", number(1)).ok());
  std::optional<Lease<Number>> held = *pool.try_acquire();
  RunLoop loop;
  auto waiting = spawn(loop, testing::acquire_in(pool, {.filter = [](std::string_view, const Number&) { return true; }},
                                                 Context::background()));
  loop.run_ready();
  REQUIRE(pool.add("b", number(2)).ok());
  {
    const FailAllocation failure(0);
    loop.run_ready();
    CHECK(failure.has_failed());
  }
  CHECK_THROWS_AS(waiting.get(), std::bad_alloc);
  CHECK(pool.stats().waiting == 0);
  CHECK(pool.try_acquire()->id() == "b");
  held.reset();
  CHECK(pool.stats().in_use == 0);
}

TEST_CASE("Allocation failure: waiting and serving need no memory", "[exec][resource_pool][allocation_failure]") {
  IntPool pool({.name = "keys"});
  REQUIRE(pool.add("a", number(1)).ok());
  std::optional<Lease<Number>> held = *pool.try_acquire();
  RunLoop loop;
  auto waiting = spawn(loop, testing::acquire_in(pool, {}, Context::background()));
  CHECK(allocations_of([&] { loop.run_ready(); }) == 0);
  CHECK(allocations_of([&] {
          held.reset();
          loop.run_ready();
        }) == 0);
  CHECK(waiting.get().ok());
}

}  // namespace
}  // namespace penstock
