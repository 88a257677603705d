// SPDX-License-Identifier: MIT

// What a child is given, what it leaves behind, and what becomes of those that it starts itself.

#include <csignal>
#include <fstream>
#include <optional>
#include <thread>

#include <sys/prctl.h>
#include <sys/resource.h>

#include "penstock/core/failure_stage.hpp"
#include "penstock/core/manual_clock.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"
#include "support/status_text.hpp"
#include "swap/process_support.hpp"
#include "swap/unkillable.hpp"

using namespace penstock;
using namespace penstock::testing;
using namespace std::chrono_literals;
using enum penstock::ModelState;

namespace {

/// What a child says that does `does`, and then ends.
std::vector<std::string> said_by(ProcessOptions options) {
  ProcessSupervisor supervisor;
  Process process(supervisor, std::move(options));
  if (!process.ensure_ready().ok()) return {"did not start"};
  if (!eventually([&] { return process.state() == kStopped && process.pid() == 0; })) return {"did not end"};
  return texts(process.log());
}

}  // namespace

TEST_CASE("Process: a child has three descriptors, whatever the host has open", "[swap][process]") {
  std::vector<int> leaky;  // inheritable, as those of a careless host
  for (int i = 0; i < 20; ++i) leaky.push_back(open("/dev/null", O_RDONLY));
  CHECK(said_by(child({"descriptors"})) == std::vector<std::string>{"0 1 2 "});
  for (const int descriptor : leaky) close(descriptor);
}

TEST_CASE("Process: what the host starts by itself gets none of the supervisor's descriptors", "[swap][process]") {
  ProcessSupervisor supervisor;
  Process process(supervisor, server());
  REQUIRE(process.ensure_ready().ok());
  const std::string command = std::string(PENSTOCK_TEST_CHILD) + " descriptors";
  FILE* const host_child = popen(command.c_str(), "r");
  char text[256] = {};
  REQUIRE(std::fgets(text, sizeof(text), host_child) != nullptr);
  pclose(host_child);
  CHECK(std::string(text).find("0 1 2") == 0);
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const std::string target = std::filesystem::read_symlink(entry.path(), error).string();
    if (target.find("pidfd") == std::string::npos && target.find("eventfd") == std::string::npos) continue;
    CHECK((fcntl(std::stoi(entry.path().filename().string()), F_GETFD) & FD_CLOEXEC) != 0);
  }
}

TEST_CASE("Process: a child has an empty input, and leads a group and a session of its own", "[swap][process]") {
  const std::string parent = std::to_string(getpid());
  CHECK(said_by(child({"input", "ids"})) == std::vector<std::string>{"input 0", "ids 0 0 " + parent});
}

