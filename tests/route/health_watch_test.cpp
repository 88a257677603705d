// SPDX-License-Identifier: MIT

// Whom a health watch tells, what may be asked of it, and how it ends.

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/route/health_monitor.hpp"

#include "route/health_support.hpp"
#include "support/catch.hpp"
#include "support/forked.hpp"
#include "support/sleep_under.hpp"
#include "support/status_text.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using penstock::testing::eventually;
using penstock::testing::HealthBench;
using penstock::testing::settle;
using penstock::testing::text_of;

// --- listeners ---

TEST_CASE("HealthWatch: listeners are told of results, and of changes, in order", "[route][health_monitor]") {
  HealthBench bench;
  HealthWatch& watch = bench.watch(
      "w", {.check = bench.answering(), .interval = 10s, .jitter = 0, .unhealthy_after = 2}, bench.recording());
  REQUIRE(settle(watch, 1));
  for (std::uint64_t i = 2; i <= 6; ++i) {
    bench.passes = i >= 5;
    bench.clock.advance(10s);
    REQUIRE(settle(watch, i));
  }
  REQUIRE(eventually([&] { return bench.results.size() == 6 && bench.changes.size() == 3; }));
  const std::vector<HealthReport> results = bench.results.events();
  const TimePoint start = ManualClock().now();
  for (std::size_t i = 0; i < results.size(); ++i) {
    CHECK(results[i].watch == "w");
    CHECK(results[i].at == start + i * 10s);
    CHECK(results[i].status.ok() == (i == 0 || i >= 4));
  }
  CHECK(results[3].in_a_row == 3);
  CHECK(results[5].in_a_row == 2);
  const std::vector<HealthReport> changes = bench.changes.events();
  CHECK(changes[0].from == Health::kUnknown);
  CHECK(changes[0].to == Health::kHealthy);
  CHECK(changes[1].to == Health::kUnhealthy);
  CHECK(changes[1].at == start + 20s);
  CHECK(text_of(changes[1].status) == "refused");
  CHECK(changes[2].from == Health::kUnhealthy);
  CHECK(changes[2].to == Health::kHealthy);
}

TEST_CASE("HealthWatch: a time-out is told without waiting for the check", "[route][health_monitor]") {
  HealthBench bench;
  bench.watch("w", {.check = bench.hanging(), .interval = 10s, .timeout = 5s, .unhealthy_after = 2}, bench.recording());
  REQUIRE(bench.gate.await(1));
  REQUIRE(eventually([&] { return bench.clock.armed() == 1; }));
  bench.clock.advance(5s);
  REQUIRE(eventually([&] { return bench.results.size() == 1; }));
  CHECK(bench.changes.size() == 0);
  bench.clock.advance(10s);
  REQUIRE(eventually([&] { return bench.changes.size() == 1; }));
  const HealthReport change = bench.changes.events()[0];
  CHECK(absl::IsDeadlineExceeded(change.status));
  CHECK(change.in_a_row == 2);
  CHECK(change.took == 15s);
  bench.gate.open();
}

TEST_CASE("HealthWatch: what a listener throws is counted, and the next is told", "[route][health_monitor]") {
  HealthBench bench;
  std::atomic<int> told{0};
  const HealthListener listener{.on_change = [&](const HealthReport&) { ++told; },
                                .on_result = [](const HealthReport&) { throw std::runtime_error("boom"); }};
  HealthWatch& watch = bench.watch("w", {.check = bench.answering()}, listener);
  REQUIRE(eventually([&] { return told == 1; }));
  REQUIRE(eventually([&] { return watch.stats().listener_exceptions == 1; }));
}

TEST_CASE("HealthWatch: a listener that hangs holds up no check, and then misses the oldest",
          "[route][health_monitor]") {
  HealthBench bench;
  std::atomic<int> told{0};
  const HealthListener listener{.on_result = [&](const HealthReport&) {
    if (++told == 1) bench.gate.pass();
  }};
  HealthWatch& watch = bench.watch("w", {.check = bench.answering(), .interval = 10s, .jitter = 0}, listener);
  REQUIRE(bench.gate.await(1));
  REQUIRE(settle(watch, 1));
  constexpr std::uint64_t kChecks = 70;
  for (std::uint64_t i = 2; i <= kChecks; ++i) {
    bench.clock.advance(10s);
    REQUIRE(settle(watch, i));
  }
  CHECK(told == 1);
  CHECK(watch.stats().missed_reports == kChecks - 1 - 64);
  bench.gate.open();
  CHECK(eventually([&] { return told == 65; }));
}

