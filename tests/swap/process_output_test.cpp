// SPDX-License-Identifier: MIT

// What children write: kept, told, and never a reason for them to wait.

#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>

#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/recorder.hpp"
#include "support/status_text.hpp"
#include "support/threads.hpp"
#include "swap/process_support.hpp"

using namespace penstock;
using namespace penstock::testing;
using namespace std::chrono_literals;
using enum penstock::ModelState;

namespace {

bool has_ended(const Process& process) { return process.state() == kStopped && process.pid() == 0; }

}  // namespace

TEST_CASE("Process: output and errors are kept by lines, also those of a child that has ended", "[swap][process]") {
  ProcessSupervisor supervisor;
  Process process(supervisor, child({"part", "loa", "part", "ding", "print", " weights", "print", "", "error",
                                     "no GPU\r", "part", "no end"}));
  REQUIRE(process.ensure_ready().ok());
  REQUIRE(eventually([&] { return has_ended(process); }));
  std::vector<std::string> output;
  std::vector<std::string> errors;
  for (const ProcessLine& line : process.log()) {
    (line.stream == ProcessStream::kOutput ? output : errors).push_back(line.text);
  }
  CHECK(output == std::vector<std::string>{"loading weights", "", "no end"});
  CHECK(errors == std::vector<std::string>{"no GPU"});
  CHECK(process.log(1).size() == 1);
  CHECK(process.log(0).empty());
  CHECK(process.stats().log_lines == 4);
  CHECK(process.stats().log_bytes == 31);
}

TEST_CASE("Process: the last lines are kept, as many as there is room for", "[swap][process]") {
  ProcessSupervisor supervisor;
  ProcessOptions options = child({"print", "first", "flood", "300", "print", "last"});
  options.log_bytes = 4096;
  options.line_bytes = 1000;
  Process process(supervisor, options);
  REQUIRE(process.ensure_ready().ok());
  REQUIRE(eventually([&] { return has_ended(process); }));
  const std::vector<std::string> lines = texts(process.log());
  REQUIRE(lines.size() == 5);
  CHECK(lines.back() == "last");
  for (std::size_t i = 0; i < 4; ++i) CHECK(lines[i] == std::string(999, 'x'));
  CHECK(process.stats().log_lines == 302);
}

TEST_CASE("Process: a line that is too long is cut into several", "[swap][process]") {
  ProcessSupervisor supervisor;
  ProcessOptions options =
      child({"print", std::string(16, 'a'), "print", std::string(40, 'b'), "part", std::string(16, 'c'), "print", ""});
  options.line_bytes = 16;
  Process process(supervisor, options);
  REQUIRE(process.ensure_ready().ok());
  REQUIRE(eventually([&] { return has_ended(process); }));
  CHECK(texts(process.log()) == std::vector<std::string>{std::string(16, 'a'), std::string(16, 'b'),
                                                         std::string(16, 'b'), std::string(8, 'b'),
                                                         std::string(16, 'c')});
}

TEST_CASE("Process: a child that writes without end waits for nobody, nor does anybody for it", "[swap][process]") {
  Gate gate;
  ProcessSupervisor supervisor;
  std::atomic<int> heard{0};
  ProcessOptions options = child({"flood", "20000", "print", "up", "wait"}, ReadyOnLine{"up"});
  options.on_line = [&](const ProcessLine&) {
    if (++heard == 1) gate.pass();  // stuck, as a log on a full disk
  };
  {
    Process loud(supervisor, options);
    Process other(supervisor, server());
    CHECK(loud.ensure_ready().ok());  // with 20 MB written
    CHECK(other.ensure_ready().ok());
    CHECK(loud.stats().log_lines == 20001);
    gate.open();
    CHECK(eventually([&] { return loud.stats().missed_lines + static_cast<std::uint64_t>(heard) == 20001; }));
    CHECK(loud.stats().missed_lines > 0);
  }
}

TEST_CASE("Process: a child that closes its output lives on, and is watched", "[swap][process]") {
  const Fifo go;
  ProcessSupervisor supervisor;
  Process process(supervisor, child({"print", "up", "close", "await", go.path(), "exit", "3"}, ReadyOnLine{"up"}));
  const std::size_t descriptors = open_descriptors();
  REQUIRE(process.ensure_ready().ok());
  CHECK(eventually([&] { return open_descriptors() <= descriptors + 1; }));  // that of the child is left
  CHECK(process.state() == kReady);
  CHECK(go.release());
  CHECK(eventually([&] { return has_ended(process); }));
  CHECK(process.stats().last_exit == "exit status 3");
}

