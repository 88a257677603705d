// SPDX-License-Identifier: MIT

// What health watches find out, and when.

#include "penstock/route/health_monitor.hpp"

#include <chrono>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/metrics/prometheus_writer.hpp"

#include "route/health_support.hpp"
#include "support/catch.hpp"
#include "support/sleep_under.hpp"
#include "support/status_text.hpp"
#include "support/thread_shortage.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using penstock::testing::eventually;
using penstock::testing::HealthBench;
using penstock::testing::settle;
using penstock::testing::text_of;

// --- checks at intervals ---

TEST_CASE("HealthMonitor: so many failures in a row isolate, and a success heals", "[route][health_monitor]") {
  HealthBench bench;
  HealthWatch& watch = bench.watch("w", {.check = bench.answering(), .interval = 10s, .jitter = 0});
  REQUIRE(settle(watch, 1));
  CHECK(watch.health() == Health::kHealthy);
  bench.passes = false;
  for (std::uint64_t i = 2; i <= 3; ++i) {
    bench.clock.advance(10s);
    REQUIRE(settle(watch, i));
    CHECK(watch.is_healthy());
  }
  bench.clock.advance(10s);
  REQUIRE(settle(watch, 4));
  CHECK(watch.health() == Health::kUnhealthy);
  CHECK_FALSE(watch.is_healthy());
  CHECK(text_of(watch.stats().last_status) == "refused");
  CHECK(watch.stats().failures_in_a_row == 3);
  bench.passes = true;
  bench.clock.advance(4s);
  CHECK(watch.stats().in_state == 4s);
  bench.clock.advance(6s);
  REQUIRE(settle(watch, 5));
  CHECK(watch.is_healthy());
  CHECK(watch.stats().in_state == 0s);
  const HealthStats stats = watch.stats();
  CHECK(stats.passed == 2);
  CHECK(stats.failed == 3);
  CHECK(stats.count(Health::kUnknown, Health::kHealthy) == 1);
  CHECK(stats.count(Health::kHealthy, Health::kUnhealthy) == 1);
  CHECK(stats.count(Health::kUnhealthy, Health::kHealthy) == 1);
  CHECK(stats.last_at == bench.clock.now());
  CHECK(stats.durations.count() == 5);
}

TEST_CASE("HealthMonitor: nothing is assumed before the first check, unless it is to be", "[route][health_monitor]") {
  HealthBench bench;
  HealthWatch& unknown = bench.watch("u", {.check = bench.hanging()});
  CHECK(unknown.health() == Health::kUnknown);
  CHECK(unknown.is_healthy());
  HealthWatch& isolated =
      bench.watch("i", {.check = bench.hanging(), .start = HealthStart::kUnhealthy, .healthy_after = 3});
  CHECK_FALSE(isolated.is_healthy());
  CHECK(bench.monitor.stats().by_health == std::array<std::size_t, 3>{1, 0, 1});
  bench.gate.open();
  REQUIRE(settle(isolated, 1));
  CHECK(isolated.health() == Health::kHealthy);  // the first one decides
}

TEST_CASE("HealthMonitor: a check that hangs has failed at its time-out", "[route][health_monitor]") {
  HealthBench bench;
  HealthWatch& watch =
      bench.watch("w", {.check = bench.hanging(), .interval = 10s, .timeout = 5s, .jitter = 0, .unhealthy_after = 1});
  REQUIRE(bench.gate.await(1));
  REQUIRE(eventually([&] { return bench.clock.armed() == 1; }));  // the time-out
  bench.clock.advance(5s - 1ns);
  CHECK(watch.health() == Health::kUnknown);
  bench.clock.advance(1ns);
  CHECK(watch.health() == Health::kUnhealthy);  // already: nobody waits for the check
  const HealthStats stats = watch.stats();
  CHECK(stats.is_checking);
  CHECK(stats.checking_for == 5s);
  CHECK(stats.timed_out == 1);
  CHECK(absl::IsDeadlineExceeded(stats.last_status));
  CHECK(text_of(stats.last_status) == "health check 'w': no answer in time");
  CHECK(stats.last_took == 5s);
  CHECK(stats.durations.max() == 5s);
  bench.gate.open();
  REQUIRE(settle(watch, 1));
  CHECK(watch.health() == Health::kUnhealthy);  // its late answer does not matter
  CHECK(watch.stats().late_results == 1);
  CHECK(watch.stats().passed == 0);
  CHECK(absl::IsDeadlineExceeded(watch.stats().last_status));
  bench.clock.advance(5s);
  REQUIRE(settle(watch, 2));
  CHECK(watch.is_healthy());
}

