// SPDX-License-Identifier: MIT

// What reports do to a resource, how long a rest is, and who waits for its end.

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include "exec/resource_pool_support.hpp"
#include "penstock/core/run_loop.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::acquire_in;
using testing::IntLease;
using testing::IntPool;
using testing::number;

using Number = std::unique_ptr<int>;

TEST_CASE("ResourcePool: the standard verdicts", "[exec][resource_pool]") {
  const std::map<absl::StatusCode, ResourceVerdict> unusual = {
      {absl::StatusCode::kOk, ResourceVerdict::kGood},
      {absl::StatusCode::kCancelled, ResourceVerdict::kIgnored},
      {absl::StatusCode::kInvalidArgument, ResourceVerdict::kIgnored},
      {absl::StatusCode::kResourceExhausted, ResourceVerdict::kRest},
      {absl::StatusCode::kUnauthenticated, ResourceVerdict::kDead},
      {absl::StatusCode::kPermissionDenied, ResourceVerdict::kDead}};
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "x");
    const auto at = unusual.find(status.code());
    CHECK(classify_resource(status) == (at == unusual.end() ? ResourceVerdict::kFailed : at->second));
  }
}

TEST_CASE("ResourcePool: failures are counted, in a row and in all", "[exec][resource_pool]") {
  IntPool pool({.name = "keys"});
  REQUIRE(pool.add("a", number(1)).ok());
  IntLease lease = pool.try_acquire();
  lease->report(absl::UnavailableError("503"));
  lease->report(absl::CancelledError());
  lease->report(absl::InternalError("500"));
  CHECK(pool.stats().by_resource.at(0).consecutive_failures == 2);
  lease->report(absl::OkStatus());
  lease->report(absl::DeadlineExceededError(""));
  const ResourcePoolStats stats = pool.stats();
  CHECK(stats.errors == 3);
  CHECK(stats.by_resource.at(0).errors == 3);
  CHECK(stats.by_resource.at(0).consecutive_failures == 1);
  CHECK_FALSE(stats.by_resource.at(0).is_disabled);
}

TEST_CASE("ResourcePool: a resource that is told to wait rests", "[exec][resource_pool]") {
  ManualClock clock;
  IntPool pool({.name = "keys", .rest_for = 5s, .clock = &clock});
  REQUIRE(pool.add("a", number(1)).ok());
  Duration expected = 5s;
  {
    IntLease lease = pool.try_acquire();
    SECTION("for the usual time") { lease->report(absl::ResourceExhaustedError("429")); }
    SECTION("for the time that the caller has read") {
      expected = 2s;
      lease->report(absl::ResourceExhaustedError("429"), 2s);
    }
    SECTION("for the time that the status says") {
      expected = 3s;
      absl::Status status = absl::ResourceExhaustedError("429");
      status.SetPayload("type.penstock/retry-after", absl::Cord("3000000000"));
      lease->report(status);
    }
    SECTION("for the usual time if the status says nonsense") {
      absl::Status status = absl::ResourceExhaustedError("429");
      status.SetPayload("type.penstock/retry-after", absl::Cord("soon"));
      lease->report(status);
    }
    SECTION("for the longest of several times") {
      expected = 8s;
      lease->report(absl::ResourceExhaustedError("429"), 8s);
      lease->report(absl::ResourceExhaustedError("429"), 1s);
    }
  }
  CHECK(pool.stats().disabled == 1);
  clock.advance(expected - 1ns);
  CHECK(absl::IsUnavailable(pool.try_acquire().status()));
  clock.advance(1ns);
  CHECK(pool.stats().disabled == 0);
  CHECK(pool.try_acquire().ok());
  CHECK(pool.stats().rests >= 1);
}

TEST_CASE("ResourcePool: no rest is no rest", "[exec][resource_pool]") {
  IntPool pool({.name = "keys"});
  REQUIRE(pool.add("a", number(1)).ok());
  IntLease lease = pool.try_acquire();
  lease->report(absl::ResourceExhaustedError("429"), 0s);
  lease->report(absl::ResourceExhaustedError("429"), -1s);
  CHECK(pool.stats().disabled == 0);
  CHECK(pool.stats().errors == 2);
}

