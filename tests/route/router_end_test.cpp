// SPDX-License-Identifier: MIT

// What ends while something else goes on: routers with jobs that do not, providers that are removed from within, calls
// whose provider goes.

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "exec/pool_support.hpp"
#include "penstock/core/failure_stage.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/route/provider_router.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace std::chrono_literals;
using penstock::CallOutcome;
using penstock::CircuitBreaker;
using penstock::ConcurrencyLimiterOptions;
using penstock::Context;
using penstock::FixedLimit;
using penstock::HealthCheckOptions;
using penstock::HealthStart;
using penstock::ManualClock;
using penstock::ProviderCall;
using penstock::ProviderOptions;
using penstock::ProviderRouter;
using penstock::testing::eventually;
using penstock::testing::Gate;

namespace {

ProviderOptions tiny(ManualClock* clock = nullptr) {
  ProviderOptions options;
  options.pool.workers = 1;
  options.pool.queue_capacity = 4;
  if (clock != nullptr) options.pool.clock = clock;
  return options;
}

/// Calls something when it is destroyed, once.
struct AtEnd {
  explicit AtEnd(std::function<void()> function) : function_(std::move(function)) {}
  AtEnd(AtEnd&& other) noexcept : function_(std::exchange(other.function_, nullptr)) {}
  AtEnd& operator=(AtEnd&&) = delete;
  ~AtEnd() {
    if (function_) function_();
  }
  void operator()() const {}

 private:
  std::function<void()> function_;
};

}  // namespace

TEST_CASE("ProviderRouter: a job that outlives the router's shutdown may still ask it", "[route][provider_router]") {
  Gate gate;
  std::atomic<int> refused{0};
  std::optional<ProviderRouter> router;
  router.emplace();
  ProviderOptions options = tiny();
  options.pool.shutdown_timeout = 0s;
  options.breaker.emplace();
  REQUIRE(router->add("openai", options).ok());
  REQUIRE(router->add("bedrock", tiny()).ok());
  ProviderRouter& asked = *router;
  auto job = router->submit("openai", [&] {
    gate.pass();
    for (const char* name : {"openai", "bedrock", "nobody"}) {
      if (!asked.state(name).ok()) ++refused;
      if (!asked.submit(name, [] {}).ok()) ++refused;
    }
    static_cast<void>(asked.state_json());
  });
  REQUIRE(gate.await(1));
  auto gone = std::async(std::launch::async, [&] { router.reset(); });
  REQUIRE(eventually([&] { return job->is_done() || asked.providers().empty(); }));
  gate.open();
  gone.get();
  CHECK(refused >= 3);
}

TEST_CASE("ProviderRouter: a job may shut the router down, and is not waited for", "[route][provider_router]") {
  ProviderRouter router;
  REQUIRE(router.add("a", tiny()).ok());
  REQUIRE(router.add("b", tiny()).ok());
  auto job = router.submit("a", [&] { return router.shutdown(Context::background()).size(); });
  CHECK(job->get().value() == 2);
  CHECK(absl::IsUnavailable(router.submit("b", [] {}).status()));
}

TEST_CASE("ProviderRouter: a provider may be removed by a job's function that is destroyed",
          "[route][provider_router]") {
  Gate gate;
  ProviderRouter router;
  REQUIRE(router.add("a", tiny()).ok());
  auto held = router.submit("a", [&] { gate.pass(); });
  REQUIRE(gate.await(1));
  absl::Status removed = absl::UnknownError("");
  absl::Status added = absl::UnknownError("");
  auto queued = router.submit("a", AtEnd([&] {
                                removed = router.remove("a", Context::background().with_timeout(0s)).status();
                                added = router.add("b", tiny());
                              }));
  CHECK(queued->cancel());
  CHECK(removed.ok());
  CHECK(added.ok());
  gate.open();
  CHECK(router.submit("b", [] { return 1; })->get().value() == 1);
}

