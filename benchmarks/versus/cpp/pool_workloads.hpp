// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What threads do with a pool. An adapter is
///
///     class Pool {
///      public:
///       Pool(std::size_t workers, std::size_t capacity);
///       template <class F> void run(F job);           // nobody waits for it; a full pool makes the caller wait
///       template <class F> Handle submit(F job);      // if it can: a job that returns an int, and ...
///       static int wait(Handle& handle);              // ... waits for that int
///       template <class F> void produce(F submits);   // if it must: calls `submits()`, which calls `run`
///     };
///
/// `run` is called by threads outside, and by jobs of the pool; those never find it full.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "measure.hpp"

namespace versus {

/// Counts jobs down; the last one says when that was.
class Countdown {
 public:
  explicit Countdown(std::size_t count) : left_(count) {}

  void hit() {
    if (left_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    const std::lock_guard lock(mutex_);
    end_ns_ = now_ns();
    ended_.notify_all();
  }

  /// Waits for the last one, and returns its time.
  std::uint64_t wait() {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return end_ns_ != 0; });
    return end_ns_;
  }

 private:
  alignas(64) std::atomic<std::size_t> left_;
  alignas(64) std::mutex mutex_;
  std::condition_variable ended_;
  std::uint64_t end_ns_ = 0;
};

/// Has `submits` called where jobs of `pool` may be submitted.
template <class Pool, class F>
void produce(Pool& pool, F submits) {
  if constexpr (requires { pool.produce(submits); }) {
    pool.produce(submits);
  } else {
    submits();
  }
}

/// Runs some jobs and waits until all is quiet, so that what a pool does the first time is not measured.
template <class Pool>
void settle(Pool& pool) {
  constexpr std::size_t kJobs = 1000;
  Countdown countdown(kJobs);
  produce(pool, [&] {
    for (std::size_t left = kJobs; left != 0; --left) pool.run([&countdown] { countdown.hit(); });
  });
  countdown.wait();
  sleep_ns(10000000);
}

/// `arguments["producers"]` threads call `submit()` `items` times together. Ends with the last job.
template <class Pool, class Submit>
Figures submit_together(Pool& pool, const Arguments& arguments, std::size_t items, Countdown& countdown,
                        Submit submit) {
  const std::size_t producers = arguments["producers"];
  const std::function<void()> producer = [&] {
    produce(pool, [&] {
      for (std::size_t left = items / producers; left != 0; --left) submit();
    });
  };
  settle(pool);
  return run_together(items, std::vector(producers, producer), [&] { return countdown.wait(); });
}

inline std::size_t items_for_all(const Arguments& arguments, std::size_t parties) {
  return (arguments["items"] + parties - 1) / parties * parties;
}

/// Threads submit empty jobs. An item is a job.
template <class Pool>
Figures bulk(const Arguments& arguments) {
  const std::size_t items = items_for_all(arguments, arguments["producers"]);
  Countdown countdown(items);
  Pool pool(arguments["workers"], arguments["capacity"]);
  return submit_together(pool, arguments, items, countdown, [&] { pool.run([&countdown] { countdown.hit(); }); });
}

/// Threads submit jobs that return a number, 100 at a time, and wait for the numbers. An item is a job.
template <class Pool>
Figures results(const Arguments& arguments) {
  constexpr std::size_t kWindow = 100;
  const std::size_t producers = arguments["producers"];
  const std::size_t items = items_for_all(arguments, producers);
  Pool pool(arguments["workers"], arguments["capacity"]);
  std::atomic<std::uint64_t> sum{0};
  const std::function<void()> producer = [&] {
    produce(pool, [&] {
      std::vector<decltype(pool.submit([] { return 0; }))> window;
      window.reserve(kWindow);
      std::uint64_t own = 0;
      for (std::size_t next = 0; next != items / producers; window.clear()) {
        for (; window.size() != kWindow && next != items / producers; ++next) {
          window.push_back(pool.submit([number = static_cast<int>(next)] { return number; }));
        }
        for (auto& handle : window) own += static_cast<std::uint64_t>(Pool::wait(handle));
      }
      sum += own;
    });
  };
  settle(pool);
  const Figures figures = run_together(items, std::vector(producers, producer));
  check(2 * sum == producers * sum_of_first(items / producers), "results: the sum is wrong");
  return figures;
}

/// A job that submits two, which share what is left of `size`.
template <class Pool>
struct TreeJob {
  struct Shared {
    Pool& pool;
    Countdown& countdown;
  };
  Shared* shared;
  std::size_t size;

  void operator()() const {
    const std::size_t one = (size - 1) / 2;
    const std::size_t other = size - 1 - one;
    if (one != 0) shared->pool.run(TreeJob{shared, one});
    if (other != 0) shared->pool.run(TreeJob{shared, other});
    shared->countdown.hit();
  }
};

/// One job submits two, which submit two each. An item is a job; the pool has room for all.
template <class Pool>
Figures tree(const Arguments& arguments) {
  const std::size_t items = arguments["items"];
  Countdown countdown(items);
  Pool pool(arguments["workers"], std::max<std::size_t>(items, 1024));
  typename TreeJob<Pool>::Shared shared{pool, countdown};
  settle(pool);
  return run_together(items, {[&] { produce(pool, [&] {
                                      pool.run(TreeJob<Pool>{&shared, items});
                                    }); }},
                      [&] { return countdown.wait(); });
}

/// Arithmetic that no compiler shortens.
inline void calculate(std::uint64_t rounds) {
  for (std::uint64_t value = 1; rounds != 0; --rounds) {
    value = value * 3 + 1;
    asm volatile("" : "+r"(value));
  }
}

