// SPDX-License-Identifier: MIT

// What the system does not end: everybody gets an answer, and nothing is started beside it.

#include <optional>
#include <string>

#include "penstock/core/failure_stage.hpp"
#include "penstock/core/manual_clock.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"
#include "swap/process_support.hpp"
#include "swap/unkillable.hpp"

using namespace penstock;
using namespace penstock::testing;
using namespace std::chrono_literals;
using enum penstock::ModelState;

TEST_CASE("Process: what the system does not end fails stops and starts, until it does", "[swap][process]") {
  ManualClock clock;
  ProcessSupervisor supervisor({.clock = &clock});
  ProcessOptions options = child({"fork", "pid", "print", "up", "wait", "done", "wait"}, ReadyOnLine{"up"});
  options.kill_timeout = 7s;
  Process process(supervisor, options);
  REQUIRE(process.ensure_ready().ok());
  Unkillable held(number_after(process, "pid"));
  if (!held.holds()) return;  // a system where nobody may trace
  const std::string late =
      "process 'model': group " + std::to_string(process.pid()) + " still runs 7 s after it was killed";
  CHECK_FALSE(process.try_stop(0s).ok());
  JoinHandle<absl::Status> start = started(process);
  CHECK(eventually([&] { return process.stats().kills == 1 && clock.armed() == 1; }));
  clock.advance(7s);
  const absl::Status status = start.get();
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(text_of(status) == late);
  CHECK(failure_stage(status) == "start");
  CHECK(process.state() == kStopping);
  CHECK(text_of(process.ensure_ready()) == late);  // at once, also those that come later
  CHECK(text_of(process.try_ensure_ready()) == late);
  CHECK(text_of(process.stop()) == late);
  held.let_go();
  CHECK(eventually([&] { return process.state() == kStopped; }));
  CHECK(process.stats().starts == 1);
  CHECK(process.ensure_ready().ok());
}

TEST_CASE("Process: the destructor does not wait for what the system does not end", "[swap][process]") {
  ManualClock clock;
  ProcessSupervisor supervisor({.clock = &clock});
  std::optional<Process> process(std::in_place, supervisor,
                                 child({"fork", "pid", "print", "up", "wait", "done", "wait"}, ReadyOnLine{"up"}));
  REQUIRE(process->ensure_ready().ok());
  const int leader = process->pid();
  Unkillable held(number_after(*process, "pid"));
  if (!held.holds()) return;
  CHECK_FALSE(process->try_stop(0s).ok());
  CHECK(eventually([&] { return process->stats().kills == 1 && clock.armed() == 1 && !runs(leader); }));
  clock.advance(process->options().kill_timeout);
  CHECK(eventually([&] { return process->try_stop().code() == absl::StatusCode::kDeadlineExceeded; }));
  process.reset();
  CHECK(supervisor.size() == 0);
}

TEST_CASE("Process: a child that the system ends after it was given up is reaped nevertheless", "[swap][process]") {
  const bool uses_pidfd = GENERATE(true, false);
  ManualClock clock;
  ProcessSupervisor supervisor({.clock = &clock, .uses_pidfd = uses_pidfd});
  const std::size_t descriptors = open_descriptors();
  std::optional<Process> process(std::in_place, supervisor, server());
  REQUIRE(process->ensure_ready().ok());
  const int pid = process->pid();
  Unkillable held(pid);
  if (!held.holds()) return;
  CHECK_FALSE(process->try_stop(0s).ok());
  CHECK(eventually([&] { return process->stats().kills == 1 && clock.armed() == 1; }));
  clock.advance(process->options().kill_timeout);
  process.reset();
  CHECK(runs(pid));
  CHECK(children() == 1);
  held.let_go();
  CHECK(eventually([] { return children() == 0; }));
  CHECK(eventually([&] { return open_descriptors() == descriptors; }));
}
