// SPDX-License-Identifier: MIT

// Resources come and go, leases are taken and given back, and whoever gets none is told why.

#include <atomic>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "exec/resource_pool_support.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::ContainsSubstring;
using testing::discrepancies;
using testing::IntLease;
using testing::IntPool;
using testing::number;
using testing::text_of;

constexpr ResourceStrategy kRoundRobin = ResourceStrategy::kRoundRobin;

TEST_CASE("ResourcePool: a lease is a resource until it is destroyed", "[exec][resource_pool]") {
  IntPool pool({.name = "keys"});
  REQUIRE(pool.add("a", number(7)).ok());
  {
    IntLease lease = pool.try_acquire();
    REQUIRE(lease.ok());
    CHECK(***lease == 7);
    CHECK(lease->id() == "a");
    CHECK(pool.stats().in_use == 1);
    CHECK(absl::IsResourceExhausted(pool.try_acquire().status()));
  }
  CHECK(pool.stats().in_use == 0);
  CHECK(pool.try_acquire().ok());
  CHECK(discrepancies(pool.stats()).empty());
}

TEST_CASE("ResourcePool: a lease that was moved from gives nothing back", "[exec][resource_pool]") {
  IntPool pool({.name = "keys"});
  REQUIRE(pool.add("a", number(1)).ok());
  Lease<std::unique_ptr<int>> first = *pool.try_acquire();
  Lease<std::unique_ptr<int>> second = std::move(first);
  CHECK_FALSE(static_cast<bool>(first));  // NOLINT(bugprone-use-after-move)
  first.reset();
  first.discard();
  first.report(absl::UnauthenticatedError(""));
  CHECK(pool.stats().in_use == 1);
  second = Lease<std::unique_ptr<int>>();
  CHECK(pool.stats().in_use == 0);
  CHECK(pool.stats().returns == 1);
  CHECK(pool.stats().errors == 0);
}

TEST_CASE("ResourcePool: one resource is lent as often as it bears", "[exec][resource_pool]") {
  IntPool pool({.name = "keys", .strategy = kRoundRobin});
  REQUIRE(pool.add("a", number(1), {.max_concurrent = 3}).ok());
  std::vector<Lease<std::unique_ptr<int>>> leases;
  for (int i = 0; i != 3; ++i) leases.push_back(*pool.try_acquire());
  CHECK_FALSE(pool.try_acquire().ok());
  REQUIRE(pool.update("a", {.weight = 1, .max_concurrent = 2}).ok());
  leases.pop_back();
  CHECK_FALSE(pool.try_acquire().ok());
  leases.pop_back();
  CHECK(pool.try_acquire().ok());
  REQUIRE(pool.update("a", {.weight = 1, .max_concurrent = 3}).ok());
  leases.push_back(*pool.try_acquire());
  leases.push_back(*pool.try_acquire());
  CHECK_FALSE(pool.try_acquire().ok());
  CHECK(pool.stats().by_resource.at(0).in_use == 3);
}

TEST_CASE("ResourcePool: an id is taken once", "[exec][resource_pool]") {
  IntPool pool({.name = "keys"});
  REQUIRE(pool.add("a", number(1)).ok());
  std::unique_ptr<int> second = number(2);
  const absl::Status refused = pool.add("a", std::move(second));
  CHECK(absl::IsAlreadyExists(refused));
  CHECK(text_of(refused) == "resource pool 'keys': there is a resource 'a'");
  CHECK(second != nullptr);  // NOLINT(bugprone-use-after-move): untouched
  REQUIRE(pool.remove("a").ok());
  CHECK(pool.add("a", std::move(second)).ok());
}

