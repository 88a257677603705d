// SPDX-License-Identifier: MIT

// Providers that get other options while they serve.

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
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
using penstock::Context;
using penstock::Job;
using penstock::JobContext;
using penstock::ManualClock;
using penstock::OverflowPolicy;
using penstock::ProviderOptions;
using penstock::ProviderRouter;
using penstock::ProviderState;
using penstock::testing::ContainsSubstring;
using penstock::testing::Equals;
using penstock::testing::eventually;
using penstock::testing::Gate;
using penstock::testing::text_of;

namespace {

/// One worker, a queue of 4, and a breaker.
struct Fixture {
  Fixture() {
    options.pool.workers = 1;
    options.pool.queue_capacity = 4;
    options.pool.clock = &clock;
    options.breaker.emplace();
    options.breaker->window_size = options.breaker->minimum_calls = 4;
    if (!router.add("openai", options).ok()) throw std::runtime_error("the options are no good");
  }
  ~Fixture() { gate.open(); }

  Job<void> hold() {
    auto job = router.submit("openai", [this] { gate.pass(); });
    if (!job.ok() || !gate.await(++held)) throw std::runtime_error("no worker came to the gate");
    return *std::move(job);
  }
  auto stats() const { return router.stats().at("openai"); }

  ManualClock clock;
  ProviderOptions options;
  Gate gate;
  int held = 0;
  ProviderRouter router;
};

}  // namespace

TEST_CASE("ProviderRouter: an update moves what waits, and lets finish what runs", "[route][provider_router]") {
  Fixture test;
  auto running = test.hold();
  std::vector<Job<int>> waiting;
  for (int number = 0; number < 4; ++number) {
    waiting.push_back(*test.router.submit("openai", [number] { return number; }));
  }
  test.options.pool.workers = 2;
  test.options.pool.queue_capacity = 9;
  auto updated = std::async(std::launch::async, [&] { return test.router.update("openai", test.options); });
  // The new workers run what had waited behind the one that holds the old worker.
  for (int number = 0; number < 4; ++number) CHECK(waiting[static_cast<std::size_t>(number)].get().value() == number);
  CHECK(test.router.submit("openai", [] { return 9; })->get().value() == 9);
  CHECK(test.stats().pool.configured == 2);
  CHECK(test.stats().pool.queue_capacity == 9);
  CHECK(test.stats().pool.taken_over == 4);
  CHECK(test.stats().state == ProviderState::kReady);
  CHECK_FALSE(running.is_done());
  test.gate.open();
  const auto report = updated.get();
  CHECK(report->moved == 4);
  CHECK(report->retired.is_drained());
  CHECK(running.get().ok());
  CHECK(test.stats().updates == 1);
  CHECK(test.stats().breaker->succeeded == 6);
  CHECK(test.stats().breaker->ignored + test.stats().breaker->abandoned + test.stats().breaker->late_results == 0);
}

TEST_CASE("ProviderRouter: an update that cannot be made changes nothing", "[route][provider_router]") {
  Fixture test;
  auto running = test.hold();
  auto waiting = test.router.submit("openai", [] { return 1; });
  const auto refusal = [&] { return test.router.update("openai", test.options).status(); };
  SECTION("options that make no sense") {
    test.options.pool.workers = 0;
    CHECK(refusal().code() == absl::StatusCode::kInvalidArgument);
  }
  SECTION("another clock") {
    test.options.pool.clock = &penstock::Clock::steady();
    CHECK_THAT(text_of(refusal()), Equals("provider router: the clock of provider 'openai' cannot be changed"));
  }
  SECTION("a worker that does not start") {
    test.options.pool.workers = 3;
    test.options.pool.on_worker_start = [](std::size_t worker) {
      return worker == 2 ? absl::UnauthenticatedError("no key") : absl::OkStatus();
    };
    CHECK(refusal().code() == absl::StatusCode::kUnauthenticated);
  }
  SECTION("a health check that fails") {
    test.options.pool.health_check = [](const Context&) { return absl::UnavailableError("nobody there"); };
    CHECK(refusal().code() == absl::StatusCode::kUnavailable);
  }
  CHECK(test.stats().pool.configured == 1);
  CHECK(test.stats().updates == 0);
  test.gate.open();
  CHECK(running.get().ok());
  CHECK(waiting->get().value() == 1);
  CHECK(test.router.submit("openai", [] { return 2; })->get().value() == 2);
}

TEST_CASE("ProviderRouter: one change of a provider at a time, and none of an unknown one",
          "[route][provider_router]") {
  Fixture test;
  CHECK(absl::IsNotFound(test.router.update("nobody", test.options).status()));
  auto running = test.hold();
  auto updated = std::async(std::launch::async, [&] { return test.router.update("openai", test.options); });
  REQUIRE(eventually([&] { return test.stats().updates == 1; }));
  const std::string text = "provider router: provider 'openai' is being added, updated or removed";
  CHECK_THAT(text_of(test.router.update("openai", test.options).status()), Equals(text));
  CHECK_THAT(text_of(test.router.remove("openai").status()), Equals(text));
  CHECK_THAT(text_of(test.router.add("openai", test.options)), Equals(text));
  CHECK(test.router.submit("openai", [] { return 2; })->get().value() == 2);
  test.gate.open();
  CHECK(updated.get().ok());
  CHECK(test.router.update("openai", test.options).ok());
  CHECK(test.router.remove("openai").ok());
  CHECK(absl::IsNotFound(test.router.update("openai", test.options).status()));
  CHECK(test.router.shutdown(Context::background()).empty());
  CHECK(absl::IsFailedPrecondition(test.router.update("openai", test.options).status()));
}

