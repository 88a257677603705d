// SPDX-License-Identifier: MIT
// What no implementation can beat: an uncontended atomic addition, the way of a cache line to another thread and back,
// the time from waking a thread to when it runs.
#include <atomic>
#include <climits>
#include <vector>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "measure.hpp"

namespace {

using versus::Arguments;
using versus::Figures;

std::optional<Figures> atomic_add(const Arguments& arguments) {
  const std::size_t items = arguments["items"];
  std::atomic<std::size_t> counter{0};
  const Figures figures = versus::run_alone(items, [&] {
    for (std::size_t left = items; left != 0; --left) counter.fetch_add(1);
  });
  versus::check(counter == items, "atomic_add: the count is wrong");
  return figures;
}

/// An item is a round trip. The best of some batches counts, others may use these processors.
std::optional<Figures> cache_line(const Arguments& arguments) {
  constexpr std::size_t kBatch = 100;
  const std::size_t items = arguments["items"];
  alignas(128) std::atomic<std::size_t> turn{0};
  std::uint64_t best = UINT64_MAX;
  const auto take_turns = [&](std::size_t mine) {
    return [&, mine] {
      std::uint64_t begin = versus::now_ns();
      for (std::size_t round = 0; round != items; ++round) {
        for (std::size_t looks = 1; turn.load(std::memory_order_acquire) != 2 * round + mine; ++looks) {
          if (looks % 10000 == 0) std::this_thread::yield();  // the other one may need this processor
        }
        turn.store(2 * round + mine + 1, std::memory_order_release);
        if (mine == 0 && round % kBatch == kBatch - 1) {
          const std::uint64_t end = versus::now_ns();
          best = std::min(best, end - begin);
          begin = end;
        }
      }
    };
  };
  Figures figures = versus::run_together(items, {take_turns(0), take_turns(1)});
  figures.more.emplace_back("best_ns", static_cast<double>(best) / kBatch);
  return figures;
}

/// A thread sleeps for `gap_us`, then is woken.
std::optional<Figures> futex_wake(const Arguments& arguments) {
  const std::size_t items = arguments["items"];
  std::atomic<std::uint32_t> word{0};
  std::atomic<std::uint64_t> sent{0};
  std::vector<std::uint64_t> latencies;
  latencies.reserve(items);
  const auto sleeper = [&] {
    for (std::uint32_t seen = 0; seen != items; ++seen) {
      while (word == seen) syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
      latencies.push_back(versus::now_ns() - sent);
    }
  };
  const auto waker = [&] {
    for (std::size_t left = items; left != 0; --left) {
      versus::sleep_ns(arguments["gap_us"] * 1000);
      sent = versus::now_ns();
      ++word;
      syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
    }
  };
  Figures figures = versus::run_together(items, {sleeper, waker});
  figures.add_quantiles(latencies);
  return figures;
}

}  // namespace

int main(int argc, char** argv) {
  return versus::run_program(argc, argv,
                             {{"atomic_add", atomic_add}, {"cache_line", cache_line}, {"futex_wake", futex_wake}});
}