TEST_CASE("ResourcePool: a dead resource stays out until it is enabled", "[exec][resource_pool]") {
  ManualClock clock;
  IntPool pool({.name = "keys", .clock = &clock});
  REQUIRE(pool.add("a", number(1)).ok());
  IntLease lease = pool.try_acquire();
  lease->report(absl::UnauthenticatedError("401"));
  lease->report(absl::ResourceExhaustedError("429"), 1s);  // changes nothing
  lease->reset();
  clock.advance(1000h);
  CHECK(absl::IsUnavailable(pool.try_acquire().status()));
  CHECK(absl::IsUnavailable(pool.acquire().status()));  // nothing to wait for
  CHECK(pool.stats().deaths == 1);
  REQUIRE(pool.enable("a").ok());
  CHECK(pool.stats().by_resource.at(0).consecutive_failures == 0);
  CHECK(pool.try_acquire().ok());
}

TEST_CASE("ResourcePool: the caller's classification is asked, and may throw", "[exec][resource_pool]") {
  IntPool pool({.name = "keys", .classify = [](const absl::Status& status) {
                  if (absl::IsUnknown(status)) throw std::runtime_error("what is this");
                  return absl::IsInternal(status) ? ResourceVerdict::kDead : ResourceVerdict::kIgnored;
                }});
  REQUIRE(pool.add("a", number(1)).ok());
  IntLease lease = pool.try_acquire();
  lease->report(absl::UnauthenticatedError("401"));
  CHECK(pool.stats().errors == 0);
  lease->report(absl::UnknownError("?"));
  CHECK(pool.stats().caught_exceptions == 1);
  CHECK(pool.stats().errors == 1);
  lease->report(absl::InternalError("500"));
  CHECK(pool.stats().disabled == 1);
}

TEST_CASE("ResourcePool: an operator's word replaces what was before", "[exec][resource_pool]") {
  ManualClock clock;
  IntPool pool({.name = "keys", .clock = &clock});
  REQUIRE(pool.add("a", number(1)).ok());
  REQUIRE(pool.disable("a").ok());
  REQUIRE(pool.disable("a", 10s).ok());
  REQUIRE(pool.disable("a", 1s).ok());
  clock.advance(1s);
  CHECK(pool.try_acquire().ok());
  REQUIRE(pool.disable("a", Duration::max() - 1ns).ok());  // beyond the end of time: until enabled
  CHECK(pool.stats().by_resource.at(0).disabled_until == TimePoint::max());
}

TEST_CASE("ResourcePool: who waits for a rest to end is served when it ends", "[exec][resource_pool]") {
  ManualClock clock;
  IntPool pool({.name = "keys", .clock = &clock});
  REQUIRE(pool.add("a", number(1)).ok());
  REQUIRE(pool.add("b", number(2)).ok());
  REQUIRE(pool.disable("a", 10s).ok());
  REQUIRE(pool.disable("b", 20s).ok());
  RunLoop loop;
  auto first = spawn(loop, acquire_in(pool, {}, Context::background()));
  auto second = spawn(loop, acquire_in(pool, {}, Context(clock).with_timeout(1h)));
  loop.run_ready();
  CHECK(pool.stats().waiting == 2);
  SECTION("as it was") {}
  SECTION("sooner than it was") { REQUIRE(pool.disable("a", 5s).ok()); }
  SECTION("later than it was") { REQUIRE(pool.disable("a", 15s).ok()); }
  SECTION("by an operator") { REQUIRE(pool.enable("a").ok()); }
  clock.advance(15s);
  loop.run_ready();
  CHECK(pool.stats().waiting <= 1);
  clock.advance(5s);
  loop.run_ready();
  CHECK(pool.stats().waiting == 0);
  CHECK(first.get().ok());
  CHECK(second.get().ok());
  CHECK(clock.armed() <= 1);
}

TEST_CASE("ResourcePool: a timer ends a rest on time, for threads as well", "[exec][resource_pool]") {
  ManualClock clock;
  IntPool pool({.name = "keys", .clock = &clock});
  REQUIRE(pool.add("a", number(1)).ok());
  REQUIRE(pool.disable("a", 10s).ok());
  std::atomic<bool> served{false};
  std::thread waiting([&] { served = pool.acquire().ok(); });
  CHECK(testing::eventually([&] { return clock.armed() == 1; }));
  REQUIRE(pool.disable("a", 3s).ok());  // sooner: the timer has to follow
  clock.advance(3s);
  waiting.join();
  CHECK(served);
  CHECK(pool.stats().lease_wait.max() <= 3s);
}

