// SPDX-License-Identifier: MIT

// The workers of a provider follow its load, but only while more of them could help.

#include <atomic>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/route/provider_router.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace std::chrono_literals;
using penstock::BreakerState;
using penstock::CircuitBreaker;
using penstock::Context;
using penstock::Job;
using penstock::ManualClock;
using penstock::ProviderOptions;
using penstock::ProviderRouter;
using penstock::ProviderState;
using penstock::ScalingOptions;
using penstock::ScalingReason;
using penstock::testing::ContainsSubstring;
using penstock::testing::eventually;
using penstock::testing::Gate;

namespace {

/// One worker that may become eight, and a breaker that leaves no state before 1000 h.
struct Fixture {
  Fixture() {
    options.pool.workers = 1;
    options.pool.queue_capacity = 1000;
    options.pool.queue_wait_limit = options.pool.processing_timeout = penstock::Duration::max();
    options.pool.clock = &clock;
    options.breaker.emplace();
    options.breaker->open_for = options.breaker->open_for_max = options.breaker->half_open_max_wait = 1000h;
    options.scaling = ScalingOptions{.min_workers = 1, .max_workers = 8, .up_cooldown = 0s};
  }
  ~Fixture() { gate.open(); }

  void add() { REQUIRE(router.add("openai", options).ok()); }
  /// One job that holds the worker, and 999 that wait.
  void load() {
    for (int job = 0; job < 1000; ++job) {
      auto made = router.submit("openai", [this] { gate.pass(); });
      if (!made.ok()) throw std::runtime_error("a job was refused");
      jobs.push_back(*std::move(made));
    }
    REQUIRE(gate.await(1));
  }
  ProviderState state() const { return router.state("openai").value(); }
  auto stats() const { return router.stats().at("openai"); }
  std::uint64_t grown() const { return stats().scaling->scale_ups; }
  std::uint64_t refused() const { return stats().scaling->count(ScalingReason::kBreakerOpen); }
  /// Whether it grows, rather than to say that it may not.
  bool grows() {
    const std::uint64_t grown_before = grown();
    const std::uint64_t refused_before = refused();
    REQUIRE(eventually([&] {
      clock.advance(1s);
      return grown() > grown_before || refused() > refused_before;
    }));
    return grown() > grown_before;
  }

  ManualClock clock;
  ProviderOptions options;
  Gate gate;
  ProviderRouter router;
  std::vector<Job<void>> jobs;
};

}  // namespace

TEST_CASE("ProviderRouter: the workers follow the load where that is wanted", "[route][provider_router]") {
  Fixture test;
  test.add();
  CHECK(test.stats().pool.configured == 1);
  test.load();
  CHECK(test.stats().pool.configured == 1);  // it does not grow by itself
  CHECK(test.grows());
  CHECK(test.stats().pool.configured > 1);
  test.gate.open();
  REQUIRE(eventually([&] { return test.stats().pool.idle == test.stats().pool.live; }));
  REQUIRE(eventually([&] {
    test.clock.advance(1s);
    return test.stats().pool.configured == 1;
  }));
  CHECK_THAT(test.router.state_json(), ContainsSubstring("\"last_reason\""));
}

TEST_CASE("ProviderRouter: the workers follow the load past a breaker that lets all through",
          "[route][provider_router]") {
  Fixture test;
  test.add();
  test.load();
  SECTION("closed") {}
  SECTION("disabled") { test.router.breaker("openai")->disable(); }
  SECTION("metrics only") { test.router.breaker("openai")->metrics_only(); }
  CHECK(test.state() == ProviderState::kReady);
  CHECK(test.grows());
}

TEST_CASE("ProviderRouter: no workers are added for a provider that is not ready", "[route][provider_router]") {
  Fixture test;
  test.options.breaker->window_size = test.options.breaker->minimum_calls = 1;
  std::atomic<bool> works{true};
  std::optional<CircuitBreaker::Permit> probe;
  SECTION("forced open") {
    test.add();
    test.load();
    test.router.breaker("openai")->force_open();
    CHECK(test.state() == ProviderState::kIsolated);
  }
  SECTION("open, then waiting for a probe") {
    test.add();
    test.load();
    auto permit = test.router.breaker("openai")->try_acquire();
    REQUIRE(permit.has_value());
    permit->failure();
    CHECK(test.state() == ProviderState::kIsolated);
    CHECK_FALSE(test.grows());
    test.clock.advance(1001h);
    CHECK(test.state() == ProviderState::kDegraded);
  }
  SECTION("half open") {
    test.add();
    test.load();
    test.router.breaker("openai")->try_acquire()->failure();
    test.clock.advance(1001h);
    probe = test.router.breaker("openai")->try_acquire();  // on its way
    CHECK(test.router.breaker("openai")->state() == BreakerState::kHalfOpen);
    CHECK(test.state() == ProviderState::kDegraded);
  }
  SECTION("unhealthy") {
    test.options.health.emplace();
    test.options.health->check = [&works](const Context&) {
      return works ? absl::OkStatus() : absl::UnavailableError("connection refused");
    };
    test.options.health->interval = 10000h;
    test.options.health->unhealthy_after = 1;
    test.add();
    test.load();
    works = false;
    CHECK_FALSE(test.router.health("openai")->check_now(Context::background()).ok());
    CHECK(test.state() == ProviderState::kIsolated);
  }
  CHECK_FALSE(test.grows());
}