TEST_CASE("ResourcePool: bad input is refused and named", "[exec][resource_pool]") {
  IntPool pool({.name = "keys"});
  REQUIRE(pool.add("a", number(1)).ok());
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::unique_ptr<int> resource = number(2);
  for (const double weight : {kNan, kInfinity, -kInfinity, -1.0, -1e-300, 1e13}) {
    CHECK(absl::IsInvalidArgument(pool.add("b", std::move(resource), {.weight = weight})));
    CHECK(absl::IsInvalidArgument(pool.update("a", {.weight = weight})));
  }
  CHECK(absl::IsInvalidArgument(pool.add("b", std::move(resource), {.max_concurrent = 0})));
  CHECK(absl::IsInvalidArgument(pool.add("b", std::move(resource), {.max_concurrent = SIZE_MAX})));
  CHECK(absl::IsInvalidArgument(pool.add("", std::move(resource))));
  CHECK(absl::IsInvalidArgument(pool.add(std::string(257, 'x'), std::move(resource))));
  CHECK(resource != nullptr);  // NOLINT(bugprone-use-after-move)
  CHECK(pool.add(std::string(256, 'x'), std::move(resource)).ok());
  CHECK(absl::IsInvalidArgument(pool.disable("a", 0s)));
  CHECK(absl::IsInvalidArgument(pool.disable("a", -1s)));
  CHECK(text_of(pool.add("b", nullptr, {.weight = -1, .max_concurrent = 0})) ==
        "resource pool 'keys': resource 'b': options.weight must be in [0, 1e+12], got -1; options.max_concurrent must "
        "be in [1, 1000000], got 0");
  for (const absl::Status& status :
       {pool.remove("z").status(), pool.disable("z"), pool.enable("z"), pool.update("z", {})}) {
    CHECK(absl::IsNotFound(status));
    CHECK(text_of(status) == "resource pool 'keys': there is no resource 'z'");
  }
  CHECK(text_of(pool.remove(std::string(1000, 'q')).status()).size() < 400);
}

TEST_CASE("ResourcePool: bad options are refused, all at once", "[exec][resource_pool]") {
  ResourcePoolOptions options;
  options.strategy = static_cast<ResourceStrategy>(9);
  options.rest_for = 0s;
  options.sticky_ttl = -1s;
  options.sticky_keys = 0;
  options.clock = nullptr;
  const std::string text = text_of(options.validate());
  for (const char* option : {"name", "strategy", "rest_for", "sticky_ttl", "sticky_keys", "clock"}) {
    CHECK_THAT(text, ContainsSubstring(std::string("options.") + option));
  }
  CHECK_THROWS_AS(IntPool(options), std::invalid_argument);
  CHECK_THROWS_AS(IntPool({.name = std::string(257, 'x')}), std::invalid_argument);
  CHECK(ResourcePoolOptions{.name = "x"}.validate().ok());
}

TEST_CASE("ResourcePool: a removed resource is gone once its last lease is back", "[exec][resource_pool]") {
  ResourcePool<std::shared_ptr<int>> pool({.name = "keys"});
  const auto watched = std::make_shared<int>(1);
  REQUIRE(pool.add("a", watched, {.max_concurrent = 2}).ok());
  auto one = *pool.try_acquire();
  auto two = *pool.try_acquire();
  CHECK(pool.remove("a").value() == 2);
  CHECK(absl::IsNotFound(pool.remove("a").status()));
  CHECK(absl::IsNotFound(pool.try_acquire().status()));
  CHECK(pool.stats().resources == 0);
  CHECK(pool.stats().leaving == 1);
  CHECK(**one == 1);
  one.reset();
  CHECK(watched.use_count() == 2);
  two.reset();
  CHECK(watched.use_count() == 1);
  const ResourcePoolStats stats = pool.stats();
  CHECK(stats.leaving == 0);
  CHECK(stats.late_returns == 2);
  CHECK(discrepancies(stats).empty());
  REQUIRE(pool.add("a", watched).ok());
  CHECK(pool.remove("a").value() == 0);
  CHECK(watched.use_count() == 1);
}

TEST_CASE("ResourcePool: a discarded resource is gone, and nobody else notices", "[exec][resource_pool]") {
  ResourcePool<std::shared_ptr<int>> pool({.name = "clients", .strategy = kRoundRobin});
  const auto watched = std::make_shared<int>(1);
  REQUIRE(pool.add("a", watched, {.max_concurrent = 2}).ok());
  REQUIRE(pool.add("b", nullptr).ok());
  auto one = *pool.try_acquire();
  auto b = *pool.try_acquire();
  auto two = *pool.try_acquire();
  CHECK(two.id() == "a");
  one.discard();
  CHECK_FALSE(static_cast<bool>(one));
  CHECK(**two == 1);
  CHECK(pool.stats().resources == 1);
  two.discard();  // a second opinion
  CHECK(watched.use_count() == 1);
  b.reset();
  CHECK(pool.try_acquire()->id() == "b");
  CHECK(pool.stats().discarded == 2);
  CHECK(discrepancies(pool.stats()).empty());
}

