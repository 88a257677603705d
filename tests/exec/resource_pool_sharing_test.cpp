// SPDX-License-Identifier: MIT

// Who gets which resource, by key and by weight; and what a pool tells of it.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "exec/resource_pool_support.hpp"
#include "penstock/metrics/prometheus_writer.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::ContainsSubstring;
using testing::discrepancies;
using testing::id_of;
using testing::IntLease;
using testing::IntPool;
using testing::number;

using Number = std::unique_ptr<int>;

constexpr ResourceStrategy kRoundRobin = ResourceStrategy::kRoundRobin;

TEST_CASE("ResourcePool: a sticky key gets the same resource again", "[exec][resource_pool]") {
  ManualClock clock;
  IntPool pool({.name = "keys", .strategy = kRoundRobin, .sticky_ttl = 60s, .clock = &clock});
  for (const char* id : {"a", "b", "c"}) REQUIRE(pool.add(id, number(1)).ok());
  const auto take = [&](const std::string& key) { return pool.try_acquire({.sticky_key = key}); };
  CHECK(id_of(take("x")) == "a");
  CHECK(id_of(take("y")) == "b");
  for (int i = 0; i != 5; ++i) {
    CHECK(id_of(take("x")) == "a");
    CHECK(id_of(take("y")) == "b");
    clock.advance(59s);  // each use counts from anew
  }
  SECTION("unless it is busy: then another one, this once") {
    const IntLease other = pool.try_acquire();
    REQUIRE(id_of(other) == "c");
    IntLease busy = take("x");
    CHECK(id_of(take("x")) == "b");
    busy->reset();
    CHECK(id_of(take("x")) == "a");
  }
  SECTION("unless it does not pass the filter: then another one, this once") {
    const auto not_a = [](std::string_view id, const Number&) { return id != "a"; };
    CHECK(id_of(pool.try_acquire({.filter = not_a, .sticky_key = "x"})) != "a");
    CHECK(id_of(take("x")) == "a");
  }
  SECTION("unless it is disabled: then the key moves") {
    REQUIRE(pool.disable("a", 1s).ok());
    const std::string moved = id_of(take("x"));
    CHECK(moved != "a");
    clock.advance(1s);
    CHECK(id_of(take("x")) == moved);
  }
  SECTION("unless it is gone: then the key moves, even if the id comes back") {
    REQUIRE(pool.remove("a").ok());
    REQUIRE(pool.add("a", number(1)).ok());
    const std::string moved = id_of(take("x"));
    CHECK(id_of(take("x")) == moved);
  }
  SECTION("until its time is over") {
    clock.advance(60s);
    CHECK(id_of(take("z")) == "c");
    CHECK(id_of(take("x")) == "a");  // by turn
    CHECK(id_of(take("y")) == "b");
    clock.advance(60s);
    CHECK(id_of(take("y")) == "c");
  }
}

TEST_CASE("ResourcePool: turns go on where they were when a resource leaves", "[exec][resource_pool]") {
  IntPool pool({.name = "keys", .strategy = kRoundRobin});
  for (const char* id : {"a", "b", "c", "d"}) REQUIRE(pool.add(id, number(1)).ok());
  CHECK(id_of(pool.try_acquire()) == "a");
  CHECK(id_of(pool.try_acquire()) == "b");
  REQUIRE(pool.remove("a").ok());  // has had its turn
  CHECK(id_of(pool.try_acquire()) == "c");
  REQUIRE(pool.remove("d").ok());  // would be next
  CHECK(id_of(pool.try_acquire()) == "b");
  CHECK(id_of(pool.try_acquire()) == "c");
}

