// SPDX-License-Identifier: MIT

// A host that has no descriptors left, or may have no more.

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <sys/resource.h>

#include "support/catch.hpp"
#include "support/status_text.hpp"
#include "swap/process_support.hpp"

using namespace penstock;
using namespace penstock::testing;
using namespace std::chrono_literals;
using enum penstock::ModelState;

namespace {

/// How many descriptors this program may have, for a scope.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t most) {
    getrlimit(RLIMIT_NOFILE, &before_);
    rlimit few = before_;
    few.rlim_cur = most;
    setrlimit(RLIMIT_NOFILE, &few);
  }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;
  ~DescriptorLimit() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

/// All descriptors that there may be, but for `free` of them, for a scope.
class Occupied {
 public:
  explicit Occupied(std::size_t free) {
    for (int one = 0; (one = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) all_.push_back(one);
    for (; free > 0 && !all_.empty(); --free) {
      close(all_.back());
      all_.pop_back();
    }
  }
  Occupied(const Occupied&) = delete;
  Occupied& operator=(const Occupied&) = delete;
  ~Occupied() {
    for (const int one : all_) close(one);
  }

 private:
  std::vector<int> all_;
};

/// The /proc/.../status of the thread of that name.
int status_of_thread(const std::string& name) {
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string read_name;
    std::getline(std::ifstream(task.path() / "comm"), read_name);
    if (read_name == name) return open((task.path() / "status").c_str(), O_RDONLY | O_CLOEXEC);
  }
  return -1;
}

/// How often that thread has gone to sleep.
long sleeps_of(int status) {
  char text[8192] = {};
  if (pread(status, text, sizeof(text) - 1, 0) <= 0) return -1;
  const std::string all(text);
  const std::string key = "\nvoluntary_ctxt_switches:";
  const std::size_t at = all.find(key);
  return at == std::string::npos ? -1 : std::atol(all.c_str() + at + key.size());
}

}  // namespace

TEST_CASE("Process: a start that runs out of descriptors half-way fails, and leaves none", "[swap][process]") {
  ProcessSupervisor supervisor;
  Process process(supervisor, server());
  const std::size_t descriptors = open_descriptors();
  std::vector<bool> started;
  for (std::size_t free = 0; free < 8; ++free) {
    absl::Status start;
    absl::Status stop;
    {
      const DescriptorLimit limit(100);
      const Occupied occupied(free);
      start = process.ensure_ready();
      stop = process.stop();
    }
    CAPTURE(free, text_of(start));
    CHECK((start.ok() || start.code() == absl::StatusCode::kResourceExhausted));
    CHECK(stop.ok());
    CHECK(eventually([&] { return process.pid() == 0; }));
    CHECK(open_descriptors() == descriptors);
    CHECK(children() == 0);
    started.push_back(start.ok());
  }
  CHECK(started == std::vector<bool>{false, false, false, false, true, true, true, true});  // four ends of two pipes
}

TEST_CASE("Process: a host that may have fewer descriptors than it has is watched, and does not spin",
          "[swap][process]") {
  ProcessSupervisor supervisor({.name = "few"});
  Process process(supervisor, server());
  Process second(supervisor, server());
  REQUIRE(process.ensure_ready().ok());
  REQUIRE(second.ensure_ready().ok());
  const int status = status_of_thread("few/watch");
  REQUIRE(status >= 0);
  {
    const DescriptorLimit limit(3);
    const long before = sleeps_of(status);
    CHECK(process.stop().ok());
    CHECK(eventually([&] { return sleeps_of(status) >= before + 10; }));
    kill(second.pid(), SIGKILL);
    CHECK(eventually([&] { return second.state() == kStopped; }));
  }
  close(status);
  CHECK(process.ensure_ready().ok());
}