TEST_CASE("ResourcePool: a lease dropped by an exception is discarded only if asked for", "[exec][resource_pool]") {
  for (const bool discards : {false, true}) {
    IntPool pool({.name = "clients", .discard_on_exception = discards});
    REQUIRE(pool.add("a", number(1)).ok());
    try {
      const IntLease lease = pool.try_acquire();
      throw std::runtime_error("half a request is written");
    } catch (const std::runtime_error&) {
      const IntLease calm = pool.try_acquire();  // taken and given back while it is handled
      CHECK(calm.ok() == !discards);
    }
    CHECK(pool.stats().discarded == (discards ? 1U : 0U));
    CHECK(pool.stats().resources == (discards ? 0U : 1U));
  }
}

TEST_CASE("ResourcePool: a lease taken and given back while unwinding is not discarded", "[exec][resource_pool]") {
  IntPool pool({.name = "clients", .discard_on_exception = true});
  REQUIRE(pool.add("a", number(1)).ok());
  struct Cleanup {
    ~Cleanup() { static_cast<void>(pool.try_acquire()); }
    IntPool& pool;
  };
  try {
    const Cleanup cleanup{pool};
    throw std::runtime_error("x");
  } catch (const std::runtime_error&) {
  }
  CHECK(pool.stats().leases == 1);
  CHECK(pool.stats().resources == 1);
}

TEST_CASE("ResourcePool: who gets nothing at once is told why", "[exec][resource_pool]") {
  ManualClock clock;
  IntPool pool({.name = "keys", .clock = &clock});
  const auto why = [&](AcquireOptions<std::unique_ptr<int>> options = {}) {
    return pool.try_acquire(std::move(options)).status();
  };
  CHECK(absl::IsNotFound(why()));
  CHECK(text_of(why()) == "resource pool 'keys': it has no resources");

  REQUIRE(pool.add("a", number(1)).ok());
  REQUIRE(pool.add("b", number(2)).ok());
  const auto nothing = [](std::string_view, const std::unique_ptr<int>&) { return false; };
  CHECK(absl::IsNotFound(why({.filter = nothing})));
  CHECK(text_of(why({.filter = nothing})) == "resource pool 'keys': none of 2 resources passes the filter");

  {
    const IntLease a = pool.try_acquire();
    const IntLease b = pool.try_acquire();
    CHECK(absl::IsResourceExhausted(why()));
    CHECK(text_of(why()) ==
          "resource pool 'keys': all are busy (2 resources will do, 0 of them disabled; 2 leases are out)");
  }
  REQUIRE(pool.disable("a").ok());
  const auto only_a = [](std::string_view id, const std::unique_ptr<int>&) { return id == "a"; };
  CHECK(absl::IsUnavailable(why({.filter = only_a})));
  CHECK(text_of(why({.filter = only_a})) ==
        "resource pool 'keys': the one resource that will do is disabled, until somebody enables it");
  CHECK(testing::payload_of(why({.filter = only_a}), "retry-after").empty());
  REQUIRE(pool.disable("b", 4200ms).ok());
  CHECK(absl::IsUnavailable(why()));
  CHECK(text_of(why()) ==
        "resource pool 'keys': all 2 resources that will do are disabled, the first for another 4.2 s");
  CHECK(testing::payload_of(why(), "retry-after") == "4200000000");
  clock.advance(4199ms);
  CHECK(absl::IsUnavailable(why()));
  clock.advance(1ms);
  CHECK(why().ok());

  CHECK(pool.close());
  CHECK_FALSE(pool.close());
  CHECK(absl::IsUnavailable(why()));
  CHECK(text_of(why()) == "resource pool 'keys': closed");
  CHECK(absl::IsUnavailable(pool.add("c", number(3))));
  const ResourcePoolStats stats = pool.stats();
  CHECK(stats.not_found == 4);
  CHECK(stats.exhausted == 2);
  CHECK(stats.unavailable == 9);
  CHECK(discrepancies(stats).empty());
}