TEST_CASE("ProviderRouter: an update gives up on what the old pool runs when its context ends",
          "[route][provider_router]") {
  Fixture test;
  auto running = test.hold();
  auto waiting = test.router.submit("openai", [] { return 1; });
  const auto report = test.router.update("openai", test.options, Context(test.clock).with_timeout(0s));
  CHECK(report->moved == 1);
  CHECK(report->retired.running.size() == 1);
  CHECK(waiting->get().value() == 1);
  test.gate.open();
  CHECK(running.get().ok());
}

TEST_CASE("ProviderRouter: who waits for a place in the old queue gets one in the new", "[route][provider_router]") {
  Fixture test;
  auto running = test.hold();
  std::vector<Job<int>> waiting;
  for (int number = 0; number < 4; ++number) {
    waiting.push_back(*test.router.submit("openai", [number] { return number; }));
  }
  auto blocked = std::async(std::launch::async, [&] {
    return test.router.submit("openai", [owned = std::make_unique<int>(7)] { return *owned; });
  });
  REQUIRE(eventually([&] { return test.stats().pool.submitting == 1; }));
  auto updated = std::async(std::launch::async, [&] { return test.router.update("openai", test.options); });
  CHECK(blocked.get()->get().value() == 7);
  for (int number = 0; number < 4; ++number) CHECK(waiting[static_cast<std::size_t>(number)].get().value() == number);
  test.gate.open();
  CHECK(updated.get().ok());
}

TEST_CASE("ProviderRouter: an update keeps the breaker, with its state and its listeners", "[route][provider_router]") {
  Fixture test;
  const auto breaker = test.router.breaker("openai");
  breaker->force_open();
  test.options.breaker->failure_rate_pct = 10;
  REQUIRE(test.router.update("openai", test.options).ok());
  CHECK(test.router.breaker("openai") == breaker);
  CHECK(breaker->state() == BreakerState::kForcedOpen);
  CHECK(breaker->options().failure_rate_pct == 10);
  CHECK(test.stats().state == ProviderState::kIsolated);
  breaker->reset();
  test.options.breaker.reset();
  REQUIRE(test.router.update("openai", test.options).ok());
  CHECK(test.router.breaker("openai") == nullptr);
  CHECK(test.router.submit("openai", [] { return 1; })->get().value() == 1);
  test.options.breaker.emplace();
  REQUIRE(test.router.update("openai", test.options).ok());
  CHECK(test.router.submit("openai", [] { return 1; })->get().value() == 1);
  CHECK(test.stats().breaker->succeeded == 1);
}

TEST_CASE("ProviderRouter: a job that moves keeps the permit and the breaker it was admitted with",
          "[route][provider_router]") {
  Fixture test;
  const auto breaker = test.router.breaker("openai");
  auto running = test.hold();
  auto waiting = test.router.submit("openai", [] { return absl::UnavailableError("down"); });
  test.options.breaker.reset();
  auto updated = std::async(std::launch::async, [&] { return test.router.update("openai", test.options); });
  CHECK(absl::IsUnavailable(waiting->get()));
  test.gate.open();
  CHECK(updated.get().ok());
  CHECK(running.get().ok());
  CHECK(breaker->stats().failed == 1);
  CHECK(breaker->stats().succeeded == 1);
}

TEST_CASE("ProviderRouter: jobs of a provider have ids of their own, across updates", "[route][provider_router]") {
  Fixture test;
  const auto id = [&] { return test.router.submit("openai", [](const JobContext& job) { return job.job_id; })->get(); };
  const std::uint64_t first = id().value();
  REQUIRE(test.router.update("openai", test.options).ok());
  const std::uint64_t second = id().value();
  REQUIRE(test.router.update("openai", test.options).ok());
  const std::uint64_t third = id().value();
  CHECK(first < second);
  CHECK(second < third);
}

TEST_CASE("ProviderRouter: a job may update its own provider", "[route][provider_router]") {
  Fixture test;
  auto job = test.router.submit("openai", [&] { return test.router.update("openai", test.options).status(); });
  CHECK(job->get().ok());
  CHECK(test.router.submit("openai", [] { return 1; })->get().value() == 1);
}

TEST_CASE("ProviderRouter: a provider is there as starting while its pool is made", "[route][provider_router]") {
  Gate gate;
  ProviderRouter router;
  ProviderOptions options;
  options.pool.workers = 1;
  bool fails = false;
  SECTION("and starts") {}
  SECTION("and does not start") { fails = true; }
  options.pool.on_worker_start = [&](std::size_t) {
    gate.pass();
    return fails ? absl::UnavailableError("nobody there") : absl::OkStatus();
  };
  auto added = std::async(std::launch::async, [&] { return router.add("openai", options); });
  REQUIRE(gate.await(1));
  CHECK(router.state("openai").value() == ProviderState::kStarting);
  const absl::Status refused = router.submit("openai", [] {}).status();
  CHECK(absl::IsUnavailable(refused));
  CHECK_THAT(text_of(refused), Equals("provider 'openai': starting"));
  CHECK(absl::IsFailedPrecondition(router.remove("openai").status()));
  CHECK(router.stats().at("openai").pool.live == 0);
  CHECK_THAT(router.state_json(), ContainsSubstring("\"starting\""));
  gate.open();
  CHECK(added.get().ok() == !fails);
  CHECK(router.state("openai").ok() == !fails);
  CHECK(router.providers().size() == (fails ? 0 : 1));
}