TEST_CASE("HealthMonitor: what hangs for ever fails once in each interval, and keeps one thread",
          "[route][health_monitor]") {
  HealthBench bench;
  HealthWatch& hung = bench.watch(
      "hung", {.check = bench.hanging(), .interval = 10s, .timeout = 5s, .jitter = 0, .unhealthy_after = 3});
  REQUIRE(bench.gate.await(1));
  HealthWatch& well = bench.watch("well", {.check = bench.answering(), .interval = 10s, .timeout = 5s, .jitter = 0});
  REQUIRE(settle(well, 1));
  REQUIRE(eventually([&] { return bench.clock.armed() == 2; }));  // the time-out, and the next check
  bench.clock.advance(15s);
  REQUIRE(settle(well, 2));
  CHECK(hung.health() == Health::kUnknown);
  CHECK(hung.stats().failures_in_a_row == 2);
  bench.clock.advance(10s);
  CHECK(hung.health() == Health::kUnhealthy);
  REQUIRE(settle(well, 3));
  CHECK(well.is_healthy());
  const HealthStats stats = hung.stats();
  CHECK(stats.checks == 1);
  CHECK(stats.timed_out == 1);
  CHECK(stats.overdue == 2);
  CHECK(stats.skipped == 2);
  CHECK(stats.count(Health::kUnknown, Health::kUnhealthy) == 1);
  CHECK(stats.durations.count() == 1);
  CHECK(bench.runner.stats().running == 1);
}

TEST_CASE("HealthMonitor: the context of a check ends at its time-out", "[route][health_monitor]") {
  HealthBench bench;
  std::atomic<bool> timed_out{false};
  const auto check = [&](const Context& ctx) {
    penstock::testing::sleep_under(ctx);
    timed_out = ctx.status() == OpStatus::kTimedOut;
    return ctx.cause();
  };
  HealthWatch& watch = bench.watch("w", {.check = check, .timeout = 2s, .unhealthy_after = 1});
  REQUIRE(eventually([&] { return bench.clock.armed() == 2; }));
  bench.clock.advance(2s);
  REQUIRE(settle(watch, 1));
  CHECK(timed_out);
  CHECK(watch.stats().timed_out == 1);
  CHECK_FALSE(watch.is_healthy());
}

TEST_CASE("HealthMonitor: a check that throws has failed", "[route][health_monitor]") {
  HealthBench bench;
  HealthWatch& watch = bench.watch(
      "w", {.check = [](const Context&) -> absl::Status { throw std::runtime_error("boom"); }, .unhealthy_after = 1});
  REQUIRE(settle(watch, 1));
  CHECK_FALSE(watch.is_healthy());
  CHECK(watch.stats().exceptions == 1);
  CHECK(watch.stats().failed == 1);
  CHECK(absl::IsInternal(watch.stats().last_status));
  CHECK(text_of(watch.stats().last_status) == "health check 'w' threw: boom");
}

// --- the start ---

TEST_CASE("HealthMonitor: a start that waits for its first check", "[route][health_monitor]") {
  HealthBench bench;
  HealthWatch& passed = bench.watch("p", {.check = bench.answering(), .start = HealthStart::kChecked});
  CHECK(passed.health() == Health::kHealthy);
  HealthWatch& required = bench.watch("r", {.check = bench.answering(), .start = HealthStart::kRequired});
  CHECK(required.health() == Health::kHealthy);
  bench.passes = false;
  HealthWatch& isolated = bench.watch("i", {.check = bench.answering(), .start = HealthStart::kChecked});
  CHECK(isolated.health() == Health::kUnhealthy);
  CHECK(isolated.stats().checks == 1);
  const auto refused = bench.monitor.watch("f", {.check = bench.answering(), .start = HealthStart::kRequired});
  CHECK(absl::IsUnavailable(refused.status()));
  CHECK(text_of(refused.status()) == "refused");
  CHECK(bench.monitor.stats().watches == 3);
}

TEST_CASE("HealthMonitor: a start does not wait for a check that hangs", "[route][health_monitor]") {
  HealthBench bench;
  std::thread advancer([&] {
    static_cast<void>(bench.gate.await(1));
    static_cast<void>(eventually([&] { return bench.clock.armed() == 2; }));  // the check's, and the start's own
    bench.clock.advance(5s);
  });
  const auto refused = bench.monitor.watch("w", {.check = bench.hanging(), .start = HealthStart::kRequired});
  advancer.join();
  CHECK(absl::IsDeadlineExceeded(refused.status()));
  CHECK(bench.monitor.stats().watches == 0);
  auto [ctx, source] = Context::background().with_cancel();
  source.cancel();
  const auto cancelled = bench.monitor.watch("w", {.check = bench.hanging(), .start = HealthStart::kRequired}, {}, ctx);
  CHECK(absl::IsCancelled(cancelled.status()));
  HealthWatch& isolated = bench.watch("w", {.check = bench.hanging(), .start = HealthStart::kChecked}, {}, ctx);
  CHECK(isolated.health() == Health::kUnhealthy);
}

