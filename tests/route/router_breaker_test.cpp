// SPDX-License-Identifier: MIT

// What a provider's breaker learns from its jobs, and what the jobs learn from it.

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/route/provider_router.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace std::chrono_literals;
using penstock::BreakerState;
using penstock::CircuitBreakerOptions;
using penstock::Context;
using penstock::Job;
using penstock::JobContext;
using penstock::ManualClock;
using penstock::OverflowPolicy;
using penstock::ProviderOptions;
using penstock::ProviderRouter;
using penstock::ProviderState;
using penstock::testing::Equals;
using penstock::testing::eventually;
using penstock::testing::Gate;
using penstock::testing::text_of;

namespace {

/// One worker, a queue of 4, and a breaker that opens for 10 s when 2 of 4 calls have failed, with 2 probes.
struct Fixture {
  explicit Fixture(OverflowPolicy overflow = OverflowPolicy::kReject, std::size_t workers = 1) {
    ProviderOptions options;
    options.pool.workers = workers;
    options.pool.queue_capacity = 4;
    options.pool.overflow = overflow;
    options.pool.queue_wait_limit = 5s;
    options.pool.processing_timeout = 30s;
    options.pool.clock = &clock;
    options.breaker.emplace();
    options.breaker->window_size = options.breaker->minimum_calls = 4;
    options.breaker->open_for = 10s;
    options.breaker->half_open_permits = 2;
    if (!router.add("bedrock", options).ok()) throw std::runtime_error("the options are no good");
  }
  ~Fixture() { gate.open(); }

  template <class F>
  auto run(F function) {
    return router.submit("bedrock", std::move(function))->get();
  }
  template <class F>
  void run(int times, F function) {
    for (int call = 0; call < times; ++call) (void)run(function);
  }
  /// A job that holds a worker until the gate is opened.
  Job<void> hold(int holding = 1) {
    auto job = router.submit("bedrock", [this] { gate.pass(); });
    if (!job.ok() || !gate.await(holding)) throw std::runtime_error("no worker came to the gate");
    return *std::move(job);
  }

  auto breaker() const { return router.breaker("bedrock")->stats(); }
  ProviderState state() const { return router.state("bedrock").value(); }

  ManualClock clock;
  Gate gate;
  ProviderRouter router;
};

absl::Status fail() { return absl::UnavailableError("connection refused"); }

}  // namespace

TEST_CASE("ProviderRouter: the outcome of each job reaches the breaker once", "[route][provider_router]") {
  Fixture test;
  test.router.breaker("bedrock")->metrics_only();
  CHECK(test.run([] { return 1; }).ok());
  test.run([] {}).IgnoreError();
  CHECK(test.run([](const JobContext&) { return absl::StatusOr<int>(1); }).ok());
  CHECK(test.breaker().succeeded == 3);
  test.run([] { return fail(); }).IgnoreError();
  CHECK_FALSE(test.run([] { return absl::StatusOr<int>(fail()); }).ok());
  CHECK(test.breaker().failed == 2);
  CHECK(test.run([]() -> int { throw std::runtime_error("boom"); }).status().code() == absl::StatusCode::kInternal);
  test.run([] { throw 42; }).IgnoreError();
  CHECK(test.breaker().failed == 4);
  test.run([] { return absl::InvalidArgumentError("no such model"); }).IgnoreError();
  test.run([] { return absl::CancelledError(); }).IgnoreError();
  CHECK(test.breaker().ignored == 2);
  CHECK(test.breaker().abandoned == 0);
  CHECK(test.breaker().doubled_reports == 0);
}