/// How many rounds of `calculate` take `ns`.
inline std::uint64_t rounds_for(std::uint64_t ns) {
  constexpr std::uint64_t kRounds = 1000000;
  std::uint64_t best = std::numeric_limits<std::uint64_t>::max();
  for (int i = 0; i != 10; ++i) {
    const std::uint64_t begin = now_ns();
    calculate(kRounds);
    best = std::min(best, now_ns() - begin);
  }
  return ns * kRounds / best;
}

inline std::size_t processors() {
  cpu_set_t allowed;
  check(sched_getaffinity(0, sizeof(allowed), &allowed) == 0, "sched_getaffinity failed");
  return static_cast<std::size_t>(CPU_COUNT(&allowed));
}

/// Jobs of `ns` of arithmetic. An item is a job. Before and afterwards bare threads, as many as there are processors,
/// calculate half of it: `ideal_percent` is 100 if the pool is as fast as the faster one of these halves.
template <class Pool>
Figures work(const Arguments& arguments) {
  const std::size_t parties = std::min(processors(), arguments["workers"]);
  const std::size_t items = items_for_all(arguments, 2 * parties * arguments["producers"]);
  const std::uint64_t rounds = rounds_for(arguments["ns"]);
  const std::function<void()> bare = [&] {
    for (std::size_t left = items / 2 / parties; left != 0; --left) calculate(rounds);
  };
  const auto half_ns = [&] { return run_together(items / 2, std::vector(parties, bare)).wall_ns; };
  const double before_ns = half_ns();
  Figures figures;
  {
    Countdown countdown(items);
    Pool pool(arguments["workers"], arguments["capacity"]);
    figures = submit_together(pool, arguments, items, countdown, [&] {
      pool.run([&countdown, rounds] {
        calculate(rounds);
        countdown.hit();
      });
    });
  }
  figures.more.emplace_back("ideal_percent", 50 * figures.wall_ns / std::min(before_ns, half_ns()));
  return figures;
}

/// A job for a pool that has been idle for `gap_us`: from just before it is submitted until it starts. An item is a
/// job.
template <class Pool>
Figures idle_start(const Arguments& arguments) {
  struct Start {
    Countdown& countdown;
    std::uint64_t submitted = 0;
    std::uint64_t latency = 0;
  };
  const std::size_t items = arguments["items"];
  Countdown countdown(items);
  std::vector<Start> starts(items, Start{countdown});
  Pool pool(arguments["workers"], arguments["capacity"]);
  settle(pool);
  const auto submit = [&] {
    produce(pool, [&] {
      for (Start& start : starts) {
        sleep_ns(arguments["gap_us"] * 1000);
        start.submitted = now_ns();
        pool.run([&start] {
          start.latency = now_ns() - start.submitted;
          start.countdown.hit();
        });
      }
    });
  };
  Figures figures = run_together(items, {submit}, [&] { return countdown.wait(); });
  std::vector<std::uint64_t> latencies;
  for (const Start& start : starts) latencies.push_back(start.latency);
  figures.add_quantiles(latencies);
  return figures;
}

/// Nothing, for `items` milliseconds. An item is a millisecond.
template <class Pool>
Figures idle_pool(const Arguments& arguments) {
  Pool pool(arguments["workers"], arguments["capacity"]);
  settle(pool);
  sleep_ns(20000000);
  const Usage before = Usage::now();
  Span span{.begin = now_ns()};
  sleep_ns(arguments["items"] * 1000000);
  span.end = now_ns();
  return figures_of(arguments["items"], {span}, before, Usage::now());
}

/// A job that waits for two seconds, then 19 that wait for a millisecond each; again and again. An item is a short job.
/// `set_ns` is how long 19 of them took at worst, from the first submission on. The long one is called off when they
/// are done.
template <class Pool>
Figures head_of_line(const Arguments& arguments) {
  constexpr std::size_t kShort = 19;
  const std::size_t items = items_for_all(arguments, kShort);
  std::vector<std::uint64_t> sets;
  Pool pool(arguments["workers"], arguments["capacity"]);
  settle(pool);
  const auto submit = [&] {
    while (sets.size() != items / kShort) {
      std::mutex mutex;
      std::condition_variable changed;
      bool called_off = false;
      Countdown long_one(1);
      Countdown short_ones(kShort);
      const std::uint64_t begin = now_ns();
      produce(pool, [&] {
        pool.run([&] {
          std::unique_lock lock(mutex);
          changed.wait_for(lock, std::chrono::seconds(2), [&] { return called_off; });
          lock.unlock();
          long_one.hit();
        });
        for (std::size_t left = kShort; left != 0; --left) {
          pool.run([&short_ones] {
            sleep_ns(1000000);
            short_ones.hit();
          });
        }
        sets.push_back(short_ones.wait() - begin);
        const std::lock_guard lock(mutex);
        called_off = true;
        changed.notify_all();
      });
      long_one.wait();
    }
  };
  Figures figures = run_together(items, {submit});
  figures.more.emplace_back("set_ns", static_cast<double>(*std::max_element(sets.begin(), sets.end())));
  return figures;
}

/// All of these for an adapter.
template <class Pool>
Workloads pool_workloads() {
  Workloads workloads = {{"bulk", bulk<Pool>},           {"tree", tree<Pool>},
                         {"work", work<Pool>},           {"idle_start", idle_start<Pool>},
                         {"idle_pool", idle_pool<Pool>}, {"head_of_line", head_of_line<Pool>}};
  if constexpr (requires(Pool & pool) { pool.submit([] { return 0; }); }) workloads["results"] = results<Pool>;
  return workloads;
}

}  // namespace versus