TEST_CASE("HealthMonitor: where the system has no thread, a start fails, and a watch goes on",
          "[route][health_monitor]") {
  HealthBench bench;
  {
    const penstock::testing::ThreadShortage none(0);
    CHECK(absl::IsResourceExhausted(bench.monitor.watch("w", {.check = bench.answering()}).status()));
    CHECK(bench.monitor.stats().watches == 0);
  }
  HealthWatch* watch = nullptr;
  {
    const penstock::testing::ThreadShortage only_the_scheduler(1);
    watch = &bench.watch("w", {.check = bench.answering(), .interval = 10s, .jitter = 0});
    REQUIRE(eventually([&] { return watch->stats().skipped == 1; }));
    CHECK(watch->health() == Health::kUnknown);
  }
  bench.clock.advance(10s);
  REQUIRE(settle(*watch, 1));
  CHECK(watch->health() == Health::kHealthy);
}

// --- bad input ---

TEST_CASE("HealthMonitor: bad options are refused, all that is wrong at once", "[route][health_monitor]") {
  HealthBench bench;
  const HealthCheckOptions bad{.interval = 0s,
                               .timeout = -1s,
                               .jitter = std::numeric_limits<double>::quiet_NaN(),
                               .start = static_cast<HealthStart>(9),
                               .unhealthy_after = 0,
                               .healthy_after = 1'000'001};
  const auto refused = bench.monitor.watch("w", bad);
  REQUIRE(absl::IsInvalidArgument(refused.status()));
  CHECK(
      text_of(refused.status()) ==
      "watch 'w': health check: options.check must be a function, got none; options.interval must be positive, got "
      "0 s; options.timeout must be positive, got -1 s; options.jitter must be in [0, 1], got nan; options.start must "
      "be one of HealthStart, got 9; options.unhealthy_after must be in [1, 1000000], got 0; options.healthy_after "
      "must be in [1, 1000000], got 1000001");
  for (const double jitter : {-0.1, 1.5, std::numeric_limits<double>::infinity()}) {
    CHECK(absl::IsInvalidArgument(bench.monitor.watch("w", {.check = bench.answering(), .jitter = jitter}).status()));
  }
  CHECK(absl::IsInvalidArgument(bench.monitor.watch("", {.check = bench.answering()}).status()));
  CHECK(absl::IsInvalidArgument(bench.monitor.watch(std::string(241, 'x'), {.check = bench.answering()}).status()));
  CHECK_THROWS_AS(HealthMonitor(bench.runner, ""), std::invalid_argument);
  CHECK_THROWS_AS(HealthMonitor(bench.runner, std::string(257, 'x')), std::invalid_argument);
  HealthWatch& watch = bench.watch(std::string(240, 'x'), {.check = bench.answering()});
  REQUIRE(settle(watch, 1));
  CHECK(absl::IsInvalidArgument(watch.set_options(bad)));
  CHECK(watch.options().interval == 30s);
}

// --- figures ---

TEST_CASE("HealthMonitor: metrics and JSON", "[route][health_monitor]") {
  HealthBench bench;
  bench.watch("w", {.check = bench.answering(), .start = HealthStart::kChecked});
  PrometheusWriter writer;
  bench.monitor.collect(writer);
  const std::string text = writer.text();
  const auto has = [&text](const std::string& line) { return text.find(line) != std::string::npos; };
  CHECK(has("penstock_health_watches{monitor=\"m\"} 1\n"));
  CHECK(has("penstock_health_state{monitor=\"m\",state=\"healthy\",watch=\"w\"} 1\n"));
  CHECK(has("penstock_health_state{monitor=\"m\",state=\"unhealthy\",watch=\"w\"} 0\n"));
  CHECK(has("penstock_health_checks_total{monitor=\"m\",outcome=\"passed\",watch=\"w\"} 1\n"));
  CHECK(has("penstock_health_changes_total{from=\"unhealthy\",monitor=\"m\",to=\"healthy\",watch=\"w\"} 1\n"));
  CHECK(has("penstock_health_check_seconds_count{monitor=\"m\",watch=\"w\"} 1\n"));
  const std::string json = bench.monitor.json();
  CHECK(json.find("{\"monitor\":\"m\",\"watches\":[{\"name\":\"w\",\"health\":\"healthy\",") == 0);
  CHECK(json.find("\"last_status\":\"OK\"") != std::string::npos);
  CHECK(json.find("\"passed\":1") != std::string::npos);
}