TEST_CASE("ProviderRouter: a provider that fails is isolated, probed, and let back in", "[route][provider_router]") {
  Fixture test;
  CHECK(test.state() == ProviderState::kReady);
  test.run(4, [] { return fail(); });
  CHECK(test.state() == ProviderState::kIsolated);
  auto untouched = [owned = std::make_unique<int>(1)] { return *owned; };
  test.clock.advance(5800ms);
  const absl::Status refusal = test.router.submit("bedrock", std::move(untouched)).status();
  CHECK(refusal.code() == absl::StatusCode::kUnavailable);
  CHECK_THAT(text_of(refusal), Equals("circuit breaker 'bedrock': open for another 4.2 s (4 of 4 calls failed)"));
  CHECK(penstock::retry_after(refusal) == 4200ms);
  CHECK(test.router.stats().at("bedrock").pool.submitted == 4);  // the pool was not even asked

  test.clock.advance(4200ms + 1ns);
  CHECK(test.state() == ProviderState::kDegraded);
  CHECK(test.run(std::move(untouched)).value() == 1);
  CHECK(test.state() == ProviderState::kDegraded);
  CHECK(test.run([] { return 2; }).value() == 2);
  CHECK(test.state() == ProviderState::kReady);
}

TEST_CASE("ProviderRouter: only as many probes as there are permits", "[route][provider_router]") {
  Fixture test(OverflowPolicy::kReject, 4);
  test.run(4, [] { return fail(); });
  test.clock.advance(10s + 1ns);
  std::vector<Job<void>> probes;
  probes.push_back(test.hold(1));
  probes.push_back(test.hold(2));
  CHECK(test.router.submit("bedrock", [] {}).status().code() == absl::StatusCode::kUnavailable);
  CHECK(test.breaker().probes == 2);
  test.gate.open();
  for (auto& probe : probes) CHECK(probe.get().ok());
  CHECK(test.state() == ProviderState::kReady);
}

TEST_CASE("ProviderRouter: a job that never ran tells the breaker nothing", "[route][provider_router]") {
  SECTION("refused by a full queue") {
    Fixture test;
    auto held = test.hold();
    std::vector<Job<void>> waiting;
    for (int job = 0; job < 4; ++job) waiting.push_back(*test.router.submit("bedrock", [] {}));
    for (int job = 0; job < 10; ++job) CHECK_FALSE(test.router.submit("bedrock", [] {}).ok());
    CHECK(test.breaker().ignored == 10);
  }
  SECTION("refused because its caller has gone") {
    Fixture test;
    const Context late = Context(test.clock).with_timeout(0s);
    CHECK_FALSE(test.router.submit("bedrock", [] {}, {.context = late}).ok());
    CHECK(test.breaker().ignored == 1);
  }
  SECTION("expired in the queue") {
    Fixture test;
    auto held = test.hold();
    auto waiting = test.router.submit("bedrock", [] {});
    test.clock.advance(5s);
    CHECK(waiting->get().code() == absl::StatusCode::kDeadlineExceeded);
    CHECK(test.breaker().ignored == 1);
  }
  SECTION("evicted by a newer one") {
    Fixture test(OverflowPolicy::kDropOldest);
    auto held = test.hold();
    std::vector<Job<void>> waiting;
    for (int job = 0; job < 7; ++job) waiting.push_back(*test.router.submit("bedrock", [] {}));
    CHECK(waiting[2].get().code() == absl::StatusCode::kAborted);
    CHECK(test.breaker().ignored == 3);
  }
  SECTION("called off") {
    Fixture test;
    auto held = test.hold();
    auto waiting = test.router.submit("bedrock", [] {});
    CHECK(waiting->cancel());
    CHECK(test.breaker().ignored == 1);
  }
  SECTION("abandoned by a shutdown") {
    Fixture test;
    auto held = test.hold();
    auto waiting = test.router.submit("bedrock", [] {});
    (void)test.router.shutdown(Context(test.clock).with_timeout(0s));
    CHECK(waiting->get().code() == absl::StatusCode::kCancelled);
    CHECK(test.breaker().ignored == 1);
  }
}

TEST_CASE("ProviderRouter: a probe that never ran gives its permit back", "[route][provider_router]") {
  Fixture test;
  test.run(4, [] { return fail(); });
  auto breaker = test.router.breaker("bedrock");
  breaker->reset();
  auto held = test.hold();
  breaker->force_open();
  breaker->reset();  // the held job's permit is late
  for (int job = 0; job < 4; ++job) breaker->try_acquire()->failure();
  test.clock.advance(10s + 1ns);
  for (int round = 0; round < 5; ++round) {
    auto waiting = test.router.submit("bedrock", [] {});
    REQUIRE(waiting.ok());
    CHECK(breaker->stats().probes == 1);
    CHECK(waiting->cancel());
    CHECK(breaker->stats().probes == 0);
  }
}

