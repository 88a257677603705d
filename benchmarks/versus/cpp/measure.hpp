// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What every C++ program of the comparison shares: its arguments, the clocks, and the one line that it prints.
/// ../README.md describes that line for programs in other languages.

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <sched.h>
#include <sys/resource.h>

namespace versus {

/// What travels: 8 or 64 bytes whose first and last word are checked at the other end.
template <std::size_t Bytes>
struct Value {
  std::uint64_t words[Bytes / 8];

  static Value of(std::uint64_t number) {
    Value value{};
    value.words[0] = number;
    value.words[Bytes / 8 - 1] = number;
    return value;
  }
  [[nodiscard]] std::uint64_t sum() const { return words[0] + words[Bytes / 8 - 1]; }
};

/// What `sum()` comes to over the values of 0, 1, ... `count` - 1.
inline std::uint64_t sum_of_first(std::uint64_t count) { return count * (count - 1); }

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}
inline void check(bool condition, const char* what) {
  if (!condition) fail(what);
}

/// `name=value` for each; the driver names those that the workload reads.
struct Arguments {
  std::string workload;
  std::map<std::string, std::size_t, std::less<>> numbers = {
      {"batch", 64},     {"bytes", 8},      {"capacity", 100}, {"channels", 2}, {"consumers", 1},
      {"gap_us", 50},    {"items", 100000}, {"models", 10},    {"ns", 1000},    {"pinned", 0},
      {"processors", 2}, {"producers", 1},  {"queued", 10},    {"workers", 2}};

  std::size_t operator[](std::string_view name) const { return numbers.find(name)->second; }

  static Arguments parse(int argc, char** argv) {
    Arguments arguments;
    for (int i = 1; i < argc; ++i) {
      const std::string text = argv[i];
      const std::size_t equals = text.find('=');
      const std::string name = text.substr(0, equals);
      const std::string value = equals == std::string::npos ? "" : text.substr(equals + 1);
      if (name == "workload") {
        arguments.workload = value;
      } else if (const auto found = arguments.numbers.find(name); found != arguments.numbers.end()) {
        found->second = std::strtoull(value.c_str(), nullptr, 10);
      } else {
        std::fprintf(stderr, "unknown argument '%s'\n", text.c_str());
        std::exit(64);
      }
    }
    return arguments;
  }
};

inline std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

/// What the process has used so far.
struct Usage {
  double cpu_ns = 0;
  double switches = 0;  ///< voluntary ones: a thread went to sleep

  static Usage now() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto ns = [](const timeval& time) {
      return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_usec) * 1e3;
    };
    return {ns(usage.ru_utime) + ns(usage.ru_stime), static_cast<double>(usage.ru_nvcsw)};
  }
};

/// What a workload came to; the times are of all items.
struct Figures {
  std::size_t items = 0;
  double wall_ns = 0;
  double cpu_ns = 0;
  double switches = 0;
  std::vector<std::pair<const char*, double>> more = {};  ///< of its own, printed as they are

  void print() const {
    const double count = static_cast<double>(items);
    std::printf("items=%zu wall_ns=%.2f cpu_ns=%.2f switches=%.5f", items, wall_ns / count, cpu_ns / count,
                switches / count);
    for (const auto& [name, value] : more) std::printf(" %s=%.2f", name, value);
    std::printf("\n");
  }

  /// Adds the middle and the 99th percentile of `latencies`.
  void add_quantiles(std::vector<std::uint64_t> latencies);
};

/// From the first begin to the last end of those who work; each stamps its own.
struct Span {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

inline Figures figures_of(std::size_t items, const std::vector<Span>& spans, const Usage& before, const Usage& after) {
  std::uint64_t begin = spans.front().begin;
  std::uint64_t end = 0;
  for (const Span& span : spans) {
    begin = std::min(begin, span.begin);
    end = std::max(end, span.end);
  }
  return {.items = items,
          .wall_ns = static_cast<double>(end - begin),
          .cpu_ns = after.cpu_ns - before.cpu_ns,
          .switches = after.switches - before.switches};
}

/// Runs each of `workers` in a thread of its own, all from the same moment on. `rest` then waits for what they have
/// left to others, and returns when that ended.
inline Figures run_together(std::size_t items, const std::vector<std::function<void()>>& workers,
                            const std::function<std::uint64_t()>& rest) {
  std::vector<Span> spans(workers.size());
  std::barrier start(static_cast<std::ptrdiff_t>(workers.size() + 1));
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i != workers.size(); ++i) {
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      spans[i].begin = now_ns();
      workers[i]();
      spans[i].end = now_ns();
    });
  }
  const Usage before = Usage::now();
  start.arrive_and_wait();
  for (std::thread& thread : threads) thread.join();
  spans.front().end = std::max(spans.front().end, rest());
  return figures_of(items, spans, before, Usage::now());
}

/// The same, where nothing is left to others.
inline Figures run_together(std::size_t items, const std::vector<std::function<void()>>& workers) {
  return run_together(items, workers, [] { return std::uint64_t{0}; });
}

/// Runs `work` on this thread, beside an idle one: glibc and libstdc++ skip atomic operations in a process with a
/// single thread.
template <class Work>
Figures run_alone(std::size_t items, Work work) {
  std::barrier end(2);
  std::thread idle([&] { end.arrive_and_wait(); });
  const Usage before = Usage::now();
  Span span{.begin = now_ns()};
  work();
  span.end = now_ns();
  const Figures figures = figures_of(items, {span}, before, Usage::now());
  end.arrive_and_wait();
  idle.join();
  return figures;
}

inline void sleep_ns(std::uint64_t ns) {
  timespec time{static_cast<time_t>(ns / 1000000000), static_cast<long>(ns % 1000000000)};
  nanosleep(&time, nullptr);
}

/// Keeps this thread, and those that it starts, on one of the processors that it may use: the first one, or the one
/// that is `index` places further on, beginning again after the last.
inline void pin_to_one_processor(std::size_t index = 0) {
  cpu_set_t allowed;
  check(sched_getaffinity(0, sizeof(allowed), &allowed) == 0, "sched_getaffinity failed");
  index %= static_cast<std::size_t>(CPU_COUNT(&allowed));
  for (int cpu = 0; cpu != CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || index-- != 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    check(sched_setaffinity(0, sizeof(one), &one) == 0, "sched_setaffinity failed");
    return;
  }
}

/// A workload of a program; nothing if it cannot do it with these arguments.
using Workload = std::function<std::optional<Figures>(const Arguments&)>;
using Workloads = std::map<std::string, Workload, std::less<>>;

/// Runs the workload that the command line names, and prints its figures, or `unsupported`.
inline int run_program(int argc, char** argv, const Workloads& workloads) {
  const Arguments arguments = Arguments::parse(argc, argv);
  if (arguments["pinned"] != 0) pin_to_one_processor();
  const auto workload = workloads.find(arguments.workload);
  std::optional<Figures> figures;
  if (workload != workloads.end()) figures = workload->second(arguments);
  if (figures) {
    figures->print();
  } else {
    std::puts("unsupported");
  }
  return 0;
}

inline void Figures::add_quantiles(std::vector<std::uint64_t> latencies) {
  std::sort(latencies.begin(), latencies.end());
  more.emplace_back("p50_ns", static_cast<double>(latencies[latencies.size() / 2]));
  more.emplace_back("p99_ns", static_cast<double>(latencies[latencies.size() * 99 / 100]));
}

}  // namespace versus
