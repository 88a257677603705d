// SPDX-License-Identifier: MIT

// A program for tests of child processes: does what its arguments say, one after the other, and exits with 0.
//
//   print TEXT, part TEXT, error TEXT   a line, or a piece of one, to standard output; a line to standard error
//   exit N, raise N                     ends, by an exit status or a signal
//   ignore N                            does not mind signal N
//   finish N FIFO                       upon signal N waits for a byte from FIFO, prints "finished" and exits with 0
//   wait                                for ever
//   thread                              for ever, in a second thread; the first one ends
//   await FIFO                          until somebody writes to it, or closes it
//   fork ... done                       has a child of its own do what stands between; "fork-end": and ends itself then
//   close                               its standard output and error
//   leave                               its group and session, for ones of its own
//   pid                                 prints "pid N", its number
//   descriptors, environment NAME, folder, signals, ids, input
//                                       prints what it was given
//   flood N                             N lines of 1000 bytes
//   listen PORT, serve PORT STATUS      accepts connections, for ever; answers each request with that status

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

const char* finish_fifo = nullptr;

void await_byte(const char* path) {
  const int fifo = open(path, O_RDONLY | O_CLOEXEC);
  char byte = 0;
  while (fifo >= 0 && read(fifo, &byte, 1) < 0 && errno == EINTR) {
  }
}

void finish(int /*signal*/) {
  await_byte(finish_fifo);
  constexpr char kText[] = "finished\n";
  if (write(STDOUT_FILENO, kText, sizeof(kText) - 1) < 0) _exit(1);
  _exit(0);
}

void print_descriptors() {
  std::vector<int> open_ones;
  DIR* const folder = opendir("/proc/self/fd");
  while (const dirent* const entry = readdir(folder)) {
    const int number = std::atoi(entry->d_name);
    if (entry->d_name[0] != '.' && number != dirfd(folder)) open_ones.push_back(number);
  }
  closedir(folder);
  std::sort(open_ones.begin(), open_ones.end());
  for (const int number : open_ones) std::printf("%d ", number);
  std::puts("");
}

void print_signals() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("SigBlk", 0) == 0 || line.rfind("SigIgn", 0) == 0) std::puts(line.c_str());
  }
}

[[noreturn]] void serve(int port, const char* status) {
  const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 || listen(server, 16) != 0) {
    std::perror("listen");
    _exit(9);
  }
  for (;;) {
    const int peer = accept(server, nullptr, nullptr);
    if (status != nullptr) {
      char request[1024];
      const ssize_t size = read(peer, request, sizeof(request));
      std::printf("asked: %.*s\n", static_cast<int>(std::max<ssize_t>(0, size)), request);
      std::fflush(stdout);
      const std::string answer = std::string("HTTP/1.1 ") + status + " X\r\nContent-Length: 0\r\n\r\n";
      if (write(peer, answer.data(), answer.size()) < 0) std::perror("write");
    }
    close(peer);
  }
}

}  // namespace

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    const std::string what = arguments[i];
    const auto next = [&] { return i + 1 < count ? arguments[++i] : arguments[count - 1]; };
    if (what == "print") {
      std::puts(next());
    } else if (what == "part") {
      std::fputs(next(), stdout);
    } else if (what == "error") {
      std::fprintf(stderr, "%s\n", next());
    } else if (what == "exit") {
      std::exit(std::atoi(next()));
    } else if (what == "raise") {
      std::fflush(stdout);
      raise(std::atoi(next()));
    } else if (what == "ignore") {
      std::signal(std::atoi(next()), SIG_IGN);
    } else if (what == "finish") {
      const int signal = std::atoi(next());
      finish_fifo = next();
      std::signal(signal, finish);
    } else if (what == "wait") {
      std::fflush(stdout);
      for (;;) pause();
    } else if (what == "thread") {
      std::fflush(stdout);
      std::thread([] {
        for (;;) pause();
      }).detach();
      pthread_exit(nullptr);
    } else if (what == "await") {
      std::fflush(stdout);
      await_byte(next());
    } else if (what == "fork" || what == "fork-end") {
      std::fflush(stdout);
      const bool is_child = fork() == 0;
      if (is_child) continue;
      if (what == "fork-end") _exit(0);
      while (i + 1 < count && std::strcmp(arguments[++i], "done") != 0) {
      }
    } else if (what == "done") {
      std::fflush(stdout);
      _exit(0);
    } else if (what == "close") {
      close(STDOUT_FILENO);
      close(STDERR_FILENO);
    } else if (what == "leave") {
      setsid();
    } else if (what == "pid") {
      std::printf("pid %d\n", getpid());
    } else if (what == "descriptors") {
      print_descriptors();
    } else if (what == "environment") {
      const char* const name = next();
      const char* const value = std::getenv(name);
      std::printf("%s=%s\n", name, value != nullptr ? value : "(none)");
    } else if (what == "folder") {
      char path[4096];
      std::puts(getcwd(path, sizeof(path)));
    } else if (what == "signals") {
      print_signals();
    } else if (what == "ids") {
      std::printf("ids %d %d %d\n", getpid() - getpgrp(), getpgrp() - getsid(0), getppid());
    } else if (what == "input") {
      char byte = 0;
      std::printf("input %zd\n", read(STDIN_FILENO, &byte, 1));
    } else if (what == "flood") {
      const std::string line(999, 'x');
      for (long left = std::atol(next()); left > 0; --left) std::puts(line.c_str());
    } else if (what == "listen") {
      serve(std::atoi(next()), nullptr);
    } else if (what == "serve") {
      const int port = std::atoi(next());
      serve(port, next());
    } else {
      std::fprintf(stderr, "unknown: %s\n", what.c_str());
      return 99;
    }
    std::fflush(stdout);
  }
  return 0;
}
