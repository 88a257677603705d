// SPDX-License-Identifier: MIT
// The program penstock-decisions, as who calls it sees it.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "penstock/swap/recorded_scheduler.hpp"
#include "support/catch.hpp"
#include "swap/decision_support.hpp"

namespace {

using namespace penstock;
using namespace penstock::testing;
using namespace std::chrono_literals;

/// A file of its own, which goes with it.
class LogFile {
 public:
  explicit LogFile(std::span<const std::byte> log) { write(log); }
  ~LogFile() { std::filesystem::remove(path_); }
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  void write(std::span<const std::byte> log) const {
    std::ofstream file(path_, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(log.data()), static_cast<std::streamsize>(log.size()));
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  const std::string path_ =
      (std::filesystem::temp_directory_path() / ("penstock_decisions_" + std::to_string(getpid()))).string();
};

struct Outcome {
  int status = -1;
  std::string out = {};
  std::string errors = {};
};

/// What comes through a pipe, and the status with which the command ends.
std::string read_from(const std::string& command, int& status) {
  FILE* const pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string text;
  char part[4096];
  for (std::size_t size = 0; (size = std::fread(part, 1, sizeof(part), pipe)) != 0;) text.append(part, size);
  const int ended = pclose(pipe);
  status = WIFEXITED(ended) ? WEXITSTATUS(ended) : -1;
  return text;
}

/// Runs the program; the arguments are words of a shell.
Outcome run(const std::string& arguments) {
  const std::string command = std::string("'") + PENSTOCK_DECISIONS_PROGRAM + "' " + arguments;
  Outcome outcome;
  outcome.out = read_from(command + " 2>/dev/null", outcome.status);
  outcome.errors = read_from(command + " 2>&1 >/dev/null", outcome.status);
  return outcome;
}

std::size_t lines_with(std::string_view text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

/// A request that waits for a swap, one for the other model, and both ends.
std::vector<std::byte> small_log() {
  RecordedScheduler scheduler({.name = "gpu0", .models = {{.name = "llama"}, {.name = "qwen"}}});
  const ModelId llama = *scheduler.scheduler().models().find("llama");
  const ModelId qwen = *scheduler.scheduler().models().find("qwen");
  SwapActions out;
  const TicketId first = scheduler.on_request({.model = llama}, TimePoint(5s), out);
  scheduler.on_request({.model = qwen, .priority = 3}, TimePoint(6500ms), out);
  scheduler.on_model_state(llama, ModelState::kReady, TimePoint(15s), out);
  scheduler.on_swap_done(SwapId{1}, true, TimePoint(15s), out);
  scheduler.on_serve_done(first, TimePoint(19s), out);
  return scheduler.log().bytes();
}

/// Many events in small blocks.
std::vector<std::byte> long_log() {
  std::vector<std::byte> file;
  DecisionMaker maker(11);
  DecisionLog log(log_options(), {.capacity_bytes = 4096, .spill = [&](std::span<const std::byte> bytes) {
                                    file.insert(file.end(), bytes.begin(), bytes.end());
                                  }});
  for (std::uint64_t i = 0; i != 200; ++i) record(log, maker.make(i));
  log.flush();
  return file;
}

}  // namespace

TEST_CASE("penstock-decisions: it prints each event, and what it brought about", "[swap][decision_log]") {
  const LogFile file(small_log());
  const Outcome outcome = run(file.path());
  CHECK(outcome.status == 0);
  CHECK(outcome.errors.empty());
  CHECK_THAT(outcome.out, StartsWith("scheduler 'gpu0', 2 models, options "));
  const std::string lines = outcome.out.substr(outcome.out.find('\n') + 1);
  CHECK(lines ==
        "#0 +0.000000000 s  request t0.1 for 'llama'\n"
        "    start swap 1 to 'llama', stopping nothing (requested)\n"
        "#1 +1.500000000 s  request t1.1 for 'qwen', priority 3\n"
        "#2 +10.000000000 s  model_state 'llama' is ready\n"
        "#3 +10.000000000 s  swap_done swap 1 succeeded\n"
        "    grant t0.1 of 'llama' (swapped)\n"
        "#4 +14.000000000 s  serve_done t0.1\n"
        "    start swap 2 to 'qwen', stopping 'llama' (drained)\n");
}

TEST_CASE("penstock-decisions: it prints a range, a model or a summary", "[swap][decision_log]") {
  const LogFile file(small_log());
  const Outcome range = run("--from=1 --until=3 " + file.path());
  CHECK(lines_with(range.out, "#") == 2);
  CHECK_THAT(range.out, ContainsSubstring("#1 +1.500000000 s  request"));
  CHECK_THAT(range.out, ContainsSubstring("#2 "));

  const Outcome model = run("--model=qwen " + file.path());
  CHECK(model.status == 0);
  CHECK(lines_with(model.out, "#") == 2);
  CHECK_THAT(model.out, ContainsSubstring("#1 "));
  CHECK_THAT(model.out, ContainsSubstring("#4 "));

  const Outcome summary = run("--summary " + file.path());
  CHECK(summary.status == 0);
  CHECK(lines_with(summary.out, "#") == 0);
  for (const std::string_view line : {"2  request\n", "1  model_state\n", "1  swap_done\n", "1  serve_done\n",
                                      "2  swaps started\n", "1  granted: swapped\n"}) {
    CHECK_THAT(summary.out, ContainsSubstring(" " + std::string(line)));
  }
  CHECK_THAT(run("--summary --model=qwen " + file.path()).out, ContainsSubstring(" 1  swaps started\n"));
}

TEST_CASE("penstock-decisions: a model is found at any place of a list", "[swap][decision_log]") {
  SwapSchedulerOptions options;
  std::vector<ModelId> all;
  for (std::uint32_t i = 0; i != 20; ++i) {
    options.models.push_back({.name = "m" + std::to_string(10 + i)});
    all.push_back(ModelId{i});
  }
  RecordedScheduler scheduler(options);
  SwapActions out;
  scheduler.on_unload(all, 1s, TimePoint(1s), out);
  const LogFile file(scheduler.log().bytes());
  CHECK(lines_with(run("--model=m29 " + file.path()).out, "#0 ") == 1);
  const Outcome unknown = run("--model=m2 " + file.path());
  CHECK(unknown.status == 1);
  CHECK(unknown.out.empty());
  CHECK(unknown.errors == "penstock-decisions: '" + file.path() + "': no model 'm2' in this log\n");
}

TEST_CASE("penstock-decisions: it says how it is called", "[swap][decision_log]") {
  for (const std::string_view option : {"--help", "-h", "--from=1 --help"}) {
    const Outcome help = run(std::string(option));
    CHECK(help.status == 0);
    CHECK(help.errors.empty());
    CHECK_THAT(help.out, StartsWith("usage: penstock-decisions "));
  }
  const auto refused = [](const std::string& arguments, const std::string& why) {
    CAPTURE(arguments);
    const Outcome outcome = run(arguments);
    CHECK(outcome.status == 64);
    CHECK(outcome.out.empty());
    CHECK_THAT(outcome.errors, StartsWith("penstock-decisions: " + why + "\nusage: penstock-decisions "));
  };
  refused("", "FILE is missing");
  refused("--summary", "FILE is missing");
  refused("--frm=1 x", "unknown option '--frm=1'");
  refused("--from=one x", "'--from=one': not a number");
  refused("--until= x", "'--until=': not a number");
  refused("--until=-1 x", "'--until=-1': not a number");
  refused("x y", "one FILE, and 'y' is another");
}

TEST_CASE("penstock-decisions: what is no log, or of another version, is an error", "[swap][decision_log]") {
  const auto error = [](const std::string& file, const std::string& what) {
    CAPTURE(what);
    const Outcome outcome = run("'" + file + "'");
    CHECK(outcome.status == 1);
    CHECK(outcome.out.empty());
    CHECK(outcome.errors == "penstock-decisions: " + what + "\n");
  };
  error("/nowhere/log", "cannot read '/nowhere/log': No such file or directory");
  error("/", "cannot read '/': Is a directory");

  std::vector<std::byte> log = small_log();
  const LogFile file({});
  const std::string name = "'" + file.path() + "': ";
  error(file.path(), name + "decision log: empty");
  file.write(std::as_bytes(std::span("hello there, this is no log of decisions")));
  error(file.path(), name + "decision log: none: 41 bytes that do not begin with 'PENSTKDL'");
  file.write(std::span(log).first(20));
  error(file.path(), name + "decision log: byte 20: the log ends within its header");
  file.write(std::span(log).first(40));
  error(file.path(), name + "decision log: byte 40: the log ends within its header");
  log[8] = std::byte{7};
  file.write(log);
  error(file.path(), name + "decision log: version 7, and 1 is known");
  log[8] = std::byte{1};
  log[30] ^= std::byte{1};
  file.write(log);
  error(file.path(), name + "decision log: byte 16: the header's checksum is wrong");
}

TEST_CASE("penstock-decisions: of a damaged log it prints what is whole, and says where it is not",
          "[swap][decision_log]") {
  std::vector<std::byte> log = long_log();
  const LogFile file(log);
  CHECK(run(file.path()).status == 0);
  CHECK(lines_with(run(file.path()).out, "#") == 200);

  file.write(std::span(log).first(log.size() - 5));
  const Outcome cut = run(file.path());
  CHECK(cut.status == 1);
  CHECK_THAT(cut.out, ContainsSubstring("#0 "));
  CHECK_THAT(cut.out, ContainsSubstring(": the log ends within a block\n"));

  log[log.size() / 2] ^= std::byte{4};
  file.write(log);
  const Outcome corrupt = run(file.path());
  CHECK(corrupt.status == 1);
  CHECK_THAT(corrupt.out, ContainsSubstring("decision log: byte "));
  CHECK_THAT(corrupt.out, ContainsSubstring("#0 "));
  CHECK_THAT(corrupt.out, ContainsSubstring("#199 "));  // it goes on behind the damage
  CHECK(lines_with(corrupt.out, "#") < 200);
  CHECK(run("--summary " + file.path()).status == 1);
}

TEST_CASE("penstock-decisions: a name in a log cannot steer a terminal or forge a line", "[swap][decision_log]") {
  RecordedScheduler scheduler({.name = "a\x1b[2Jb", .models = {{.name = "x\n#9 forged"}}});
  SwapActions out;
  scheduler.on_request({.model = ModelId{0}}, TimePoint(1s), out);
  const LogFile file(scheduler.log().bytes());
  const Outcome outcome = run(file.path());
  CHECK_THAT(outcome.out, StartsWith("scheduler 'a?[2Jb', 1 models"));
  CHECK_THAT(outcome.out, ContainsSubstring("'x?#9 forged'"));
  CHECK(lines_with(outcome.out, "\n#") == 1);
}

TEST_CASE("penstock-decisions: output that cannot be written is an error", "[swap][decision_log]") {
  if (!std::filesystem::exists("/dev/full")) return;
  const LogFile file(small_log());
  int status = 0;
  const std::string errors =
      read_from(std::string("'") + PENSTOCK_DECISIONS_PROGRAM + "' " + file.path() + " 2>&1 >/dev/full", status);
  CHECK(status == 1);
  CHECK(errors == "penstock-decisions: cannot write its output\n");
}