TEST_CASE("Process: a child blocks and ignores no signal, whatever the host does", "[swap][process]") {
  const Disposition pipe(SIGPIPE, SIG_IGN);
  const Disposition hang_up(SIGHUP, SIG_IGN);
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  sigaddset(&blocked, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  const std::vector<std::string> said = said_by(child({"signals"}));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  REQUIRE(said.size() == 2);
  CHECK(said[0] == "SigBlk:\t0000000000000000");
  // 32 and 33 are the C library's own, which ignores them in whatever it spawns.
  constexpr unsigned long long kOwn = 3ULL << 31;
  REQUIRE(said[1].rfind("SigIgn:\t", 0) == 0);
  CHECK((std::stoull(said[1].substr(8), nullptr, 16) & ~kOwn) == 0);
}

TEST_CASE("Process: arguments are passed as they are, without a shell", "[swap][process]") {
  CHECK(said_by(child({"print", "$HOME; `id` 'a b' *"})) == std::vector<std::string>{"$HOME; `id` 'a b' *"});
}

TEST_CASE("Process: the environment is the host's, with what is added, or only that", "[swap][process]") {
  setenv("PENSTOCK_TEST_A", "host", 1);
  setenv("PENSTOCK_TEST_B", "host", 1);
  ProcessOptions options =
      child({"environment", "PENSTOCK_TEST_A", "environment", "PENSTOCK_TEST_B", "environment", "PENSTOCK_TEST_C"});
  options.environment = {"PENSTOCK_TEST_B=own=1", "PENSTOCK_TEST_C="};
  CHECK(said_by(options) ==
        std::vector<std::string>{"PENSTOCK_TEST_A=host", "PENSTOCK_TEST_B=own=1", "PENSTOCK_TEST_C="});
  options.inherits_environment = false;
  CHECK(said_by(options) ==
        std::vector<std::string>{"PENSTOCK_TEST_A=(none)", "PENSTOCK_TEST_B=own=1", "PENSTOCK_TEST_C="});
}

TEST_CASE("Process: it starts in its folder", "[swap][process]") {
  const Fifo place;
  ProcessOptions options = child({"folder"});
  options.working_directory = place.folder();
  CHECK(said_by(options) == std::vector<std::string>{place.folder()});
}

TEST_CASE("Process: a program that is not there, or may not be run, is named", "[swap][process]") {
  ProcessSupervisor supervisor;
  const std::size_t descriptors = open_descriptors();
  ProcessOptions options = child({});
  options.arguments = {"/nowhere/llama-server", "--port"};
  {
    Process process(supervisor, options);
    const absl::Status status = process.ensure_ready();
    CHECK(status.code() == absl::StatusCode::kNotFound);
    CHECK(text_of(status) == "process 'model': cannot start '/nowhere/llama-server': No such file or directory");
    CHECK(failure_stage(status) == "start");
    CHECK(process.state() == kStopped);
    CHECK(process.ensure_ready().code() == absl::StatusCode::kNotFound);  // and again
    CHECK(process.stats().start_failures == 2);
  }
  options.arguments = {"/etc/passwd"};
  {
    Process process(supervisor, options);
    CHECK(process.ensure_ready().code() == absl::StatusCode::kPermissionDenied);
  }
  options = child({"folder"});
  options.working_directory = "/nowhere";
  {
    Process process(supervisor, options);
    const absl::Status status = process.ensure_ready();
    CHECK(status.code() == absl::StatusCode::kNotFound);
    CHECK_THAT(text_of(status), ContainsSubstring(" in '/nowhere': No such file or directory"));
  }
  CHECK(open_descriptors() == descriptors);
  CHECK(children() == 0);
}

TEST_CASE("Process: one that ignores the stop signal is killed after the graceful time-out (P17)", "[swap][process]") {
  ManualClock clock;
  ProcessSupervisor supervisor({.clock = &clock});
  ProcessOptions options = child({"ignore", "15", "print", "up", "wait"}, ReadyOnLine{"up"});
  options.graceful_timeout = 20s;
  Process process(supervisor, options);
  REQUIRE(process.ensure_ready().ok());
  std::thread stopper([&] { static_cast<void>(process.stop()); });
  CHECK(eventually([&] { return process.state() == kStopping && clock.armed() == 1; }));
  clock.advance(20s - 1ns);
  CHECK(runs(process.pid()));
  clock.advance(1ns);
  stopper.join();
  CHECK(process.state() == kStopped);
  CHECK(process.stats().kills == 1);
  CHECK(process.stats().last_exit == "signal 9 (Killed)");
}

TEST_CASE("Process: a later stop with less patience brings the kill forward", "[swap][process]") {
  ProcessSupervisor supervisor;
  ProcessOptions options = child({"ignore", "15", "print", "up", "wait"}, ReadyOnLine{"up"});
  options.graceful_timeout = std::chrono::hours(1);
  Process process(supervisor, options);
  REQUIRE(process.ensure_ready().ok());
  CHECK_FALSE(process.try_stop().ok());
  CHECK(process.stop(Context::background().with_timeout(0s)).code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(process.stop(0s).ok());
  CHECK(process.stats().stops == 1);
}

TEST_CASE("Process: the signal that asks it to stop can be chosen", "[swap][process]") {
  ProcessSupervisor supervisor;
  ProcessOptions options = child({"ignore", "15", "print", "up", "wait"}, ReadyOnLine{"up"});
  options.stop_signal = SIGINT;
  Process process(supervisor, options);
  REQUIRE(process.ensure_ready().ok());
  CHECK(process.stop().ok());
  CHECK(process.stats().last_exit == "signal 2 (Interrupt)");
}

TEST_CASE("Process: a stop reaches what the child has started (P16, P18)", "[swap][process]") {
  ProcessSupervisor supervisor;
  Process process(supervisor,
                  child({"fork", "print", "grandchild", "print", "up", "wait", "done", "wait"}, ReadyOnLine{"up"}));
  REQUIRE(process.ensure_ready().ok());
  const int group = process.pid();
  CHECK(process.stop().ok());
  CHECK((kill(-group, 0) != 0 || !runs(group)));
  CHECK(process.pid() == 0);
}

TEST_CASE("Process: what a wrapper has started keeps the graceful time-out when the wrapper has gone (P17, P18)",
          "[swap][process]") {
  const Fifo go;
  ProcessSupervisor supervisor;
  ProcessOptions options =
      child({"fork", "finish", "15", go.path(), "print", "up", "wait", "done", "wait"}, ReadyOnLine{"up"});
  options.graceful_timeout = std::chrono::hours(1);
  Process process(supervisor, options);
  REQUIRE(process.ensure_ready().ok());
  const int wrapper = process.pid();
  CHECK_FALSE(process.try_stop().ok());
  CHECK(eventually([&] { return !runs(wrapper); }));
  CHECK(process.state() == kStopping);  // its child is at work still
  CHECK(go.release());
  CHECK(process.stop().ok());
  CHECK(texts(process.log()).back() == "finished");
  CHECK(process.stats().kills == 0);
}

TEST_CASE("Process: the number of a group is not given away while it may be signalled", "[swap][process]") {
  const bool uses_pidfd = GENERATE(true, false);
  ProcessSupervisor supervisor({.uses_pidfd = uses_pidfd});
  const Fifo go;
  Process process(supervisor,
                  child({"fork", "finish", "15", go.path(), "print", "up", "wait", "done", "wait"}, ReadyOnLine{"up"}));
  REQUIRE(process.ensure_ready().ok());
  const int pid = process.pid();
  CHECK_FALSE(process.try_stop().ok());
  CHECK(eventually([&] { return !process.stats().last_exit.empty(); }));
  CHECK(kill(pid, 0) == 0);  // has ended, and was not reaped
  CHECK(go.release());
  CHECK(process.stop().ok());
  CHECK(kill(pid, 0) != 0);
  CHECK(children() == 0);
}

TEST_CASE("Process: a program whose first thread has ended runs until its last one has", "[swap][process]") {
  ProcessSupervisor supervisor;
  ProcessOptions options = child({"fork", "ignore", "15", "print", "up", "thread", "done", "wait"}, ReadyOnLine{"up"});
  options.graceful_timeout = 50ms;
  Process process(supervisor, options);
  REQUIRE(process.ensure_ready().ok());
  CHECK(process.stop().ok());
  CHECK(process.stats().kills == 1);
}

TEST_CASE("Process: a host without descriptors hears of no end that has not come", "[swap][process]") {
  ProcessSupervisor supervisor;
  ProcessOptions options = child({"fork", "ignore", "15", "print", "up", "wait", "done", "wait"}, ReadyOnLine{"up"});
  options.graceful_timeout = 50ms;
  Process process(supervisor, options);
  REQUIRE(process.ensure_ready().ok());
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit few = before;
  few.rlim_cur = 100;
  REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
  std::vector<int> all;
  for (int one = 0; (one = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) all.push_back(one);
  REQUIRE_FALSE(all.empty());
  close(all.back());  // enough for the folder, not for a file in it
  all.pop_back();
  const absl::Status stopped = process.stop();
  for (const int one : all) close(one);
  setrlimit(RLIMIT_NOFILE, &before);
  CHECK(stopped.ok());
  CHECK(process.stats().kills == 1);
}

TEST_CASE("Process: what a wrapper has started and what minds no signal is killed", "[swap][process]") {
  ProcessSupervisor supervisor;
  ProcessOptions options = child({"fork", "ignore", "15", "print", "up", "wait", "done", "wait"}, ReadyOnLine{"up"});
  options.graceful_timeout = 50ms;
  Process process(supervisor, options);
  REQUIRE(process.ensure_ready().ok());
  CHECK(process.stop().ok());
  CHECK(process.stats().kills == 1);
  CHECK(process.stats().last_exit == "signal 15 (Terminated)");  // the wrapper's
}

TEST_CASE("Process: when a wrapper ends by itself, what it has started is killed", "[swap][process]") {
  const Fifo go;
  ProcessSupervisor supervisor;
  Process process(supervisor, child({"fork", "ignore", "15", "print", "up", "wait", "done", "await", go.path()},
                                    ReadyOnLine{"up"}));
  REQUIRE(process.ensure_ready().ok());
  const int group = process.pid();
  CHECK(go.release());
  CHECK(eventually([&] { return process.state() == kStopped; }));
  CHECK(eventually([&] { return process.pid() == 0; }));  // then nobody of the group runs
  CHECK_FALSE(runs(group));
  CHECK(process.stats().crashes == 1);
}

TEST_CASE("Process: one that ends by itself has stopped when the rest of its group has ended", "[swap][process]") {
  const bool uses_pidfd = GENERATE(true, false);
  const Fifo go;
  Recorder<ModelState> states;
  ProcessSupervisor supervisor({.uses_pidfd = uses_pidfd});
  ProcessOptions options =
      child({"fork", "ignore", "15", "pid", "print", "up", "wait", "done", "await", go.path(), "exit", "3"},
            ReadyOnLine{"up"});
  options.on_transition = [&](const ProcessTransition& step) { states.record(step.to); };
  Process process(supervisor, options);
  REQUIRE(process.ensure_ready().ok());
  const int member = number_after(process, "pid");
  Unkillable held(member);
  const bool holds = held.holds();
  CHECK(go.release());
  CHECK(eventually([&] { return process.stats().crashes == 1; }));
  if (holds) {
    CHECK(process.state() == kStopping);
    CHECK(process.try_stop().code() == absl::StatusCode::kUnavailable);
    CHECK(process.try_ensure_ready().code() == absl::StatusCode::kUnavailable);
    held.let_go();
    CHECK(process.ensure_ready().ok());  // once that has gone
    CHECK_FALSE(runs(member));
    CHECK(go.release());
  }
  CHECK(eventually([&] { return process.state() == kStopped; }));
  CHECK_FALSE(runs(member));
  CHECK(process.stats().stops == 0);
  CHECK(process.stats().kills == 0);
  CHECK(eventually([&] { return states.size() >= 4; }));
  CHECK(states.events()[2] == kStopping);
  CHECK(states.events()[3] == kStopped);
}

TEST_CASE("Process: a start whose child ends by itself leaves nobody of its group", "[swap][process]") {
  ProcessSupervisor supervisor;
  Process process(supervisor, child({"fork", "pid", "wait", "done", "exit", "3"}, ReadyOnLine{"up"}));
  CHECK(process.ensure_ready().code() == absl::StatusCode::kUnavailable);
  CHECK(process.stop().ok());  // waits for what is left
  const int member = number_after(process, "pid");
  CHECK((member == 0 || !runs(member)));
  CHECK(process.stats().start_failures == 1);
  CHECK(process.stats().stops == 0);
}

TEST_CASE("Process: what has left the group and keeps the pipes holds nothing up", "[swap][process]") {
  const Fifo go;
  ProcessSupervisor supervisor;
  Process process(supervisor,
                  child({"fork", "leave", "print", "up", "await", go.path(), "done", "wait"}, ReadyOnLine{"up"}));
  const std::size_t descriptors = open_descriptors();
  REQUIRE(process.ensure_ready().ok());
  CHECK(process.stop().ok());
  CHECK(process.state() == kStopped);
  CHECK(open_descriptors() == descriptors);
  CHECK(go.release());  // it was alive
}

TEST_CASE("Process: orphans of a group are reaped where the supervisor adopts them", "[swap][process]") {
  const Fifo go;
  ProcessSupervisor supervisor({.adopts_orphans = true});
  Process process(supervisor,
                  child({"fork", "fork-end", "print", "up", "wait", "done", "await", go.path()}, ReadyOnLine{"up"}));
  REQUIRE(process.ensure_ready().ok());
  CHECK(eventually([&] { return children() == 2; }));  // ours, and the orphan
  CHECK(process.stop().ok());
  CHECK(children() == 0);
  Process leader(supervisor, child({"fork", "fork-end", "done", "print", "up", "wait"}, ReadyOnLine{"up"}));
  REQUIRE(leader.ensure_ready().ok());
  CHECK(eventually([&] { return children() == 1; }));  // also while their leader runs
  CHECK(leader.stop().ok());
  prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);  // or the orphans of other tests come to this program, too
}
