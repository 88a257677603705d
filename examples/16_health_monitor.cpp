// SPDX-License-Identifier: MIT
// Two providers are checked every 10 s. One goes down for a while, one begins to hang: both are found, told of once,
// and found again when they work; no check waits for another. Time is a clock that the program moves.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/periodic_runner.hpp"
#include "penstock/route/health_monitor.hpp"

using namespace std::chrono_literals;

int main() {
  penstock::ManualClock clock;
  penstock::PeriodicRunner runner({.name = "example", .clock = &clock});
  penstock::HealthMonitor monitor(runner, "example");
  std::atomic<bool> is_down{false};
  std::atomic<bool> hangs{false};
  std::atomic<int> told{0};

  const penstock::HealthListener print{.on_change = [&](const penstock::HealthReport& report) {
    std::printf("%s: %s -> %s (%s)\n", report.watch.c_str(), std::string(to_string(report.from)).c_str(),
                std::string(to_string(report.to)).c_str(), report.status.ToString().c_str());
    ++told;
  }};
  penstock::HealthCheckOptions options{.interval = 10s, .timeout = 2s, .jitter = 0, .unhealthy_after = 2};

  options.start = penstock::HealthStart::kRequired;  // `watch` waits for the first check, and fails if that does
  options.check = [&](const penstock::Context&) {
    return is_down ? absl::UnavailableError("connection refused") : absl::OkStatus();
  };
  auto bedrock = monitor.watch("bedrock", options, print);

  options.start = penstock::HealthStart::kUnhealthy;  // isolated until the first check has passed
  options.check = [&](const penstock::Context&) {
    while (hangs) std::this_thread::yield();  // minds no context: it keeps its own thread, and nothing else
    return absl::OkStatus();
  };
  auto vertex = monitor.watch("vertex", options, print);
  if (!bedrock.ok() || !vertex.ok()) return 1;

  // Lets time pass until `count` changes have been told; but not while a check runs that does not hang.
  const auto advance_until = [&](int count) {
    while (told < count) {
      while (bedrock->stats().is_checking || (!hangs && vertex->stats().is_checking)) std::this_thread::yield();
      clock.advance(1s);
    }
  };
  advance_until(2);
  is_down = hangs = true;
  advance_until(4);
  const bool both_found = !bedrock->is_healthy() && !vertex->is_healthy();
  is_down = hangs = false;
  advance_until(6);

  bedrock->stop();
  vertex->stop();
  const penstock::HealthStats stats = vertex->stats();
  std::printf("vertex: %d checks, %d timed out\n", static_cast<int>(stats.checks), static_cast<int>(stats.timed_out));
  return both_found && bedrock->is_healthy() && vertex->is_healthy() && stats.timed_out == 1 ? 0 : 1;
}