TEST_CASE("Process: a listener hears each line in order, and the destructor tells the rest", "[swap][process]") {
  Recorder<std::string> heard;
  ProcessSupervisor supervisor;
  ProcessOptions options = child({"print", "1", "print", "2", "error", "3", "print", "4"});
  options.on_line = [&](const ProcessLine& line) {
    heard.record(line.text);
    if (line.text == "2") throw std::runtime_error("a listener that fails");
  };
  {
    Process process(supervisor, options);
    REQUIRE(process.ensure_ready().ok());
    REQUIRE(eventually([&] { return has_ended(process) && process.stats().caught_exceptions == 1; }));
  }
  std::vector<std::string> output;
  for (const std::string& line : heard.events()) {
    if (line != "3") output.push_back(line);
  }
  CHECK(output == std::vector<std::string>{"1", "2", "4"});
  CHECK(heard.contains("3"));
}

TEST_CASE("Process: a listener may call the process, and wait in it", "[swap][process]") {
  ProcessSupervisor supervisor;
  std::unique_ptr<Process> process;
  std::atomic<int> restarts{0};
  ProcessOptions options = server();
  options.on_transition = [&](const ProcessTransition& step) {
    if (step.to == kReady && restarts == 0 && process->stop().ok()) ++restarts;
    if (step.to == kStopped && restarts == 1 && process->ensure_ready().ok()) ++restarts;
  };
  process = std::make_unique<Process>(supervisor, options);
  static_cast<void>(process->try_ensure_ready());
  CHECK(eventually([&] { return restarts == 2; }));
  CHECK(process->state() == kReady);
}

TEST_CASE("Process: a listener may destroy the process", "[swap][process]") {
  ProcessSupervisor supervisor;
  std::unique_ptr<Process> process;
  std::atomic<bool> is_gone{false};
  ProcessOptions options = server();
  options.on_transition = [&](const ProcessTransition& step) {
    if (step.to != kReady) return;
    process.reset();
    is_gone = true;
  };
  process = std::make_unique<Process>(supervisor, options);
  static_cast<void>(process->try_ensure_ready());
  CHECK(eventually([&] { return is_gone.load(); }));
  CHECK(eventually([&] { return supervisor.size() == 0; }));
  CHECK(children() == 0);
}

TEST_CASE("Process: a listener that has destroyed the process is not called any more", "[swap][process]") {
  ProcessSupervisor supervisor({.name = "mute"});
  std::unique_ptr<Process> process;
  std::atomic<bool> is_gone{false};
  std::atomic<int> heard_after{0};
  ProcessOptions options = server();
  options.on_line = [&](const ProcessLine&) { heard_after += is_gone ? 1 : 0; };
  options.on_transition = [&](const ProcessTransition& step) {
    heard_after += is_gone ? 1 : 0;
    if (step.to != kReady) return;
    process.reset();
    is_gone = true;
  };
  process = std::make_unique<Process>(supervisor, options);
  static_cast<void>(process->try_ensure_ready());
  REQUIRE(eventually([&] { return is_gone.load(); }));
  // On the same thread, later: another one's listener.
  Process other(supervisor, server());
  CHECK(other.ensure_ready().ok());
  CHECK(other.stop().ok());
  CHECK(heard_after == 0);
}

TEST_CASE("Process: the supervisor waits for a listener that has destroyed its process", "[swap][process]") {
  auto supervisor = std::make_unique<ProcessSupervisor>(ProcessSupervisorOptions{.name = "patient"});
  std::unique_ptr<Process> process;
  Gate gate;
  std::atomic<bool> has_returned{false};
  ProcessOptions options = server();
  options.on_transition = [&](const ProcessTransition& step) {
    if (step.to != kReady) return;
    process.reset();
    gate.pass();
    has_returned = true;
  };
  process = std::make_unique<Process>(*supervisor, options);
  static_cast<void>(process->try_ensure_ready());
  REQUIRE(gate.await(1));
  std::thread opener([&] {
    static_cast<void>(eventually([] { return threads_of("patient/watch") == 0; }));
    gate.open();
  });
  supervisor.reset();
  CHECK(has_returned);
  opener.join();
}

TEST_CASE("Process: a listener that is too slow misses the oldest transitions", "[swap][process]") {
  Gate gate;
  std::atomic<int> heard{0};
  ProcessSupervisor supervisor;
  ProcessOptions options = server();
  options.on_transition = [&](const ProcessTransition&) {
    if (++heard == 1) gate.pass();
  };
  {
    Process process(supervisor, options);
    for (int i = 0; i < 20; ++i) {
      CHECK(process.ensure_ready().ok());
      CHECK(process.stop().ok());
    }
    CHECK(process.stats().missed_transitions == 80 - 1 - 64);
    gate.open();
    CHECK(eventually([&] { return heard == 1 + 64; }));  // the first, and those kept
  }
  CHECK(heard == 1 + 64 + 1);  // and the shutdown
}
