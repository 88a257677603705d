// SPDX-License-Identifier: MIT

// The contract of a process: its states, who waits, and who has his way.

#include "penstock/swap/process.hpp"

#include <atomic>
#include <thread>
#include <vector>

#include "penstock/core/failure_stage.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/detached.hpp"
#include "support/recorder.hpp"
#include "support/status_text.hpp"
#include "swap/process_support.hpp"

using namespace penstock;
using namespace penstock::testing;
using namespace std::chrono_literals;

namespace {

using Steps = std::vector<std::pair<ModelState, ModelState>>;
using enum ModelState;

/// Records the transitions of a process.
struct Watched {
  explicit Watched(ProcessOptions options) {
    options.on_transition = [this](const ProcessTransition& step) { steps.record({step.from, step.to}); };
    process.emplace(supervisor, std::move(options));
  }
  ~Watched() { process.reset(); }

  Recorder<std::pair<ModelState, ModelState>> steps;
  ProcessSupervisor supervisor;
  std::optional<Process> process;
};

Detached waits_on(RunLoop& /*loop*/, Process& process) { static_cast<void>(co_await process.async_ensure_ready()); }

}  // namespace

TEST_CASE("Process: it begins stopped, and starts when it is wanted", "[swap][process]") {
  ProcessSupervisor supervisor;
  Process process(supervisor, server());
  CHECK(process.state() == kStopped);
  CHECK(process.pid() == 0);
  CHECK(process.ensure_ready().ok());
  CHECK(process.state() == kReady);
  CHECK(runs(process.pid()));
  CHECK(texts(process.log()) == std::vector<std::string>{"up"});
}

TEST_CASE("Process: one that is ready is ready at once (P02)", "[swap][process]") {
  ProcessSupervisor supervisor;
  Process process(supervisor, server());
  REQUIRE(process.ensure_ready().ok());
  const int pid = process.pid();
  CHECK(process.ensure_ready().ok());
  CHECK(process.try_ensure_ready().ok());
  CHECK(process.ensure_ready(Context::background().with_timeout(0s)).ok());
  CHECK(process.pid() == pid);
  CHECK(process.stats().starts == 1);
}

TEST_CASE("Process: nothing is started after a shutdown (P02)", "[swap][process]") {
  ProcessSupervisor supervisor;
  Process process(supervisor, server());
  REQUIRE(process.ensure_ready().ok());
  CHECK(process.shutdown().ok());
  CHECK(process.state() == kShutdown);
  const absl::Status status = process.ensure_ready();
  CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(text_of(status) == "process 'model': shut down");
  CHECK(process.shutdown().ok());
  CHECK(process.stop().ok());
}

TEST_CASE("Process: several who want it have one child (P04)", "[swap][process]") {
  const Fifo go;
  ProcessSupervisor supervisor;
  Process process(supervisor, child({"await", go.path(), "print", "up", "wait"}, ReadyOnLine{"up"}));
  std::atomic<int> ready{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { ready += process.ensure_ready().ok() ? 1 : 0; });
  CHECK(go.release());
  for (std::thread& thread : threads) thread.join();
  CHECK(ready == 4);
  CHECK(process.stats().starts == 1);
}

TEST_CASE("Process: to stop is idempotent, before, during and after (P05)", "[swap][process]") {
  const Fifo go;
  ProcessSupervisor supervisor;
  Process process(supervisor, child({"finish", "15", go.path(), "print", "up", "wait"}, ReadyOnLine{"up"}));
  CHECK(process.stop().ok());
  REQUIRE(process.ensure_ready().ok());
  CHECK(process.try_stop().code() == absl::StatusCode::kUnavailable);
  CHECK(process.state() == kStopping);
  std::thread second([&] { static_cast<void>(process.stop()); });
  CHECK(go.release());
  CHECK(process.stop().ok());
  second.join();
  CHECK(process.stop().ok());
  CHECK(process.try_stop().ok());
  CHECK(process.state() == kStopped);
  CHECK(process.stats().stops == 1);
  CHECK(process.stats().last_exit == "exit status 0");
  CHECK(texts(process.log()).back() == "finished");
}

