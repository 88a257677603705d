// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What threads do with a pool that has as many workers as its jobs need. An adapter is one of pool_workloads.hpp,
/// whose constructor takes no notice of its arguments.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>

#include <sys/stat.h>

#include "pool_workloads.hpp"

namespace versus {

/// Counts the threads that are there and have been `seen`.
class ThreadCount {
 public:
  static void seen() { touch_(own); }
  static std::size_t peak() { return most.load(); }

 private:
  struct Own {
    Own() {
      const std::size_t count = ++now;
      for (std::size_t old = most; old < count && !most.compare_exchange_weak(old, count);) {
      }
    }
    ~Own() { --now; }
  };
  static void touch_(Own& thread) { asm volatile("" : : "r"(&thread)); }

  static inline std::atomic<std::size_t> now{0};
  static inline std::atomic<std::size_t> most{0};
  static inline thread_local Own own;
};

/// Threads of this process, without the main one.
inline std::size_t threads_now() {
  struct stat tasks {};
  check(stat("/proc/self/task", &tasks) == 0, "there is no /proc/self/task");
  return tasks.st_nlink - 3;  // a folder's links: itself, its name, and each folder in it
}

/// One thread submits empty jobs to a pool that was just made. An item is a job; `threads` is how many there were at
/// most.
template <class Pool>
Figures tiny(const Arguments& arguments) {
  const std::size_t items = arguments["items"];
  Countdown countdown(items);
  Pool pool(arguments["workers"], arguments["capacity"]);
  const auto submit = [&] {
    for (std::size_t left = items; left != 0; --left) {
      pool.run([&countdown] {
        ThreadCount::seen();
        countdown.hit();
      });
    }
  };
  std::size_t at_end = 0;
  Figures figures = run_together(items, {submit}, [&] {
    const std::uint64_t end = countdown.wait();
    at_end = threads_now();
    return end;
  });
  figures.more.emplace_back("threads", static_cast<double>(std::max(at_end, ThreadCount::peak())));
  return figures;
}

/// Jobs wait in there until it is opened.
class Gate {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    opened_.wait(lock, [this] { return is_open_; });
  }
  void open() {
    {
      const std::lock_guard lock(mutex_);
      is_open_ = true;
    }
    opened_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool is_open_ = false;
};

/// `jobs` jobs, none of which ends before all have started: from the first submission to the last start.
template <class Pool>
Figures burst_in(Pool& pool, std::size_t jobs) {
  Countdown started(jobs);
  Countdown ended(jobs);
  Gate gate;
  const auto submit = [&] {
    for (std::size_t left = jobs; left != 0; --left) {
      pool.run([&] {
        started.hit();
        gate.pass();
        ended.hit();
      });
    }
  };
  const Figures figures = run_together(jobs, {submit}, [&] { return started.wait(); });
  gate.open();
  ended.wait();
  return figures;
}

/// Such a burst, for a pool that was just made. An item is a job.
template <class Pool>
Figures burst(const Arguments& arguments) {
  Pool pool(arguments["workers"], arguments["capacity"]);
  return burst_in(pool, arguments["items"]);
}

/// The same, for a pool that has just had another burst like this one.
template <class Pool>
Figures second_burst(const Arguments& arguments) {
  Pool pool(arguments["workers"], arguments["capacity"]);
  burst_in(pool, arguments["items"]);
  sleep_ns(20000000);
  return burst_in(pool, arguments["items"]);
}

/// Nothing, for `items` milliseconds, after a burst of `workers` jobs. An item is a millisecond.
template <class Pool>
Figures idle_workers(const Arguments& arguments) {
  Pool pool(arguments["workers"], arguments["capacity"]);
  burst_in(pool, arguments["workers"]);
  sleep_ns(20000000);
  const Usage before = Usage::now();
  Span span{.begin = now_ns()};
  sleep_ns(arguments["items"] * 1000000);
  span.end = now_ns();
  return figures_of(arguments["items"], {span}, before, Usage::now());
}

/// All of these for an adapter.
template <class Pool>
Workloads elastic_workloads() {
  return {{"idle_start", idle_start<Pool>},
          {"tiny", tiny<Pool>},
          {"burst", burst<Pool>},
          {"second_burst", second_burst<Pool>},
          {"idle_workers", idle_workers<Pool>}};
}

}  // namespace versus