TEST_CASE("ProviderRouter: a provider that hangs is isolated although none of its calls returns",
          "[route][provider_router]") {
  Fixture test(OverflowPolicy::kReject, 20);
  std::vector<Job<void>> stuck;
  for (int job = 1; job <= 20; ++job) stuck.push_back(test.hold(job));
  test.clock.advance(30s - 1ns);
  CHECK(test.state() == ProviderState::kReady);
  test.clock.advance(1ns);
  for (auto& job : stuck) CHECK(job.get().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(test.router.submit("bedrock", [] {}).status().code() == absl::StatusCode::kUnavailable);
  CHECK(test.state() == ProviderState::kIsolated);
  CHECK(test.breaker().failed + test.breaker().late_results == 20);
  test.gate.open();
  REQUIRE(eventually([&] { return test.router.stats().at("bedrock").pool.overdue == 0; }));
  CHECK(test.breaker().failed + test.breaker().late_results == 20);  // each of them only once
  CHECK(test.breaker().succeeded == 0);
}

TEST_CASE("ProviderRouter: the time of a job is the shortest of its limits", "[route][provider_router]") {
  Fixture test(OverflowPolicy::kReject, 3);
  auto breaker = test.router.breaker("bedrock");
  auto by_job = test.router.submit("bedrock", [&] { test.gate.pass(); }, {.processing_timeout = 2s});
  auto by_caller =
      test.router.submit("bedrock", [&] { test.gate.pass(); }, {.context = Context(test.clock).with_timeout(4s)});
  auto by_context = test.router.submit("bedrock", [&](const JobContext&) { test.gate.pass(); },
                                       {.context = Context(test.clock).with_timeout(6s)});
  REQUIRE(test.gate.await(3));
  for (const std::uint64_t failed : {0U, 1U, 2U}) {
    test.clock.advance(2s - 1ns);
    CHECK(test.state() == ProviderState::kReady);
    CHECK(breaker->stats().failed == failed);
    test.clock.advance(1ns);
    CHECK(test.state() == ProviderState::kReady);
    CHECK(breaker->stats().failed == failed + 1);
  }
}

TEST_CASE("ProviderRouter: how long a call took decides whether it was slow", "[route][provider_router]") {
  ManualClock clock;
  ProviderRouter router;
  ProviderOptions options;
  options.pool.clock = &clock;
  options.breaker.emplace();
  options.breaker->slow_call = 2s;
  REQUIRE(router.add("bedrock", options).ok());
  const auto take = [&](std::chrono::seconds time) {
    (void)router.submit("bedrock", [&clock, time] { clock.advance(time); })->get();
  };
  take(2s);
  CHECK(router.breaker("bedrock")->stats().slow == 0);
  take(3s);
  CHECK(router.breaker("bedrock")->stats().slow == 1);
}

TEST_CASE("ProviderRouter: an operator isolates a provider by hand", "[route][provider_router]") {
  Fixture test;
  test.router.breaker("bedrock")->force_open();
  CHECK(test.state() == ProviderState::kIsolated);
  CHECK_THAT(text_of(test.router.submit("bedrock", [] {}).status()), Equals("circuit breaker 'bedrock': forced open"));
  test.router.breaker("bedrock")->disable();
  test.run(10, [] { return fail(); });
  CHECK(test.state() == ProviderState::kReady);
}

TEST_CASE("ProviderRouter: a breaker may outlive its provider", "[route][provider_router]") {
  std::shared_ptr<penstock::CircuitBreaker> breaker;
  Job<int> job;
  {
    Fixture test;
    breaker = test.router.breaker("bedrock");
    job = *test.router.submit("bedrock", [] { return 1; });
    REQUIRE(test.router.remove("bedrock", Context::background()).ok());
    CHECK(breaker->stats().succeeded == 1);
  }
  CHECK(job.get().value() == 1);
}
