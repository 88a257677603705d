// SPDX-License-Identifier: MIT

// Jobs by the name of their provider: who is served, who is refused and why, and how providers come and go.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
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
using penstock::CircuitBreakerOptions;
using penstock::Context;
using penstock::JobContext;
using penstock::ManualClock;
using penstock::OverflowPolicy;
using penstock::ProviderOptions;
using penstock::ProviderRouter;
using penstock::ProviderState;
using penstock::ShutdownReport;
using penstock::testing::ContainsSubstring;
using penstock::testing::Equals;
using penstock::testing::eventually;
using penstock::testing::Gate;
using penstock::testing::StartsWith;
using penstock::testing::text_of;

namespace {

ProviderOptions tiny(std::size_t queue_capacity = 4) {
  ProviderOptions options;
  options.pool.workers = 1;
  options.pool.queue_capacity = queue_capacity;
  options.pool.overflow = OverflowPolicy::kReject;
  return options;
}

/// Opens its gates before the router goes, so that a failed test does not hang.
struct Fixture {
  ~Fixture() {
    gate.open();
    other_gate.open();
  }
  Gate gate;
  Gate other_gate;
  ProviderRouter router;
};

const Context& forever() { return Context::background(); }

}  // namespace

TEST_CASE("ProviderRouter: a job may return a value, nothing, a status, or either", "[route][provider_router]") {
  ProviderRouter router;
  REQUIRE(router.add("openai", tiny()).ok());
  CHECK(router.submit("openai", [] { return 42; })->get().value() == 42);
  bool ran = false;
  CHECK(router.submit("openai", [&] { ran = true; })->get().ok());
  CHECK(ran);
  CHECK(router.submit("openai", [] { return absl::NotFoundError("model"); })->get().code() ==
        absl::StatusCode::kNotFound);
  CHECK(router.submit("openai", [] { return absl::StatusOr<int>(absl::AbortedError("")); })->get().status().code() ==
        absl::StatusCode::kAborted);
  CHECK(router.submit("openai", [] { return absl::StatusOr<int>(7); })->get().value() == 7);
  CHECK(**router.submit("openai", [] { return std::make_unique<int>(3); })->get() == 3);
  CHECK(router.submit("openai", [](const JobContext& job) { return job.job_id; })->get().value() == 7);
  CHECK(router.submit("openai", [owned = std::make_unique<int>(5)] { return *owned; })->get().value() == 5);
  const std::function<int()> shared = [] { return 9; };
  CHECK(router.submit("openai", shared)->get().value() == 9);
  CHECK(shared() == 9);
  CHECK(router.submit("openai", std::function<int()>()).status().code() == absl::StatusCode::kInvalidArgument);
  int (*none)() = nullptr;
  CHECK(router.submit("openai", none).status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("ProviderRouter: an unknown provider is named, and so are the known ones", "[route][provider_router]") {
  ProviderRouter router;
  const auto refusal = [&](std::string_view name) { return text_of(router.submit(name, [] {}).status()); };
  CHECK_THAT(refusal("openai"), Equals("provider router: no provider 'openai', there are none"));
  REQUIRE(router.add("openai", tiny()).ok());
  REQUIRE(router.add("bedrock", tiny()).ok());
  CHECK(router.submit("local", [] {}).status().code() == absl::StatusCode::kNotFound);
  CHECK_THAT(refusal("local"), Equals("provider router: no provider 'local', there are 'bedrock', 'openai'"));
  CHECK(router.state("local").status().code() == absl::StatusCode::kNotFound);
  CHECK(router.remove("local", forever()).status().code() == absl::StatusCode::kNotFound);
  CHECK(router.breaker("local") == nullptr);
  for (int more = 0; more < 8; ++more) REQUIRE(router.add("p" + std::to_string(more), tiny()).ok());
  CHECK_THAT(refusal(std::string(10'000'000, 'x')), Equals("provider router: no provider '" + std::string(64, 'x') +
                                                           "...' (10000000 bytes), there are 'bedrock', " +
                                                           "'openai', 'p0', 'p1', 'p2', 'p3', 'p4', 'p5' and 2 more"));
}

TEST_CASE("ProviderRouter: names and options that make no sense are refused", "[route][provider_router]") {
  ProviderRouter router;
  CHECK(router.add("", tiny()).code() == absl::StatusCode::kInvalidArgument);
  CHECK(router.add(std::string(201, 'x'), tiny()).code() == absl::StatusCode::kOutOfRange);
  CHECK(router.add(std::string(200, 'x'), tiny()).ok());
  CHECK(router.add(std::string("\0\xff", 2), tiny()).ok());
  CHECK(router.add(std::string(200, 'x'), tiny()).code() == absl::StatusCode::kAlreadyExists);
  ProviderOptions bad = tiny();
  bad.pool.workers = 0;
  bad.breaker = CircuitBreakerOptions{};
  bad.breaker->window_size = 0;
  const std::string text = text_of(router.add("openai", bad));
  CHECK_THAT(text, ContainsSubstring("worker pool 'openai': "));
  CHECK_THAT(text, ContainsSubstring("circuit breaker 'openai': options.window_size must be in [1, 1000000], got 0"));
  CHECK(bad.validate().code() == absl::StatusCode::kInvalidArgument);
  CHECK(ProviderOptions{}.validate().ok());
  CHECK(router.providers().size() == 2);
  ProviderOptions failing = tiny();
  failing.pool.on_worker_start = [](std::size_t) { return absl::UnauthenticatedError("no key"); };
  CHECK(router.add("openai", failing).code() == absl::StatusCode::kUnauthenticated);
  CHECK(router.add("openai", tiny()).ok());  // the name is free again
}

TEST_CASE("ProviderRouter: a refused function is untouched, ready for the next provider", "[route][provider_router]") {
  Fixture test;
  REQUIRE(test.router.add("bedrock", tiny(1)).ok());
  REQUIRE(test.router.add("openai", tiny()).ok());
  auto running = test.router.submit("bedrock", [&] { test.gate.pass(); });
  REQUIRE(test.gate.await(1));
  auto waiting = test.router.submit("bedrock", [] {});
  auto function = [owned = std::make_unique<int>(5)] { return *owned; };
  const auto refused = test.router.submit("bedrock", std::move(function));
  CHECK(refused.status().code() == absl::StatusCode::kResourceExhausted);
  CHECK(test.router.submit("nobody", std::move(function)).status().code() == absl::StatusCode::kNotFound);
  auto served = test.router.submit("openai", std::move(function));
  CHECK(served->get().value() == 5);
}

TEST_CASE("ProviderRouter: a provider that hangs is not felt by another one", "[route][provider_router]") {
  Fixture test;
  REQUIRE(test.router.add("bedrock", tiny(2)).ok());
  REQUIRE(test.router.add("openai", tiny()).ok());
  std::vector<penstock::Job<void>> stuck;
  while (true) {
    auto job = test.router.submit("bedrock", [&] { test.gate.pass(); });
    if (!job.ok()) break;
    stuck.push_back(*std::move(job));
  }
  for (int call = 0; call < 100; ++call)
    CHECK(test.router.submit("openai", [call] { return call; })->get().value() == call);
  CHECK(test.router.stats().at("bedrock").pool.succeeded == 0);
  CHECK(test.router.stats().at("openai").pool.succeeded == 100);
  test.gate.open();
  for (auto& job : stuck) CHECK(job.get().ok());
}

TEST_CASE("ProviderRouter: a job may submit to another provider", "[route][provider_router]") {
  ProviderRouter router;
  REQUIRE(router.add("openai", tiny()).ok());
  REQUIRE(router.add("bedrock", tiny()).ok());
  auto outer = router.submit("openai", [&]() -> absl::StatusOr<int> {
    auto inner = router.submit("bedrock", [] { return 1; });
    if (!inner.ok()) return inner.status();
    return inner->get();
  });
  CHECK(outer->get().value() == 1);
}

TEST_CASE("ProviderRouter: a removed provider finishes what it has accepted", "[route][provider_router]") {
  Fixture test;
  REQUIRE(test.router.add("openai", tiny()).ok());
  auto running = test.router.submit("openai", [&] { test.gate.pass(); });
  auto waiting = test.router.submit("openai", [] { return 5; });
  REQUIRE(test.gate.await(1));
  absl::StatusOr<ShutdownReport> report;
  std::thread remover([&] { report = test.router.remove("openai", forever()); });
  REQUIRE(eventually([&] { return test.router.state("openai").value() == ProviderState::kDraining; }));
  const absl::Status refused = test.router.submit("openai", [] {}).status();
  CHECK(refused.code() == absl::StatusCode::kUnavailable);
  CHECK_THAT(text_of(refused), Equals("provider 'openai': draining"));
  CHECK(test.router.remove("openai", forever()).status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(test.router.add("openai", tiny()).code() == absl::StatusCode::kAlreadyExists);
  test.gate.open();
  remover.join();
  REQUIRE(report.ok());
  CHECK(report->is_drained());
  CHECK(report->completed == 2);
  CHECK(running->get().ok());
  CHECK(waiting->get().value() == 5);
  CHECK(test.router.state("openai").status().code() == absl::StatusCode::kNotFound);
  CHECK(test.router.add("openai", tiny()).ok());
}

TEST_CASE("ProviderRouter: a provider that hangs can be removed and replaced", "[route][provider_router]") {
  Fixture test;
  REQUIRE(test.router.add("openai", tiny()).ok());
  auto stuck = test.router.submit("openai", [&] { test.gate.pass(); });
  auto waiting = test.router.submit("openai", [] { return 5; });
  REQUIRE(test.gate.await(1));
  const auto report = test.router.remove("openai", forever().with_timeout(0s));
  REQUIRE(report.ok());
  CHECK_FALSE(report->is_drained());
  CHECK(report->cancelled_in_queue == 1);
  CHECK(waiting->get().status().code() == absl::StatusCode::kCancelled);
  REQUIRE(test.router.add("openai", tiny()).ok());
  CHECK(test.router.submit("openai", [] { return 6; })->get().value() == 6);
  test.gate.open();
  CHECK(stuck->get().ok());
}

TEST_CASE("ProviderRouter: a job may remove its own provider", "[route][provider_router]") {
  ProviderRouter router;
  REQUIRE(router.add("openai", tiny()).ok());
  auto job = router.submit("openai", [&]() -> absl::Status { return router.remove("openai", forever()).status(); });
  CHECK(job->get().ok());
  CHECK(router.providers().empty());
  CHECK(router.add("openai", tiny()).ok());
}

TEST_CASE("ProviderRouter: a shutdown drains all providers at once", "[route][provider_router]") {
  ManualClock clock;
  Fixture test;
  ProviderOptions options = tiny();
  options.pool.clock = &clock;
  REQUIRE(test.router.add("a_hangs", options).ok());
  REQUIRE(test.router.add("b_works", options).ok());
  REQUIRE(test.router.add("c_hangs", options).ok());
  auto stuck = test.router.submit("a_hangs", [&] { test.gate.pass(); });
  auto stuck_too = test.router.submit("c_hangs", [&] { test.gate.pass(); });
  auto running = test.router.submit("b_works", [&] { test.other_gate.pass(); });
  auto waiting = test.router.submit("b_works", [] { return 5; });
  REQUIRE(test.gate.await(2));
  REQUIRE(test.other_gate.await(1));
  std::map<std::string, ShutdownReport> reports;
  std::thread closer([&] { reports = test.router.shutdown(Context(clock).with_timeout(5s)); });
  // One timer each for the pools that watch their jobs, and one each for the threads that wait for the pools.
  REQUIRE(eventually([&] { return clock.armed() == 6; }));
  test.other_gate.open();
  CHECK(waiting->get().value() == 5);
  REQUIRE(eventually([&] { return test.router.state("b_works").value() == ProviderState::kStopped; }));
  clock.advance(5s);
  closer.join();
  REQUIRE(reports.size() == 3);
  CHECK(reports.at("b_works").is_drained());
  CHECK(reports.at("b_works").completed == 2);
  CHECK_FALSE(reports.at("a_hangs").is_drained());
  CHECK_FALSE(reports.at("c_hangs").is_drained());

  CHECK(test.router.submit("b_works", [] {}).status().code() == absl::StatusCode::kUnavailable);
  CHECK(test.router.add("d", tiny()).code() == absl::StatusCode::kFailedPrecondition);
  CHECK(test.router.remove("b_works", forever()).status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(test.router.stats().size() == 3);
  test.gate.open();
  for (const auto& [name, report] : test.router.shutdown(forever())) CHECK(report.is_drained());
  CHECK(test.router.state("a_hangs").value() == ProviderState::kStopped);
}

TEST_CASE("ProviderRouter: a router without providers can be shut down and asked", "[route][provider_router]") {
  ProviderRouter router;
  CHECK(router.shutdown(forever()).empty());
  CHECK(router.stats().empty());
  CHECK_THAT(router.state_json(), Equals(R"({"providers":[]})"));
}

TEST_CASE("ProviderRouter: JSON and metrics tell every provider's state and numbers", "[route][provider_router]") {
  struct Sink : penstock::MetricSink {
    void add(std::string_view name, penstock::Labels labels, double value) {
      std::string line(name);
      for (const penstock::Label& label : labels)
        line += " " + std::string(label.name) + "=" + std::string(label.value);
      lines.push_back(line + " " + std::to_string(static_cast<int>(value)));
    }
    void counter(std::string_view name, std::string_view, penstock::Labels labels, std::uint64_t value) override {
      add(name, labels, static_cast<double>(value));
    }
    void gauge(std::string_view name, std::string_view, penstock::Labels labels, double value) override {
      add(name, labels, value);
    }
    void histogram(std::string_view name, std::string_view, penstock::Labels labels,
                   const penstock::LatencyHistogram::Snapshot& value) override {
      add(name, labels, static_cast<double>(value.count()));
    }
    bool has(const std::string& line) const { return std::find(lines.begin(), lines.end(), line) != lines.end(); }
    std::vector<std::string> lines;
  };
  ProviderRouter router;
  ProviderOptions guarded = tiny();
  guarded.breaker = CircuitBreakerOptions{};
  REQUIRE(router.add("bed\"rock", guarded).ok());
  REQUIRE(router.add("openai", tiny()).ok());
  CHECK(router.submit("openai", [] { return 1; })->get().ok());
  router.breaker("bed\"rock")->force_open();

  const std::string json = router.state_json();
  CHECK_THAT(json, StartsWith(R"({"providers":[{"name":"bed\"rock","state":"isolated","workers":{"configured":1,)"));
  CHECK_THAT(json, ContainsSubstring(R"("breaker":{"state":"forced_open")"));
  CHECK_THAT(json, ContainsSubstring(R"({"name":"openai","state":"ready",)"));
  CHECK_THAT(json, ContainsSubstring(R"("succeeded":1)"));
  CHECK_THAT(json, ContainsSubstring(R"("breaker":null)"));

  Sink sink;
  router.collect(sink);
  CHECK(sink.has("penstock_provider_state provider=bed\"rock state=isolated 1"));
  CHECK(sink.has("penstock_provider_state provider=openai state=ready 1"));
  CHECK(sink.has("penstock_provider_state provider=openai state=isolated 0"));
  CHECK(sink.has("penstock_pool_jobs_total provider=openai pool=openai outcome=succeeded 1"));
  CHECK(sink.has("penstock_pool_run_seconds provider=openai pool=openai 1"));
  CHECK(sink.has("penstock_breaker_state provider=bed\"rock breaker=bed\"rock state=forced_open 1"));
}
