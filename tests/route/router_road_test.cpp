// SPDX-License-Identifier: MIT

// What a provider's calls pass besides its pool and its breaker: health, rate limit, concurrency limit.

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/core/failure_stage.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/metrics/prometheus_writer.hpp"
#include "penstock/route/provider_router.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace std::chrono_literals;
using penstock::BreakerState;
using penstock::ConcurrencyLimiterOptions;
using penstock::Context;
using penstock::FixedLimit;
using penstock::HealthCheckOptions;
using penstock::HealthStart;
using penstock::Job;
using penstock::JobContext;
using penstock::ManualClock;
using penstock::ProviderOptions;
using penstock::ProviderRouter;
using penstock::ProviderState;
using penstock::RateLimiterOptions;
using penstock::retry_after;
using penstock::ScalingOptions;
using penstock::testing::ContainsSubstring;
using penstock::testing::Equals;
using penstock::testing::eventually;
using penstock::testing::Gate;
using penstock::testing::text_of;

namespace {

/// Four workers, and a queue of 16. The test sets the rest, and adds it.
struct Fixture {
  Fixture() {
    options.pool.workers = 4;
    options.pool.queue_capacity = 16;
    options.pool.clock = &clock;
    options.breaker.emplace();
  }
  ~Fixture() { gate.open(); }

  void add() { REQUIRE(router.add("openai", options).ok()); }
  Job<void> hold(penstock::SubmitOptions submit_options = {}) {
    auto job = router.submit(
        "openai", [this] { gate.pass(); }, std::move(submit_options));
    if (!job.ok()) throw std::runtime_error("a job was refused");
    return *std::move(job);
  }
  ProviderState state() const { return router.state("openai").value(); }
  auto stats() const { return router.stats().at("openai"); }

  ManualClock clock;
  ProviderOptions options;
  Gate gate;
  ProviderRouter router;
};

/// A check that says what the test wants it to.
struct Patient {
  std::atomic<bool> works{true};
  HealthCheckOptions options() {
    HealthCheckOptions health;
    health.check = [this](const Context&) {
      return works ? absl::OkStatus() : absl::UnavailableError("connection refused");
    };
    health.interval = 10s;
    health.jitter = 0;
    health.unhealthy_after = 2;
    return health;
  }
};

}  // namespace

// --- health ---

TEST_CASE("ProviderRouter: an unhealthy provider is isolated until a check passes", "[route][provider_router]") {
  Patient patient;
  Fixture test;
  test.options.health = patient.options();
  test.add();
  const auto check = [&] { return test.router.health("openai")->check_now(Context::background()); };
  CHECK(check().ok());
  CHECK(test.state() == ProviderState::kReady);
  patient.works = false;
  CHECK(absl::IsUnavailable(check()));
  CHECK(test.state() == ProviderState::kReady);
  CHECK(absl::IsUnavailable(check()));
  CHECK(test.state() == ProviderState::kIsolated);
  const absl::Status refused = test.router.submit("openai", [] {}).status();
  CHECK(absl::IsUnavailable(refused));
  CHECK_THAT(text_of(refused), Equals("provider 'openai': isolated, its health check fails"));
  CHECK(retry_after(refused) == 10s);
  CHECK(test.stats().breaker->failed == 0);  // unless asked for, checks are not calls
  CHECK_THAT(test.router.state_json(), ContainsSubstring("\"unhealthy\""));
  patient.works = true;
  CHECK(check().ok());
  CHECK(test.state() == ProviderState::kReady);
  CHECK(test.router.submit("openai", [] { return 1; })->get().value() == 1);
}

TEST_CASE("ProviderRouter: a provider may start isolated, or not at all", "[route][provider_router]") {
  Patient patient;
  patient.works = false;
  Fixture test;
  test.options.health = patient.options();
  SECTION("isolated") {
    test.options.health->start = HealthStart::kChecked;
    test.add();
    CHECK(test.state() == ProviderState::kIsolated);
    patient.works = true;
    REQUIRE(eventually([&] {
      test.clock.advance(10s);
      return test.state() == ProviderState::kReady;
    }));
  }
  SECTION("not at all") {
    test.options.health->start = HealthStart::kRequired;
    const absl::Status refused = test.router.add("openai", test.options);
    CHECK(absl::IsUnavailable(refused));
    CHECK_THAT(text_of(refused), ContainsSubstring("connection refused"));
    CHECK(absl::IsNotFound(test.router.state("openai").status()));
    patient.works = true;
    test.add();
    CHECK(test.state() == ProviderState::kReady);
  }
}