TEST_CASE("ResourcePool: weights are exact, and a seed repeats the choices", "[exec][resource_pool]") {
  const auto draw = [](std::uint64_t seed) {
    IntPool pool({.name = "keys", .seed = seed});
    REQUIRE(pool.add("rare", number(1), {.weight = 0.001}).ok());
    REQUIRE(pool.add("usual", number(2), {.weight = 0.999}).ok());
    REQUIRE(pool.add("spare", number(3), {.weight = 0}).ok());
    std::vector<int> choices;
    for (int i = 0; i != 100'000; ++i) choices.push_back(***pool.try_acquire());
    return choices;
  };
  const std::vector<int> choices = draw(42);
  const auto rare = std::count(choices.begin(), choices.end(), 1);
  CHECK(rare > 60);  // 100 in the mean, with a standard deviation of 10
  CHECK(rare < 140);
  CHECK(std::count(choices.begin(), choices.end(), 3) == 0);
  CHECK(draw(42) == choices);
  CHECK(draw(43) != choices);
}

TEST_CASE("ResourcePool: a change of weight counts at once", "[exec][resource_pool]") {
  IntPool pool({.name = "keys", .seed = 1});
  REQUIRE(pool.add("a", number(1), {.weight = 1}).ok());
  REQUIRE(pool.add("b", number(2), {.weight = 0}).ok());
  for (int i = 0; i != 20; ++i) CHECK(pool.try_acquire()->id() == "a");
  REQUIRE(pool.update("a", {.weight = 0}).ok());
  REQUIRE(pool.update("b", {.weight = 0.5}).ok());
  for (int i = 0; i != 20; ++i) CHECK(pool.try_acquire()->id() == "b");
}

TEST_CASE("ResourcePool: its figures, and its metrics", "[exec][resource_pool]") {
  ManualClock clock;
  IntPool pool({.name = "open\"ai", .strategy = kRoundRobin, .clock = &clock});
  REQUIRE(pool.add("a", number(1), {.weight = 2, .max_concurrent = 4}).ok());
  REQUIRE(pool.add("b", number(2)).ok());
  REQUIRE(pool.add("c", number(3)).ok());
  REQUIRE(pool.disable("b", 90s).ok());
  REQUIRE(pool.disable("c").ok());
  IntLease one = pool.try_acquire();
  IntLease two = pool.try_acquire();
  one->report(absl::InternalError("500"));
  one->reset();
  const ResourcePoolStats stats = pool.stats();
  CHECK(discrepancies(stats).empty());
  CHECK(stats.resources == 3);
  CHECK(stats.disabled == 2);
  CHECK(stats.leases == 2);
  CHECK(stats.lease_wait.count() == 2);
  REQUIRE(stats.by_resource.size() == 3);
  CHECK(stats.by_resource[0].id == "a");
  CHECK(stats.by_resource[0].weight == 2);
  CHECK(stats.by_resource[0].max_concurrent == 4);
  CHECK(stats.by_resource[0].in_use == 1);
  CHECK(stats.by_resource[0].leases == 2);
  CHECK(stats.by_resource[1].disabled_until == clock.now() + 90s);

  PrometheusWriter writer;
  pool.collect(writer);
  const std::string text = writer.text();
  for (const char* line : {
           R"(penstock_resources{pool="open\"ai"} 3)",
           R"(penstock_resources_disabled{pool="open\"ai"} 2)",
           R"(penstock_resources_in_use{pool="open\"ai"} 1)",
           R"(penstock_resources_leases_total{pool="open\"ai"} 2)",
           R"(penstock_resources_errors_total{pool="open\"ai"} 1)",
           R"(penstock_resources_refused_total{pool="open\"ai",reason="timed_out"} 0)",
           R"(penstock_resources_lease_wait_seconds_count{pool="open\"ai"} 2)",
           R"(penstock_resources_resource_in_use{pool="open\"ai",resource="a"} 1)",
           R"(penstock_resources_resource_limit{pool="open\"ai",resource="a"} 4)",
           R"(penstock_resources_resource_leases_total{pool="open\"ai",resource="a"} 2)",
           R"(penstock_resources_resource_errors_total{pool="open\"ai",resource="a"} 1)",
           R"(penstock_resources_resource_disabled_seconds{pool="open\"ai",resource="a"} 0)",
           R"(penstock_resources_resource_disabled_seconds{pool="open\"ai",resource="b"} 90)",
           R"(penstock_resources_resource_disabled_seconds{pool="open\"ai",resource="c"} +Inf)",
       }) {
    CHECK_THAT(text, ContainsSubstring(line));
  }
}

}  // namespace
}  // namespace penstock