TEST_CASE("ProviderRouter: a provider may be removed by a listener of its breaker", "[route][provider_router]") {
  ManualClock clock;
  std::atomic<bool> removed{false};
  ProviderRouter router;
  ProviderOptions options = tiny(&clock);
  options.breaker.emplace();
  options.breaker->window_size = options.breaker->minimum_calls = 1;
  options.breaker->auto_half_open = true;
  REQUIRE(router.add("a", options).ok());
  router.breaker("a")->on_transition([&](const penstock::BreakerTransition& change) {
    if (change.to != penstock::BreakerState::kHalfOpen) return;
    removed = router.remove("a").ok() && router.add("b", tiny()).ok();
  });
  CHECK(absl::IsUnavailable(router.submit("a", [] { return absl::UnavailableError("down"); })->get()));
  clock.advance(61s);  // the clock's timer tells the listener
  REQUIRE(eventually([&] { return removed.load(); }));
  CHECK(router.submit("b", [] { return 1; })->get().value() == 1);
}

TEST_CASE("ProviderRouter: what an overdue call is settled with lives as long as that takes",
          "[route][provider_router]") {
  ManualClock clock;
  Gate judging;
  Gate running;
  ProviderRouter router;
  ProviderOptions options = tiny(&clock);
  options.breaker.emplace();
  options.breaker->classify = [&](const absl::Status&) {
    judging.pass();
    return CallOutcome::kFailure;
  };
  REQUIRE(router.add("a", options).ok());
  const std::weak_ptr<CircuitBreaker> breaker = router.breaker("a");
  auto job = router.submit("a", [&] { running.pass(); }, {.processing_timeout = 5s});
  REQUIRE(running.await(1));
  clock.advance(6s);
  auto looking = std::async(std::launch::async, [&] { static_cast<void>(router.state("a")); });
  REQUIRE(judging.await(1));  // inside of the breaker
  running.open();
  options.breaker.reset();
  CHECK(router.update("a", options).ok());
  CHECK(router.update("a", options).ok());
  CHECK_FALSE(breaker.expired());
  judging.open();
  looking.get();
  REQUIRE(eventually([&] {
    static_cast<void>(router.update("a", options));  // which has what is retired looked at again
    return breaker.expired();
  }));
}

TEST_CASE("ProviderRouter: a limiter's own time-out ends the wait for a slot", "[route][provider_router]") {
  ManualClock clock;
  Gate gate;
  ProviderRouter router;
  ProviderOptions options = tiny(&clock);
  options.pool.workers = 2;
  options.limiter = ConcurrencyLimiterOptions{.algorithm = FixedLimit{1}};
  SECTION("some time") { options.limiter->wait_timeout = 2s; }
  SECTION("none") { options.limiter->wait_timeout = 0s; }
  const auto timeout = options.limiter->wait_timeout;
  REQUIRE(router.add("a", options).ok());
  auto held = router.submit("a", [&] { gate.pass(); }, {.processing_timeout = 10s});
  REQUIRE(gate.await(1));
  auto waiting = router.submit("a", [] {});
  if (timeout != 0s) {
    REQUIRE(eventually([&] { return router.limiter("a")->stats().waiting == 1; }));
    clock.advance(2s);
  }
  const absl::Status refused = waiting->get();
  CHECK(absl::IsDeadlineExceeded(refused));
  CHECK(penstock::failure_stage(refused) == "limit");
  CHECK(router.limiter("a")->stats().timed_out == 1);
  gate.open();
  CHECK(held->get().ok());
}

TEST_CASE("ProviderRouter: who waits for a slot hears of a call that is due earlier", "[route][provider_router]") {
  ManualClock clock;
  Gate gate;
  ProviderRouter router;
  ProviderOptions options = tiny(&clock);
  options.pool.workers = 2;
  options.limiter = ConcurrencyLimiterOptions{.algorithm = FixedLimit{1}};
  options.limiter->partitions = {{"gold", 1.0}};
  REQUIRE(router.add("a", options).ok());
  const auto limiter = router.limiter("a");
  auto elsewhere = limiter->try_acquire();  // of no call that could be overdue
  REQUIRE(elsewhere.has_value());
  auto waiting = router.submit("a", [] { return 1; });
  REQUIRE(eventually([&] { return limiter->stats().waiting == 1; }));
  auto hanging = router.submit("a", [&] { gate.pass(); }, {.tag = "gold", .processing_timeout = 1s});
  REQUIRE(gate.await(1));
  elsewhere->ignore();  // the one that hangs has the slot now
  REQUIRE(eventually([&] { return limiter->stats().waiting == 1 && limiter->in_flight() == 1; }));
  clock.advance(2s);
  CHECK(waiting->get().value() == 1);
  CHECK(absl::IsDeadlineExceeded(hanging->get()));
  gate.open();
}