TEST_CASE("ProviderRouter: checks are calls in the breaker where that is wanted", "[route][provider_router]") {
  Patient patient;
  Fixture test;
  test.options.health = patient.options();
  test.options.health->feeds_breaker = true;
  test.options.health->unhealthy_after = 1000;
  test.options.breaker->window_size = test.options.breaker->minimum_calls = 2;
  test.options.breaker->half_open_permits = 1;
  test.options.breaker->open_for = 5s;
  patient.works = false;
  test.add();
  const auto check = [&] { return test.router.health("openai")->check_now(Context::background()); };
  const auto breaker_is = [&](BreakerState state) { return test.router.breaker("openai")->state() == state; };
  CHECK_FALSE(check().ok());
  CHECK_FALSE(check().ok());
  REQUIRE(eventually([&] { return breaker_is(BreakerState::kOpen); }));
  // The breaker is told by a thread of the monitor's: of all of them, before time goes on.
  REQUIRE(eventually([&] {
    const auto now = test.stats();
    return now.breaker->failed + now.breaker->not_permitted == now.health->failed;
  }));
  patient.works = true;
  test.clock.advance(6s);
  CHECK(check().ok());  // which is the probe
  REQUIRE(eventually([&] { return breaker_is(BreakerState::kClosed); }));
}

TEST_CASE("ProviderRouter: a check that hangs keeps neither a removal nor an update", "[route][provider_router]") {
  Gate hanging;
  Fixture test;
  test.options.health = HealthCheckOptions{.check = [&](const Context&) {
    hanging.pass();
    return absl::OkStatus();
  }};
  test.add();
  REQUIRE(hanging.await(1));
  SECTION("removal") { CHECK(test.router.remove("openai").ok()); }
  SECTION("update") {
    CHECK(test.router.update("openai", test.options).ok());
    CHECK(test.stats().health->is_checking);
    test.options.health.reset();
    CHECK(test.router.update("openai", test.options).ok());
    CHECK_FALSE(test.stats().health.has_value());
  }
  hanging.open();  // the destructor waits for it
}

// --- rate limit ---

TEST_CASE("ProviderRouter: a rate limit spreads calls over time instead of refusing them", "[route][provider_router]") {
  Fixture test;
  test.options.rate_limit = RateLimiterOptions{.rate_per_second = 1, .burst = 1};
  test.add();
  std::atomic<int> ran{0};
  std::vector<Job<int>> jobs;
  for (int job = 0; job < 3; ++job) {
    jobs.push_back(*test.router.submit("openai", [&] { return ran.fetch_add(1); }));
  }
  REQUIRE(eventually([&] { return test.stats().rate_limit->waiting == 2; }));
  CHECK(ran == 1);
  test.clock.advance(1s);
  REQUIRE(eventually([&] { return ran == 2; }));
  test.clock.advance(1s);
  for (Job<int>& job : jobs) CHECK(job.get().ok());
  CHECK(test.router.rate_limit("openai")->stats().acquired == 3);
}

TEST_CASE("ProviderRouter: a call that would wait for the rate too long is refused, and says until when",
          "[route][provider_router]") {
  Fixture test;
  test.options.rate_limit = RateLimiterOptions{.rate_per_second = 0.1, .burst = 1};
  test.add();
  CHECK(test.router.submit("openai", [] {})->get().ok());
  const absl::Status refused = test.router.submit("openai", [] {}, {.processing_timeout = 2s})->get();
  CHECK(absl::IsResourceExhausted(refused));
  CHECK(retry_after(refused) == 10s);
  CHECK(penstock::failure_stage(refused) == "rate_limit");
  CHECK(penstock::classify_retry(refused) == penstock::RetryVerdict::kRetry);
  CHECK(test.stats().breaker->ignored == 1);  // it is not the provider's fault
}

// --- concurrency limit ---