TEST_CASE("ResourcePool: nobody waits for a rest that outlasts the wait", "[exec][resource_pool]") {
  ManualClock clock;
  IntPool pool({.name = "keys", .clock = &clock});
  REQUIRE(pool.add("a", number(1)).ok());
  REQUIRE(pool.disable("a", 10s).ok());
  const absl::Status status = pool.acquire(Context(clock).with_timeout(9s)).status();
  CHECK(absl::IsUnavailable(status));
  CHECK(testing::payload_of(status, "retry-after") == "10000000000");
  CHECK(pool.stats().waits == 0);

  // It begins while somebody waits.
  REQUIRE(pool.enable("a").ok());
  std::optional<Lease<Number>> held = *pool.try_acquire();
  RunLoop loop;
  auto hasty = spawn(loop, acquire_in(pool, {}, Context(clock).with_timeout(9s)));
  auto patient = spawn(loop, acquire_in(pool, {}, Context(clock).with_timeout(11s)));
  loop.run_ready();
  held->report(absl::ResourceExhaustedError("429"), 10s);
  held.reset();
  loop.run_ready();
  CHECK(absl::IsUnavailable(hasty.get().status()));
  CHECK(pool.stats().waiting == 1);
  clock.advance(10s);
  loop.run_ready();
  CHECK(patient.get().ok());
}

/// A clock that cannot start its timers until it is told that it can.
class PoorClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override { return clock.now(); }
  void start_timers() override {
    if (!can_start) throw std::runtime_error("no thread to be had");
  }
  bool arm(Timer& timer, TimePoint when) noexcept override { return clock.arm(timer, when); }
  void disarm(Timer& timer) noexcept override { clock.disarm(timer); }

  ManualClock clock;
  bool can_start = false;
};

TEST_CASE("ResourcePool: without timers nobody waits for a rest", "[exec][resource_pool]") {
  PoorClock clock;
  IntPool pool({.name = "keys", .clock = &clock});
  REQUIRE(pool.add("a", number(1)).ok());
  std::optional<Lease<Number>> held = *pool.try_acquire();
  RunLoop loop;
  auto before = spawn(loop, acquire_in(pool, {}, Context::background()));
  loop.run_ready();
  CHECK(pool.stats().waiting == 1);  // for a busy one
  held->report(absl::ResourceExhaustedError("429"), 10s);
  held.reset();
  loop.run_ready();
  CHECK(absl::IsUnavailable(before.get().status()));
  CHECK(absl::IsUnavailable(pool.acquire().status()));
  clock.can_start = true;
  REQUIRE(pool.disable("a", 10s).ok());
  auto after = spawn(loop, acquire_in(pool, {}, Context::background()));
  loop.run_ready();
  CHECK(pool.stats().waiting == 1);
  clock.clock.advance(10s);
  loop.run_ready();
  CHECK(after.get().ok());
}

TEST_CASE("ResourcePool: a pool may go while its timer is armed", "[exec][resource_pool]") {
  ManualClock clock;
  std::optional<IntPool> pool(std::in_place, ResourcePoolOptions{.name = "keys", .clock = &clock});
  REQUIRE(pool->add("a", number(1)).ok());
  REQUIRE(pool->disable("a", 10s).ok());
  RunLoop loop;
  auto waiting = spawn(loop, acquire_in(*pool, {}, Context::background()));
  loop.run_ready();
  CHECK(clock.armed() == 1);
  SECTION("from anywhere") {
    pool.reset();
    CHECK(clock.armed() == 0);
    clock.advance(10s);
    loop.run_ready();
    CHECK(absl::IsUnavailable(waiting.get().status()));
  }
  SECTION("from the coroutine that the timer resumes") {
    const auto last = [](std::optional<IntPool>& from) -> Task<bool> {
      IntLease lease = co_await from->async_acquire();
      from.reset();
      co_return lease.ok() && **lease != nullptr;
    };
    REQUIRE(pool->add("b", number(2)).ok());
    loop.run_ready();
    REQUIRE(waiting.get()->id() == "b");
    REQUIRE(pool->disable("b", 5s).ok());
    auto done = spawn(Executor::inline_executor(), last(pool));
    clock.advance(5s);
    CHECK_FALSE(pool.has_value());
    CHECK(done.get());
  }
}

}  // namespace
}  // namespace penstock