TEST_CASE("ResourcePool: leases outlive the pool", "[exec][resource_pool]") {
  const auto lent = std::make_shared<int>(1);
  const auto free = std::make_shared<int>(2);
  std::optional<Lease<std::shared_ptr<int>>> lease;
  {
    ManualClock clock;  // the clock goes, too
    ResourcePool<std::shared_ptr<int>> pool({.name = "keys", .strategy = kRoundRobin, .clock = &clock});
    REQUIRE(pool.add("a", lent, {.max_concurrent = 2}).ok());
    REQUIRE(pool.add("b", free).ok());
    lease = *pool.try_acquire();
  }
  CHECK(free.use_count() == 1);
  CHECK(lent.use_count() == 2);
  CHECK(lease->id() == "a");
  CHECK(***lease == 1);
  lease->report(absl::ResourceExhaustedError("429"), 1s);
  lease->report(absl::UnauthenticatedError("401"));
  lease.reset();
  CHECK(lent.use_count() == 1);
}

TEST_CASE("ResourcePool: a lease given back late is counted", "[exec][resource_pool]") {
  IntPool pool({.name = "keys"});
  REQUIRE(pool.add("a", number(1), {.max_concurrent = 3}).ok());
  auto one = *pool.try_acquire();
  auto two = *pool.try_acquire();
  auto three = *pool.try_acquire();
  one.reset();
  pool.close();
  two.report(absl::UnauthenticatedError(""));
  two.reset();
  three.discard();
  const ResourcePoolStats stats = pool.stats();
  CHECK(stats.returns == 3);
  CHECK(stats.late_returns == 2);
  CHECK(stats.late_reports == 1);
  CHECK(stats.errors == 1);
  CHECK(stats.deaths == 0);
  CHECK(discrepancies(stats).empty());
}

struct Throwing {
  explicit Throwing(bool throws) {
    if (throws) throw std::runtime_error("no connection");
  }
  Throwing(const Throwing&) = delete;
  Throwing& operator=(const Throwing&) = delete;
};

TEST_CASE("ResourcePool: a resource is made in its place, and a failure leaves nothing", "[exec][resource_pool]") {
  ResourcePool<Throwing> pool({.name = "clients"});  // neither copied nor moved
  CHECK_THROWS_AS(pool.add("a", true), std::runtime_error);
  CHECK(absl::IsNotFound(pool.try_acquire().status()));
  CHECK(pool.add("a", false).ok());
  CHECK(pool.try_acquire().ok());
}

/// Calls back into its pool from wherever user code runs.
struct Nosy {
  explicit Nosy(ResourcePool<Nosy>& pool) : mine(&pool) { look(); }
  Nosy(const Nosy&) = delete;
  Nosy& operator=(const Nosy&) = delete;
  ~Nosy() { look(); }
  void look() const { looks += mine->stats().leases < 1000 ? 1 : 0; }
  ResourcePool<Nosy>* mine;
  static inline std::atomic<int> looks{0};
};

TEST_CASE("ResourcePool: no code of the user runs under its lock", "[exec][resource_pool]") {
  Nosy::looks = 0;
  const auto nosy = [](std::string_view, const Nosy& resource) {
    resource.look();
    static_cast<void>(resource.mine->add("from a filter", *resource.mine));
    return true;
  };
  ResourcePool<Nosy>* self = nullptr;
  ResourcePool<Nosy> pool({.name = "nosy", .classify = [&](const absl::Status&) {
                             return self->stats().leases > 0 ? ResourceVerdict::kFailed : ResourceVerdict::kGood;
                           }});
  self = &pool;
  REQUIRE(pool.add("a", pool).ok());
  auto lease = pool.acquire({.filter = nosy});
  REQUIRE(lease.ok());
  lease->report(absl::OkStatus());
  CHECK(pool.stats().errors == 1);
  lease->discard();
  CHECK(pool.remove("from a filter").ok() != pool.remove("a").ok());
  CHECK(Nosy::looks > 5);
}

}  // namespace
}  // namespace penstock