TEST_CASE("ProviderRouter: a limit lets so many calls run, however many workers there are",
          "[route][provider_router]") {
  Fixture test;
  test.options.limiter = ConcurrencyLimiterOptions{.algorithm = FixedLimit{2}};
  test.add();
  std::vector<Job<void>> jobs;
  for (int job = 0; job < 5; ++job) jobs.push_back(test.hold());
  REQUIRE(test.gate.await(2));
  REQUIRE(eventually([&] { return test.stats().limiter->waiting == 2; }));
  CHECK(test.stats().pool.busy == 4);
  CHECK(test.stats().pool.queue_depth == 1);
  CHECK(test.router.limiter("openai")->in_flight() == 2);
  test.gate.open();
  for (Job<void>& job : jobs) CHECK(job.get().ok());
  CHECK(test.stats().limiter->success == 5);
  CHECK(test.stats().limiter->in_flight == 0);
}

TEST_CASE("ProviderRouter: what a call ends with moves its limit", "[route][provider_router]") {
  Fixture test;
  test.options.limiter =
      ConcurrencyLimiterOptions{.algorithm = penstock::AimdLimit{.initial = 10, .min = 1, .max = 20}};
  test.add();
  CHECK(absl::IsUnavailable(test.router.submit("openai", [] { return absl::UnavailableError("too busy"); })->get()));
  CHECK(test.router.limiter("openai")->limit() == 9);
  CHECK(test.stats().limiter->dropped == 1);
  CHECK(absl::IsInternal(test.router.submit("openai", [] { throw std::runtime_error("oops"); })->get()));
  CHECK(test.stats().limiter->ignored == 1);
}

TEST_CASE("ProviderRouter: a call that hangs gives its slot to who waits when its time is up",
          "[route][provider_router]") {
  Fixture test;
  test.options.limiter = ConcurrencyLimiterOptions{.algorithm = FixedLimit{1}};
  test.add();
  auto hanging = test.hold({.processing_timeout = 5s});
  REQUIRE(test.gate.await(1));
  auto waiting = test.router.submit("openai", [] { return 1; });
  REQUIRE(eventually([&] { return test.router.limiter("openai")->stats().waiting == 1; }));
  test.clock.advance(6s);
  CHECK(waiting->get().value() == 1);
  CHECK(absl::IsDeadlineExceeded(hanging.get()));
  CHECK(test.stats().limiter->dropped == 1);
  CHECK(test.stats().breaker->failed == 1);
}

TEST_CASE("ProviderRouter: a job's tag is its partition of the limit", "[route][provider_router]") {
  Fixture test;
  ConcurrencyLimiterOptions limiter{.algorithm = FixedLimit{2}};
  limiter.partitions = {{"gold", 0.5}};
  test.options.limiter = limiter;
  test.add();
  std::vector<Job<void>> jobs;
  for (int job = 0; job < 2; ++job) jobs.push_back(test.hold());
  REQUIRE(test.gate.await(2));
  auto common = test.router.submit("openai", [] { return 1; });
  REQUIRE(eventually([&] { return test.stats().limiter->waiting == 1; }));
  CHECK(test.router.submit("openai", [] { return 1; }, {.tag = "gold"})->get().value() == 1);
  CHECK_FALSE(common->is_done());
}

TEST_CASE("ProviderRouter: a shutdown calls off who waits for a slot", "[route][provider_router]") {
  Fixture test;
  test.options.limiter = ConcurrencyLimiterOptions{.algorithm = FixedLimit{1}};
  test.add();
  auto held = test.hold();
  REQUIRE(test.gate.await(1));
  auto waiting = test.router.submit("openai", [] { return 1; });
  REQUIRE(eventually([&] { return test.stats().limiter->waiting == 1; }));
  test.router.shutdown(Context(test.clock).with_timeout(0s));
  CHECK(absl::IsCancelled(waiting->get().status()));
  test.gate.open();
}

// --- all of it ---

