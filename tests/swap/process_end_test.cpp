// SPDX-License-Identifier: MIT

// Whatever happens to a child or its owner: nothing hangs, and nothing is left.

#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/forked.hpp"
#include "support/status_text.hpp"
#include "support/threads.hpp"
#include "swap/process_support.hpp"

using namespace penstock;
using namespace penstock::testing;
using namespace std::chrono_literals;
using enum penstock::ModelState;

namespace {

/// The number of the thread of that name, or 0.
int thread_named(const std::string& name) {
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string read_name;
    std::ifstream file(task.path() / "comm");
    if (std::getline(file, read_name) && read_name == name) return std::stoi(task.path().filename().string());
  }
  return 0;
}

}  // namespace

TEST_CASE("Process: to kill the child is noticed in each state", "[swap][process]") {
  const bool uses_pidfd = GENERATE(true, false);
  ProcessSupervisor supervisor({.uses_pidfd = uses_pidfd});
  SECTION("starting") {
    Process process(supervisor, sleeper());
    JoinHandle<absl::Status> start = started(process);
    REQUIRE(eventually([&] { return process.pid() != 0; }));
    kill(process.pid(), SIGKILL);
    const absl::Status status = start.get();
    CHECK_THAT(text_of(status), ContainsSubstring("exited prematurely (signal 9 (Killed))"));
    CHECK(process.state() == kStopped);
  }
  SECTION("ready") {
    Process process(supervisor, server());
    REQUIRE(process.ensure_ready().ok());
    kill(process.pid(), SIGKILL);
    CHECK(eventually([&] { return process.state() == kStopped; }));
    CHECK(process.stats().last_exit == "signal 9 (Killed)");
    CHECK(process.ensure_ready().ok());
    CHECK(process.stats().crashes == 1);
  }
  SECTION("stopping") {
    ProcessOptions options = child({"ignore", "15", "print", "up", "wait"}, ReadyOnLine{"up"});
    options.graceful_timeout = std::chrono::hours(1);
    Process process(supervisor, options);
    REQUIRE(process.ensure_ready().ok());
    CHECK_FALSE(process.try_stop().ok());
    kill(process.pid(), SIGKILL);
    CHECK(process.stop().ok());
    CHECK(process.stats().kills == 0);
    CHECK(process.stats().crashes == 0);
  }
  CHECK(children() == 0);
}

TEST_CASE("Process: it may be destroyed in each state", "[swap][process]") {
  const std::size_t descriptors = open_descriptors();
  {
    ProcessSupervisor supervisor;
    int pid = 0;
    const int state = GENERATE(0, 1, 2, 3, 4);
    {
      Process process(supervisor, state == 1 ? sleeper() : server());
      if (state == 1) {
        CHECK_FALSE(process.try_ensure_ready().ok());
        CHECK(eventually([&] { return process.pid() != 0; }));
      }
      if (state >= 2) REQUIRE(process.ensure_ready().ok());
      pid = process.pid();
      if (state == 3) static_cast<void>(process.try_stop());
      if (state == 4) CHECK(process.shutdown().ok());
    }
    CHECK((pid == 0 || !runs(pid)));
    CHECK(supervisor.size() == 0);
  }
  CHECK(children() == 0);
  CHECK(open_descriptors() == descriptors);
}

TEST_CASE("Process: who waits is answered when the process goes", "[swap][process]") {
  ProcessSupervisor supervisor;
  std::optional<Process> process(std::in_place, supervisor, sleeper());
  JoinHandle<absl::Status> start = started(*process);
  process.reset();
  const absl::Status status = start.get();
  CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(text_of(status) == "process 'model': shut down");
}

TEST_CASE("Process: two hundred lives leave no descriptor, no zombie and no thread", "[swap][process]") {
  const std::size_t descriptors = open_descriptors();
  {
    ProcessSupervisor supervisor({.name = "leak"});
    Process process(supervisor, server());
    std::size_t during = 0;
    for (int i = 0; i < 200; ++i) {
      REQUIRE(process.ensure_ready().ok());
      if (i == 0) during = open_descriptors();
      if (i % 2 == 0) {
        REQUIRE(process.stop().ok());
      } else {
        kill(process.pid(), SIGKILL);
        REQUIRE(eventually([&] { return process.state() == kStopped; }));
      }
    }
    CHECK(open_descriptors() <= during);
    CHECK(process.stats().ready == 200);
    CHECK(process.stats().crashes == 100);
    CHECK(process.stop().ok());
    CHECK(eventually([&] { return process.pid() == 0; }));
    CHECK(children() == 0);
  }
  CHECK(open_descriptors() == descriptors);
  CHECK(eventually([] { return threads_of("leak") == 0; }));
}

TEST_CASE("Process: children of the host are left to the host", "[swap][process]") {
  const pid_t own = fork();
  if (own == 0) _exit(5);
  ProcessSupervisor supervisor;
  Process process(supervisor, server());
  for (int i = 0; i < 3; ++i) {
    CHECK(process.ensure_ready().ok());
    CHECK(process.stop().ok());
  }
  int status = 0;
  CHECK(waitpid(own, &status, 0) == own);
  CHECK(WEXITSTATUS(status) == 5);
}