TEST_CASE("Process: a stop aborts a start (P06)", "[swap][process]") {
  ProcessSupervisor supervisor;
  Process process(supervisor, sleeper());
  absl::Status status;
  std::thread starter([&] { status = process.ensure_ready(); });
  CHECK(eventually([&] { return process.pid() != 0; }));
  const int pid = process.pid();
  CHECK(process.stop().ok());
  starter.join();
  CHECK(status.code() == absl::StatusCode::kAborted);
  CHECK(text_of(status) == "process 'model': start aborted");
  CHECK(failure_stage(status) == "start");
  CHECK(process.state() == kStopped);
  CHECK_FALSE(runs(pid));
  CHECK(process.stats().aborted == 1);
}

TEST_CASE("Process: a start that comes during a stop waits for it, and starts again (P01)", "[swap][process]") {
  const Fifo go;
  Watched watched(child({"finish", "15", go.path(), "print", "up", "wait"}, ReadyOnLine{"up"}));
  Process& process = *watched.process;
  REQUIRE(process.ensure_ready().ok());
  const int first = process.pid();
  REQUIRE_FALSE(process.try_stop().ok());
  std::atomic<bool> is_ready{false};
  std::thread starter([&] { is_ready = process.ensure_ready().ok(); });
  CHECK(process.try_ensure_ready().code() == absl::StatusCode::kUnavailable);
  CHECK(process.state() == kStopping);
  CHECK(go.release());
  starter.join();
  CHECK(is_ready);
  CHECK(process.state() == kReady);
  CHECK(process.pid() != first);
  CHECK_FALSE(runs(first));
  CHECK(process.stats().starts == 2);
  CHECK(eventually([&] { return watched.steps.size() == 6; }));
  CHECK(watched.steps.events() == Steps{{kStopped, kStarting},
                                        {kStarting, kReady},
                                        {kReady, kStopping},
                                        {kStopping, kStopped},
                                        {kStopped, kStarting},
                                        {kStarting, kReady}});
  static_cast<void>(process.try_stop(0s));  // or the second one waits for the test, too
}

TEST_CASE("Process: a later stop calls off the start that waits for an earlier one", "[swap][process]") {
  const Fifo go;
  ProcessSupervisor supervisor;
  Process process(supervisor, child({"finish", "15", go.path(), "print", "up", "wait"}, ReadyOnLine{"up"}));
  REQUIRE(process.ensure_ready().ok());
  REQUIRE_FALSE(process.try_stop().ok());
  JoinHandle<absl::Status> start = started(process);
  REQUIRE_FALSE(process.try_stop().ok());
  CHECK(start.get().code() == absl::StatusCode::kAborted);  // before it has stopped
  CHECK(process.state() == kStopping);
  CHECK(go.release());
  CHECK(process.stop().ok());
  CHECK(process.state() == kStopped);
  CHECK(process.stats().starts == 1);
}

TEST_CASE("Process: transitions are exactly those of its life (P15)", "[swap][process]") {
  Watched watched(server());
  for (int i = 0; i < 3; ++i) {  // P08
    REQUIRE(watched.process->ensure_ready().ok());
    REQUIRE(watched.process->stop().ok());
  }
  watched.process.reset();  // tells the rest
  Steps expected;
  for (int i = 0; i < 3; ++i) {
    const Steps cycle = {{kStopped, kStarting}, {kStarting, kReady}, {kReady, kStopping}, {kStopping, kStopped}};
    expected.insert(expected.end(), cycle.begin(), cycle.end());
  }
  expected.emplace_back(kStopped, kShutdown);
  CHECK(watched.steps.events() == expected);
}

TEST_CASE("Process: one that ends by itself has stopped, and says how (P09)", "[swap][process]") {
  const Fifo go;
  Recorder<ProcessTransition> steps;
  ProcessSupervisor supervisor;
  ProcessOptions options =
      child({"print", "up", "await", go.path(), "error", "out of memory", "exit", "3"}, ReadyOnLine{"up"});
  options.on_transition = [&](const ProcessTransition& step) { steps.record(step); };
  Process process(supervisor, options);
  REQUIRE(process.ensure_ready().ok());
  CHECK(go.release());
  CHECK(eventually([&] { return process.state() == kStopped; }));
  CHECK(eventually([&] { return steps.size() == 3; }));
  const ProcessTransition crash = steps.events().back();
  CHECK(crash.from == kReady);
  CHECK(crash.to == kStopped);
  CHECK_THAT(text_of(crash.cause), ContainsSubstring("ended by itself after"));
  CHECK_THAT(text_of(crash.cause), ContainsSubstring("(exit status 3): up | out of memory"));
  CHECK(process.stats().crashes == 1);
  CHECK(process.stats().last_exit == "exit status 3");
  // And it can be started again.
  CHECK(process.ensure_ready().ok());
}