TEST_CASE("ProviderRouter: an update keeps limits and health, with their figures", "[route][provider_router]") {
  Patient patient;
  Fixture test;
  test.options.health = patient.options();
  test.options.limiter = ConcurrencyLimiterOptions{.algorithm = FixedLimit{2}};
  test.options.rate_limit = RateLimiterOptions{.rate_per_second = 1000, .burst = 10};
  test.add();
  CHECK(test.router.submit("openai", [] { return 1; })->get().value() == 1);
  const auto health = test.router.health("openai");
  const auto limiter = test.router.limiter("openai");
  const auto rate = test.router.rate_limit("openai");
  test.options.limiter->algorithm = FixedLimit{3};
  test.options.rate_limit->rate_per_second = 5;
  test.options.health->interval = 77s;
  REQUIRE(test.router.update("openai", test.options).ok());
  CHECK(test.router.health("openai") == health);
  CHECK(test.router.limiter("openai") == limiter);
  CHECK(test.router.rate_limit("openai") == rate);
  CHECK(limiter->limit() == 3);
  CHECK(limiter->stats().success == 1);
  CHECK(rate->options().rate_per_second == 5);
  CHECK(health->options().interval == 77s);
  test.options.limiter.reset();
  test.options.rate_limit.reset();
  REQUIRE(test.router.update("openai", test.options).ok());
  CHECK(test.router.limiter("openai") == nullptr);
  CHECK(test.router.submit("openai", [] { return 1; })->get().value() == 1);
  CHECK(rate->stats().acquired == 1);
}

TEST_CASE("ProviderRouter: an algorithm that cannot be made leaves a provider as it was", "[route][provider_router]") {
  Fixture test;
  test.options.limiter = ConcurrencyLimiterOptions{.algorithm = FixedLimit{2}};
  test.add();
  ProviderOptions changed = test.options;
  changed.pool.workers = 2;
  changed.breaker->failure_rate_pct = 1;
  changed.limiter->make_algorithm = []() -> std::unique_ptr<penstock::LimitAlgorithm> { return nullptr; };
  CHECK_FALSE(test.router.update("openai", changed).ok());
  CHECK(test.stats().pool.configured == 4);
  CHECK(test.router.breaker("openai")->options().failure_rate_pct == 50);
  CHECK(test.router.limiter("openai")->limit() == 2);
}

TEST_CASE("ProviderRouter: what is wrong in any part is said of all parts at once", "[route][provider_router]") {
  Fixture test;
  test.options.pool.queue_capacity = 2'000'000;
  test.options.breaker->failure_rate_pct = -1;
  test.options.rate_limit = RateLimiterOptions{.rate_per_second = 0};
  test.options.limiter = ConcurrencyLimiterOptions{.algorithm = FixedLimit{0}};
  test.options.scaling = ScalingOptions{.min_workers = 9, .max_workers = 8};
  test.options.retry = penstock::RetryOptions{.max_attempts = 0};
  test.options.health = HealthCheckOptions{.interval = 0s};
  const std::string text = text_of(test.router.add("openai", test.options));
  for (const char* part : {"worker pool 'openai'", "circuit breaker 'openai'", "rate limiter 'openai'",
                           "concurrency limiter 'openai'", "max_attempts", "min_workers", "interval"}) {
    CHECK_THAT(text, ContainsSubstring(part));
  }
}

TEST_CASE("ProviderRouter: metrics and JSON show every part", "[route][provider_router]") {
  Patient patient;
  Fixture test;
  test.options.health = patient.options();
  test.options.limiter = ConcurrencyLimiterOptions{.algorithm = FixedLimit{2}};
  test.options.rate_limit = RateLimiterOptions{.rate_per_second = 1000, .burst = 10};
  test.options.retry = penstock::RetryOptions{};
  test.options.scaling = ScalingOptions{};
  test.add();
  const std::string json = test.router.state_json();
  for (const char* key : {"\"breaker\":{", "\"health\":{", "\"rate_limit\":{", "\"limiter\":{", "\"retry\":{",
                          "\"scaling\":{", "\"lease\":null"}) {
    CHECK_THAT(json, ContainsSubstring(key));
  }
  penstock::PrometheusWriter metrics;
  test.router.collect(metrics);
  const std::string text = metrics.text();
  for (const char* metric : {"penstock_pool_submitted_total", "penstock_breaker_not_permitted_total",
                             "penstock_rate_limiter_tokens", "penstock_limiter_limit", "penstock_retry_calls_total",
                             "penstock_scaler_evaluations_total", "penstock_health_watches"}) {
    CHECK_THAT(text, ContainsSubstring(metric));
  }
}
