// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Child processes for tests, and what of them is left.

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "penstock/core/task.hpp"
#include "penstock/swap/process.hpp"
#include "support/eventually.hpp"

namespace penstock::testing {

/// What this program does about a signal, set for a scope.
class Disposition {
 public:
  Disposition(int signal, void (*handler)(int)) : signal_(signal), before_(std::signal(signal, handler)) {}
  Disposition(const Disposition&) = delete;
  Disposition& operator=(const Disposition&) = delete;
  ~Disposition() { std::signal(signal_, before_); }

 private:
  int signal_;
  void (*before_)(int);
};

/// A process that does what `does` says (support/child.cpp), named "model".
inline ProcessOptions child(std::vector<std::string> does, ReadinessProbe ready = ReadyAtOnce{}) {
  ProcessOptions options;
  options.name = "model";
  options.arguments = {PENSTOCK_TEST_CHILD};
  options.arguments.insert(options.arguments.end(), does.begin(), does.end());
  options.ready = std::move(ready);
  options.probe_interval = std::chrono::milliseconds(20);
  return options;
}

/// One that says "up" and then waits for ever; ready when it has said so.
inline ProcessOptions server() { return child({"print", "up", "wait"}, ReadyOnLine{"up"}); }

/// One that is never ready.
inline ProcessOptions sleeper() { return child({"wait"}, ReadyOnLine{"up"}); }

/// A start of `process`, waited for when this returns.
inline JoinHandle<absl::Status> started(Process& process) {
  const auto start = [](Process& subject) -> Task<absl::Status> { co_return co_await subject.async_ensure_ready(); };
  return spawn(Executor::inline_executor(), start(process));
}

/// Where a child waits for the test.
class Fifo {
 public:
  Fifo() {
    folder_ = (std::filesystem::temp_directory_path() / "penstock-XXXXXX").string();
    if (mkdtemp(folder_.data()) == nullptr || mkfifo(path().c_str(), 0600) != 0) {
      throw std::system_error(errno, std::generic_category(), folder_);
    }
  }
  Fifo(const Fifo&) = delete;
  Fifo& operator=(const Fifo&) = delete;
  ~Fifo() {
    unlink(path().c_str());
    rmdir(folder_.c_str());
  }

  [[nodiscard]] std::string path() const { return folder_ + "/fifo"; }
  [[nodiscard]] const std::string& folder() const { return folder_; }

  /// Lets go on who waits. Returns whether somebody did.
  [[nodiscard]] bool try_release() const {
    const Disposition keep(SIGPIPE, SIG_IGN);  // who waits may end before the byte is there
    const int fifo = open(path().c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fifo < 0) return false;
    const bool written = write(fifo, "x", 1) == 1;
    close(fifo);
    return written;
  }
  /// The same, as soon as somebody waits.
  [[nodiscard]] bool release() const {
    return eventually([&] { return try_release(); });
  }

 private:
  std::string folder_;
};

inline std::size_t open_descriptors() {
  const std::filesystem::directory_iterator folder("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(folder), end(folder)));
}

/// The children of this process, those included that have ended and were not reaped.
inline std::size_t children() {
  std::size_t count = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "children");
    for (int pid = 0; file >> pid;) ++count;
  }
  return count;
}

/// Whether a process of that number runs; one that has ended and was not reaped does not.
inline bool runs(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(file, text)) return false;
  const std::size_t name_end = text.rfind(')');
  return name_end != std::string::npos && text[name_end + 2] != 'Z' && text[name_end + 2] != 'X';
}

/// A port of the loopback that nobody used a moment ago.
inline std::uint16_t free_port() {
  const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  const bool bound = bind(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
                     getsockname(server, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  close(server);
  return bound ? ntohs(address.sin_port) : std::uint16_t{0};
}

inline std::vector<std::string> texts(const std::vector<ProcessLine>& lines) {
  std::vector<std::string> texts;
  for (const ProcessLine& line : lines) texts.push_back(line.text);
  return texts;
}

/// The number behind the first line that begins with `word`, or 0.
inline int number_after(const Process& process, const std::string& word) {
  for (const ProcessLine& line : process.log()) {
    if (line.text.rfind(word + " ", 0) == 0) return std::atoi(line.text.c_str() + word.size() + 1);
  }
  return 0;
}

}  // namespace penstock::testing