TEST_CASE("Process: a host that ignores the end of children loses the exit status and nothing else",
          "[swap][process]") {
  const bool uses_pidfd = GENERATE(true, false);
  const Disposition ignored(SIGCHLD, SIG_IGN);
  ProcessSupervisor supervisor({.uses_pidfd = uses_pidfd});
  Process process(supervisor, server());
  for (int i = 0; i < 3; ++i) {
    CHECK(process.ensure_ready().ok());
    CHECK(process.stop().ok());
    CHECK_THAT(process.stats().last_exit, ContainsSubstring("unknown"));
  }
  Process failing(supervisor, child({"exit", "3"}, ReadyOnLine{"up"}));
  CHECK_THAT(text_of(failing.ensure_ready()), ContainsSubstring("exited prematurely (exit status unknown"));
}

TEST_CASE("Process: a host that waits for any child makes nothing hang", "[swap][process]") {
  const bool uses_pidfd = GENERATE(true, false);
  ProcessSupervisor supervisor({.uses_pidfd = uses_pidfd});
  Process process(supervisor, server());
  std::atomic<bool> ends{false};
  std::thread host([&] {
    while (!ends) waitpid(-1, nullptr, WNOHANG);
  });
  for (int i = 0; i < 10; ++i) {
    CHECK(process.ensure_ready().ok());
    CHECK(process.stop().ok());
  }
  ends = true;
  host.join();
  CHECK(children() == 0);
}

TEST_CASE("Process: signals that interrupt the supervisor change nothing", "[swap][process]") {
  struct sigaction before {};
  struct sigaction counts {};
  counts.sa_handler = [](int) {};  // without SA_RESTART
  sigaction(SIGUSR1, &counts, &before);
  {
    ProcessSupervisor supervisor({.name = "stormy"});
    Process process(supervisor, server());
    int watcher = 0;
    CHECK(eventually([&] { return (watcher = thread_named("stormy/watch")) != 0; }));
    std::atomic<bool> ends{false};
    std::thread storm([&] {
      while (!ends) syscall(SYS_tgkill, getpid(), watcher, SIGUSR1);
    });
    for (int i = 0; i < 10; ++i) {
      CHECK(process.ensure_ready().ok());
      CHECK(process.stop().ok());
    }
    ends = true;
    storm.join();
  }
  sigaction(SIGUSR1, &before, nullptr);
  CHECK(children() == 0);
}

TEST_CASE("Process: a supervisor without memory sees the end of a child nevertheless", "[swap][process]") {
  ProcessSupervisor supervisor;
  Process other(supervisor, child({"wait"}));
  std::optional<FailAllocation> failure;
  // Resumes on the supervisor's thread, whose allocation it is that fails.
  const auto fail_there = [&](std::uint64_t nth) -> Task<> {
    static_cast<void>(co_await other.async_ensure_ready());
    failure.emplace(nth);
  };
  for (std::uint64_t nth = 0; nth < 24; ++nth) {
    Process starting(supervisor, sleeper());
    Process ready(supervisor, server());
    REQUIRE(ready.ensure_ready().ok());
    JoinHandle<absl::Status> start = started(starting);
    REQUIRE(eventually([&] { return starting.pid() != 0; }));
    JoinHandle<> failing = spawn(Executor::inline_executor(), fail_there(nth));
    failing.get();
    kill(nth % 2 == 0 ? starting.pid() : ready.pid(), SIGKILL);
    if (nth % 2 == 0) {
      REQUIRE(eventually([&] { return starting.state() == kStopped; }));
      CHECK(start.get().code() == absl::StatusCode::kUnavailable);
    } else {
      REQUIRE(eventually([&] { return ready.state() == kStopped; }));
    }
    CHECK(other.stop().ok());
  }
}

#if PENSTOCK_TEST_FORKS
TEST_CASE("Process: a forked child refuses, and leaves the parent's child alone", "[swap][process]") {
  auto supervisor = std::make_unique<ProcessSupervisor>();
  auto process = std::make_unique<Process>(*supervisor, server());
  REQUIRE(process->ensure_ready().ok());
  const int pid = process->pid();
  CHECK(answer_of_child([&] {
          if (process->ensure_ready().code() != absl::StatusCode::kFailedPrecondition) return 1;
          if (process->stop().code() != absl::StatusCode::kFailedPrecondition) return 2;
          if (process->state() != kUnknown || process->pid() != 0 || !process->log().empty()) return 3;
          Process made_here(*supervisor, server());
          if (made_here.ensure_ready().code() != absl::StatusCode::kFailedPrecondition) return 4;
          process.reset();
          supervisor.reset();
          return 42;
        }) == 42);
  CHECK(runs(pid));
  CHECK(process->state() == kReady);
  CHECK(process->stop().ok());
}
#endif
