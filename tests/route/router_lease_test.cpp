// SPDX-License-Identifier: MIT

// What a provider's calls lease before their functions run.

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/core/failure_stage.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/route/provider_router.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace std::chrono_literals;
using penstock::JobContext;
using penstock::ManualClock;
using penstock::OverflowPolicy;
using penstock::ProviderCall;
using penstock::ProviderOptions;
using penstock::ProviderRouter;
using penstock::ResourcePool;
using penstock::testing::ContainsSubstring;
using penstock::testing::eventually;
using penstock::testing::Gate;
using penstock::testing::text_of;

namespace {

struct Key {
  std::string secret;
};

/// Two workers, two keys for one call each.
struct Fixture {
  explicit Fixture(penstock::ProviderLeaseOptions lease = {}) {
    ProviderOptions options;
    options.pool.workers = 2;
    options.pool.clock = &clock;
    options.breaker.emplace();
    keys = std::make_shared<ResourcePool<Key>>(penstock::ResourcePoolOptions{.name = "openai", .clock = &clock});
    options.lease = lease_from(keys, lease);
    const bool good = router.add("openai", options).ok() && keys->add("eu", Key{"e"}).ok();
    if (!good) throw std::runtime_error("the options are no good");
  }
  ~Fixture() { gate.open(); }

  ManualClock clock;
  std::shared_ptr<ResourcePool<Key>> keys;
  Gate gate;
  ProviderRouter router;
};

}  // namespace

TEST_CASE("ProviderLease: a call has its own resource while it runs, and gives it back", "[route][provider_lease]") {
  Fixture test;
  const auto answer = test.router
                          .submit("openai",
                                  [&](const ProviderCall& call) {
                                    if (test.keys->stats().in_use != 1) throw std::logic_error("not in use");
                                    return std::string(call.resource_id()) + "/" + call.resource<Key>().secret + "/" +
                                           std::string(call.provider()) + "/" + std::to_string(call.attempt());
                                  })
                          ->get();
  CHECK(answer.value() == "eu/e/openai/1");
  CHECK(test.keys->stats().in_use == 0);
  CHECK(test.router.submit("openai", [](const JobContext&) { return 1; })->get().value() == 1);  // leased as well
  CHECK(test.router.submit("openai", [] { return 1; })->get().value() == 1);
  CHECK(test.keys->stats().leases == 3);
  CHECK(test.router.stats().at("openai").lease->returns == 3);
  CHECK_THAT(test.router.state_json(), ContainsSubstring("\"id\":\"eu\""));
}

TEST_CASE("ProviderLease: the outcome of a call is reported to its resource", "[route][provider_lease]") {
  Fixture test;
  const auto run = [&](absl::Status outcome) { return test.router.submit("openai", [&] { return outcome; })->get(); };
  CHECK(run(absl::UnauthenticatedError("unknown key")).code() == absl::StatusCode::kUnauthenticated);
  CHECK(test.keys->stats().deaths == 1);
  const absl::Status refused = run(absl::OkStatus());
  CHECK(absl::IsUnavailable(refused));
  CHECK(penstock::failure_stage(refused) == "lease");
  // The provider was not called, so the breaker does not count it.
  CHECK(test.router.breaker("openai")->stats().ignored == 1);
  CHECK(test.router.breaker("openai")->stats().failed == 1);
}

TEST_CASE("ProviderLease: a call that has outrun its time is a failure of its resource", "[route][provider_lease]") {
  Fixture test;
  auto job = test.router.submit("openai", [&] { test.gate.pass(); }, {.processing_timeout = 5s});
  REQUIRE(test.gate.await(1));
  test.clock.advance(6s);
  CHECK(absl::IsDeadlineExceeded(job->get()));
  CHECK(test.keys->stats().in_use == 1);  // until it really returns
  test.gate.open();
  REQUIRE(eventually([&] { return test.keys->stats().in_use == 0; }));
  CHECK(test.keys->stats().errors == 1);
}

TEST_CASE("ProviderLease: a wait for a resource ends with the job's time, or before", "[route][provider_lease]") {
  SECTION("with the job's") {
    Fixture test;
    auto holding = test.router.submit("openai", [&] { test.gate.pass(); });
    REQUIRE(test.gate.await(1));
    bool called = false;
    auto waiting = test.router.submit("openai", [&] { called = true; }, {.processing_timeout = 5s});
    REQUIRE(eventually([&] { return test.keys->stats().waiting == 1; }));
    test.clock.advance(6s);
    CHECK(absl::IsDeadlineExceeded(waiting->get()));
    REQUIRE(eventually([&] { return test.keys->stats().waiting == 0; }));
    CHECK_FALSE(called);
    CHECK(test.router.breaker("openai")->stats().failed == 0);  // it is not the provider's fault
  }
  SECTION("with one of its own") {
    Fixture test({.max_wait = 1s});
    auto holding = test.router.submit("openai", [&] { test.gate.pass(); });
    REQUIRE(test.gate.await(1));
    auto waiting = test.router.submit("openai", [] {});
    REQUIRE(eventually([&] { return test.keys->stats().waiting == 1; }));
    test.clock.advance(1s);
    const absl::Status refused = waiting->get();
    CHECK(absl::IsDeadlineExceeded(refused));
    CHECK(penstock::failure_stage(refused) == "lease");
  }
}

TEST_CASE("ProviderLease: calls with the same tag stay with the same resource", "[route][provider_lease]") {
  Fixture test({.sticky_by_tag = true});
  REQUIRE(test.keys->add("us", Key{"u"}).ok());
  const auto id_for = [&](const std::string& tag) {
    return test.router
        .submit("openai", [](const ProviderCall& call) { return std::string(call.resource_id()); }, {.tag = tag})
        ->get()
        .value();
  };
  const std::string mine = id_for("session 1");
  for (int call = 0; call < 10; ++call) CHECK(id_for("session 1") == mine);
}

TEST_CASE("ProviderLease: an exception gives the resource back", "[route][provider_lease]") {
  Fixture test;
  CHECK(absl::IsInternal(test.router.submit("openai", [] { throw std::runtime_error("oops"); })->get()));
  CHECK(test.keys->stats().in_use == 0);
  CHECK(test.keys->stats().errors == 1);
}