TEST_CASE("ProviderRouter: an update without health checks ends them, whoever still has the old road",
          "[route][provider_router]") {
  ManualClock clock;
  Gate gate;
  std::atomic<int> checks{0};
  ProviderRouter router;
  ProviderOptions options = tiny(&clock);
  options.health = HealthCheckOptions{.check =
                                          [&](const Context&) {
                                            ++checks;
                                            return absl::OkStatus();
                                          },
                                      .interval = 1s};
  REQUIRE(router.add("a", options).ok());
  const auto old = router.health("a");
  REQUIRE(eventually([&] { return old->stats().passed == 1; }));
  options.health.reset();
  REQUIRE(router.update("a", options).ok());
  CHECK(absl::IsUnavailable(old->check_now(Context::background())));
  CHECK(checks == 1);
}

TEST_CASE("ProviderRouter: a breaker that is added leaves a healthy provider healthy", "[route][provider_router]") {
  ManualClock clock;
  ProviderRouter router;
  ProviderOptions options = tiny(&clock);
  options.health =
      HealthCheckOptions{.check = [](const Context&) { return absl::OkStatus(); }, .start = HealthStart::kUnhealthy};
  REQUIRE(router.add("a", options).ok());
  REQUIRE(eventually([&] { return router.state("a").value() == penstock::ProviderState::kReady; }));
  const auto health = router.health("a");
  options.breaker.emplace();
  REQUIRE(router.update("a", options).ok());
  CHECK(router.health("a") == health);
  CHECK(router.state("a").value() == penstock::ProviderState::kReady);
}

TEST_CASE("ProviderRouter: a call does not wait for a provider that is isolated", "[route][provider_router]") {
  ManualClock clock;
  ProviderRouter router;
  ProviderOptions options = tiny(&clock);
  options.retry = penstock::RetryOptions{.max_attempts = 3};
  REQUIRE(router.add("b", options).ok());
  options.health = HealthCheckOptions{.check = [](const Context&) { return absl::UnavailableError("down"); },
                                      .start = HealthStart::kChecked};
  REQUIRE(router.add("a", options).ok());
  // The clock stands still: a wait would be for ever.
  const auto answer = router.call({"a", "b"}, [](const ProviderCall& call) { return std::string(call.provider()); });
  CHECK(answer.value() == "b");
}

TEST_CASE("ProviderRouter: a call whose provider is removed goes to the next one", "[route][provider_router]") {
  Gate gate;
  ProviderRouter router;
  REQUIRE(router.add("a", tiny()).ok());
  REQUIRE(router.add("b", tiny()).ok());
  auto held = router.submit("a", [&] { gate.pass(); });
  REQUIRE(gate.await(1));
  auto calling = std::async(std::launch::async, [&] {
    return router.call({"a", "b"}, [](const ProviderCall& call) { return std::string(call.provider()); });
  });
  REQUIRE(eventually([&] { return router.stats().at("a").pool.queue_depth == 1; }));
  CHECK(router.remove("a", Context::background().with_timeout(0s)).ok());
  CHECK(calling.get().value() == "b");
  gate.open();
}

TEST_CASE("ProviderRouter: an algorithm that cannot be made is a failure of add", "[route][provider_router]") {
  ProviderRouter router;
  ProviderOptions options = tiny();
  options.limiter.emplace();
  SECTION("it makes nothing") {
    options.limiter->make_algorithm = []() -> std::unique_ptr<penstock::LimitAlgorithm> { return nullptr; };
  }
  SECTION("it throws") {
    options.limiter->make_algorithm = []() -> std::unique_ptr<penstock::LimitAlgorithm> {
      throw std::runtime_error("no idea");
    };
  }
  SECTION("it throws something odd") {
    options.limiter->make_algorithm = []() -> std::unique_ptr<penstock::LimitAlgorithm> { throw 7; };
  }
  CHECK(absl::IsInternal(router.add("a", options)));
  options.limiter->make_algorithm = nullptr;
  CHECK(router.add("a", options).ok());
}