// --- check_now, set_options ---

TEST_CASE("HealthWatch: check_now gives the result of a check that began after it", "[route][health_monitor]") {
  HealthBench bench;
  HealthWatch& watch = bench.watch("w", {.check = bench.answering(), .start = HealthStart::kChecked});
  CHECK(watch.check_now(Context::background()).ok());
  bench.passes = false;
  const absl::Status refused = watch.check_now(Context::background());
  CHECK(text_of(refused) == "refused");
  CHECK(watch.stats().checks == 3);
  watch.check_now();
  REQUIRE(settle(watch, 4));

  HealthWatch& hung = bench.watch("h", {.check = bench.hanging()});
  REQUIRE(bench.gate.await(1));
  CHECK(absl::IsDeadlineExceeded(hung.check_now(Context::background().with_timeout(0s))));
  std::thread stopper([&] { static_cast<void>(hung.stop(Context::background().with_timeout(0s))); });
  const absl::Status stopped = hung.check_now(Context::background());
  stopper.join();
  CHECK(absl::IsUnavailable(stopped));
  CHECK(text_of(stopped) == "health watch 'h': stopped");
}

TEST_CASE("HealthWatch: options change live, and nothing counted is lost", "[route][health_monitor]") {
  HealthBench bench;
  bench.passes = false;
  HealthWatch& watch =
      bench.watch("w", {.check = bench.answering(), .interval = 10s, .jitter = 0, .unhealthy_after = 5});
  REQUIRE(settle(watch, 1));
  HealthCheckOptions options = watch.options();
  options.interval = 2s;
  options.unhealthy_after = 2;
  options.feeds_breaker = true;
  options.check = [](const Context&) { return absl::InternalError("another"); };
  REQUIRE(watch.set_options(options).ok());
  CHECK(watch.options().feeds_breaker);
  CHECK(watch.health() == Health::kUnknown);
  bench.clock.advance(2s);
  REQUIRE(settle(watch, 2));
  CHECK(watch.health() == Health::kUnhealthy);
  CHECK(text_of(watch.stats().last_status) == "another");
  CHECK(watch.stats().failed == 2);
}

TEST_CASE("HealthWatch: a running check keeps its function and its time-out", "[route][health_monitor]") {
  HealthBench bench;
  auto held = std::make_shared<int>(1);
  HealthWatch& watch = bench.watch("w", {.check =
                                             [&bench, held](const Context&) {
                                               bench.gate.pass();
                                               return absl::OkStatus();
                                             },
                                         .timeout = 5s,
                                         .unhealthy_after = 1});
  REQUIRE(bench.gate.await(1));
  REQUIRE(eventually([&] { return bench.clock.armed() == 1; }));
  HealthCheckOptions options = watch.options();
  options.timeout = 1s;
  options.check = [](const Context&) { return absl::OkStatus(); };
  REQUIRE(watch.set_options(options).ok());
  options = {};
  CHECK(held.use_count() == 2);
  bench.clock.advance(4s);
  CHECK(watch.health() == Health::kUnknown);
  bench.gate.open();
  REQUIRE(settle(watch, 1));
  CHECK(watch.health() == Health::kHealthy);
  CHECK(held.use_count() == 1);
}

// --- the end ---

TEST_CASE("HealthWatch: stop ends the check, discards its result, and silences the listener",
          "[route][health_monitor]") {
  HealthBench bench;
  std::atomic<int> inside{0};
  const auto check = [&](const Context& ctx) {
    ++inside;
    penstock::testing::sleep_under(ctx);
    return absl::InternalError("late");
  };
  HealthWatch& watch = bench.watch("w", {.check = check, .unhealthy_after = 1}, bench.recording());
  REQUIRE(eventually([&] { return inside == 1; }));
  watch.stop();
  CHECK(watch.health() == Health::kUnknown);
  CHECK(watch.stats().failed == 0);
  CHECK(bench.results.size() == 0);
  CHECK(bench.monitor.stats().watches == 0);
  CHECK(bench.runner.stats().tasks == 0);
  CHECK(bench.clock.armed() == 0);
  watch.check_now();
  watch.stop();
  CHECK(watch.name() == "w");
}