TEST_CASE("Process: one that ends before it is ready fails its start with its last words", "[swap][process]") {
  ProcessSupervisor supervisor;
  Process process(supervisor,
                  child({"print", "loading", "error", "no such \x1b[31mmodel", "exit", "3"}, ReadyOnLine{"up"}));
  const absl::Status status = process.ensure_ready();
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(failure_stage(status) == "start");
  CHECK_THAT(text_of(status),
             ContainsSubstring("process 'model': upstream command exited prematurely (exit status 3): "));
  CHECK_THAT(text_of(status), ContainsSubstring("loading"));
  CHECK_THAT(text_of(status), ContainsSubstring("no such ?[31mmodel"));
  CHECK(process.state() == kStopped);
  CHECK(process.stats().start_failures == 1);
  CHECK(process.stats().crashes == 0);
}

TEST_CASE("Process: a wait ends with its context, the start goes on", "[swap][process]") {
  ManualClock clock;
  const Fifo go;
  ProcessSupervisor supervisor;
  Process process(supervisor, child({"await", go.path(), "print", "up", "wait"}, ReadyOnLine{"up"}));
  absl::Status late;
  std::thread waiter([&] { late = process.ensure_ready(Context(clock).with_timeout(1s)); });
  CHECK(eventually([&] { return clock.armed() == 1; }));
  clock.advance(1s);
  waiter.join();
  CHECK(late.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(text_of(late) == "process 'model': not ready in time (starting)");

  auto [ctx, source] = Context::background().with_cancel();
  source.cancel();
  CHECK(process.ensure_ready(ctx).code() == absl::StatusCode::kCancelled);
  CHECK(process.state() == kStarting);
  CHECK(go.release());
  CHECK(process.ensure_ready().ok());
  CHECK(process.stats().starts == 1);
}

TEST_CASE("Process: a context that has ended starts nothing", "[swap][process]") {
  ProcessSupervisor supervisor;
  Process process(supervisor, server());
  CHECK(process.ensure_ready(Context::background().with_timeout(0s)).code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(process.state() == kStopped);
  CHECK(process.stop(Context::background().with_timeout(0s)).ok());
}

TEST_CASE("Process: a stop that has no time to wait stops it nevertheless", "[swap][process]") {
  auto [ctx, source] = Context::background().with_cancel();
  source.cancel();
  ProcessSupervisor supervisor;
  Process process(supervisor, server());
  REQUIRE(process.ensure_ready().ok());
  CHECK(process.stop(ctx).code() == absl::StatusCode::kCancelled);
  CHECK(process.stop().ok());
  CHECK(process.stats().stops == 1);
  REQUIRE(process.ensure_ready().ok());
  const auto shut_down = [&, &late = ctx]() -> Task<absl::Status> { co_return co_await process.async_shutdown(late); };
  CHECK(sync_wait(shut_down()).code() == absl::StatusCode::kCancelled);
  CHECK(eventually([&] { return process.state() == kShutdown; }));
}

TEST_CASE("Process: a coroutine may be destroyed while it waits, also without memory", "[swap][process]") {
  ProcessSupervisor supervisor;
  Process process(supervisor, sleeper());
  RunLoop loop;
  CHECK(failures_of([&] {
          const Detached waiting = waits_on(loop, process);
          waiting.handle.destroy();
        }) > 0);
  CHECK(process.state() == kStarting);
}

TEST_CASE("Process: the end of its lifetime shuts it down, also during a start (P07)", "[swap][process]") {
  ProcessSupervisor supervisor;
  auto [lifetime, source] = Context::background().with_cancel();
  ProcessOptions options = sleeper();
  options.lifetime = lifetime;
  Process process(supervisor, options);
  absl::Status status;
  std::thread starter([&] { status = process.ensure_ready(); });
  CHECK(eventually([&] { return process.pid() != 0; }));
  const int pid = process.pid();
  source.cancel();
  starter.join();
  CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(eventually([&] { return process.state() == kShutdown; }));
  CHECK_FALSE(runs(pid));

  Process dead(supervisor, options);
  CHECK(dead.state() == kShutdown);
}

TEST_CASE("Process: coroutines wait as threads do", "[swap][process]") {
  ProcessSupervisor supervisor;
  Process process(supervisor, server());
  const auto life = [](Process& subject) -> Task<std::vector<absl::Status>> {
    std::vector<absl::Status> all;
    all.push_back(co_await subject.async_ensure_ready());
    all.push_back(co_await subject.async_ensure_ready());
    all.push_back(co_await subject.async_abort_start());
    all.push_back(co_await subject.async_stop());
    all.push_back(co_await subject.async_stop(0s));
    all.push_back(co_await subject.async_ensure_ready(Context::background().with_timeout(30s)));
    all.push_back(co_await subject.async_shutdown());
    co_return all;
  };
  for (const absl::Status& status : sync_wait(life(process))) CHECK(status.ok());
  CHECK(process.state() == kShutdown);
  CHECK(process.stats().ready == 2);
}

TEST_CASE("Process: to abort a start leaves one alone that is ready", "[swap][process]") {
  ProcessSupervisor supervisor;
  Process process(supervisor, server());
  const auto abort = [](Process& subject) -> Task<absl::Status> { co_return co_await subject.async_abort_start(); };
  CHECK(sync_wait(abort(process)).ok());
  REQUIRE(process.ensure_ready().ok());
  CHECK(sync_wait(abort(process)).ok());
  CHECK(process.state() == kReady);

  Process slow(supervisor, sleeper());
  REQUIRE_FALSE(slow.try_ensure_ready().ok());
  CHECK(sync_wait(abort(slow)).ok());
  CHECK(slow.state() == kStopped);
}

TEST_CASE("Process: one that is not ready in time is stopped", "[swap][process]") {
  ManualClock clock;
  ProcessSupervisor supervisor({.clock = &clock});
  ProcessOptions options = child({"print", "loading", "wait"}, ReadyOnLine{"up"});
  options.start_timeout = 30s;
  Process process(supervisor, options);
  absl::Status status;
  std::thread starter([&] { status = process.ensure_ready(); });
  CHECK(eventually([&] { return !process.log().empty() && clock.armed() == 1; }));
  clock.advance(30s - 1ns);
  CHECK(process.state() == kStarting);
  clock.advance(1ns);
  starter.join();
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(text_of(status) == "process 'model': not ready after 30 s (line with 'up'): loading");
  CHECK(failure_stage(status) == "start");
  CHECK(process.stop().ok());
  CHECK(process.state() == kStopped);
  CHECK(process.stats().start_failures == 1);
  CHECK(process.stats().aborted == 0);
}

TEST_CASE("Process: wrong options are all named", "[swap][process]") {
  ProcessSupervisor supervisor;
  ProcessOptions options;
  options.environment = {"=x", "A=b"};
  options.ready = ReadyOnHttp{.address = "localhost", .port = 0, .path = "health now"};
  options.start_timeout = 0s;
  options.probe_interval = -1s;
  options.stop_signal = 65;
  options.graceful_timeout = -1ns;
  options.kill_timeout = 0s;
  options.log_bytes = 1;
  const std::string text = text_of(options.validate());
  for (const char* const option :
       {"options.name", "options.arguments", "options.environment", "options.ready.address", "options.ready.port",
        "options.ready.path", "options.start_timeout", "options.probe_interval", "options.stop_signal",
        "options.graceful_timeout", "options.kill_timeout", "options.log_bytes", "options.line_bytes"}) {
    CHECK_THAT(text, ContainsSubstring(option));
  }
  CHECK_THROWS_AS(Process(supervisor, options), std::invalid_argument);
  CHECK_THROWS_AS(ProcessSupervisor({.name = "", .clock = nullptr}), std::invalid_argument);
  CHECK(supervisor.size() == 0);
}
