// SPDX-License-Identifier: MIT

// Who may call a start off that is not his alone.

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"
#include "support/catch.hpp"
#include "swap/process_support.hpp"

using namespace penstock;
using namespace penstock::testing;
using namespace std::chrono_literals;
using enum penstock::ModelState;

TEST_CASE("Process: a start that others wait for is aborted by the last of them", "[swap][process]") {
  const Fifo go;
  ProcessSupervisor supervisor;
  ProcessOptions options = child({"finish", "15", go.path(), "print", "up", "wait"}, ReadyOnLine{"up"});
  options.graceful_timeout = std::chrono::hours(1);
  const auto abort = [](Process& subject) -> Task<absl::Status> { co_return co_await subject.async_abort_start(); };
  SECTION("under way") {
    Process process(supervisor, sleeper());
    JoinHandle<absl::Status> other = started(process);
    CHECK(sync_wait(abort(process)).ok());
    CHECK(process.state() == kStarting);
    CHECK(process.stop().ok());
    CHECK(other.get().code() == absl::StatusCode::kAborted);
    CHECK_FALSE(process.try_ensure_ready().ok());  // nobody waits for this one
    CHECK(sync_wait(abort(process)).ok());
    CHECK(process.state() == kStopped);
  }
  SECTION("to come, after a stop") {
    Process process(supervisor, options);
    REQUIRE(process.ensure_ready().ok());
    REQUIRE_FALSE(process.try_stop(std::chrono::hours(2)).ok());
    JoinHandle<absl::Status> other = started(process);
    CHECK(sync_wait(abort(process)).ok());  // does not wait for the stop: it is not to stay stopped
    CHECK(go.release());
    CHECK(other.get().ok());
    static_cast<void>(process.try_stop(0s));
  }
  SECTION("not under way: brings no kill forward") {
    ManualClock clock;
    ProcessSupervisor manual({.clock = &clock});
    Process process(manual, options);
    REQUIRE(process.ensure_ready().ok());
    REQUIRE_FALSE(process.try_stop(std::chrono::hours(2)).ok());
    JoinHandle<absl::Status> gone = spawn(Executor::inline_executor(), abort(process));
    clock.advance(std::chrono::hours(1));
    CHECK(go.release());
    CHECK(gone.get().ok());
    CHECK(process.stats().kills == 0);
  }
}