TEST_CASE("HealthWatch: stop gives up waiting for a check that hangs, and abandon does not wait",
          "[route][health_monitor]") {
  HealthBench bench;
  HealthWatch& watch = bench.watch("w", {.check = bench.hanging(), .timeout = 5s, .unhealthy_after = 1});
  REQUIRE(bench.gate.await(1));
  REQUIRE(eventually([&] { return bench.clock.armed() == 1; }));
  CHECK(watch.stop(Context::background().with_timeout(0s)) == OpStatus::kTimedOut);
  bench.clock.advance(5s);
  CHECK(watch.health() == Health::kUnknown);  // nobody counts it any more
  watch.abandon();
  CHECK(watch.health() == Health::kUnknown);
  CHECK(watch.is_healthy());
  CHECK(watch.name().empty());
  CHECK(bench.runner.stats().tasks == 1);
}

TEST_CASE("HealthWatch: destroyed by its own listener, while its check hangs", "[route][health_monitor]") {
  HealthBench bench;
  std::optional<HealthWatch> watch;
  std::atomic<bool> is_gone{false};
  const HealthListener listener{.on_change = [&](const HealthReport&) {
    watch.reset();
    is_gone = true;
  }};
  watch.emplace(*bench.monitor.watch("w", {.check = bench.hanging(), .timeout = 5s, .unhealthy_after = 1}, listener));
  REQUIRE(bench.gate.await(1));
  REQUIRE(eventually([&] { return bench.clock.armed() == 1; }));
  bench.clock.advance(5s);
  CHECK(eventually([&] { return is_gone.load(); }));
  bench.gate.open();
  CHECK(eventually([&] { return bench.runner.stats().tasks == 0; }));
}

TEST_CASE("HealthWatch: destroyed by its own check", "[route][health_monitor]") {
  HealthBench bench;
  std::optional<HealthWatch> watch;
  std::atomic<bool> may_go{false};
  std::atomic<bool> is_gone{false};
  watch.emplace(*bench.monitor.watch("w",
                                     {.check =
                                          [&](const Context&) {
                                            static_cast<void>(eventually([&] { return may_go.load(); }));
                                            watch.reset();
                                            is_gone = true;
                                            return absl::OkStatus();
                                          }},
                                     bench.recording()));
  may_go = true;
  CHECK(eventually([&] { return is_gone.load(); }));
  CHECK(eventually([&] { return bench.runner.stats().tasks == 0; }));
  CHECK(bench.results.size() == 0);
}

TEST_CASE("HealthWatch: outlives its monitor and its runner, and moves", "[route][health_monitor]") {
  ManualClock clock;
  HealthWatch watch;
  CHECK(watch.health() == Health::kUnknown);
  CHECK(watch.is_healthy());
  CHECK(watch.set_options({}).ok());
  CHECK(absl::IsUnavailable(watch.check_now(Context::background())));
  CHECK(watch.stop(Context::background()) == OpStatus::kOk);
  CHECK(watch.stats().checks == 0);
  {
    PeriodicRunner runner({.clock = &clock});
    {
      HealthMonitor monitor(runner);
      watch = *monitor.watch("w", {.check = [](const Context&) { return absl::InternalError("no"); },
                                   .interval = 10s,
                                   .jitter = 0,
                                   .start = HealthStart::kChecked});
    }
    REQUIRE(settle(watch, 1));
    clock.advance(10s);
    REQUIRE(settle(watch, 2));
  }
  HealthWatch moved(std::move(watch));
  CHECK(moved.health() == Health::kUnhealthy);
  CHECK(watch.health() == Health::kUnknown);  // NOLINT(bugprone-use-after-move)
  CHECK(moved.stats().failed == 2);
  moved.check_now();
}

#if PENSTOCK_TEST_FORKS
TEST_CASE("HealthMonitor: in a forked child nothing is checked or waited for", "[route][health_monitor]") {
  HealthBench bench;
  HealthWatch hung = *bench.monitor.watch("w", {.check = bench.hanging(), .start = HealthStart::kUnhealthy});
  REQUIRE(bench.gate.await(1));
  const int broken_law = penstock::testing::answer_of_child([&] {
    if (!absl::IsFailedPrecondition(bench.monitor.watch("x", {.check = bench.answering()}).status())) return 1;
    if (hung.is_healthy() || hung.stats().checks != 0 || !bench.monitor.watches().empty()) return 2;
    hung.check_now();
    if (!absl::IsUnavailable(hung.check_now(Context::background()))) return 3;
    hung.stop();
    hung = HealthWatch();
    return 0;
  });
  CHECK(broken_law == 0);
  bench.gate.open();
}
#endif
